"""PostgreSQL, read by ADBC: binary COPY into Arrow, in one snapshot that is repeatable and read-only.

A session has no variable that views could ask for "now": the instant stands in the text of the latest values
(``project.latest``). Numbers of the type numeric arrive as text, with the precision and scale of the column beside it;
a list of lists arrives flat, so the select list refuses one. Arrow's types are described at
https://arrow.apache.org/adbc/current/driver/postgresql.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_warehouse.errors import DataError, NotBuiltError, ProjectError, WarehouseError, WarehouseUnavailableError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.latest import LatestSql
from feature_warehouse.project.profile import Output
from feature_warehouse.registry.types import canonical
from feature_warehouse.warehouse.local import open_local
from feature_warehouse.warehouse.source import Dialect, latest_relation, without_scale
from feature_warehouse.wire.encode import AS_TEXT

#: A list of lists would arrive flat. No such list has this text, so the cast fails, with these words in its error.
_FLAT = (
    "case when array_ndims({column}) > 1 then cast(concat('a list of lists: ', array_dims({column})) as {type}) "
    "else {column} end"
)

DIALECT = Dialect(
    adapter="postgres",
    title="PostgreSQL",
    names={
        "tinyint": "smallint",
        "utinyint": "smallint",
        "usmallint": "integer",
        "uinteger": "bigint",
        "ubigint": "numeric(20,0)",
        "hugeint": "numeric(38,0)",
        "float": "real",
        "double": "double precision",
        "blob": "bytea",
    },
    # 60 bits of each row's MD5, added up exactly.
    hashed="concat('postgres:', coalesce(sum(cast(cast(concat('x', substr(md5(cast(row({columns}) as text)), 1, 15)) "
    "as bit(60)) as bigint)), 0))",
    hashed_list="{column}",
    instant_text="to_char({instant} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    selected={**dict.fromkeys(AS_TEXT, "cast({column} as varchar)"), "[]": _FLAT},
)

#: Where a numeric's precision and scale are kept, beside the 4 bytes that the server counts along.
_HEADER = 4

#: What is said of a connection that ended, by the server, by libpq and by the driver.
_GONE = re.compile(r"terminating connection|closed the connection|no connection|connection (?:has been|is) closed")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: libpq's names of what dbt's profile calls otherwise, or the same.
_LOGIN = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "database": "dbname",
    "connect_timeout": "connect_timeout",
    "sslmode": "sslmode",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslrootcert": "sslrootcert",
    "keepalives_idle": "keepalives_idle",
}


class Postgres:
    """A connection for as long as its ``with`` block lasts; one snapshot from the first read on."""

    def __init__(self, cursor: Any, latest: LatestSql | None, tables: Iterable[str] = ()) -> None:
        self._cursor = cursor
        self._latest = latest
        self._tables = tuple(tables)
        self._reading = False

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    def describe(self, relation: str, of: str = "the query") -> dict[str, str]:
        with _warehouse_errors(of):
            self._execute(f"select * from {relation} limit 0")
            return {field.name: _type_of(field) for field in self._cursor.fetch_record_batch().schema}

    def newest_available_at(self, declared: DeclaredView, as_of: datetime) -> datetime | None:
        known = DIALECT.quoted(declared.view.available_at or declared.view.event_timestamp)
        query = (
            f"select cast(extract(epoch from max({known})) * 1000000 as bigint) as newest "
            f"from {declared.relation} where {known} <= timestamptz '{as_of.isoformat()}'"
        )
        (row,) = pa.Table.from_batches(self.batches(query, of=declared.view.id)).to_pylist()
        return None if row["newest"] is None else _EPOCH + timedelta(microseconds=row["newest"])

    def latest(self, declared: DeclaredView, as_of: datetime) -> str:
        latest_relation(declared)  # it must be there, for people and for dbt's tests
        assert self._latest is not None  # who reads latest values has given it
        return f"({self._latest.at(declared.view.id, as_of)}) as {DIALECT.quoted(declared.latest_name)}"

    def place(self, rows: Any, name: str, types: Mapping[str, str] | None = None) -> dict[str, str]:
        self._end()  # no table is made in a transaction that only reads
        with _warehouse_errors("the rows"), open_local() as local:
            columns = {column: canonical(type_) for column, type_ in local.add("given", rows, types).items()}
            columns |= {column: canonical(type_) for column, type_ in (types or {}).items()}
            given = local.query(f"select {_as_ingested(columns)} from given", "the rows")
            staged = f"{name}_staged"
            self._cursor.adbc_ingest(staged, given, mode="create", temporary=True)
            cast = ", ".join(
                f"cast({DIALECT.quoted(column)} as {DIALECT.type_name(type_)}) as {DIALECT.quoted(column)}"
                for column, type_ in columns.items()
            )
            for statement in (
                f"create temporary table {name} as select {cast} from {staged}",
                f"drop table {staged}",
                f"analyze {name}",
            ):
                self._cursor.execute(statement)
            return columns

    def batches(
        self, sql: str, types: Mapping[str, str] | None = None, of: str = "the query"
    ) -> Iterator[pa.RecordBatch]:
        with _warehouse_errors(of):
            self._execute(sql)
            reader, some = self._cursor.fetch_record_batch(), False
            for batch in reader:
                some = True
                yield _in_arrow(batch, types or {}, of)
            if not some:
                empty = [pa.array([], field.type) for field in reader.schema]
                yield _in_arrow(pa.record_batch(empty, schema=reader.schema), types or {}, of)

    def recover(self) -> None:
        """The next read begins another snapshot."""
        with _warehouse_errors("PostgreSQL"):
            self._end()

    def spill_to(self, folder: Path) -> None:
        """The server sorts on its own disk."""

    def _end(self) -> None:
        if self._reading:
            self._cursor.execute("rollback")
            self._reading = False

    def _execute(self, sql: str) -> None:
        if not self._reading:
            self._cursor.execute("begin isolation level repeatable read read only")
            self._reading = True
            self._keep_tables()
        self._cursor.execute(sql)

    def _keep_tables(self) -> None:
        """Takes a reader's locks, which let everybody else read and write, and nobody replace a table, before there is
        a snapshot: in an older one, what dbt has put in a table's place has no row.

        That a lock may come first, https://www.postgresql.org/docs/current/transaction-iso.html#XACT-REPEATABLE-READ
        and the page on explicit locks say. Those of a view are taken through to its tables.
        """
        from adbc_driver_postgresql import dbapi

        for table in self._tables:
            self._cursor.execute("savepoint before_it")
            try:
                self._cursor.execute(f"lock table {table} in access share mode")
            except dbapi.Error:  # reading it will say what is wrong
                self._cursor.execute("rollback to savepoint before_it")


@contextmanager
def open_postgres(output: Output, latest: LatestSql | None = None, tables: Iterable[str] = ()) -> Iterator[Postgres]:
    """The database of ``output``, in UTC, logged in as dbt logs in.

    ``latest``: the SQL of latest values. ``tables``: what will be read, as SQL; nobody replaces it until the end.
    Raises ProjectError without the driver, WarehouseError when nobody answers or the login is refused.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise ProjectError(
            f"PostgreSQL cannot be read: {error}", "pip install 'feature-warehouse[postgres]'"
        ) from error
    login = output.login
    where = f"PostgreSQL at {login.get('host')}:{login.get('port')}, database {output.catalog}, as {login.get('user')}"
    try:
        connection = dbapi.connect(conninfo(login), autocommit=True)
    except dbapi.Error as error:
        raise WarehouseError(
            f"{where}: {_words(error)}", "see what `dbt debug` says: host, port, user and password are the profile's"
        ) from None  # whatever the driver was given stays out of the trace
    try:
        with connection.cursor() as cursor:
            with _warehouse_errors(where):
                cursor.execute("set time zone 'UTC'")
                if login.get("role"):
                    cursor.execute(f"set role {DIALECT.quoted(login['role'])}")
            yield Postgres(cursor, latest, tables)
    finally:
        connection.close()


