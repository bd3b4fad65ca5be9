"""Strict authoring: the project parses without one warning, so that dbt v2 can read it too.

    python tests/authoring.py [folder of a dbt project]

dbt 1.11 holds YAML against its schemas for four adapters only. On DuckDB a misplaced `meta:` or an unknown key passes
in silence, `--warn-error` or not; so the validation is switched on here, through a private name of dbt's. Warnings are
collected instead of made errors, because dbt ends at the first error and all of them are wanted.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner
from dbt.jsonschemas import jsonschemas

ALLOWED = {
    # A date that a version announces, or that has come: nothing that was written breaks by it.
    "DeprecatedModel",
    "DeprecatedReference",
    "UpcomingReferenceDeprecation",
    # Counts the others.
    "DeprecationsSummary",
}


def findings(project: Path) -> list[str]:
    """Everything dbt warns of when it parses the whole project; nothing is written into the project."""
    found: list[str] = []

    def collect(event: Any) -> None:
        if event.info.level in {"warn", "error"} and event.info.name not in ALLOWED:
            found.append(event.info.msg)

    jsonschemas._JSONSCHEMA_SUPPORTED_ADAPTERS.add("duckdb")
    with tempfile.TemporaryDirectory() as folder:
        # Never a partial parse: a second one reports nothing, whatever the first one found.
        arguments = ["--log-level", "none", "--log-level-file", "none", "--show-all-deprecations"]
        arguments += ["parse", "--no-partial-parse", "--target-path", folder]
        arguments += ["--project-dir", str(project), "--profiles-dir", str(project / "profiles")]
        result = dbtRunner(callbacks=[collect]).invoke(arguments)
    if not result.success and not found:
        found.append(str(result.exception))
    return found


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    found = findings(root)
    print(*found, f"dbt authoring: {len(found)} findings", sep="\n")
    sys.exit(1 if found else 0)
