"""Training sets: features for given rows, each as known at its own time; and the same sets again.

The SQL is that of the macro ``point_in_time_join``, rendered by dbt; there is no second implementation. It runs on a
read-only connection of ours, so an open notebook or another reader does no harm.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_warehouse.errors import DataError, RequestError
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.training.content import ContentHash, TableContent
from feature_warehouse.training.frames import FeatureTable, check_destination, write_parquet
from feature_warehouse.training.provenance import (
    SUFFIX,
    HistoryRecord,
    SpineRecord,
    TrainingSetManifest,
    ViewRecord,
    changed_columns,
    changed_content,
    changed_history,
    changed_inputs,
    code_revision,
    history,
    instant_text,
    manifest_path,
    read_manifest,
    service_hash,
    software,
)
from feature_warehouse.training.request import Request, load_request
from feature_warehouse.training.spine import TABLE, PlacedSpine, Spine, place_spine, quoted, read_spine
from feature_warehouse.warehouse.duckdb import Warehouse
from feature_warehouse.warehouse.spool import BATCH_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoricalFeatures(FeatureTable):
    """A training set that is ready to be computed: one row per entity row, its columns first, then the features."""

    _request: Request
    _spine: Spine
    _timestamp: str
    _known_as_of: str | None

    def to_parquet(self, path: str | Path) -> int:
        """Writes a Parquet file batch by batch, whatever its size, and beside it ``<path>.manifest.json``.

        Returns the number of rows. The two are there when they are complete, the manifest last: a run that fails leaves
        what was there before.
        """
        path = Path(path)
        check_destination(path)
        with self._open() as opened:
            seen = _Seen(opened.batches.schema, self._timestamp)
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
        with request.open_warehouse() as warehouse:
            spine = place_spine(warehouse, self._spine, request.reads, request.views, request.service, self._timestamp)
            arguments = [
                f"spine={TABLE!r}",
                f"spine_columns={spine.columns!r}",
                f"spine_timestamp={self._timestamp!r}",
                *([f"known_as_of={self._known_as_of!r}"] if self._known_as_of else []),
            ]
            sql = spine.in_order(request.compile("point_in_time_join", arguments))
            yield _Open(warehouse, spine, warehouse.query(sql))

    def _manifest(self, opened: _Open, seen: _Seen, path: Path) -> TrainingSetManifest:
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
            code=code_revision(request.project.folder, request.project.source_paths),
            software=software(),
        )

    def _history(self, opened: _Open, view: str, until: str | None, *known_by: str | None) -> HistoryRecord:
        request = self._request
        declared, features = request.declarations.views[view], request.wanted()[view]
        return history(opened.warehouse, declared, features, until, [self._known_as_of, *known_by])

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

    warehouse: Warehouse
    spine: PlacedSpine
    batches: pa.RecordBatchReader


class _Seen:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChanges(FeatureTable):
    """The changes of some features between two instants, ready to be computed; sorted by their instants."""

    _request: Request
    _start: datetime
    _end: datetime

    @contextmanager
    def _batches(self) -> Iterator[pa.RecordBatchReader]:
        arguments = [f"start={self._start.isoformat()!r}", f"end={self._end.isoformat()!r}"]
        sql = self._request.compile("feature_changes", arguments)
        keys = map(
            quoted, dict.fromkeys(name for read in self._request.reads for name in self._request.keys(read).values())
        )
        with self._request.open_warehouse() as warehouse:
            yield warehouse.query(f"from ({sql}) order by {', '.join(['changed_at', 'feature_view', *keys])}")


def get_feature_changes(
    features: str | Sequence[str],
    start: datetime,
    end: datetime,
    *,
    project_dir: str | Path | None = None,
    profiles_dir: str | Path | None = None,
    target: str | None = None,
) -> FeatureChanges:
    """Every change of ``features`` from ``start`` on and before ``end``; see the macro ``feature_changes``.

    Raises RequestError for a time without a zone, and like ``get_historical_features``.
    """
    for moment in (start, end):
        if moment.tzinfo is None:
            raise RequestError(f"{moment!r} names no instant", "give it a time zone")
    return FeatureChanges(
        _request=load_request(features, ProjectOptions.given(project_dir, profiles_dir, target)), _start=start, _end=end
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A training set that was computed again. It is the same when ``differences`` is empty."""

    before: TrainingSetManifest
    now: TrainingSetManifest
    differences: tuple[str, ...]  # what came out differently, in sentences
    changes: tuple[str, ...]  # what it is made from that has changed since, whether it matters or not