def conninfo(login: Mapping[str, Any]) -> str:
    """dbt's credentials as libpq takes them
    (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)."""
    given = {name: login.get(key) for key, name in _LOGIN.items()}
    given["application_name"] = "syncer"
    if login.get("search_path"):
        given["options"] = "-c search_path=" + str(login["search_path"]).replace(" ", "\\ ")
    pairs = {name: str(value).replace("\\", "\\\\").replace("'", "\\'") for name, value in given.items() if value}
    return " ".join(f"{name}='{value}'" for name, value in pairs.items())


def _as_ingested(columns: Mapping[str, str]) -> str:
    """DuckDB's select list of rows that the driver takes: it knows no uuid."""
    return ", ".join(
        f"cast({DIALECT.quoted(column)} as varchar) as {DIALECT.quoted(column)}"
        if type_ == "uuid"
        else DIALECT.quoted(column)
        for column, type_ in columns.items()
    )


def _type_of(field: pa.Field) -> str:
    """The canonical type of a column, by what the driver says of it; ``numeric`` where it has no precision."""
    metadata = field.metadata or {}
    name = metadata.get(b"POSTGRESQL:type", b"").decode()
    if name == "numeric":
        modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1"))
        if modifier < _HEADER:
            return "numeric"
        # Precision in the upper half, scale in 11 bits of the lower one, since PostgreSQL 15 with a sign.
        precision, scale = (modifier - _HEADER) >> 16, (modifier - _HEADER) & 0x7FF
        return f"decimal({precision},{scale if scale < 1024 else scale - 2048})"
    return DIALECT.canonical(name[1:] + "[]" if name.startswith("_") else name)


