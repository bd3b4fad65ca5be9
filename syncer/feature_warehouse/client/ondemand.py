"""On-demand features: SQL expressions over one row, evaluated by DuckDB in this process, as training evaluates them.

The expressions, the types and the settings are those of the training set (macros/joins/_on_demand.sql): so is every bit
of the values. Needs DuckDB alone (the extra [online]); with ``warehouse`` one of the two modules that import it.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, datetime, timedelta, timezone
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import duckdb

from feature_warehouse.client.expression import check, names_in
from feature_warehouse.errors import DefinitionError, RequestError
from feature_warehouse.registry.feature import FeatureService, FeatureView, OnDemandFeature
from feature_warehouse.registry.types import FeatureType, canonical, feature_type

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: What an instant that Python cannot hold comes back as.
_BEYOND = -(1 << 63)


def readable(service: FeatureService, views: Mapping[str, FeatureView]) -> dict[str, str]:
    """{name: type} of all that the service's expressions may read: its stored features and the request values."""
    types: dict[str, str] = {}
    for read in service.views:
        wanted = set(read.features)
        types |= {read.prefix + each.name: each.type for each in views[read.view].features if each.name in wanted}
    return types | service.request


def expression_type(expression: str, types: Mapping[str, str]) -> str:
    """The type of an expression over columns of these ``types``. Raises DefinitionError where a client refuses it."""
    row = ", ".join(f"cast(null as {type_}) as {_quoted(name)}" for name, type_ in types.items()) or "1"
    try:
        described = _connect().execute(f"describe select (\n{expression}\n) from (select {row})").fetchall()
    except duckdb.Error as error:
        raise DefinitionError(_words(error)) from error
    check(_tree(expression), types)
    return canonical(described[0][1])


