"""What is asked for from Python or the command line, and the forms in which it comes back.

A ``Request`` is a project and the features wanted of it; a ``FeatureTable`` is computed when a form of it is asked for.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_warehouse.client.reading import find_service
from feature_warehouse.errors import ProjectError, RequestError
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.project import (
    Project,
    compile_feature_views,
    compile_sql,
    load_project,
    load_project_manifest,
)
from feature_warehouse.registry.feature import FeatureService, FeatureView, ServiceView
from feature_warehouse.training.spine import outputs
from feature_warehouse.warehouse.duckdb import Warehouse, open_warehouse


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A project, and features of it: a service's, or all of some feature views."""

    project: Project
    target: str | None  # as it was given
    manifest: Mapping[str, Any]  # dbt's
    declarations: Declarations
    service: FeatureService | None
    reads: tuple[ServiceView, ...]

    @property
    def features(self) -> str | tuple[str, ...]:
        """What was asked for, exactly: the service's id, or the views'."""
        return self.service.id if self.service else tuple(read.view for read in self.reads)

    @property
    def views(self) -> Mapping[str, FeatureView]:
        return self.declarations.feature_views

    def keys(self, read: ServiceView) -> dict[str, str]:
        """{join key: what the rows call it}."""
        return {key.name: read.keys.get(key.name, key.name) for key in self.views[read.view].entity.join_keys}

    def wanted(self) -> dict[str, list[str]]:
        """{view: the features that are read of it}, each once, whatever the roles."""
        found: dict[str, dict[str, None]] = {}
        for read in self.reads:
            found.setdefault(read.view, {}).update(dict.fromkeys(read.features))
        return {view: list(features) for view, features in found.items()}

    def compile(self, macro: str, arguments: Sequence[str]) -> str:
        """The SQL of a macro of ours for these features; ``arguments`` are its others, in Jinja."""
        return compile_sql(self.project, f"{{{{ {self.call(macro, arguments)} }}}}", self.target)

    def call(self, macro: str, arguments: Sequence[str]) -> str:
        """The same as a piece of Jinja."""
        refs = ", ".join(_ref(self.declarations, view) for view in self.wanted())
        given = [f"feature_views=[{refs}]", *arguments]
        if self.service is not None:
            given.append(f"service={f'{self.service.name}.v{self.service.version}'!r}")
        return f"feature_warehouse.{macro}({', '.join(given)})"

    def definitions(self) -> dict[str, str | None]:
        """What each view that is read means, as the registry keeps it; None where its SQL cannot be known."""
        from feature_warehouse.project.definition import (  # with sqlglot, which most commands do without
            read_definitions,
            to_text,
        )

        views = {view: self.declarations.views[view] for view in self.wanted()}
        try:
            found = read_definitions(compile_feature_views(self.project, self.target), views).definitions
        except ProjectError:
            found = {}
        return {view: to_text(view, found[view]) if view in found else None for view in views}

    def open_warehouse(self) -> AbstractContextManager[Warehouse]:
        return open_warehouse(self.project.database, self.project.settings)


def load_request(
    features: str | Sequence[str],
    project_dir: str | Path | None,
    profiles_dir: str | Path | None,
    target: str | None,
) -> Request:
    """``features``: a service ('departure_delay@2', or the latest: 'departure_delay'), or a list of feature views.

    Raises RequestError for what is not declared, DefinitionError for what is declared wrongly, and ProjectError.
    """
    project = load_project(_path(project_dir), _path(profiles_dir), target)
    manifest = load_project_manifest(project)
    declarations = read_declarations(manifest)
    service = None
    if isinstance(features, str):
        declarations.raise_first()
        service = find_service(declarations.services, features)
        reads = service.views
    else:
        reads = tuple(_all_features(declarations, id_) for id_ in features)
    if not reads:
        raise RequestError(
            "no feature views are asked for", "name a service, or a list of views: ['carrier_delays.v2']"
        )
    outputs(reads)
    return Request(
        project=project,
        target=target,
        manifest=manifest,
        declarations=declarations,
        service=service,
        reads=reads,
    )


class FeatureTable(ABC):
    """Rows with features that are ready to be computed; every ``to_...`` computes them once."""

    def to_arrow(self) -> pa.Table:
        with self._batches() as reader:
            return reader.read_all()

    def to_pandas(self) -> Any:
        """A pandas frame on Arrow types, so that integers beside NULLs stay integers."""
        import pandas as pd  # type: ignore[import-untyped]  # ships no types

        return self.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)

    def to_polars(self) -> Any:
        import polars as pl

        return pl.from_arrow(self.to_arrow())

    def to_parquet(self, path: str | Path) -> int:
        """Writes a Parquet file batch by batch, whatever its size; returns the number of rows.

        The file is there when it is complete: a run that fails leaves what was there before.
        """
        with self._batches() as reader:
            return write_parquet(Path(path), reader)

    @abstractmethod
    def _batches(self) -> AbstractContextManager[pa.RecordBatchReader]:
        """The rows, as a stream."""


def write_parquet(
    path: Path, reader: pa.RecordBatchReader, watch: Callable[[pa.RecordBatch], None] | None = None
) -> int:
    """Writes a stream to a Parquet file; ``watch`` sees each batch. Returns the number of rows."""
    check_destination(path)
    rows = 0
    unfinished = Path(f"{path}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, reader.schema) as writer:
            for batch in reader:
                rows += batch.num_rows
                writer.write_batch(batch)
                if watch is not None:
                    watch(batch)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def check_destination(path: Path) -> None:
    """Raises RequestError, before anything is computed, when ``path`` has no folder or is named as a CSV file."""
    if path.name.endswith((".csv", ".csv.gz")):
        raise RequestError(
            f"what is written is Parquet, and {path} is named as CSV", "give a name that ends in .parquet"
        )
    if not path.absolute().parent.is_dir():
        raise RequestError(f"the folder of {path} does not exist", "create it, or write elsewhere")


def _all_features(declarations: Declarations, id_: str) -> ServiceView:
    if id_ not in declarations.views:
        declared = ", ".join(sorted(declarations.views)) or "none"
        raise RequestError(f"there is no feature view '{id_}'", f"declared: {declared}")
    return ServiceView(view=id_, features=tuple(feature.name for feature in declarations.views[id_].view.features))


def _ref(declarations: Declarations, id_: str) -> str:
    declared = declarations.views[id_]
    package = declared.unique_id.split(".")[1]
    return f"ref({package!r}, {declared.view.name!r}, v={declared.view.version})"


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
