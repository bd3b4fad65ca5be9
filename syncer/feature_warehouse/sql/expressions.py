"""Expressions of SQL to terms: the spellings of one value become one term, and nothing else does.

The rewritings stand in the smart readers below (``_read_between``, ``_not``, ``_coalesce``, ``_aggregate`` ...), each
exact in three-valued logic; ``docs/reference/change-classes.md`` lists them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp

from feature_warehouse.sql.algebra import ORDER, PHYSICAL, Arg, Block, Instance, Term, Terms, constant, type_of
from feature_warehouse.sql.functions import (
    AGGREGATES,
    ALIASES,
    CURRENT_TIME,
    NULL_SKIPPING,
    ORDERED_AGGREGATES,
    PICKING_AGGREGATES,
    PURE,
    TIE_SENSITIVE,
    WINDOWS,
)
from feature_warehouse.sql.text import Unclear, lower, type_name


@dataclass(eq=False)
class Relation:
    """Rows with named columns. ``rest``: every other name is a column of it, ref(..., '*'), except those in hidden."""

    block: Block
    columns: dict[str, Term]
    rest: Term | None = None
    hidden: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        return lower(name) in self.columns or (self.rest is not None and lower(name) not in self.hidden)

    def column(self, name: str, terms: Terms) -> Term:
        """A column by name. Raises KeyError where there is none."""
        name = lower(name)
        if name in self.columns:
            return self.columns[name]
        if self.rest is None or name in self.hidden:
            raise KeyError(name)
        return column_of(self.rest, name, terms)

    def terms(self) -> tuple[Term, ...]:
        return (*self.columns.values(), *([self.rest] if self.rest else []))


@dataclass
class Source:
    """One relation in a FROM clause, in the terms of the block that is being built."""

    alias: str
    columns: dict[str, Term]
    rest: Term | None = None
    hidden: frozenset[str] = frozenset()
    merged: set[str] = field(default_factory=set)  # columns that USING shows once, on the other side


@dataclass
class Scope:
    """What names mean while one SELECT is read."""

    names: Names
    outer: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    shared: dict[str, Term] = field(default_factory=dict)  # columns of USING
    aliases: dict[str, Term] = field(default_factory=dict)
    windows: dict[str, exp.Window] = field(default_factory=dict)
    variables: tuple[str, ...] = ()  # of lambdas


@dataclass
class Names:
    """CTEs in scope; ``once``: names that the whole query reads but once."""

    outer: Names | None = None
    queries: dict[str, tuple[exp.Query, Names, tuple[str, ...]]] = field(default_factory=dict)
    built: dict[str, Relation] = field(default_factory=dict)
    once: frozenset[str] = frozenset()

    def find(self, name: str) -> Names | None:
        scope: Names | None = self
        while scope is not None and name not in scope.queries:
            scope = scope.outer
        return scope


_COMPARISONS: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<="}
_MIRRORED: dict[type[exp.Expr], str] = {exp.GT: "<", exp.GTE: "<="}
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "//",
    exp.Mod: "%",
    exp.DPipe: "||",
}

#: Functions that need no parentheses.
_CLOCKS: dict[type[exp.Expr], str] = {
    exp.CurrentDate: "current_date",
    exp.CurrentTime: "current_time",
    exp.CurrentTimestamp: "current_timestamp",
    exp.Localtime: "localtime",
    exp.Localtimestamp: "localtimestamp",
}

#: Aggregates that pass over rows without a value, so that CASE without ELSE is a filter.
_FILTERED = NULL_SKIPPING | {"count"}

_UNITS = {
    "microsecond": (0, 0, 1), "millisecond": (0, 0, 1_000), "second": (0, 0, 10**6), "minute": (0, 0, 60 * 10**6),
    "hour": (0, 0, 3600 * 10**6), "day": (0, 1, 0), "week": (0, 7, 0), "month": (1, 0, 0), "quarter": (3, 0, 0),
    "year": (12, 0, 0),
}  # fmt: skip


class Expressions(ABC):
    """Reads expressions in a scope."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.make = terms.make

    @abstractmethod
    def query(self, query: exp.Expr, scope: Scope) -> Relation:
        """The rows of a query; scope: names of CTEs, and an outer query's columns, nothing of its own yet."""

    @abstractmethod
    def in_query(self, value: Term, query: exp.Expr, scope: Scope) -> Term:
        """value IN (query)"""

    def _only(self, node: exp.Expr, *known: str) -> None:
        """Raises where a node has a part that is not accounted for."""
        for name, value in node.args.items():
            if name not in known and value not in (None, False, [], ""):
                raise Unclear(f"{name} of {node.key} is not understood")

    # -- expressions ----------------------------------------------------------

    def expression(self, node: exp.Expr, scope: Scope) -> Term:
        read = getattr(self, f"_read_{node.key}", None)
        if read is None:
            if type(node) in _COMPARISONS:
                return self._compare(_COMPARISONS[type(node)], *self._both(node, scope))
            if type(node) in _MIRRORED:
                one, two = self._both(node, scope)
                return self._compare(_MIRRORED[type(node)], two, one)
            if type(node) in _ARITHMETIC:
                return self.make(_ARITHMETIC[type(node)], *self._both(node, scope))
            if type(node) in _ALONE:
                return self._alone(node, scope)
            if type(node) in _CLOCKS:
                self._only(node)
                return self._call(_CLOCKS[type(node)], ())
            raise Unclear(f"{node.key} is not understood")
        term: Term = read(node, scope)
        return term

    def _both(self, node: exp.Expr, scope: Scope) -> tuple[Term, Term]:
        self._only(node, "this", "expression", "safe", "typed")  # the last two are the same in all of DuckDB's SQL
        for side in (node.this, node.expression):
            if type(side) in _ALONE and not isinstance(side, exp.Paren):
                raise Unclear(f"{side.key} beside another operator, without parentheses")
        return self.expression(node.this, scope), self.expression(node.expression, scope)

    def _alone(self, node: exp.Expr, scope: Scope) -> Term:
        """An operator that must not touch another one, since sqlglot may bind the two otherwise than DuckDB."""
        parts: list[Arg] = []
        for name in sorted(node.args):
            value = node.args[name]
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, exp.Expr):
                    if isinstance(one, (exp.Binary, exp.Unary, exp.Between, exp.In, exp.AtTimeZone)) and not isinstance(
                        one, (exp.Paren, exp.Dot)
                    ):
                        raise Unclear(f"{node.key} beside another operator, without parentheses")
                    parts.append(self.expression(one, scope))
                elif one not in (None, False):
                    parts.append(f"{name}={one}")
        return self.make(f"operator {node.key}", *parts)

    def _compare(self, op: str, one: Term, two: Term) -> Term:
        return self.make(op, one, two)

    def _not(self, term: Term) -> Term:
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
            return self._all("or" if term.op == "and" else "and", [self._not(child) for child in term.children()])
        if term.op in ("true", "false"):
            return self.make("false" if term.op == "true" else "true")
        return self.make("not", term)

    def _all(self, op: str, parts: Iterable[Term]) -> Term:
        found: dict[Term, None] = {}
        for part in parts:
            for one in part.children() if part.op == op else (part,):
                found[one] = None
        # x and x is x only where x is a condition; 'and' makes one of it
        return self.make(op, *found)

    def _read_paren(self, node: exp.Paren, scope: Scope) -> Term:
        self._only(node, "this")
        return self.expression(node.this, scope)

    def _read_and(self, node: exp.And, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        parts = [self.expression(one, scope) for one in node.flatten(unnest=False)]
        return self._all("and", parts)

    def _read_or(self, node: exp.Or, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        parts = [self.expression(one, scope) for one in node.flatten(unnest=False)]
        return self._all("or", parts)

    def _read_not(self, node: exp.Not, scope: Scope) -> Term:
        self._only(node, "this")
        self._touching(node.this)
        return self._not(self.expression(node.this, scope))

    def _touching(self, side: exp.Expr) -> None:
        if type(side) in _ALONE:
            raise Unclear(f"{side.key} beside another operator, without parentheses")

    def _read_neg(self, node: exp.Neg, scope: Scope) -> Term:
        self._only(node, "this")
        self._touching(node.this)
        return self.make("negative", self.expression(node.this, scope))

    def _read_add(self, node: exp.Add, scope: Scope) -> Term:
        one, two = self._both(node, scope)
        # of two lists + makes one, and their order counts
        scalars = _SCALARS & {type_of(one), type_of(two)} or any(t.op in _NUMERIC for t in (one, two))
        return self.make("+ of scalars" if scalars else "+", one, two)

    def _read_literal(self, node: exp.Literal, scope: Scope) -> Term:
        if node.is_string:
            return self.make("text", str(node.this))
        return self.make("number", str(node.this).replace("_", "").lower())

    def _read_boolean(self, node: exp.Boolean, scope: Scope) -> Term:
        return self.make("true" if node.this else "false")

    def _read_null(self, node: exp.Null, scope: Scope) -> Term:
        return self.make("null")

    def _read_is(self, node: exp.Is, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        self._touching(node.this)
        value = self.expression(node.this, scope)
        if isinstance(node.expression, exp.Null):
            return self.make("is null", value)
        if isinstance(node.expression, exp.Boolean):
            return self.make("same", self.make("cast", "boolean", value), self.expression(node.expression, scope))
        raise Unclear("is what")

    def _read_nullsafeeq(self, node: exp.Expr, scope: Scope) -> Term:
        return self.make("same", *self._both(node, scope))

    def _read_nullsafeneq(self, node: exp.Expr, scope: Scope) -> Term:
        return self._not(self.make("same", *self._both(node, scope)))

    def _read_like(self, node: exp.Expr, scope: Scope) -> Term:
        self._only(node, "this", "expression", "negate")
        for side in (node.this, node.expression):
            self._touching(side)
        term = self.make(node.key, self.expression(node.this, scope), self.expression(node.expression, scope))
        return self._not(term) if node.args.get("negate") else term

    _read_ilike = _read_like

    def _read_escape(self, node: exp.Escape, scope: Scope) -> Term:
        return self.make("escape", *self._both(node, scope))

    def _read_between(self, node: exp.Between, scope: Scope) -> Term:
        self._only(node, "this", "low", "high")
        for side in (node.this, node.args["low"], node.args["high"]):
            self._touching(side)
        value = self.expression(node.this, scope)
        low, high = self.expression(node.args["low"], scope), self.expression(node.args["high"], scope)
        if value.pure and _alike(low, high):
            return self._all("and", [self.make("<=", low, value), self.make("<=", value, high)])
        return self.make("between", value, low, high)

    def _read_in(self, node: exp.In, scope: Scope) -> Term:
        self._only(node, "this", "expressions", "query")
        self._touching(node.this)
        value = self.expression(node.this, scope)
        query = node.args.get("query")
        if query is not None:
            return self.in_query(value, query, scope)
        options = [self.expression(one, scope) for one in node.expressions]
        if not options or any(isinstance(one, exp.Tuple) for one in node.expressions):
            raise Unclear("in a list of tuples")
        if value.pure and all(_alike(options[0], option) for option in options[1:]):
            return self._all("or", [self._compare("=", value, option) for option in options])
        return self.make("in", value, ("any order", *options))

    def _read_cast(self, node: exp.Cast, scope: Scope) -> Term:
        self._only(node, "this", "to", "safe")
        self._touching(node.this)
        to = node.args["to"]
        if isinstance(to, exp.Interval) or not isinstance(to, exp.DataType):
            raise Unclear("a cast to what is no type")
        kind, value = type_name(to), self.expression(node.this, scope)
        if type_of(value) == kind:
            return value
        return self.make("cast", kind, value)

    def _read_trycast(self, node: exp.TryCast, scope: Scope) -> Term:
        self._only(node, "this", "to", "safe")
        kind, value = type_name(node.args["to"]), self.expression(node.this, scope)
        return value if type_of(value) == kind else self.make("try cast", kind, value)

    def _read_case(self, node: exp.Case, scope: Scope) -> Term:
        self._only(node, "this", "ifs", "default")
        value = self.expression(node.this, scope) if node.this else None
        if value is not None and not value.pure:
            raise Unclear("a case of a value that changes from call to call")
        parts: list[Term] = []
        for one in node.args["ifs"]:
            self._only(one, "this", "true")
            condition = self.expression(one.this, scope)
            parts.append(condition if value is None else self._compare("=", value, condition))
            parts.append(self.expression(one.args["true"], scope))
        default = node.args.get("default")
        return self._case(parts, self.expression(default, scope) if default is not None else self.make("null"))

    def _case(self, parts: list[Term], default: Term) -> Term:
        if len(parts) == 2:
            condition, value = parts
            if condition.op == "is null" and condition.args[0] is default and default.pure:
                return self._coalesce([default, value])
            if condition.op == "not":
                [inner] = condition.children()
                if inner.op == "is null" and inner.args[0] is value and value.pure:
                    return self._coalesce([value, default])
        if default.op == "case" and type_of(default) is not None:  # case a then b else case c then d end end
            return self.make("case", *parts, *default.args)
        return self.make("case", *parts, default)

    def _read_if(self, node: exp.If, scope: Scope) -> Term:
        self._only(node, "this", "true", "false")
        default = node.args.get("false")
        return self._case(
            [self.expression(node.this, scope), self.expression(node.args["true"], scope)],
            self.expression(default, scope) if default is not None else self.make("null"),
        )

    def _coalesce(self, values: Iterable[Term]) -> Term:
        found: list[Term] = []
        for value in values:  # of one type, so that no value is cast on the way
            found += value.children() if value.op == "coalesce" and type_of(value) is not None else [value]
        return self.make("coalesce", *found) if len(found) > 1 else found[0]

    def _read_interval(self, node: exp.Interval, scope: Scope) -> Term:
        self._only(node, "this", "unit")
        unit = lower(node.args["unit"].name) if node.args.get("unit") else ""
        if not isinstance(node.this, exp.Literal):
            if unit.rstrip("s") not in _UNITS or node.this is None:
                raise Unclear("an interval of what")
            return self.make("interval of", unit.rstrip("s"), self.expression(node.this, scope))
        span = _span(f"{node.this.name} {unit}")
        return self.make("interval", *(span or (node.this.name, unit)))

    def _read_extract(self, node: exp.Extract, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        return self._call(
            "date_part", (self.make("text", lower(node.this.name)), self.expression(node.expression, scope))
        )

    def _read_attimezone(self, node: exp.AtTimeZone, scope: Scope) -> Term:
        self._only(node, "this", "zone")
        self._touching(node.this)
        self._touching(node.args["zone"])
        return self.make("at time zone", self.expression(node.this, scope), self.expression(node.args["zone"], scope))

    def _read_array(self, node: exp.Expr, scope: Scope) -> Term:
        self._only(node, "expressions", "bracket_notation")
        return self.make("call", "list_value", tuple(self.expression(one, scope) for one in node.expressions))

    def _read_tuple(self, node: exp.Tuple, scope: Scope) -> Term:
        self._only(node, "expressions")
        return self.make("tuple", *(self.expression(one, scope) for one in node.expressions))

    def _read_struct(self, node: exp.Struct, scope: Scope) -> Term:
        self._only(node, "expressions")
        fields: list[Arg] = []
        for one in node.expressions:
            if not isinstance(one, exp.PropertyEQ):
                raise Unclear("a struct without names")
            fields.append((lower(one.this.name), self.expression(one.expression, scope)))
        return self.make("struct", *fields)

    def _read_bracket(self, node: exp.Bracket, scope: Scope) -> Term:
        self._only(node, "this", "expressions", "offset")
        self._touching(node.this)
        if any(isinstance(one, exp.Slice) for one in node.expressions):
            raise Unclear("a slice")
        keys = tuple(self.expression(one, scope) for one in node.expressions)
        return self.make("bracket", self.expression(node.this, scope), f"{node.args.get('offset')}", *keys)

    def _read_dot(self, node: exp.Dot, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        if not isinstance(node.expression, exp.Identifier):
            raise Unclear("a dot before what is no name")
        return self.make("field", self.expression(node.this, scope), lower(node.expression.name))

    def _read_lambda(self, node: exp.Lambda, scope: Scope) -> Term:
        self._only(node, "this", "expressions", "colon")
        names = tuple(lower(one.name) for one in node.expressions)
        inner = replace(scope, variables=(*scope.variables, *names))
        return self.make("lambda", f"{len(names)}", self.expression(node.this, inner))

    def _read_star(self, node: exp.Star, scope: Scope) -> Term:
        self._only(node)
        return self.make("all columns")

    # -- columns --------------------------------------------------------------

    def _read_identifier(self, node: exp.Expr, scope: Scope) -> Term:
        return self._variable(lower(node.name), scope) or self._column(lower(node.name), scope)

    def _variable(self, name: str, scope: Scope) -> Term | None:
        if name in scope.variables:
            depth = len(scope.variables) - 1 - scope.variables[::-1].index(name)
            return self.make("variable", f"{depth}")
        return None

    def _read_column(self, node: exp.Column, scope: Scope) -> Term:
        self._only(node, "this", "table", "db")
        if not isinstance(node.this, exp.Identifier):
            raise Unclear("a star that is no column")
        parts = [lower(part.name) for part in node.parts]
        if len(parts) == 1:
            return self._read_identifier(node.this, scope)
        variable = self._variable(parts[0], scope)
        if variable is None:
            at: Scope | None = scope
            while at is not None:
                for source in at.sources:
                    if source.alias == parts[0]:
                        found = self._of(source, parts[1])
                        if found is None:
                            raise Unclear(f"{parts[0]} has no column {parts[1]}")
                        return self._field(found, parts[2:])
                at = at.outer
        return self._field(variable or self._column(parts[0], scope), parts[1:])

    def _field(self, struct: Term, names: list[str]) -> Term:
        for name in names:
            struct = self.make("field", struct, name)
        return struct

    def _of(self, source: Source, name: str) -> Term | None:
        if name in source.columns:
            return source.columns[name]
        if source.rest is not None and name not in source.hidden:
            return column_of(source.rest, name, self.terms)
        return None

    def _column(self, name: str, scope: Scope) -> Term:
        """A name without a relation: a column first, then another column's alias, then the outer query's."""
        if name in scope.shared:
            return scope.shared[name]
        known = [source.columns[name] for source in scope.sources if name in source.columns]
        if len(known) > 1:
            raise Unclear(f"{name} is a column of several relations")
        if known:
            return known[0]
        candidates = [
            column_of(source.rest, name, self.terms)
            for source in scope.sources
            if source.rest is not None and name not in source.hidden
        ]
        if len(candidates) > 1:
            raise Unclear(f"whose column {name} is cannot be told: the columns of the sources are not known")
        if name in scope.aliases:
            candidates.append(scope.aliases[name])
        elif scope.outer is not None:
            try:
                candidates.append(self._column(name, scope.outer))
            except Unclear:
                if not candidates:
                    raise
        if not candidates:
            raise Unclear(f"there is no column {name}")
        # where a source's columns are not known, the first of these that exists
        return candidates[0] if len(candidates) == 1 else self.make("shadowed", *candidates)

    # -- calls ----------------------------------------------------------------

    def _read_anonymous(self, node: exp.Anonymous, scope: Scope) -> Term:
        self._only(node, "this", "expressions")
        return self._function_call(node, scope)

    def _function_call(
        self,
        node: exp.Expr,
        scope: Scope,
        *,
        kept: Term | None = None,
        nulls: str = "",
        within: tuple[Any, ...] = (),
        over: exp.Window | None = None,
    ) -> Term:
        """kept: FILTER; nulls: IGNORE or RESPECT; within: WITHIN GROUP's order; over: the window."""
        if not isinstance(node, exp.Anonymous):
            raise Unclear(f"{node.key} as a function")
        name = lower(node.name)
        name = ALIASES.get(name, name)
        if name == "columns":
            raise Unclear("columns() is not understood")
        arguments = list(node.expressions)
        distinct = False
        order: tuple[Any, ...] = within
        if len(arguments) == 1 and isinstance(arguments[0], exp.Distinct):
            self._only(arguments[0], "expressions")
            distinct, arguments = True, list(arguments[0].expressions)
        for position, argument in enumerate(arguments):
            if isinstance(argument, exp.Order):
                if position < len(arguments) - 1:
                    raise Unclear("an order before an argument")
                self._only(argument, "this", "expressions")
                order = self._ordering_keys(argument, scope)
                if isinstance(argument.this, exp.Distinct):
                    self._only(argument.this, "expressions")
                    distinct = True
                    arguments[position : position + 1] = argument.this.expressions
                elif argument.this is None:
                    raise Unclear("an order of nothing")
                else:
                    arguments[position] = argument.this
            elif isinstance(argument, (exp.IgnoreNulls, exp.RespectNulls)):
                if len(arguments) > 1:
                    raise Unclear("ignore nulls before an argument")
                nulls = argument.key
                arguments[position] = argument.this
        values = []
        for argument in arguments:
            if isinstance(argument, exp.PropertyEQ):
                values.append(
                    self.make("named", lower(argument.this.name), self.expression(argument.expression, scope))
                )
            elif isinstance(argument, (exp.Distinct, exp.Order, exp.Having, exp.Limit)):
                raise Unclear(f"{argument.key} within {name}()")
            else:
                values.append(self.expression(argument, scope))
        if over is not None:
            return self._window(name, values, distinct, order, kept, nulls, over, scope)
        if name in AGGREGATES:
            return self._aggregate("aggregate", name, values, distinct, order, kept, nulls, ())
        if distinct or order or kept is not None or nulls or name in WINDOWS:
            raise Unclear(f"{name}() as an aggregate")
        if name == "unnest":
            return self.make("unnest", *values)
        return self._call(name, tuple(values))

    def _call(self, name: str, values: tuple[Term, ...]) -> Term:
        if name == "coalesce" and values:
            return self._coalesce(values)
        if name == "nullif" and len(values) == 2 and values[0].pure:
            return self._case([self._compare("=", *values), self.make("null")], values[0])
        if name == "if" and len(values) == 3:
            return self._case(list(values[:2]), values[2])
        if name == "date_part" and len(values) == 2 and values[0].op == "text":
            part = lower(str(values[0].args[0]))
            return self.make("call", name, (self.make("text", part), values[1]))
        if name in ("year", "quarter", "month", "day", "hour", "minute", "second") and len(values) == 1:
            return self.make("call", "date_part", (self.make("text", name), values[0]))
        if name == "timezone" and len(values) == 2:
            return self.make("at time zone", values[1], values[0])
        if name in ("greatest", "least") and {type_of(value) for value in values} in _OF_ONE_FORM:
            return self.make("call", name, ("any order", *values))
        if name == "list_value":
            return self.make("call", name, values)
        if name.startswith("to_") and len(values) == 1 and values[0].op == "number":
            span = _span(f"{values[0].args[0]} {name[3:]}")
            if span:
                return self.make("interval", *span)
        if name in PURE or name in CURRENT_TIME:
            return self.make("call", name, values)
        return self.terms.impure("call", name, values)

    def _aggregate(
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
            value = values[0] if values else self.make("all columns")
            if value.op == "all columns" or value.op in ("number", "text", "true", "false"):
                values = []
            elif value.op == "case" and len(value.args) == 3 and value.children() and _last(value).op == "null":
                condition, counted, _ = value.children()
                filters += list(conjuncts(condition))
                if not (constant(counted) and counted.op != "null"):
                    filters.append(self._not(self.make("is null", counted)))
                values = []
            else:
                filters.append(self._not(self.make("is null", value)))
                values = []
        elif name in _FILTERED and len(values) == 1 and not distinct:
            value = values[0]
            if value.op == "case" and len(value.args) == 3 and _last(value).op == "null":
                condition, counted, _ = value.children()
                filters += list(conjuncts(condition))
                values = [counted]
        if name == "count_if" and len(values) == 1 and not distinct and not filters:
            pass  # its type differs from count's
        parts: list[Arg] = [name, tuple(values)] if op == "aggregate" else [name, tuple(values), *window]
        if distinct:
            parts.append("distinct")
        if nulls:
            parts.append(nulls)
        if filters:
            parts.append(("filter", self._all("and", filters)))
        if order:
            if name in ("min", "max", "sum", "avg", "count", "bool_and", "bool_or", "median"):
                pass  # the order of rows does not matter to it
            else:
                parts.append(("order", *order))
        elif name in ORDERED_AGGREGATES or name in PICKING_AGGREGATES:
            parts.append(self.make(PHYSICAL if name in ORDERED_AGGREGATES and op == "aggregate" else ORDER))
        return self.make(op, *parts)

    def _key(self, node: exp.Expr) -> tuple[exp.Expr, bool, bool]:
        """What is ordered by; whether descending; whether NULLs come first."""
        if not isinstance(node, exp.Ordered):
            return node, False, False
        self._only(node, "this", "desc", "nulls_first")
        return node.this, bool(node.args.get("desc")), bool(node.args.get("nulls_first"))

    def _ordering_keys(self, node: exp.Expr, scope: Scope) -> tuple[Any, ...]:
        found = []
        for one in node.expressions:
            term, *how = self._key(one)
            if isinstance(term, exp.Literal) and not term.is_string:
                raise Unclear("an order by position")
            found.append((self.expression(term, scope), *how))
        return tuple(found)

    def _read_filter(self, node: exp.Filter, scope: Scope) -> Term:
        return self._decorated(node, scope)

    _read_ignorenulls = _read_respectnulls = _read_withingroup = _read_window = _read_filter

    def _decorated(self, node: exp.Expr, scope: Scope) -> Term:
        """A function with FILTER, IGNORE NULLS, WITHIN GROUP and OVER around it."""
        kept, nulls, within, over = None, "", (), None
        while not isinstance(node, exp.Anonymous):
            if isinstance(node, exp.Filter):
                self._only(node, "this", "expression")
                kept = self.expression(node.expression.this, scope)
            elif isinstance(node, (exp.IgnoreNulls, exp.RespectNulls)):
                self._only(node, "this")
                nulls = node.key
            elif isinstance(node, exp.WithinGroup):
                self._only(node, "this", "expression")
                within = ("within group", *self._ordering_keys(node.expression, scope))
            elif isinstance(node, exp.Window) and over is None:
                over = node
            else:
                raise Unclear(f"{node.key} around a function")
            node = node.this
        return self._function_call(node, scope, kept=kept, nulls=nulls, within=within, over=over)

    def _window(
        self,
        name: str,
        values: list[Term],
        distinct: bool,
        order: tuple[Any, ...],
        kept: Term | None,
        nulls: str,
        over: exp.Window,
        scope: Scope,
    ) -> Term:
        if name not in AGGREGATES and name not in WINDOWS:
            raise Unclear(f"{name}() over a window")
        if name in ("lag", "lead") and len(values) == 2 and (values[1].op, values[1].args) == ("number", ("1",)):
            values = values[:1]
        if over.args.get("alias"):
            self._only(over, "this", "alias", "over")
            if lower(over.alias) not in scope.windows:
                raise Unclear(f"the window {over.alias} is not defined")
            over = scope.windows[lower(over.alias)]
            self._only(over, "this", "partition_by", "order", "spec")
        else:
            self._only(over, "this", "partition_by", "order", "spec", "over")
        if any("window" in value.computes for value in values):
            raise Unclear("a window within a window")
        partition = [self.expression(one, scope) for one in over.args.get("partition_by") or ()]
        keys = self._ordering_keys(over.args["order"], scope) if over.args.get("order") else ()
        frame = self._frame(over.args.get("spec"), bool(keys), scope)
        if over.args.get("spec") is None and name in WINDOWS - {"first_value", "last_value", "nth_value"}:
            frame = ()  # these look at the partition, not at the frame
        window: tuple[Arg, ...] = (("any order", *partition), tuple(keys), frame)
        if name in TIE_SENSITIVE or frame[:1] == ("rows",) or frame[:1] == ("groups",):
            window = (*window, self.make(ORDER if keys else PHYSICAL))
        if name in AGGREGATES:
            return self._aggregate("window", name, values, distinct, order, kept, nulls, window)
        if distinct or order or kept is not None:
            raise Unclear(f"{name}() as an aggregate")
        return self.make("window", name, tuple(values), *window, *([nulls] if nulls == "ignorenulls" else []))

    def _frame(self, spec: exp.Expr | None, ordered: bool, scope: Scope) -> tuple[Arg, ...]:
        """The frame with its defaults filled in; () is the whole partition."""
        if spec is None:
            return ("range", "unbounded preceding", "current row") if ordered else ()
        self._only(spec, "kind", "start", "start_side", "end", "end_side", "exclude")
        kind = lower(str(spec.args.get("kind") or ""))
        if kind not in ("rows", "range", "groups"):
            raise Unclear(f"a window frame of {kind}")

        def bound(which: str) -> Arg:
            value, side = spec.args.get(which), lower(str(spec.args.get(f"{which}_side") or ""))
            if isinstance(value, exp.Expr):
                if not side:
                    raise Unclear("a window frame without a side")
                return (self.expression(value, scope), side)
            text = lower(str(value or "current row"))
            if text not in ("unbounded", "current row"):
                raise Unclear(f"a window frame from {text}")
            return " ".join(part for part in (text, side) if part)

        start, end = bound("start"), bound("end")
        excluded = spec.args.get("exclude")
        name = lower(excluded.name if isinstance(excluded, exp.Expr) else str(excluded)) if excluded else ""
        if (start, end, name) == ("unbounded preceding", "unbounded following", ""):
            return ()
        return (kind, start, end, *([name] if name and name != "no others" else []))


def parts_of(value: Any) -> list[exp.Expr]:
    if value is None or value is False:
        return []
    if isinstance(value, exp.Tuple):
        return list(value.expressions)
    return list(value) if isinstance(value, list) else [value]


#: Types whose equal values are the same value; of doubles, 0.0 and -0.0 are equal.
_OF_ONE_FORM = [{kind} for kind in ("bigint", "integer", "date", "timestamp", "timestamptz")]


def conjuncts(term: Term) -> Iterator[Term]:
    if term.op == "and":
        for child in term.children():
            yield from conjuncts(child)
    else:
        yield term


def column_of(rest: Term, name: str, terms: Terms) -> Term:
    """The column of that name among those that a star stands for."""
    instance, what = rest.args
    assert isinstance(instance, Instance)
    return terms.ref(instance, column_of(what, name, terms) if isinstance(what, Term) else name)


def _last(term: Term) -> Term:
    *_, last = term.children()
    return last


def _alike(one: Term, two: Term) -> bool:
    """Whether a comparison with both at once casts like one with each: literals of one kind, or of one type."""
    kinds = [
        ("number", "." in str(t.args[0]) or "e" in str(t.args[0]))
        if t.op == "number"
        else t.op
        if t.op == "text"
        else None
        for t in (one, two)
    ]
    if None not in kinds:
        return kinds[0] == kinds[1]
    if kinds == [None, None]:
        types = {type_of(one), type_of(two)}
        return len(types) == 1 or None in types
    return False


_SPAN = re.compile(r"\s*([+-]?\d+)\s*([a-z]+)\s*")


def _span(text: str) -> tuple[str, ...] | None:
    """An interval in words as months, days and microseconds, which is what DuckDB keeps of it."""
    text, at = lower(text), 0
    total = [0, 0, 0]
    while at < len(text):
        found = _SPAN.match(text, at)
        if not found:
            return None
        unit = found[2].removesuffix("s")
        if unit not in _UNITS:
            return None
        total = [sum_ + int(found[1]) * one for sum_, one in zip(total, _UNITS[unit], strict=True)]
        at = found.end()
    return tuple(map(str, total)) if at else None


#: Types of which + does not make a list.
_SCALARS = {
    "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "float",
    "double", "date", "time", "timestamp", "timestamptz", "interval",
}  # fmt: skip

_NUMERIC = {"number", "interval", "interval of", "negative", "*", "/", "//", "%", "-", "+ of scalars"}

#: Operators that DuckDB binds otherwise than sqlglot does, beside others; a test holds all others against its parser.
_ALONE: set[type[exp.Expr]] = {
    exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.Pow,
    exp.Glob, exp.SimilarTo,
}  # fmt: skip
