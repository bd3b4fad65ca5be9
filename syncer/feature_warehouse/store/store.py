"""Redis: bytes in and out.

Knows connections, pipelines, and how to turn what goes wrong into an error with a hint; knows nothing of features. A
URL may hold a password: errors name host, port and database only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_warehouse.errors import FencedError, StoreError, StoreRefusedError, StoreUnavailableError
from feature_warehouse.store.connect import TIMEOUT_SECONDS, locate
from feature_warehouse.store.failure import ELSEWHERE, moving
from feature_warehouse.store.failure import refused as _refused
from feature_warehouse.store.failure import translated as _translated
from feature_warehouse.store.layout import Share, check_shares, own_share
from feature_warehouse.wire.resp import Replies, ReplyError, command, errors, text

#: Bytes of values that are read back at once, as far as the last ones tell.
READ_BYTES = 16 << 20

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
        """``url``: in one of the forms of ``feature_warehouse.store.connect``. Raises StoreError for another."""
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

    @property
    def is_cluster(self) -> bool:
        return self._place.kind == "cluster"

    def get(self, key: str) -> bytes | None:
        client = self._client
        with _translated(self.address, key, in_cluster=self.is_cluster):
            value: bytes | None = client.get(key)
            return value

    def hash_fields(self, key: str) -> dict[bytes, bytes]:
        client = self._client
        with _translated(self.address, key, in_cluster=self.is_cluster):
            fields: dict[bytes, bytes] = client.hgetall(key)
            return fields

    def exchange(
        self,
        key: str,
        before: bytes | None,
        after: bytes,
        beside: str,
        field: str,
        stamp: Callable[[bytes], bytes],
        wanted: Callable[[Mapping[bytes, bytes]], bool] = lambda _: True,
    ) -> bool:
        """Sets ``key`` to ``after``, and ``field`` of ``beside`` to its stamp.

        Only if ``key`` holds ``before``, ``after`` or nothing, and only if ``wanted``, which is asked with all
        fields of ``beside``; nothing is sent that is there already. One transaction, but in a Cluster, where ``key``
        comes first and the stamp ends up as that of what ``key`` holds.
        False: it is wanted, and ``key`` holds something else.
        """

        def done(found: bytes | None, others: Mapping[bytes, bytes]) -> bool:
            return (found == after and others.get(field.encode()) == stamp(after)) or not wanted(others)

        def exchanged(pipe: Any) -> bool:
            found, others = pipe.get(key), pipe.hgetall(beside)
            pipe.multi()
            if done(found, others):
                return True
            if found in (before, after, None):
                pipe.set(key, after).hset(beside, field, stamp(after))
            return found in (before, after, None)

        if not self.is_cluster:
            return self._transaction(exchanged, key, beside)
        if done(self.get(key), self.hash_fields(beside)):
            return True
        with _translated(self.address, key, in_cluster=True):
            if not self._client.eval(_EXCHANGE, 1, key, after if before is None else before, after):
                return False
            held, stamped = self._client.get(key), None
            while held is not None and held != stamped:  # another run may exchange it, and be done before our stamp
                self._client.hset(beside, field, stamp(held))
                held, stamped = self._client.get(key), held
        return True

    def withdraw(self, key: str, expected: bytes, beside: str, alone: str) -> bool:
        """Deletes both keys, if ``key`` holds ``expected`` or nothing, and ``beside`` no field but ``alone``.

        One transaction, but in a Cluster, where ``beside`` comes first. False: they hold something else.
        """

        def withdrawn(pipe: Any) -> bool:
            as_expected = pipe.get(key) in (expected, None) and set(pipe.hgetall(beside)) <= {alone.encode()}
            pipe.multi()
            if as_expected:
                pipe.delete(key, beside)
            return as_expected

        if not self.is_cluster:
            return self._transaction(withdrawn, key, beside)
        with _translated(self.address, key, in_cluster=True):
            if not self._client.eval(_WITHDRAW_FIELD, 1, beside, alone):
                return False
            return bool(self._client.eval(_WITHDRAW, 1, key, expected))

    def _transaction(self, step: Callable[[Any], bool], *keys: str) -> bool:
        """What ``step`` returns, which is repeated until nobody touches ``keys`` meanwhile."""
        with _translated(self.address, keys[0]):
            done: bool = self._client.transaction(step, *keys, value_from_callable=True)
            return done

    def layout(self) -> tuple[Share, ...]:
        """Which primary of a Cluster has which slots, as each says itself; of anything else, nothing.

        Raises StoreNotReadyError where slots have no primary, or are on the move.
        """
        if not self.is_cluster:
            return ()
        sessions = self.sessions()
        try:
            shares = tuple(session.share() for session in sessions)
        finally:
            for session in sessions:
                session.close()
        check_shares(shares, self.address)
        return tuple(sorted(shares, key=lambda share: share.node))

    def field_of_each(self, keys: Iterable[bytes], field: str | bytes) -> list[bytes | None]:
        """The value of ``field`` in each of ``keys``, None where there is none. Raises StoreRefusedError by key."""
        if self.is_cluster:
            with _translated(self.address, in_cluster=True), self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, field)
                found: list[bytes | None] = pipe.execute()
                return found
        (session,) = self.sessions()
        try:
            values = [value for some in _chunks(keys) for value in session.field_of_each(some, field)]
        except BaseException:
            session.close()
            raise
        session.give_back()
        return values

    def append(self, entries: Sequence[tuple[str, bytes]], rows: int) -> None:
        """Adds each (stream, row) to its stream, and shortens streams to about ``rows``; one round trip."""
        with _translated(self.address, entries[0][0]), self._client.pipeline(transaction=False) as pipe:
            for stream, row in entries:
                pipe.xadd(stream, {"row": row}, maxlen=rows, approximate=True)
            pipe.execute()

    def remove(self, stream: str) -> None:
        """Takes a stream away; none there is no error."""
        with _translated(self.address, stream):
            self._client.delete(stream)

    def entries(self, stream: str, after: str) -> Iterator[list[tuple[str, bytes]]]:
        """(id, row) of what was added to ``stream`` after the id ``after``, oldest first, some thousands at a time."""
        while True:
            with _translated(self.address, stream):
                found = self._client.xrange(stream, min=f"({after}", count=CHUNK)
            if not found:
                return
            yield [(id_.decode(), fields.get(b"row", b"")) for id_, fields in found]
            after = found[-1][0].decode()

    def scan(self, prefix: str, field: str | bytes) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """All keys that begin with ``prefix``, on all primaries, and ``field`` of each.

        In lists, of which some are empty, see ``Session.scan``. A key may come twice.
        """
        at_once = 100  # keys whose values are asked for; of long ones, Redis keeps all replies until they are read
        for session in self.sessions():
            try:
                for keys in session.scan(prefix):
                    while keys:
                        some, keys = keys[:at_once], keys[at_once:]
                        values = session.field_of_each(some, field)
                        yield some, values
                        size = sum(map(len, filter(None, values)))
                        at_once = max(1, min(CHUNK, READ_BYTES * len(some) // (size or 1)))
                    yield [], []
            finally:
                session.close()

    def info(self) -> list[dict[str, Any]] | None:
        """What each primary says of itself (Redis INFO); None when this user may not ask."""
        try:
            with _translated(self.address, in_cluster=self.is_cluster):
                return [self._client.info(**where) for where in self._primaries()]
        except StoreRefusedError:
            return None

    def setting(self, *names: str) -> str | None:
        """The first of these settings that the server has (Redis CONFIG GET); None when this user may not ask."""
        try:
            with _translated(self.address, in_cluster=self.is_cluster):
                where = self._primaries()[0]
                found = (self._client.config_get(name, **where).get(name) for name in names)
                return next((value.decode() if isinstance(value, bytes) else value for value in found if value), None)
        except StoreRefusedError:
            return None

    def _primaries(self) -> list[dict[str, Any]]:
        """For each primary, what sends a command of the client to it."""
        if not self.is_cluster:
            return [{}]
        return [{"target_nodes": node} for node in sorted(self._client.get_primaries(), key=lambda node: node.name)]

    def sessions(self) -> list[Session]:
        """A connection of one's own to every primary. To be closed by who asked."""
        client = self._client
        with _translated(self.address, in_cluster=self.is_cluster):
            if not self.is_cluster:
                return [Session(client.connection_pool, self.address, fails_over=self._place.kind == "sentinel")]
            client.nodes_manager.initialize()  # the primaries as they are now
            sessions: list[Session] = []
            try:
                for where in self._primaries():
                    node = where["target_nodes"]
                    pool = client.get_redis_connection(node).connection_pool
                    sessions.append(Session(pool, node.name, fails_over=True, in_cluster=True))
            except BaseException:
                for session in sessions:
                    session.close()
                raise
            return sessions


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
        return own_share(self.call("CLUSTER", "NODES").decode())

    def scan(self, prefix: str) -> Iterator[list[bytes]]:
        """All keys of this primary that begin with ``prefix`` (Redis SCAN).

        A list for each some thousand keys that Redis has looked at: empty where none of them is one.
        """
        pattern = "".join("\\" + char if char in "*?[]\\^" else char for char in prefix) + "*"
        cursor = b"0"
        while True:
            cursor, keys = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", CHUNK)
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
        return _refused(words, self.address, key)

    def fenced(self) -> FencedError:
        """The error for a fence that has fallen."""
        return FencedError(
            f"another run has taken over, or Redis at {self.address} was emptied; this one has written nothing since",
            "run `syncer sync` again",
        )

    def _translated(self, key: str | None = None) -> AbstractContextManager[None]:
        return _translated(self.address, key, in_cluster=self._in_cluster)

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


#: How a node answers for slots that it does not have, or no longer, or for which it waits.
_MOVING = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")

#: What a Cluster executes in place of transactions, on one key each.
_EXCHANGE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] and found ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_WITHDRAW = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""
_WITHDRAW_FIELD = """
if redis.call('HLEN', KEYS[1]) > redis.call('HEXISTS', KEYS[1], ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, CHUNK)):
        yield some
