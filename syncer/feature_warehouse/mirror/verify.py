"""Verify: compares every online value with the warehouse, both ways, byte for byte.

Each view is compared as of the instant that its marker names: what the mirror claims, not what time has since changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_warehouse.mirror.difference import Comparison, empty_spool
from feature_warehouse.mirror.namespace import check_owner, read_back, read_markers, unserved
from feature_warehouse.mirror.state import workspace
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import view_id
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.duckdb import Warehouse
from feature_warehouse.warehouse.spool import Spool
from feature_warehouse.wire.encode import Encoder
from feature_warehouse.wire.keyspace import field_name, split_field


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewVerified:
    """How one feature view version compares; counts of entities, and the first few keys of each kind."""

    view: str  # its id
    rows: int  # in the warehouse
    missing: int  # in the warehouse only
    different: int
    extra: int  # in Redis only
    examples: tuple[str, ...]  # "missing demo_dev:carrier:AA"

    @property
    def differences(self) -> int:
        return self.missing + self.different + self.extra


def verify(
    registry: Registry,
    declared: Mapping[str, DeclaredView],
    open_warehouse: AbstractContextManager[Warehouse],
    store: Store,
    *,
    namespace: str,
    target: str,
    now: datetime,
    select: Collection[str] | None = None,
) -> Iterator[ViewVerified]:
    """Compares the registry's views (``select``: only these ids) with what is online; yields one record per view.

    ``now``: the instant for views without a marker. What is left of view versions that the registry no longer has is
    reported too, without ``select``. Writes nothing to Redis. Raises as ``sync`` does.
    """
    check_owner(store, namespace, registry.project, target)
    markers = read_markers(store, namespace)
    chosen = [view for id_, view in registry.views.items() if select is None or id_ in select]
    with workspace(None) as folder, Comparison(folder) as comparison:
        wanted = []
        with open_warehouse as warehouse:
            for view in chosen:
                marker = markers.get(field_name(view.name, view.version))
                as_of = (marker.as_of if marker else None) or now
                encoder = Encoder(namespace, view)
                wanted.append(warehouse.spool(declared[view.id], encoder, as_of, folder, allow_empty=True))
        for latest in wanted:
            entity = latest.view.entity.name
            yield _compare(store, namespace, entity, latest.field, latest.spool, folder, comparison)
        if select is None:
            for field in unserved(markers, registry):
                nothing = empty_spool(folder / f"{field}.gone")
                yield _compare(store, namespace, markers[field].entity, field, nothing, folder, comparison)


def _compare(
    store: Store, namespace: str, entity: str, field: str, wanted: Spool, folder: Path, comparison: Comparison
) -> ViewVerified:
    online = read_back(store, namespace, entity, field, folder / f"{field}.online")
    found = comparison.difference(wanted, online)
    return ViewVerified(
        view=view_id(*split_field(field)),
        rows=wanted.rows,
        missing=found.added,
        different=found.changed,
        extra=found.removals.rows,
        examples=found.examples,
    )
