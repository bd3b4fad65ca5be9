"""The latest values of a feature view, read from a warehouse, encoded, and spooled to local disk.

Every row is encoded on the way into the spool, so that it is known to be servable before the first one is sent, and
sending needs no warehouse. Which warehouse it is, only its ``Source`` knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_warehouse.errors import DataError, WarehouseError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.warehouse.extent import Extent, Extents
from feature_warehouse.warehouse.source import Source, without_scale
from feature_warehouse.warehouse.spool import BATCH_BYTES, BATCH_ROWS, BINARY, SCHEMA, Spool, SpoolWriter
from feature_warehouse.wire.commands import Encoded
from feature_warehouse.wire.encode import Encoder, served_columns
from feature_warehouse.wire.keyspace import field_name

#: Batches encoded at the same time; numpy and Arrow work without the interpreter's lock.
_ENCODERS = 2

#: What DuckDB may use to look for the keys that are repeated before it spills.
MEMORY_LIMIT = "256MB"

#: Keys hashed together, and hashes looked at together.
_HASHED = 1 << 18
_HASHES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The latest values of one feature view version at one instant, encoded."""

    view: FeatureView
    field: str
    spool: Spool
    newest_available_at: datetime | None  # in UTC; of the whole history, not later than the instant asked for
    extents: Mapping[str, Extent]  # of the features that have guards


def spool_latest(source: Source, declared: DeclaredView, encoder: Encoder, as_of: datetime, folder: Path) -> Latest:
    """Reads the latest values at ``as_of``, encodes them and writes them into ``folder``.

    Raises WarehouseError when a relation or column is missing, and DataError when the rows cannot be an exact mirror:
    two of one key, or values that ``encoder`` refuses.
    """
    view, extents = encoder.view, Extents(encoder.view, declared.guards)
    source.spill_to(folder)
    newest = source.newest_available_at(declared, as_of)
    with _Hashes(folder / f"{view.id}.hashes") as hashes:
        rows = extents.noted(_rows(source, declared, view, as_of))
        spool = _write(folder / f"{view.id}.arrow", hashes.noted(_encoded(rows, encoder)))
        repeated, example = _repeated_keys(spool) if hashes.repeat() else (0, "")
    if repeated:
        raise DataError(
            f"the latest-value view of {view.id} has {repeated:,} of {spool.rows:,} rows "
            f"whose key another row has too, for instance {example}",
            f"make {declared.latest_name} with feature_warehouse.latest_values: one row per entity",
        )
    return Latest(
        view=view,
        field=field_name(view.name, view.version),
        spool=spool,
        newest_available_at=newest,
        extents=extents.found,
    )


def _rows(source: Source, declared: DeclaredView, view: FeatureView, as_of: datetime) -> Iterator[pa.RecordBatch]:
    relation, types = source.latest(declared, as_of), served_columns(view)
    found = source.describe(relation, of=view.id)
    for column in types:
        if column not in found:
            raise WarehouseError(
                f"{declared.latest_name} has no column '{column}', which {view.id} serves",
                f"run `dbt run --select {view.name}+`",
            )
        if found[column] == "numeric":
            raise without_scale(view.id, column)
    return source.batches(f"select {source.dialect.select_list(types)} from {relation}", types, of=view.id)


def _encoded(batches: Iterable[pa.RecordBatch], encoder: Encoder) -> Iterator[Encoded]:
    """The batches encoded, in order, a few at a time."""

    def encode(some: list[pa.RecordBatch]) -> Encoded:
        return encoder.encode(pa.concat_batches(some))

    with ThreadPoolExecutor(_ENCODERS) as pool:
        running: deque[Future[Encoded]] = deque()
        for some in _gathered(batches):
            running.append(pool.submit(encode, some))
            if len(running) > _ENCODERS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches in lists of up to BATCH_ROWS rows, and up to BATCH_BYTES bytes where one has not more."""
    some: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if some and (rows + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
            yield some
            some, rows, size = [], 0, 0
        some.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if some:
        yield some


class _Hashes:
    """64 bits of each key, in a file: whether two rows may have the same key, found out within little memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0
        self._waiting: list[pa.Array] = []

    def __enter__(self) -> _Hashes:
        self._file = open(self._path, "wb")  # closed in __exit__
        self._connection = duckdb.connect(config={"threads": 1})
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._file.close()

    def noted(self, batches: Iterable[Encoded]) -> Iterator[Encoded]:
        """The same batches, the hashes of their keys written down."""
        for batch in batches:
            self._waiting.append(batch.keys)
            if sum(map(len, self._waiting)) > _HASHED or sum(each.nbytes for each in self._waiting) > BATCH_BYTES:
                self._hash()
            yield batch
        self._hash()

    def repeat(self) -> bool:
        """False: no two keys are the same. Equal hashes meet in one part; sorted, they are neighbours."""
        parts = np.uint64(-(-self._rows // _HASHES))
        for part in range(int(parts)):
            found = np.concatenate([some[some % parts == part] for some in self._some()])
            found.sort()
            if (found[1:] == found[:-1]).any():
                return True
        return False

    def _hash(self) -> None:
        keys = pa.table({"key": pa.chunked_array(self._waiting, BINARY)})
        self._waiting = []
        self._connection.register("keys", keys)
        hashes = self._connection.execute("select hash(key) as hash from keys").fetchnumpy()["hash"]
        self._file.write(np.asarray(hashes, np.uint64).tobytes())
        self._file.flush()
        self._rows += keys.num_rows

    def _some(self) -> Iterator[npt.NDArray[np.uint64]]:
        with open(self._path, "rb") as file:
            while len(some := np.fromfile(file, np.uint64, 1 << 17)):
                yield some


def _repeated_keys(spool: Spool) -> tuple[int, str]:
    """How many rows have the key of an earlier one, and one such key."""
    with duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("set temp_directory = ?", [str(spool.path.parent / "spilled")])
        connection.register("spooled", pa.RecordBatchReader.from_batches(SCHEMA, spool.batches()))
        repeated = "select key, count(*) as n from spooled group by key having n > 1"
        query = f"select coalesce(sum(n - 1), 0)::bigint, coalesce(min(key), '') from ({repeated})"
        ((count, example),) = connection.execute(query).fetchall()
    return count, example.decode(errors="replace")


def _write(path: Path, batches: Iterable[Encoded]) -> Spool:
    with SpoolWriter(path) as writer:
        for batch in batches:
            writer.add(batch.keys, batch.messages)
    return writer.spool
