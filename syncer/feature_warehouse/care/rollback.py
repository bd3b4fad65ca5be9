"""Rollback and release: the way back when wrong values went online.

A rollback serves the latest-value view of an earlier instant again, with what had become known by then, and holds the
view there: the syncs that follow keep it so until somebody releases it. Both are under the lease of the view, so that
no sync undoes them in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from feature_warehouse.errors import RequestError, closest
from feature_warehouse.mirror.cluster import writer_of
from feature_warehouse.mirror.lease import who
from feature_warehouse.mirror.namespace import check_owner, read_markers
from feature_warehouse.mirror.planning import Planned
from feature_warehouse.mirror.preparation import Wanted
from feature_warehouse.mirror.sync import ViewSynced, serve_at
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import view_id
from feature_warehouse.store.store import Store
from feature_warehouse.wire.keyspace import field_name, split_field
from feature_warehouse.wire.marker import Hold, Marker
from feature_warehouse.wire.trail import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback did. ``left``: what was online before, by its marker."""

    synced: ViewSynced
    left: Marker


def limits(declared: DeclaredView) -> list[str]:
    """What a rollback cannot promise to bring back, in sentences; []: the history proves that it only grew."""
    found = []
    if declared.view.available_at is None:
        found.append(
            "its `available_at` is none, so nobody knows when a row became known: rows that came later, of earlier "
            "events, are taken for known"
        )
    if not (declared.append_only and declared.append_only_test):
        found.append(
            "its history is not proven to only grow (`history: append_only` and the test history_append_only), so what "
            "was changed or rebuilt in place since then comes as it is now"
        )
    return found


def rollback(
    wanted: Wanted,
    store: Store,
    *,
    as_of: datetime,
    reason: str,
    terms: Terms,
    progress: Callable[[Planned, int, int], None] = lambda planned, rows, size: None,
    stopped: Callable[[], bool] = lambda: False,
) -> RolledBack:
    """Serves the one view that is ``wanted`` as of an instant, and holds it there.

    Raises RequestError when the instant lies ahead or nothing of the view was ever online; DataError when the view has
    no rows at that instant, or such as cannot be served; and as ``sync`` does. Nothing is written then.
    """
    (view,) = wanted.views
    now = datetime.now(timezone.utc).replace(microsecond=0)
    if as_of > (wanted.instant.as_of if wanted.instant.clock == "fixed" else now):
        raise RequestError(f"{as_of.isoformat()} lies ahead", "give an instant that was: --as-of 2013-01-31T12:00:00Z")
    check_owner(store, wanted.namespace, wanted.registry.project, wanted.target)
    left = read_markers(store, wanted.namespace).get(field_name(view.name, view.version))
    if left is None or left.as_of is None:
        raise RequestError(
            f"nothing of {view.id} was ever online in '{wanted.namespace}'", "`syncer sync` puts it there"
        )
    hold = Hold(since=now, why=plain(reason) or "", by=who(), as_of=as_of)
    # How many entities there were then is what is asked for.
    done = serve_at(wanted, store, hold, terms=replace(terms, allow_shrink=1.0), progress=progress, stopped=stopped)
    return RolledBack(synced=done, left=left)


def release(store: Store, *, namespace: str, project: str, target: str, view: str) -> tuple[str, Hold]:
    """Ends the hold of a person, so that the next sync publishes the view again; returns its id and what it was.

    Raises RequestError for a view that nobody holds, and StoreError when a run is writing it.
    """
    check_owner(store, namespace, project, target)
    markers = read_markers(store, namespace)
    if not markers:
        raise RequestError(f"nothing is online in '{namespace}'", "there is nothing to release")
    field = _field(view, markers)
    if markers[field].kept is None:
        held = markers[field].held
        raise RequestError(
            f"nobody has rolled {view} back in '{namespace}'{f': it is {held}' if held else ''}",
            "such a hold ends by itself, with the next good sync; `syncer sync` has an option for what is meant"
            if held
            else "there is nothing to release",
        )
    with writer_of(store)(store, namespace, (), lambda: False) as writer:
        found = writer.acquire(field, [markers[field].token])
        if found is None or found.kept is None:
            raise RequestError(f"the hold of {view} in '{namespace}' is gone", "there is nothing to release")
        writer.annotate(field, replace(found, held=None))
        writer.release(field)
    return view_id(*split_field(field)), found.kept


def _field(view: str, markers: Mapping[str, Marker]) -> str:
    """The field of a view id, or of a name that one version alone has online. Raises RequestError."""
    ids = {view_id(*split_field(field)): field for field in markers}
    return ids[chosen(view, ids)]


def chosen(view: str, ids: Iterable[str]) -> str:
    """The id among ``ids`` that ``view`` means: itself, or the only version of that name. Raises RequestError."""
    known = [*ids]
    found = [id_ for id_ in known if view in (id_, id_.rpartition(".v")[0])]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(f"{view} has {len(found)} versions", f"name one: {', '.join(found)}")
    raise RequestError(f"there is no feature view '{view}'", closest(view, known, "there are"))
