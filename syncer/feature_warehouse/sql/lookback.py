"""How far before a row's event time a feature reaches, from the algebra of its SQL: in all, and into each source.

What is known of the times of rows (``times``) is carried from the event time down to the sources, through joins,
frames of windows and keys of groups. Where it is lost there is no end, or none that is known; so a look-back is never
shorter than the SQL's. A window or an aggregate reaches as far into every source whose rows it takes in, also into
those that only say which rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from feature_warehouse.sql.algebra import ASOF, Arg, Block, Content, Instance, Term, flat
from feature_warehouse.sql.reach import NO_REACH, Lookback, Reach, everywhere, leaves, longest
from feature_warehouse.sql.rewritings import conjuncts
from feature_warehouse.sql.rolling import windows
from feature_warehouse.sql.times import HERE, TIMES, Offset, Times, columns_of, constant_span, grain
from feature_warehouse.sql.types import type_of

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Stated:
    """The look-back of a column of ``node`` over what the node reads, as the macro that wrote its SQL says."""

    node: str
    span: timedelta


def stated(sql: str) -> dict[str, timedelta]:
    """By column, what `rolling_features` says at the head of its SQL. Its running totals take away what has left the
    window, and its trees count rows, so that the algebra does not see an end."""
    return windows(sql)


class Lookbacks:
    """Of the values that stand in the rows of one block; what many of them rest on is followed once.

    event: the view's event time. block: what the features need of their view, without what only others read
    (``Digests.kept``). told: by ``shape`` of a term.
    """

    def __init__(self, event: Term, block: Block, told: Mapping[object, Stated]) -> None:
        times = Times()
        times.narrow(event, HERE)
        self._rows, self._told = _Rows(block, times), told

    def of(self, value: Term) -> tuple[Reach, tuple[str, ...]]:
        """And what reads rows after the event time, in words."""
        found = _Reaches(self._told)
        reached = found.of(value, self._rows)
        if shape(value) not in self._told:
            reached = longest([reached, found.of_rows(self._rows)])
        return reached, tuple(sorted(found.ahead))


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


class _Rows:
    """The rows of a block, and what is known of their times."""

    def __init__(self, block: Block, times: Times, *, grouped: bool = False, settled: bool = False) -> None:
        """grouped: many of them are taken in at once, and how far that reaches is said where they are. settled: how
        they are bounded is accounted for."""
        self.block = block
        self.times = times if settled else times.met(block.conditions)
        for attachment in block.attachments if not settled else ():
            self.times = self.times.met(attachment.on, attachment.right)
        self.grouped = grouped
        self.settled = settled
        self.joined = {attachment.right: attachment for attachment in block.attachments}
        self.conditions = [*block.conditions, *(term for a in block.attachments for term in a.on)]
        self.known: dict[Term, tuple[Reach, set[str]]] = {}
        self.reached: dict[object, tuple[Reach | None, set[str]]] = {}
        self.whole: dict[None, tuple[Reach, set[str]]] = {}
        self.below: dict[Instance, list[_Rows]] = {}
        self.narrowed: dict[object, _Rows] = {}

    def where(self, key: object, make: Callable[[], _Rows]) -> _Rows:
        """These rows with more known of them, made once for each key."""
        if key not in self.narrowed:
            self.narrowed[key] = make()
        return self.narrowed[key]


class _Reaches:
    """Follows a value down to the sources."""

    def __init__(self, told: Mapping[object, Stated], within: str = "") -> None:
        """within: a node whose own windows are accounted for."""
        self._told = told
        self._within = within
        self.ahead: set[str] = set()

    def of(self, term: Term, rows: _Rows) -> Reach:
        return self._once(rows.known, term, lambda: self._said_or_new(term, rows))

    def _once(self, known: dict[_Key, tuple[_Found, set[str]]], key: _Key, find: Callable[[], _Found]) -> _Found:
        """What is found once; what it says of rows that lie ahead goes with it each time."""
        if key not in known:
            before, self.ahead = self.ahead, set()
            try:
                known[key] = find(), self.ahead
            finally:
                self.ahead = before
        found, ahead = known[key]
        self.ahead |= ahead
        return found

    def _said_or_new(self, term: Term, rows: _Rows) -> Reach:
        said = self._told.get(shape(term)) if self._told else None
        if said is None or said.node == self._within:
            return self._new(term, rows)
        # as far as it says before what its own rows reach to
        loose = _Rows(rows.block, Times(is_loose=True), grouped=rows.grouped, settled=True)
        below = {"": NO_REACH} | dict(_Reaches(self._told, said.node).of(term, loose))
        own = [rows.times.earliest(ref.args[0]) for ref in term.refs if isinstance(ref.args[0], Instance)]
        span = said.span + max((-one for one in own if one is not None), default=timedelta(0))
        return {source: replace(one, span=one.span + span) for source, one in below.items()}

    def _new(self, term: Term, rows: _Rows) -> Reach:
        if term.op == "ref":
            return self._column(term, rows)
        if term.op == "case" and len(term.args) == 3 and not term.children()[-1].refs:
            # a row counts only where the condition holds; one that is gone fulfils none
            rows = _Rows(rows.block, rows.times.met(term.children()[:1]), grouped=rows.grouped)
        contents = [arg for arg in term.parts if isinstance(arg, Content)]
        if not contents:
            return longest(self.of(child, rows) for child in term.children())
        [content] = contents
        [block] = content.blocks
        inner = _Rows(block, rows.times)
        lost = Lookback("unbounded", where=("a subquery reads rows of any age",))
        taken = self._rows(block.instances(), inner, ())
        taken = everywhere(lost, leaves(content)) if taken is None else taken
        _, inside, *outside = term.args
        inner.grouped = True
        parts = [self.of(value, inner) for value in flat((inside,)) if isinstance(value, Term)]
        return longest([taken, *parts, *(self.of(one, rows) for one in flat(outside) if isinstance(one, Term))])

    def _column(self, ref: Term, rows: _Rows) -> Reach:
        instance, what = ref.args
        assert isinstance(instance, Instance)
        content = instance.content
        if isinstance(what, Term) and what.op in ("window", "aggregate"):
            [(inner, _)] = self._below(instance, what, rows)
            return self._window(what, content, inner) if what.op == "window" else self._aggregate(what, content, inner)
        if content.kind in ("leaf", "text", "function", "values"):
            return self._of_source(instance, rows)
        found = [
            self.of(value, inner.where("grouped", partial(_grouped, inner, (), ())) if rows.grouped else inner)
            for inner, value in self._below(instance, what if isinstance(what, Term) else str(what), rows)
            if value is not None
        ]
        if self._settled(content) or rows.times.is_loose:
            return longest(found)
        attachment = rows.joined.get(instance)
        if attachment is not None and attachment.kind in ASOF and rows.times.earliest(instance) is None:
            last = Lookback("unbounded", where=(f"an ASOF join in {content.place} takes the last row, however old",))
            return longest([*found, everywhere(last, leaves(content))])
        if content.kind in ("limit", "distinct on"):
            picked = Lookback("unbounded", where=(f"{content.kind} in {content.place} picks rows of any age",))
            return longest([*found, everywhere(picked, leaves(content))])
        return longest(found)

    def _of_source(self, instance: Instance, rows: _Rows) -> Reach:
        """Of one row of a source."""
        content = instance.content
        own = self._of_text(content, rows)
        if own is not None:
            return own
        below = leaves(content)
        earliest = rows.times.earliest(instance)
        if rows.grouped or not below:
            return everywhere(NO_REACH, below)
        if earliest is not None:
            return everywhere(Lookback(span=max(-earliest, timedelta(0))), below)
        name = content.texts[0]
        for condition in rows.conditions:
            refs = [ref for ref in condition.refs if ref.args[0] is instance and (type_of(ref) or "date") in TIMES]
            if condition.op in ("<", "<=", "between") and refs:
                column = min(columns_of(refs[0]))
                told = f"`{column}` of `{name}` is compared with what is not the event time plus a constant"
                return everywhere(Lookback("unbounded", where=(told,)), below)
        # one that only describes is no look-back; but once it is gone from its source, so is what it says
        return {"": NO_REACH} | dict.fromkeys(
            below, Lookback("unbounded", where=(f"a row of `{name}` is joined, whatever its age",))
        )

    def of_rows(self, rows: _Rows) -> Reach:
        """What decides which rows there are, into each source; in all, a look-back is that of a value."""
        return self._once(rows.whole, None, lambda: self._new_of_rows(rows))

    def _new_of_rows(self, rows: _Rows) -> Reach:
        found = [self.of(condition, rows) for condition in rows.block.conditions]
        for instance in rows.block.instances():
            content = instance.content
            if any(content.place.endswith(f"`{said.node}`") for said in self._told.values()):
                continue
            if content.kind == "leaf":
                found.append(self._of_source(instance, rows))
            elif instance in rows.joined and rows.joined[instance].kind == "asof left":
                pass  # one for each row, or none
            elif content.kind not in ("text", "group", "sets"):  # these are no more than the keys of their rows
                found += [self.of_rows(inner) for inner, _ in self._below(instance, "", rows)]
        return {source: one for source, one in longest(found).items() if source}

    def _of_text(self, content: Content, rows: _Rows) -> Reach | None:
        if content.kind == "text" and content.texts[0] == self._within:
            loose = _Rows(Block(), Times(is_loose=True))
            return longest(self.of(one, loose) for one in flat(content.terms) if isinstance(one, Term))
        if content.kind == "text":
            told = f"the SQL of `{content.texts[0]}` is not understood"
            return everywhere(Lookback("unknown", where=(told,)), leaves(content))
        if content.kind == "leaf" and content.texts[0] == "itself":
            return everywhere(Lookback("unbounded", where=("the model reads its own earlier rows",)), ())
        return None

    def _settled(self, content: Content) -> bool:
        return bool(self._within) and content.place.endswith(f"`{self._within}`")

    def _below(self, instance: Instance, what: Term | str, rows: _Rows) -> list[tuple[_Rows, Term | None]]:
        """The rows that a content is made of, once for each branch, and what stands there for a column of it."""
        content, times = instance.content, rows.times
        if instance in rows.below:
            return [(inner, _branch(content, what, number)) for number, inner in enumerate(rows.below[instance])]
        blocks = content.blocks
        if content.kind == "full":
            sides = tuple(factor for block in blocks for factor in block.factors)
            blocks = (Block(sides, (), tuple(term for term in content.terms if isinstance(term, Term))),)
        settled = self._settled(content)
        found = []
        for number, block in enumerate(blocks):
            inner = Times(is_loose=times.is_loose)
            for term, offset in times.known.items():
                if all(ref.args[0] is not instance for ref in term.refs):
                    inner.narrow(term, offset)  # a correlated query may speak of it
                elif term.op == "ref" and (column := _branch(content, term.args[1], number)) is not None:
                    inner.narrow(column, offset)
            found.append(_Rows(block, Times(is_loose=True), settled=True) if settled else _Rows(block, inner))
        rows.below[instance] = found
        return [(inner_rows, _branch(content, what, number)) for number, inner_rows in enumerate(found)]

    # -- many rows at once ------------------------------------------------------

    def _rows(
        self, taken: Iterable[Instance], rows: _Rows, keys: Sequence[Term], *, group: bool = False
    ) -> Reach | None:
        """How far the rows of these instances reach back; None where nothing bounds them.

        What is joined to rows that are bounded, without a time of its own, is of their time. keys: of a group, or a
        window's partition. In a group, what is bounded by a date counts the whole day.
        """
        found = {instance: self._rows_of(instance, rows, keys, group) for instance in taken}
        open_ = [instance for instance, part in found.items() if part is None]
        if len(open_) == len(found):
            return None if found else {}
        # but not of the time of one row that all of a group are joined to
        fixed = {key.args[0] for key in keys if key.op == "ref" and key in rows.times.known}
        reached = {instance for instance, part in found.items() if part is not None and instance not in fixed}
        for _ in open_:
            for condition in rows.conditions:
                joined = {ref.args[0] for ref in condition.refs if isinstance(ref.args[0], Instance)}
                if condition.op in ("=", "same") and joined & reached:
                    reached |= joined & set(open_)
        if not reached.issuperset(open_):
            return None
        parts = [part for part in found.values() if part is not None]
        own = longest(parts)
        span = own.get("", NO_REACH)
        return longest([own, *(everywhere(span, leaves(instance.content)) for instance in open_)])

    def _rows_of(self, instance: Instance, rows: _Rows, keys: Sequence[Term], group: bool) -> Reach | None:
        key = (instance, tuple(keys), group)
        return self._once(rows.reached, key, lambda: self._new_rows_of(instance, rows, keys, group))

    def _new_rows_of(self, instance: Instance, rows: _Rows, keys: Sequence[Term], group: bool) -> Reach | None:
        content = instance.content
        own = self._of_text(content, rows)
        if own is not None:
            return own
        below = leaves(content)
        always = content.kind == "group" and not content.terms  # one row, whatever it is computed from
        if content.kind in ("function", "values") or not below or always:
            return everywhere(NO_REACH, below)
        if content.kind != "leaf":
            parts = []
            for inner, _ in self._below(instance, "", rows):
                attached = [i for i in inner.block.instances() if not _may_be_missing(i, inner)]
                inside: list[Term] = []
                if content.kind in ("group", "sets"):
                    inside = [key for key in flat(content.terms) if isinstance(key, Term)]
                    inner = inner.where("firm", partial(_firm, inner, inside))
                    attached = self._not_only_keys(attached, inner, inside)
                part = self._rows(attached, inner, inside, group=group or bool(inside))
                parts.append(part)
            if parts and None not in parts:
                return longest(part for part in parts if part is not None)
        earliest = rows.times.earliest(instance)
        if earliest is None:
            return everywhere(_endless("a group", content), below) if content.kind in ("group", "sets") else None
        span = max(-earliest, timedelta(0))
        if group:
            span += self._period(instance, rows, keys)
            self._looks_ahead(instance, rows)
        return everywhere(Lookback(span=span), below)

    def _not_only_keys(self, instances: list[Instance], rows: _Rows, keys: Sequence[Term]) -> list[Instance]:
        """Without a list of entities, where the time of a group's rows comes from another of these."""
        giving = {ref.args[0] for key in keys for ref in key.refs}
        bounded = [instance for instance in instances if _is_bounded(self._rows_of(instance, rows, keys, True))]
        if giving.isdisjoint(bounded):
            return instances
        return [instance for instance in instances if instance in bounded or instance not in giving]

    def _period(self, instance: Instance, rows: _Rows, keys: Sequence[Term]) -> timedelta:
        """What a day, or another period by which rows are grouped, reaches over the event time: it counts whole."""
        refs = [ref for ref in rows.times.known if ref.op == "ref" and ref.args[0] is instance]
        exact = [ref for ref in refs if rows.times.known[ref].least == rows.times.earliest(instance)]
        own = [key for key in keys if key.refs and all(ref.args[0] is instance for ref in key.refs)]
        days = exact if all(type_of(ref) == "date" for ref in exact) else []
        ends = [
            (rows.times.of(key).most or timedelta(0)) + unit
            for key in (*days, *own)
            if (unit := grain(key)) is not None
        ]
        return max(min(ends, default=timedelta(0)), timedelta(0))

    def _looks_ahead(self, instance: Instance, rows: _Rows) -> None:
        latest = rows.times.latest(instance)
        if rows.times.is_loose or self._within or (latest is not None and latest <= timedelta(0)):
            return
        how_far = "without end" if latest is None else f"by {latest}"
        self.ahead.add(f"rows of `{'`, `'.join(sorted(leaves(instance.content)))}` are read {how_far}")

    def _aggregate(self, aggregate: Term, content: Content, inner: _Rows) -> Reach:
        """Of rows that are grouped: bounded by a condition between their time and the group's, or by a key that is
        their time."""
        below = leaves(content)
        keys = [term for term in flat(content.terms) if isinstance(term, Term)]
        filters = _filter(aggregate)
        settled = self._settled(content)
        rows = inner.where(("grouped", *filters), partial(_grouped, inner, () if settled else keys, filters))
        taken = _taken(aggregate, content)
        telling = [one for one in filters if all(ref.args[0] in taken for ref in one.refs)]  # others compare with a key
        values = [*flat(aggregate.args[1:2]), *telling]
        found = [self.of(value, rows) for value in values if isinstance(value, Term)]
        if settled:
            return longest([everywhere(NO_REACH, below), *found])
        own = self._rows(taken, rows, keys, group=True)
        if own is None or own.get("", NO_REACH).kind == "unbounded":
            name = str(aggregate.args[0])
            fixed = {key.args[0] for key in keys if key.op == "ref"}
            counted = [instance for instance in taken if instance not in fixed] or taken
            lost = _from_another(rows, counted, name, content) or _endless(f"{name}()", content)
            own = everywhere(lost, _sources(taken))
        return longest([own, *found])

    def _window(self, window: Term, content: Content, inner: _Rows) -> Reach:
        name, _, partition, order, frame = window.args[:5]
        assert isinstance(partition, tuple)
        assert isinstance(order, tuple)
        assert isinstance(frame, tuple)
        taken = _taken(window, content)
        place = f"{name}() in {content.place}"
        own = set(inner.block.instances())
        times = Times()  # of the other rows: what they share with this one
        for term, offset in inner.times.known.items():
            if own.isdisjoint(ref.args[0] for ref in term.refs):
                times.narrow(term, offset)
        shared = [key for key in partition if isinstance(key, Term)]
        for key in shared:
            times.narrow(key, inner.times.firm(shared).of(key))
        lost = self._framed(window, place, times, inner)
        if self._settled(content):
            times, lost = inner.times, None
        same = ("window", times.is_loose, frozenset(times.known.items()))
        rows = inner.where(same, lambda: _Rows(inner.block, times, grouped=True, settled=inner.settled))
        found = [self.of(value, rows) for value in flat(window.args[1:2]) if isinstance(value, Term)]
        found += [self.of(value, rows) for value in _filter(window)]
        reached = self._rows(taken, rows, shared)
        if reached is None:
            reached = everywhere(lost or _endless(f"{name}()", content), _sources(taken))
        return longest([reached, *found])

    def _framed(self, window: Term, place: str, times: Times, inner: _Rows) -> Lookback | None:
        """Adds to ``times`` what the frame says of the rows in it; what is lost where it says nothing."""
        name, _, _, order, frame = window.args[:5]
        assert isinstance(order, tuple)
        assert isinstance(frame, tuple)
        if name in ("rank", "dense_rank", "row_number", "percent_rank", "cume_dist", "ntile"):
            return Lookback("unbounded", where=(f"{place} counts all rows before",))
        if name in ("lag", "lead") and not frame:
            if name == "lead":
                self.ahead.add(f"{place} reads a later row")
            for term, offset in inner.times.known.items():  # a condition on the time of that row bounds it
                if term.op == "window" and (term.args[0], *term.args[2:]) == (name, *window.args[2:]):
                    times.narrow(term.children()[0], offset)
            return Lookback("unbounded", where=(f"{place} reads another row, of any age",))
        if not order or not frame:
            return Lookback("unbounded", where=(f"{place} reads its whole partition",))
        key, backwards = flat(order)[:2]
        assert isinstance(key, Term)
        kind, start, end = frame[:3]
        if backwards:
            start, end = _mirrored(end), _mirrored(start)
        if (type_of(key) or "date") not in TIMES:
            return Lookback("unbounded", where=(f"{place} reads rows in an order that is not of time",))
        if end == "unbounded following" or (isinstance(end, tuple) and end[1] == "following"):
            self.ahead.add(f"{place} reads later rows")
        if start == "unbounded preceding":
            return Lookback("unbounded", where=(f"{place} reads all rows before",))
        spans = [_end_of(one) for one in (start, end)]
        if kind == "rows":
            return Lookback("unknown", where=(f"{place} reads a number of rows, of any age",))
        if kind != "range" or spans[0] is None:
            return Lookback("unknown", where=(f"the frame of {place} is not understood",))
        at = inner.times.of(key)
        if at.least is None:
            told = f"{place} reads rows by {_said(key)}, which is not the event time plus a constant"
            return Lookback("unknown", where=(told,))
        most = at.most if spans[1] is not None else None
        times.narrow(key, Offset(at.least + spans[0][0], most + spans[1][1] if most is not None and spans[1] else None))
        return None


