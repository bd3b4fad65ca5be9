"""Redis as the reading client sees it: values of keys, and fields of hashes, in one round trip; sync and async.

Knows connections, and how a read survives one that broke; knows nothing of features. The library connects, logs in and
finds primaries and replicas. What is then said on a connection are bytes of ``resp``, because a pipeline of the library
takes several times as long as the server; a Cluster's is used as it is, since it follows slots that move.

Requests of many keys are cut into parts. The next part is on its way while the replies to the last one are read, and
neither side ever holds more than two parts in buffers.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis

from feature_warehouse.store.connect import TIMEOUT_SECONDS, close_async, locate
from feature_warehouse.store.failure import FAILURES, refused, translated, words_of
from feature_warehouse.wire.resp import Answers, hmget

if sys.version_info >= (3, 11, 3):
    from asyncio import timeout as _limited
else:
    # The Redis library brings it along there.
    from async_timeout import timeout as _limited  # type: ignore[import-not-found,no-redef,unused-ignore]

_T = TypeVar("_T")

#: Keys in one part of a request.
_PART = 512

#: Bytes taken from a connection at once.
_CHUNK = 1 << 17

#: Connections of an async client; reads beyond them wait for one.
_AT_ONCE = 100

#: A read changes nothing, so one whose connection broke is made again, on a new connection, up to so many times in all.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Fetch:
    """HMGET of the same fields of each key; without fields, GET of each key."""

    keys: Sequence[bytes]
    fields: tuple[bytes, ...] = ()


#: Values in the order of the keys, and of the fields of each key; None where there is none.
Values = list["bytes | None"]

#: What a use of Redis looks like without the I/O: it yields what it wants to have fetched, and is sent the values.
Steps = Generator[Sequence[Fetch], list[Values], _T]


class Fetcher:
    """The Redis of a URL. Connects when first used; safe to share between threads, and by processes that are forked."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS, *, replicas: bool = False) -> None:
        """``url``: in one of the forms of ``store.connect``; ``timeout``: seconds without progress; ``replicas``: read
        from those of a Sentinel service or a Cluster. Raises StoreError for a URL that cannot be used.
        """
        self._place = locate(url, timeout, replicas=replicas)
        self._lock = threading.Lock()
        self._connected: Any = None
        self._idle: list[Any] = []
        self._process = os.getpid()
        self.address = self._place.address

    def run(self, steps: Steps[_T]) -> _T:
        """What ``steps`` returns, after fetching what it yields. Raises StoreError."""
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(self.fetch(wanted))
        except StopIteration as end:
            result: _T = end.value
            return result

    def fetch(self, wanted: Sequence[Fetch]) -> list[Values]:
        """The values of each; all in one round trip, per node of a Cluster."""
        try:
            if self._place.kind == "cluster":
                return self._from_nodes(wanted)
            exchange = _Exchange(wanted)
            for attempt in range(_ATTEMPTS):
                if self._attempt(exchange, last=attempt + 1 == _ATTEMPTS):
                    break
                exchange = _Exchange(wanted)
        except FAILURES as error:
            with translated(self.address):
                raise error
        return exchange.values(self.address)

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()
        if self._connected is not None:
            self._connected.close()

    def _attempt(self, exchange: _Exchange, *, last: bool) -> bool:
        """False: the connection broke, and trying again makes sense."""
        connection = self._connection()
        try:
            socket = connection._sock
            for part in exchange.parts():
                if part:
                    socket.sendall(part)
                elif chunk := socket.recv(_CHUNK):
                    exchange.feed(chunk)
                else:
                    raise redis.ConnectionError("Redis closed the connection")
        except BaseException as error:
            self._drop(connection)  # replies may be outstanding: nobody else may read them as theirs
            if last or not _broken(error):
                raise
            # What broke one connection, a restart or a failover, has broken those that lie idle too.
            idle, self._idle = self._idle, []
            for each in idle:
                self._drop(each)
            return False
        self._idle.append(connection)
        return True

    def _connection(self) -> Any:
        if self._process != os.getpid():  # a forked process must not speak on its parent's connections
            # What a thread of the parent had locked stays locked here: nothing of the old client may be touched.
            self._lock = threading.Lock()
            if self._connected is not None:
                self._connected.auto_close_connection_pool = False
            self._process, self._idle, self._connected = os.getpid(), [], None
        try:
            return self._idle.pop()
        except IndexError:
            return self._client().connection_pool.get_connection()

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._client().connection_pool.release(connection)

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._place.connect()
            return self._connected

    def _from_nodes(self, wanted: Sequence[Fetch]) -> list[Values]:
        with self._client().pipeline(transaction=False) as pipe:
            for command in _commands(wanted):
                pipe.execute_command(*command)
            return _gathered(wanted, pipe.execute(raise_on_error=False), self.address)


