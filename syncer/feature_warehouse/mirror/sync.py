"""Sync: makes Redis equal to the latest-value views, and sends only what differs.

The order keeps every moment explainable. First all rows are read and encoded, so that bad data stops a run before it
writes. Then the run takes the lease of each view, finds out what is online (from what the last run remembered, or by
reading Redis back), and compares; the guards look at all views before the first one is touched. Then, per view: its
marker says ``open``, the differences are written, what vanished is removed, and its marker says ``done``. A view that
may not be published is held: its marker says so, and nothing else of it changes. Readers are shown a changed registry
last, as far as what it names is there. docs/architecture.md argues why no fault in between
leaves a wrong value that a ``done`` vouches for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path

from feature_warehouse.errors import (
    FencedError,
    OvertakenError,
    RequestError,
    StoppedError,
    StoreError,
    StoreNotReadyError,
    StoreUnavailableError,
    SyncerError,
)
from feature_warehouse.mirror.cluster import writer_of
from feature_warehouse.mirror.difference import Comparison, Difference
from feature_warehouse.mirror.guards import check_clock
from feature_warehouse.mirror.lease import Writer, who
from feature_warehouse.mirror.namespace import (
    check_contained,
    check_owner,
    check_server,
    claim,
    is_witnessed,
    news,
    publish_registry,
    read_markers,
    unserved,
    vacate,
    withdraw,
)
from feature_warehouse.mirror.patience import Patience
from feature_warehouse.mirror.planning import Planned, Planner
from feature_warehouse.mirror.preparation import Wanted
from feature_warehouse.mirror.state import StateFolder, workspace
from feature_warehouse.mirror.terms import USUAL, Terms
from feature_warehouse.mirror.wishes import Wish, read_wishes
from feature_warehouse.registry.document import Registry, from_document, services_ever
from feature_warehouse.registry.feature import view_id
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.spool import Spool
from feature_warehouse.wire.commands import Encoded, Removed, Rows
from feature_warehouse.wire.keyspace import field_name, registry_key, served_key, split_field, trail_key
from feature_warehouse.wire.marker import Hold, Marker

logger = logging.getLogger(__name__)

#: Rows in one transaction, and bytes where messages are long: Redis executes nothing else in the meantime.
TRANSACTION_ROWS = 1_024
TRANSACTION_BYTES = 1 << 20

#: Seconds that replicas have to follow.
REPLICA_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSynced:
    """What one run did to one feature view version; of one that is held nothing, but to mend what was half written."""

    view: str  # its id
    rows: int  # in the warehouse, and now online; of a view that is held, online
    written: int  # entities whose message was sent
    removed: int  # entities whose field was removed
    bytes: int  # sent, protocol included
    seconds: float
    read_back: str | None  # why Redis was read back; None: the last run's memory was enough
    newest_available_at: datetime | None = None  # of the view's history; None: it is empty, or the view is retired
    longest: int = 0  # message, in bytes
    token: str = ""  # of the run, in the marker that it left; "": it left none
    was_held: Hold | None = None  # before the run
    held: Hold | None = None  # a rolled-back view is held and published: as of its own instant
    reasons: tuple[SyncerError, ...] = ()  # why it was not published

    @property
    def published(self) -> bool:
        return not self.reasons


def sync(
    wanted: Wanted,
    store: Store,
    *,
    terms: Terms = USUAL,
    progress: Callable[[Planned, int, int], None] = lambda planned, rows, size: None,
    stopped: Callable[[], bool] = lambda: False,
    published: Callable[[list[str]], None] = lambda changes: None,
) -> Iterator[ViewSynced]:
    """Makes Redis what is wanted; yields one record per view. A view that may not be published is held, by itself.

    ``progress`` is called with the rows and bytes of each acknowledged transaction, ``published`` with what a new
    registry document shows that the last one did not, in words. Once ``stopped`` says so, the
    transaction on its way is finished, what was done is remembered, and StoppedError is raised. Raises NamespaceError
    when the namespace belongs to another project or target, RegistryError when it shows what the registry lacks,
    WarehouseError and DataError, all before anything is written; and StoreError.
    """
    registry, namespace, target = wanted.registry, wanted.namespace, wanted.target
    document, markers = _first_look(store, namespace, registry.project, target, terms, stopped)
    check_contained(document, registry, namespace)
    check_clock(wanted.instant, markers, terms)
    with workspace(wanted.remember) as folder, Comparison(folder) as comparison:
        wishes = read_wishes(wanted, markers, folder, terms, stopped, _published(document, namespace))
        states = _states(wanted.remember, namespace, store)
        run = _Run(Planner(store, namespace, terms, folder, comparison, states, stopped, wanted.revision), progress)
        before = document
        if document is None:
            document = run.patience().insist(lambda: claim(store, namespace, registry, target))
        yield from run.mirror(wishes, markers)
        shown = run.patience().insist(lambda: publish_registry(store, namespace, registry, target, document))
        if shown and (told := news(before, shown, namespace)):
            published(told)
        if shown and wanted.select is None:  # else readers still see what is retired
            yield from run.mirror(dict.fromkeys(unserved(markers, registry)), markers)


def plan(wanted: Wanted, store: Store, *, terms: Terms = USUAL) -> list[Planned]:
    """What ``sync`` would do now; nothing of it is done, and the spools are gone again. Raises as ``sync`` does."""
    registry, namespace = wanted.registry, wanted.namespace
    document, markers = _first_look(store, namespace, registry.project, wanted.target, terms)
    check_contained(document, registry, namespace)
    check_clock(wanted.instant, markers, terms)
    with workspace(wanted.remember) as folder, Comparison(folder) as comparison:
        wishes: dict[str, Wish | None] = {
            **read_wishes(wanted, markers, folder, terms, published=_published(document, namespace))
        }
        states = _states(wanted.remember, namespace, store)
        planner = Planner(store, namespace, terms, folder, comparison, states, revision=wanted.revision)
        if wanted.select is None:
            wishes |= dict.fromkeys(unserved(markers, registry))
        return planner.plan({field: (wish, markers.get(field)) for field, wish in wishes.items()})


def serve_at(
    wanted: Wanted,
    store: Store,
    hold: Hold,
    *,
    terms: Terms = USUAL,
    progress: Callable[[Planned, int, int], None] = lambda planned, rows, size: None,
    stopped: Callable[[], bool] = lambda: False,
) -> ViewSynced:
    """Makes the one view that is ``wanted`` what it was as of the instant of ``hold``, and leaves the hold with it.

    A sync that comes in between is borne, within the deadline: its values are what the hold is for. Raises as ``sync``
    does, and DataError or WarehouseError when the view cannot be served as of that instant.
    """
    namespace = wanted.namespace
    _, markers = _first_look(store, namespace, wanted.registry.project, wanted.target, terms, stopped)
    (view,) = wanted.views
    field = field_name(view.name, view.version)
    with workspace(wanted.remember) as folder, Comparison(folder) as comparison:
        held = {field: replace(markers.get(field, Marker(entity=view.entity.name)), held=hold)}
        (wish,) = read_wishes(wanted, held, folder, terms, stopped).values()
        if wish.refused:
            raise wish.refused
        states = _states(wanted.remember, namespace, store)
        run = _Run(Planner(store, namespace, terms, folder, comparison, states, stopped), progress)

        def mirror() -> ViewSynced:
            (done,) = list(run.mirror({field: wish}, read_markers(store, namespace)))[-1:]
            return done

        return run.patience().insist(mirror, on=OvertakenError)


def drop(
    store: Store,
    *,
    namespace: str,
    project: str,
    target: str,
    remember: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    really: bool = True,
) -> Iterator[ViewSynced]:
    """Removes all that was synced into ``namespace``, the logs of what was served, then its markers and its registry.

    Of the audit trail what people decided stays for its time, so that somebody can see who dropped it.

    Before anything else the registry is exchanged for one that serves nothing: a read is an error from then on.
    Yields as ``sync`` does. Of entities only fields that a marker names are removed: what others keep under keys of the
    same names stays. Not ``really``: only yields what would be removed. Raises as ``sync`` does, and RequestError when
    somebody has rolled a view back.
    """
    document, markers = _first_look(store, namespace, project, target, USUAL, stopped)
    if document is None:
        return
    for field, marker in sorted(markers.items()):
        if marker.kept:
            view = view_id(*split_field(field))
            raise RequestError(
                f"{view} was rolled back in '{namespace}' by {marker.kept.by}, and is held: {marker.kept.why}",
                f"if it may go all the same, `syncer release {view}` first",
            )
    with workspace(remember) as folder, Comparison(folder) as comparison:
        planner = Planner(store, namespace, USUAL, folder, comparison, _states(remember, namespace, store), stopped)
        if not really:
            for each in planner.plan({field: (None, marker) for field, marker in sorted(markers.items())}):
                yield ViewSynced(
                    view=each.view,
                    rows=0,
                    written=0,
                    removed=each.difference.removals.rows,
                    bytes=0,
                    seconds=0.0,
                    read_back=each.read_back,
                )
            return
        # First, so that whoever reads is told, and takes no entity that is gone for one that never was.
        empty = Patience(USUAL.deadline, stopped).insist(lambda: vacate(store, namespace, document))
        run = _Run(planner)
        yield from run.mirror(dict.fromkeys(sorted(markers)), markers)
    for service in sorted(services_ever(empty, registry_key(namespace))):
        store.remove(served_key(namespace, service))
    store.remove(trail_key(namespace, "syncs"))
    Patience(USUAL.deadline, stopped).insist(lambda: withdraw(store, namespace, empty))


def _first_look(
    store: Store,
    namespace: str,
    project: str,
    target: str,
    terms: Terms,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[bytes | None, dict[str, Marker]]:
    """The registry document and the markers of a namespace that is ours or nobody's, on a server that may be written.

    Waits for a Redis that is there and not ready yet; where nobody is, that is said at once.
    """

    def look() -> tuple[bytes | None, dict[str, Marker]]:
        document = check_owner(store, namespace, project, target)
        check_server(store, allow_eviction=terms.allow_eviction)
        return document, read_markers(store, namespace)

    return Patience(terms.deadline, stopped).insist(look, on=StoreNotReadyError)


def _published(document: bytes | None, namespace: str) -> Registry | None:
    """What a namespace shows; None: nothing yet."""
    return None if document is None else from_document(document, registry_key(namespace))


def _states(remember: Path | None, namespace: str, store: Store) -> StateFolder | None:
    return StateFolder(remember, namespace, store.address) if remember and remember.is_dir() else None


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _hold_of(planned: Planned) -> Hold | None:
    """The hold that a view has after a run; None: it is published."""
    if planned.wish and planned.wish.kept:
        return planned.wish.kept
    if not planned.reasons:
        return None
    before = planned.before.held if planned.before else None
    if before and not before.ends_by_itself:  # a retired view that was rolled back
        return before
    return Hold(since=before.since if before else _now(), why=planned.why, by=who())


@dataclass(slots=True)
class _Run:
    """One run over one namespace."""

    planner: Planner
    progress: Callable[[Planned, int, int], None] = lambda planned, rows, size: None

    @property
    def store(self) -> Store:
        return self.planner.store

    @property
    def namespace(self) -> str:
        return self.planner.namespace

    @property
    def terms(self) -> Terms:
        return self.planner.terms

    @property
    def stopped(self) -> Callable[[], bool]:
        return self.planner.stopped

    def patience(self) -> Patience:
        return Patience(self.terms.deadline, self.stopped)

    def mirror(self, wanted: Mapping[str, Wish | None], seen: Mapping[str, Marker]) -> Iterator[ViewSynced]:
        """Mirrors fields; None empties one. After a lost connection, goes on with what is left until the deadline."""
        held = set[str]()
        left, tokens, patience, loss = dict(wanted), list[str](), self.patience(), self.patience()
        while left:
            try:
                with writer_of(self.store)(self.store, self.namespace, tokens, self.stopped) as writer:
                    tokens.append(writer.token)
                    for planned in self._plan_under(writer, left, seen):
                        if self.stopped():
                            raise StoppedError(f"stopped before {planned.view}", "run `syncer sync` again")
                        if planned.reasons and not planned.mends:
                            held.add(planned.field)
                            yield self._hold(writer, planned)
                        else:
                            held.discard(planned.field)
                            yield self._apply(writer, planned)
                        del left[planned.field]
                        patience = self.patience()
                if not left:
                    left = self._lost(wanted, seen, tokens, held)
            except (StoreUnavailableError, FencedError) as error:
                # What was on its way is unknown now, and Redis may have lost rows: begin again, from what it holds.
                patience.bear(error)
            else:
                if left:
                    loss.bear(self._losing(left))

    def _losing(self, fields: Collection[str]) -> StoreError:
        views = ", ".join(view_id(*split_field(field)) for field in fields)
        return StoreError(
            f"Redis at {self.store.address} loses what is written: {views}",
            "does it evict keys, or does something empty it?",
        )

    def _lost(
        self,
        wanted: Mapping[str, Wish | None],
        seen: Mapping[str, Marker],
        tokens: Collection[str],
        held: Collection[str],
    ) -> dict[str, Wish | None]:
        """What this run has done and Redis has lost again meanwhile: its markers are gone, or as they were before.

        Of what is ``held`` nothing was written, so its marker alone can be lost.
        """
        now = read_markers(self.store, self.namespace)
        return {
            field: wish
            for field, wish in wanted.items()
            if wish
            and (
                (marker := now.get(field)) is None
                or (field not in held and field in seen and marker.token == seen[field].token)
                or (marker.token in tokens and field not in held and not self._is_witnessed(field, marker))
            )
        }

    def _is_witnessed(self, field: str, marker: Marker) -> bool:
        return is_witnessed(self.store, self.namespace, field, marker)

    def _plan_under(
        self, writer: Writer, wanted: Mapping[str, Wish | None], seen: Mapping[str, Marker]
    ) -> list[Planned]:
        held = {}
        for field, wish in wanted.items():
            before = seen.get(field)
            marker = writer.acquire(field, [before.token] if before else [])
            # A release leaves the token, for rows stay as they are; what this run wishes for is of another instant.
            if before and marker and marker.token == before.token and marker.kept != before.kept:
                raise writer.overtaken(field)
            held[field] = wish, marker
        with writer.keep():
            found = self.planner.plan(held)
        writer.check()
        return found

    def _hold(self, writer: Writer, planned: Planned) -> ViewSynced:
        """Leaves a view as it is online, and says in its marker since when and why."""
        field, before = planned.field, planned.before or Marker(entity=planned.entity, token=writer.token)
        held = _hold_of(planned)
        if held and held.why != (before.held and before.held.why):
            writer.annotate(field, replace(before, held=held))
        writer.release(field)
        return ViewSynced(
            view=planned.view,
            rows=before.rows,
            written=0,
            removed=0,
            bytes=0,
            seconds=0.0,
            read_back=planned.read_back,
            newest_available_at=before.newest_available_at,
            was_held=before.held,
            held=held,
            reasons=planned.reasons,
        )

    def _apply(self, writer: Writer, planned: Planned) -> ViewSynced:
        started = time.monotonic()
        field, todo, wish, latest = planned.field, planned.difference, planned.wish, planned.latest
        changes = todo.writes.rows + todo.removals.rows
        held = _hold_of(planned)
        if changes:
            # A hold of a person stands there from the first row on, so that the next run ends what this one began.
            opened = planned.before or Marker(entity=planned.entity)
            opened = replace(opened, state="open", token=writer.token, held=held or opened.held)
            writer.mark(field, opened)
        rows = size = 0
        for portion_rows, portion_size in writer.send(field, self._portions(field, todo)):
            rows, size = rows + portion_rows, size + portion_size
            self.progress(planned, rows, size)
        if rows < changes:
            written = min(rows, todo.writes.rows)
            self._save(
                planned, writer.token, self.planner.comparison.overlay(planned.online, todo, written, rows - written)
            )
            raise StoppedError(
                f"stopped in {planned.view} after {rows:,} of {changes:,} changes",
                "the next `syncer sync` goes on there",
            )
        if self.terms.wait_replicas:
            writer.wait_for_replicas(self.terms.wait_replicas, REPLICA_SECONDS)
        if wish is None or latest is None:
            writer.mark(field, None, release=True)
        else:
            complete = Marker(
                state="done",
                token=writer.token,
                entity=planned.entity,
                as_of=wish.instant.as_of,
                clock=wish.instant.clock,
                newest_available_at=latest.newest_available_at,
                rows=planned.rows,
                key_bytes=latest.spool.key_bytes,
                message_bytes=latest.spool.bytes - latest.spool.key_bytes,
                complete_through=latest.view.highest_number,
                published_at=_now(),
                rolled_back=wish.kept is not None,
                held=held,
            )
            writer.mark(field, complete, release=True)
            self._save(planned, writer.token, latest.spool)
        return ViewSynced(
            view=planned.view,
            rows=planned.rows,
            written=todo.writes.rows,
            removed=todo.removals.rows,
            bytes=size,
            seconds=time.monotonic() - started,
            read_back=planned.read_back,
            newest_available_at=latest.newest_available_at if latest else None,
            longest=planned.longest,
            token=writer.token if latest else "",
            was_held=planned.before.held if planned.before else None,
            held=held,
            reasons=planned.reasons,
        )

    def _portions(self, field: str, todo: Difference) -> Iterator[Rows]:
        """The changes in transactions, writes first, no faster than the terms allow; an end when told to stop."""
        rows, pause, due = TRANSACTION_ROWS, 0.0, time.monotonic()
        if self.terms.max_rows_per_second:
            rows, pause = min(rows, self.terms.max_rows_per_second // 10 + 1), 1 / self.terms.max_rows_per_second
        name = field.encode()
        writes: Iterator[Rows] = (
            portion
            for batch in todo.writes.batches()
            for portion in Encoded(keys=batch.column(0), field=name, messages=batch.column(1)).portions(
                rows, TRANSACTION_BYTES
            )
        )
        removals: Iterator[Rows] = (
            portion
            for batch in todo.removals.batches()
            for portion in Removed(keys=batch.column(0), field=name).portions(rows)
        )
        for portion in chain(writes, removals):
            if self.stopped():
                return
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic()) + portion.rows * pause
            yield portion

    def _save(self, planned: Planned, token: str, online: Spool) -> None:
        if self.planner.states and planned.server:
            try:
                self.planner.states.save(planned.view, token, planned.server, online)
            except OSError as error:
                logger.warning("%s: nothing is remembered: %s", planned.view, error.strerror or error)
