"""The dbt project: where it is, and what its target reads.

Profiles may hold Jinja, environment variables and secrets: plain ones are read here (`profile`), others by `dbt`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_warehouse.errors import ProjectError, RequestError
from feature_warehouse.project.dbt import read_target
from feature_warehouse.project.profile import Output, plain_target
from feature_warehouse.registry.feature import parse_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
    """Which project, by dbt's own options. Where they say nothing: the current folder or the nearest above that has a
    project; its profiles.yml as dbt finds it, else beside it; the profile's default target.
    """

    project_dir: Path | None = None
    profiles_dir: Path | None = None
    target: str | None = None
    artifacts: Path | None = None  # the folder of a manifest that dbt wrote elsewhere, taken as it is

    @classmethod
    def given(
        cls, project_dir: str | Path | None, profiles_dir: str | Path | None, target: str | None
    ) -> ProjectOptions:
        """As a caller from Python gives them: folders may be texts."""
        project, profiles = (None if path is None else Path(path) for path in (project_dir, profiles_dir))
        return cls(project_dir=project, profiles_dir=profiles, target=target)

    def arguments(self) -> dict[str, Any]:
        """As ``given`` takes them."""
        return {"project_dir": self.project_dir, "profiles_dir": self.profiles_dir, "target": self.target}


ANYWHERE = ProjectOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A dbt project as one of its targets sees it."""

    options: ProjectOptions
    name: str
    target: str
    folder: Path
    profiles_folder: Path
    manifest_path: Path
    source_paths: tuple[Path, ...]  # folders whose files the manifest is made from
    output: Output
    variables: dict[str, Any] = field(default_factory=dict)  # of dbt_project.yml, the project's own block first

    @property
    def now(self) -> str | None:
        """The var feature_warehouse_now."""
        return self.variables.get("feature_warehouse_now")

    @property
    def default_namespace(self) -> str:
        return f"{self.name}_{self.target}"

    @property
    def session_zone(self) -> str | None:
        """The time zone of dbt's connections; None where the profile leaves it to the machine."""
        return next((str(zone) for name, zone in self.output.settings.items() if name.lower() == "timezone"), None)

    def manifest_stamp(self) -> object:
        """Something else once the manifest has been written anew."""
        try:
            found = self.manifest_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def clock(self) -> datetime | None:
        """Where the project's own clock stands, None for the real time. Raises RequestError when it is no instant."""
        try:
            return None if self.now is None else parse_instant(str(self.now))
        except RequestError as error:
            raise RequestError(f"the var feature_warehouse_now: {error.message}", error.hint) from None

    @property
    def runs_path(self) -> Path:
        return self.manifest_path.with_name("run_results.json")

    @property
    def parsed_path(self) -> Path:
        return self.manifest_path.with_name("partial_parse.msgpack")

    @property
    def registry_path(self) -> Path:
        return self.folder / "registry" / "registry.json"

    @property
    def proto_path(self) -> Path:
        return self.folder / "registry" / "features.proto"


def load_project(options: ProjectOptions = ANYWHERE) -> Project:
    """The project that ``options`` name: profile and settings, read without dbt where both are plain.

    Raises ProjectError, mostly in dbt's own words.
    """
    here = Path.cwd()
    nearest = (folder for folder in (here, *here.parents) if (folder / "dbt_project.yml").exists())
    folder = (options.project_dir or next(nearest, here)).resolve()
    if not (folder / "dbt_project.yml").exists():
        raise ProjectError(
            f"{folder} is not a dbt project: there is no dbt_project.yml", "give its folder: --project-dir"
        )
    profiles_folder = _profiles_folder(options.profiles_dir, folder)
    found = plain_target(folder, profiles_folder, options.target) or read_target(
        folder, profiles_folder, options.target
    )
    own: dict[str, Any] = found.variables.get(found.project) or {}  # a package's block goes before the global ones
    return Project(
        options=options,
        name=found.project,
        target=found.target,
        folder=folder,
        profiles_folder=profiles_folder,
        manifest_path=(options.artifacts or folder / found.target_path).absolute() / "manifest.json",
        source_paths=tuple(folder / path for path in [*found.model_paths, *found.macro_paths]),
        output=found.output,
        variables={**found.variables, **own},
    )


def _profiles_folder(profiles_dir: Path | None, folder: Path) -> Path:
    """Where profiles.yml is: dbt's option, its environment variables, the current folder, the project's, ~/.dbt."""
    for given in (profiles_dir, os.environ.get("DBT_PROFILES_DIR"), os.environ.get("DBT_ENGINE_PROFILES_DIR")):
        if given:
            return Path(given).resolve()
    near = (each for each in (Path.cwd(), folder) if (each / "profiles.yml").exists())
    return next(near, Path.home() / ".dbt")
