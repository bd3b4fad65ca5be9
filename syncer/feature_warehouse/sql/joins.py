"""FROM clauses of SQL to blocks: relations, how they are joined, and the conditions that their rows must meet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from sqlglot import exp

from feature_warehouse.sql.algebra import Arg, Attachment, Block, Content, Instance, Over, Term, Terms, flat, uses
from feature_warehouse.sql.calls import Calls
from feature_warehouse.sql.matches import demands
from feature_warehouse.sql.rewritings import conjuncts
from feature_warehouse.sql.scope import Names, Relation, Scope, Source
from feature_warehouse.sql.text import Unclear, lower
from feature_warehouse.sql.types import by_equality, strict

#: Of a query in parentheses, beside itself.
MODIFIERS = ("order", "limit", "offset")


class Nodes(Protocol):
    """What a FROM clause may name beside CTEs."""

    terms: Terms

    def named(self, names: Iterable[str], reader: str) -> Relation | None:
        """The rows, for one use, of the first of these names that is a node's, which the node ``reader`` then reads."""

    def use(self, relation: Relation) -> Relation:
        """The relation for one use: of its own instances, since a filter may go into them."""


class Joins(Calls):
    """Builds the block of one FROM clause."""

    def __init__(self, nodes: Nodes, node: str) -> None:
        super().__init__(nodes.terms)
        self.nodes = nodes
        self.name = node
        self.place = f"`{node}`"  # and the CTE within it
        self.node = f"`{node}`"

    @abstractmethod
    def cte(self, name: str, names: Names) -> Relation:
        """The rows of a CTE, for one use."""

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
        scope.sources.append(Source(alias, relation.columns, relation.rest, relation.hidden, relation.after))
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
            inner = Scope(
                scope.names, scope, [Source(alias, relation.columns, relation.rest, relation.hidden, relation.after)]
            )
            both = replace(scope, sources=[*scope.sources, *inner.sources], aliases={}, shared=dict(scope.shared))
            conditions = [self.expression(on, both)] if on is not None else self._using(using, both, "inner")
            found = self.rewrite.exists(self._with(relation.block, conditions))
            return block.where([found if words == "semi" else self.rewrite.negation(found)])
        if words in ("left", "asof", "asof left"):
            right = Instance(Content("sub", (relation.block,), place=self.place))
            scope.sources.append(
                self._outside(Source(alias, relation.columns, relation.rest, relation.hidden, relation.after), right)
            )
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
            scope.shared = {name: self.terms.lift(term, left, strict) for name, term in scope.shared.items()}
            scope.sources.append(Source(alias, relation.columns, relation.rest, relation.hidden, relation.after))
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
            scope.sources.append(
                self._outside(Source(alias, relation.columns, relation.rest, relation.hidden, relation.after), right)
            )
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
        missing = strict if nullable else None
        columns = {name: self.terms.lift(term, instance, missing) for name, term in source.columns.items()}
        rest = self.terms.ref(instance, source.rest) if source.rest else None
        return Source(source.alias, columns, rest, source.hidden, source.after, source.merged)

    def _using(self, names: list[str], scope: Scope, kind: str) -> list[Term]:
        conditions = []
        *before, right = scope.sources
        for name in names:
            found = self._shown(name, replace(scope, sources=before))
            others = self._shown(name, replace(scope, sources=[right], shared={}))
            if not found or not others:
                raise Unclear(f"there is no column {name}")
            [one], [other] = found, others
            conditions.append(self.make("=", one, other))
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
            self._only(table, "this", "alias", "with_", *MODIFIERS)
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
                return self.cte(name, names)
        full = ".".join(lower(part.name) for part in table.parts).removeprefix("ref.")
        found = self.nodes.named((full,) if table.args.get("db") else (full, name), self.name)
        if found is not None:
            return found
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

    # -- conditions -----
    def _with(self, block: Block, conditions: Iterable[Term], columns: Iterable[Term] | None = None) -> Block:
        """columns: all that is read of the block beside its conditions, where that is known."""
        kept = []
        for condition in conditions:
            for part in conjuncts(condition):
                if part.op == "true":
                    continue
                if part.op == "in query":  # as a condition of a row, it is one that some row of the query meets
                    part = self._some(part)
                kept.append(self.rewrite.condition(part))
        return self._matched(self._pushed(block, kept, columns))

    def _pushed(self, block: Block, conditions: list[Term], columns: Iterable[Term] | None = None) -> Block:
        """A condition on nothing but the keys of a grouping is one on the rows that are grouped; one on keys that all
        windows are partitioned by keeps or drops whole partitions.

        The block's factors must be its own (``Reader.use``): theirs alone is the content that changes. What these are
        made of is shared, and stays.
        """
        kept = []
        read = None if columns is None else block.uses.union(*map(uses, (*columns, *conditions)))
        for condition in conditions:
            found = [use for use in uses(condition) if isinstance(use, Instance) and use in block.factors]
            if len(found) == 1 and condition.pure and not condition.queries:
                group = found[0]
                content = group.content
                if (
                    content.kind == "group"
                    and content.terms
                    and by_equality(condition)
                    and all(ref.args[0] is group and ref.args[1] in content.terms for ref in condition.refs)
                ):
                    inner = content.blocks[0].where([self.terms.unlift(condition, group)])
                    group.content = replace_content(content, inner)
                    continue
                if content.kind == "window" and read is not None and _of_partitions(condition, group, read):
                    inner = self._with(content.blocks[0], [self.terms.unlift(condition, group)])
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
        return self.rewrite.exists(block.where([self.make("=", value, outside)]))

    def _matched(self, block: Block) -> Block:
        """An ASOF left join whose missing rows no condition lets pass is an inner one."""
        for attachment in block.attachments:
            right = attachment.right
            if attachment.kind == "asof left" and any(demands(one, right) for one in block.conditions):
                asof = Attachment("asof", right, attachment.on)
                attachments = tuple(asof if a is attachment else a for a in block.attachments)
                return self._matched(Block(block.factors, attachments, block.conditions))
        return block

    def _filtered(self, block: Block, condition: exp.Expr, scope: Scope) -> Block:
        term = self.expression(condition, scope)
        if term.computes:
            raise Unclear("a filter on what is computed after it")
        return self._with(block, [term], [one for source in scope.sources for one in source.columns.values()])

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
        return self.rewrite.exists(self._subquery(node.this, scope).block)

    def _read_subquery(self, node: exp.Subquery, scope: Scope) -> Term:
        self._only(node, "this")
        relation = self._subquery(node, scope)
        if len(relation.columns) != 1 or relation.rest:
            raise Unclear("a value from a query of several columns")
        return self.make("value of", Content("rows", (relation.block,)), tuple(relation.columns.values()))

    # -- relations ---

    def _whole(self, relation: Relation, kind: str, *terms: Arg, texts: tuple[str, ...] = ()) -> Relation:
        """The relation as one instance."""
        whole = Instance(Content(kind, (relation.block,), terms, texts, place=self.place))
        columns = {name: self.terms.lift(term, whole) for name, term in relation.columns.items()}
        rest = self.terms.ref(whole, relation.rest) if relation.rest else None
        return Relation(Block((whole,)), columns, rest, relation.hidden, relation.after)

    def _renamed(self, relation: Relation, columns: tuple[str, ...]) -> Relation:
        if not columns:
            return relation
        if relation.rest or len(columns) > len(relation.columns) or len(set(columns)) < len(columns):
            raise Unclear("columns are renamed that are not known")
        names = [*columns, *list(relation.columns)[len(columns) :]]
        if len(set(names)) < len(names):
            raise Unclear("two columns have one name")
        return Relation(relation.block, dict(zip(names, relation.columns.values(), strict=True)))

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


def replace_content(content: Content, block: Block) -> Content:
    written = content.written or content
    return Content(content.kind, (block,), content.terms, content.texts, content.types, content.place, written=written)


def _of_partitions(condition: Term, rows: Instance, read: frozenset[object]) -> bool:
    """Whether a condition on the rows of windows is met by all rows of a partition or by none, for each window of them
    among all that is ``read``."""
    windows = [use.window for use in read if isinstance(use, Over) and use.instance is rows]
    partitions = [set(flat(window.args[2:3])) for window in windows]
    keys = set.intersection(*partitions) if partitions else set()
    refs = condition.refs
    return bool(refs) and by_equality(condition) and all(ref.args[0] is rows and ref.args[1] in keys for ref in refs)


def _join_words(join: exp.Join) -> str:
    parts = [str(join.args.get(part) or "").lower() for part in ("method", "side", "kind")]
    return " ".join(part for part in parts if part and part not in ("outer",)).replace("left outer", "left")


def _only_of(term: Term, instance: Instance) -> bool:
    return bool(term.refs) and all(ref.args[0] is instance for ref in term.refs)
