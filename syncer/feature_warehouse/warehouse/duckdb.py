"""DuckDB: reading the latest values at one instant and spooling them, encoded, to local disk.

Opens the file read-only, in one transaction, and gives it back at once: DuckDB's lock shuts every other process out,
and dbt wants to write. What is read is encoded on the way into a local Arrow file (the spool), so that every row is
known to be servable before the first one is sent, and sending needs no warehouse. With ``ondemand`` one of the two
modules that import duckdb.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_warehouse.errors import DataError, StoppedError, WarehouseError, WarehouseLockedError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.warehouse.spool import BATCH_BYTES, BATCH_ROWS, SCHEMA, Spool, SpoolWriter
from feature_warehouse.wire.commands import Encoded
from feature_warehouse.wire.encode import Encoder, select_list
from feature_warehouse.wire.keyspace import field_name

#: Seconds to wait for another process to give the DuckDB file back.
LOCK_SECONDS = 20.0

#: What DuckDB may use for reading before it spills, and the threads that this is enough for, where the profile does not
#: say.
MEMORY_LIMIT = "256MB"
THREADS = 2

#: Batches encoded at the same time; numpy and Arrow work without the interpreter's lock.
_ENCODERS = 2

#: Rows in the smallest batch that DuckDB makes: values may be long, and it counts rows alone.
_VECTOR = 2_048

#: The column of key hashes among those of a view, under a name that no column has; and how many are looked at together.
_HASH = "#hash"
_HASHES = 1 << 22

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: What DuckDB says of a file that another process holds, with that process if it can tell.
_LOCKED = re.compile(r"Could not set lock on file(?:.*held in (.+? \(PID \d+\)))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The latest values of one feature view version at one instant, encoded."""

    view: FeatureView
    field: str
    spool: Spool
    newest_available_at: datetime | None  # in UTC; of the whole history, not later than the instant asked for


