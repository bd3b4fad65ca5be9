"""What a feature's meaning says beside its value: source columns, look-back, clocks and chance.

Reads algebra, no SQL. ``FactsOfRows`` takes a block and the terms of a feature as ``changes`` compares them, so that a
fact and a fingerprint never speak of different columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from feature_warehouse.sql.algebra import ORDER, PHYSICAL, Arg, Block, Content, Instance, Term, flat
from feature_warehouse.sql.functions import (
    CURRENT_TIME,
    ORDERED_AGGREGATES,
    PICKING_AGGREGATES,
    RANDOM,
    SESSION,
    TIE_SENSITIVE,
)
from feature_warehouse.sql.lookback import Lookbacks, Stated
from feature_warehouse.sql.reach import Lookback, Reach
from feature_warehouse.sql.times import TIMES
from feature_warehouse.sql.types import type_of

Source = tuple[str, str]  # relation, column

#: The session variable that the macro current_instant reads.
_NOW = "feature_warehouse_now"


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one feature. The tuples are sorted, without duplicates.

    sources: the source columns that its values come from; row_sources: those that decide which rows there are.
    session_zone: what the time zone of the session decides; open_zone: what it may, or not. current_time: functions of
    the clock.
    nondeterministic: what may give another value on the same data; unknown: functions that may, or not. open_ties: what
    picks any of several equal rows. ahead: what reads rows after the event time.
    """

    sources: tuple[Source, ...]
    row_sources: tuple[Source, ...]
    reach: Reach
    session_zone: tuple[str, ...]
    open_zone: tuple[str, ...]
    current_time: tuple[str, ...]
    nondeterministic: tuple[str, ...]
    unknown: tuple[str, ...]
    open_ties: tuple[str, ...]
    ahead: tuple[str, ...]

    @property
    def lookback(self) -> Lookback:
        return self.reach[""]


class FactsOfRows:
    """Of the features that need the same rows of a view: what these say is found once.

    block: what the features need of their view, without what only others read (``Digests.kept``). event: the event
    time, one of the times. told: look-backs that are stated, as in ``Lookbacks``.
    """

    def __init__(
        self, block: Block, keys_and_times: Iterable[Term], event: Term, told: Mapping[object, Stated]
    ) -> None:
        self._rows, self._lookbacks = Walk(), Lookbacks(event, block, told)
        self._rows.block(block)
        for term in keys_and_times:
            self._rows.term(term)

    def of(self, value: Term) -> Facts:
        values, rows = Walk(), self._rows
        values.term(value)

        def found(name: str) -> tuple[str, ...]:
            return tuple(sorted(getattr(values, name) | getattr(rows, name)))

        reached, ahead = self._lookbacks.of(value)
        return Facts(
            sources=tuple(sorted(values.sources)),
            row_sources=tuple(sorted(rows.sources)),
            reach=reached,
            session_zone=found("session_zone"),
            open_zone=found("open_zone"),
            current_time=tuple(sorted({*found("current_time"), *values.current_instant})),
            nondeterministic=found("chance"),
            unknown=found("unknown"),
            open_ties=found("ties"),
            ahead=ahead,
        )


