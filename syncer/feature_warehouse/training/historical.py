"""Training sets: features for given rows, each as known at its own time.

The SQL is that of the macro ``point_in_time_join``, rendered by dbt; there is no second implementation. It runs on a
read-only connection of ours, so an open notebook or another reader does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.errors import RequestError
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.training.content import ContentHash, TableContent
from feature_warehouse.training.elsewhere import joined
from feature_warehouse.training.formats import FeatureTable, check_destination, write_parquet
from feature_warehouse.training.provenance import (
    HistoryRecord,
    SpineRecord,
    TrainingSetManifest,
    ViewRecord,
    changed_history,
    code_revision,
    history,
    instant_text,
    manifest_path,
    service_hash,
    software,
)
from feature_warehouse.training.request import Request, load_request
from feature_warehouse.training.spine import TABLE, PlacedSpine, Spine, place_spine, read_spine
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.local import open_local
from feature_warehouse.warehouse.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalFeatures(FeatureTable):
    """A training set that is ready to be computed: one row per entity row, its columns first, then the features."""

    _request: Request
    _spine: Spine
    _timestamp: str
    _known_as_of: str | None
    _snapshots: Mapping[str, int] = field(default_factory=dict)  # {catalog: which one to read}; the others: the newest

    def to_parquet(self, path: str | Path) -> int:
        """Writes a Parquet file batch by batch, whatever its size, and beside it ``<path>.manifest.json``.

        Returns the number of rows. The two are there when they are complete, the manifest last: a run that fails leaves
        what was there before.
        """
        path = Path(path)
        check_destination(path)
        with self._open() as opened:
            seen = Seen(opened.batches.schema, self._timestamp)
            write_parquet(path, opened.batches, seen.see)
            manifest = self._manifest(opened, seen, path)
        manifest.write(manifest_path(path))
        return manifest.content.rows

    @contextmanager
    def _batches(self) -> Iterator[pa.RecordBatchReader]:
        with self._open() as opened:
            yield opened.batches

    @contextmanager
    def _open(self) -> Iterator[_Open]:
        request = self._request
        if not request.is_duckdb:
            with request.open_source() as source, open_local() as local:
                spine, sql = joined(request, self._spine, self._timestamp, self._known_as_of, source, local)
                yield _Open(local, spine, {}, {}, local.query(sql), source)
            return
        with request.open_duckdb("a training set", self._snapshots) as warehouse:
            spine = place_spine(warehouse, self._spine, request.reads, request.views, request.service, self._timestamp)
            arguments = [
                f"spine={TABLE!r}",
                f"spine_columns={spine.columns!r}",
                f"spine_timestamp={self._timestamp!r}",
                *([f"known_as_of={self._known_as_of!r}"] if self._known_as_of else []),
            ]
            settled = request.settled(warehouse)
            sql = spine.in_order(request.compile("point_in_time_join", arguments, settled.values()))
            yield _Open(warehouse, spine, settled, warehouse.snapshots(), warehouse.query(sql), warehouse)

    def _manifest(self, opened: _Open, seen: Seen, path: Path) -> TrainingSetManifest:
        """What there is to say about the training set that is to lie at ``path``, once all of it was seen."""
        request, content, until = self._request, seen.content(), seen.latest()
        source = self._spine.source
        if self._spine.kind == "file":
            source = Path(os.path.relpath(source, path.absolute().parent)).as_posix()
        columns, definitions = len(opened.spine.columns), request.definitions()
        views = (
            ViewRecord(
                view=view,
                features=tuple(features),
                definition=definitions[view],
                history=self._history(opened, view, until),
                settled=opened.settled.get(view),
            )
            for view, features in request.wanted().items()
        )
        return TrainingSetManifest(
            content=content,
            created_at=datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
            project=request.project.name,
            features=request.features,
            service=service_hash(request.service) if request.service else None,
            timestamp=self._timestamp,
            known_as_of=self._known_as_of,
            read_until=until,
            spine=SpineRecord(
                kind=self._spine.kind, source=source, columns=columns, content=content.first(columns).hash
            ),
            views=tuple(views),
            snapshots=opened.snapshots,
            code=code_revision(request.project.folder, request.project.source_paths),
            software=software(request.project.output.adapter),
        )

    def _history(self, opened: _Open, view: str, until: str | None, *known_by: str | None) -> HistoryRecord:
        request = self._request
        declared, features = request.declarations.views[view], request.wanted()[view]
        return history(opened.source, declared, features, until, [self._known_as_of, *known_by])

    def _changed_histories(self, opened: _Open, before: TrainingSetManifest) -> Iterator[str]:
        """A sentence for each history that is another one now in what ``before`` could read of it."""
        for record in before.views:
            if record.view in self._request.wanted():
                old, until = record.history, before.read_until
                now = self._history(opened, record.view, until)
                now_old = self._history(opened, record.view, until, old.newest_available_at) if old.rows else now
                yield from changed_history(record.view, old, now, now_old)


def _check_histories(request: Request) -> None:
    for view in request.wanted():
        declared = request.declarations.views[view]
        if not declared.append_only:
            raise RequestError(
                f"known_as_of needs histories that keep what was once known, and {view} does not declare that it does",
                "declare `history: append_only` if its rows never change once written, or leave known_as_of out",
            )
        if not declared.append_only_test:
            raise RequestError(
                f"known_as_of needs histories that keep what was once known, and {view} only declares that it does",
                "put the test feature_warehouse.history_append_only on it, or leave known_as_of out",
            )


@dataclass(frozen=True, slots=True)
class _Open:
    """A training set that is being computed, for as long as its warehouse is open."""

    warehouse: DuckDB  # that gives the rows
    spine: PlacedSpine
    settled: Mapping[str, str]  # by view: the model of the settled history that is read in its place
    snapshots: Mapping[str, int]  # by catalog: the one that is read, of DuckLakes
    batches: pa.RecordBatchReader
    source: Source  # that has the histories


class Seen:
    """What the batches of a training set held: their content, and the latest time that was asked for."""

    def __init__(self, schema: pa.Schema, timestamp: str) -> None:
        self._content = ContentHash(schema)
        self._time = next(i for i, name in enumerate(schema.names) if name.lower() == timestamp.lower())
        self._latest: int | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        self._content.update(batch)
        latest = pc.max(batch.column(self._time).cast(pa.int64())).as_py()
        if latest is not None:
            self._latest = latest if self._latest is None else max(self._latest, latest)

    def content(self) -> TableContent:
        return self._content.content()

    def latest(self) -> str | None:
        return instant_text(self._latest)


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

    ``entity_rows``: an Arrow table, a pandas or Polars frame, a DuckDB relation, the name of a dbt model, SQL on the
    warehouse, or the path of a CSV or Parquet file; it holds join keys, a zoned timestamp and any other columns
    (labels), which are kept. Rows stay in their order; those of a model, or of SQL that does not end in ``order by``,
    have none, and come sorted by time.
    ``features``: a service ('departure_delay@2', or the latest version: 'departure_delay'), or feature views
    (['carrier_delays.v2', ...]), whose features are then all joined. ``known_as_of``: see the guide on point-in-time
    correctness.

    Raises RequestError for rows and features that do not fit, ProjectError for what the join refuses, WarehouseError.

    >>> get_historical_features(labels, "departure_delay", timestamp="asked_at").to_parquet("training.parquet")
    """
    request = load_request(features, ProjectOptions.given(project_dir, profiles_dir, target))
    if known_as_of is not None and known_as_of.tzinfo is None:
        raise RequestError(f"known_as_of={known_as_of!r} names no instant", "give it a time zone")
    if known_as_of is not None:
        _check_histories(request)
    return HistoricalFeatures(
        _request=request,
        _spine=read_spine(entity_rows, request.read.manifest),
        _timestamp=timestamp,
        _known_as_of=known_as_of.isoformat() if known_as_of else None,
    )