class Warehouse:
    """A connection for as long as its ``with`` block lasts, read-only as a rule; one snapshot of all tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Collection[str] = ()) -> None:
        """``settings``: the names of those that the profile makes."""
        self._connection = connection
        self._settings = {name.lower() for name in settings}

    def spool(
        self, declared: DeclaredView, encoder: Encoder, as_of: datetime, folder: Path, allow_empty: bool = False
    ) -> Latest:
        """Reads the latest values at ``as_of``, encodes them and writes them into ``folder``.

        Raises WarehouseError when a relation or column is missing, and DataError when the rows cannot be an exact
        mirror: none at all (unless ``allow_empty``), two of one key, or values that ``encoder`` refuses.
        """
        view = encoder.view
        with _warehouse_errors(view.id):
            self._stay_within(folder)
            self.stand_at(as_of)
            newest = self.newest_available_at(declared, as_of)
            with _Hashes(folder / f"{view.id}.hashes") as hashes:
                batches = hashes.noted(self._latest_values(declared, view))
                spool = _write(folder / f"{view.id}.arrow", _encoded(batches, encoder))
            repeated, example = self._repeated_keys(spool) if hashes.repeat() else (0, "")
        if spool.rows == 0 and not allow_empty:
            raise DataError(
                f"the latest-value view of {view.id} is empty at {as_of.isoformat()}",
                "serving nothing is rarely meant: look at its history, its ttl and the clock (--as-of); "
                "or give --allow-empty",
            )
        if repeated:
            raise DataError(
                f"the latest-value view of {view.id} has {repeated:,} of {spool.rows:,} rows "
                f"whose key another row has too, for instance {example}",
                f"make {declared.latest_name} with feature_warehouse.latest_values: one row per entity",
            )
        return Latest(view=view, field=field_name(view.name, view.version), spool=spool, newest_available_at=newest)

    def newest_available_at(self, declared: DeclaredView, as_of: datetime) -> datetime | None:
        """When the newest fact of a history became available, of those that are by ``as_of``; None: there is none.

        Raises WarehouseError.
        """
        known = declared.view.available_at or declared.view.event_timestamp
        # As a number: DuckDB makes a datetime with a zone only where pytz is installed.
        query = f'select epoch_us(max("{known}")) from {declared.relation} where "{known}" <= $now'
        with _warehouse_errors(declared.view.id):
            ((newest,),) = self._connection.execute(query, {"now": as_of}).fetchall()
        return None if newest is None else _EPOCH + timedelta(microseconds=newest)

    def add(self, name: str, rows: Any, types: Mapping[str, str] | None = None) -> dict[str, str]:
        """Makes ``rows`` readable as the table ``name``; returns {column: DuckDB type}.

        ``rows``: an Arrow table or reader, a pandas or Polars frame, a DuckDB relation, SQL text, or the path of a CSV
        or Parquet file. ``types``: {column: type} of a CSV file, where guessing will not do. Raises WarehouseError when
        the rows are none of these or cannot be read.
        """
        try:
            if isinstance(rows, duckdb.DuckDBPyRelation):
                rows = rows.to_arrow_table()  # a relation belongs to its own connection
            if isinstance(rows, Path):
                read = "read_parquet" if rows.suffix == ".parquet" else "read_csv"
                known = ", ".join(f"{_literal(column)}: {_literal(type_)}" for column, type_ in (types or {}).items())
                arguments = _literal(str(rows)) + (f", types = {{{known}}}" if known else "")
                self._connection.execute(f"create or replace temp view {name} as from {read}({arguments})")
            elif isinstance(rows, str):
                self._connection.execute(f"create or replace temp view {name} as {rows}")
            else:
                self._connection.register(name, rows)
            return {row[0]: row[1] for row in self._connection.execute(f"describe {name}").fetchall()}
        except duckdb.Error as error:
            raise WarehouseError(
                f"the rows cannot be read: {_words(error)}",
                "give a frame or a table, SQL such as 'from departures', or the path of a .csv or .parquet file",
            ) from error

    def query(self, sql: str, of: str = "the query") -> pa.RecordBatchReader:
        """The rows of a query, as a stream; read it before the ``with`` block ends. Raises WarehouseError, which calls
        it ``of``."""
        with _warehouse_errors(of):
            found = self._connection.sql(sql)
            # DuckDB exports a large uhugeint as a negative number; as a hugeint it is itself, or an error.
            types = zip(found.columns, found.types, strict=True)
            wide = ['"' + name.replace('"', '""') + '"' for name, type_ in types if type_ == "UHUGEINT"]
            if wide:
                found = found.project(f"* replace ({', '.join(f'{name}::hugeint as {name}' for name in wide)})")
            return found.to_arrow_reader(BATCH_ROWS)

    def run(self, *statements: str) -> None:
        """Runs ``statements`` that make names and temporary tables, none of them in the file; the snapshot ends.

        Raises WarehouseError.
        """
        with _warehouse_errors("the comparison"):
            self._connection.rollback()  # a transaction writes to one catalog alone
            try:
                for statement in statements:
                    self._connection.execute(statement)
            finally:
                self._connection.begin()

    def write(self, statement: str) -> None:
        """Carries out a statement that writes into the file, if it was opened for that. Raises WarehouseError."""
        with _warehouse_errors("the query"):
            self._connection.execute(statement)

    def parse(self, sql: str) -> str:
        """What DuckDB's own parser makes of a query, as JSON. Raises WarehouseError when it is no query."""
        with _warehouse_errors("the query"):
            ((parsed,),) = self._connection.execute("select json_serialize_sql($sql::varchar)", {"sql": sql}).fetchall()
        return str(parsed)

    def stand_at(self, instant: datetime) -> None:
        """Makes ``instant`` the "now" of every view that asks for it."""
        self._connection.execute("set variable feature_warehouse_now = $now", {"now": instant.isoformat()})

    def _stay_within(self, folder: Path) -> None:
        """Lets a view that sorts or groups all of its rows take to disk what is beyond MEMORY_LIMIT."""
        if not self._settings & {"memory_limit", "max_memory"}:
            self._connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
            if "threads" not in self._settings:
                self._connection.execute(f"set threads = {THREADS}")
        if "temp_directory" not in self._settings:
            self._connection.execute("set temp_directory = ?", [str(folder / "spilled")])
            self._settings.add("temp_directory")  # once in use, it stays

    def _latest_values(self, declared: DeclaredView, view: FeatureView) -> Iterable[pa.RecordBatch]:
        relation = latest_relation(declared)
        columns = {row[0] for row in self._connection.execute(f"describe {relation}").fetchall()}
        wanted = [*(key.name for key in view.entity.join_keys), view.event_timestamp, *(f.name for f in view.features)]
        for column in wanted:
            if column not in columns:
                raise WarehouseError(
                    f"{declared.latest_name} has no column '{column}', which {view.id} serves",
                    f"run `dbt run --select {view.name}+`",
                )
        keys = ", ".join(f'"{key.name}"' for key in view.entity.join_keys)
        query = f'select {select_list(view)}, hash({keys}) as "{_HASH}" from {relation}'
        batches: Iterable[pa.RecordBatch] = self._connection.sql(query).to_arrow_reader(_VECTOR)
        return batches

    def _repeated_keys(self, spool: Spool) -> tuple[int, str]:
        """How many rows have the key of an earlier one, and one such key."""
        self._connection.register("spooled", pa.RecordBatchReader.from_batches(SCHEMA, spool.batches()))
        repeated = "select key, count(*) as n from spooled group by key having n > 1"
        query = f"select coalesce(sum(n - 1), 0)::bigint, coalesce(min(key), '') from ({repeated})"
        ((count, example),) = self._connection.execute(query).fetchall()
        self._connection.unregister("spooled")
        return count, example.decode(errors="replace")


def latest_relation(declared: DeclaredView) -> str:
    """Where the latest values of a feature view are. Raises WarehouseError when the project has no view of them."""
    if declared.latest_relation is None:
        view = declared.view
        raise WarehouseError(
            f"{view.id} has no latest-value view",
            f"create models/{declared.latest_name}.sql with one line: "
            f"{{{{ feature_warehouse.latest_values(ref('{view.name}', v={view.version})) }}}}",
        )
    return declared.latest_relation


