"""Redis: bytes in and out.

Knows connections, pipelines, and how to turn what goes wrong into an error with a hint; knows nothing of features. A
URL may hold a password: errors name host, port and database only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from syncer.connect import TIMEOUT_SECONDS, locate
from syncer.errors import FencedError, StoreError, StoreRefusedError, StoreUnavailableError
from syncer.failure import refused as _refused
from syncer.failure import translated as _translated
from syncer.resp import Replies, ReplyError, command, errors

#: Keys asked for in one step of a scan, and commands in one pipeline of the paths that are not columnar.
CHUNK = 5_000

_Item = TypeVar("_Item")
_Buffer = TypeVar("_Buffer", bytes, memoryview, "bytes | memoryview")


class Commands(Protocol):
    """A batch of commands that are answered by one line each; ``encode.Encoded`` is one."""

    @property
    def rows(self) -> int: ...
    @property
    def keys(self) -> Any: ...
    def commands(self) -> memoryview | bytes: ...


@dataclass(frozen=True, slots=True)
class Command:
    """One command as a batch; ``key`` is what it is about."""

    args: tuple[bytes | str | int, ...]

    @property
    def rows(self) -> int:
        return 1

    @property
    def keys(self) -> tuple[bytes | str | int, ...]:
        return self.args[1:2]

    def commands(self) -> bytes:
        return command(*self.args)


@dataclass(frozen=True, slots=True)
class Fence:
    """What keeps a writer's commands out of Redis once it may no longer write.

    ``key`` is a hash that has the field ``token`` for as long as the writer may; ``renewal`` is sent along with every
    batch, one-line replies each.
    """

    key: str
    token: str
    renewal: tuple[bytes, ...] = ()


class Store:
    """The Redis of a URL. Connects when first used; safe to share between threads."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """``url``: in one of the forms of ``syncer.connect``. Raises StoreError for another."""
        self._place = locate(url, timeout)
        self._connected: Any = None
        self._lock = threading.Lock()
        self.address = self._place.address

    @property
    def _client(self) -> Any:
        with self._lock, _translated(self.address):
            if self._connected is None:
                self._connected = self._place.connect()
            return self._connected

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()

    def check_writable(self) -> None:
        """Raises StoreError for a Redis that is read from only: no fence keeps two runs apart in a Cluster."""
        if self._place.kind == "cluster":
            raise StoreError(
                f"the Redis at {self.address} is a Cluster, which the syncer reads from but does not write to",
                "sync into one primary or a Sentinel service, and give its URL: docs/guides/redis.md says why",
            )

    def get(self, key: str) -> bytes | None:
        with _translated(self.address, key):
            value: bytes | None = self._client.get(key)
            return value

    def hash_fields(self, key: str) -> dict[bytes, bytes]:
        with _translated(self.address, key):
            fields: dict[bytes, bytes] = self._client.hgetall(key)
            return fields

    def exchange(
        self,
        key: str,
        before: bytes | None,
        after: bytes,
        beside: str,
        fields: Mapping[str, bytes],
        wanted: Callable[[Mapping[bytes, bytes]], bool] = lambda _: True,
    ) -> bool:
        """Sets ``key`` to ``after``, and ``fields`` of ``beside``, if ``key`` holds ``before``, ``after`` or nothing.

        Only if ``wanted``, which is asked with all fields of ``beside``. One transaction; nothing is sent that is there
        already. False: it is wanted, and ``key`` holds something else.
        """

        def exchanged(pipe: Any) -> bool:
            found, others = pipe.get(key), pipe.hgetall(beside)
            same = found == after and all(others.get(name.encode()) == value for name, value in fields.items())
            pipe.multi()
            if same or not wanted(others):
                return True
            if found in (before, after, None):
                pipe.set(key, after).hset(beside, mapping=fields)
            return found in (before, after, None)

        return self._transaction(exchanged, key, beside)

    def withdraw(self, key: str, expected: bytes, beside: str, alone: str) -> bool:
        """Deletes both keys, if ``key`` holds ``expected`` or nothing, and ``beside`` no field but ``alone``.

        One transaction. False: they hold something else.
        """

        def withdrawn(pipe: Any) -> bool:
            as_expected = pipe.get(key) in (expected, None) and set(pipe.hgetall(beside)) <= {alone.encode()}
            pipe.multi()
            if as_expected:
                pipe.delete(key, beside)
            return as_expected

        return self._transaction(withdrawn, key, beside)

    def _transaction(self, step: Callable[[Any], bool], *keys: str) -> bool:
        """What ``step`` returns, which is repeated until nobody touches ``keys`` meanwhile."""
        self.check_writable()
        with _translated(self.address, keys[0]):
            done: bool = self._client.transaction(step, *keys, value_from_callable=True)
            return done

    def field_of_each(self, keys: Iterable[bytes], field: str | bytes) -> list[bytes | None]:
        """The value of ``field`` in each of ``keys``, None where there is none. Raises StoreRefusedError by key."""
        return [value for some in _chunks(keys) for value in self._field_of(some, field)]

    def _field_of(self, keys: Sequence[bytes], field: str | bytes) -> list[bytes | None]:
        start, end = command("HGET", b"", field).split(b"$0\r\n\r\n")
        request = b"".join([b"%b$%d\r\n%b\r\n%b" % (start, len(key), key, end) for key in keys])
        (session,) = self.sessions()
        try:
            values = session.values(request, len(keys))
        except BaseException:
            session.close()
            raise
        session.give_back()
        for key, value in zip(keys, values, strict=True):
            if isinstance(value, ReplyError):
                raise _refused(value, self.address, key)
        return values

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """All keys that begin with ``prefix``, in lists of some thousands; a key may come twice (Redis SCAN)."""
        pattern = "".join("\\" + char if char in "*?[]\\^" else char for char in prefix) + "*"
        self.check_writable()
        cursor = 0
        while True:
            with _translated(self.address):
                cursor, keys = self._client.scan(cursor, match=pattern, count=CHUNK)
            if keys:
                yield keys
            if cursor == 0:
                return

    def info(self) -> dict[str, Any] | None:
        """What the server says of itself (Redis INFO); None when this user may not ask."""
        try:
            with _translated(self.address):
                facts: dict[str, Any] = self._client.info()
                return facts
        except StoreRefusedError:
            return None

    def setting(self, *names: str) -> str | None:
        """The first of these settings that the server has (Redis CONFIG GET); None when this user may not ask."""
        try:
            with _translated(self.address):
                found = (self._client.config_get(name).get(name) for name in names)
                return next((value.decode() if isinstance(value, bytes) else value for value in found if value), None)
        except StoreRefusedError:
            return None

    def sessions(self) -> list[Session]:
        """A connection of one's own to every primary: one. To be closed by who asked."""
        self.check_writable()
        with _translated(self.address):
            return [Session(self._client.connection_pool, self.address, fails_over=self._place.kind == "sentinel")]


