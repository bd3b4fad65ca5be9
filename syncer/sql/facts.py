"""What a feature's meaning says beside its value: source columns, look-back, clocks and chance.

Reads algebra, no SQL. ``facts`` takes a block and the terms of one feature as ``changes`` compares them, so that a fact
and a fingerprint never speak of different columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from syncer.sql.algebra import ASOF, ORDER, PHYSICAL, Attachment, Block, Content, Instance, Term, flat, type_of
from syncer.sql.functions import CURRENT_TIME, PICKING_AGGREGATES, RANDOM

Source = tuple[str, str]  # relation, column
Kind = Literal["bounded", "unknown", "unbounded"]


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far before a row's event time its value reaches.

    bounded: ``span``, at most; a month counts as 31 days. unbounded or unknown: ``where``, one sentence for each place.
    """

    kind: Kind
    span: timedelta = timedelta(0)
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one feature. The tuples are sorted, without duplicates.

    sources: the source columns that its values come from; row_sources: those that decide which rows there are.
    naive: timestamps without a zone that are read outside of AT TIME ZONE. current_time: functions of the clock.
    nondeterministic: what may give another value on the same data. open_ties: what picks any of several equal rows.
    """

    sources: tuple[Source, ...]
    row_sources: tuple[Source, ...]
    lookback: Lookback
    naive: tuple[str, ...]
    current_time: tuple[str, ...]
    nondeterministic: tuple[str, ...]
    open_ties: tuple[str, ...]


def facts(block: Block, keys_and_times: Iterable[Term], value: Term) -> Facts:
    """block: what the feature needs of its view, without what only its neighbours read (``Digests.kept``)."""
    values, rows = Walk(), Walk()
    values.term(value, zoned=False)
    rows.block(block)
    for term in keys_and_times:
        rows.term(term, zoned=False)
    both = (values, rows)

    def found(*names: str) -> tuple[str, ...]:
        return tuple(sorted({one for walk in both for name in names for one in getattr(walk, name)}))

    return Facts(
        sources=tuple(sorted(values.sources)),
        row_sources=tuple(sorted(rows.sources)),
        lookback=_Lookbacks().of(value, block),
        naive=found("naive"),
        current_time=found("current_time"),
        nondeterministic=found("chance"),
        open_ties=found("ties"),
    )


class Walk:
    """Everything that terms and blocks reach, down to the sources."""

    def __init__(self) -> None:
        self.sources: set[Source] = set()
        self.naive: set[str] = set()
        self.current_time: set[str] = set()
        self.chance: set[str] = set()
        self.ties: set[str] = set()
        self._seen: set[object] = set()

    def term(self, term: Term, *, zoned: bool) -> None:
        """zoned: below AT TIME ZONE, where a timestamp without a zone is meant."""
        if (term, zoned) in self._seen:
            return
        self._seen.add((term, zoned))
        if term.op == "ref":
            self._column(term, zoned)
            return
        if term.op in ("cast", "try cast") and term.args[0] == "timestamp" and not zoned:
            self.naive.add("a cast to timestamp")
        if term.op in ("call", "aggregate", "window"):
            self._function(term)
        for arg in flat(term.args):
            if isinstance(arg, Content):
                self._content(arg)
            elif isinstance(arg, Term):
                self.term(arg, zoned=zoned or term.op == "at time zone")

    def _function(self, term: Term) -> None:
        name = str(term.args[0])
        if name in CURRENT_TIME:
            self.current_time.add(f"{name}()")
        elif name in RANDOM:
            self.chance.add(f"{name}()")
        elif not term.pure and not any(not child.pure for child in term.children()):
            self.chance.add(f"{name}() (not known here)")
        marks = {child.op for child in term.children()} & {ORDER, PHYSICAL}
        if PHYSICAL in marks:
            self.chance.add(f"{name}() without an order")
        elif ORDER in marks and name in PICKING_AGGREGATES:
            self.ties.add(f"{name}(): of several rows that tie, any")

    def _column(self, ref: Term, zoned: bool) -> None:
        instance, what = ref.args
        assert isinstance(instance, Instance)
        content = instance.content
        if isinstance(what, Term):
            self.term(what, zoned=zoned)
            return
        if content.kind in ("leaf", "text"):
            self.sources.add((content.texts[0], str(what)))
            if type_of(ref) == "timestamp" and not zoned:
                self.naive.add(f"{content.texts[0]}.{what}")
        elif content.kind in ("function", "values"):
            for arg in flat(content.terms):
                if isinstance(arg, Term):
                    self.term(arg, zoned=zoned)
        else:  # a column of EXCEPT or INTERSECT, by position
            for branch in content.terms:
                if isinstance(branch, tuple) and str(what).isdigit():
                    column = branch[int(str(what))]
                    if isinstance(column, Term):
                        self.term(column, zoned=zoned)

    def block(self, block: Block) -> None:
        for attachment in block.attachments:
            for term in attachment.on:
                self.term(term, zoned=False)
        for term in block.conditions:
            self.term(term, zoned=False)
        for instance in block.instances():
            self._content(instance.content)

    def _content(self, content: Content) -> None:
        if content in self._seen:
            return
        self._seen.add(content)
        for block in content.blocks:
            self.block(block)
        for arg in flat(content.terms):
            if isinstance(arg, Term):
                self.term(arg, zoned=False)
        if content.kind in ("limit", "distinct on") and not content.terms[0]:
            self.chance.add(f"{content.kind} without an order")


# -- look-back -----------------------------------------------------------------

_DAY = timedelta(days=1)


class _Lookbacks:
    """Spans add up where one is computed over another, and the longest counts where they stand side by side."""

    def __init__(self) -> None:
        self._known: dict[Term, Lookback] = {}
        self._place = ""

    def of(self, term: Term, block: Block) -> Lookback:
        joined = {a.right: a for a in block.attachments}
        return self._of(term, joined)

    def _of(self, term: Term, joined: dict[Instance, Attachment]) -> Lookback:
        if term not in self._known:
            self._known[term] = self._new(term, joined)
        return self._known[term]

    def _new(self, term: Term, joined: dict[Instance, Attachment]) -> Lookback:
        if term.op != "ref":
            parts = [self._of(child, joined) for child in term.children()]
            if term.queries:
                parts.append(
                    Lookback("unknown", where=("a subquery's rows are not bounded by a time that is known here",))
                )
            return longest(parts)
        instance, what = term.args
        assert isinstance(instance, Instance)
        content = instance.content
        if not isinstance(what, Term):
            if content.kind == "text":
                return Lookback("unknown", where=(f"the SQL of `{content.texts[0]}` is not understood",))
            if content.kind == "leaf" and content.texts[0] == "itself":
                return Lookback("unbounded", where=("the model reads its own earlier rows",))
            return Lookback("bounded")
        inner = {a.right: a for block in content.blocks for a in block.attachments}
        if what.op in ("window", "aggregate"):
            arguments = longest([self._of(arg, inner) for arg in self._values(what, content)])
            if what.op == "window":
                return total(self._window(what, content.place), arguments)
            own, whole_days = self._aggregate(what, content)
            # of dates, the first one counts from its midnight; where days were totalled before, that is in already
            return total(own, longest([arguments, Lookback("bounded", _DAY)]) if whole_days else arguments)
        below = self._of(what, inner)
        attachment = joined.get(instance)
        if attachment is not None and attachment.kind in ASOF:
            place = content.place
            return longest(
                [below, Lookback("unbounded", where=(f"an ASOF join in {place} takes the last row, however old",))]
            )
        if content.kind in ("limit", "distinct on"):
            return longest(
                [below, Lookback("unbounded", where=(f"{content.kind} in {content.place} picks rows of any age",))]
            )
        return below

    def _values(self, computed: Term, content: Content) -> Iterator[Term]:
        """What a window or an aggregate computes with, but for the filter that bounds its time."""
        fixed = frozenset[Term]().union(*(key.refs for key in flat(content.terms) if isinstance(key, Term)))
        for arg in computed.args[1:2]:
            yield from (value for value in flat((arg,)) if isinstance(value, Term))
        for kept in _filter(computed):
            if not any(_bounds(kept, fixed)):
                yield kept

    def _window(self, window: Term, place: str) -> Lookback:
        name, _, partition, order, frame = window.args[:5]
        assert isinstance(order, tuple)
        assert isinstance(partition, tuple)
        grains = [grain for key in partition if isinstance(key, Term) and (grain := _grain(key)) is not None]
        if isinstance(frame, tuple) and frame[:1] == ("range",) and isinstance(frame[1], tuple):
            pass  # bounded by itself
        elif grains:
            return Lookback("bounded", min(grains))
        if name in ("rank", "dense_rank", "row_number", "percent_rank", "cume_dist", "ntile"):
            return Lookback("unbounded", where=(f"{name}() in {place} counts all rows before",))
        if name in ("lag", "lead") and not frame:
            return Lookback("unbounded", where=(f"{name}() in {place} reads another row, of any age",))
        if not order or not frame:
            return Lookback("unbounded", where=(f"{name}() in {place} reads its whole partition",))
        assert isinstance(frame, tuple)
        kind, start = frame[0], frame[1]
        if start == "unbounded preceding":
            return Lookback("unbounded", where=(f"{name}() in {place} reads all rows before",))
        if start == "current row":
            return Lookback("bounded")
        if isinstance(start, tuple) and isinstance(start[0], Term):
            span = _span(start[0])
            if kind == "range" and span is not None:
                return Lookback("bounded", span if start[1] == "preceding" else timedelta(0))
            if kind == "rows" and start[1] == "preceding":
                return Lookback("unknown", where=(f"{name}() in {place} reads a number of rows, of any age",))
        return Lookback("unknown", where=(f"the frame of {name}() in {place} is not understood",))

    def _aggregate(self, aggregate: Term, content: Content) -> tuple[Lookback, bool]:
        """Of rows that are grouped: bounded by a condition between their time and the group's, or by a key that is
        their time. Also whether that is a number of days, both ends included."""
        [block] = content.blocks
        name, place = aggregate.args[0], content.place
        keys = [term for term in flat(content.terms) if isinstance(term, Term)]
        fixed = frozenset[Term]().union(*(key.refs for key in keys))
        conditions = [*block.conditions, *(term for a in block.attachments for term in a.on)]
        conditions += _filter(aggregate)
        bounds = [bound for condition in conditions for bound in _bounds(condition, fixed)]
        if bounds:
            span, dates = min(bounds)
            return Lookback("bounded", span), dates
        own = {ref.args[0] for ref in aggregate.refs} or set(block.instances())
        grains = [
            grain for key in keys if any(ref.args[0] in own for ref in key.refs) and (grain := _grain(key)) is not None
        ]
        if grains:
            return Lookback("bounded", min(grains)), False
        if any(
            condition.op in ("<", "<=", "between")
            and any(ref.args[0] in own for ref in condition.refs)
            and not (condition.op != "between" and _last(condition).refs and _last(condition).refs <= fixed)
            for condition in conditions
        ) or any(
            condition.op == "=" and any(child.op != "ref" and child.refs for child in condition.children())
            for condition in conditions
        ):
            return Lookback("unknown", where=(f"the times of the rows that {name}() in {place} reads",)), False
        return Lookback("unbounded", where=(f"{name}() in {place} reads all rows of its group",)), False


def longest(parts: Iterable[Lookback]) -> Lookback:
    """Side by side: the longest."""
    found = list(parts)
    worst: Kind = max((part.kind for part in found), key=_KINDS.index, default="bounded")
    where = tuple(dict.fromkeys(one for part in found if part.kind == worst for one in part.where))
    return Lookback(worst, max((part.span for part in found), default=timedelta(0)), where)


def total(*parts: Lookback) -> Lookback:
    """One over the other: the sum."""
    whole = longest(parts)
    return Lookback(whole.kind, sum((part.span for part in parts), timedelta(0)), whole.where)


_KINDS: list[Kind] = ["bounded", "unknown", "unbounded"]


def _conjuncts(term: Term) -> Iterator[Term]:
    if term.op == "and":
        for child in term.children():
            yield from _conjuncts(child)
    else:
        yield term


def _last(term: Term) -> Term:
    return term.children()[-1]


def _filter(aggregate: Term) -> list[Term]:
    """The conditions of FILTER."""
    return [
        part
        for arg in aggregate.args
        if isinstance(arg, tuple) and arg[:1] == ("filter",)
        for kept in arg[1:]
        if isinstance(kept, Term)
        for part in _conjuncts(kept)
    ]


def _span(term: Term) -> timedelta | None:
    """The length of a constant interval, or of a number of days."""
    if term.op == "interval" and len(term.args) == 3:
        months, days, micros = (int(str(arg)) for arg in term.args)
        return timedelta(days=31 * months + days, microseconds=micros)
    if term.op == "number" and str(term.args[0]).isdigit():
        return timedelta(days=int(str(term.args[0])))
    return None


def _shifted(term: Term) -> tuple[Term, timedelta, bool] | None:
    """A term as another plus a constant span; whether that span was a number of days, so that these are dates."""
    if term.op in ("+", "+ of scalars", "-"):
        one, two = term.children()
        for base, shift in ((one, two), (two, one)):
            span = _span(shift)
            if span is not None and base.refs and (term.op != "-" or shift is two):
                below = _shifted(base)
                if below is None:
                    return None
                days = shift.op == "number"
                return below[0], below[1] + (-span if term.op == "-" else span), below[2] or days
    return (term, timedelta(0), False) if term.refs else None


def _bounds(condition: Term, fixed: frozenset[Term]) -> Iterator[tuple[timedelta, bool]]:
    """Of ``group's time - span <= row's time``: the span, and whether the times are dates."""
    if condition.op not in ("<", "<="):
        return
    low, high = (_shifted(term) for term in condition.children())
    if low is not None and high is not None and low[0].refs <= fixed and not high[0].refs & fixed:
        span = high[1] - low[1]
        if span >= timedelta(0):
            yield span, low[2] or high[2] or "date" in (type_of(low[0]), type_of(high[0]))


_GRAINS = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": _DAY,
    "week": timedelta(days=7), "month": timedelta(days=31), "quarter": timedelta(days=92), "year": timedelta(days=366),
}  # fmt: skip


def _grain(key: Term) -> timedelta | None:
    """How long the rows of one value of a key are apart at most; None where the key is no time."""
    if (key.op == "cast" and key.args[0] == "date") or type_of(key) == "date":
        return _DAY
    if type_of(key) in ("timestamp", "timestamptz") and key.op == "ref":
        return timedelta(0)
    if key.op == "call" and isinstance(key.args[1], tuple) and key.args[1]:
        first = key.args[1][0]
        if key.args[0] == "date_trunc" and isinstance(first, Term) and first.op == "text":
            return _GRAINS.get(str(first.args[0]).lower())
        if key.args[0] == "time_bucket" and isinstance(first, Term):
            return _span(first)
    if key.op in ("at time zone", "cast"):
        return next((grain for child in key.children() for grain in [_grain(child)] if grain is not None), None)
    return None
