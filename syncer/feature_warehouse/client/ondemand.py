"""On-demand features: SQL expressions over one row, evaluated by DuckDB in this process, as training evaluates them.

The expressions, the types and the settings are those of the training set (macros/joins/_on_demand.sql): so is every bit
of the values. Needs DuckDB alone (the extra [online]); with ``warehouse`` one of the two modules that import it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from functools import cache
from typing import Any, NamedTuple

import duckdb

from feature_warehouse.errors import DefinitionError, RequestError
from feature_warehouse.registry.feature import FeatureService, FeatureView, OnDemandFeature
from feature_warehouse.registry.types import FeatureType, canonical, feature_type

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: What an instant that Python cannot hold comes back as.
_BEYOND = -(1 << 63)


def readable(service: FeatureService, views: Mapping[str, FeatureView]) -> dict[str, str]:
    """{name: type} of all that the service's expressions may read: its stored features and the request values."""
    types = {
        read.prefix + feature.name: feature.type
        for read in service.views
        for feature in views[read.view].features
        if feature.name in read.features
    }
    return types | service.request


def expression_type(expression: str, types: Mapping[str, str]) -> str:
    """The type of an expression over columns of these ``types``. Raises DefinitionError when DuckDB refuses it."""
    row = ", ".join(f"cast(null as {type_}) as {_quoted(name)}" for name, type_ in types.items()) or "1"
    try:
        described = _connect().execute(f"describe select (\n{expression}\n) from (select {row})").fetchall()
    except duckdb.Error as error:
        raise DefinitionError(_words(error)) from error
    return canonical(described[0][1])


