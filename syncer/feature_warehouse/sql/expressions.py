"""Expressions of SQL to terms. Every part of the tree is read, or it is unclear; what is another spelling of the same
value is for ``rewritings``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from sqlglot import exp

from feature_warehouse.sql.algebra import Arg, Term, Terms
from feature_warehouse.sql.rewritings import UNITS, Rewritings, alike, span_of
from feature_warehouse.sql.scope import Relation, Scope, Source, column_of
from feature_warehouse.sql.text import Unclear, lower, type_name
from feature_warehouse.sql.types import NUMERIC, SCALARS, literal, type_of

_COMPARISONS: dict[type[exp.Expr], str] = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<="}
_MIRRORED: dict[type[exp.Expr], str] = {exp.GT: "<", exp.GTE: "<="}
_ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Sub: "-",
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


class Expressions(ABC):
    """Reads expressions in a scope."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.make = terms.make
        self.rewrite = Rewritings(terms)

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
                return self.make(_COMPARISONS[type(node)], *self._both(node, scope))
            if type(node) in _MIRRORED:
                one, two = self._both(node, scope)
                return self.make(_MIRRORED[type(node)], two, one)
            if type(node) in _ARITHMETIC:
                return self.make(_ARITHMETIC[type(node)], *self._both(node, scope))
            if type(node) in _ALONE:
                return self._alone(node, scope)
            if type(node) in _CLOCKS:
                self._only(node)
                return self.rewrite.call(_CLOCKS[type(node)], ())
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

    def _read_paren(self, node: exp.Paren, scope: Scope) -> Term:
        self._only(node, "this")
        return self.expression(node.this, scope)

    def _read_and(self, node: exp.And, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        parts = [self.expression(one, scope) for one in node.flatten(unnest=False)]
        return self.rewrite.junction("and", parts)

    def _read_or(self, node: exp.Or, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        parts = [self.expression(one, scope) for one in node.flatten(unnest=False)]
        return self.rewrite.junction("or", parts)

    def _read_not(self, node: exp.Not, scope: Scope) -> Term:
        self._only(node, "this")
        self._touching(node.this)
        return self.rewrite.negation(self.expression(node.this, scope))

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
        scalars = not SCALARS.isdisjoint((type_of(one), type_of(two))) or any(t.op in NUMERIC for t in (one, two))
        return self.make("+ of scalars" if scalars else "+", one, two)

    def _read_mul(self, node: exp.Mul, scope: Scope) -> Term:
        return self.rewrite.product(*self._both(node, scope))

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
        return self.rewrite.negation(self.make("same", *self._both(node, scope)))

    def _read_like(self, node: exp.Expr, scope: Scope) -> Term:
        self._only(node, "this", "expression", "negate")
        for side in (node.this, node.expression):
            self._touching(side)
        term = self.make(node.key, self.expression(node.this, scope), self.expression(node.expression, scope))
        return self.rewrite.negation(term) if node.args.get("negate") else term

    _read_ilike = _read_like

    def _read_escape(self, node: exp.Escape, scope: Scope) -> Term:
        return self.make("escape", *self._both(node, scope))

    def _read_between(self, node: exp.Between, scope: Scope) -> Term:
        self._only(node, "this", "low", "high")
        for side in (node.this, node.args["low"], node.args["high"]):
            self._touching(side)
        value = self.expression(node.this, scope)
        low, high = self.expression(node.args["low"], scope), self.expression(node.args["high"], scope)
        if value.pure and alike(low, high):
            return self.rewrite.junction("and", [self.make("<=", low, value), self.make("<=", value, high)])
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
        if value.pure and all(alike(options[0], option) for option in options[1:]):
            return self.rewrite.junction("or", [self.make("=", value, option) for option in options])
        return self.make("in", value, ("any order", *options))

    def _read_cast(self, node: exp.Cast, scope: Scope) -> Term:
        self._only(node, "this", "to", "safe")
        self._touching(node.this)
        to = node.args["to"]
        if isinstance(to, exp.Interval) or not isinstance(to, exp.DataType):
            raise Unclear("a cast to what is no type")
        kind, value = type_name(to), self.expression(node.this, scope)
        return value if type_of(value) == kind and not literal(value) else self.make("cast", kind, value)

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
            parts.append(condition if value is None else self.make("=", value, condition))
            parts.append(self.expression(one.args["true"], scope))
        default = node.args.get("default")
        return self.rewrite.case(parts, self.expression(default, scope) if default is not None else self.make("null"))

    def _read_if(self, node: exp.If, scope: Scope) -> Term:
        self._only(node, "this", "true", "false")
        default = node.args.get("false")
        return self.rewrite.case(
            [self.expression(node.this, scope), self.expression(node.args["true"], scope)],
            self.expression(default, scope) if default is not None else self.make("null"),
        )

    def _read_interval(self, node: exp.Interval, scope: Scope) -> Term:
        self._only(node, "this", "unit")
        unit = lower(node.args["unit"].name) if node.args.get("unit") else ""
        if not isinstance(node.this, exp.Literal):
            if unit.rstrip("s") not in UNITS or node.this is None:
                raise Unclear("an interval of what")
            return self.make("interval of", unit.rstrip("s"), self.expression(node.this, scope))
        span = span_of(f"{node.this.name} {unit}")
        return self.make("interval", *(span or (node.this.name, unit)))

    def _read_extract(self, node: exp.Extract, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        return self.rewrite.call(
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
            fields.append((one.this.name, self.expression(one.expression, scope)))
        return self.make("struct", *fields)

    def _read_bracket(self, node: exp.Bracket, scope: Scope) -> Term:
        self._only(node, "this", "expressions", "offset")
        self._touching(node.this)
        if any(isinstance(one, exp.Slice) for one in node.expressions):
            raise Unclear("a slice")
        keys = tuple(self.expression(one, scope) for one in node.expressions)
        if len(keys) == 1 and keys[0].op == "text":  # of a struct, a map or JSON, as with a dot
            return self._field(self.expression(node.this, scope), [str(keys[0].args[0])])
        return self.make("bracket", self.expression(node.this, scope), f"{node.args.get('offset')}", *keys)

    def _read_dot(self, node: exp.Dot, scope: Scope) -> Term:
        self._only(node, "this", "expression")
        if not isinstance(node.expression, exp.Identifier):
            raise Unclear("a dot before what is no name")
        return self._field(self.expression(node.this, scope), [node.expression.name])

    def _read_lambda(self, node: exp.Lambda, scope: Scope) -> Term:
        self._only(node, "this", "expressions", "colon")
        names = tuple(lower(one.name) for one in node.expressions)
        inner = replace(scope, variables=(*scope.variables, *names))
        return self.make("lambda", f"{len(names)}", self.expression(node.this, inner))

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
        parts = [part.name for part in node.parts]
        if len(parts) == 1:
            return self._read_identifier(node.this, scope)
        first, second = map(lower, parts[:2])
        variable = self._variable(first, scope)
        at: Scope | None = None if variable else scope
        while at is not None:
            for source in at.sources:
                if source.alias == first:
                    found = self._of(source, second)
                    if found is None:
                        raise Unclear(f"{first} has no column {second}")
                    return self._field(found, parts[2:])
            if len(parts) > 2 and any(source.alias == second for source in at.sources):
                raise Unclear(f"{first}.{second} may be a relation, or a field of a struct")
            at = at.outer
        return self._field(variable or self._column(first, scope), parts[1:])

    def _field(self, struct: Term, names: list[str]) -> Term:
        for name in names:  # in the letters that were written: it may be the key of a map
            struct = self.make("field", struct, name)
        return struct

    def _of(self, source: Source, name: str) -> Term | None:
        if name in source.columns:
            return source.columns[name]
        if source.rest is None or name in source.hidden:
            return None
        if name == "rowid":
            raise Unclear("rowid is where a row happens to be stored")
        return column_of(source.rest, name, self.terms)

    def _column(self, name: str, scope: Scope) -> Term:
        found = self._meant(name, scope)
        if not found:
            raise Unclear(f"there is no column {name}")
        # where a source's columns are not known, the first of these that exists
        return found[0] if len(found) == 1 else self.make("shadowed", *found)

    def _meant(self, name: str, scope: Scope) -> list[Term]:
        """What a name without a relation may mean: a column first, then another column's alias, then the outer
        query's. A relation's own name would be its whole row, of which no columns are told apart."""
        found = self._shown(name, scope)
        if any(name in source.columns for source in scope.sources) or name in scope.shared:
            return found
        if any(source.alias == name for source in scope.sources):
            raise Unclear(f"{name} may be a whole row of {name}")
        if name in scope.aliases:
            return [*found, scope.aliases[name]]
        return [*found, *self._meant(name, scope.outer)] if scope.outer is not None else found

    def _shown(self, name: str, scope: Scope) -> list[Term]:
        """The column of that name among those of the relations; none where there is none."""
        if name in scope.shared:
            return [scope.shared[name]]
        known = [source.columns[name] for source in scope.sources if name in source.columns]
        if len(known) > 1:
            raise Unclear(f"{name} is a column of several relations")
        found = known or [term for source in scope.sources if (term := self._of(source, name)) is not None]
        if len(found) > 1:
            raise Unclear(f"whose column {name} is cannot be told: the columns of the sources are not known")
        return found


def parts_of(value: Any) -> list[exp.Expr]:
    if value is None or value is False:
        return []
    if isinstance(value, exp.Tuple):
        return list(value.expressions)
    return list(value) if isinstance(value, list) else [value]


#: Operators that DuckDB binds otherwise than sqlglot does, beside others; a test holds all others against its parser.
_ALONE: set[type[exp.Expr]] = {
    exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.Pow,
    exp.Glob, exp.SimilarTo,
}  # fmt: skip
