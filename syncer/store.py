"""Redis: bytes in and out. The only module that imports the Redis client.

Knows connections, pipelines, and how to turn what goes wrong into an error with a hint; knows nothing of features. A
URL may hold a password: errors name host, port and database only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import redis

from syncer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from syncer.resp import ReplyCounter

#: Seconds without any progress on a connection before it counts as dead.
TIMEOUT_SECONDS = 10.0

#: Keys asked for in one step of a scan, and commands in one pipeline of the paths that are not columnar.
CHUNK = 5_000

#: Batches sent before their replies are awaited. Redis keeps pending replies (4 bytes a row) without blocking.
_AHEAD = 2


_Item = TypeVar("_Item")


class Commands(Protocol):
    """A batch of commands that are answered by one line each; ``encode.Encoded`` is one."""

    @property
    def rows(self) -> int: ...
    @property
    def keys(self) -> Any: ...
    def commands(self) -> memoryview: ...


class Store:
    """One Redis server by URL. Connects when first used; safe to share between threads."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """``url``: redis://[user:password@]host:port/db, rediss:// for TLS, unix://. Raises StoreError for another."""
        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2, client_name="feature_warehouse"
            )
            settings = self._client.connection_pool.connection_kwargs
            if "db" not in settings and "path" not in settings and urlsplit(url).path.strip("/"):
                raise ValueError("the database is no number")  # the library would take 0
            self._client.connection_pool.make_connection()  # does not connect, but meets settings that nobody knows
        except (ValueError, TypeError, redis.RedisError):
            # The library's words may quote the URL, and that may hold a password.
            raise StoreError(
                "the Redis URL cannot be read", "write redis://host:port/0, rediss:// for TLS, or unix:///path"
            ) from None
        place = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
        self.address = f"{place}/{settings.get('db') or 0}"  # for people; without user and password

    def close(self) -> None:
        self._client.close()

    def get(self, key: str) -> bytes | None:
        with _translated(self.address, key):
            value: bytes | None = self._client.get(key)
            return value

    def set(self, key: str, value: bytes) -> None:
        with _translated(self.address, key):
            self._client.set(key, value)

    def hash_fields(self, key: str) -> dict[bytes, bytes]:
        with _translated(self.address, key):
            fields: dict[bytes, bytes] = self._client.hgetall(key)
            return fields

    def set_field(self, key: str, field: str, value: bytes) -> None:
        with _translated(self.address, key):
            self._client.hset(key, field, value)

    def delete_fields(self, keys: Iterable[str | bytes], field: str | bytes) -> int:
        """Removes ``field`` from each of ``keys``; returns how many had it."""
        return sum(sum(self._pipeline("HDEL", [(key, field) for key in some])) for some in _chunks(keys))

    def field_of_each(self, keys: Iterable[bytes], field: str | bytes) -> list[bytes | None]:
        """The value of ``field`` in each of ``keys``, None where there is none."""
        return [value for some in _chunks(keys) for value in self._pipeline("HGET", [(key, field) for key in some])]

    def read(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[list[bytes | None]]:
        """For each (key, fields) the fields' values; all in one round trip."""
        return self._pipeline("HMGET", [(key, *fields) for key, fields in wanted])

    def _pipeline(self, command: str, arguments: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        """One command for each (key, ...), all in one round trip."""
        with _translated(self.address), self._client.pipeline(transaction=False) as pipe:
            for each in arguments:
                pipe.execute_command(command, *each)
            replies: list[Any] = pipe.execute(raise_on_error=False)
        for (key, *_), reply in zip(arguments, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise _refused(str(reply), self.address, key)
        return replies

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """All keys that begin with ``prefix``, in lists of some thousands; a key may come twice (Redis SCAN)."""
        pattern = "".join("\\" + char if char in "*?[]\\^" else char for char in prefix) + "*"
        cursor = 0
        while True:
            with _translated(self.address):
                cursor, keys = self._client.scan(cursor, match=pattern, count=CHUNK)
            if keys:
                yield keys
            if cursor == 0:
                return

    def send(self, batches: Iterable[Commands]) -> Iterator[tuple[int, int]]:
        """Sends prebuilt commands over one connection; yields (rows, bytes) of each batch once Redis acknowledged it.

        The next batches are on their way while the replies of the last are read. Raises StoreRefusedError, naming the
        first key, when Redis refuses a write; what was acknowledged before stays written.
        """
        pool = self._client.connection_pool
        with _translated(self.address):
            connection = pool.get_connection()
        try:
            yield from _send(connection, batches, self.address)
        except BaseException:
            connection.disconnect()  # replies may be outstanding: nobody else may read them as theirs
            raise
        finally:
            pool.release(connection)


def _send(connection: Any, batches: Iterable[Commands], address: str) -> Iterator[tuple[int, int]]:
    replies = ReplyCounter()
    pending: deque[tuple[Commands, int, int]] = deque()  # batch, its bytes, replies when it is complete
    awaited = 0

    def complete() -> tuple[int, int]:
        batch, size, until = pending.popleft()
        with _translated(address):
            # The socket itself: parsing integer replies one by one would cost more than encoding the rows.
            while replies.count < until:
                chunk = connection._sock.recv(1 << 16)
                if not chunk:
                    raise redis.ConnectionError("Redis closed the connection")
                replies.feed(chunk)
        index, words = replies.errors[0] if replies.errors else (until, "")
        if index < until:  # else it answers a later batch, whose replies came along
            raise _refused(words, address, batch.keys[index - (until - batch.rows)].as_py())
        return batch.rows, size

    for batch in batches:
        buffer = batch.commands()
        with _translated(address):
            connection.send_packed_command([buffer])
        awaited += batch.rows
        pending.append((batch, len(buffer), awaited))
        if len(pending) > _AHEAD:
            yield complete()
    while pending:
        yield complete()


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, CHUNK)):
        yield some


@contextmanager
def _translated(address: str, key: str | None = None) -> Iterator[None]:
    """Errors of the Redis client and of the socket as ours; ``key``: what the command is about."""
    try:
        yield
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise _refused(str(error), address, key) from error
    except redis.BusyLoadingError as error:
        raise StoreUnavailableError(f"Redis at {address} is still loading its data", "try again in a moment") from error
    except (redis.TimeoutError, TimeoutError) as error:
        raise StoreUnavailableError(
            f"Redis at {address} did not answer in time", "is it overloaded, or a firewall in between?"
        ) from error
    except (redis.ConnectionError, OSError) as error:
        raise StoreUnavailableError(
            f"there is no Redis at {address}: {error}",
            "start one with `syncer redis`, or give its URL: --url or SYNCER_REDIS_URL",
        ) from error
    except redis.RedisError as error:
        raise StoreError(f"Redis at {address}: {error}") from error


#: What Redis's error replies begin with, and what to do about them.
_HINTS = {
    "NOAUTH": "give the password in the URL: redis://:password@host:port/0",
    "WRONGPASS": "check user and password in the URL",
    "AUTH": "check user and password in the URL",
    "invalid username-password": "check user and password in the URL",
    "Authentication required": "give the password in the URL: redis://:password@host:port/0",
    "NOPERM": "the user needs more rights: docs/wire-format.md lists the commands",
    "this user has no permissions": "the user needs more rights: docs/wire-format.md lists the commands",
    "OOM": "raise maxmemory, or serve fewer features",
    "command not allowed when used memory": "raise maxmemory, or serve fewer features",
    "READONLY": "this is a replica: give the URL of the primary",
    "You can't write against a read only": "this is a replica: give the URL of the primary",
    "WRONGTYPE": "something else wrote that key: remove it, or choose another --namespace",
    "DB index is out of range": "that database does not exist: redis://host:port/0 always does",
    "MISCONF": "Redis cannot save to its disk: see its log",
}


def _refused(words: str, address: str, key: str | bytes | None = None) -> StoreRefusedError:
    if words.startswith(("NOAUTH", "WRONGPASS", "AUTH", "invalid username", "Authentication required")):
        key = None  # who we are was refused, not what we asked for
    hint = next((hint for start, hint in _HINTS.items() if words.startswith(start)), "see the Redis documentation")
    name = key.decode(errors="replace") if isinstance(key, bytes) else key
    return StoreRefusedError(f"Redis at {address} refused{f' the key {name}' if name else ''}: {words}", hint)
