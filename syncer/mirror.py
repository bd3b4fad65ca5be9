"""The difference between what a view should hold online and what it does hold: what a sync sends.

Both sides are spools of whole messages, so the comparison is exact: bytes with bytes. DuckDB joins them within a fixed
amount of memory and spills to disk beyond it, so ten million rows take no more memory than one million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from syncer.spool import BATCH_ROWS, BINARY, SCHEMA, Spool, SpoolWriter

#: Keys named per kind of difference.
EXAMPLES = 3

#: What DuckDB may use for a comparison before it spills.
MEMORY_LIMIT = "384MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What turns what is online into what should be there."""

    writes: Spool  # new and changed entities with their messages
    removals: Spool  # entities to take away; no messages
    added: int  # of the writes: entities that were not online
    examples: tuple[str, ...] = ()  # a few keys: 'missing shop_dev:customer:1'

    @property
    def changed(self) -> int:
        return self.writes.rows - self.added


class Comparison:
    """Compares spools, and writes what comes out as spools into ``folder``, inside a ``with``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings: dict[str, Any] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(folder / "spilled"),
            "threads": 2,
            "preserve_insertion_order": False,
        }
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Comparison:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def difference(self, wanted: Spool, online: Spool) -> Difference:
        """What to write and to remove.

        A key comes once in ``wanted``, and at least once in ``online``: a scan of Redis may find one twice.
        """
        nothing = empty_spool(self._folder / f"{wanted.path.stem}.none")
        if not online.rows:
            examples = _examples("missing", wanted)
            return Difference(writes=wanted, removals=nothing, added=wanted.rows, examples=examples)
        query = """
            select distinct
                coalesce(wanted.key, online.key) as key, wanted.message as message, online.key is null as is_new
            from wanted full join online on wanted.key = online.key
            where wanted.message is distinct from online.message
        """
        added = 0
        examples_of: dict[str, list[bytes]] = {"missing": [], "different": [], "extra": []}
        with (
            SpoolWriter(self._folder / f"{wanted.path.stem}.writes") as writes,
            SpoolWriter(self._folder / f"{wanted.path.stem}.removals") as removals,
        ):
            for batch in self._query(query, wanted=wanted.batches(), online=online.batches()):
                vanished = batch.column(1).is_null()
                kept, gone = batch.filter(pc.invert(vanished)), batch.filter(vanished)
                writes.add(*_binary(kept))
                removals.add(*_binary(gone))
                is_new = kept.column(2)
                added += pc.sum(is_new).as_py() or 0
                for kind, keys in (
                    ("missing", kept.column(0).filter(is_new)),
                    ("different", kept.column(0).filter(pc.invert(is_new))),
                    ("extra", gone.column(0)),
                ):
                    examples_of[kind] += keys.slice(0, EXAMPLES - len(examples_of[kind])).to_pylist()
        named = tuple(_named(kind, key) for kind, keys in examples_of.items() for key in keys)
        return Difference(writes=writes.spool, removals=removals.spool, added=added, examples=named)

    def overlay(self, online: Spool, made: Difference, written: int, removed: int) -> Spool:
        """What is online when the first ``written`` writes and ``removed`` removals of a difference have been made."""
        query = """
            select coalesce(written.key, online.key) as key, coalesce(written.message, online.message) as message
            from online full join written on online.key = written.key
            where coalesce(written.key, online.key) not in (select key from removed)
        """
        parts = {"written": _first(made.writes.batches(), written), "removed": _first(made.removals.batches(), removed)}
        with SpoolWriter(self._folder / f"{online.path.stem}.overlay") as result:
            for batch in self._query(query, online=online.batches(), **parts):
                result.add(*_binary(batch))
        return result.spool

    def _query(self, query: str, **tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of a query over spools, each of which is read once."""
        self._connection = connection = self._connection or duckdb.connect(config=self._settings)
        for name, batches in tables.items():
            connection.register(name, pa.RecordBatchReader.from_batches(SCHEMA, batches))
        yield from connection.sql(query).to_arrow_reader(BATCH_ROWS)
        for name in tables:
            connection.unregister(name)


def empty_spool(path: Path) -> Spool:
    with SpoolWriter(path) as writer:
        pass
    return writer.spool


def _binary(batch: pa.RecordBatch) -> list[pa.Array]:
    """Keys and messages of a query in the types of a spool."""
    return [batch.column(index).cast(BINARY) for index in (0, 1)]


def _first(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def _examples(kind: str, spool: Spool) -> tuple[str, ...]:
    keys = (key for batch in _first(spool.batches(), EXAMPLES) for key in batch.column(0).to_pylist())
    return tuple(_named(kind, key) for key in keys)


def _named(kind: str, key: bytes) -> str:
    return f"{kind} {key.decode(errors='replace')}"
