"""Training sets: features of a service or of feature views for given rows, each as known at its own time.

The SQL is that of the macro ``point_in_time_join``, rendered by dbt; there is no second implementation. It runs on a
read-only connection of ours, so an open notebook or another reader does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from syncer.errors import RequestError
from syncer.feature import FeatureService
from syncer.manifest import Declarations
from syncer.project import Project, compile_sql, load_declarations, load_project
from syncer.reading import find_service
from syncer.warehouse import open_warehouse

#: The table that the entity rows become, and the column that keeps their order.
SPINE, POSITION = "entity_rows", "__position"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalFeatures:
    """A training set that is ready to be computed; every ``to_...`` computes it once.

    One row per entity row, in their order: the entity rows' columns, then the features.
    """

    _project: Project
    _target: str | None
    _entity_rows: Any
    _timestamp: str
    _views: tuple[str, ...]  # ref('carrier_delays', v=2)
    _service: str | None  # departure_delay.v2
    _known_as_of: str | None

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
        if not Path(path).absolute().parent.is_dir():
            raise RequestError(f"the folder of {path} does not exist", "create it, or write elsewhere")
        rows = 0
        unfinished = Path(f"{path}.unfinished")
        try:
            with self._batches() as reader, pq.ParquetWriter(unfinished, reader.schema) as writer:
                for batch in reader:
                    rows += batch.num_rows
                    writer.write_batch(batch)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        return rows

    @contextmanager
    def _batches(self) -> Iterator[pa.RecordBatchReader]:
        with open_warehouse(self._project.database, self._project.settings) as warehouse:
            columns = warehouse.add("given_rows", self._entity_rows)
            numbered = f"select *, row_number() over () as {POSITION} from given_rows"
            sql = compile_sql(self._project, self._jinja(columns), self._target)
            warehouse.add(SPINE, numbered)
            yield warehouse.query(f"select * exclude ({POSITION}) from ({sql}) order by {POSITION}")

    def _jinja(self, columns: dict[str, str]) -> str:
        arguments = [
            f"spine={SPINE!r}",
            f"spine_columns={columns!r}",
            f"spine_timestamp={self._timestamp!r}",
            f"feature_views=[{', '.join(self._views)}]",
            *([f"service={self._service!r}"] if self._service else []),
            *([f"known_as_of={self._known_as_of!r}"] if self._known_as_of else []),
        ]
        return "{{ feature_warehouse.point_in_time_join(" + ", ".join(arguments) + ") }}"


def get_historical_features(
    entity_rows: Any,
    features: str | Sequence[str],
    *,
    timestamp: str = "event_timestamp",
    known_as_of: datetime | None = None,
    project_dir: str | Path | None = None,
    profiles_dir: str | Path | None = None,
    target: str | None = None,
) -> HistoricalFeatures:
    """The features of ``entity_rows`` as they were known at each row's ``timestamp``.

    ``entity_rows``: an Arrow table, a pandas or Polars frame, a DuckDB relation, SQL on the warehouse, or the path of a
    CSV or Parquet file; it holds join keys, a zoned timestamp and any other columns (labels), which are kept.
    ``features``: a service ('departure_delay@2', or the latest version: 'departure_delay'), or feature views
    (['carrier_delays.v2', ...]), whose features are then all joined. ``known_as_of``: see the guide on point-in-time
    correctness.

    Raises RequestError for an unknown service or view, ProjectError for what the join refuses, WarehouseError.

    >>> get_historical_features(labels, "departure_delay", timestamp="asked_at").to_parquet("training.parquet")
    """
    project = load_project(_path(project_dir), _path(profiles_dir), target)
    declarations = load_declarations(project)
    service = None if not isinstance(features, str) else _service(declarations, features)
    views = features if service is None else list(dict.fromkeys(read.view for read in service.views))
    if known_as_of is not None and known_as_of.tzinfo is None:
        raise RequestError(f"known_as_of={known_as_of!r} names no instant", "give it a time zone")
    return HistoricalFeatures(
        _project=project,
        _target=target,
        _entity_rows=_path(entity_rows) if _is_file(entity_rows) else entity_rows,
        _timestamp=timestamp,
        _views=tuple(_ref(declarations, id_) for id_ in views),
        _service=f"{service.name}.v{service.version}" if service else None,
        _known_as_of=known_as_of.isoformat() if known_as_of else None,
    )


def _service(declarations: Declarations, wanted: str) -> FeatureService:
    declarations.raise_first()
    return find_service(declarations.services, wanted)


def _ref(declarations: Declarations, id_: str) -> str:
    if id_ not in declarations.views:
        declared = ", ".join(sorted(declarations.views)) or "none"
        raise RequestError(f"there is no feature view '{id_}'", f"declared: {declared}")
    declared_view = declarations.views[id_]
    package = declared_view.unique_id.split(".")[1]
    return f"ref({package!r}, {declared_view.view.name!r}, v={declared_view.view.version})"


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _is_file(rows: Any) -> bool:
    return isinstance(rows, Path) or (isinstance(rows, str) and rows.endswith((".csv", ".csv.gz", ".parquet")))
