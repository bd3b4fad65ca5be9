"""Queries of SQL to relations: CTEs, selects, groupings, windows, set operations.

A CTE, a subquery, a model above: each is a relation, and where it only filters, joins or computes columns its rows
melt into the block that reads it. So a query means the same however it is cut up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from sqlglot import exp

from feature_warehouse.sql.algebra import Arg, Block, Content, Instance, Term, Terms, constant, uses
from feature_warehouse.sql.expressions import parts_of
from feature_warehouse.sql.joins import MODIFIERS, Joins
from feature_warehouse.sql.scope import Names, Relation, Scope, Source, column_of
from feature_warehouse.sql.text import Unclear, lower


class Builder(Joins):
    """Builds the relation of one query."""

    # -- queries --------------------------------------------------------------

    def query(self, query: exp.Expr, scope: Scope) -> Relation:
        """scope: names of CTEs, and an outer query's columns; nothing of its own yet."""
        names = self._ctes(query, scope.names)
        scope = Scope(names, scope.outer, variables=scope.variables)
        if isinstance(query, exp.Subquery):
            self._only(query, "this", "alias", "with_", *MODIFIERS)
            inner = self.query(query.this, scope)
            return self._ordered(inner, query, scope)
        if isinstance(query, exp.SetOperation):
            return self._ordered(self._set_operation(query, scope), query, scope)
        if isinstance(query, exp.Values):
            return self._values(query, scope)
        if isinstance(query, exp.Select):
            return self._select(query, scope)
        raise Unclear(f"{query.key} is not understood")

    def _ctes(self, query: exp.Expr, outer: Names) -> Names:
        with_ = query.args.get("with_")
        names = Names(outer)
        if with_ is None:
            return names
        self._only(with_, "expressions", "recursive")
        reads = Counter(lower(table.name) for table in query.find_all(exp.Table))
        names.once = frozenset(name for name, number in reads.items() if number == 1)
        for cte in with_.expressions:
            self._only(cte, "this", "alias", "materialized")
            alias = cte.args["alias"]
            self._only(alias, "this", "columns")
            name = lower(alias.this.name)
            if with_.args.get("recursive") and any(lower(table.name) == name for table in cte.this.find_all(exp.Table)):
                raise Unclear(f"{name} is recursive")
            if not isinstance(cte.this, exp.Query):
                raise Unclear(f"{name} is no query")
            columns = tuple(lower(column.name) for column in alias.args.get("columns") or ())
            names.queries[name] = (cte.this, names, columns)
            # a CTE sees those before it; one of the same name later hides it
            names = Names(names, once=names.once)
        return names

    def cte(self, name: str, names: Names) -> Relation:
        if name not in names.built:
            query, _, columns = names.queries[name]
            # the CTE's own name means an outer one, or a node, within it
            inner = Names(names.outer)
            outer_place, self.place = self.place, f"`{name}` of {self.node}"
            relation = self.query(query, Scope(inner))
            self.place = outer_place
            names.built[name] = self._renamed(relation, columns)
        relation = names.built[name]
        return relation if name in names.once else self.nodes.use(relation)

    # -- set operations -------------------------------------------------------

    def _set_operation(self, query: exp.SetOperation, scope: Scope) -> Relation:
        self._only(query, "this", "expression", "distinct", "by_name", "with_", *MODIFIERS)
        left = self.query(query.this, scope)
        right = self.query(query.expression, scope)
        if left.rest or right.rest:
            raise Unclear("a set operation over columns that are not known")
        if query.args.get("by_name"):
            if left.columns.keys() != right.columns.keys():
                raise Unclear("a union by name of other names")
            right = Relation(right.block, {name: right.columns[name] for name in left.columns})
        if len(left.columns) != len(right.columns):
            raise Unclear("a set operation over different numbers of columns")
        pairs = list(zip(left.columns, left.columns.values(), right.columns.values(), strict=True))
        if not isinstance(query, exp.Union):
            kind = query.key + (" distinct" if query.args.get("distinct") else " all")
            columns = (tuple(one for _, one, _ in pairs), tuple(other for _, _, other in pairs))
            whole = Instance(Content(kind, (left.block, right.block), columns))
            return Relation(
                Block((whole,)),
                {name: self.terms.ref(whole, f"{i}") for i, (name, _, _) in enumerate(pairs)},
            )
        whole = Instance(Content("union", (left.block, right.block)))
        relation = Relation(
            Block((whole,)),
            {name: self.terms.ref(whole, self.make("pick", one, other)) for name, one, other in pairs},
        )
        return self._distinct(relation) if query.args.get("distinct") else relation

    def _distinct(self, relation: Relation) -> Relation:
        """DISTINCT is a grouping by all columns."""
        if relation.rest:
            raise Unclear("distinct over columns that are not known")
        self._settled(relation)
        group = Instance(Content("group", (relation.block,), tuple(dict.fromkeys(relation.columns.values()))))
        return Relation(Block((group,)), {name: self.terms.ref(group, term) for name, term in relation.columns.items()})

    def _settled(self, relation: Relation) -> None:
        if not all(term.pure for term in relation.columns.values()):
            raise Unclear("distinct over values that change from call to call")

    # -- select ---------------------------------------------------------------

    def _select(self, query: exp.Select, scope: Scope) -> Relation:
        self._only(
            query, "expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "distinct",
            "with_", *MODIFIERS,
        )  # fmt: skip
        for window in query.args.get("windows") or ():
            scope.windows[lower(window.name)] = window
        block = self._from(query, scope)
        items, rest, hidden, after = self._items(query, scope)
        if len([name for name, _ in items]) == 0 and rest is None:
            raise Unclear("a select of nothing")
        block, items = self._unnested(block, items, query)
        order = self._order(query, scope, items, rest) if query.args.get("order") else ()
        where = query.args.get("where")
        if where:
            self._only(where, "this")
            block = self._filtered(block, where.this, scope)

        having = [self.expression(query.args["having"].this, scope)] if query.args.get("having") else []
        qualify = [self.expression(query.args["qualify"].this, scope)] if query.args.get("qualify") else []
        listed = [term for _, term in items]
        stages = [listed, having, qualify, [term for term, *_ in order]]
        if query.args.get("group") or having or any("aggregate" in term.computes for stage in stages for term in stage):
            if rest is not None:
                raise Unclear("a grouping over columns that are not known")
            block, stages = self._grouped(block, query.args.get("group"), items, stages, scope)
        block = self._with(block, stages[1])
        if any("window" in term.computes for stage in (stages[0], stages[2], stages[3]) for term in stage):
            block, rest, (stages[0], stages[2], stages[3]) = self._windowed(
                block, rest, [stages[0], stages[2], stages[3]]
            )
        block = self._with(block, stages[2], [*stages[0], *stages[3]])
        items = [(name, self.rewrite.column(term)) for (name, _), term in zip(items, stages[0], strict=True)]
        relation = Relation(block, _named(items, rest, hidden, self.terms), rest, hidden, after)
        order = tuple((term, *how) for term, (_, *how) in zip(stages[3], order, strict=True))

        distinct = query.args.get("distinct")
        if distinct is None:
            return self._limited(relation, query, order, scope)
        self._only(distinct, "on")
        on = distinct.args.get("on")
        if on is None:
            relation = self._distinct(relation)
            [group] = relation.block.factors
            keys = set(group.content.terms)
            if not all(term in keys for term, *_ in order):
                raise Unclear("distinct ordered by what is not selected")
            order = tuple((self.terms.ref(group, term), *how) for term, *how in order)
            return self._limited(relation, query, order, scope)
        if query.args.get("group") or any(
            block.factors == (f,) and f.content.kind == "window" for f in block.factors[:1]
        ):
            raise Unclear("distinct on over groups or windows")
        keys_on = [self._position(key, items, rest) or self.expression(key, scope) for key in parts_of(on)]
        if any(op in key.computes for key in keys_on for op in ("aggregate", "window")) or not all(
            k.pure for k in keys_on
        ):
            raise Unclear("distinct on what is computed over rows")
        one = self._whole(relation, "distinct on", _ordering(order), ("any order", *keys_on))
        return self._limited(one, query, (), scope)

    def _items(
        self, query: exp.Select, scope: Scope
    ) -> tuple[list[tuple[str, Term]], Term | None, frozenset[str], int]:
        """The named columns; what a star stands for, the names it does not, and how many columns stand before it."""
        items: list[tuple[str, Term]] = []
        rest: Term | None = None
        hidden: frozenset[str] = frozenset()
        after = 0
        for number, item in enumerate(query.expressions):
            star = item if isinstance(item, exp.Star) else None
            table = None
            if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                self._only(item, "this", "table")
                star, table = item.this, lower(item.table)
            if star is not None:
                found, more, hides, before = self._star(star, table, scope)
                if more is not None:
                    if rest is not None:
                        raise Unclear("two stars over columns that are not known")
                    rest, hidden, after = more, hides | {name for name, _ in items}, len(items) + before
                items += found
                continue
            if isinstance(item, exp.Alias):
                self._only(item, "this", "alias")
                name, value = lower(item.alias), item.this
            else:
                value = item
                name = lower(item.name) if isinstance(item, (exp.Column, exp.Dot)) else f"?{number}"
            term = self.expression(value, scope)
            if rest is not None and name not in hidden:
                # a column of that name among those that are not known would come first
                term = self.make("shadowed", column_of(rest, name, self.terms), term)
            items.append((name, term))
            if isinstance(item, exp.Alias):
                scope.aliases.setdefault(name, term)
        return items, rest, hidden, after

    def _star(
        self, star: exp.Star, table: str | None, scope: Scope
    ) -> tuple[list[tuple[str, Term]], Term | None, frozenset[str], int]:
        self._only(star, "except_", "replace", "rename")
        excluded = {lower(name.name) for name in parts_of(star.args.get("except_"))}
        replaced = {lower(one.alias): one.this for one in parts_of(star.args.get("replace"))}
        renamed: dict[str, str] = {}
        for one in parts_of(star.args.get("rename")):
            if not isinstance(one, exp.Alias):
                raise Unclear("rename is not understood")
            renamed[lower(one.this.name)] = lower(one.alias)
        items: list[tuple[str, Term]] = []
        rest: Term | None = None
        hidden: set[str] = set()
        after = 0
        shown: set[str] = set()
        sources = [source for source in scope.sources if table is None or source.alias == table]
        if not sources:
            raise Unclear(f"there is no {table or 'relation'} to select all from")
        for source in sources:
            for place, (name, term) in enumerate(source.columns.items()):
                if source.rest is not None and place <= source.after:
                    after = len(items)
                if table is None and name in source.merged:
                    continue
                if table is None and name in scope.shared and name not in shown:
                    term = scope.shared[name]
                shown.add(name)
                if name in excluded:
                    continue
                if name in replaced:
                    term = self.expression(replaced[name], scope)
                items.append((renamed.get(name, name), term))
            if source.rest is not None:
                if rest is not None or replaced or renamed or scope.shared:
                    raise Unclear("a star over columns that are not known")
                rest = source.rest
                after = len(items) if source.after >= len(source.columns) else after
                hidden = set(source.hidden) | excluded
        return items, rest, frozenset(hidden), after

    def _unnested(
        self, block: Block, items: list[tuple[str, Term]], query: exp.Select
    ) -> tuple[Block, list[tuple[str, Term]]]:
        """unnest() in the list of a select makes rows: a factor beside the others."""
        if not any("unnest" in term.computes for _, term in items):
            return block, items
        if any(query.args.get(part) for part in ("group", "having", "qualify", "order", "limit")) or any(
            op in term.computes for _, term in items for op in ("aggregate", "window")
        ):
            raise Unclear("unnest beside groups, windows or an order")
        lists: list[Arg] = []
        rows = Instance(Content("function"))

        def change(term: Term) -> Term:
            if term.op == "unnest":
                if len(term.args) != 1:
                    raise Unclear("unnest with options")
                if term.args[0] not in lists:
                    lists.append(term.args[0])
                return self.terms.ref(rows, f"{lists.index(term.args[0])}")
            return self.terms.rebuild(term, change) if "unnest" in term.computes else term

        items = [(name, change(term)) for name, term in items]
        rows.content = Content("function", terms=("unnest", *lists))
        return Block((*block.factors, rows), block.attachments, block.conditions), items

    # -- groups, windows, order -----------------------------------------------

    def _position(self, node: exp.Expr, items: list[tuple[str, Term]], rest: Term | None) -> Term | None:
        if isinstance(node, exp.Literal) and not node.is_string:
            if rest is not None:
                raise Unclear("a position among columns that are not known")
            position = int(node.name) if node.name.isdigit() else 0
            if not 1 <= position <= len(items):
                raise Unclear(f"there is no column {node.name}")
            return items[position - 1][1]
        return None

    def _grouped(
        self,
        block: Block,
        group: exp.Group | None,
        items: list[tuple[str, Term]],
        stages: list[list[Term]],
        scope: Scope,
    ) -> tuple[Block, list[list[Term]]]:
        keys: list[Term] = []
        sets: list[tuple[Term, ...]] | None = None

        def key(node: exp.Expr) -> Term:
            return self._position(node, items, None) or self.expression(node, scope)

        if group is not None:
            self._only(group, "expressions", "all")
            sets = _grouping_sets(group, key)
            keys = [key(node) for node in group.expressions] if sets is None else []
            if group.args.get("all"):
                keys += [term for _, term in items if "aggregate" not in term.computes and not constant(term)]
            if sets is not None:
                if keys:
                    raise Unclear("grouping sets beside other keys")
                keys = list(dict.fromkeys(term for one in sets for term in one))
        if any(op in term.computes for term in keys for op in ("aggregate", "window")) or not all(k.pure for k in keys):
            raise Unclear("a group by what is computed later")
        keys = list(dict.fromkeys(key for key in keys if not constant(key))) if sets is None else keys
        if sets is None:
            no_keys = not keys
            if no_keys and group is not None and (group.expressions or group.args.get("all")):
                raise Unclear("a group by nothing but constants")
            content = Content("group", (block,), tuple(keys), place=self.place)
        else:
            content = Content(
                "sets", (block,), (("any order", *keys), tuple(("any order", *one) for one in sets)), place=self.place
            )
        rows = Instance(content)
        grouped = set(keys)
        own = set(block.instances())

        @cache
        def change(term: Term) -> Term:
            if term in grouped or term.op == "aggregate":
                return self.terms.ref(rows, term)
            if term.op == "ref":
                if term.args[0] in own:
                    raise Unclear("a column that is neither grouped nor aggregated")
                return term
            if term.queries and uses(term) & own:
                raise Unclear("a subquery over a group")
            return self.terms.rebuild(term, change)

        return Block((rows,)), [[change(term) for term in stage] for stage in stages]

    def _windowed(
        self, block: Block, rest: Term | None, stages: list[list[Term]]
    ) -> tuple[Block, Term | None, list[list[Term]]]:
        below: Instance | None = None  # windows over the same rows
        if len(block.factors) == 1 and not block.attachments and not block.conditions:
            [factor] = block.factors
            below = factor if factor.content.kind == "window" else None
        rows = Instance(Content("window", (block,), place=self.place))
        own = set(block.instances())

        def lowest(window: Term) -> Term | None:
            if below is None or any(
                isinstance(ref.args[1], Term) and ref.args[1].op == "window" for ref in window.refs
            ):
                return None
            return self.terms.ref(below, self.terms.unlift(window, below))

        @cache
        def change(term: Term) -> Term:
            if term.op == "window":
                return lowest(term) or self.terms.ref(rows, term)
            if term.op == "ref":
                return term
            return self.terms.rebuild(term, change) if "window" in term.computes else term

        changed = [[change(term) for term in stage] for stage in stages]
        if not any(rows in uses(term) for stage in changed for term in stage):
            return block, rest, changed  # all windows have found their place below

        @cache
        def wrap(term: Term) -> Term:
            if term.op == "ref" and term.args[0] is rows:
                return term
            if term.op == "ref":
                return self.terms.ref(rows, term) if term.args[0] in own else term
            if term.queries and uses(term) & own:
                return self.terms.ref(rows, term)
            return self.terms.rebuild(term, wrap)

        wrapped = [[wrap(term) for term in stage] for stage in changed]
        return Block((rows,)), self.terms.ref(rows, rest) if rest else None, wrapped

    def _order(
        self, query: exp.Expr, scope: Scope, items: list[tuple[str, Term]], rest: Term | None
    ) -> tuple[tuple[Any, ...], ...]:
        order = query.args["order"]
        self._only(order, "expressions")
        found: list[tuple[Any, ...]] = []
        named = dict(reversed(items))
        for one in order.expressions:
            term, *how = self._key(one)
            if isinstance(term, exp.Column) and not term.table and lower(term.name) in named:
                found.append((named[lower(term.name)], *how))
            elif isinstance(term, (exp.Var, exp.Column)) and lower(term.name) == "all":
                if rest is not None:
                    raise Unclear("an order by columns that are not known")
                found += [(value, *how) for _, value in items]
            else:
                found.append((self._position(term, items, rest) or self.expression(term, scope), *how))
        return tuple(found)

    def _ordered(self, relation: Relation, query: exp.Expr, scope: Scope) -> Relation:
        """ORDER BY and LIMIT of a query in parentheses or of a set operation."""
        for part in MODIFIERS:
            if part not in ("order", "limit", "offset") and query.args.get(part):
                raise Unclear(f"{part} is not understood")
        if not any(query.args.get(part) for part in ("order", "limit", "offset")):
            return relation
        order: tuple[tuple[Any, ...], ...] = ()
        if query.args.get("order"):
            if relation.rest:
                raise Unclear("an order over columns that are not known")
            own = replace(scope, sources=[Source("", relation.columns)], aliases={}, shared={})
            order = self._order(query, own, list(relation.columns.items()), None)
        return self._limited(relation, query, order, scope)

    def _limited(
        self, relation: Relation, query: exp.Expr, order: tuple[tuple[Any, ...], ...], scope: Scope
    ) -> Relation:
        limits: list[Arg] = []
        for part in ("limit", "offset"):
            node = query.args.get(part)
            if node is not None:
                self._only(node, "expression", "this")
                value = node.args.get("expression") or node.args.get("this")
                limits.append((part, self.expression(value, scope)))
        if not limits:
            return self._whole(relation, "ordered", _ordering(order)) if order else relation
        return self._whole(relation, "limit", _ordering(order), *limits)


