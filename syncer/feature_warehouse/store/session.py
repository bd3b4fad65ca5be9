"""One connection to one primary: what a run writes goes through here, and what it reads back.

Knows sockets, transactions behind a fence, and what replies mean; knows nothing of features. The library connects and
logs in; what is then said are bytes of ``resp`` and ``commands``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_warehouse.errors import FencedError, StoreError, StoreUnavailableError
from feature_warehouse.store.failure import ELSEWHERE, moving, refused, translated
from feature_warehouse.store.layout import Share, own_share
from feature_warehouse.wire.resp import Replies, ReplyError, command, errors, text

#: Keys asked for in one step of a scan, and commands in one pipeline of the paths that are not columnar.
CHUNK = 5_000

#: How a node answers for slots that it does not have, or no longer, or for which it waits.
_MOVING = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")

_Buffer = TypeVar("_Buffer", bytes, memoryview, "bytes | memoryview")


class Commands(Protocol):
    """A batch of commands that are answered by one line each; ``wire.commands.Encoded`` is one."""

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


class Session:
    """One connection to one primary. When it breaks it stays broken: what was on its way is then unknown."""

    def __init__(self, pool: Any, address: str, *, fails_over: bool = False, in_cluster: bool = False) -> None:
        """``fails_over``: a primary that is none any more has a successor, so that trying again makes sense."""
        self.address = address
        self._fails_over = fails_over
        self._in_cluster = in_cluster
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

    def share(self) -> Share:
        """What this node of a Cluster has of it."""
        with self._translated():
            return own_share(self.call("CLUSTER", "NODES").decode())

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """All keys of this primary that begin with ``prefix`` (Redis SCAN).

        A list for each some thousand keys that Redis has looked at: empty where none of them is one.
        """
        pattern = "".join("\\" + char if char in "*?[]\\^" else char for char in prefix) + "*"
        cursor = b"0"
        while True:
            with self._translated(prefix):
                cursor, keys = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", CHUNK)
                if not {*map(type, (cursor, *keys))} <= {bytes}:
                    raise TypeError(f"{keys!r:.40} are no keys")
            yield keys
            if cursor == b"0":
                return

    def field_of_each(self, keys: Sequence[bytes], field: str | bytes) -> list[bytes | None]:
        """The value of ``field`` in each of ``keys``, in one request. Raises StoreRefusedError by key."""
        start, end = command("HGET", b"", field).split(b"$0\r\n\r\n")
        values = self.values(b"".join([b"%b$%d\r\n%b\r\n%b" % (start, len(key), key, end) for key in keys]), len(keys))
        for key, value in zip(keys, values, strict=True):
            if isinstance(value, ReplyError):
                raise self.refused(value, key)
        return values

    def values(self, request: bytes, count: int) -> list[Any]:
        """Sends ``count`` prebuilt commands that are answered by one bulk string each; see ``resp.Replies.values``."""
        with self._translated():
            self._connection.send_packed_command([self._same(request)], check_health=False)
            return self._replies.values(count)

    def call(self, *args: bytes | str | int) -> Any:
        """One command, its reply as the client's library reads it."""
        return self._call(str(args[1]) if len(args) > 1 else None, *args)

    def evaluate(self, script: str, keys: Sequence[str], *args: bytes | str | int) -> Any:
        """What a script returns; the node must have all of ``keys``."""
        return self._call(keys[0], "EVAL", script, len(keys), *keys, *args)

    def _call(self, key: str | None, *args: bytes | str | int) -> Any:
        with self._translated(key):
            self._connection.send_packed_command([self._same(command(*args))], check_health=False)
            return self._connection.read_response()

    def send(self, fence: Fence, batches: Iterable[Commands]) -> Iterator[tuple[int, int]]:
        """Sends each batch as a transaction of its own; yields (rows, bytes) of each once Redis acknowledged it.

        A batch is either executed whole, while ``fence`` stood, or not at all. Raises FencedError, before that batch
        and all after it, when the fence has fallen, and StoreRefusedError, naming the first key, when Redis refuses a
        write; what was acknowledged before stays written, and the batch after it may be too.
        """
        # Nothing is executed between WATCH and EXEC if the key was touched in between; what was before, HEXISTS tells.
        head = command("WATCH", fence.key) + command("HEXISTS", fence.key, fence.token) + command("MULTI")
        tail = b"".join(fence.renewal) + command("EXEC")
        sent: tuple[Commands, int] | None = None
        replies: list[bytes] = []
        for batch in batches:
            # So that Redis does not wait for us: the next batch is made, and its head sent, while the last is executed.
            # Then only what must be known before its rows stands between their replies and them.
            self.submit(head)
            buffer = batch.commands()
            if sent:
                replies = self._executed(sent[0], len(fence.renewal))
            self._begun(fence)
            self.submit(buffer, tail)
            if sent:
                yield self._acknowledged(*sent, replies)
            sent = batch, len(buffer)
        if sent:
            yield self._acknowledged(*sent, self._executed(sent[0], len(fence.renewal)))

    def _begun(self, fence: Fence) -> None:
        """Raises unless the fence stands and a transaction was begun: without one, rows would be executed at once."""
        stands = self.lines(3)
        if refused := errors(stands):
            raise self.refused(refused[0][1], fence.key)
        if stands != [b"+OK", b":1", b"+OK"]:
            raise self.fenced()

    def _executed(self, batch: Commands, renewals: int) -> list[bytes]:
        """The replies to each command of a transaction. Raises unless it was executed."""
        queued = self.lines(batch.rows + renewals)
        (result,) = self.lines(1)
        if result == b"*-1":
            raise self.fenced()
        if result.startswith(b"-"):  # a command was refused outright: rights, memory
            index, words = next(iter(errors(queued)), (batch.rows, text(result[1:])))
            raise self.refused(words, key_of(batch, index))
        return self.lines(batch.rows + renewals)

    def _acknowledged(self, batch: Commands, size: int, replies: list[bytes]) -> tuple[int, int]:
        if refused := errors(replies):  # a key of another type stops no transaction
            index, words = refused[0]
            raise self.refused(words, key_of(batch, index))
        return batch.rows, size

    def submit(self, *buffers: bytes | memoryview) -> None:
        """Sends prebuilt commands, whose replies are to be read by ``lines``."""
        with self._translated():
            self._connection.send_packed_command([self._same(buffer) for buffer in buffers], check_health=False)

    def lines(self, count: int) -> list[bytes]:
        """The next lines of replies."""
        with self._translated():
            return self._replies.lines(count)

    def refused(self, words: str, key: str | bytes | None = None) -> StoreError:
        """The error for what Redis said, with or without the '-' before it; ``key``: what it was about."""
        words = words.lstrip("-").strip()
        if self._fails_over and words.startswith("READONLY"):
            return StoreUnavailableError(f"the primary of {self.address} has become a replica", "try again in a moment")
        if self._in_cluster and (words.startswith(_MOVING) or ELSEWHERE in words):
            return moving(self.address, words)
        return refused(words, self.address, key)

    def fenced(self) -> FencedError:
        """The error for a fence that has fallen."""
        return FencedError(
            f"another run has taken over, or Redis at {self.address} was emptied; this one has written nothing since",
            "run `syncer sync` again",
        )

    def _translated(self, key: str | None = None) -> AbstractContextManager[None]:
        return translated(self.address, key, in_cluster=self._in_cluster)

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


def key_of(batch: Commands, index: int) -> bytes | str | None:
    """The key of a row of ``batch``, None for none of them."""
    if index >= batch.rows:
        return None
    key = batch.keys[index]
    return key.as_py() if hasattr(key, "as_py") else str(key)
