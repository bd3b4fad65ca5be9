"""Verify: compares every online value with the warehouse, both ways, byte for byte.

Each view is compared as of the instant that its marker names: what the mirror claims, not what time has since changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feature_warehouse.errors import DataError, SyncerError, WarehouseError, WarehouseUnavailableError
from feature_warehouse.mirror.difference import Comparison, empty_spool
from feature_warehouse.mirror.namespace import check_owner, read_back, read_markers, unserved
from feature_warehouse.mirror.preparation import Wanted
from feature_warehouse.mirror.state import workspace
from feature_warehouse.registry.feature import FeatureView, view_id
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.latest import Latest, spool_latest
from feature_warehouse.warehouse.spool import Spool
from feature_warehouse.wire.encode import Encoder
from feature_warehouse.wire.keyspace import field_name, split_field
from feature_warehouse.wire.marker import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewVerified:
    """How one feature view version compares; counts of entities, and the first few keys of each kind."""

    view: str  # its id
    rows: int  # in the warehouse
    missing: int  # in the warehouse only
    different: int
    extra: int  # in Redis only
    examples: tuple[str, ...]  # "missing demo_dev:carrier:AA"
    held: Hold | None = None
    unknown: SyncerError | None = None  # why it cannot be compared

    @property
    def differences(self) -> int:
        return self.missing + self.different + self.extra

    @property
    def equal(self) -> bool:
        """All that its marker claims is there, and nothing else."""
        return not self.differences and self.unknown is None


def verify(wanted: Wanted, store: Store) -> Iterator[ViewVerified]:
    """Compares what is wanted with what is online; yields one record per view.

    Views without a marker are compared at the instant asked for. What is left of view versions that the registry no
    longer has is reported too, unless views were selected. A view that cannot be read is reported as such. Writes
    nothing to Redis. Raises as ``sync`` does.
    """
    registry, namespace = wanted.registry, wanted.namespace
    check_owner(store, namespace, registry.project, wanted.target)
    markers = read_markers(store, namespace)
    with workspace(None) as folder, Comparison(folder) as comparison:
        found: list[tuple[FeatureView, Latest | SyncerError]] = []
        with wanted.open_source() as source:
            for view in wanted.views:
                marker = markers.get(field_name(view.name, view.version))
                as_of = (marker.as_of if marker else None) or wanted.instant.as_of
                encoder = Encoder(namespace, view)
                try:
                    declared = wanted.declared[view.id]
                    latest = spool_latest(source, declared, encoder, as_of, folder)
                    found.append((view, latest))
                except WarehouseUnavailableError:
                    raise
                except (DataError, WarehouseError) as error:
                    source.recover()
                    found.append((view, error))
        for view, read in found:
            field = field_name(view.name, view.version)
            held = markers[field].held if field in markers else None
            if isinstance(read, SyncerError):
                yield ViewVerified(
                    view=view.id, rows=0, missing=0, different=0, extra=0, examples=(), held=held, unknown=read
                )
            else:
                yield _compare(store, namespace, view.entity.name, field, read.spool, held, folder, comparison)
        if wanted.select is None:
            for field in unserved(markers, registry):
                marker = markers[field]
                if marker.kept:
                    continue  # it stays where it is until it is released
                nothing = empty_spool(folder / f"{field}.gone")
                yield _compare(store, namespace, marker.entity, field, nothing, marker.held, folder, comparison)


def _compare(
    store: Store,
    namespace: str,
    entity: str,
    field: str,
    spool: Spool,
    held: Hold | None,
    folder: Path,
    comparison: Comparison,
) -> ViewVerified:
    online = read_back(store, namespace, entity, field, folder / f"{field}.online")
    found = comparison.difference(spool, online)
    return ViewVerified(
        view=view_id(*split_field(field)),
        rows=spool.rows,
        missing=found.added,
        different=found.changed,
        extra=found.removals.rows,
        examples=found.examples,
        held=held,
    )