def _in_arrow(batch: pa.RecordBatch, types: Mapping[str, str], of: str) -> pa.RecordBatch:
    """The batch with its decimals as decimals; ``types`` has those of what the server computed without a scale."""
    columns, names = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        type_ = _type_of(field)
        if type_ == "numeric":
            type_ = types.get(field.name, type_)
        if type_ == "numeric":
            raise without_scale(of, field.name)
        if type_.startswith("decimal"):
            column = _decimals(column.storage, type_, field.name, of)
        columns.append(column)
        names.append(field.name)
    return pa.record_batch(columns, names)


def _decimals(texts: pa.Array, type_: str, name: str, of: str) -> pa.Array:
    precision, scale = map(int, re.findall(r"-?\d+", type_))
    if precision > 38 or not 0 <= scale <= precision:
        raise DataError(
            f"{of}: '{name}' is numeric({precision},{scale}), and 38 digits, some of them after the point, can be kept",
            "cast it in the model to fewer",
        )
    try:
        return texts.cast(pa.decimal128(precision, scale))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{of}: '{name}' has a value that is no {type_}: {str(error).splitlines()[0]}",
            "replace or filter NaN and infinity in the model",
        ) from error


@contextmanager
def _warehouse_errors(of: str) -> Iterator[None]:
    from adbc_driver_postgresql import dbapi

    try:
        yield
    except (dbapi.Error, pa.ArrowException, OSError) as error:
        state, words = _state(error), _words(error)
        if state in ("42P01", "3F000"):
            raise NotBuiltError(f"{of} is not built: {words}", "run `dbt build` first") from None
        if state == "42501":
            raise WarehouseError(
                f"{of} may not be read: {words}",
                "grant the role of the profile what docs/guides/warehouses.md lists for a role that reads",
            ) from None
        if state.startswith(("08", "57P")) or _GONE.search(words):
            raise WarehouseUnavailableError(
                f"{of} was not read to its end: {words}", "is the server still there? Try again"
            ) from None
        raise WarehouseError(f"{of} cannot be read: {words}", "see what `dbt build` says") from None


def _state(error: BaseException) -> str:
    found = getattr(error, "sqlstate", None) or ""
    told = re.search(r"SQLSTATE: (\w{5})", str(error))
    return found or (told[1] if told else "")


def _words(error: BaseException) -> str:
    """What the server says, in a line; the query and the driver's own names left out."""
    text = str(error)
    for mark in ("ERROR:", "FATAL:"):
        if mark in text:
            return text.split(mark, 1)[1].split("\n", 1)[0].strip()
    text = re.sub(r"^[A-Z_]+: (\[libpq\] )?", "", text.split("\n", 1)[0])
    return re.sub(r"Query was: .*", "", text).strip().removesuffix(".")