class OnDemand:
    """The on-demand features of one service version. Prepared once; safe to share between threads."""

    def __init__(self, service: FeatureService, views: Mapping[str, FeatureView]) -> None:
        """Raises DefinitionError for an expression that is not of one row's values alone, see ``expression.check``."""
        types = {name: feature_type(type_).name for name, type_ in readable(service, views).items()}
        self.reads: list[set[str]] = []  # by feature, the names that it is computed from
        for feature in service.on_demand:
            try:
                tree = _tree(feature.expression)
                check(tree, types)
            except DefinitionError as error:
                raise DefinitionError(
                    f"its on-demand feature '{feature.name}' cannot be computed: {error.message}"
                ) from None
            self.reads.append(names_in(tree) & types.keys())
        read = set().union(*self.reads)
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
        self._idle: list[_Worker] = []
        self._process = os.getpid()
        self._given_up: list[_Worker] = []

    def computation(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Computed:
        """``compute``, in a thread of its own. Raises RequestError while others that nobody waits for still go on."""
        if self._process != os.getpid():  # threads stay behind in a fork
            _ENDING.clear()
            _LEFT_BEHIND.extend([*self._idle, *self._given_up])  # to close their connections could wait for ever
            self._process, self._idle, self._given_up = os.getpid(), [], []
        if len(self._given_up) >= _GIVEN_UP:
            raise self.too_slow()
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        return Computed(self, worker, columns, rows)

    def take_back(self, worker: _Worker) -> None:
        """Of a computation that has ended, whether anybody waits for it or not."""
        if worker in self._given_up:
            self._given_up.remove(worker)
            _ENDING.discard(worker)
        else:
            self._idle.append(worker)

    def leave_alone(self, worker: _Worker) -> None:
        """Interrupts a computation that nobody waits for."""
        self._given_up.append(worker)
        _ENDING.add(worker)
        worker.interrupt()

    def too_slow(self) -> RequestError:
        return RequestError(f"{self._service.id}: its on-demand features were not computed in time", _SLOW)

    def compute(
        self, columns: Mapping[str, Sequence[Any]], rows: int, worker: _Worker | None = None
    ) -> list[list[object]]:
        """The values of each feature, ``rows`` long, as a client gives those of stored features.

        ``columns``: of each of ``inputs``, one value per row, as the client gives them; None is NULL. Raises
        RequestError, naming feature and row, where an expression fails as it would fail a training set.
        """
        given = [columns[name] for name in self.inputs] or [[True] * rows]
        values = [encode(column) for encode, column in zip(self._encoders, given, strict=True)]
        connection, statement = (worker or _Worker()).prepared(self._sql)
        try:
            found = connection.execute(statement, values).fetchall()
        except duckdb.InterruptException:
            raise
        except (duckdb.Error, MemoryError) as error:
            raise self._blame(values, rows, error, connection) from error
        return [self._decoded(i, decoder, [row[i] for row in found]) for i, decoder in enumerate(self._decoders)]

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

    def _blame(
        self, values: list[list[Any]], rows: int, error: Exception, connection: duckdb.DuckDBPyConnection
    ) -> RequestError:
        """The first feature that fails, the first row where it does, and why."""

        def failure(feature: OnDemandFeature, until: int) -> duckdb.Error | None:
            try:
                some = [column[:until] for column in values]
                connection.execute(f"select {_cast(feature)} from {self._rows}", some).fetchall()
            except duckdb.InterruptException:
                raise
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


#: Computations of one service that nobody waits for any longer, but that DuckDB has not ended yet.
_GIVEN_UP = 4

_SLOW = "see its expressions; a read of fewer rows takes less time"


class Computed:
    """A computation that goes on: its ``future``, and what to do when nobody waits for it any longer."""

    def __init__(self, features: OnDemand, worker: _Worker, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        self._features, self._worker = features, worker
        self.future: Future[list[list[object]]] = Future()
        self.future.set_running_or_notify_cancel()  # who waits may be cancelled, what goes on may not
        worker.do(partial(self._run, columns, rows))

    def _run(self, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        try:
            found = self._features.compute(columns, rows, self._worker)
        except duckdb.InterruptException:
            self._features.take_back(self._worker)
            self.future.set_exception(self._features.too_slow())
        except BaseException as error:
            self._features.take_back(self._worker)
            self.future.set_exception(error)
        else:
            self._features.take_back(self._worker)
            self.future.set_result(found)

    def give_up(self) -> RequestError:
        """Interrupts DuckDB, which may take a while to notice; a thread that is at it serves nobody meanwhile."""
        if not self.future.done():
            self._features.leave_alone(self._worker)
        return self._features.too_slow()


class _Worker:
    """A thread with a connection of its own: DuckDB's are not to be used by two computations at once."""

    def __init__(self) -> None:
        self._connection = _connect()
        self._statements: dict[str, duckdb.Statement] = {}
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False

    def prepared(self, sql: str) -> tuple[duckdb.DuckDBPyConnection, duckdb.Statement]:
        """Parsed once."""
        if sql not in self._statements:
            (self._statements[sql],) = self._connection.extract_statements(sql)
        return self._connection, self._statements[sql]

    def do(self, work: Callable[[], None]) -> None:
        if not self._started:
            self._started = True
            # It has the queue alone, so that it ends with whoever has this.
            thread = threading.Thread(target=_serve, args=(self._work,), name="on-demand features", daemon=True)
            _THREADS[thread] = self._work
            thread.start()
        self._work.put(work)

    def interrupt(self) -> None:
        self._connection.interrupt()

    def __del__(self) -> None:
        self._work.put(None)


def _serve(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # it has the worker
    _THREADS.pop(threading.current_thread(), None)


# --- the engine -------------------------------------------------------------------------------------------------------

_lock = threading.Lock()


def _unlock() -> None:
    global _lock  # a thread that the fork left behind may hold it
    _lock = threading.Lock()
    _THREADS.clear()  # they are the parent's


if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
    os.register_at_fork(after_in_child=_unlock)


_CONFIG: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "256MB",
    "max_temp_directory_size": "0KB",  # nothing is spilled to disk
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}

#: Of the process that this one was forked from.
_LEFT_BEHIND: list[_Worker] = []

#: Those that nobody waits for but the end of the process: a thread that comes back from DuckDB after it would abort.
_ENDING: set[_Worker] = set()
_ENDING_SECONDS = 5.0


#: One that outlived the interpreter would keep DuckDB's objects, of which DuckDB complains.
_THREADS: dict[threading.Thread, SimpleQueue[Callable[[], None] | None]] = {}


@atexit.register
def _wait_for_the_last() -> None:
    until = time.monotonic() + _ENDING_SECONDS
    while _ENDING and time.monotonic() < until:
        time.sleep(0.05)
    for thread, work in list(_THREADS.items()):
        work.put(None)
        thread.join(max(0.0, until - time.monotonic()))


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One database in memory for each process: a fork leaves that of its parent as locked as it was.

    The expressions come from Redis: they reach no file, no network and no value of Python's, and no more memory than
    features need. What is one text or number may take more than DuckDB's limit, which counts vectors and lists.
    """
    connection = duckdb.connect(":memory:", config=_CONFIG)
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
    return names_in(_tree(expression))


def _tree(expression: str) -> str:
    """What DuckDB's parser makes of `select (<expression>)`, as JSON."""
    query = "select json_serialize_sql($query)"
    try:
        ((tree,),) = _connect().execute(query, {"query": f"select (\n{expression}\n)"}).fetchall()
    except duckdb.Error as error:
        raise DefinitionError(_words(error)) from error
    return str(tree)


def _cast(feature: OnDemandFeature) -> str:
    # On a line of its own: an expression may end in a comment.
    return f"cast((\n{feature.expression}\n) as {feature_type(feature.type).name})"


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
