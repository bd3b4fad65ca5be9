"""One namespace of Redis, as its writer sees it: who owns it, which registry it shows, what was synced when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from feature_warehouse.errors import NamespaceError, RegistryError, StoppedError, StoreError, StoreNotReadyError
from feature_warehouse.registry.document import (
    Registry,
    changes,
    complete_part,
    fixes_shown,
    from_document,
    missing,
    owner,
    revision,
    to_document,
    vacated,
)
from feature_warehouse.registry.feature import FeatureView, view_id
from feature_warehouse.store.layout import PLACES
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.spool import BINARY, Spool, SpoolWriter
from feature_warehouse.wire.cost import Memory
from feature_warehouse.wire.keyspace import field_name, key_prefix, markers_key, registry_key, split_field, witness_key
from feature_warehouse.wire.marker import REVISION, Marker, read_marker


def check_owner(store: Store, namespace: str, project: str, target: str) -> bytes | None:
    """The namespace's registry document; None: it is empty, and anybody's. Raises NamespaceError if another owns it."""
    document = store.get(registry_key(namespace))
    if document is None:
        return None
    other_project, other_target = owner(document, registry_key(namespace))
    if (other_project, other_target) != (project, target):
        raise NamespaceError(
            f"the namespace '{namespace}' belongs to the project '{other_project}', target '{other_target}', "
            f"not to '{project}', target '{target}'",
            "choose another --namespace, or another Redis",
        )
    return document


def check_contained(document: bytes | None, registry: Registry, namespace: str) -> None:
    """Raises RegistryError when ``registry`` lacks something of the document that readers of a namespace are shown."""
    lost = missing(registry, from_document(document, registry_key(namespace))) if document is not None else []
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise RegistryError(
            f"the registry does not contain the one that '{namespace}' shows, which has {lost[0]}{more}",
            "sync from the commit that published it, or a later one; a preview of your own goes with `syncer drop`",
        )


def claim(store: Store, namespace: str, registry: Registry, target: str) -> bytes:
    """Says whose an empty namespace is from now on, by showing ``registry``; returns the document.

    Raises StoreError when another run has published something else since.
    """
    document = to_document(registry, target)
    _exchange(store, namespace, None, document, lambda _: True)
    return document


def publish_registry(store: Store, namespace: str, registry: Registry, target: str, before: bytes) -> Registry | None:
    """Shows ``registry`` to readers, as far as its views were synced with all their features; returns what is shown.

    What is not complete stays as it was shown before: a view that is held holds nothing but what it is needed for. The
    revision stands beside the markers, where every read sees that it changed. None: what would be shown was lost again
    meanwhile, and nothing is. ``before``: what was read of the document when the run began. Raises StoreError when
    another run has published something else since, which may be newer.
    """
    known = from_document(before, registry_key(namespace))
    markers = read_markers(store, namespace)
    part = complete_part(registry, known, lambda view: _is_complete(view, markers))

    shown = True  # what is there already is not asked about

    def is_complete(beside: Mapping[bytes, bytes]) -> bool:
        nonlocal shown
        now = _markers(beside, namespace)
        shown = all(view == known.views.get(id_) or _is_complete(view, now) for id_, view in part.views.items())
        return shown

    _exchange(store, namespace, before, to_document(part, target), is_complete)
    return part if shown else None


def _is_complete(view: FeatureView, markers: Mapping[str, Marker]) -> bool:
    marker = markers.get(field_name(view.name, view.version))
    return marker is not None and marker.as_of is not None and marker.complete_through >= view.highest_number


def news(before: bytes | None, registry: Registry, namespace: str) -> list[str]:
    """What the document of ``registry`` shows and ``before`` did not, in words."""
    key = registry_key(namespace)
    known = Registry(project=registry.project) if before is None else from_document(before, key)
    fixed = set() if before is None else fixes_shown(before, key)
    fixes = (
        f"{fix.view}: other values of {', '.join(fix.features)} on purpose: {fix.reason}"
        for fix in registry.fixes
        if fix.shown not in fixed
    )
    return [*changes(known, registry), *fixes]


def _exchange(
    store: Store, namespace: str, before: bytes | None, document: bytes, wanted: Callable[[Mapping[bytes, bytes]], bool]
) -> None:
    def stamp(shown: bytes) -> bytes:
        return revision(shown).encode()

    key, beside = registry_key(namespace), markers_key(namespace)
    if not store.exchange(key, before, document, beside, REVISION, stamp, wanted):
        raise StoreError(
            f"another sync published another registry in '{namespace}' at the same time",
            "run `syncer sync` again, from the newer state of the project",
        )


def vacate(store: Store, namespace: str, document: bytes) -> bytes:
    """Shows readers that nothing is served any more, in a namespace that stays its owner's; returns the document.

    Raises StoreError when another run has published something since ``document`` was read.
    """
    empty = vacated(document, registry_key(namespace))
    _exchange(store, namespace, document, empty, lambda _: True)
    return empty


def withdraw(store: Store, namespace: str, document: bytes) -> None:
    """Removes registry and markers of a namespace of which no view is left, and which still shows ``document``.

    Raises StoreError, and removes nothing, when another run has written or published something since.
    """
    if not store.withdraw(registry_key(namespace), document, markers_key(namespace), REVISION):
        raise StoreError(
            f"another sync wrote into '{namespace}' while it was dropped",
            "stop the job that syncs into it, then run `syncer drop` again",
        )


def read_markers(store: Store, namespace: str) -> dict[str, Marker]:
    """The markers of a namespace, by field: 'carrier_delays:2'. Raises NamespaceError for one that cannot be read."""
    return _markers(store.hash_fields(markers_key(namespace)), namespace)


def _markers(fields: Mapping[bytes, bytes], namespace: str) -> dict[str, Marker]:
    names = {field: field.decode(errors="replace") for field in fields}
    # What begins so is not a view's: the registry's revision, and what a later version may put beside it.
    found = {
        name: read_marker(name, fields[field], markers_key(namespace))
        for field, name in names.items()
        if not name.startswith("#")
    }
    return {field: marker for field, marker in found.items() if marker is not None}


def unserved(markers: Mapping[str, Marker], registry: Registry) -> list[str]:
    """The fields whose view version ``registry`` no longer has: what is online of them is left over."""
    return sorted(markers.keys() - {field_name(view.name, view.version) for view in registry.views.values()})


def read_back(
    store: Store, namespace: str, entity: str, field: str, path: Path, stopped: Callable[[], bool] = lambda: False
) -> Spool:
    """What Redis holds of a field, spooled to ``path``. Raises StoreRefusedError for a key that is no hash.

    Raises StoppedError once ``stopped`` says so.

    In a Cluster, a key that moves to a node that was scanned before would not be seen: so its slots must not change
    hands meanwhile. Raises StoreNotReadyError when they do.
    """
    layout = store.layout()
    with SpoolWriter(path) as writer:
        for keys, values in store.scan(key_prefix(namespace, entity), field):
            if stopped():
                view = view_id(*split_field(field))
                raise StoppedError(f"stopped while {view} was read back from Redis", "run `syncer sync` again")
            found = pa.array(values, BINARY)
            writer.add(pa.array(keys, BINARY).filter(found.is_valid()), found.drop_null())
    if store.layout() != layout:
        raise StoreNotReadyError(
            f"slots of the Redis Cluster at {store.address} moved while it was read back", "try again in a moment"
        )
    return writer.spool


def fingerprint(store: Store) -> str | None:
    """What changes when a primary restarts, fails over or evicts keys, or slots change hands; None: it does not say."""
    facts = store.info()
    if facts is None:
        return None
    if not all({"run_id", "evicted_keys"} <= each.keys() for each in facts):
        return None
    return "; ".join([*(f"{each['run_id']}/{each['evicted_keys']}" for each in facts), *map(str, store.layout())])


def is_witnessed(store: Store, namespace: str, field: str, marker: Marker) -> bool:
    """Whether each part of a Cluster has the sign of ``marker``; anywhere else the marker stands for itself."""
    if not store.is_cluster:
        return True
    keys = [witness_key(namespace, place).encode() for place in PLACES]
    return all(sign == marker.sign for sign in store.field_of_each(keys, field))


def check_server(store: Store, *, allow_eviction: bool) -> None:
    """Raises StoreError for a Redis that may evict features: readers would take them for entities without values."""
    for facts in store.info() or []:
        policy = str(facts.get("maxmemory_policy", ""))
        if policy.startswith("allkeys") and facts.get("maxmemory") and not allow_eviction:
            raise StoreError(
                f"Redis at {store.address} evicts any key when its memory is full (maxmemory-policy {policy})",
                "set maxmemory-policy noeviction, or accept missing features with --allow-eviction",
            )


def server_memory(store: Store) -> Memory:
    """How this server stores hashes; what it does not say (CONFIG, INFO) is taken as Redis is shipped."""
    usual, facts = Memory(), (store.info() or [{}])[0]
    value = compact_limit(store)
    entries = store.setting("hash-max-listpack-entries", "hash-max-ziplist-entries")
    old = int(str(facts.get("redis_version", "7")).partition(".")[0]) < 7
    return Memory(
        compact_value=usual.compact_value if value is None else value,
        told=value is not None,
        compact_entries=usual.compact_entries if entries is None else int(entries),
        jemalloc=str(facts.get("mem_allocator", "jemalloc")).startswith("jemalloc"),
        table_header=96 if old else usual.table_header,
    )


#: Bytes of memory that an entity takes in Redis beyond its key and message: in one compact block, and above its limit.
COMPACT_BYTES, SPREAD_BYTES = 90, 280


def compact_limit(store: Store) -> int | None:
    """The longest message, in bytes, with which Redis keeps an entity in one compact block; None when it won't say."""
    value = store.setting("hash-max-listpack-value", "hash-max-ziplist-value")
    return None if value is None else int(value)


def cost_of_length(longest: Mapping[str, tuple[int, int]], limit: int | None) -> str | None:
    """What messages above the ``limit`` cost, in a sentence; None when nothing is above it, or it is unknown.

    ``longest``: for each view its rows and its longest message, in bytes.
    """
    above = [(rows, length) for rows, length in longest.values() if limit is not None and length > limit]
    if not above:
        return None
    extra, rows = SPREAD_BYTES - COMPACT_BYTES, sum(rows for rows, _ in above)
    return (
        f"messages have up to {max(length for _, length in above)} bytes, and Redis keeps a hash compact only up to "
        f"{limit}: that costs some {extra} bytes an entity, up to {extra * rows:,} in all. Raise "
        "hash-max-listpack-value (before Redis 7.0: hash-max-ziplist-value)"
    )
