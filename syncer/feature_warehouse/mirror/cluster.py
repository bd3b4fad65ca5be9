"""Writing to a Cluster: the lease, the fence and the markers, in every part of it.

A Cluster has no transaction over several slots. What stands in for it is a script: it runs on one node, looks at a
lease there, and writes only if it holds the run's token; nothing else runs on that node meanwhile. So the lease is not
one key but one at each of 256 places that lie all over the slots (``layout``), and one that decides, in the slot of the
markers. A run must hold all of them; so two runs that see the slots with different owners still meet.

Once all is written, each place gets the sign of it beside the markers that readers see: a part of the Cluster that is
lost, or goes back in time, takes its signs along. docs/architecture.md has the whole argument.

The scripts are sent as text, and touch keys of other slots than the one that they are sent for, on the same node. Redis
6.2 to 8 and Valkey take that from scripts without a header (Source:
https://redis.io/docs/latest/develop/programmability/lua-api/#script-flags).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_warehouse.errors import StoreNotReadyError
from feature_warehouse.mirror.lease import Holder, Writer, lease_milliseconds
from feature_warehouse.store.layout import PLACES, SLOTS, Share, check_shares, slot_of
from feature_warehouse.store.session import Session, key_of
from feature_warehouse.store.slots import slots_of
from feature_warehouse.store.store import Store
from feature_warehouse.wire.commands import Encoded, Removed, Rows
from feature_warehouse.wire.keyspace import cluster_lease_keys, markers_key, witness_key
from feature_warehouse.wire.marker import Marker, read_marker
from feature_warehouse.wire.resp import command

#: KEYS: a lease here, and the markers where they are here. ARGV: milliseconds, the holder's words, a field, the text of
#: its marker ('' for none), a number of runs, these runs (the first takes, from itself or from the others), the leases.
_TAKE = """
local runs, own = tonumber(ARGV[5]), {}
for i = 6, 5 + runs do own[ARGV[i]] = true end
for i = 6 + runs, #ARGV do
    local found = redis.call('HGETALL', ARGV[i])
    if found[1] and not own[found[1]] then return found end
end
if KEYS[2] and (redis.call('HGET', KEYS[2], ARGV[3]) or '') ~= ARGV[4] then return {'changed'} end
for i = 6 + runs, #ARGV do
    redis.call('DEL', ARGV[i])
    redis.call('HSET', ARGV[i], ARGV[6], ARGV[2])
    redis.call('PEXPIRE', ARGV[i], ARGV[1])
end
return {}
"""

#: KEYS: a lease here. ARGV: the run, milliseconds, leases.
_RENEW = """
for i = 3, #ARGV do
    if redis.call('HEXISTS', ARGV[i], ARGV[1]) == 0 then return 0 end
end
for i = 3, #ARGV do redis.call('PEXPIRE', ARGV[i], ARGV[2]) end
return 1
"""

#: KEYS: a lease here. ARGV: the run, leases.
_RELEASE = """
for i = 2, #ARGV do
    if redis.call('HEXISTS', ARGV[i], ARGV[1]) == 1 then redis.call('DEL', ARGV[i]) end
end
return 1
"""

#: KEYS: a lease here. ARGV: the run, milliseconds, a command, its field; then keys, or keys with values.
#: Answers 1; 0 without the lease; or the number of the row that was refused and Redis's words.
_WRITE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local call, name, field, values = redis.pcall, ARGV[3], ARGV[4], ARGV[3] == 'HSET'
for i = 5, #ARGV, values and 2 or 1 do
    local done
    if values then done = call(name, ARGV[i], field, ARGV[i + 1]) else done = call(name, ARGV[i], field) end
    if type(done) == 'table' and done.err then
        return redis.status_reply(((i - 5) / (values and 2 or 1)) .. ' ' .. done.err:gsub('[\\r\\n]', ' '))
    end
end
return 1
"""


