"""A whole Redis, one server or a Cluster: keys, hashes and streams of it, exchanged in one step, and scanned.

Knows pipelines, transactions and what a Cluster has in their place; knows nothing of features. A URL may hold a
password: errors name host, port and database only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, TypeVar

from feature_warehouse.errors import StoreRefusedError
from feature_warehouse.store.connect import locate
from feature_warehouse.store.failure import translated
from feature_warehouse.store.layout import Share, check_shares
from feature_warehouse.store.session import CHUNK, Session
from feature_warehouse.store.timeouts import TIMEOUT_SECONDS

#: Bytes of values that are read back at once, as far as the last ones tell.
READ_BYTES = 16 << 20

#: The id of an entry of a stream.
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")

_Item = TypeVar("_Item")


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
        with self._lock, translated(self.address):
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
        with translated(self.address, key, in_cluster=self.is_cluster):
            value: bytes | None = client.get(key)
            if not isinstance(value, bytes | None):
                raise TypeError(f"{value!r:.40} is no value")
            return value

    def hash_fields(self, key: str) -> dict[bytes, bytes]:
        client = self._client
        with translated(self.address, key, in_cluster=self.is_cluster):
            fields: dict[bytes, bytes] = client.hgetall(key)
            if not {*map(type, chain.from_iterable(fields.items()))} <= {bytes}:
                raise TypeError(f"{fields!r:.40} are no fields")
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
        with translated(self.address, key, in_cluster=True):
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
        with translated(self.address, key, in_cluster=True):
            if not self._client.eval(_WITHDRAW_FIELD, 1, beside, alone):
                return False
            return bool(self._client.eval(_WITHDRAW, 1, key, expected))

    def _transaction(self, step: Callable[[Any], bool], *keys: str) -> bool:
        """What ``step`` returns, which is repeated until nobody touches ``keys`` meanwhile."""
        with translated(self.address, keys[0]):
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
            with translated(self.address, in_cluster=True), self._client.pipeline(transaction=False) as pipe:
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

    def append(self, entries: Sequence[tuple[str, bytes]], rows: int, lasting: timedelta | None = None) -> None:
        """Adds each (stream, row) to its stream, and shortens streams to about ``rows``; one round trip.

        ``lasting``: for how long a stream stays after this; None: for ever.
        """
        with translated(self.address, entries[0][0]), self._client.pipeline(transaction=False) as pipe:
            for stream, row in entries:
                pipe.xadd(stream, {"row": row}, maxlen=rows, approximate=True)
                if lasting is not None:
                    pipe.pexpire(stream, lasting)
            pipe.execute()

    def remove(self, stream: str) -> None:
        """Takes a stream away; none there is no error."""
        with translated(self.address, stream):
            self._client.delete(stream)

    def entries(self, stream: str, after: str) -> Iterator[list[tuple[str, bytes]]]:
        """(id, row) of what was added to ``stream`` after the id ``after``, oldest first, some thousands at a time."""
        while True:
            with translated(self.address, stream):
                found = self._client.xrange(stream, min=f"({after}", count=CHUNK)
            if not found:
                return
            yield [(id_.decode(), fields.get(b"row", b"")) for id_, fields in found]
            after = found[-1][0].decode()

    def newest(
        self, stream: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[list[tuple[str, bytes]]]:
        """(id, row) of ``stream``, the newest first, some at a time, back to the instant ``since``, from ``until``.

        An id is milliseconds of Redis's own clock, '-', and a number.
        """
        first, last = _id_at(since, "-"), _id_at(until, "+")
        while True:
            with translated(self.address, stream):
                found = self._client.xrevrange(stream, max=last, min=first, count=100)
                rows = [(id_.decode(), fields.get(b"row", b"")) for id_, fields in found]
                if not all(_ID.fullmatch(id_) and isinstance(row, bytes) for id_, row in rows):
                    raise TypeError(f"{rows!r:.40} are no entries")
            if not rows:
                return
            yield rows
            last = f"({rows[-1][0]}"

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
            with translated(self.address, in_cluster=self.is_cluster):
                return [self._client.info(**where) for where in self._primaries()]
        except StoreRefusedError:
            return None

    def setting(self, *names: str) -> str | None:
        """The first of these settings that the server has (Redis CONFIG GET); None when this user may not ask."""
        try:
            with translated(self.address, in_cluster=self.is_cluster):
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
        with translated(self.address, in_cluster=self.is_cluster):
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


def _id_at(moment: datetime | None, end: str) -> str:
    """The id of what is added to a stream at an instant; ``end``: that of no instant."""
    return end if moment is None else str(max(0, int(moment.timestamp() * 1000)))


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, CHUNK)):
        yield some