def _firm(rows: _Rows, keys: Sequence[Term]) -> _Rows:
    return _Rows(rows.block, rows.times.firm(keys), settled=rows.settled)


def _grouped(rows: _Rows, keys: Sequence[Term], filters: Sequence[Term]) -> _Rows:
    """keys: of a group, whose own times are known."""
    times = (rows.times.firm(keys) if keys else rows.times).met(filters)
    found = _Rows(rows.block, times, grouped=True, settled=rows.settled)
    found.conditions += filters
    return found


def _branch(content: Content, what: Arg, number: int) -> Term | None:
    if isinstance(what, Term):
        part = what.args[number] if what.op == "pick" else what
        return part if isinstance(part, Term) else None
    columns = content.terms[number] if number < len(content.terms) else ()  # of EXCEPT and INTERSECT, by position
    if isinstance(columns, tuple) and str(what).isdigit() and int(str(what)) < len(columns):
        column = columns[int(str(what))]
        return column if isinstance(column, Term) else None
    return None


def _may_be_missing(instance: Instance, rows: _Rows) -> bool:
    return instance in rows.joined and rows.joined[instance].kind.endswith("left")


def _is_bounded(reached: Reach | None) -> bool:
    return reached is not None and all(one.kind == "bounded" for one in reached.values())


