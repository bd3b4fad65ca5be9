"""Models of a project by dbt's selection syntax: which they are, and runs of them in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.dbt import calling_dbt, invoke
from feature_warehouse.project.project import Project
from feature_warehouse.project.run_results import FAILED

logger = logging.getLogger(__name__)


def select_models(project: Project, selection: Sequence[str]) -> set[str]:
    """The unique ids of the models that dbt's ``--select`` means. Raises ProjectError in dbt's own words."""
    with calling_dbt("read the selection", f"see what `dbt ls --select {' '.join(selection)}` says"):
        result = invoke(
            project,
            *("ls", "--resource-type", "model", "--output", "json", "--output-keys", "unique_id"),
            *("--select", *selection),
        )
        if not result.success:
            raise result.exception or ProjectError("dbt could not list the models")
    return {json.loads(line)["unique_id"] for line in result.result}


def _give_back() -> None:
    """Closes the DuckDB file, which profiles may say to keep open."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    manager: Any = DuckDBConnectionManager
    manager.close_all_connections()


class ModelRuns:
    """Runs of some dbt models in this process; the project is parsed again only when its manifest has changed."""

    def __init__(self, selection: Sequence[str]) -> None:
        self._selection = selection
        self._graph: Any = None
        self._stamp: object = None

    def run(self, project: Project) -> None:
        """Raises ProjectError when dbt cannot run at all; the file is free again either way.

        Models that fail are a warning: dbt's results say which, and what is made from them is held.
        """
        words = " ".join(self._selection)
        with calling_dbt("run the models", f"see what `dbt run --select {words}` says"):
            stamp = project.manifest_stamp()
            if self._graph is None or stamp != self._stamp:
                self._graph, self._stamp = self._done(project, "parse"), stamp
            done = self._done(project, "run", "--select", *self._selection)
            done.write(str(project.runs_path))  # --no-write-json is for the manifest, which stays as it is
            if not done.results:
                raise ProjectError(
                    f"--run {words} selects no model", f"see what `dbt ls --resource-type model --select {words}` lists"
                )

    def _done(self, project: Project, *command: str) -> Any:
        try:
            done = invoke(project, *command, graph=None if command == ("parse",) else self._graph)
        finally:
            if project.output.adapter == "duckdb":
                _give_back()
        if done.success:
            return done.result
        results = getattr(done.result, "results", ())
        failed = [f"{each.node.name}: {each.message}" for each in results if each.status in FAILED]
        if done.exception or not failed:
            raise done.exception or ProjectError("dbt run failed")
        logger.warning("dbt run failed: %s", " ".join(failed[0].split()))
        return done.result