class Walk:
    """Everything that terms and blocks reach, down to the sources."""

    def __init__(self) -> None:
        self.sources: set[Source] = set()
        self.session_zone: set[str] = set()
        self.open_zone: set[str] = set()
        self.current_time: set[str] = set()
        self.current_instant: set[str] = set()  # where it decides a value; rows that lie ahead may be left out by it
        self.chance: set[str] = set()
        self.unknown: set[str] = set()
        self.session: set[str] = set()
        self.ties: set[str] = set()
        self._seen: set[object] = set()

    def term(self, term: Term) -> None:
        if term in self._seen:
            return
        self._seen.add(term)
        if term.op == "ref":
            self._column(term)
            return
        if told := by_session_zone(term):
            self.session_zone.add(told)
        elif told := _by_open_zone(term):
            self.open_zone.add(told)
        if told := _clock_in_words(term):
            self.current_time.add(told)
        if term.op in ("call", "aggregate", "window"):
            self._function(term)
        for arg in term.parts:
            if isinstance(arg, Content):
                self._content(arg)
            elif isinstance(arg, Term):
                self.term(arg)

    def _function(self, term: Term) -> None:
        name = str(term.args[0])
        if name in CURRENT_TIME:
            self.current_time.add(f"{name}()")
        elif name == "age" and len(term.children()) == 1:
            self.current_time.add("age() of one time")
        elif name == "getvariable" and any(v.op == "text" and v.args[0] == _NOW for v in term.children()):
            self.current_instant.add("current_instant()")
        elif name in RANDOM:
            self.chance.add(f"{name}()")
        elif name in SESSION:
            self.session.add(f"{name}()")
        elif name == "error":
            pass  # it gives no value
        elif not term.pure and not any(not child.pure for child in term.children()):
            self.unknown.add(f"{name}()")
        marks = {child.op for child in term.children()} & {ORDER, PHYSICAL}
        unordered = term.op == "window" and (
            (not term.args[3] and name in ORDERED_AGGREGATES)
            or (name in TIE_SENSITIVE and _orders_nothing(term.args[3], term.args[2]))
        )
        if PHYSICAL in marks or unordered:
            self.chance.add(f"{name}() without an order")
        elif ORDER in marks and name in PICKING_AGGREGATES:
            self.ties.add(f"{name}(): of several rows that tie, any")

    def _column(self, ref: Term) -> None:
        instance, what = ref.args
        assert isinstance(instance, Instance)
        content = instance.content
        if isinstance(what, Term):
            self.term(what)
            return
        if content.kind in ("leaf", "text"):
            self.sources.add((content.texts[0], str(what)))
        elif content.kind in ("function", "values"):
            for arg in flat(content.terms):
                if isinstance(arg, Term):
                    self.term(arg)
        else:  # a column of EXCEPT or INTERSECT, by position
            for branch in content.terms:
                if isinstance(branch, tuple) and str(what).isdigit():
                    column = branch[int(str(what))]
                    if isinstance(column, Term):
                        self.term(column)

    def block(self, block: Block) -> None:
        for attachment in block.attachments:
            for term in attachment.on:
                self.term(term)
        for term in block.conditions:
            self.term(term)
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
                self.term(arg)
        if content.kind == "distinct on" and _orders_nothing(content.terms[0], content.terms[1]):
            self.chance.add("distinct on without an order that tells its rows apart")
        elif content.kind in ("limit", "distinct on") and not content.terms[0]:
            self.chance.add(f"{content.kind} without an order")
        elif content.kind == "distinct on":
            self.ties.add("distinct on: of several rows that tie, any")


def _orders_nothing(order: Arg, keys: Arg) -> bool:
    """Whether an order is by nothing but what its rows have in common."""
    own = [arg for arg in flat((order,)) if isinstance(arg, Term)]
    return bool(own) and set(own) <= {arg for arg in flat((keys,)) if isinstance(arg, Term)}


#: Texts that are read as a time that moves.
_MOVING = {"now", "today", "yesterday", "tomorrow"}


def _clock_in_words(term: Term) -> str:
    """A text that is read as the time of the query: 'now'::timestamptz, day > 'today'; '' where there is none."""
    values = [arg for arg in term.parts if isinstance(arg, Term)]
    moving = [
        str(value.args[0]) for value in values if value.op == "text" and str(value.args[0]).strip().lower() in _MOVING
    ]
    read = term.op in ("cast", "try cast") and term.args[0] in TIMES
    met = term.op in (*_MEETING, "+", "+ of scalars", "-") and any(type_of(value) in TIMES for value in values)
    return f"the text '{moving[0]}'" if moving and (read or met) else ""


# -- time zones ----------------------------------------------------------------

