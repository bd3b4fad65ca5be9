"""How far before a row's event time a feature reaches, from the algebra of its SQL: in all, and into each source.

Spans add up where one is computed over another, and the longest counts where they stand side by side. A window or an
aggregate reaches as far into every source whose rows it takes in, also into those that only say which rows there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from feature_warehouse.sql.algebra import ASOF, Arg, Attachment, Block, Content, Instance, Term, flat
from feature_warehouse.sql.rolling import windows
from feature_warehouse.sql.types import INTEGERS, type_of

Kind = Literal["bounded", "unknown", "unbounded"]

_KINDS: list[Kind] = ["bounded", "unknown", "unbounded"]

_DAY = timedelta(days=1)

_TIMES = {"date", "timestamp", "timestamptz"}


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

_HERE = Lookback()


@dataclass(frozen=True, slots=True)
class Stated:
    """The look-back of a column of ``node`` over what the node reads, as the macro that wrote its SQL says."""

    node: str
    span: timedelta


def stated(sql: str) -> dict[str, timedelta]:
    """By column, what `rolling_features` says at the head of its SQL. Its running totals take away what has left the
    window, and its trees count rows, so that the algebra does not see an end."""
    return windows(sql)


def reach(value: Term, block: Block, told: Mapping[object, Stated]) -> Reach:
    """block: what the feature needs of its view, without what only its neighbours read (``Digests.kept``).
    told: by ``shape`` of a term."""
    return _Reaches(told).of(value, block)


def shape(term: Term) -> object:
    """Equal for the same term in another use of its model."""

    def of(arg: Arg) -> object:
        if isinstance(arg, Term):
            return shape(arg)
        return tuple(map(of, arg)) if isinstance(arg, tuple) else (type(arg), arg)

    if term.op == "ref":
        instance, what = term.args
        assert isinstance(instance, Instance)
        return (term.op, instance.content.written or instance.content, of(what))
    return (term.op, *map(of, term.args))


class _Reaches:
    def __init__(self, told: Mapping[object, Stated], within: str = "") -> None:
        """within: a node whose own windows are accounted for."""
        self._told = told
        self._within = within
        self._known: dict[Term, Reach] = {}

    def of(self, term: Term, block: Block) -> Reach:
        return self._of(term, {a.right: a for a in block.attachments})

    def _of(self, term: Term, joined: Mapping[Instance, Attachment]) -> Reach:
        if term not in self._known:
            said = self._told.get(shape(term)) if self._told else None
            if said is not None and said.node != self._within:
                below = _Reaches(self._told, said.node)._of(term, joined)
                self._known[term] = total(everywhere(Lookback(span=said.span), below), below)
            else:
                self._known[term] = self._new(term, joined)
        return self._known[term]

    def _new(self, term: Term, joined: Mapping[Instance, Attachment]) -> Reach:
        if term.op != "ref":
            parts = [self._of(child, joined) for child in term.children()]
            unknown = Lookback("unknown", where=("a subquery's rows are not bounded by a time that is known here",))
            parts += [everywhere(unknown, leaves(arg)) for arg in flat(term.args) if isinstance(arg, Content)]
            return longest(parts)
        instance, what = term.args
        assert isinstance(instance, Instance)
        content = instance.content
        if not isinstance(what, Term):
            own = _HERE
            if content.kind == "text" and content.texts[0] == self._within:
                return longest(self._of(one, {}) for one in flat(content.terms) if isinstance(one, Term))
            if content.kind == "text":
                own = Lookback("unknown", where=(f"the SQL of `{content.texts[0]}` is not understood",))
            elif content.kind == "leaf" and content.texts[0] == "itself":
                own = Lookback("unbounded", where=("the model reads its own earlier rows",))
            return everywhere(own, leaves(content))
        inner = {a.right: a for block in content.blocks for a in block.attachments}
        settled = bool(self._within) and content.place.endswith(f"`{self._within}`")
        if what.op in ("window", "aggregate"):
            arguments = longest([self._of(arg, inner) for arg in self._values(what, content)])
            if what.op == "window":
                sources = [source for instance in _taken(what, content) for source in leaves(instance.content)]
                spans = everywhere(self._window(what, content.place), sources)
            else:
                spans, whole_days = self._aggregate(what, content)
                if not settled:
                    arguments = longest([arguments, whole_days])
            return total(everywhere(_HERE, spans) if settled else spans, arguments)
        below = self._of(what, inner)
        attachment = joined.get(instance)
        if settled:
            return below
        if attachment is not None and attachment.kind in ASOF:
            last = Lookback("unbounded", where=(f"an ASOF join in {content.place} takes the last row, however old",))
            return longest([below, everywhere(last, leaves(content))])
        if content.kind in ("limit", "distinct on"):
            picked = Lookback("unbounded", where=(f"{content.kind} in {content.place} picks rows of any age",))
            return longest([below, everywhere(picked, leaves(content))])
        return below

    def _values(self, computed: Term, content: Content) -> Iterator[Term]:
        """What a window or an aggregate computes with, but for the filter that bounds its time."""
        fixed = frozenset[Term]().union(*(key.refs for key in flat(content.terms) if isinstance(key, Term)))
        rows = [instance for block in content.blocks for instance in block.instances()]
        for arg in computed.args[1:2]:
            yield from (value for value in flat((arg,)) if isinstance(value, Term))
        for kept in _filter(computed):
            if not any(bound for instance in rows for bound in _bounds(kept, fixed, instance)):
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
        key, backwards = flat(order)[:2]
        assert isinstance(key, Term)
        kind, start = frame[0], _mirrored(frame[2]) if backwards else frame[1]
        if (type_of(key) or "date") not in _TIMES:
            return Lookback("unbounded", where=(f"{name}() in {place} reads rows in an order that is not of time",))
        if start == "unbounded preceding":
            return Lookback("unbounded", where=(f"{name}() in {place} reads all rows before",))
        if not isinstance(start, tuple) or start[1] == "following":
            return _HERE
        span = _span(start[0]) if isinstance(start[0], Term) else None
        if kind == "range" and span is not None:
            return Lookback(span=span)
        if kind == "rows":
            return Lookback("unknown", where=(f"{name}() in {place} reads a number of rows, of any age",))
        return Lookback("unknown", where=(f"the frame of {name}() in {place} is not understood",))

    def _aggregate(self, aggregate: Term, content: Content) -> tuple[Reach, Reach]:
        """Of rows that are grouped: bounded by a condition between their time and the group's, or by a key that is
        their time. Also a day for what is bounded by a number of days: the first one counts from its midnight."""
        [block] = content.blocks
        name, place = aggregate.args[0], content.place
        keys = [term for term in flat(content.terms) if isinstance(term, Term)]
        fixed = frozenset[Term]().union(*(key.refs for key in keys))
        conditions = [*block.conditions, *(term for a in block.attachments for term in a.on), *_filter(aggregate)]
        taken = _taken(aggregate, content)
        bounds = {
            instance: min(found)
            for instance in taken
            if (found := [bound for condition in conditions for bound in _bounds(condition, fixed, instance)])
        }
        if bounds:
            # what is joined to rows that are bounded, without a time of its own, is of their time
            spans = {instance: bounds.get(instance, max(bounds.values())) for instance in taken}
            own = longest(everywhere(Lookback(span=span), leaves(i.content)) for i, (span, _) in spans.items())
            whole_days = (
                everywhere(Lookback(span=_DAY), leaves(i.content)) for i, (_, dates) in spans.items() if dates
            )
            return own, longest(whole_days)
        sources = {source for instance in taken for source in leaves(instance.content)}
        rows = {ref.args[0] for ref in aggregate.refs} or set(block.instances())
        grains = [
            grain for key in keys if any(ref.args[0] in rows for ref in key.refs) and (grain := _grain(key)) is not None
        ]
        if grains:
            return everywhere(Lookback(span=min(grains)), sources), {}
        if any(
            condition.op in ("<", "<=", "between")
            and any(ref.args[0] in rows for ref in condition.refs)
            and not (condition.op != "between" and _last(condition).refs and _last(condition).refs <= fixed)
            for condition in conditions
        ) or any(
            condition.op == "=" and any(child.op != "ref" and child.refs for child in condition.children())
            for condition in conditions
        ):
            unknown = Lookback("unknown", where=(f"the times of the rows that {name}() in {place} reads",))
            return everywhere(unknown, sources), {}
        whole = Lookback("unbounded", where=(f"{name}() in {place} reads all rows of its group",))
        return everywhere(whole, sources), {}


def everywhere(own: Lookback, sources: Iterable[str]) -> Reach:
    return dict.fromkeys(["", *sources], own)


def leaves(content: Content) -> set[str]:
    """The sources below a content."""
    if content.kind in ("leaf", "text"):
        below = set() if content.texts[0] == "itself" else {content.texts[0]}
    else:
        below = set()
    return below.union(*(leaves(instance.content) for block in content.blocks for instance in block.instances()))


def _taken(computed: Term, content: Content) -> list[Instance]:
    """What a window or an aggregate takes any number of rows of.

    All that is joined may drop rows, but for the right side of a left join that it does not read, and for what only
    gives the group its keys: a calendar, a list of entities.
    """
    attached = {a.right: a for block in content.blocks for a in block.attachments}
    wanted = [ref.args[0] for ref in computed.refs]
    for instance in wanted:  # and what these are joined by
        if isinstance(instance, Instance) and instance in attached:
            refs = {ref.args[0] for term in attached[instance].on for ref in term.refs}
            wanted += [other for other in refs if other not in wanted]
    read = {ref.args[0] for ref in computed.refs}
    keys = {ref.args[0] for term in flat(content.terms) if isinstance(term, Term) for ref in term.refs}
    joined = [
        instance
        for block in content.blocks
        for instance in block.instances()
        if instance in wanted or instance not in attached or not attached[instance].kind.endswith("left")
    ]
    return [instance for instance in joined if instance in read or instance not in keys] or joined


def _mirrored(end: Arg) -> Arg:
    """The end of a frame whose rows come latest first, as its start were they to come earliest first."""
    sides = {"following": "preceding", "preceding": "following"}
    if isinstance(end, tuple):
        return (end[0], sides[str(end[1])])
    return " ".join(sides.get(word, word) for word in str(end).split())


def longest(parts: Iterable[Reach]) -> Reach:
    """Side by side: the longest."""
    found = list(parts)
    sources = dict.fromkeys(["", *(source for part in found for source in part)])
    return {source: _longest([part[source] for part in found if source in part]) for source in sources}


def total(one: Reach, other: Reach) -> Reach:
    """One over the other: the sum."""
    sources = dict.fromkeys([*one, *other])
    pairs = {source: (one.get(source, _HERE), other.get(source, _HERE)) for source in sources}
    return {source: replace(_longest(pair), span=pair[0].span + pair[1].span) for source, pair in pairs.items()}


def _longest(parts: Sequence[Lookback]) -> Lookback:
    worst: Kind = max((part.kind for part in parts), key=_KINDS.index, default="bounded")
    where = tuple(dict.fromkeys(one for part in parts if part.kind == worst for one in part.where))
    return Lookback(worst, max((part.span for part in parts), default=timedelta(0)), where)


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
        return timedelta(days=366 * (months // 12) + 31 * (months % 12) + days, microseconds=micros)
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


def _bounds(condition: Term, fixed: frozenset[Term], rows: Instance) -> Iterator[tuple[timedelta, bool]]:
    """Of ``group's time - span <= time of one of rows``: the span, and whether the times are dates."""
    if condition.op not in ("<", "<="):
        return
    low, high = (_shifted(term) for term in condition.children())
    if low is None or high is None or INTEGERS & {type_of(low[0]), type_of(high[0])}:
        return
    if low[0].refs <= fixed and not high[0].refs & fixed and all(ref.args[0] is rows for ref in high[0].refs):
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
