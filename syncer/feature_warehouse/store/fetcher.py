"""The Redis of a reading client: what it wants is fetched in one round trip.

Knows connections, and how a read survives one that broke; knows nothing of features. The library connects, logs in and
finds primaries and replicas.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Expired
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_warehouse.store.connect import locate
from feature_warehouse.store.exchange import ATTEMPTS, CHUNK_BYTES, Exchange, commands, gathered, is_broken
from feature_warehouse.store.failure import FAILURES, translated
from feature_warehouse.store.fetch import Computation, Fetch, Steps, Values
from feature_warehouse.store.timeouts import TIMEOUT_SECONDS, Deadline, check_deadline

_T = TypeVar("_T")

NO_DEADLINE = Deadline(None)

#: Reads from a Cluster that have a deadline, at once; others wait for one to end, or for their deadline.
_AT_ONCE = 100


class Fetcher:
    """The Redis of a URL. Connects when first used; safe to share between threads, and by processes that are forked."""

    def __init__(
        self, url: str, timeout: float = TIMEOUT_SECONDS, *, deadline: float | None = None, replicas: bool = False
    ) -> None:
        """``url``: in one of the forms of ``store.connect``; ``timeout``: seconds without progress; ``deadline``: in
        all; ``replicas``: read from those of a Sentinel service or a Cluster. Raises StoreError for a URL that cannot
        be used.
        """
        self._deadline = check_deadline(deadline)
        self._place = locate(url, timeout if deadline is None else min(timeout, deadline), replicas=replicas)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connected: Any = None
        self._idle: list[Any] = []
        self._aside = self._threads()
        self._process = os.getpid()
        self.address = self._place.address

    def run(self, steps: Steps[_T]) -> _T:
        """What ``steps`` returns, after fetching what it yields. Raises StoreError."""
        deadline = Deadline(self._deadline)
        try:
            wanted = next(steps)
            while True:
                if isinstance(wanted, Sequence):
                    wanted = steps.send(self.fetch(wanted, deadline))
                else:
                    wanted = steps.send(self._waited(wanted, deadline))
        except StopIteration as end:
            result: _T = end.value
            return result

    def _waited(self, computation: Computation, deadline: Deadline) -> Any:
        try:
            return computation.future.result(deadline.left(self._timeout))
        except (Expired, TimeoutError):  # Python 3.10 has two of the name
            raise computation.give_up() from None

    def fetch(self, wanted: Sequence[Fetch], deadline: Deadline = NO_DEADLINE) -> list[Values]:
        """The values of each; all in one round trip, per node of a Cluster."""
        try:
            if self._place.kind == "cluster":
                return self._from_nodes_within(wanted, deadline)
            exchange = Exchange(wanted)
            for attempt in range(ATTEMPTS):
                if self._attempt(exchange, deadline, last=attempt + 1 == ATTEMPTS):
                    break
                exchange = exchange.again()
        except FAILURES as error:
            with translated(self.address):
                raise error
        return exchange.values(self.address)

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()
        aside, self._aside = self._aside, self._threads()
        aside.shutdown(wait=False, cancel_futures=True)
        if self._connected is not None:
            self._connected.close()

    def _attempt(self, exchange: Exchange, deadline: Deadline, *, last: bool) -> bool:
        """False: the connection broke, and trying again makes sense."""
        connection = self._connection(deadline)
        try:
            socket = connection._sock
            for part in exchange.parts():
                if deadline.is_set:
                    socket.settimeout(deadline.left(self._timeout))
                if part:
                    socket.sendall(part)
                elif chunk := socket.recv(CHUNK_BYTES):
                    exchange.feed(chunk)
                else:
                    raise redis.ConnectionError("Redis closed the connection")
        except BaseException as error:
            self._drop(connection)  # replies may be outstanding: nobody else may read them as theirs
            if last or not is_broken(error):
                raise
            # What broke one connection, a restart or a failover, has broken those that lie idle too.
            idle, self._idle = self._idle, []
            for each in idle:
                self._drop(each)
            return False
        self._idle.append(connection)
        return True

    def _look_whether_forked(self) -> None:
        if self._process != os.getpid():  # a forked process must not speak on its parent's connections
            # What a thread of the parent had locked stays locked here: nothing of the old client may be touched.
            self._lock = threading.Lock()
            if self._connected is not None:
                self._connected.auto_close_connection_pool = False
            self._process, self._idle, self._connected, self._aside = os.getpid(), [], None, self._threads()

    def _connection(self, deadline: Deadline = NO_DEADLINE) -> Any:
        self._look_whether_forked()
        try:
            return self._idle.pop()
        except IndexError:
            pool = self._client().connection_pool
            if deadline.is_set:
                left = deadline.left(self._timeout)
                # Trying again is for the next read, which has time of its own.
                once = {"socket_timeout": left, "socket_connect_timeout": left, "retry": Retry(NoBackoff(), 0)}
                pool.connection_kwargs.update(once)
            return pool.get_connection()

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._client().connection_pool.release(connection)

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._place.connect()
            return self._connected

    def _threads(self) -> ThreadPoolExecutor:
        """None is started before it is needed."""
        return ThreadPoolExecutor(_AT_ONCE, "reads from a Cluster")

    def _from_nodes_within(self, wanted: Sequence[Fetch], deadline: Deadline) -> list[Values]:
        """The library knows no deadline. So who has one waits beside a thread, and leaves that to its timeouts."""
        if not deadline.is_set:
            return self._from_nodes(wanted)
        self._look_whether_forked()
        reading = self._aside.submit(self._from_nodes, wanted)
        try:
            return reading.result(deadline.left(math.inf))
        except (Expired, TimeoutError) as error:  # Python 3.10 has two of the name
            reading.cancel()
            raise TimeoutError(*error.args) from error

    def _from_nodes(self, wanted: Sequence[Fetch]) -> list[Values]:
        with self._client().pipeline(transaction=False) as pipe:
            for command in commands(wanted):
                pipe.execute_command(*command)
            return gathered(wanted, pipe.execute(raise_on_error=False), self.address)