def _endless(what: str, content: Content) -> Lookback:
    return Lookback("unbounded", where=(f"{what} in {content.place} reads all rows of its group",))


def _from_another(rows: _Rows, taken: Sequence[Instance], name: str, content: Content) -> Lookback | None:
    """A lower end of the rows that is not the event time plus a constant."""
    for condition in rows.conditions:
        if condition.op not in ("<", "<=", "between"):
            continue
        low, high = condition.children()[:2] if condition.op != "between" else condition.children()[1::-1]
        counted = any(ref.args[0] in taken for ref in high.refs)
        if counted and low.refs and not any(ref.args[0] in taken for ref in low.refs):
            told = f"{name}() in {content.place} reads rows from {_said(low)} on, which is not the event time"
            time = all(type_ in TIMES for ref in low.refs if (type_ := type_of(ref)))
            return Lookback("unbounded" if _plain(low) and time else "unknown", where=(f"{told} plus a constant",))
    return None


def _plain(term: Term) -> bool:
    """A column, or a column plus a constant."""
    others = [child for child in term.children() if constant_span(child) is None]
    return term.op == "ref" or (term.op in ("+", "+ of scalars", "-") and len(others) == 1 and _plain(others[0]))


def _said(term: Term) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(columns_of(term)))
    function = str(term.args[0]) if term.op == "call" else ""
    return f"{function}({names})" if function else names