@contextmanager
def open_warehouse(
    database: Path,
    settings: Mapping[str, Any] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    patience: float | None = None,
    *,
    writable: bool = False,
) -> Iterator[Warehouse]:
    """A Warehouse on ``database``, in UTC, inside one transaction; what is written is there once the block has ended.

    Waits up to ``patience`` seconds (None: LOCK_SECONDS) while another process holds the file. Raises
    WarehouseLockedError after that, StoppedError once ``stopped`` says so, and WarehouseError when there is no file, it
    is no database, or a setting is none of DuckDB's.
    """
    if str(database) == ":memory:":
        raise WarehouseError(
            "the target's DuckDB is in memory, so only dbt can see it", "give the profile a file: path:"
        )
    if not database.exists():
        raise WarehouseError(f"there is no warehouse at {database.absolute()}", "run `dbt build` first")
    connection = _connect(database, stopped, LOCK_SECONDS if patience is None else patience, writable)
    try:
        for name, value in (settings or {}).items():
            try:
                connection.execute(f"set {name} = ?", [value])
            except duckdb.Error as error:
                raise WarehouseError(
                    f"the setting '{name}' of the profile cannot be made: {_words(error)}",
                    "settings of extensions and of start-up cannot be used here: give the syncer a target without them",
                ) from error
        connection.execute("set TimeZone = 'UTC'")
        # The loops that DuckDB would join a few rows by lose the sign of a zero in a list; sorting keeps it.
        connection.execute("set asof_loop_join_threshold = 0")
        connection.begin()
        yield Warehouse(connection, settings or ())
        if writable:
            connection.commit()
    finally:
        connection.close()


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

    def __enter__(self) -> _Hashes:
        self._file = open(self._path, "wb")  # closed in __exit__
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def noted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, their hashes written down."""
        for batch in batches:
            self._file.write(batch.column(batch.schema.get_field_index(_HASH)).to_numpy())
            self._rows += batch.num_rows
            yield batch

    def repeat(self) -> bool:
        """False: no two keys are the same. Equal hashes meet in one part; sorted, they are neighbours."""
        parts = np.uint64(-(-self._rows // _HASHES))
        for part in range(int(parts)):
            found = np.concatenate([some[some % parts == part] for some in self._some()])
            found.sort()
            if (found[1:] == found[:-1]).any():
                return True
        return False

    def _some(self) -> Iterator[npt.NDArray[np.uint64]]:
        with open(self._path, "rb") as file:
            while len(some := np.fromfile(file, np.uint64, 1 << 17)):
                yield some


def _write(path: Path, batches: Iterable[Encoded]) -> Spool:
    with SpoolWriter(path) as writer:
        for batch in batches:
            writer.add(batch.keys, batch.messages)
    return writer.spool


def _connect(database: Path, stopped: Callable[[], bool], patience: float, writable: bool) -> duckdb.DuckDBPyConnection:
    deadline, pause = time.monotonic() + patience, 0.05
    while True:
        try:
            return duckdb.connect(str(database), read_only=not writable)
        except duckdb.Error as error:
            locked = _LOCKED.search(str(error))
            if not locked:
                raise WarehouseError(f"{database} cannot be opened: {_words(error)}", "is it a DuckDB file?") from error
            if stopped():
                raise StoppedError(f"stopped while waiting for {database}", "run `syncer sync` again") from error
            if time.monotonic() + pause > deadline:
                holder = f"{locked[1] or 'another process'} holds {database}"
                raise WarehouseLockedError(
                    f"{holder}, and still did after {patience:g} s",
                    "wait for that dbt run or close that session, then try again",
                ) from error
            time.sleep(pause)
            pause = min(pause * 2, 1.0)


@contextmanager
def _warehouse_errors(id_: str) -> Iterator[None]:
    try:
        yield
    except duckdb.CatalogException as error:
        raise WarehouseError(f"{id_} is not built: {_words(error)}", "run `dbt build` first") from error
    except duckdb.OutOfMemoryException as error:
        raise WarehouseError(
            f"{id_} takes more memory than DuckDB may use: {_words(error)}",
            f"give it more than {MEMORY_LIMIT} in the profile's output: settings: {{memory_limit: 2GB}}",
        ) from error
    except duckdb.ConversionException as error:
        raise WarehouseError(
            f"{id_} cannot be read: {_words(error)}", "give it a type that holds the value: varchar takes any"
        ) from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:  # a query that fails half-way comes through Arrow
        raise WarehouseError(f"{id_} cannot be read: {_words(error)}", "see what `dbt build` says") from error


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _words(error: Exception) -> str:
    """The first line of what DuckDB says, without its kind; the rest is a stack or a picture of the query."""
    return re.sub(r"^[A-Z]\w+( \w+)? Error: ", "", str(error).split("\n", 1)[0])
