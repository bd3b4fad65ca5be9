"""Small dbt projects in temporary folders that use this repository as their package, as any user would."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.cli.main import dbtRunner
from dbt.deprecations import reset_deprecations

if TYPE_CHECKING:
    from tests.support.postgres import Database

ROOT = Path(__file__).parents[2]

PROFILE = """
{name}:
  target: {target}
  outputs:
    {target}:
      type: duckdb
      path: {path}
      threads: 2
      keep_open: false
      retries: {{connect_attempts: 5, retryable_exceptions: ["IOException"]}}
      settings: {{TimeZone: UTC}}
"""

PROJECT = """
name: {name}
version: "1.0"
profile: {name}
flags: {{send_anonymous_usage_stats: false}}
{more}
"""


class Project:
    """A dbt project called ``name`` in ``folder``; files map a path to its text. No ``server``: DuckDB."""

    def __init__(
        self,
        folder: Path,
        files: dict[str, str],
        *,
        name: str = "shop",
        target: str = "dev",
        more: str = "",
        server: Database | None = None,
    ) -> None:
        self.folder = folder
        self.database = folder / f"{name}.duckdb"
        self.server = server
        self.engine = "postgres" if server else "duckdb"
        self.write("dbt_project.yml", PROJECT.format(name=name, more=more))
        profile = PROFILE.format(name=name, target=target, path=self.database)
        if server:  # JSON is YAML
            profile = json.dumps({name: {"target": target, "outputs": {target: server.output()}}})
        self.write("profiles.yml", profile)
        self.write("packages.yml", f"packages: [{{local: '{ROOT}'}}]\n")
        (folder / "dbt_packages").mkdir()
        (folder / "dbt_packages" / "feature_warehouse").symlink_to(ROOT)  # what `dbt deps` does for a local package
        for path, text in files.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def dbt(self, *arguments: str) -> Any:
        """The result of one dbt command, run in this process; raises AssertionError with dbt's words on failure."""
        result = self.try_dbt(*arguments)
        assert result.success, messages(result)
        return result

    def try_dbt(self, *arguments: str) -> Any:
        here = os.getcwd()
        command = ["--quiet", "--log-level-file", "none", *arguments]
        folders = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        reset_deprecations()  # dbt remembers them for its process, and would warn this project of another one's
        try:
            done = dbtRunner().invoke([*command, *folders])
        finally:
            os.chdir(here)
        result: Any = done.result
        if hasattr(result, "results"):  # of models: the package's own on-run-start and on-run-end are in each run
            result.results[:] = [one for one in result.results if not _is_ours(one.node)]
        return done

    def compiled(self, model: str) -> str:
        """The compiled SQL of one model."""
        (path,) = (self.folder / "target" / "compiled").rglob(f"{model}.sql")
        return path.read_text()


def _is_ours(node: Any) -> bool:
    return node.resource_type == "operation" and node.package_name == "feature_warehouse"


def messages(result: Any) -> str:
    """All that a failed dbt command said."""
    said = [str(result.exception)] if result.exception else []
    if result.result is not None and hasattr(result.result, "results"):
        said += [f"{node.node.name}: {node.message}" for node in result.result.results if node.message]
    return "\n".join(said)