class AsyncFetcher:
    """The same for asyncio: to be used by the tasks of one event loop at a time."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS, *, replicas: bool = False) -> None:
        """As ``Fetcher``."""
        self._place = locate(url, timeout, replicas=replicas)
        self._timeout = timeout
        self._connected: Any = None
        self._idle: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = asyncio.Semaphore(_AT_ONCE)
        self.address = self._place.address

    async def run(self, steps: Steps[_T]) -> _T:
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(await self.fetch(wanted))
        except StopIteration as end:
            result: _T = end.value
            return result

    async def fetch(self, wanted: Sequence[Fetch]) -> list[Values]:
        if self._loop is not asyncio.get_running_loop():  # connections belong to the loop that made them
            self._loop, self._idle, self._connected = asyncio.get_running_loop(), [], None
            self._free = asyncio.Semaphore(_AT_ONCE)
        free = self._free
        try:
            async with _limited(self._timeout):
                await free.acquire()
            try:
                return await self._fetched(wanted)
            finally:
                free.release()
        except asyncio.TimeoutError as error:  # Python 3.10 has two of the name
            with translated(self.address):
                raise TimeoutError(*error.args) from error
        except FAILURES as error:
            with translated(self.address):
                raise error

    async def _fetched(self, wanted: Sequence[Fetch]) -> list[Values]:
        if self._place.kind == "cluster":
            return await self._from_nodes(wanted)
        exchange = _Exchange(wanted)
        for attempt in range(_ATTEMPTS):
            if await self._attempt(exchange, last=attempt + 1 == _ATTEMPTS):
                break
            exchange = _Exchange(wanted)
        return exchange.values(self.address)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()
        if self._connected is not None:
            await close_async(self._connected)

    async def _attempt(self, exchange: _Exchange, *, last: bool) -> bool:
        connection = await self._connection()
        try:
            for part in exchange.parts():
                async with _limited(self._timeout):
                    if part:
                        connection._writer.write(part)
                        await connection._writer.drain()
                    elif chunk := await connection._reader.read(_CHUNK):
                        exchange.feed(chunk)
                    else:
                        raise redis.ConnectionError("Redis closed the connection")
        except BaseException as error:
            await self._drop(connection)
            if last or not _broken(error):
                raise
            idle, self._idle = self._idle, []
            for each in idle:
                await self._drop(each)
            return False
        self._idle.append(connection)
        return True

    async def _connection(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return await self._client().connection_pool.get_connection()

    async def _drop(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)
        await self._client().connection_pool.release(connection)

    def _client(self) -> Any:
        if self._connected is None:
            self._connected = self._place.connect_async()
        return self._connected

    async def _from_nodes(self, wanted: Sequence[Fetch]) -> list[Values]:
        pipe = self._client().pipeline()
        for command in _commands(wanted):
            pipe.execute_command(*command)
        return _gathered(wanted, await pipe.execute(raise_on_error=False), self.address)


class _Exchange:
    """What is said on a connection to fetch something, without the connection."""

    def __init__(self, wanted: Sequence[Fetch]) -> None:
        self._wanted = wanted
        self._small = sum(len(fetch.keys) for fetch in wanted) <= _PART
        self._parts = wanted if self._small else list(_divided(wanted))
        self._answers = Answers([(len(part.keys), len(part.fields)) for part in self._parts])

    def parts(self) -> Iterator[bytes]:
        """Bytes to send; empty: receive some, and ``feed`` them."""
        answers, last = self._answers, len(self._parts)
        if self._small:
            yield b"".join([hmget(part.keys, part.fields) for part in self._parts])
        else:
            for number, part in enumerate(self._parts):
                yield hmget(part.keys, part.fields)
                while answers.complete < number:  # the one before is answered
                    yield b""
        while answers.complete < last:
            yield b""

    def feed(self, chunk: bytes) -> None:
        try:
            self._answers.feed(chunk)
        except ValueError as error:
            raise redis.InvalidResponse(str(error)) from error

    def values(self, address: str) -> list[Values]:
        """When all was fed. Raises StoreError, naming the key, where Redis refused."""
        if self._answers.refused:
            request, key, words = self._answers.refused[0]
            raise refused(words, address, self._parts[request].keys[key])
        if self._small:
            return self._answers.values
        parts = iter(self._answers.values)
        return [[value for _ in range(0, len(fetch.keys), _PART) for value in next(parts)] for fetch in self._wanted]


def _divided(wanted: Sequence[Fetch]) -> Iterator[Fetch]:
    for fetch in wanted:
        for start in range(0, len(fetch.keys), _PART):
            yield Fetch(fetch.keys[start : start + _PART], fetch.fields)


def _broken(error: BaseException) -> bool:
    """Whether a connection broke, rather than that nobody answers on it."""
    return isinstance(error, redis.ConnectionError | OSError) and not isinstance(error, TimeoutError)


def _commands(wanted: Sequence[Fetch]) -> Iterator[tuple[str | bytes, ...]]:
    for fetch in wanted:
        for key in fetch.keys:
            yield ("HMGET", key, *fetch.fields) if fetch.fields else ("GET", key)


def _gathered(wanted: Sequence[Fetch], replies: Sequence[Any], address: str) -> list[Values]:
    values: list[Values] = []
    each = iter(replies)
    for fetch in wanted:
        found: Values = []
        for key, reply in zip(fetch.keys, each, strict=False):
            if isinstance(reply, redis.RedisError):
                if not isinstance(reply, redis.ResponseError):
                    raise reply
                raise refused(words_of(reply), address, key)
            found += reply if fetch.fields else [reply]
        values.append(found)
    return values
