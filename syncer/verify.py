"""Verify: compares every online value with the warehouse, both ways, byte for byte.

Each view is compared as of the instant that its marker names: what the mirror claims, not what time has since changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from syncer.encode import Encoder
from syncer.feature import view_id
from syncer.keyspace import field_name, key_prefix, split_field
from syncer.manifest import DeclaredView
from syncer.namespace import check_owner, read_markers, unserved
from syncer.registry import Registry
from syncer.store import Store
from syncer.warehouse import Spool, Warehouse

#: Keys named per kind of difference.
EXAMPLES = 3


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
    """Compares the registry's views (``select``: only these ids); yields one record per view.

    Without ``select`` also what retired views have left behind. ``now``: the instant for views that were never synced;
    all their rows are missing. Raises like ``sync``.
    """
    check_owner(store, namespace, registry.project, target)
    markers = read_markers(store, namespace)
    chosen = [view for id_, view in registry.views.items() if select is None or id_ in select]
    with tempfile.TemporaryDirectory(prefix="feature_warehouse_") as folder:
        spools = []
        with open_warehouse as warehouse:
            for view in chosen:
                marker = markers.get(field_name(view.name, view.version))
                as_of = (marker.as_of if marker else None) or now
                encoder = Encoder(namespace, view)
                spools.append(warehouse.spool(declared[view.id], encoder, as_of, Path(folder)))
        for spool in spools:
            yield _compare(store, namespace, spool)
    if select is None:
        for field in unserved(markers, registry):
            left = _having(store, field, store.scan(key_prefix(namespace, markers[field].entity)))
            yield _verified(view_id(*split_field(field)), 0, extra=left)


def _compare(store: Store, namespace: str, spool: Spool) -> ViewVerified:
    missing: list[bytes] = []
    different: list[bytes] = []
    for batch in spool.batches():
        keys = batch.keys.to_pylist()
        online = pa.array(store.field_of_each(keys, spool.field), pa.large_binary())
        missing += batch.keys.filter(online.is_null()).to_pylist()
        different += batch.keys.filter(pc.not_equal(online, batch.messages).fill_null(False)).to_pylist()
    others = spool.without(store.scan(key_prefix(namespace, spool.view.entity.name)))
    extra = _having(store, spool.field, [others])
    return _verified(spool.view.id, spool.rows, missing, different, extra)


def _having(store: Store, field: str | bytes, keys: Iterable[list[bytes]]) -> list[bytes]:
    """Those of ``keys`` that have ``field``, each once."""
    pairs = ((key, value) for some in keys for key, value in zip(some, store.field_of_each(some, field), strict=True))
    return list(dict.fromkeys(key for key, value in pairs if value is not None))


def _verified(
    view: str,
    rows: int,
    missing: Sequence[bytes] = (),
    different: Sequence[bytes] = (),
    extra: Sequence[bytes] = (),
) -> ViewVerified:
    kinds = {"missing": missing, "different": different, "extra": extra}
    examples = [f"{kind} {key.decode(errors='replace')}" for kind, keys in kinds.items() for key in keys[:EXAMPLES]]
    return ViewVerified(
        view=view,
        rows=rows,
        missing=len(missing),
        different=len(different),
        extra=len(extra),
        examples=tuple(examples),
    )
