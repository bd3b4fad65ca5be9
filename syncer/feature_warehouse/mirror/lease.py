"""The lease: which run may write a feature view version, and what keeps every other run's commands out.

`<namespace>:#lease:<field>` is a hash with one field, the token of the run, that expires unless it is renewed. All
that a run writes for a view goes through `Session.send` behind that key: Redis executes a batch only if the lease holds
the run's token and nobody touched it until the batch was complete. So when another run has taken over, nothing of the
first one is executed any more, however long it slept and whatever its socket still holds. docs/architecture.md has the
whole argument.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from feature_warehouse.errors import OvertakenError, StoppedError, StoreError
from feature_warehouse.registry.feature import view_id
from feature_warehouse.registry.shape import ShapeError, parse
from feature_warehouse.store.session import Command, Fence, Session
from feature_warehouse.store.store import Store
from feature_warehouse.wire.commands import Rows
from feature_warehouse.wire.keyspace import lease_key, markers_key, split_field
from feature_warehouse.wire.marker import Marker, read_marker
from feature_warehouse.wire.resp import command

#: Seconds that a lease lasts beyond the last sign of its holder.
LEASE_SECONDS = 15.0

#: No system numbers its processes beyond it.
_LARGEST_PID = (1 << 31) - 1

#: Of a holder that shows no sign of an end: how long it is waited for, in leases.
_PATIENCE = 1.3


class Writer:
    """The hold of one run on some view versions of a namespace, on one primary, inside a ``with``."""

    def __init__(
        self,
        store: Store,
        namespace: str,
        predecessors: Collection[str] = (),
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """``predecessors``: tokens of earlier attempts of this very run, whose leases are its own to take.

        ``stopped``: whether to wait no longer for the leases of others.
        """
        self.token = secrets.token_hex(8)
        self._store = store
        self._namespace = namespace
        self._own = {self.token, *predecessors}
        self._stopped = stopped
        self._held: list[str] = []  # fields
        self._sessions: list[Session] = []
        self._connect()

    def _connect(self) -> None:
        self._sessions = self._store.sessions()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # replies may be outstanding, and a transaction begun
            self._close()
        try:
            if kind is not None and self._ours():
                self._connect()
            for field in [*self._ours()]:
                self._give_back(field)
        except StoreError:
            pass  # it expires
        finally:
            self._close()

    def _close(self) -> None:
        while self._sessions:
            self._sessions.pop().close()

    def acquire(self, field: str, expected: Iterable[str | None]) -> Marker | None:
        """Takes the lease of a view version; returns its marker as of then.

        ``expected``: the tokens that the marker may have; None stands for no marker, which is always taken. A marker
        of another run was written after this one read the warehouse. Raises StoreError for such a marker, and when
        another living run holds the lease, and StoppedError when told to stop meanwhile. A holder whose process is
        known to be gone is not waited for.
        """
        deadline = time.monotonic() + _PATIENCE * LEASE_SECONDS
        while holder := self._try_acquire(field, {None, *expected, *self._own}):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"another sync is writing {_view(field)} into '{self._namespace}' ({holder})",
                    "one run at a time: wait for it, then run `syncer sync` again",
                )
            if self._stopped():
                raise StoppedError(f"stopped while another sync was writing {_view(field)}", "run `syncer sync` again")
            time.sleep(0.05)
            if self._held:
                self.renew()
        self._held.append(field)
        return self._marker(field)

    def _try_acquire(self, field: str, expected: set[str | None]) -> str:
        """Who else holds the lease; '' when it is ours now."""
        key = lease_key(self._namespace, field)
        for session in self._sessions:
            while True:
                session.call("WATCH", key, markers_key(self._namespace))
                found = session.call("HGETALL", key)
                holder = Holder(found[1]) if found and found[0].decode(errors="replace") not in self._own else None
                if holder and not holder.is_gone():
                    session.call("UNWATCH")
                    return str(holder)
                marker = self._marker(field)
                if (marker.token if marker else None) not in expected:
                    session.call("UNWATCH")
                    raise self.overtaken(field)
                session.call("MULTI")
                session.call("DEL", key)
                session.call("HSET", key, self.token, Holder.own())
                session.call("PEXPIRE", key, lease_milliseconds())
                if session.call("EXEC") is not None:
                    break  # else somebody touched lease or markers meanwhile: look again
        return ""

    def overtaken(self, field: str) -> OvertakenError:
        """What to say when the marker is not the one that this run has seen."""
        return OvertakenError(
            f"another sync wrote {_view(field)} into '{self._namespace}' at the same time",
            "it may have read a newer warehouse than this one: run `syncer sync` again",
        )

    def _marker(self, field: str) -> Marker | None:
        key = markers_key(self._namespace)
        return read_marker(field, self._sessions[0].call("HGET", key, field), key)

    def send(self, field: str, batches: Iterable[Rows]) -> Iterator[tuple[int, int]]:
        """Sends batches under the lease of ``field``, renewing all leases; see ``Session.send``."""
        (session,) = self._sessions
        yield from session.send(self._fence(field), batches)

    def mark(self, field: str, marker: Marker | None, *, release: bool = False) -> None:
        """Sets the marker of ``field`` under its lease, or removes it; then gives the lease back if ``release``."""
        key = markers_key(self._namespace)
        args = ("HDEL", key, field) if marker is None else ("HSET", key, field, marker.to_bytes())
        self._write(field, Command(args), release=release)

    def annotate(self, field: str, marker: Marker) -> None:
        """Sets the marker of rows that stay as the run of its token left them."""
        self.mark(field, marker)

    def release(self, field: str) -> None:
        """Gives the lease of ``field`` back, with nothing written."""
        self._write(field, release=True)

    def check(self) -> None:
        """Raises StoreError when what a run has found out about Redis may no longer hold; see ``ClusterWriter``."""

    def _write(self, field: str, *commands: Command, release: bool = False) -> None:
        sent: Sequence[Command] = commands
        if release:
            self._held.remove(field)
            sent = [*commands, Command(("DEL", lease_key(self._namespace, field)))]
        for session in self._sessions:
            # One transaction: the marker never says `done` while the lease is still to be given back.
            list(session.send(self._fence(field), [_Together(sent)]))

    def renew(self) -> None:
        for field in self._held:
            self._write(field)

    def _ours(self) -> Collection[str]:
        """The fields whose lease may be ours."""
        return self._held

    def _give_back(self, field: str) -> None:
        self._write(field, release=True)

    def wait_for_replicas(self, count: int, seconds: float) -> None:
        """Until ``count`` replicas have all that was written so far. Raises StoreError when they do not in time."""
        for session in self._sessions:
            has = session.call("WAIT", count, int(seconds * 1000))
            if has < count:
                raise StoreError(
                    f"{has} of {count} replicas of {session.address} had the rows after {seconds:g} s",
                    "look at the replicas, or give a lower --wait-replicas",
                )

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Renews the leases while the block runs; in the meantime nobody else may use this writer.

        Raises the error that the last renewal met, when the block has ended.
        """
        ended = threading.Event()
        met: list[StoreError] = []

        def renew() -> None:
            while not ended.wait(LEASE_SECONDS / 3):
                try:
                    self.renew()
                except StoreError as error:
                    met.append(error)
                    return

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if met:
            raise met[0]

    def _fence(self, field: str) -> Fence:
        renewal = tuple(
            command("PEXPIRE", lease_key(self._namespace, held), lease_milliseconds()) for held in self._held
        )
        return Fence(lease_key(self._namespace, field), self.token, renewal)


class _Together:
    """Some commands as one batch."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.rows = len(commands)
        self.keys = [each.args[1] for each in commands]
        self._bytes = b"".join(each.commands() for each in commands)

    def commands(self) -> bytes:
        return self._bytes


class Holder:
    """Who holds a lease, in its own words."""

    def __init__(self, text: bytes) -> None:
        try:
            facts = parse(text)
            self._host, self._since = facts["host"].text(), facts["since"].text()
            self._pid = facts["pid"].integer(0, _LARGEST_PID)
        except ShapeError:
            self._host, self._pid, self._since = "?", 0, "?"

    @staticmethod
    def own() -> bytes:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}).encode()

    def is_gone(self) -> bool:
        """True only for a process of this machine that has ended. Being wrong costs the other run, never a value."""
        if self._host != socket.gethostname() or self._pid <= 0:
            return False
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self._pid} on {self._host}, since {self._since}"


def _view(field: str) -> str:
    return view_id(*split_field(field))


def who() -> str:
    """The user of this process, and its machine: 'ann@ops-1'."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def lease_milliseconds() -> int:
    return int(LEASE_SECONDS * 1000)
