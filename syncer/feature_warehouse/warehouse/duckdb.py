"""DuckDB: one file, read at one instant, or appended to.

Opens the file read-only as a rule, in one transaction, and gives it back at once: DuckDB's lock shuts every other
process out, and dbt wants to write. "Now" is a variable of the session, which every view asks for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from feature_warehouse.errors import NotBuiltError, StoppedError, WarehouseError, WarehouseLockedError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.profile import Output
from feature_warehouse.registry.types import canonical
from feature_warehouse.warehouse.source import Dialect, latest_relation
from feature_warehouse.warehouse.spool import BATCH_ROWS

#: Seconds to wait for another process to give the DuckDB file back.
LOCK_SECONDS = 20.0

#: What DuckDB may use for reading before it spills, and the threads that this is enough for, where the profile does not
#: say.
MEMORY_LIMIT = "256MB"
THREADS = 2

#: Rows in the smallest batch that DuckDB makes: values may be long, and it counts rows alone.
_VECTOR = 2_048

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: What DuckDB says of a file that another process holds, with that process if it can tell.
_LOCKED = re.compile(r"Could not set lock on file \"([^\"]*)\"(?:.*held in (.+? \(PID \d+\)))?")

#: A path that is none: md:, ducklake:, s3://.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!memory:)")

#: What stands beside a secret, or between one and a host.
_SECRET = re.compile(r"passw|token|secret|@", re.IGNORECASE)

DIALECT = Dialect(adapter="duckdb", title="DuckDB")


class DuckDB:
    """A connection for as long as its ``with`` block lasts, read-only as a rule; one snapshot of all tables."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, settings: Collection[str] = (), unknown: Sequence[str] = ()
    ) -> None:
        """``settings``: the names of those that the profile makes. ``unknown``: what else it has for dbt alone."""
        self._connection = connection
        self._unknown = unknown
        self._settings = {name.lower() for name in settings}

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    def describe(self, relation: str, of: str = "the query") -> dict[str, str]:
        with _warehouse_errors(of, self._unknown):
            found = self._connection.execute(f"describe select * from {relation}").fetchall()
        return {row[0]: canonical(row[1]) for row in found}

    def newest_available_at(self, declared: DeclaredView, as_of: datetime) -> datetime | None:
        known = declared.view.available_at or declared.view.event_timestamp
        # As a number: DuckDB makes a datetime with a zone only where pytz is installed.
        # What lies before the year 1 cannot be served, which its row will say.
        query = f"""
            select epoch_us(max("{known}"))
            from {declared.relation}
            where "{known}" between timestamptz '0001-01-01 00:00:00+00' and $now
        """
        with _warehouse_errors(declared.view.id, self._unknown):
            ((newest,),) = self._connection.execute(query, {"now": as_of}).fetchall()
        return None if newest is None else _EPOCH + timedelta(microseconds=newest)

    def latest(self, declared: DeclaredView, as_of: datetime) -> str:
        self.stand_at(as_of)
        return latest_relation(declared)

    def place(self, rows: Any, name: str, types: Mapping[str, str] | None = None) -> dict[str, str]:
        return self.add(name, rows, types)

    def batches(
        self, sql: str, types: Mapping[str, str] | None = None, of: str = "the query"
    ) -> Iterator[pa.RecordBatch]:
        with _warehouse_errors(of, self._unknown):
            reader, some = self._connection.sql(sql).to_arrow_reader(_VECTOR), False
            for batch in reader:
                some = True
                yield batch
            if not some:
                yield pa.record_batch([pa.array([], field.type) for field in reader.schema], schema=reader.schema)

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
        with _warehouse_errors(of, self._unknown):
            found = self._connection.sql(sql)
            # DuckDB exports a large uhugeint as a negative number; as a hugeint it is itself, or an error.
            types = zip(found.columns, found.types, strict=True)
            wide = ['"' + name.replace('"', '""') + '"' for name, type_ in types if type_ == "UHUGEINT"]
            if wide:
                found = found.project(f"* replace ({', '.join(f'{name}::hugeint as {name}' for name in wide)})")
            return found.to_arrow_reader(BATCH_ROWS)

    def snapshots(self) -> dict[str, int]:
        """{catalog: the snapshot of it that is read} of what keeps its older ones: DuckLakes that are attached."""
        lakes = self.query("select database_name as name from duckdb_databases() where type = 'ducklake' order by all")
        found = {}
        for name in lakes.read_all().column("name").to_pylist():
            (row,) = self.query(f"from {DIALECT.quoted(name)}.current_snapshot()", name).read_all().to_pylist()
            found[name] = row["id"]
        return found

    def has(self, relation: str) -> bool:
        """Whether there is such a table or view; ``relation``: quoted in full, as dbt writes it."""
        known = "select database_name, schema_name, {0}_name as name from duckdb_{0}s()"
        quoted = 'format(\'"{}"."{}"."{}"\', database_name, schema_name, name)'
        found = f"select 1 from ({known.format('table')} union all {known.format('view')}) "
        rows: int = self.query(f"{found} where {quoted} = {_literal(relation)}").read_all().num_rows
        return rows > 0

    def run(self, *statements: str) -> None:
        """Runs ``statements`` that make names and temporary tables, none of them in the file; the snapshot ends.

        Raises WarehouseError.
        """
        with _warehouse_errors("the comparison", self._unknown):
            self._connection.rollback()  # a transaction writes to one catalog alone
            try:
                for statement in statements:
                    self._connection.execute(statement)
            finally:
                self._connection.begin()

    def create(self, table: str, columns: Mapping[str, str], key: Sequence[str]) -> None:
        listed = [f"{DIALECT.quoted(name)} {type_}" for name, type_ in columns.items()]
        primary = f"primary key ({', '.join(map(DIALECT.quoted, key))})"
        self.write(f"create table if not exists {table} ({', '.join([*listed, primary])})")

    def append(self, table: str, rows: str) -> None:
        self.write(f"insert or ignore into {table} {rows}")

    def write(self, statement: str) -> None:
        """Carries out a statement that writes into the file, if it was opened for that. Raises WarehouseError."""
        with _warehouse_errors("the query", self._unknown):
            self._connection.execute(statement)

    def parse(self, sql: str) -> str:
        """What DuckDB's own parser makes of a query, as JSON. Raises WarehouseError when it is no query."""
        with _warehouse_errors("the query", self._unknown):
            ((parsed,),) = self._connection.execute("select json_serialize_sql($sql::varchar)", {"sql": sql}).fetchall()
        return str(parsed)

    def stand_at(self, instant: datetime) -> None:
        """Makes ``instant`` the "now" of every view that asks for it."""
        self._connection.execute("set variable feature_warehouse_now = $now", {"now": instant.isoformat()})

    def recover(self) -> None:
        """Nobody writes while the file is open, so the rows are the same."""
        self._connection.rollback()
        self._connection.begin()

    def spill_to(self, folder: Path) -> None:
        """Lets a view that sorts or groups all of its rows take to disk what is beyond MEMORY_LIMIT."""
        if not self._settings & {"memory_limit", "max_memory"}:
            self._connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
            if "threads" not in self._settings:
                self._connection.execute(f"set threads = {THREADS}")
        if "temp_directory" not in self._settings:
            self._connection.execute("set temp_directory = ?", [str(folder / "spilled")])
            self._settings.add("temp_directory")  # once in use, it stays


