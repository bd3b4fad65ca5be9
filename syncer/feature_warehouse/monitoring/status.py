"""Status: the freshness of every feature view, from the warehouse, from Redis, and from dbt's last run; and its cost.

Looks, and changes nothing. Each half is looked at by itself: where the DuckDB file is held by a dbt run, or Redis is
away, the other half is still told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from feature_warehouse.errors import NamespaceError, StoreError, SyncerError, WarehouseError, WarehouseLockedError
from feature_warehouse.gate.unbuilt import unbuilt_features
from feature_warehouse.mirror.namespace import check_owner, read_markers, server_memory, unserved
from feature_warehouse.monitoring.freshness import Freshness, Offline, Online, judge
from feature_warehouse.monitoring.scope import Scope
from feature_warehouse.project.reading import DeclaredProject
from feature_warehouse.project.run_results import read_runs
from feature_warehouse.registry.document import Registry
from feature_warehouse.store.store import Store
from feature_warehouse.wire.cost import Memory, Raising, Size, ViewCost, costs, raising
from feature_warehouse.wire.keyspace import field_name
from feature_warehouse.wire.marker import Marker

if TYPE_CHECKING:
    from feature_warehouse.gate.rebuild import Rebuild


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All feature views at one instant, by id; and why a half is unknown, where it is."""

    as_of: datetime
    stands: bool  # that is where the project's clock stands: no age grows, and a scheduler that ends does not show
    views: tuple[Freshness, ...]
    markers: Mapping[str, Marker]  # by field; {} where Redis is unknown
    costs: tuple[ViewCost, ...]  # of what is online
    raising: Raising  # what it would take less with another setting of Redis
    rebuild: tuple[Rebuild, ...] = ()  # what has to be built anew in this warehouse; () where that is unknown
    retired: tuple[str, ...]  # fields that are online and that the registry no longer has
    offline_unknown: SyncerError | None
    online_unknown: SyncerError | None

    @property
    def stale(self) -> tuple[Freshness, ...]:
        return tuple(view for view in self.views if view.reasons)

    @property
    def held(self) -> tuple[Freshness, ...]:
        return tuple(view for view in self.views if view.held)

    @property
    def healthy(self) -> bool:
        """Nothing is stale, held or known to be of another definition, and all could be judged; but for a warehouse
        being written to: that passes."""
        locked = isinstance(self.offline_unknown, WarehouseLockedError)
        judged = self.online_unknown is None and (locked or all(view.offline is not None for view in self.views))
        return judged and not self.stale and not self.held and not any(one.certain for one in self.rebuild)


#: Seconds to wait for a DuckDB file that another process holds: the other half is worth more than a long wait.
PATIENCE = 2.0


def status(scope: Scope, store: Store) -> Status:
    """The status of all declared views.

    Raises NamespaceError when the namespace belongs to another project or target, and RegistryError.
    """
    registry, declared, as_of = scope.registry(), scope.declarations.views, scope.as_of
    offline, rebuild, offline_unknown = _offline(scope, registry)
    markers, memory, online_unknown = _online(store, scope.namespace, registry.project, scope.project.target)
    sizes = _sizes(registry, markers or {})
    runs, real_now = read_runs(scope.project.runs_path), datetime.now(timezone.utc)
    views = tuple(
        judge(
            each.view,
            served=id_ in registry.views,
            built=runs.get(each.unique_id),
            offline=offline.get(id_),
            online=None
            if markers is None
            else Online(marker=markers.get(field_name(each.view.name, each.view.version))),
            as_of=as_of,
            real_now=real_now,
        )
        for id_, each in sorted(declared.items())
    )
    return Status(
        as_of=as_of,
        stands=scope.stands,
        views=views,
        markers=markers or {},
        costs=tuple(costs(registry, sizes, memory)),
        raising=raising(registry, sizes, memory),
        rebuild=rebuild,
        retired=tuple(unserved(markers or {}, registry)),
        offline_unknown=offline_unknown,
        online_unknown=online_unknown,
    )


def _offline(scope: Scope, registry: Registry) -> tuple[dict[str, Offline], tuple[Rebuild, ...], SyncerError | None]:
    """The warehouse's half of each view that can be read; what has to be built anew; and the first error of those that
    cannot be read."""
    found: dict[str, Offline] = {}
    rebuild: Sequence[Rebuild] = ()
    unknown: SyncerError | None = None
    try:
        with scope.open_source(PATIENCE) as source:
            for id_, each in scope.declarations.views.items():
                try:
                    found[id_] = Offline(newest_available_at=source.newest_available_at(each, scope.as_of))
                except WarehouseError as error:
                    unknown = unknown or error
            read = DeclaredProject(project=scope.project, manifest=scope.manifest, declarations=scope.declarations)
            rebuild = unbuilt_features(read, registry, source)
    except WarehouseError as error:
        unknown = error
    return found, tuple(rebuild), unknown


def _online(
    store: Store, namespace: str, project: str, target: str
) -> tuple[dict[str, Marker] | None, Memory, SyncerError | None]:
    try:
        check_owner(store, namespace, project, target)
        return read_markers(store, namespace), server_memory(store), None
    except NamespaceError:
        raise
    except StoreError as error:
        return None, Memory(), error


def _sizes(registry: Registry, markers: Mapping[str, Marker]) -> dict[str, Size]:
    """What is online of each view, by id, as its last complete sync left it."""
    found = ((id_, markers.get(field_name(view.name, view.version))) for id_, view in registry.views.items())
    return {
        id_: Size(rows=marker.rows, key_bytes=marker.key_bytes, message_bytes=marker.message_bytes)
        for id_, marker in found
        if marker and marker.as_of
    }
