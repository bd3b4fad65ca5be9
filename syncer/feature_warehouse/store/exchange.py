"""What is said on a connection to fetch something, without the connection.

What is said are bytes of ``resp``, because a pipeline of the library takes several times as long as the server; a
Cluster's is used as it is, since it follows slots that move.

Requests of many keys are cut into parts. The next part is on its way while the replies to the last one are read, and
neither side ever holds more than two parts in buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from feature_warehouse.store.failure import refused, words_of
from feature_warehouse.store.fetch import PART_KEYS, Fetch, Values
from feature_warehouse.wire.resp import Answers, UnusualError, hmget

#: Bytes taken from a connection at once.
CHUNK_BYTES = 1 << 17

#: A read changes nothing, so one whose connection broke is made again, on a new connection, up to so many times in all.
ATTEMPTS = 3


class UnusualReply(redis.ConnectionError):
    """A connection whose replies are to be read again, with more care."""


class Exchange:
    """What is said on a connection to fetch something, without the connection."""

    def __init__(self, wanted: Sequence[Fetch], *, careful: bool = False) -> None:
        self._wanted = wanted
        self._small = sum(len(fetch.keys) for fetch in wanted) <= PART_KEYS
        self._parts = wanted if self._small else list(_divided(wanted))
        self._careful = careful
        self._answers = Answers([(len(part.keys), len(part.fields)) for part in self._parts], careful=careful)

    def again(self) -> Exchange:
        """The same from its beginning, on another connection."""
        return Exchange(self._wanted, careful=self._careful)

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
        except UnusualError as error:
            self._careful = True
            raise UnusualReply(str(error)) from error
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
        return [
            [value for _ in range(0, len(fetch.keys), PART_KEYS) for value in next(parts)] for fetch in self._wanted
        ]


def _divided(wanted: Sequence[Fetch]) -> Iterator[Fetch]:
    for fetch in wanted:
        for start in range(0, len(fetch.keys), PART_KEYS):
            yield Fetch(fetch.keys[start : start + PART_KEYS], fetch.fields)


def is_broken(error: BaseException) -> bool:
    """Whether a connection broke, rather than that nobody answers on it."""
    return isinstance(error, redis.ConnectionError | OSError) and not isinstance(error, TimeoutError)


def commands(wanted: Sequence[Fetch]) -> Iterator[tuple[str | bytes, ...]]:
    for fetch in wanted:
        for key in fetch.keys:
            yield ("HMGET", key, *fetch.fields) if fetch.fields else ("GET", key)


def gathered(wanted: Sequence[Fetch], replies: Sequence[Any], address: str) -> list[Values]:
    values: list[Values] = []
    each = iter(replies)
    for fetch in wanted:
        found: Values = []
        for key, reply in zip(fetch.keys, each, strict=False):
            if isinstance(reply, redis.RedisError):
                if not isinstance(reply, redis.ResponseError):
                    raise reply
                raise refused(words_of(reply), address, key)
            values_of_key = reply if fetch.fields else [reply]
            if type(values_of_key) is not list or not {*map(type, values_of_key)} <= {bytes, type(None)}:
                raise redis.InvalidResponse(f"{reply!r:.40} is no reply to {'HMGET' if fetch.fields else 'GET'}")
            if len(values_of_key) != len(fetch.fields or (key,)):
                raise redis.InvalidResponse(f"{len(values_of_key)} values for {len(fetch.fields)} fields")
            found += values_of_key
        values.append(found)
    return values
