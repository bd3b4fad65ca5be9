"""A select clause by clause: what each says, by what it means.

Expressions are read as everywhere (``expressions``), but without knowing relations: a column is its name. So other
spellings are no news, and what two texts say differently can be told clause by clause (``wording``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile

from sqlglot import exp
from sqlglot.errors import SqlglotError

from feature_warehouse.sql.algebra import Block, Term, Terms
from feature_warehouse.sql.calls import Calls
from feature_warehouse.sql.digest import Digests
from feature_warehouse.sql.scope import Names, Relation, Scope
from feature_warehouse.sql.text import Unclear, lower, parse, words_of, written


@dataclass(frozen=True, slots=True)
class Join:
    """kind: left, asof left ...; inner where none is written. on: none of an inner join, of which it is a filter."""

    kind: str
    on: tuple[exp.Expr, ...]
    using: str


@dataclass(frozen=True, eq=False)
class Clauses:
    """One SELECT, or one branch of a set operation, by clause."""

    filters: tuple[exp.Expr, ...] = ()
    having: tuple[exp.Expr, ...] = ()
    qualify: tuple[exp.Expr, ...] = ()
    joins: dict[str, Join] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    keys: tuple[exp.Expr, ...] = ()
    columns: dict[str, exp.Expr] = field(default_factory=dict)
    distinct: str = ""
    limit: str = ""
    order: str = ""
    combined: str = ""  # union, except ...
    branches: int = 0  # of these


class _Spelling(Calls):
    """Reads an expression without knowing relations: a column is its name, with or without its relation's."""

    def __init__(self, terms: Terms, qualified: bool) -> None:
        super().__init__(terms)
        self.qualified = qualified

    def query(self, query: exp.Expr, scope: Scope) -> Relation:
        raise Unclear("a subquery")

    def in_query(self, value: Term, query: exp.Expr, scope: Scope) -> Term:
        return self.make("in query", value, words_of(written(query)))

    def _read_exists(self, node: exp.Exists, scope: Scope) -> Term:
        return self.make("exists", words_of(written(node)))

    def _read_subquery(self, node: exp.Subquery, scope: Scope) -> Term:
        return self.make("value of", words_of(written(node)))

    def _read_column(self, node: exp.Column, scope: Scope) -> Term:
        return self.make("column", lower(node.table) if self.qualified else "", lower(node.name))


@lru_cache(maxsize=8192)
def _meaning(text: str, qualified: bool) -> str:
    terms = Terms()
    try:
        select = parse(f"select {text} as x")
        value = select.expressions[0].this
        term = _Spelling(terms, qualified).expression(value, Scope(Names()))
        return Digests(terms).rows(Block(), (term,))
    except (Unclear, SqlglotError, RecursionError, AttributeError):
        return words_of(text)