@contextmanager
def open_warehouse(
    output: Output,
    stopped: Callable[[], bool] = lambda: False,
    patience: float | None = None,
    *,
    writable: bool = False,
    snapshots: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[DuckDB]:
    """The DuckDB of ``output``, in UTC, inside one transaction; what is written is there once the block has ended.

    ``snapshots``: {catalog: which of its snapshots to read} of DuckLakes that are attached; the others, and all by
    default, as they are now. Waits up to ``patience`` seconds (None: LOCK_SECONDS) while another process holds the
    file. Raises
    WarehouseLockedError after that, StoppedError once ``stopped`` says so, and WarehouseError when there is no file, it
    is no database, or a setting is none of DuckDB's.
    """
    if _URL.match(output.path):
        raise WarehouseError(
            f"the profile's path is '{output.path}', and the syncer opens files alone",
            "give it a target whose path is a DuckDB file; databases from elsewhere can be attached to that: attach:",
        )
    if output.path == ":memory:" and not output.attached:
        raise WarehouseError(
            "the target's DuckDB is in memory, so only dbt can see it", "give the profile a file: path:"
        )
    if output.path == ":memory:" and writable:
        raise WarehouseError(
            "the target's DuckDB is in memory, where nothing is kept, and what it attaches is only read",
            "give the profile a file: path:",
        )
    if output.path != ":memory:" and not Path(output.path).exists():
        raise WarehouseError(f"there is no warehouse at {Path(output.path).absolute()}", "run `dbt build` first")
    connection = _connect(output, stopped, LOCK_SECONDS if patience is None else patience, writable, snapshots)
    try:
        for name, value in output.settings.items():
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
        yield DuckDB(connection, output.settings, output.unknown)
        if writable:
            connection.commit()
    finally:
        connection.close()


def _connect(
    output: Output, stopped: Callable[[], bool], patience: float, writable: bool, snapshots: Mapping[str, int]
) -> duckdb.DuckDBPyConnection:
    """The file, with what the profile loads and attaches."""
    attached = [_at(statement, snapshots.get(catalog)) for catalog, statement in output.attached.items()]
    deadline, pause = time.monotonic() + patience, 0.05
    read_only = not writable and output.path != ":memory:"
    while True:
        connection = None
        try:
            connection = duckdb.connect(output.path, read_only=read_only, config=output.config)
            for statement in (*output.statements, *attached):
                connection.execute(statement)
            return connection
        except duckdb.Error as error:
            locked = _LOCKED.search(str(error))
            file = locked[1] if locked else output.path
            if not locked:
                raise _not_opened(output, statement if connection else None, error) from None  # it may name a secret
            if stopped():
                raise StoppedError(f"stopped while waiting for {file}", "run `syncer sync` again") from error
            if time.monotonic() + pause > deadline:
                holder = f"{locked[2] or 'another process'} holds {file}"
                raise WarehouseLockedError(
                    f"{holder}, and still did after {patience:g} s",
                    "wait for that dbt run or close that session, then try again",
                ) from error
            if connection:
                connection.close()
            time.sleep(pause)
            pause = min(pause * 2, 1.0)


def _at(attach: str, snapshot: int | None) -> str:
    """The statement for one snapshot of the catalog; its options, that it is to be read among them, come last."""
    return attach if snapshot is None else f"{attach.removesuffix(')')}, SNAPSHOT_VERSION {snapshot})"


def _not_opened(output: Output, statement: str | None, error: duckdb.Error) -> WarehouseError:
    if statement is None:
        return WarehouseError(f"{output.path} cannot be opened: {_words(error)}", "is it a DuckDB file?")
    kind = statement.split(" ", 1)[0].lower()
    if kind == "load":
        return WarehouseError(
            f"the profile's extension '{statement.split()[-1]}' cannot be loaded: {_words(error)}",
            "dbt installs it: run `dbt build` here and as this user first",
        )
    if kind == "attach":
        if "No snapshot found" in str(error):
            return WarehouseError(
                f"what the training set was made from is no longer kept: {_words(error)}",
                "it has expired in the lake (ducklake_expire_snapshots), and its rows with it; make the set anew",
            )
        return WarehouseError(
            f"what the profile attaches cannot be attached{_words_without_secret(error)}",
            "see `attach:` in profiles.yml; what is attached there must be within reach of this process too",
        )
    return WarehouseError("a secret of the profile cannot be made", "see `secrets:` in profiles.yml, and `dbt debug`")


@contextmanager
def _warehouse_errors(id_: str, unknown: Sequence[str] = ()) -> Iterator[None]:
    alone = f"the profile's {', '.join(unknown)} cannot be used here: only dbt has that. " if unknown else ""
    try:
        yield
    except duckdb.CatalogException as error:
        raise NotBuiltError(f"{id_} is not built: {_words(error)}", f"{alone}run `dbt build` first") from error
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
        raise WarehouseError(f"{id_} cannot be read: {_words(error)}", f"{alone}see what `dbt build` says") from error


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _words(error: Exception) -> str:
    """The first line of what DuckDB says, without its kind; the rest is a stack or a picture of the query."""
    return re.sub(r"^[A-Z]\w+( \w+)? Error: ", "", str(error).split("\n", 1)[0])


def _words_without_secret(error: Exception) -> str:
    """Those words behind a colon. DuckDB repeats the text it was to connect by, in quotation marks, before what went
    wrong: where a password may be in it, only what comes after."""
    words = _words(error)
    if not _SECRET.search(words):
        return f": {words}"
    _, quoted, rest = words.rpartition('": ')
    return f": {rest}" if quoted and not _SECRET.search(rest) else ""