#: Functions that read a calendar or a clock off an instant, and the parts for which they do not: zones differ by whole
#: minutes, and DuckDB counts elapsed hours.
_CALENDAR: dict[str, str] = {
    **dict.fromkeys(
        """
        age dayname dayofmonth dayofweek dayofyear isodow isoyear julian last_day monthname strftime timezone_hour
        timezone_minute week weekday weekofyear yearweek
        """.split(),
        "",
    ),
    "date_part": "epoch second millisecond microsecond",
    "date_trunc": "minute second millisecond microsecond",
    "date_diff": "minute second millisecond microsecond",
    "date_sub": "hour minute second millisecond microsecond",
}

_NAIVE = {"date", "timestamp"}
_HAS_ZONE = re.compile(r".*\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?|\s[A-Za-z][\w/+-]*)\s*", re.IGNORECASE)


def by_session_zone(term: Term) -> str:
    """What the session's time zone decides in a term itself, in words; '' where nothing, or no type is known."""
    values = [arg for arg in term.parts if isinstance(arg, Term)]
    types = {type_of(value) for value in values}
    naive = [name for value in values if (name := _naive(value))]
    if term.op in ("cast", "try cast"):
        if term.args[0] == "timestamptz" and naive:
            return f"{naive[0]} is cast to timestamptz"
        if "timestamptz" in types and term.args[0] in (*_NAIVE, "time", "varchar"):
            return f"a timestamptz is cast to {term.args[0]}"
    elif term.op in ("+", "+ of scalars", "-") and "timestamptz" in types:
        if len(values) == 2 and [type_of(value) for value in values] == ["timestamptz"] * 2:
            return "a timestamptz is subtracted from another, in days"
        if any(map(_by_days, values)):
            return "days are added to a timestamptz" if term.op != "-" else "days are subtracted from a timestamptz"
        if naive:
            return f"a timestamptz meets {naive[0]}"
    elif term.op in _MEETING or (term.op == "call" and term.args[0] in ("greatest", "least")):
        if "timestamptz" in types and naive:
            return f"a timestamptz meets {naive[0]}"
    elif term.op == "||" or (term.op == "call" and term.args[0] in ("concat", "concat_ws")):
        if "timestamptz" in types:
            return "a timestamptz is turned into text"
    elif term.op == "call":
        name = str(term.args[0])
        parts = {str(value.args[0]).lower().removesuffix("s") for value in values if value.op == "text"}
        if name == "make_timestamptz" and len(values) == 6:
            return "make_timestamptz() without a zone"
        if name in _CALENDAR and "timestamptz" in types and parts.isdisjoint(_CALENDAR[name].split()):
            return f"{name}() of a timestamptz"
    return ""


def _by_open_zone(term: Term) -> str:
    """A cast of a source's column, which the session's time zone decides if what it holds names none, in words."""
    if term.op not in ("cast", "try cast") or term.args[0] != "timestamptz":
        return ""
    [value] = (arg for arg in term.parts if isinstance(arg, Term))
    column = value.args[1] if value.op == "ref" else None
    type_ = type_of(value)
    if not isinstance(column, str) or type_ not in (None, "varchar"):
        return ""
    return f"`{column}`, {'a text' if type_ else 'whose type is not known'}, is cast to timestamptz"


_MEETING = {"=", "<>", "<", "<=", "between", "same", "coalesce", "case", "pick", "nullif"}


def _naive(term: Term) -> str:
    """A time without a zone, in words."""
    if term.op == "text":
        text = str(term.args[0])
        return "" if _HAS_ZONE.fullmatch(text) or not text[:4].isdigit() else f"the text '{text}'"
    type_ = type_of(term)
    return f"a {type_}" if type_ in _NAIVE else ""


def _by_days(term: Term) -> bool:
    """An interval that is not of hours alone: its length hangs on clock changes."""
    if term.op == "interval":  # one that is not understood may be of days
        return len(term.args) != 3 or any(int(str(arg)) for arg in term.args[:2])
    if term.op == "call":
        return term.args[0] in _DAYS
    return type_of(term) == "interval" and any(map(_by_days, term.children()))


_DAYS = {"to_days", "to_weeks", "to_months", "to_quarters", "to_years", "to_decades"}
