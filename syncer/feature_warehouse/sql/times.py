"""Where times lie to a row's event time: what conditions, truncations and constant spans say of them.

Spans err to the far side: a month is 28 to 31 days, a year 365 to 366. A time of which no end is known that way has
none here, whatever it may be; only what begins at the event time itself is ever bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from feature_warehouse.sql.algebra import Instance, Term, flat
from feature_warehouse.sql.rewritings import UNITS, conjuncts, span_of, whole_number
from feature_warehouse.sql.types import INTEGERS, type_of

DAY = timedelta(days=1)

TIMES = ("date", "timestamp", "timestamptz")

GRAINS = {
    "microsecond": timedelta(microseconds=1), "millisecond": timedelta(milliseconds=1), "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": DAY, "week": timedelta(days=7),
    "month": timedelta(days=31), "quarter": timedelta(days=92), "year": timedelta(days=366),
    "decade": timedelta(days=3653), "century": timedelta(days=36525), "millennium": timedelta(days=365250),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a time lies from the event time: at least, at most; None where there is no end."""

    least: timedelta | None = None
    most: timedelta | None = None

    def shifted(self, least: timedelta, most: timedelta) -> Offset:
        return Offset(_plus(self.least, least), _plus(self.most, most))

    def met(self, other: Offset) -> Offset:
        """Both at once."""
        ends = [one for one in (self.least, other.least) if one is not None]
        starts = [one for one in (self.most, other.most) if one is not None]
        return Offset(max(ends, default=None), min(starts, default=None))


#: The time that a column says in another form.
_READ_AS_TIME = frozenset(
    "strptime try_strptime to_timestamp make_date make_timestamp make_timestamptz epoch_ms".split()
)

HERE = Offset(timedelta(0), timedelta(0))
_NOWHERE = Offset()


