"""Queries of SQL to blocks, and the nodes of a project to relations.

A CTE, a subquery, a model above: each is a relation, and where it only filters, joins or computes columns its rows
melt into the block that reads it. So a query means the same however it is cut up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sqlglot import exp

from feature_warehouse.sql.algebra import Arg, Attachment, Block, Content, Instance, Term, Terms, constant, uses
from feature_warehouse.sql.expressions import (
    Expressions,
    Names,
    Relation,
    Scope,
    Source,
    column_of,
    conjuncts,
    parts_of,
)
from feature_warehouse.sql.text import Unclear, canonical_type, lower, parse, words_of


@dataclass(frozen=True, slots=True)
class Node:
    """One relation of the project.

    sql: its compiled query with node names in place of relations; None for a source or seed, where lineage ends.
    incremental: the query of a later run, of an incremental model; what then becomes of the rows that stand there is
    said by ``strategy`` and ``unique_key``. columns: declared types by name; closed: there are no
    others, and its rows are made of these types, as a seed's are.
    reads: the names of the nodes that the SQL reads, where somebody knows. opaque: why it is compared as text, whatever
    its SQL; hooks: SQL that is run before or after it, which that text takes in.
    """

    sql: str | None = None
    incremental: str | None = None
    strategy: str = ""
    unique_key: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    reads: tuple[str, ...] | None = None
    opaque: str = ""
    hooks: tuple[str, ...] = ()


class Reader:
    """Reads nodes into relations, each node once. ``nodes`` by the names that their SQL uses."""

    def __init__(self, nodes: Mapping[str, Node], terms: Terms) -> None:
        self.nodes = nodes
        self.terms = terms
        self.as_text: dict[str, str] = {}  # nodes that are compared as text, and why
        self.reads: dict[str, list[str]] = {}  # the nodes that each node reads
        self._relations: dict[str, Relation] = {}
        self._reading: list[str] = []

    def relation(self, name: str) -> Relation:
        """The rows of a node. Raises KeyError for a name that no node has."""
        if name not in self._relations:
            node = self.nodes[name]
            if name in self._reading:  # a model that reads itself reads what stands there
                return self._leaf("itself", Node())
            if node.sql is None:
                return self._leaf(name, node)
            self._reading.append(name)
            try:
                self._relations[name] = self._model(name, node)
            finally:
                self._reading.pop()
        return self._relations[name]

    def _leaf(self, name: str, node: Node) -> Relation:
        names = [lower(column) for column in node.columns]
        types = {lower(column): canonical_type(kind) for column, kind in node.columns.items() if kind}
        leaf = Instance(Content("leaf", texts=(name,), types=types, loaded=node.closed))
        rest = None if node.closed else self.terms.ref(leaf, "*")
        return Relation(
            Block((leaf,)), {c: self.terms.ref(leaf, c) for c in names}, rest, frozenset(names) if rest else frozenset()
        )

    def _model(self, name: str, node: Node) -> Relation:
        assert node.sql is not None
        if node.opaque:
            return self.text(name, node.opaque)
        queries = [node.sql] if node.incremental is None else [node.sql, node.incremental]
        try:
            self.reads.pop(name, None)
            built = [Builder(self, name).query(parse(query), Scope(Names())) for query in queries]
        except Unclear as exc:
            return self.text(name, str(exc))
        except RecursionError:
            return self.text(name, "it is nested too deeply")
        if len(built) == 1:
            return built[0]
        first, later = built
        if first.rest or later.rest or first.columns.keys() != later.columns.keys():
            return self.text(name, "the columns of its first and its later runs cannot be compared")
        # what a run adds, and what it does to the rows that stand there, decides together
        missing = [key for key in node.unique_key if lower(key) not in first.columns]
        if missing:
            return self.text(name, f"its unique key {missing[0]} is no column of it")
        unique = sorted(set(map(lower, node.unique_key)))
        keys = tuple(tuple(one.columns[key] for key in unique) for one in (first, later))
        run = Instance(Content("incremental", (first.block, later.block), keys, (node.strategy,)))
        return Relation(
            Block((run,)),
            {
                c: self.terms.ref(run, self.terms.make("pick", first.columns[c], later.columns[c]))
                for c in first.columns
            },
        )

    def text(self, name: str, why: str) -> Relation:
        """A node that is not understood: its words, and all that it reads."""
        self.as_text[name] = why
        node = self.nodes[name]
        assert node.sql is not None
        texts = [words_of(text) for text in (node.sql, node.incremental, *node.hooks) if text]
        how = (node.strategy, *node.unique_key)
        named = self.nodes if node.reads is None else map(lower, node.reads)
        inputs = [
            other
            for other in sorted(named)
            if other not in self._reading and (node.reads is not None or any(other in lower(text) for text in texts))
        ]
        self.reads[name] = inputs
        blocks, columns = [], []
        for other in inputs:
            relation = self.use(self.relation(other))
            blocks.append(relation.block)
            names = tuple(sorted(relation.columns))
            rest = (relation.rest,) if relation.rest else ()
            columns.append((other, *names, *(relation.columns[column] for column in names), *rest))
        whole = Instance(Content("text", tuple(blocks), tuple(columns), (name, *texts, *how)))
        self._relations[name] = Relation(Block((whole,)), {}, self.terms.ref(whole, "*"))
        return self._relations[name]

    def use(self, relation: Relation) -> Relation:
        """The relation for one use: of its own instances, since a filter may go into them."""
        block, terms = self.terms.copy(relation.block, relation.terms())
        columns = dict(zip(relation.columns, terms, strict=False))
        return Relation(block, columns, terms[-1] if relation.rest else None, relation.hidden)


_MODIFIERS = ("order", "limit", "offset")


class Builder(Expressions):
    """Builds the relation of one query."""

    def __init__(self, reader: Reader, node: str) -> None:
        super().__init__(reader.terms)
        self.reader = reader
        self.name = node
        self.place = f"`{node}`"  # and the CTE within it
        self.node = f"`{node}`"

    # -- queries --------------------------------------------------------------

    def query(self, query: exp.Expr, scope: Scope) -> Relation:
        """scope: names of CTEs, and an outer query's columns; nothing of its own yet."""
        names = self._ctes(query, scope.names)
        scope = Scope(names, scope.outer, variables=scope.variables)
        if isinstance(query, exp.Subquery):
            self._only(query, "this", "alias", "with_", *_MODIFIERS)
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

    def _cte(self, name: str, names: Names) -> Relation:
        if name not in names.built:
            query, _, columns = names.queries[name]
            # the CTE's own name means an outer one, or a node, within it
            inner = Names(names.outer)
            outer_place, self.place = self.place, f"`{name}` of {self.node}"
            relation = self.query(query, Scope(inner))
            self.place = outer_place
            names.built[name] = self._renamed(relation, columns)
        relation = names.built[name]
        return relation if name in names.once else self.reader.use(relation)

    def _renamed(self, relation: Relation, columns: tuple[str, ...]) -> Relation:
        if not columns:
            return relation
        if relation.rest or len(columns) > len(relation.columns) or len(set(columns)) < len(columns):
            raise Unclear("columns are renamed that are not known")
        names = [*columns, *list(relation.columns)[len(columns) :]]
        if len(set(names)) < len(names):
            raise Unclear("two columns have one name")
        return Relation(relation.block, dict(zip(names, relation.columns.values(), strict=True)))

    def _whole(self, relation: Relation, kind: str, *terms: Arg, texts: tuple[str, ...] = ()) -> Relation:
        """The relation as one instance."""
        whole = Instance(Content(kind, (relation.block,), terms, texts, place=self.place))
        columns = {name: self.terms.lift(term, whole) for name, term in relation.columns.items()}
        rest = self.terms.ref(whole, relation.rest) if relation.rest else None
        return Relation(Block((whole,)), columns, rest, relation.hidden)

    # -- set operations -------------------------------------------------------

    def _set_operation(self, query: exp.SetOperation, scope: Scope) -> Relation:
        self._only(query, "this", "expression", "distinct", "by_name", "with_", *_MODIFIERS)
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

    def _values(self, query: exp.Values, scope: Scope) -> Relation:
        self._only(query, "expressions", "alias", "with_")
        rows: list[tuple[Term, ...]] = []
        for row in query.expressions:
            if not isinstance(row, exp.Tuple):
                raise Unclear("values without parentheses")
            rows.append(tuple(self.expression(value, scope) for value in row.expressions))
        if len({len(row) for row in rows}) != 1:
            raise Unclear("values of different lengths")
        whole = Instance(Content("values", terms=tuple(rows)))
        columns = {f"col{i}": self.terms.ref(whole, f"{i}") for i in range(len(rows[0]))}
        alias = query.args.get("alias")
        named = tuple(lower(column.name) for column in alias.args.get("columns") or ()) if alias else ()
        return self._renamed(Relation(Block((whole,)), columns), named)

    # -- select ---------------------------------------------------------------

    def _select(self, query: exp.Select, scope: Scope) -> Relation:
        self._only(
            query, "expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "distinct",
            "with_", *_MODIFIERS,
        )  # fmt: skip
        for window in query.args.get("windows") or ():
            scope.windows[lower(window.name)] = window
        block = self._from(query, scope)
        items, rest, hidden = self._items(query, scope)
        if len([name for name, _ in items]) == 0 and rest is None:
            raise Unclear("a select of nothing")
        block, items = self._unnested(block, items, query)
        order = self._order(query, scope, items) if query.args.get("order") else ()
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
        block = self._with(block, stages[2])
        items = [(name, term) for (name, _), term in zip(items, stages[0], strict=True)]
        relation = Relation(block, _named(items, rest, hidden, self.terms), rest, hidden)
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
        keys_on = [self._position(key, items) or self.expression(key, scope) for key in parts_of(on)]
        if any(op in key.computes for key in keys_on for op in ("aggregate", "window")) or not all(
            k.pure for k in keys_on
        ):
            raise Unclear("distinct on what is computed over rows")
        one = self._whole(relation, "distinct on", _ordering(order), ("any order", *keys_on))
        return self._limited(one, query, (), scope)

    def _with(self, block: Block, conditions: Iterable[Term]) -> Block:
        kept = []
        for condition in conditions:
            for part in conjuncts(condition):
                if part.op == "true":
                    continue
                if part.op == "in query":  # as a condition of a row, it is one that some row of the query meets
                    part = self._some(part)
                kept.append(part)
        return self._pushed(block, kept)

    def _pushed(self, block: Block, conditions: list[Term]) -> Block:
        """A condition on nothing but the keys of a grouping is one on the rows that are grouped.

        The block's factors must be its own (``Reader.use``): theirs alone is the content that changes. What these are
        made of is shared, and stays.
        """
        kept = []
        for condition in conditions:
            found = [use for use in uses(condition) if isinstance(use, Instance) and use in block.factors]
            if len(found) == 1 and condition.pure and not condition.queries:
                group = found[0]
                content = group.content
                if (
                    content.kind == "group"
                    and content.terms
                    and all(ref.args[0] is group and ref.args[1] in content.terms for ref in condition.refs)
                ):
                    inner = content.blocks[0].where([self.terms.unlift(condition, group)])
                    group.content = replace_content(content, inner)
                    continue
            kept.append(condition)
        return block.where(kept)

    def _some(self, part: Term) -> Term:
        content, inside, outside = part.args
        assert isinstance(content, Content)
        assert isinstance(inside, tuple)
        assert isinstance(outside, Term)
        [block] = content.blocks
        [value] = inside
        assert isinstance(value, Term)
        return self._exists(block.where([self._compare("=", value, outside)]))

    def _exists(self, block: Block) -> Term:
        """Whether a block has a row. Grouping the rows first changes nothing of that."""
        while len(block.factors) == 1 and not block.attachments:
            [factor] = block.factors
            keys = factor.content.terms
            refs = [ref for condition in block.conditions for ref in condition.refs]
            if (
                factor.content.kind != "group"
                or not keys
                or any(condition.queries for condition in block.conditions)
                or any(ref.args[0] is factor and ref.args[1] not in keys for ref in refs)
            ):
                break
            conditions = [self.terms.unlift(condition, factor) for condition in block.conditions]
            block = factor.content.blocks[0].where(conditions)
        return self.make("exists", Content("rows", (block,)), ())

    def _filtered(self, block: Block, condition: exp.Expr, scope: Scope) -> Block:
        term = self.expression(condition, scope)
        if term.computes:
            raise Unclear("a filter on what is computed after it")
        return self._with(block, [term])

    def _items(self, query: exp.Select, scope: Scope) -> tuple[list[tuple[str, Term]], Term | None, frozenset[str]]:
        items: list[tuple[str, Term]] = []
        rest: Term | None = None
        hidden: frozenset[str] = frozenset()
        for number, item in enumerate(query.expressions):
            star = item if isinstance(item, exp.Star) else None
            table = None
            if isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
                self._only(item, "this", "table")
                star, table = item.this, lower(item.table)
            if star is not None:
                found, more, hides = self._star(star, table, scope)
                if more is not None:
                    if rest is not None:
                        raise Unclear("two stars over columns that are not known")
                    rest, hidden = more, hides | {name for name, _ in items}
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
        return items, rest, hidden

    def _star(
        self, star: exp.Star, table: str | None, scope: Scope
    ) -> tuple[list[tuple[str, Term]], Term | None, frozenset[str]]:
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
        shown: set[str] = set()
        sources = [source for source in scope.sources if table is None or source.alias == table]
        if not sources:
            raise Unclear(f"there is no {table or 'relation'} to select all from")
        for source in sources:
            for name, term in source.columns.items():
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
                hidden = set(source.hidden) | excluded
        return items, rest, frozenset(hidden)

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

    # -- from -----------------------------------------------------------------

    def _from(self, query: exp.Select, scope: Scope) -> Block:
        from_ = query.args.get("from_")
        if from_ is None:
            if query.args.get("joins"):
                raise Unclear("a join without from")
            return Block()
        self._only(from_, "this")
        joins = query.args.get("joins") or []
        block = self._joined(Block(), from_.this, scope)
        commas = any(not _join_words(join) and not join.args.get("on") and not join.args.get("using") for join in joins)
        for join in joins:
            words = _join_words(join)
            if commas and ("right" in words or "full" in words):
                raise Unclear("an outer join beside a comma")
            block = self._join(block, join, scope)
        if len(block.instances()) > 200:
            raise Unclear("more than 200 relations joined")
        return block

    def _joined(self, block: Block, table: exp.Expr, scope: Scope) -> Block:
        """The block with one more factor."""
        relation, alias = self._relation(table, scope)
        scope.sources.append(Source(alias, relation.columns, relation.rest, relation.hidden))
        return Block(
            block.factors + relation.block.factors,
            block.attachments + relation.block.attachments,
            block.conditions + relation.block.conditions,
        )

    def _join(self, block: Block, join: exp.Join, scope: Scope) -> Block:
        self._only(join, "this", "side", "kind", "method", "on", "using")
        words = _join_words(join)
        on, using = join.args.get("on"), [lower(name.name) for name in join.args.get("using") or ()]
        if words in ("", "inner", "cross"):
            block = self._joined(block, join.this, scope)
            if on is not None:
                return self._filtered(block, on, scope)
            return self._with(block, self._using(using, scope, "inner"))
        relation, alias = self._relation(join.this, scope)
        if words in ("right", "full") and relation.block.uses & set(block.instances()):
            raise Unclear(f"a lateral {words} join")
        if words in ("semi", "anti"):
            inner = Scope(scope.names, scope, [Source(alias, relation.columns, relation.rest, relation.hidden)])
            both = replace(scope, sources=[*scope.sources, *inner.sources], aliases={}, shared=dict(scope.shared))
            conditions = [self.expression(on, both)] if on is not None else self._using(using, both, "inner")
            found = self._exists(self._with(relation.block, conditions))
            return block.where([found if words == "semi" else self._not(found)])
        if words in ("left", "asof", "asof left"):
            right = Instance(Content("sub", (relation.block,), place=self.place))
            scope.sources.append(self._outside(Source(alias, relation.columns, relation.rest, relation.hidden), right))
            conditions = [self.expression(on, scope)] if on is not None else self._using(using, scope, words)
            parts = [self.terms.bare(part, right) for term in conditions for part in conjuncts(term)]
            if words == "left":  # what only the right side decides may as well be decided before
                alone = [part for part in parts if part.pure and not part.queries and _only_of(part, right)]
                parts = [part for part in parts if part not in alone]
                inner_block = self._pushed(relation.block, [self.terms.unlift(part, right) for part in alone])
                right.content = Content("sub", (inner_block,), place=self.place)
            return Block(block.factors, (*block.attachments, Attachment(words, right, tuple(parts))), block.conditions)
        if words == "right":
            left = Instance(Content("sub", (block,)))
            scope.sources = [self._outside(source, left) for source in scope.sources]
            scope.shared = {name: self.terms.lift(term, left, nullable=True) for name, term in scope.shared.items()}
            scope.sources.append(Source(alias, relation.columns, relation.rest, relation.hidden))
            conditions = [self.expression(on, scope)] if on is not None else self._using(using, scope, "right")
            parts = [self.terms.bare(part, left) for term in conditions for part in conjuncts(term)]
            alone = [part for part in parts if part.pure and not part.queries and _only_of(part, left)]
            parts = [part for part in parts if part not in alone]
            left.content = Content("sub", (self._pushed(block, [self.terms.unlift(part, left) for part in alone]),))
            base = relation.block
            return Block(base.factors, (*base.attachments, Attachment("left", left, tuple(parts))), base.conditions)
        if words == "full":
            left, right = Instance(Content("sub", (block,))), Instance(Content("sub", (relation.block,)))
            scope.sources = [self._outside(source, left) for source in scope.sources]
            if scope.shared:
                raise Unclear("a full join after using")
            scope.sources.append(self._outside(Source(alias, relation.columns, relation.rest, relation.hidden), right))
            conditions = [self.expression(on, scope)] if on is not None else self._using(using, scope, "full")
            parts = [
                self.terms.bare(self.terms.bare(part, right), left) for term in conditions for part in conjuncts(term)
            ]
            full = Instance(Content("full", (Block((left,)), Block((right,))), tuple(parts)))
            scope.sources = [self._outside(source, full, nullable=False) for source in scope.sources]
            scope.shared = {name: self.terms.lift(term, full) for name, term in scope.shared.items()}
            return Block((full,))
        raise Unclear(f"{words} join is not understood")

    def _outside(self, source: Source, instance: Instance, *, nullable: bool = True) -> Source:
        columns = {name: self.terms.lift(t, instance, nullable=nullable) for name, t in source.columns.items()}
        rest = self.terms.ref(instance, source.rest) if source.rest else None
        return Source(source.alias, columns, rest, source.hidden, source.merged)

    def _using(self, names: list[str], scope: Scope, kind: str) -> list[Term]:
        conditions = []
        *before, right = scope.sources
        for name in names:
            one = scope.shared.get(name) or self._column(name, replace(scope, sources=before, outer=None, aliases={}))
            other = self._column(name, replace(scope, sources=[right], outer=None, aliases={}, shared={}))
            conditions.append(self._compare("=", one, other))
            if kind == "full":
                scope.shared[name] = self.make("coalesce", one, other)
            else:
                scope.shared[name] = other if kind == "right" else one
            right.merged.add(name)
        if kind.startswith("asof"):
            # the last column is the inequality
            spine_time, right_time = conditions.pop().children()
            conditions.append(self.make("<=", right_time, spine_time))
        return conditions

    def _relation(self, table: exp.Expr, scope: Scope) -> tuple[Relation, str]:
        """A relation of a FROM clause, and its alias."""
        alias = table.args.get("alias")
        name: str = ""
        columns: tuple[str, ...] = ()
        if alias is not None:
            self._only(alias, "this", "columns")
            name = lower(alias.name)
            columns = tuple(lower(column.name) for column in alias.args.get("columns") or ())
        if isinstance(table, exp.Table):
            self._only(table, "this", "db", "catalog", "alias", "joins")
            if isinstance(table.this, exp.Identifier):
                relation = self._named_relation(table, scope)
                name = name or lower(table.name)
            else:
                relation, called = self._function(table.this, scope, columns)
                columns, name = (), name or called
        elif isinstance(table, exp.Subquery):
            self._only(table, "this", "alias", "with_", *_MODIFIERS)
            if isinstance(table.this, (exp.Table, exp.Subquery)) and table.this.args.get("alias") and not name:
                raise Unclear("joins in parentheses")
            relation = self.query(table, Scope(scope.names)) if not isinstance(table.this, exp.Table) else None  # type: ignore[assignment]
            if relation is None:
                raise Unclear("joins in parentheses")
        elif isinstance(table, exp.Lateral):
            self._only(table, "this", "alias")
            if not isinstance(table.this, exp.Subquery):
                raise Unclear("lateral of what is no query")
            relation = self.query(table.this, Scope(scope.names, scope))
        elif isinstance(table, exp.Unnest):
            self._only(table, "expressions", "alias")
            if len(table.expressions) != 1:
                raise Unclear("unnest of several lists")
            value = self.expression(table.expressions[0], scope)
            rows = Instance(Content("function", terms=("unnest", value)))
            named = columns or (name or "unnest",)
            if len(named) != 1:
                raise Unclear("unnest into several columns")
            relation = Relation(Block((rows,)), {named[0]: self.terms.ref(rows, "0")})
            # unnest(...) as t names the relation; its column is called unnest
            if not columns:
                relation = Relation(Block((rows,)), {"unnest": self.terms.ref(rows, "0")})
            columns, name = (), name or "unnest"
        elif isinstance(table, exp.Values):
            return self._values(table, scope), name
        else:
            raise Unclear(f"{table.key} in from is not understood")
        if table.args.get("joins"):
            raise Unclear("joins in parentheses")
        relation = self._renamed(relation, columns)
        if not all(term.pure for term in relation.terms()) or any(not c.pure for c in relation.block.conditions):
            relation = self._whole(relation, "sub")  # computed once for each of its rows, wherever it is read
        return relation, name

    def _named_relation(self, table: exp.Table, scope: Scope) -> Relation:
        name = lower(table.name)
        if not table.args.get("db"):
            names = scope.names.find(name)
            if names is not None:
                return self._cte(name, names)
        full = ".".join(lower(part.name) for part in table.parts).removeprefix("ref.")
        for candidate in (full, name) if not table.args.get("db") else (full,):
            if candidate in self.reader.nodes:
                self.reader.reads.setdefault(self.name, []).append(candidate)
                return self.reader.use(self.reader.relation(candidate))
        raise Unclear(f"{full} is no node")

    def _function(self, call: exp.Expr, scope: Scope, columns: tuple[str, ...]) -> tuple[Relation, str]:
        if not isinstance(call, exp.Anonymous):
            raise Unclear(f"{call.key} in from is not understood")
        name = lower(call.name)
        if name not in ("range", "generate_series", "unnest"):
            raise Unclear(f"the table function {name} is not understood")
        arguments = tuple(self.expression(argument, scope) for argument in call.expressions)
        if any(argument.computes for argument in arguments):
            raise Unclear(f"{name} of what is computed over rows")
        rows = Instance(Content("function", terms=(name, *arguments)))
        if len(columns) > 1 or (name == "unnest" and len(arguments) != 1):
            raise Unclear(f"{name} into several columns")
        return Relation(Block((rows,)), {(columns or (name,))[0]: self.terms.ref(rows, "0")}), name

    # -- subqueries -----------------------------------------------------------

    def in_query(self, value: Term, query: exp.Expr, scope: Scope) -> Term:
        relation = self._subquery(query, scope)
        if len(relation.columns) != 1 or relation.rest:
            raise Unclear("in a query of several columns")
        block, (column,) = self._any_of(relation)
        return self.make("in query", Content("rows", (block,)), (column,), value)

    def _any_of(self, relation: Relation) -> tuple[Block, tuple[Term]]:
        """A block and column for IN, which does not count equal rows."""
        [column] = relation.columns.values()
        block = relation.block
        while len(block.factors) == 1 and not block.attachments and not block.conditions:
            [factor] = block.factors
            content = factor.content
            if content.kind != "group" or content.terms != (self.terms.unlift(column, factor),):
                break
            column, block = self.terms.unlift(column, factor), content.blocks[0]
        return block, (column,)

    def _subquery(self, query: exp.Expr, scope: Scope) -> Relation:
        inner = query.this if isinstance(query, exp.Subquery) and not query.args.get("alias") else query
        relation = self.query(inner, Scope(scope.names, scope))
        if not all(term.pure for term in relation.terms()):
            relation = self._whole(relation, "sub")
        return relation

    def _read_exists(self, node: exp.Exists, scope: Scope) -> Term:
        self._only(node, "this")
        return self._exists(self._subquery(node.this, scope).block)

    def _read_subquery(self, node: exp.Subquery, scope: Scope) -> Term:
        self._only(node, "this")
        relation = self._subquery(node, scope)
        if len(relation.columns) != 1 or relation.rest:
            raise Unclear("a value from a query of several columns")
        return self.make("value of", Content("rows", (relation.block,)), tuple(relation.columns.values()))

    # -- groups, windows, order -----------------------------------------------

    def _position(self, node: exp.Expr, items: list[tuple[str, Term]]) -> Term | None:
        if isinstance(node, exp.Literal) and not node.is_string:
            position = int(node.name) if node.name.isdigit() else 0
            if not 1 <= position <= len(items) or any(name == "*" for name, _ in items):
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
            return self._position(node, items) or self.expression(node, scope)

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

    def _order(self, query: exp.Expr, scope: Scope, items: list[tuple[str, Term]]) -> tuple[tuple[Any, ...], ...]:
        order = query.args["order"]
        self._only(order, "expressions")
        found: list[tuple[Any, ...]] = []
        named = dict(reversed(items))
        for one in order.expressions:
            term, *how = self._key(one)
            if isinstance(term, exp.Column) and not term.table and lower(term.name) in named:
                found.append((named[lower(term.name)], *how))
            elif isinstance(term, (exp.Var, exp.Column)) and lower(term.name) == "all":
                found += [(value, *how) for _, value in items]
            else:
                found.append((self._position(term, items) or self.expression(term, scope), *how))
        return tuple(found)

    def _ordered(self, relation: Relation, query: exp.Expr, scope: Scope) -> Relation:
        """ORDER BY and LIMIT of a query in parentheses or of a set operation."""
        for part in _MODIFIERS:
            if part not in ("order", "limit", "offset") and query.args.get(part):
                raise Unclear(f"{part} is not understood")
        if not any(query.args.get(part) for part in ("order", "limit", "offset")):
            return relation
        order: tuple[tuple[Any, ...], ...] = ()
        if query.args.get("order"):
            if relation.rest:
                raise Unclear("an order over columns that are not known")
            own = replace(scope, sources=[Source("", relation.columns)], aliases={}, shared={})
            order = self._order(query, own, list(relation.columns.items()))
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


def replace_content(content: Content, block: Block) -> Content:
    return Content(content.kind, (block,), content.terms, content.texts, content.types, content.place)


def _join_words(join: exp.Join) -> str:
    parts = [str(join.args.get(part) or "").lower() for part in ("method", "side", "kind")]
    return " ".join(part for part in parts if part and part not in ("outer",)).replace("left outer", "left")


def _ordering(order: Iterable[tuple[Any, ...]]) -> Arg:
    return tuple(tuple(one) for one in order)


def _only_of(term: Term, instance: Instance) -> bool:
    return bool(term.refs) and all(ref.args[0] is instance for ref in term.refs)


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
