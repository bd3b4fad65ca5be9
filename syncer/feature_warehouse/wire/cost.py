"""Cost: the bytes of Redis's memory that a layout takes, and their price; no I/O.

What Redis allocates for a hash, after its source (7.0: sds.h, listpack.c, dict.h; object.c, `objectComputeSize`) and
that of its allocators (jemalloc's size classes; the chunks of glibc's malloc):

- an object (16 bytes), an entry in the table of keys (24), and the key's name as a string;
- while every field and value is short enough, and they are few enough, one block (a listpack): 7 bytes, and per text
  its length, 1 to 5 bytes that say how long it is, and 1 to 4 that say how long the entry is;
- else a table: a header, 8 bytes for each of its places (a power of two, at least 4), and per field an entry (24) and
  two strings;
- a string has a header of 1, 3, 5 or 9 bytes by its length, and a zero at its end;
- what is asked of the allocator is rounded up to one of its sizes.

`MEMORY USAGE` counts just that. On top comes the key's place in the table of keys, 8 to 16 bytes, and the rounding of
its entry, up to 8: 16 on average. Measured over 370 shapes of hashes: exact on Redis 7.0 with jemalloc, within 24 bytes
or 6 % on 6.2 with the C library's malloc; within 10 % of what the whole server grows by
(tests/integration/wire/test_cost.py). Redis 8.2 and Valkey 9.1 mostly lay out denser: there it is at most 32 bytes or
40 % off, and within 20 % of what the server grows by.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import Feature, FeatureView
from feature_warehouse.registry.types import feature_type
from feature_warehouse.wire.keyspace import field_name

#: USD for a gigabyte (10^9 bytes) of a managed Redis in a month, unless told otherwise.
PRICE_PER_GB = 5.0

GB = 1_000_000_000

_OBJECT, _ENTRY, _PLACE = 16, 24, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What decides how a server stores a hash; by default as Redis 7 is shipped."""

    compact_value: int = 64  # hash-max-listpack-value: the longest text in one block, in bytes
    told: bool = True  # whether the server has said so; False: it is taken as shipped
    compact_entries: int = 512  # hash-max-listpack-entries: the most fields in one block
    jemalloc: bool = True  # False: the C library's allocator
    table_header: int = 56  # 96 before Redis 7

    def hash_bytes(self, key: int, fields: Sequence[tuple[int, int]]) -> int:
        """What `MEMORY USAGE` says of a hash. ``key``: the length of its name; ``fields``: those of (name, value)."""
        return self._base(key) + self._container(fields) + sum(self.field_bytes(field, fields) for field in fields)

    def _base(self, key: int) -> int:
        return _OBJECT + _ENTRY + self._string(key)

    def field_bytes(self, field: tuple[int, int], fields: Sequence[tuple[int, int]]) -> int:
        """What one field adds to the hash of ``fields``."""
        name, value = field
        if self._compact(fields):
            return _listpack_entry(name) + _listpack_entry(value)
        return _ENTRY + self._string(name) + self._string(value)

    def _container(self, fields: Sequence[tuple[int, int]]) -> int:
        """What holds the fields, with what rounding adds."""
        if self._compact(fields):
            asked = 7 + sum(self.field_bytes(field, fields) for field in fields)
            return 7 + self._allocated(asked) - asked
        places = max(4, 1 << (len(fields) - 1).bit_length())
        return self.table_header + 8 * places

    def _compact(self, fields: Sequence[tuple[int, int]]) -> bool:
        return len(fields) <= self.compact_entries and all(max(field) <= self.compact_value for field in fields)

    def _string(self, length: int) -> int:
        header = 1 if length < 32 else 3 if length < 256 else 5 if length < 65_536 else 9
        return self._allocated(header + length + 1)

    def _allocated(self, size: int) -> int:
        if not self.jemalloc:
            return max(24, (size + 8 + 15) // 16 * 16 - 8)  # a chunk is a multiple of 16, less its own 8
        return _JEMALLOC[bisect.bisect_left(_JEMALLOC, size)]


def _listpack_entry(length: int) -> int:
    encoded = length + (1 if length < 64 else 2 if length < 4_096 else 5)
    return encoded + (1 if encoded < 128 else 2 if encoded < 16_384 else 3 if encoded < 2_097_152 else 4)


def _jemalloc_sizes() -> list[int]:
    """16 to 128 in steps of 16, then four sizes to each doubling, to 1 GB; 8 below all."""
    sizes = [8, *range(16, 129, 16)]
    while sizes[-1] < 1 << 30:
        step = sizes[-1] // 4
        sizes += [sizes[-1] + step * i for i in range(1, 5)]
    return sizes


_JEMALLOC = _jemalloc_sizes()


# --- what views and features cost -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of a view is online, or would be: rows, and the bytes of all their keys and of all their messages."""

    rows: int
    key_bytes: int
    message_bytes: int

    @property
    def key(self) -> int:
        return round(self.key_bytes / max(1, self.rows))

    @property
    def message(self) -> int:
        return round(self.message_bytes / max(1, self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCost:
    """One feature's share of its view, by the width of its type. ``services``: those that read it; (): it is unread."""

    name: str
    bytes_per_entity: float
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCost:
    """What one view version takes of Redis's memory: its fields, and its share of what its entity's views share."""

    view: str  # its id
    rows: int
    bytes: int
    features: tuple[FeatureCost, ...]

    @property
    def bytes_per_entity(self) -> float:
        return self.bytes / max(1, self.rows)

    @property
    def unread(self) -> tuple[FeatureCost, ...]:
        """What is materialised and read by no service."""
        return tuple(feature for feature in self.features if not feature.services)

    def bytes_of(self, feature: FeatureCost) -> int:
        return round(self.rows * feature.bytes_per_entity)


def costs(registry: Registry, sizes: Mapping[str, Size], memory: Memory) -> list[ViewCost]:
    """The cost of the registry's views that ``sizes`` knows, by view id.

    An entity type is taken to have as many keys as its largest view has rows, and messages of a view to be of one
    length, their mean. Key, object and rounding are shared out evenly between the rows.
    """
    found = []
    for entity in dict.fromkeys(view.entity.name for view in registry.views.values()):
        views = [view for id_, view in registry.views.items() if view.entity.name == entity and id_ in sizes]
        fields = {view.id: (len(field_name(view.name, view.version)), sizes[view.id].message) for view in views}
        every = list(fields.values())
        rows = sum(sizes[view.id].rows for view in views)
        keys = max((sizes[view.id].rows for view in views), default=0)
        key = max((sizes[view.id].key for view in views), default=0)
        own = {id_: memory.field_bytes(field, every) for id_, field in fields.items()}
        shared = keys * (memory.hash_bytes(key, every) - sum(own.values()) + _PLACE) / max(1, rows)
        for view in views:
            size = sizes[view.id].rows * (own[view.id] + shared)
            found.append(
                ViewCost(
                    view=view.id,
                    rows=sizes[view.id].rows,
                    bytes=round(size),
                    features=_shares(view, size / max(1, sizes[view.id].rows), registry),
                )
            )
    return sorted(found, key=lambda cost: cost.view)


#: What `syncer redis` sets hash-max-listpack-value to; longer messages lose little by being spread out. A packed
#: message of ten features is about 85 bytes: its entity takes 379 bytes of memory above the limit and 186 below it.
COMPACT_VALUE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Raising:
    """What a higher hash-max-listpack-value would save. limit: what it is; None: the server does not say, so that it is
    taken as shipped. bytes: of all views together; 0: nothing."""

    limit: int | None
    bytes: int


def raising(registry: Registry, sizes: Mapping[str, Size], memory: Memory) -> Raising:
    """What all views would take less if the limit were COMPACT_VALUE_BYTES."""
    raised = replace(memory, compact_value=max(COMPACT_VALUE_BYTES, memory.compact_value))
    now, then = (sum(cost.bytes for cost in costs(registry, sizes, one)) for one in (memory, raised))
    return Raising(limit=memory.compact_value if memory.told else None, bytes=max(0, now - then))


def price(size: float, per_gb: float) -> float:
    """USD a month of so many bytes."""
    return size / GB * per_gb


def message_bytes(features: Iterable[Feature]) -> int:
    """The length of a message with these numbered features, all present; what varies at a typical length."""
    return 9 + sum(_width(feature) for feature in features)


def _shares(view: FeatureView, each: float, registry: Registry) -> tuple[FeatureCost, ...]:
    readers: dict[str, list[str]] = {}
    for service in registry.services.values():
        for read in service.views:
            for name in read.features if read.view == view.id else ():
                readers.setdefault(name, []).append(service.id)
    whole = sum(_width(feature) for feature in view.numbered)
    return tuple(
        FeatureCost(
            name=feature.name,
            bytes_per_entity=each * _width(feature) / whole,
            services=tuple(dict.fromkeys(readers.get(feature.name, ()))),
        )
        for feature in view.numbered
    )


#: Bytes of a value by protobuf's type: exact where all values are as long, else typical: small numbers, short words.
_TYPICAL = {
    "double": 8,
    "float": 4,
    "sfixed64": 8,
    "bool": 1,
    "sint32": 3,
    "sint64": 2,
    "uint64": 3,
    "string": 12,
    "bytes": 16,
}

#: Elements of a list whose type does not say how many.
_TYPICAL_ELEMENTS = 16


def _width(feature: Feature) -> int:
    """The bytes of a feature in its message, with the tag before it."""
    number = feature.number or 0
    tag = 1 if number < 16 else 2 if number < 2_048 else 3
    kind = feature_type(feature.type)
    if not kind.is_list:
        return tag + _TYPICAL[kind.proto]
    declared = kind.name.rpartition("[")[2].rstrip("]")
    body = (int(declared) if declared else _TYPICAL_ELEMENTS) * _TYPICAL[kind.proto]
    return tag + 2 * (1 if body < 126 else 2 if body < 16_382 else 3) + 1 + body