class Times:
    """What is known of the times of the rows that a value is computed from.

    loose: a time of which nothing is known is taken for the event time, where only how far one thing reaches before
    another is asked.
    """

    def __init__(self, known: Mapping[Term, Offset] | None = None, *, is_loose: bool = False) -> None:
        self.known = dict(known or {})
        self.is_loose = is_loose

    def loose(self) -> Times:
        return Times(self.known, is_loose=True)

    def met(self, conditions: Iterable[Term], only: Instance | None = None) -> Times:
        """And what is known where these conditions hold; only: of the columns of one instance."""
        found = Times(self.known, is_loose=self.is_loose)
        listed = [part for condition in conditions for part in conjuncts(condition)]
        for _ in range(1 + min(len(listed), 4)):  # one may rest on another
            before = dict(found.known)
            for condition in listed:
                found._meet(condition, only)
            if found.known == before:
                break
        return found

    def of(self, term: Term) -> Offset:
        """Where a time lies."""
        found = self.known.get(term, _NOWHERE).met(self._computed(term))
        return HERE if found == _NOWHERE and self.is_loose and term.refs else found

    def firm(self, keys: Iterable[Term]) -> Times:
        """Taken for the event time no more, but for these where they are times."""
        found = Times(self.known)
        for key in keys:
            if self.is_loose and grain(key) is not None and key not in self.known:
                found.narrow(key, HERE)
        return found

    def earliest(self, instance: Instance) -> timedelta | None:
        """The latest of the ends that are known for the rows of an instance."""
        found = [offset.least for offset in self._of_rows(instance) if offset.least is not None]
        return max(found, default=timedelta(0) if self.is_loose else None)

    def latest(self, instance: Instance) -> timedelta | None:
        return min((offset.most for offset in self._of_rows(instance) if offset.most is not None), default=None)

    def _of_rows(self, instance: Instance) -> Iterator[Offset]:
        for term, offset in self.known.items():
            own = term.op == "ref" or (term.op == "call" and term.args[0] in _READ_AS_TIME)
            if own and term.refs and all(ref.args[0] is instance for ref in term.refs):
                yield offset

    def narrow(self, term: Term, offset: Offset, only: Instance | None = None) -> None:
        """The time lies there, and so do those that it is computed from."""
        if offset == _NOWHERE or not term.refs:
            return
        if only is None or any(ref.args[0] is only for ref in term.refs):
            self.known[term] = offset.met(self.known.get(term, _NOWHERE))
        shift = _shift(term)
        if shift is not None:
            base, least, most = shift
            self.narrow(base, offset.shifted(-most, -least), only)
        elif term.op == "at time zone" or (term.op in ("cast", "try cast") and term.args[0] in TIMES):
            self.narrow(term.children()[0], offset, only)
        elif (truncated := _truncated(term)) is not None:
            self.narrow(truncated[0], offset, only)
        elif term.op == "call" and term.args[0] in ("greatest", "least"):
            end = Offset(most=offset.most) if term.args[0] == "greatest" else Offset(least=offset.least)
            for child in term.children():
                self.narrow(child, end, only)
        elif term.op == "coalesce":  # where it has a value, the first of them is it
            self.narrow(term.children()[0], offset, only)

    def _computed(self, term: Term) -> Offset:
        shift = _shift(term)
        if shift is not None:
            base, least, most = shift
            return self.of(base).shifted(least, most)
        if term.op in ("cast", "try cast") and term.args[0] in ("timestamp", "timestamptz"):
            return self.of(term.children()[0])
        if term.op in ("cast", "try cast") and term.args[0] == "date":
            return self.of(term.children()[0]).shifted(-DAY, timedelta(0))
        if term.op == "at time zone":
            return self.of(term.children()[0])
        truncated = _truncated(term)
        if truncated is not None:
            return self.of(truncated[0]).shifted(-truncated[1], timedelta(0))
        if term.op == "call" and term.args[0] == "last_day":
            return self.of(term.children()[0]).shifted(-DAY, timedelta(days=31))
        if term.op == "call" and term.args[0] in ("greatest", "least"):
            parts = [self.of(child) for child in term.children()]
            if term.args[0] == "greatest":
                ends = [part.least for part in parts if part.least is not None]
                return Offset(max(ends, default=None), _widest(max, [part.most for part in parts]))
            starts = [part.most for part in parts if part.most is not None]
            return Offset(_widest(min, [part.least for part in parts]), min(starts, default=None))
        if term.op in ("coalesce", "pick", "case"):
            values = term.children() if term.op != "case" else [*term.children()[1::2], term.children()[-1]]
            parts = [self.of(value) for value in values if value.op != "null"]
            return Offset(_widest(min, [part.least for part in parts]), _widest(max, [part.most for part in parts]))
        return _NOWHERE

    def _meet(self, condition: Term, only: Instance | None) -> None:
        if condition.op in ("<", "<="):
            one, two = condition.children()
            self._before(one, two, only)
        elif condition.op in ("=", "same"):
            one, two = condition.children()
            self._before(one, two, only)
            self._before(two, one, only)
        elif condition.op == "between":
            value, low, high = condition.children()
            self._before(low, value, only)
            self._before(value, high, only)

    def _before(self, one: Term, two: Term, only: Instance | None) -> None:
        """One is not after the other."""
        self.narrow(one, Offset(most=self._end(two).most), only)
        self.narrow(two, Offset(least=self._end(one).least), only)
        apart = _apart(one)  # later - earlier <= span
        span = constant_span(two)
        if apart is not None and span is not None:
            later, earlier, unit = apart
            self.narrow(earlier, self._from(later, -(span[1] + unit)), only)
        apart, span = _apart(two), constant_span(one)  # span <= later - earlier
        if apart is not None and span is not None:
            later, earlier, _ = apart
            self.narrow(later, self._from(earlier, span[0]), only)

    def _from(self, term: Term, span: timedelta) -> Offset:
        return Offset(least=_plus(self._end(term).least, span))

    def _end(self, term: Term) -> Offset:
        """As ``of``, but a time of which nothing is known bounds no other."""
        return Times(self.known).of(term)


def _plus(one: timedelta | None, two: timedelta) -> timedelta | None:
    return None if one is None else one + two


def _widest(end: Callable[[Iterable[timedelta]], timedelta], parts: list[timedelta | None]) -> timedelta | None:
    known = [part for part in parts if part is not None]
    return end(known) if known and len(known) == len(parts) else None


# -- spans ---------------------------------------------------------------------

Span = tuple[timedelta, timedelta]  # the least and the most that it can be


def constant_span(term: Term) -> Span | None:
    """The length of a constant interval, or of a number of days."""
    if term.op == "interval":
        return _interval(term.args) if len(term.args) == 3 else None
    if term.op == "number":
        return (_days(term), _days(term)) if str(term.args[0]).isdigit() else None
    if term.op in ("negative", "+", "+ of scalars", "-"):
        parts = [constant_span(child) for child in term.children()]
        if None in parts:
            return None
        first, *others = [part for part in parts if part is not None]
        if term.op == "negative":
            return -first[1], -first[0]
        [second] = others
        if term.op == "-":
            return first[0] - second[1], first[1] - second[0]
        return first[0] + second[0], first[1] + second[1]
    if term.op == "cast" and term.args[0] == "interval":
        [text] = term.children()
        words = span_of(str(text.args[0])) if text.op == "text" else None
        return _interval(words) if words else None
    factor, unit = _times(term)
    return _interval(tuple(str(one * factor) for one in UNITS[unit])) if factor is not None else None


