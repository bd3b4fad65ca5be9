"""How far back a value reaches: in all and into each source; the longest of several, the sum of one over another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from feature_warehouse.sql.algebra import Content

Kind = Literal["bounded", "unknown", "unbounded"]

_KINDS: list[Kind] = ["bounded", "unknown", "unbounded"]


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far before a row's event time its value reaches.

    bounded: ``span``, at most; a month counts as 31 days, a year as 366. unbounded or unknown: ``where``, one sentence
    for each place.
    """

    kind: Kind = "bounded"
    span: timedelta = timedelta(0)
    where: tuple[str, ...] = ()


#: By source; under '' of the value as a whole.
Reach = Mapping[str, Lookback]

NO_REACH = Lookback()


def everywhere(own: Lookback, sources: Iterable[str]) -> Reach:
    return dict.fromkeys(["", *sources], own)


def leaves(content: Content) -> set[str]:
    """The sources below a content."""
    if content.kind in ("leaf", "text"):
        below = set() if content.texts[0] == "itself" else {content.texts[0]}
    else:
        below = set()
    return below.union(*(leaves(instance.content) for block in content.blocks for instance in block.instances()))


def longest(parts: Iterable[Reach]) -> Reach:
    """Side by side: the longest."""
    found = list(parts)
    sources = dict.fromkeys(["", *(source for part in found for source in part)])
    return {source: _longest([part[source] for part in found if source in part]) for source in sources}


def total(one: Reach, other: Reach) -> Reach:
    """One over the other: the sum."""
    sources = dict.fromkeys([*one, *other])
    pairs = {source: (one.get(source, NO_REACH), other.get(source, NO_REACH)) for source in sources}
    return {source: replace(_longest(pair), span=pair[0].span + pair[1].span) for source, pair in pairs.items()}


def _longest(parts: Sequence[Lookback]) -> Lookback:
    worst: Kind = max((part.kind for part in parts), key=_KINDS.index, default="bounded")
    where = tuple(dict.fromkeys(one for part in parts if part.kind == worst for one in part.where))
    return Lookback(worst, max((part.span for part in parts), default=timedelta(0)), where)
