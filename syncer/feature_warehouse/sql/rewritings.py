"""The spellings of one value to one term, and nothing else: each rewriting is exact in three-valued logic.

Knows terms, no SQL. What a rewriting needs to know of its operands it asks ``types``, and where that is not certain the
term stays as it was written. ``docs/reference/change-classes.md`` lists the rewritings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from feature_warehouse.sql.algebra import ORDER, PHYSICAL, Arg, Block, Content, Term, Terms
from feature_warehouse.sql.functions import (
    CURRENT_TIME,
    NULL_SKIPPING,
    ORDERED_AGGREGATES,
    PICKING_AGGREGATES,
    PURE,
)
from feature_warehouse.sql.text import lower
from feature_warehouse.sql.types import (
    branches,
    by_equality,
    chosen_alike,
    chosen_type,
    literal,
    never_null,
    sort_of,
    type_of,
)

#: Aggregates that pass over rows without a value, so that CASE without ELSE is a filter.
_FILTERED = NULL_SKIPPING | {"count"}

UNITS = {
    "microsecond": (0, 0, 1), "millisecond": (0, 0, 1_000), "second": (0, 0, 10**6), "minute": (0, 0, 60 * 10**6),
    "hour": (0, 0, 3600 * 10**6), "day": (0, 1, 0), "week": (0, 7, 0), "month": (1, 0, 0), "quarter": (3, 0, 0),
    "year": (12, 0, 0),
}  # fmt: skip


#: Types of which the greatest of equal values is any of them; of doubles, 0.0 and -0.0 are equal.
_ORDERLESS = [{kind} for kind in ("bigint", "integer", "date", "timestamp", "timestamptz")]


class Rewritings:
    """Makes terms in the one spelling of their value."""

    def __init__(self, terms: Terms) -> None:
        self.make = terms.make
        self.terms = terms

    def negation(self, term: Term) -> Term:
        """NOT, pushed inwards: also of NULL and NaN, which DuckDB orders above all other numbers."""
        if term.op == "not":
            inner = term.args[0]
            assert isinstance(inner, Term)
            if type_of(inner) == "boolean":
                return inner
        if term.op == "=":
            return self.make("<>", *term.args)
        if term.op == "<>":
            return self.make("=", *term.args)
        if term.op in ("<", "<="):
            return self.make("<=" if term.op == "<" else "<", *reversed(term.args))
        if term.op in ("and", "or"):
            return self.junction(
                "or" if term.op == "and" else "and", [self.negation(child) for child in term.children()]
            )
        if term.op in ("true", "false"):
            return self.make("false" if term.op == "true" else "true")
        return self.make("not", term)

    def junction(self, op: str, parts: Iterable[Term]) -> Term:
        found: dict[Term, None] = {}
        for part in parts:
            for one in part.children() if part.op == op else (part,):
                found[one] = None
        # x and x is x only where x is a condition; 'and' makes one of it
        return self.make(op, *found)

    def condition(self, term: Term) -> Term:
        """In place of a condition that a row must meet, one that is true for the same rows."""
        if term.op == "or" and len(term.children()) == 2:
            for equal, both in (term.children(), reversed(term.children())):
                if equal.op == "=" and both.op == "and":
                    missing = {self.make("is null", one) for one in equal.children()}
                    if equal.pure and missing == set(both.children()):  # one NULL alone: neither is true
                        return self.make("same", *equal.args)
        return term

    def exists(self, block: Block) -> Term:
        """Whether a block has a row. Grouping the rows first changes nothing of that."""
        while len(block.factors) == 1 and not block.attachments:
            [factor] = block.factors
            keys = factor.content.terms
            refs = [ref for condition in block.conditions for ref in condition.refs]
            if (
                factor.content.kind != "group"
                or not keys
                or not all(by_equality(condition) and not condition.queries for condition in block.conditions)
                or any(ref.args[0] is factor and ref.args[1] not in keys for ref in refs)
            ):
                break
            conditions = [self.terms.unlift(condition, factor) for condition in block.conditions]
            block = factor.content.blocks[0].where(conditions)
        return self.make("exists", Content("rows", (block,)), ())

    def product(self, one: Term, two: Term) -> Term:
        for span, factor in ((one, two), (two, one)):
            if span.op == "interval" and len(span.args) == 3 and (number := whole_number(factor)) is not None:
                return self.make("interval", *(str(int(str(part)) * number) for part in span.args))
        return self.make("*", one, two)

    def case(self, parts: list[Term], default: Term) -> Term:
        if len(parts) == 2:
            condition, value = parts
            if condition.op == "is null" and condition.args[0] is default and default.pure:
                return self.coalesce([default, value])
            if condition.op == "not":
                [inner] = condition.children()
                if inner.op == "is null" and inner.args[0] is value and value.pure:
                    return self.coalesce([value, default])
        if default.op == "case" and chosen_alike(default, [*parts[1::2], *branches(default)]):
            parts, default = [*parts, *default.children()[:-1]], default.children()[-1]
        return self.make("case", *parts, default)

    def coalesce(self, values: Iterable[Term]) -> Term:
        given = list(values)
        flattened = [one for value in given for one in (value.children() if value.op == "coalesce" else [value])]
        found: list[Term] = []
        for value in given:
            found += value.children() if value.op == "coalesce" and chosen_alike(value, flattened) else [value]
        sort = chosen_type(found, sort_of)
        if sort is not None:  # what is never chosen decides about no type
            kept = [value for value in found if value.op != "null"]
            end = next((i + 1 for i, value in enumerate(kept) if never_null(value)), len(kept))
            shorter = kept[:end] or found[:1]
            if chosen_type(shorter, sort_of) == sort and not (len(shorter) == 1 and literal(shorter[0])):
                found = shorter
        return self.make("coalesce", *found) if len(found) > 1 else found[0]

    def column(self, term: Term) -> Term:
        """What is read of a column: a literal that has become one has a type like any other."""
        if not literal(term) or term.op == "null":
            return term
        type_ = type_of(term)
        return self.make("cast", type_, term) if type_ else self.make("typed", term)

    def call(self, name: str, values: tuple[Term, ...]) -> Term:
        if name == "coalesce" and values:
            return self.coalesce(values)
        if name == "nullif" and len(values) == 2 and values[0].pure and not literal(values[0]):
            return self.case([self.make("=", *values), self.make("null")], values[0])
        if name == "if" and len(values) == 3:
            return self.case(list(values[:2]), values[2])
        if name in ("date_part", "date_trunc", "date_diff", "date_sub") and values and values[0].op == "text":
            values = (self.make("text", lower(str(values[0].args[0]))), *values[1:])
        if name in ("struct_extract", "array_extract") and len(values) == 2 and values[1].op == "text":
            return self.make("field", values[0], str(values[1].args[0]))
        if name in ("year", "quarter", "month", "day", "hour", "minute", "second") and len(values) == 1:
            return self.make("call", "date_part", (self.make("text", name), values[0]))
        if name == "timezone" and len(values) == 2:
            return self.make("at time zone", values[1], values[0])
        if name in ("greatest", "least") and {type_of(value) for value in values} in _ORDERLESS:
            return self.make("call", name, ("any order", *values))
        if name == "list_value":
            return self.make("call", name, values)
        if name.startswith("to_") and len(values) == 1 and values[0].op == "number":
            span = span_of(f"{values[0].args[0]} {name[3:]}")
            if span:
                return self.make("interval", *span)
        if name in PURE or name in CURRENT_TIME:
            return self.make("call", name, values)
        return self.terms.impure("call", name, values)

    def aggregate(
        self,
        op: str,
        name: str,
        values: list[Term],
        distinct: bool,
        order: tuple[Any, ...],
        kept: Term | None,
        nulls: str,
        window: tuple[Arg, ...],
    ) -> Term:
        """window: of an aggregate with OVER, its parts."""
        filters = list(conjuncts(kept)) if kept is not None else []
        if name == "count" and not distinct and len(values) <= 1:
            for value in values:
                if value.op == "case" and len(value.args) == 3 and _last(value).op == "null":
                    condition, value, _ = value.children()
                    filters += list(conjuncts(condition))
                if not (value.op == "all columns" or never_null(value)):
                    filters.append(self.negation(self.make("is null", value)))
            values = []
        elif name in _FILTERED and len(values) == 1 and not distinct:
            value = values[0]
            if value.op == "case" and len(value.args) == 3 and _last(value).op == "null":
                condition, counted, _ = value.children()
                filters += list(conjuncts(condition))
                values = [counted]
        if name in NULL_SKIPPING and len(values) == 1:  # it passes over these rows anyway
            missing = self.negation(self.make("is null", values[0]))
            filters = [condition for condition in filters if condition is not missing]
        parts: list[Arg] = [name, tuple(values)] if op == "aggregate" else [name, tuple(values), *window]
        if distinct:
            parts.append("distinct")
        if nulls:
            parts.append(nulls)
        if filters:
            parts.append(("filter", self.junction("and", filters)))
        if order:
            if name in ("min", "max", "sum", "avg", "count", "bool_and", "bool_or", "median"):
                pass  # the order of rows does not matter to it
            else:
                parts.append(("order", *order))
        elif name in ORDERED_AGGREGATES or name in PICKING_AGGREGATES:
            parts.append(self.make(PHYSICAL if name in ORDERED_AGGREGATES and op == "aggregate" else ORDER))
        return self.make(op, *parts)


def conjuncts(term: Term) -> Iterator[Term]:
    if term.op == "and":
        for child in term.children():
            yield from conjuncts(child)
    else:
        yield term


def _last(term: Term) -> Term:
    *_, last = term.children()
    return last


def alike(one: Term, two: Term) -> bool:
    """Whether a comparison with both at once casts like one with each: literals of one kind, or of one type."""
    kinds = {_kind(one), _kind(two)}
    return len(kinds) == 1 and None not in kinds


_DECIMAL = re.compile(r"\d{1,9}\.(\d{1,9})")


def _kind(term: Term) -> str | None:
    if not literal(term):
        return sort_of(term)
    if term.op == "negative":
        return _kind(term.children()[0])
    if term.op == "number":
        decimal = _DECIMAL.fullmatch(str(term.args[0]))
        return f"a decimal of {len(decimal[1])} digits" if decimal else type_of(term) and "a number"
    return f"a {term.op}" if term.op == "text" else None


def whole_number(term: Term) -> int | None:
    """A number that is written out: 7, -7."""
    if term.op == "negative":
        number = whole_number(term.children()[0])
        return None if number is None else -number
    return int(str(term.args[0])) if term.op == "number" and type_of(term) == "integer" else None


_SPAN = re.compile(r"\s*([+-]?\d+)\s*([a-z]+)\s*")


def span_of(text: str) -> tuple[str, ...] | None:
    """An interval in words as months, days and microseconds, which is what DuckDB keeps of it."""
    text, at = lower(text), 0
    total = [0, 0, 0]
    while at < len(text):
        found = _SPAN.match(text, at)
        if not found:
            return None
        unit = found[2].removesuffix("s")
        if unit not in UNITS:
            return None
        total = [sum_ + int(found[1]) * one for sum_, one in zip(total, UNITS[unit], strict=True)]
        at = found.end()
    return tuple(map(str, total)) if at else None