def said(node: exp.Expr, limit: int = 100) -> str:
    """An expression in a sentence: on one line, keywords in lower case, cut where it is long."""
    text = words_of(written(node))
    for before, after in (
        (" . ", "."),
        ("( ", "("),
        (" )", ")"),
        (" ,", ","),
        (" (", "("),
        (" ::", "::"),
        (":: ", "::"),
    ):
        text = text.replace(before, after)
    for word in (
        "in",
        "over",
        "and",
        "or",
        "not",
        "by",
        "as",
        "filter",
        "when",
        "then",
        "else",
        "where",
        "=",
        "replace",
        "exclude",
    ):
        text = text.replace(f" {word}(", f" {word} (")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def apart(
    old: Sequence[exp.Expr], new: Sequence[exp.Expr], qualified: bool = False
) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The expressions that mean what none of the other side does.

    qualified: a.k and b.k are different columns; not so, an alias that is new is no news.
    """
    if list(old) == list(new):  # most of what a change leaves alone is written as it was
        return [], []
    one, two = ({_meaning(written(node), qualified): node for node in side} for side in (old, new))
    return [node for key, node in one.items() if key not in two], [node for key, node in two.items() if key not in one]


def conditions(node: exp.Expr | None) -> Iterator[exp.Expr]:
    if isinstance(node, exp.Paren):
        yield from conditions(node.this)
    elif isinstance(node, exp.And):
        yield from conditions(node.left)
        yield from conditions(node.right)
    elif isinstance(node, exp.Between):
        yield exp.LTE(this=node.args["low"].copy(), expression=node.this.copy())
        yield exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
    elif node is not None:
        yield node


def _relation(node: exp.Expr) -> str:
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        return ".".join(lower(part.name) for part in node.parts).removeprefix("ref.")
    return "a subquery" if isinstance(node, exp.Subquery) else said(node, 40)


def clauses(text: str) -> Mapping[str, Clauses]:
    """The selects of a query by CTE or alias, the last one by ''. Raises Unclear."""
    found = _selects(text)
    if isinstance(found, Unclear):
        raise Unclear(str(found))
    return found


@lru_cache(maxsize=2048)
def _selects(text: str) -> Mapping[str, Clauses] | Unclear:
    try:
        query = parse(text)
    except Unclear as exc:
        return Unclear(str(exc))
    found: dict[str, Clauses] = {}

    def name_of(wanted: str) -> str:
        name, number = wanted, 1
        while name in found:
            number += 1
            name = f"{wanted} ({number})"
        return name

    def visit(query: exp.Expr, name: str) -> None:
        with_ = query.args.get("with_")
        for cte in with_.expressions if with_ else ():
            visit(cte.this, name_of(lower(cte.alias)))
        if isinstance(query, exp.Subquery):
            visit(query.this, name)
        elif isinstance(query, exp.SetOperation):
            branches = list(_branches(query))
            found[name] = Clauses(combined=_kind(query), branches=len(branches))
            for number, branch in enumerate(branches, start=1):
                visit(branch, name_of(f"{name} branch {number}".strip()))
        elif isinstance(query, exp.Select):
            found[name] = _clauses(query, by_position=_BRANCH.search(name) is not None)
            from_ = query.args.get("from_")
            for table in [*([from_.this] if from_ else []), *(join.this for join in query.args.get("joins") or ())]:
                if isinstance(table, exp.Subquery):
                    visit(table, name_of(lower(table.alias) or f"subquery of {name or 'it'}"))

    visit(query, "")
    return found


_BRANCH = re.compile(r"(^| )branch \d+$")


def _kind(query: exp.SetOperation) -> str:
    return f"{query.key} {'' if query.args.get('distinct') else 'all'}".strip()


def _branches(query: exp.SetOperation) -> Iterator[exp.Expr]:
    """The queries that one operation combines; a UNION of a UNION is one of three."""
    left = query.this
    own = isinstance(left, exp.SetOperation) and not any(
        left.args.get(p) for p in ("order", "limit", "offset", "with_")
    )
    if own and isinstance(query, exp.Union) and _kind(left) == _kind(query):
        yield from _branches(left)
    else:
        yield left
    yield query.expression


def _with_windows(query: exp.Select) -> exp.Select:
    """A copy in which ``over name`` is the window of that name."""
    named = {lower(window.name): window for window in query.args["windows"]}
    query = query.copy()
    for window in list(query.find_all(exp.Window)):
        meant = named.get(lower(window.alias)) if isinstance(window.this, exp.Expr) else None
        if meant is not None and not any(window.args.get(part) for part in ("partition_by", "order", "spec")):
            for part in ("partition_by", "order", "spec"):
                value = meant.args.get(part)
                window.set(part, [key.copy() for key in value] if isinstance(value, list) else value and value.copy())
            window.set("alias", None)
    return query


def _clauses(query: exp.Select, by_position: bool) -> Clauses:
    if query.args.get("windows"):
        query = _with_windows(query)

    def part(name: str) -> exp.Expr | None:
        node = query.args.get(name)
        return node.this if node is not None else None

    joins, reads = {}, []
    filters: list[exp.Expr] = []
    from_ = part("from_")
    if from_ is not None:
        reads.append(_relation(from_))
    for join in query.args.get("joins") or ():
        kind = " ".join(lower(str(join.args.get(one) or "")) for one in ("method", "side", "kind")).split()
        kind = [word for word in kind if word not in ("outer", "inner", "cross")]
        relation = _relation(join.this)
        reads.append(relation)
        on = tuple(conditions(join.args.get("on")))
        if not kind:  # an inner join's condition is a filter
            filters += on
            on = ()
        key, number = relation, 1
        while key in joins:
            number += 1
            key = f"{relation} ({number})"
        using = ", ".join(sorted(lower(one.name) for one in join.args.get("using") or ()))
        joins[key] = Join(" ".join(kind) or "inner", on, using)
    columns = {}
    for number, item in enumerate(query.expressions):
        value = item.this if isinstance(item, exp.Alias) else item
        name = f"column {number + 1}" if by_position else lower(item.alias_or_name) or written(value)
        columns["*" if value.find(exp.Star) is value else name] = value
    limit = [said(query.args[one]).removeprefix("limit ") for one in ("limit", "offset") if query.args.get(one)]
    distinct = query.args.get("distinct")
    return Clauses(
        filters=(*filters, *conditions(part("where"))),
        having=tuple(conditions(part("having"))),
        qualify=tuple(conditions(part("qualify"))),
        joins=joins,
        reads=tuple(sorted(reads)),
        keys=tuple(_group_keys(query)),
        columns=columns,
        distinct=said(distinct) if distinct is not None else "",
        limit=" ".join(limit),
        order=said(query.args["order"]) if query.args.get("order") else "",
    )


def _group_keys(query: exp.Select) -> Iterator[exp.Expr]:
    """What GROUP BY names; in place of a column's number or alias, the column's own value. Behind a star, which is no
    column but many, a number stays a number."""
    group = query.args.get("group")
    listed = [item.unalias() for item in takewhile(lambda item: item.find(exp.Star) is None, query.expressions)]
    named = {lower(item.alias): item.this for item in reversed(query.expressions) if isinstance(item, exp.Alias)}
    for key in group.expressions if group else ():
        if isinstance(key, exp.Literal) and key.is_int and 0 < int(key.name) <= len(listed):
            yield listed[int(key.name) - 1]
        elif isinstance(key, exp.Column) and not key.table:
            yield named.get(lower(key.name), key)
        else:
            yield key


@dataclass(frozen=True, slots=True)
class NamesRead:
    """Of which names the columns of a text are computed, by their own; and the names that decide about its rows."""

    columns: Mapping[str, frozenset[str]]
    rows: frozenset[str]


@lru_cache(maxsize=2048)
def names_read(text: str) -> NamesRead:
    """In any select of a query; nothing where it is not understood."""
    try:
        selects = clauses(text).values()
    except Unclear:
        return NamesRead({}, frozenset())
    columns: dict[str, frozenset[str]] = {}
    rows: set[str] = set()
    for select in selects:
        for column, value in select.columns.items():
            columns[column] = columns.get(column, frozenset()) | _columns(value)
        deciding = (select.filters, select.having, select.qualify, select.keys, *(j.on for j in select.joins.values()))
        rows = rows.union(*(_columns(one) for several in deciding for one in several))
    return NamesRead(columns, frozenset(rows))


def _columns(node: exp.Expr) -> frozenset[str]:
    return frozenset(lower(read.name) for read in node.find_all(exp.Column))
