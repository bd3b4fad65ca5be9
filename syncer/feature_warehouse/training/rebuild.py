"""Rebuilding: the training set of a manifest again, compared with what the manifest says of the old one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_warehouse.errors import DataError, RequestError
from feature_warehouse.training.content import ContentHash, TableContent
from feature_warehouse.training.formats import check_destination, write_parquet
from feature_warehouse.training.historical import Seen, get_historical_features
from feature_warehouse.training.provenance import (
    SUFFIX,
    TrainingSetManifest,
    changed_columns,
    changed_content,
    changed_inputs,
    manifest_path,
    read_manifest,
)
from feature_warehouse.training.spine import quoted
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.spool import BATCH_ROWS


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
    asked = get_historical_features(
        _rows_again(before, path) if entity_rows is None else entity_rows,
        before.features,
        timestamp=before.timestamp,
        known_as_of=datetime.fromisoformat(before.known_as_of) if before.known_as_of else None,
        project_dir=project_dir,
        profiles_dir=profiles_dir,
        target=target,
    )
    features = replace(asked, _snapshots=before.snapshots)  # a lake still has the rows of then
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
        seen = Seen(opened.batches.schema, before.timestamp)
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


def _different_rows(warehouse: DuckDB, old: Path, new: Path, before: TableContent, now: TableContent) -> Iterator[str]:
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