def _times(term: Term) -> tuple[int | None, str]:
    """A number of units: to_days(7), interval of 7 days, interval '1 day' * 7 is already one."""
    if term.op == "interval of":
        unit, number = str(term.args[0]), term.children()[0]
    elif term.op == "call" and str(term.args[0]).startswith("to_") and len(term.children()) == 1:
        unit, number = str(term.args[0])[3:].removesuffix("s"), term.children()[0]
    else:
        return None, ""
    return (_integer(number), unit) if unit in UNITS else (None, "")


def _integer(term: Term) -> int | None:
    return _integer(term.children()[0]) if term.op == "cast" and term.args[0] in INTEGERS else whole_number(term)


def _days(term: Term) -> timedelta:
    return timedelta(days=min(int(str(term.args[0])), 10**6))


def _interval(args: Iterable[object]) -> Span:
    months, days, micros = (int(str(arg)) for arg in args)
    fixed = timedelta(days=days, microseconds=micros)
    long = timedelta(days=366 * (abs(months) // 12) + 31 * (abs(months) % 12))
    short = timedelta(days=365 * (abs(months) // 12) + 28 * (abs(months) % 12))
    return (fixed + short, fixed + long) if months >= 0 else (fixed - long, fixed - short)


def _shift(term: Term) -> tuple[Term, timedelta, timedelta] | None:
    """A time as another plus a constant span."""
    if term.op in ("+", "+ of scalars", "-"):
        one, two = term.children()
        for base, shift in ((one, two), (two, one)):
            span = constant_span(shift)
            if span is not None and base.refs and (term.op != "-" or shift is two):
                return (base, -span[1], -span[0]) if term.op == "-" else (base, *span)
    if term.op == "call":
        values = [arg for arg in flat(term.args) if isinstance(arg, Term)]
        if term.args[0] == "date_add" and len(values) == 2 and (span := constant_span(values[1])) is not None:
            return (values[0], *span)
        if term.args[0] in ("date_add", "dateadd", "timestampadd") and len(values) == 3:
            part, number, base = values
            unit, count = str(part.args[0]).lower().removesuffix("s"), _integer(number)
            if part.op == "text" and unit in UNITS and count is not None:
                return (base, *_interval(tuple(one * count for one in UNITS[unit])))
    return None


def _truncated(term: Term) -> tuple[Term, timedelta] | None:
    """The time that is truncated, and how far back that may lead."""
    if term.op != "call" or term.args[0] not in ("date_trunc", "time_bucket"):
        return None
    values = [arg for arg in flat(term.args[1:2]) if isinstance(arg, Term)]
    if len(values) < 2:
        return None
    first = values[0]
    if term.args[0] == "date_trunc":
        unit = GRAINS.get(str(first.args[0]).lower().removesuffix("s")) if first.op == "text" else None
    else:
        span = constant_span(first)
        unit = span[1] if span else None
    return None if unit is None else (values[1], unit)


def _apart(term: Term) -> tuple[Term, Term, timedelta] | None:
    """A difference of two times: the later, the earlier, and how much more than it says they may be apart."""
    values = [arg for arg in flat(term.args) if isinstance(arg, Term)]
    if term.op == "-" and len(values) == 2 and all(value.refs for value in values):
        one, two = values
        return one, two, DAY if "date" in (type_of(one), type_of(two)) else timedelta(0)
    days = values and values[0].op == "text" and str(values[0].args[0]).lower() in ("day", "days")
    if term.op == "call" and term.args[0] in ("date_diff", "date_sub") and len(values) == 3 and days:
        return values[2], values[1], DAY
    return None


def grain(key: Term) -> timedelta | None:
    """How long the rows of one value of a key are apart at most; None where the key is no time."""
    if (key.op == "cast" and key.args[0] == "date") or type_of(key) == "date":
        return DAY
    if type_of(key) in ("timestamp", "timestamptz") and key.op == "ref":
        return timedelta(0)
    truncated = _truncated(key)
    if truncated is not None:
        return truncated[1]
    if key.op in ("at time zone", "cast"):
        return next((found for child in key.children() for found in [grain(child)] if found is not None), None)
    return None


def columns_of(term: Term) -> set[str]:
    """The columns that it reads, by the names of their sources."""
    if term.op == "ref":
        what = term.args[1]
        return columns_of(what) if isinstance(what, Term) else {str(what)}
    return set[str]().union(*map(columns_of, term.children()))