class Session:
    """One connection to one primary. When it breaks it stays broken: what was on its way is then unknown."""

    def __init__(self, pool: Any, address: str, *, fails_over: bool = False) -> None:
        """``fails_over``: a primary that is none any more has a successor, so that trying again makes sense."""
        self.address = address
        self._fails_over = fails_over
        self._pool = pool
        self._connection = pool.get_connection()
        self._connection.retry = Retry(NoBackoff(), 0)
        self._replies = Replies(self._receive)
        self._socket = self._connection._sock

    def close(self) -> None:
        self._connection.disconnect()  # replies may be outstanding: nobody else may read them as theirs
        self._pool.release(self._connection)

    def give_back(self) -> None:
        """Leaves the connection to whoever is next; every reply must have been read."""
        self._pool.release(self._connection)

    def values(self, request: bytes, count: int) -> list[Any]:
        """Sends ``count`` prebuilt commands that are answered by one bulk string each; see ``resp.Replies.values``."""
        with _translated(self.address):
            self._connection.send_packed_command([self._same(request)], check_health=False)
            return self._replies.values(count)

    def call(self, *args: bytes | str | int) -> Any:
        """One command, its reply as the client's library reads it."""
        with _translated(self.address, str(args[1]) if len(args) > 1 else None):
            self._connection.send_packed_command([self._same(command(*args))], check_health=False)
            return self._connection.read_response()

    def send(self, fence: Fence, batches: Iterable[Commands]) -> Iterator[tuple[int, int]]:
        """Sends each batch as a transaction of its own; yields (rows, bytes) of each once Redis acknowledged it.

        A batch is either executed whole, while ``fence`` stood, or not at all. The next batch is made while the last is
        executed. Raises FencedError, before that batch and all after it, when the fence has fallen, and
        StoreRefusedError, naming the first key, when Redis refuses a write; what was acknowledged before stays written.
        """
        # Nothing is executed between WATCH and EXEC if the key was touched in between; what was before, HEXISTS tells.
        head = command("WATCH", fence.key) + command("HEXISTS", fence.key, fence.token) + command("MULTI")
        tail = b"".join(fence.renewal) + command("EXEC")
        sent: tuple[Commands, int] | None = None
        for batch in batches:
            self._send(head)
            buffer = batch.commands()
            if sent:
                yield self._executed(*sent, len(fence.renewal))
            self._begun(fence)
            self._send(buffer, tail)
            sent = batch, len(buffer)
        if sent:
            yield self._executed(*sent, len(fence.renewal))

    def _begun(self, fence: Fence) -> None:
        """Raises unless the fence stands and a transaction was begun: without one, rows would be executed at once."""
        stands = self._lines(3)
        if refused := errors(stands):
            raise _refused(refused[0][1], self.address, fence.key)
        if stands != [b"+OK", b":1", b"+OK"]:
            raise _fenced(self.address)

    def _executed(self, batch: Commands, size: int, renewals: int) -> tuple[int, int]:
        queued = self._lines(batch.rows + renewals)
        (result,) = self._lines(1)
        if result == b"*-1":
            raise _fenced(self.address)
        # A command that is refused outright (rights, memory) stops the transaction; a key of another type does not.
        refused = errors(queued) if result.startswith(b"-") else errors(self._lines(batch.rows + renewals))
        if refused or result.startswith(b"-"):
            index, words = refused[0] if refused else (batch.rows, result[1:].decode(errors="replace"))
            if self._fails_over and words.startswith("READONLY"):
                raise StoreUnavailableError(
                    f"the primary of {self.address} has become a replica", "try again in a moment"
                )
            raise _refused(words, self.address, _key_of(batch, index))
        return batch.rows, size

    def _send(self, *buffers: bytes | memoryview) -> None:
        with _translated(self.address):
            self._connection.send_packed_command([self._same(buffer) for buffer in buffers], check_health=False)

    def _lines(self, count: int) -> list[bytes]:
        with _translated(self.address):
            return self._replies.lines(count)

    def _same(self, buffer: _Buffer) -> _Buffer:
        """``buffer``, if the connection is still the first one: the library would make another without a word."""
        if self._connection._sock is None or self._connection._sock is not self._socket:
            raise redis.ConnectionError("the connection was lost")
        return buffer

    def _receive(self) -> bytes:
        # The socket itself: parsing replies one by one would cost more than encoding the rows.
        chunk: bytes = self._connection._sock.recv(1 << 16)
        if not chunk:
            raise redis.ConnectionError("Redis closed the connection")
        return chunk


def _key_of(batch: Commands, index: int) -> bytes | str | None:
    if index >= batch.rows:
        return None
    key = batch.keys[index]
    return key.as_py() if hasattr(key, "as_py") else str(key)


def _fenced(address: str) -> FencedError:
    return FencedError(
        f"another run has taken over, or Redis at {address} was emptied; this one has written nothing since",
        "run `syncer sync` again",
    )


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, CHUNK)):
        yield some