@dataclass(slots=True)
class _Node:
    """One primary, and what is on its way to it."""

    session: Session
    share: Share
    places: list[str] = field(init=False)  # those in its slots
    unanswered: deque[tuple[Rows, int]] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self.places = [place for place in PLACES if any(slot_of(place.encode()) in slots for slots in self.share.slots)]

    def put(self, lease: str, token: str, rows: Rows) -> Iterator[tuple[int, int]]:
        """Sends ``rows`` behind ``lease``; yields (rows, bytes) of those before, once this node has written them."""
        data = rows.arguments()
        name, width = (b"HSET", 2) if isinstance(rows, Encoded) else (b"HDEL", 1)
        head = command("EVAL", _WRITE, 1, lease, token, lease_milliseconds(), name, rows.field)
        count = 8 + width * rows.rows
        self.session.submit(b"*%d\r\n%b" % (count, head.partition(b"\r\n")[2]), data)
        self.unanswered.append((rows, len(data)))
        if len(self.unanswered) > 1:
            yield self.answered()

    def answered(self) -> tuple[int, int]:
        rows, size = self.unanswered.popleft()
        (line,) = self.session.lines(1)
        if line == b":0":
            raise self.session.fenced()
        if line != b":1":
            index, _, words = line[1:].decode(errors="replace").partition(" ")
            if line.startswith(b"-"):  # the script as a whole
                raise self.session.refused(line[1:].decode(errors="replace"))
            raise self.session.refused(words, key_of(rows, int(index)))
        return rows.rows, size