def _ordering(order: Iterable[tuple[Any, ...]]) -> Arg:
    return tuple(tuple(one) for one in order)


def _grouping_sets(group: exp.Group, key: Callable[[exp.Expr], Term]) -> list[tuple[Term, ...]] | None:
    """The sets that GROUPING SETS or ROLLUP stand for, in any order; None of a plain list of keys."""
    nested = [one for one in group.expressions if isinstance(one, (exp.GroupingSets, exp.Rollup, exp.Cube))]
    if not nested:
        return None
    if len(group.expressions) > 1 or isinstance(nested[0], exp.Cube):
        raise Unclear("several grouping sets")
    sets = [
        tuple(key(node) for node in parts_of(part.this if isinstance(part, exp.Paren) else part))
        for part in nested[0].expressions
    ]
    if isinstance(nested[0], exp.Rollup):
        sets = [tuple(one for part in sets[:size] for one in part) for size in range(len(sets), -1, -1)]
    return sets


def _named(items: list[tuple[str, Term]], rest: Term | None, hidden: frozenset[str], terms: Terms) -> dict[str, Term]:
    """Columns by name, as DuckDB names those of a subquery: the second k is k_1."""
    columns: dict[str, Term] = {}
    for name, term in items:
        unique, number = name, 0
        while unique in columns:
            number += 1
            unique = f"{name}_{number}"
        if unique != name and any(other == unique for other, _ in items):
            raise Unclear(f"two columns are called {unique}")
        columns[unique] = term
    return columns


def is_bare(query: exp.Query) -> bool:
    """Whether a select is nothing but its list: SELECT 1 + 1, without a name for it."""
    parts = {name for name, value in query.args.items() if value not in (None, False, [], "")}
    return (
        isinstance(query, exp.Select)
        and parts == {"expressions"}
        and not any(isinstance(item, (exp.Alias, exp.Star)) for item in query.expressions)
    )