class OnDemand:
    """The on-demand features of one service version. Prepared once; safe to share between threads."""

    def __init__(self, service: FeatureService, views: Mapping[str, FeatureView]) -> None:
        types = readable(service, views)
        read = {name for feature in service.on_demand for name in names_read(feature.expression)}
        self.inputs = tuple(name for name in types if name in read)
        self.names = tuple(feature.name for feature in service.on_demand)
        self._service = service
        self._encoders = [_encoder(feature_type(types[name])) for name in self.inputs] or [list]
        columns = [f"unnest(${i}::{types[name]}[]) as {_quoted(name)}" for i, name in enumerate(self.inputs, 1)]
        self._rows = f"(select {', '.join(columns) or 'unnest($1::boolean[])'})"
        self._decoders = [_decoder(feature_type(feature.type)) for feature in service.on_demand]
        computed = ", ".join(f"{_cast(feature)} as f{i}" for i, feature in enumerate(service.on_demand))
        sent = ", ".join(decoder.sql.format(f"f{i}") for i, decoder in enumerate(self._decoders))
        self._sql = f"select {sent} from (select {computed} from {self._rows})"
        self._prepared = threading.local()

    def compute(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[list[object]]:
        """The values of each feature, ``rows`` long, as a client gives those of stored features.

        ``columns``: of each of ``inputs``, one value per row, as the client gives them; None is NULL. Raises
        RequestError, naming feature and row, where an expression fails as it would fail a training set.
        """
        given = [columns[name] for name in self.inputs] or [[True] * rows]
        values = [encode(column) for encode, column in zip(self._encoders, given, strict=True)]
        try:
            connection, statement = self._statement()
            found = connection.execute(statement, values).fetchall()
        except duckdb.Error as error:
            raise self._blame(values, rows, error) from error
        return [self._decoded(i, decoder, [row[i] for row in found]) for i, decoder in enumerate(self._decoders)]

    def _statement(self) -> tuple[duckdb.DuckDBPyConnection, duckdb.Statement]:
        """This thread's own, in this process, parsed once."""
        process = os.getpid()
        own: Any = self._prepared.__dict__  # that of a parent stays there: to close it could wait for ever
        if process not in own:
            connection = _connect()
            (statement,) = connection.extract_statements(self._sql)
            own[process] = connection, statement
        found: tuple[duckdb.DuckDBPyConnection, duckdb.Statement] = own[process]
        return found

    def _decoded(self, position: int, decoder: _Decoder, values: list[Any]) -> list[object]:
        if decoder.python is None:
            return values
        decoded = [None if value is None else decoder.python(value) for value in values]
        for row, value in enumerate(decoded):
            if value is _BEYOND:
                feature = self._service.on_demand[position]
                raise RequestError(
                    f"{self._service.id}, row {row}: the on-demand feature '{feature.name}' is no time of the years 1 "
                    "to 9999",
                    f"no such time can be served; see its expression: {feature.expression}",
                )
        return decoded

    def _blame(self, values: list[list[Any]], rows: int, error: duckdb.Error) -> RequestError:
        """The first feature that fails, the first row where it does, and why."""
        connection = _connect()

        def failure(feature: OnDemandFeature, until: int) -> duckdb.Error | None:
            try:
                some = [column[:until] for column in values]
                connection.execute(f"select {_cast(feature)} from {self._rows}", some).fetchall()
            except duckdb.Error as own:
                return own
            return None

        for feature in self._service.on_demand:
            if failure(feature, rows) is not None:
                row = bisect_left(range(rows), True, key=lambda row: failure(feature, row + 1) is not None)
                return RequestError(
                    f"{self._service.id}, row {row}: the on-demand feature '{feature.name}' cannot be computed: "
                    f"{_words(failure(feature, row + 1) or error)}",
                    f"a training set fails on such a row too; try({feature.expression}) would be NULL there",
                )
        return RequestError(f"{self._service.id}: its on-demand features cannot be computed: {_words(error)}")


# --- the engine -------------------------------------------------------------------------------------------------------

_lock = threading.Lock()


def _unlock() -> None:
    global _lock  # a thread that the fork left behind may hold it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=_unlock)


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One database in memory for each process: a fork leaves that of its parent as locked as it was.

    The expressions come from Redis: they reach no file and no network.
    """
    connection = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
    connection.execute("set global TimeZone = 'UTC'")
    # It takes what expressions share out of try(...), where an error fails them all; the macro has a case there.
    connection.execute("set global disabled_optimizers = 'common_subexpressions'")
    connection.execute("set global lock_configuration = true")
    return connection


def _connect() -> duckdb.DuckDBPyConnection:
    """A connection of one's own: DuckDB's are not to be used by two threads at once."""
    with _lock:
        return _database(os.getpid()).cursor()


def names_read(expression: str) -> set[str]:
    """Every name that DuckDB's parser takes for a column's, in lower case; a lambda's own names too."""
    query = "select json_serialize_sql($query)"
    ((parsed,),) = _connect().execute(query, {"query": f"select (\n{expression}\n)"}).fetchall()
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.update(name.lower() for name in node.get("column_names", ()))
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(json.loads(parsed))
    return found


def _cast(feature: OnDemandFeature) -> str:
    # On a line of its own: an expression may end in a comment.
    return f"cast(\n{feature.expression}\nas {feature.type})"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _words(error: Exception) -> str:
    """The first line of what DuckDB says, without its kind."""
    return re.sub(r"^[A-Z]\w+( \w+)* Error: ", "", str(error).split("\n", 1)[0])


# --- values in and out ------------------------------------------------------------------------------------------------


def _as_text(column: Iterable[Any]) -> list[Any]:
    """DuckDB casts texts to the column's type, where binding the values would lose something or need a library."""
    return [None if value is None else str(value) for value in column]


def _numbers(column: Sequence[Any]) -> list[Any]:
    """DuckDB 1.5 binds a NaN in a list as NULL."""
    values = list(column)
    return _as_text(values) if any(value != value for value in values) else values


def _lists(column: Sequence[Any]) -> list[Any]:
    values = [None if value is None else list(value) for value in column]
    if any(item != item for value in values if value for item in value):
        return [None if value is None else _as_text(value) for value in values]
    return values


def _encoder(type_: FeatureType) -> Callable[[Sequence[Any]], list[Any]]:
    if type_.is_list:
        return _lists
    if type_.name in ("double", "float"):
        return _numbers
    return list if type_.kind == "plain" and type_.name != "uuid" else _as_text


class _Decoder(NamedTuple):
    """How a value leaves DuckDB: as ``sql`` makes it, and what ``python`` makes of that; None: nothing more."""

    sql: str
    python: Callable[[Any], object] | None = None


def _instant(microseconds: int) -> object:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _BEYOND


def _date(text: str) -> object:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return _BEYOND


def _decoder(type_: FeatureType) -> _Decoder:
    if type_.is_list:
        return _Decoder("{}", list)  # an array comes as a tuple
    if type_.kind == "timestamp":  # DuckDB makes a datetime with a zone only where pytz is installed
        return _Decoder(
            f"case when isfinite({{0}}) then epoch_us({{0}}) when {{0}} is not null then {_BEYOND} end", _instant
        )
    if type_.kind == "date":  # infinity would come as 9999-12-31
        return _Decoder("cast({} as varchar)", _date)
    return _Decoder("cast({} as varchar)" if type_.name == "uuid" else "{}")