def rebuild(
    manifest: str | Path,
    *,
    entity_rows: Any = None,
    output: str | Path | None = None,
    project_dir: str | Path | None = None,
    profiles_dir: str | Path | None = None,
    target: str | None = None,
) -> Rebuilt:
    """Computes the training set of a manifest again and compares.

    ``entity_rows``: where the rows are now; needed where they were given from Python, as a frame. ``output``: where to
    write the new set and its manifest; without it nothing is written, and never over the old set unasked.

    Raises RequestError when the file is no manifest or nobody has its rows, and like ``get_historical_features``.
    """
    path = Path(manifest)
    before = read_manifest(path)
    features = get_historical_features(
        _rows_again(before, path) if entity_rows is None else entity_rows,
        before.features,
        timestamp=before.timestamp,
        known_as_of=datetime.fromisoformat(before.known_as_of) if before.known_as_of else None,
        project_dir=project_dir,
        profiles_dir=profiles_dir,
        target=target,
    )
    destination = None if output is None else Path(output)
    if destination is not None:
        check_destination(destination)
    old = path.with_name(path.name.removesuffix(SUFFIX))
    with (
        tempfile.TemporaryDirectory(
            prefix=".feature_warehouse_", dir=(destination or path).absolute().parent
        ) as folder,
        features._open() as opened,
    ):
        new = Path(folder) / "rebuilt.parquet"
        seen = _Seen(opened.batches.schema, before.timestamp)
        write_parquet(new, opened.batches, seen.see)
        now = features._manifest(opened, seen, destination or path)
        changes = [*changed_inputs(before, now), *features._changed_histories(opened, before)]
        differences = changed_content(before.content, now.content)
        if differences and before.content.rows == now.content.rows and old.exists():
            differences += _different_rows(opened.warehouse, old, new, before.content, now.content)
        if destination is not None:
            os.replace(new, destination)
            now.write(manifest_path(destination))
    return Rebuilt(before=before, now=now, differences=tuple(differences), changes=tuple(changes))


def _rows_again(manifest: TrainingSetManifest, path: Path) -> Any:
    kind, source = manifest.spine.kind, manifest.spine.source
    if source is None:
        raise RequestError(
            f"the rows of {path.name.removesuffix(SUFFIX)} were given from Python, so nobody can read them again",
            "give them: entity_rows= (--spine)",
        )
    return path.parent / source if kind == "file" else source


def _different_rows(
    warehouse: Warehouse, old: Path, new: Path, before: TableContent, now: TableContent
) -> Iterator[str]:
    """How many rows differ, in which columns, where the old file still is what its manifest says."""
    if _content_of_file(old) != before:
        yield f"{old.name} is no longer what its manifest says, so its rows are not compared"
        return
    warehouse.add("old_rows", old)
    warehouse.add("new_rows", new)
    columns = changed_columns(before, now)
    counts = ", ".join(
        f"count(*) filter (where old_rows.{name} is distinct from new_rows.{name}) as {name}"
        for name in map(quoted, columns)
    )
    (row,) = (
        warehouse.query(f"select {counts} from old_rows positional join new_rows").read_all().to_pylist()
        if columns
        else ({},)
    )
    for name, count in row.items():
        yield f"{name}: {count:,} of {now.rows:,} rows"


def _content_of_file(path: Path) -> TableContent | None:
    """None when it is no Parquet file, or not one of ours."""
    try:
        with pq.ParquetFile(path) as file:
            content = ContentHash(file.schema_arrow)
            for batch in file.iter_batches(BATCH_ROWS):
                content.update(batch)
    except (pa.ArrowException, DataError):
        return None
    return content.content()