def _sources(taken: Iterable[Instance]) -> set[str]:
    return {source for instance in taken for source in leaves(instance.content)}


def _end_of(bound: Arg) -> tuple[timedelta, timedelta] | None:
    """Where the end of a frame lies to its row."""
    if bound == "current row":
        return timedelta(0), timedelta(0)
    if not isinstance(bound, tuple) or not isinstance(bound[0], Term):
        return None
    span = constant_span(bound[0])
    return (-span[1], -span[0]) if span is not None and bound[1] == "preceding" else span


def _taken(computed: Term, content: Content) -> list[Instance]:
    """What a window or an aggregate takes any number of rows of: all that is joined, since it may drop rows, or
    multiply them; but for what only gives the group its keys: a calendar, a list of entities."""
    values = [arg for arg in flat(tuple(a for a in computed.args if not _is_filter(a))) if isinstance(arg, Term)]
    read = {ref.args[0] for value in values for ref in value.refs}
    keys = {ref.args[0] for term in flat(content.terms) if isinstance(term, Term) for ref in term.refs}
    read |= {ref.args[0] for ref in computed.refs if ref.args[0] not in keys}  # a filter may compare with a key
    joined = [instance for block in content.blocks for instance in block.instances()]
    chosen = [instance for instance in joined if instance in read or instance not in keys]
    factors = {factor for block in content.blocks for factor in block.factors}
    return chosen if any(instance in read or instance in factors for instance in chosen) else joined


def _mirrored(end: Arg) -> Arg:
    """The end of a frame whose rows come latest first, as its start were they to come earliest first."""
    sides = {"following": "preceding", "preceding": "following"}
    if isinstance(end, tuple):
        return (end[0], sides[str(end[1])])
    return " ".join(sides.get(word, word) for word in str(end).split())


def _is_filter(arg: Arg) -> bool:
    return isinstance(arg, tuple) and arg[:1] == ("filter",)


def _filter(aggregate: Term) -> list[Term]:
    """The conditions of FILTER."""
    return [
        part
        for arg in aggregate.args
        if isinstance(arg, tuple) and _is_filter(arg)
        for kept in arg[1:]
        if isinstance(kept, Term)
        for part in conjuncts(kept)
    ]
