"""The Redis of a reading client that shares an event loop; ``fetcher`` is the same without one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import redis

from feature_warehouse.store.connect import close_async, locate
from feature_warehouse.store.exchange import ATTEMPTS, CHUNK_BYTES, Exchange, commands, gathered, is_broken
from feature_warehouse.store.failure import FAILURES, translated
from feature_warehouse.store.fetch import Computation, Fetch, Steps, Values
from feature_warehouse.store.timeouts import TIMEOUT_SECONDS, check_deadline

if sys.version_info >= (3, 11, 3):
    from asyncio import timeout as _limited
else:
    # The Redis library brings it along there.
    from async_timeout import timeout as _limited  # type: ignore[import-not-found,no-redef,unused-ignore]

_T = TypeVar("_T")

#: Connections of an async client; reads beyond them wait for one.
_AT_ONCE = 100


class AsyncFetcher:
    """The same for asyncio: to be used by the tasks of one event loop at a time."""

    def __init__(
        self, url: str, timeout: float = TIMEOUT_SECONDS, *, deadline: float | None = None, replicas: bool = False
    ) -> None:
        """As ``fetcher.Fetcher``."""
        self._place = locate(url, timeout, replicas=replicas)
        self._timeout = timeout
        self._deadline = check_deadline(deadline)
        self._connected: Any = None
        self._idle: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = asyncio.Semaphore(_AT_ONCE)
        self.address = self._place.address

    async def run(self, steps: Steps[_T]) -> _T:
        try:
            async with _limited(self._deadline):
                wanted = next(steps)
                while True:
                    if isinstance(wanted, Sequence):
                        wanted = steps.send(await self.fetch(wanted))
                    else:
                        wanted = steps.send(await self._waited(wanted))
        except StopIteration as end:
            result: _T = end.value
            return result
        except asyncio.TimeoutError as error:  # Python 3.10 has two of the name
            with translated(self.address):
                raise TimeoutError(*error.args) from error
            raise AssertionError from error

    async def _waited(self, computation: Computation) -> Any:
        try:
            async with _limited(self._timeout):
                return await asyncio.wrap_future(computation.future)
        except asyncio.TimeoutError:
            raise computation.give_up() from None
        except asyncio.CancelledError:
            computation.give_up()
            raise

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
        exchange = Exchange(wanted)
        for attempt in range(ATTEMPTS):
            if await self._attempt(exchange, last=attempt + 1 == ATTEMPTS):
                break
            exchange = exchange.again()
        return exchange.values(self.address)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()
        if self._connected is not None:
            await close_async(self._connected)

    async def _attempt(self, exchange: Exchange, *, last: bool) -> bool:
        connection = await self._connection()
        try:
            for part in exchange.parts():
                async with _limited(self._timeout):
                    if part:
                        connection._writer.write(part)
                        await connection._writer.drain()
                    elif chunk := await connection._reader.read(CHUNK_BYTES):
                        exchange.feed(chunk)
                    else:
                        raise redis.ConnectionError("Redis closed the connection")
        except BaseException as error:
            await self._drop(connection)
            if last or not is_broken(error):
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
        for command in commands(wanted):
            pipe.execute_command(*command)
        return gathered(wanted, await pipe.execute(raise_on_error=False), self.address)
