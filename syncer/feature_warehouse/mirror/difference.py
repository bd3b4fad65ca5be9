"""The difference between what a view should hold online and what it does hold: what a sync sends.

Both sides are spools of whole messages, so the comparison is exact: bytes with bytes, and SHA-256 with SHA-256 where
messages are long. DuckDB joins them within a fixed amount of memory and spills to disk beyond it, so ten million rows
take no more memory than one million. What it finds are positions; the rows themselves are read from their spool again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.errors import SyncerError
from feature_warehouse.warehouse.spool import BATCH_ROWS, BINARY, SCHEMA, Spool, SpoolWriter

#: Keys named per kind of difference.
EXAMPLES = 3

#: Bytes of a message up to which it is joined itself.
LONG = 1_024

#: What DuckDB may use for a comparison before it spills.
MEMORY_LIMIT = "384MB"

_NUMBERED = SCHEMA.append(pa.field("position", pa.int64()))
_KEYS = pa.schema([SCHEMA.field("key")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What turns what is online into what should be there."""

    writes: Spool  # new and changed entities with their messages
    removals: Spool  # entities to take away; no messages
    added: int  # of the writes: entities that were not online
    repeated: bool = False  # a key may come twice in what is online
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
        message = "message" if max(wanted.longest, online.longest) <= LONG else "sha256(message)"
        query = f"""
            select distinct
                wanted.position as position,
                online.key is null as is_new,
                case when wanted.key is null then online.key end as gone
            from (select key, position, {message} as message from wanted) as wanted
            full join (select key, {message} as message from online) as online on wanted.key = online.key
            where wanted.message is distinct from online.message
            order by position
        """
        added = 0
        examples_of: dict[str, list[bytes]] = {"missing": [], "different": [], "extra": []}

        def example(kind: str, keys: pa.Array) -> None:
            examples_of[kind] += keys.slice(0, EXAMPLES - len(examples_of[kind])).to_pylist()

        def found() -> Iterator[tuple[npt.NDArray[np.int64], pa.BooleanArray]]:
            for batch in self._query(query, wanted=(_NUMBERED, _numbered(wanted)), online=(SCHEMA, online.batches())):
                gone = batch.column(2).drop_null().cast(BINARY)
                removals.add(gone, pa.nulls(len(gone), BINARY))
                example("extra", gone)
                there = batch.filter(batch.column(0).is_valid())
                yield there.column(0).to_numpy(), there.column(1)

        with (
            SpoolWriter(self._folder / f"{wanted.path.stem}.writes") as writes,
            SpoolWriter(self._folder / f"{wanted.path.stem}.removals") as removals,
        ):
            for rows, is_new in _rows_at(wanted, found()):
                writes.add(*rows.columns)
                added += pc.sum(is_new).as_py() or 0
                example("missing", rows.column(0).filter(is_new))
                example("different", rows.column(0).filter(pc.invert(is_new)))
        named = tuple(_named(kind, key) for kind, keys in examples_of.items() for key in keys)
        repeated = online.rows > wanted.rows - added + removals.spool.rows
        return Difference(writes=writes.spool, removals=removals.spool, added=added, repeated=repeated, examples=named)

    def pairs(self, made: Difference, online: Spool) -> Iterator[tuple[list[bytes | None], list[bytes | None]]]:
        """Of what a difference writes and removes, the messages wanted, and those online; None: there is none."""
        once = "online"
        if made.repeated:
            once = "(select key, any_value(message) as message from online group by key) as online"
        query = f"""
            select made.message, online.message
            from (select key, message from written union all select key, null from removed) as made
            left join {once} using (key)
        """
        tables = {"written": made.writes, "removed": made.removals, "online": online}
        batches = {name: (SCHEMA, spool.batches()) for name, spool in tables.items()}
        for batch in self._query(query, **batches):
            yield batch.column(0).to_pylist(), batch.column(1).to_pylist()

    def overlay(self, online: Spool, made: Difference, written: int, removed: int) -> Spool:
        """What is online when the first ``written`` writes and ``removed`` removals of a difference have been made."""
        query = "select key, message from online where key not in (select key from written union all from removed)"
        done = {"written": _first(made.writes.batches(), written), "removed": _first(made.removals.batches(), removed)}
        keys = {name: (_KEYS, (batch.select([0]) for batch in batches)) for name, batches in done.items()}
        with SpoolWriter(self._folder / f"{online.path.stem}.overlay") as result:
            for batch in self._query(query, online=(SCHEMA, online.batches()), **keys):
                result.add(*(column.cast(BINARY) for column in batch.columns))
            for batch in _first(made.writes.batches(), written):
                result.add(*batch.columns)
        return result.spool

    def _query(self, query: str, **tables: tuple[pa.Schema, Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The rows of a query over tables, each of which is read once."""
        self._connection = connection = self._connection or duckdb.connect(config=self._settings)
        for name, (schema, batches) in tables.items():
            connection.register(name, pa.RecordBatchReader.from_batches(schema, batches))
        try:
            yield from connection.sql(query).to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException) as error:  # a query that fails half-way comes through Arrow
            words = str(error).split("\n", 1)[0]
            raise SyncerError(
                f"what is online cannot be compared: {words}", f"is there room on the disk of {self._folder.parent}?"
            ) from error
        for name in tables:
            connection.unregister(name)


def _numbered(spool: Spool) -> Iterator[pa.RecordBatch]:
    """The rows of a spool, each with its position in it."""
    first = 0
    for batch in spool.batches():
        positions = np.arange(first, first + batch.num_rows)
        yield pa.record_batch([*batch.columns, pa.array(positions)], schema=_NUMBERED)
        first += batch.num_rows


def _rows_at(
    spool: Spool, found: Iterable[tuple[npt.NDArray[np.int64], pa.Array]]
) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """The rows of a spool at some positions, with what comes along; all positions are in ascending order."""
    batches, first, end = spool.batches(), 0, 0
    for positions, along in found:
        while len(positions):
            while positions[0] >= end:
                batch = next(batches)
                first, end = end, end + batch.num_rows
            count = int(positions.searchsorted(end))
            yield batch.take(pa.array(positions[:count] - first)), along[:count]
            positions, along = positions[count:], along[count:]


def empty_spool(path: Path) -> Spool:
    with SpoolWriter(path) as writer:
        pass
    return writer.spool


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
