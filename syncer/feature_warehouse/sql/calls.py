"""Calls of functions to terms: aggregates, windows and their frames, and what may stand around them."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from feature_warehouse.sql.algebra import ORDER, PHYSICAL, Arg, Term
from feature_warehouse.sql.expressions import Expressions
from feature_warehouse.sql.functions import AGGREGATES, ALIASES, TIE_SENSITIVE, WINDOWS
from feature_warehouse.sql.scope import Scope
from feature_warehouse.sql.text import Unclear, lower


class Calls(Expressions):
    """Reads calls in a scope."""

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
                values.append(self.make("named", argument.this.name, self.expression(argument.expression, scope)))
            elif isinstance(argument, exp.Star) and name == "count":
                self._only(argument)
                values.append(self.make("all columns"))
            elif isinstance(argument, (exp.Distinct, exp.Order, exp.Having, exp.Limit)):
                raise Unclear(f"{argument.key} within {name}()")
            else:
                values.append(self.expression(argument, scope))
        if over is not None:
            return self._window(name, values, distinct, order, kept, nulls, over, scope)
        if name in AGGREGATES:
            return self.rewrite.aggregate("aggregate", name, values, distinct, order, kept, nulls, ())
        if distinct or order or kept is not None or nulls or name in WINDOWS:
            raise Unclear(f"{name}() as an aggregate")
        if name == "unnest":
            return self.make("unnest", *values)
        return self.rewrite.call(name, tuple(values))

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
            return self.rewrite.aggregate("window", name, values, distinct, order, kept, nulls, window)
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
