"""Sync: makes Redis equal to the latest-value views, one feature view version after the other.

The order keeps every moment explainable. First all rows are read and encoded, so that bad data stops a run before it
writes. Then, per view: its marker says ``open``, the rows are written, fields of vanished entities are removed, and its
marker says ``done``. Readers are shown a changed registry last, when all that it names is there. A run that dies leaves
``open`` behind; the next run writes everything again.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from syncer.encode import Encoder
from syncer.errors import StoreError
from syncer.feature import view_id
from syncer.keyspace import field_name, key_prefix, markers_key, split_field
from syncer.manifest import DeclaredView
from syncer.marker import Marker
from syncer.namespace import check_owner, is_complete, publish_registry, read_markers, unserved, write_marker
from syncer.registry import Registry
from syncer.store import Store
from syncer.warehouse import Spool, Warehouse


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """The "now" of a run; ``clock`` is fixed when it was given instead of read off a clock."""

    as_of: datetime
    clock: Literal["real", "fixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSynced:
    """What one run did to one feature view version."""

    view: str  # its id
    rows: int
    removed: int  # entities whose field was removed
    bytes: int  # sent, protocol included
    seconds: float


def sync(
    registry: Registry,
    declared: Mapping[str, DeclaredView],
    open_warehouse: AbstractContextManager[Warehouse],
    store: Store,
    *,
    namespace: str,
    target: str,
    instant: Instant,
    select: Collection[str] | None = None,
) -> Iterator[ViewSynced]:
    """Mirrors the registry's views (``select``: only these ids) into ``namespace``; yields one record per view.

    ``declared``: where each view is in the warehouse, by view id. Raises NamespaceError when the namespace belongs to
    another project or target, and WarehouseError and DataError, all before anything is written; and StoreError.
    """
    has_readers = check_owner(store, namespace, registry.project, target)
    markers = read_markers(store, namespace)
    chosen = [view for id_, view in registry.views.items() if select is None or id_ in select]
    with tempfile.TemporaryDirectory(prefix="feature_warehouse_") as folder:
        with open_warehouse as warehouse:
            spools = [
                warehouse.spool(declared[view.id], Encoder(namespace, view), instant.as_of, Path(folder))
                for view in chosen
            ]
        if not has_readers:
            publish_registry(store, namespace, registry, target)  # also says whose the namespace is from now on
        for spool in spools:
            before = markers.get(field_name(spool.view.name, spool.view.version))
            yield _mirror(store, namespace, spool, before, instant)
    if has_readers and is_complete(read_markers(store, namespace), registry):
        publish_registry(store, namespace, registry, target)
    if select is None:
        for field in unserved(markers, registry):
            yield _retire(store, namespace, field, markers[field])


def _mirror(store: Store, namespace: str, spool: Spool, before: Marker | None, instant: Instant) -> ViewSynced:
    started = time.monotonic()
    view, token = spool.view, secrets.token_hex(8)
    field = field_name(view.name, view.version)
    opened = replace(before or Marker(entity=view.entity.name), state="open", token=token)
    write_marker(store, namespace, field, opened)
    # Looked for before the rows are written: a first sync then finds next to nothing to compare.
    vanished = spool.without(store.scan(key_prefix(namespace, view.entity.name)))
    rows = size = 0
    for batch_rows, batch_bytes in store.send(spool.batches()):
        rows, size = rows + batch_rows, size + batch_bytes
    removed = store.delete_fields(vanished, spool.field)
    _check_alone(store, namespace, field, opened)
    done = Marker(
        state="done",
        token=token,
        entity=view.entity.name,
        as_of=instant.as_of,
        clock=instant.clock,
        newest_available_at=spool.newest_available_at,
        rows=rows,
        complete_through=view.highest_number,
    )
    write_marker(store, namespace, field, done)
    return ViewSynced(view=view.id, rows=rows, removed=removed, bytes=size, seconds=time.monotonic() - started)


def _check_alone(store: Store, namespace: str, field: str, opened: Marker) -> None:
    """Raises StoreError, leaving the marker open, when another run has written the same view meanwhile."""
    found = read_markers(store, namespace).get(field)
    if found is None or found.token != opened.token:
        write_marker(store, namespace, field, opened)
        raise StoreError(
            f"another sync wrote {view_id(*split_field(field))} into '{namespace}' at the same time",
            "its rows are mixed now: run `syncer sync` again, one run at a time",
        )


def _retire(store: Store, namespace: str, field: str, marker: Marker) -> ViewSynced:
    """Removes a view version that the registry no longer has: its field of every entity, then its marker."""
    started = time.monotonic()
    removed = sum(store.delete_fields(keys, field) for keys in store.scan(key_prefix(namespace, marker.entity)))
    store.delete_fields([markers_key(namespace)], field)
    view = view_id(*split_field(field))
    return ViewSynced(view=view, rows=0, removed=removed, bytes=0, seconds=time.monotonic() - started)
