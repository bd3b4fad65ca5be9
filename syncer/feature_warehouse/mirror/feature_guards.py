"""Publish guards: whether the values of a feature may go online, judged against those that are.

What is wanted is known from the rows as they were read (``Extent``). Of what is online only the difference is looked
at: all that a sync would write or remove, with what lies there now. Shares of the whole follow from it, so a sync with
little to send judges little. docs/guides/guards.md defines each guard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from feature_warehouse.errors import DataError, StoreError
from feature_warehouse.mirror.difference import Comparison, Difference
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.guards import Guards
from feature_warehouse.warehouse.extent import Extent
from feature_warehouse.warehouse.spool import Spool
from feature_warehouse.wire.decode import BatchDecoder
from feature_warehouse.wire.marker import Marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one guard of one feature saw."""

    feature: str
    guard: str  # 'max_null_jump'
    limit: str  # '20%'
    seen: str  # a phrase: 'NULL in 35% of its rows, in 2% of those online'
    holds: bool

    def __str__(self) -> str:
        return f"{self.feature} {self.seen} ({self.guard} {self.limit}{': held' * self.holds})"

    def refusal(self, view: str) -> DataError:
        return DataError(
            f"{view}: {self.feature} {self.seen}, and its guard is {self.guard} {self.limit}",
            "see what upstream has sent; if the values are right, publish them once with --allow-guarded",
        )


@dataclass(slots=True)
class _Counts:
    """Of one feature, over what would be written or removed."""

    nulls_wanted: int = 0
    nulls_online: int = 0
    changed: int = 0


def judge_features(
    view: FeatureView,
    guards: Mapping[str, Guards],
    extents: Mapping[str, Extent],
    wanted: Spool,
    online: Spool,
    difference: Difference,
    before: Marker | None,
    comparison: Comparison,
) -> list[Verdict]:
    """What the guards of a view's features see; features that nobody reads online are not judged."""
    judged = {feature.name: guards[feature.name] for feature in view.numbered if feature.name in guards}
    types = {feature.name: feature.type for feature in view.numbered}
    numbers = {feature.name: feature.number or 0 for feature in view.numbered}
    there = before.complete_through if before and before.as_of and online.rows else 0
    compared = [name for name, each in judged.items() if each.compares and numbers[name] <= there]
    counts = _count(view, compared, online, difference, comparison) if compared else {}
    stay = wanted.rows - difference.added
    found: list[Verdict] = []
    for name, each in judged.items():
        extent = extents[name]
        if each.range is not None:
            found.append(_range(name, each.range, types[name], extent))
        if name in counts:
            found += _shares(name, each, extent, counts[name], wanted.rows, stay, stay + difference.removals.rows)
    return found


def _range(name: str, ends: tuple[int | float, int | float], type_: str, extent: Extent) -> Verdict:
    low, high = (_end(end, type_) for end in ends)
    outside = extent.smallest is not None and not (low <= extent.smallest and extent.largest <= high)
    reach = "has no number" if extent.smallest is None else f"reaches from {extent.smallest} to {extent.largest}"
    return Verdict(
        feature=name,
        guard="range",
        limit=f"[{ends[0]}, {ends[1]}]",
        seen=f"{reach}{f' and is NaN in {extent.nans:,} rows' if extent.nans else ''}",
        holds=outside or extent.nans > 0,
    )


def _end(end: int | float, type_: str) -> Any:
    """An end of a range as a value of the feature's type would be, so that [0, 0.1] takes what was written as 0.1."""
    if type_ == "float":
        return struct.unpack("f", struct.pack("f", end))[0]
    return end if type_ == "double" else Decimal(repr(end))


def _shares(
    name: str, guards: Guards, extent: Extent, counts: _Counts, rows: int, stay: int, online: int
) -> Iterator[Verdict]:
    """``rows``: wanted; ``online``: entities there now; ``stay``: entities on both sides."""
    if guards.max_null_jump is not None and rows and online:
        now = Fraction(extent.nulls - counts.nulls_wanted + counts.nulls_online, online)
        then = Fraction(extent.nulls, rows)
        yield Verdict(
            feature=name,
            guard="max_null_jump",
            limit=f"{guards.max_null_jump}",
            seen=f"would be NULL in {float(then):.1%} of its rows, and is in {float(now):.1%} of those online",
            holds=then - now > Fraction(repr(guards.max_null_jump)),
        )
    if guards.max_changed_share is not None and stay:
        share = Fraction(counts.changed, stay)
        yield Verdict(
            feature=name,
            guard="max_changed_share",
            limit=f"{guards.max_changed_share}",
            seen=f"would be another value for {float(share):.1%} of the entities that stay",
            holds=share > Fraction(repr(guards.max_changed_share)),
        )


def _count(
    view: FeatureView, features: Sequence[str], online: Spool, difference: Difference, comparison: Comparison
) -> dict[str, _Counts]:
    decoder = BatchDecoder(view, features)
    found = {name: _Counts() for name in features}
    for wanted, there in comparison.pairs(difference, online):
        pairs = zip(_columns(decoder, wanted, len(found)), _columns(decoder, there, len(found)), strict=True)
        for counts, (of_wanted, of_online) in zip(found.values(), pairs, strict=True):
            for one, other in zip(of_wanted, of_online, strict=True):
                counts.nulls_wanted += one is None
                counts.nulls_online += other is None
                counts.changed += one is not _ABSENT and other is not _ABSENT and not _same(one, other)
    return found


#: In the place of a value whose row is not there, or cannot be read.
_ABSENT = object()


def _columns(decoder: BatchDecoder, messages: Sequence[bytes | None], features: int) -> list[list[Any]]:
    """Per feature a column of N values; what lies in Redis may be no message, which a sync mends."""
    there = [(row, message) for row, message in enumerate(messages) if message is not None]
    columns: Sequence[Sequence[Any]]
    try:
        columns = decoder.decode([message for _, message in there], [b""] * len(there)).features if there else ()
    except StoreError:
        there, columns = _readable(decoder, there)
    found: list[list[Any]] = [[_ABSENT] * len(messages) for _ in range(features)]
    for column, values in zip(found, columns, strict=True) if there else ():
        for (row, _), value in zip(there, values, strict=True):
            column[row] = value
    return found


def _readable(
    decoder: BatchDecoder, there: Iterable[tuple[int, bytes]]
) -> tuple[list[tuple[int, bytes]], list[list[Any]]]:
    rows, read = [], []
    for row, message in there:
        try:
            read.append([column[0] for column in decoder.decode([message], [b""]).features])
        except StoreError:
            continue
        rows.append((row, message))
    return rows, [list(column) for column in zip(*read, strict=True)]


def _same(one: Any, other: Any) -> bool:
    """Equal as values: a NaN is one, also in a list, and 0.0 is -0.0."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))