class ClusterWriter(Writer):
    """The hold of one run on some view versions of a namespace, on every primary of a Cluster, inside a ``with``."""

    def __init__(
        self, store: Store, namespace: str, predecessors: Collection[str], stopped: Callable[[], bool]
    ) -> None:
        self._taken: set[str] = set()  # fields of which a lease may be ours
        super().__init__(store, namespace, predecessors, stopped)

    def _connect(self) -> None:
        super()._connect()
        self._renewed = time.monotonic()
        try:
            shares = [session.share() for session in self._sessions]
            check_shares(shares, self._store.address)
        except BaseException:
            self._close()
            raise
        self._nodes = [_Node(*pair) for pair in zip(self._sessions, shares, strict=True) if pair[1].slots]
        self._owner: npt.NDArray[np.int16] = np.zeros(SLOTS, np.int16)  # by slot, which of the nodes
        for number, node in enumerate(self._nodes):
            for slots in node.share.slots:
                self._owner[slots.start : slots.stop] = number
        self._main = self._nodes[self._owner[slot_of(markers_key(self._namespace).encode())]]

    def check(self) -> None:
        """Raises StoreNotReadyError unless all slots are where they were when the run began to look at Redis."""
        if [node.session.share() for node in self._nodes] != [node.share for node in self._nodes]:
            raise StoreNotReadyError(
                f"slots of the Redis Cluster at {self._store.address} changed hands during the run",
                "try again in a moment",
            )

    def _leases(self, node: _Node, *fields: str) -> list[str]:
        """The keys on ``node`` of the leases of some fields."""
        found: list[str] = []
        for each in fields:
            main, *leases = cluster_lease_keys(self._namespace, each, node.places)
            found += [main, *leases] if node is self._main else leases
        return found

    def _try_acquire(self, field: str, expected: set[str | None]) -> str:
        own = [self.token, *(self._own - {self.token})]
        markers = markers_key(self._namespace)
        found: list[bytes] = [b"changed"]
        while found == [b"changed"]:
            text: bytes = self._main.session.call("HGET", markers, field) or b""
            marker = read_marker(field, text or None, markers)
            if (marker.token if marker else None) not in expected:
                raise self.overtaken(field)
            # The lease that decides, and only while the marker is the one that was looked at.
            found = self._take(self._main, self._leases(self._main, field)[:1], own, field, text, markers)
        if found:
            return str(Holder(found[1]))
        self._taken.add(field)
        for node in self._nodes:
            if found := self._take(node, self._leases(node, field), own, field):
                return str(Holder(found[1]))
        return ""

    def _take(
        self, node: _Node, leases: list[str], own: list[str], field: str, text: bytes = b"", *markers: str
    ) -> list[bytes]:
        """Takes ``leases`` on a node; returns (token, words) of the living run that has one of them, else nothing.

        Runs that are gone are added to ``own``.
        """
        keys = [leases[0], *markers]
        while True:
            found: list[bytes] = node.session.evaluate(
                _TAKE, keys, lease_milliseconds(), Holder.own(), field, text, len(own), *own, *leases
            )
            if len(found) < 2 or not Holder(found[1]).is_gone():
                return found
            own.append(found[0].decode())

    def _marker(self, field: str) -> Marker | None:
        key = markers_key(self._namespace)
        return read_marker(field, self._main.session.call("HGET", key, field), key)

    def send(self, field: str, batches: Iterable[Rows]) -> Iterator[tuple[int, int]]:
        """Sends each batch, a part to each node, under the lease of ``field``; yields (rows, bytes) of parts.

        A part is yielded once its node has written it. Where a node refuses a row, those before it stay written. Raises
        as ``Session.send`` does, and StoreNotReadyError when a row's slot is no longer where it was.
        """
        for batch in batches:
            owner = self._owner[slots_of(batch.keys)]
            for number, node in enumerate(self._nodes):
                part = batch.where(owner == number)
                if part.rows:
                    yield from node.put(self._leases(node, field)[0], self.token, part)
            if self._is_due():
                yield from self._answers()
                self.renew()
        yield from self._answers()

    def _answers(self) -> Iterator[tuple[int, int]]:
        for node in self._nodes:
            while node.unanswered:
                yield node.answered()

    def mark(self, field: str, marker: Marker | None, *, release: bool = False) -> None:
        """Leaves the sign of ``marker`` in each part of the Cluster, then sets it where readers look for it.

        None removes both. Gives the lease back if ``release``. Raises StoreNotReadyError for the end of a run during
        which slots changed hands.
        """
        if marker is None or marker.state == "done":
            self.check()
        if self._is_due():
            self.renew()
        for node in self._nodes:
            witnesses = [witness_key(self._namespace, place) for place in node.places]
            self._set(node, field, witnesses, marker.sign if marker else None)
        list(self._answers())
        self._set(self._main, field, [markers_key(self._namespace)], marker.to_bytes() if marker else None)
        list(self._answers())
        if release:
            self.release(field)

    def annotate(self, field: str, marker: Marker) -> None:
        """As on one primary: the signs of the run that wrote the rows stay, and those that are lost stay lost."""
        self._set(self._main, field, [markers_key(self._namespace)], marker.to_bytes())
        list(self._answers())

    def release(self, field: str) -> None:
        self._held.remove(field)
        self._give_back(field)

    def _set(self, node: _Node, field: str, keys: list[str], value: bytes | None) -> None:
        """Puts ``value`` into a field of each of these keys, or removes that."""
        names = pa.array([key.encode() for key in keys], pa.large_binary())
        if value is None:
            rows: Rows = Removed(keys=names, field=field.encode())
        else:
            values = pa.array([value] * len(keys), pa.large_binary())
            rows = Encoded(keys=names, field=field.encode(), messages=values)
        list(node.put(self._leases(node, field)[0], self.token, rows))

    def renew(self) -> None:
        for node in self._nodes:
            leases = self._leases(node, *self._held)
            if leases and not node.session.evaluate(_RENEW, leases[:1], self.token, lease_milliseconds(), *leases):
                raise node.session.fenced()
        self._renewed = time.monotonic()

    def _is_due(self) -> bool:
        """Whether the leases should be renewed; what is written renews no other than its own."""
        return time.monotonic() > self._renewed + lease_milliseconds() / 3_000

    def _ours(self) -> Collection[str]:
        return self._taken

    def _give_back(self, field: str) -> None:
        self._taken.discard(field)
        for node in sorted(self._nodes, key=lambda node: node is self._main):  # the one that decides comes last
            leases = self._leases(node, field)
            node.session.evaluate(_RELEASE, leases[:1], self.token, *leases)


def writer_of(store: Store) -> type[Writer]:
    """What writes to a store."""
    return ClusterWriter if store.is_cluster else Writer
