"""The audit trail: syncs, registrations, holds, rollbacks and drops, where a second machine sees them.

One entry for each deed, in Redis (``wire.trail`` has the form) and in the journal of the machine that did it. Nothing
rests on it: what cannot be written down is said once, and the deed stands.
"""

from __future__ import annotations

import getpass
import heapq
import logging
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from feature_warehouse.errors import StoreRefusedError, StoreUnavailableError, SyncerError
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.monitoring import journal
from feature_warehouse.project.git import revision
from feature_warehouse.registry.shape import ShapeError
from feature_warehouse.store.store import Store
from feature_warehouse.wire.keyspace import trail_key
from feature_warehouse.wire.trail import KEPT_DAYS, KEPT_ENTRIES, Entry, Touched, plain, read_entry, stream_of

logger = logging.getLogger(__name__)


class Trail:
    """Where the deeds of one process go. One for all its deeds, so that a warning comes once."""

    def __init__(self, store: Store, namespace: str, remember: Path | None) -> None:
        """``remember``: the folder of the journal, in the dbt project, whose revision is told; None: neither."""
        self._store, self._namespace, self._remember = store, namespace, remember
        self._warned = False

    def record(
        self,
        kind: str,
        *,
        views: Iterable[Touched] = (),
        tokens: Iterable[str] = (),
        what: Iterable[str] = (),
        why: str | None = None,
        as_of: datetime | None = None,
        seconds: float | None = None,
        error: SyncerError | None = None,
    ) -> None:
        """Writes down what was done just now, or ``error``, for which it was not. Raises nothing.

        ``kind``: sync, registration, hold, release, rollback, drop. ``why``: the reason that somebody gave.
        """
        entry = Entry(
            at=datetime.now(timezone.utc),
            kind=kind,
            user=plain(_user()),
            host=plain(socket.gethostname()),
            revision=plain(revision(self._remember.parent)) if self._remember else None,
            as_of=as_of,
            seconds=None if seconds is None else round(seconds, 3),
            tokens=tuple(sorted({*tokens})),
            views=tuple(views),
            what=tuple(plain(each) or "" for each in what),
            why=plain(why),
            error=plain(error.message) if error else None,
        )
        if self._remember:
            journal.record(self._remember, self._namespace, entry.to_json())
        if not isinstance(error, StoreUnavailableError):  # who did not answer then would only be waited for again
            # Most of three hundred views are as they were: what Redis keeps is about the others.
            changed = tuple(each for each in entry.views if (each.written, each.removed) != (0, 0))
            self._append(replace(entry, views=changed), told=isinstance(error, StoreRefusedError))

    def synced(
        self,
        views: Collection[ViewSynced],
        *,
        as_of: datetime,
        seconds: float | None = None,
        why: str | None = None,
        error: SyncerError | None = None,
    ) -> None:
        """Writes down a sync as of an instant: what it did, also where it ended in ``error`` then. Raises nothing."""
        self.record(
            "sync",
            as_of=as_of,
            seconds=seconds,
            tokens=[each.token for each in views if each.token],
            views=[Touched(view=v.view, rows=v.rows, written=v.written, removed=v.removed) for v in views],
            what=[f"{v.view} is held: {reason.message}" for v in views for reason in v.reasons],
            why=why,
            error=error,
        )

    def held(self, views: Iterable[ViewSynced]) -> None:
        """Writes down the holds that a sync began, and those that it ended. Raises nothing."""
        for view in views:
            touched = [Touched(view=view.view, rows=view.rows)]
            if view.held and not view.was_held:
                self.record("hold", views=touched, what=[str(view.held)], why=view.held.why)
            elif view.was_held and not view.held:
                self.record("release", views=touched, what=[f"published again; it was {view.was_held}"])

    def _append(self, entry: Entry, *, told: bool) -> None:
        """``told``: that Redis cannot be used is said already."""
        stream = stream_of(entry.kind)
        key = trail_key(self._namespace, stream)
        try:
            self._store.append([(key, entry.to_bytes())], KEPT_ENTRIES[stream], lasting=timedelta(days=KEPT_DAYS))
        except SyncerError as trouble:
            if not (self._warned or told):
                self._warned = True
                logger.warning("the audit trail in Redis lacks this %s: %s", entry.kind, trouble)


@dataclass(frozen=True, slots=True)
class Read:
    """One entry as it lies in Redis: what it tells, or why it cannot be read."""

    id: str
    entry: Entry | None
    trouble: str = ""


def read_trail(
    store: Store,
    namespace: str,
    *,
    since: datetime | None = None,
    kinds: Collection[str] = (),
    views: Collection[str] = (),
) -> Iterator[Read]:
    """The entries of a namespace by Redis's clock, the newest first. What cannot be read comes too, and says so.

    ``since``: from this instant on. ``kinds``: only deeds of these kinds. ``views``: only those that touched one of
    these ('orders', 'orders.v1'). Raises StoreError.
    """
    streams = {stream_of(kind) for kind in kinds} or set(KEPT_ENTRIES)
    merged = _newest_first([store.newest(trail_key(namespace, stream), since) for stream in sorted(streams)])
    for id_, row in merged:
        try:
            entry = read_entry(row)
        except ShapeError as error:
            yield Read(id_, None, f"the entry {id_} of the audit trail cannot be read, and is skipped: {error}")
            continue
        touched = {name for each in entry.views for name in (each.view, each.view.rpartition(".v")[0])}
        if (not kinds or entry.kind in kinds) and (not views or touched.intersection(views)):
            yield Read(id_, entry)


def _newest_first(streams: Iterable[Iterator[list[tuple[str, bytes]]]]) -> Iterator[tuple[str, bytes]]:
    def by_time(item: tuple[str, bytes]) -> tuple[int, ...]:
        return tuple(map(int, item[0].split("-")))

    flat = [(item for items in stream for item in items) for stream in streams]
    return heapq.merge(*flat, key=by_time, reverse=True)


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return None
