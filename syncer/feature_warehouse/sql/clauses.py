"""A select clause by clause: what each says, by what it means.

Expressions are read as everywhere (``expressions``), but without knowing relations: a column is its name. So other
spellings are no news, and what two texts say differently can be told clause by clause (``wording``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from feature_warehouse.sql.algebra import Block, Term, Terms
from feature_warehouse.sql.calls import Calls
from feature_warehouse.sql.digest import Digests
from feature_warehouse.sql.scope import Names, Relation, Scope
from feature_warehouse.sql.text import Unclear, lower, parse, words_of, written


@dataclass(frozen=True, eq=False)
class Clauses:
    """One SELECT, or one branch of a set operation, by clause: what it says, by what it means."""

    filters: dict[str, exp.Expr] = field(default_factory=dict)
    having: dict[str, exp.Expr] = field(default_factory=dict)
    qualify: dict[str, exp.Expr] = field(default_factory=dict)
    joins: dict[str, tuple[str, exp.Expr | None, str]] = field(default_factory=dict)  # kind, ON, ON by meaning
    reads: tuple[str, ...] = ()
    keys: dict[str, exp.Expr] = field(default_factory=dict)
    columns: dict[str, tuple[str, exp.Expr]] = field(default_factory=dict)
    distinct: str = ""
    limit: str = ""
    order: str = ""
    combined: str = ""  # union, except ...


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


def by_meaning(found: Iterator[exp.Expr], qualified: bool = False) -> dict[str, exp.Expr]:
    return {_meaning(written(condition), qualified): condition for condition in found}


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


@lru_cache(maxsize=2048)
def clauses(text: str, qualified: bool = False) -> Mapping[str, Clauses]:
    """The selects of a query by CTE or alias, the last one by ''. Raises Unclear.

    qualified: a.k and b.k are different columns; not so, an alias that is new is no news.
    """
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
            kind = f"{query.key} {'' if query.args.get('distinct') else 'all'}".strip()
            found[name] = Clauses(combined=kind)
            visit(query.this, name_of(f"{name} first branch".strip()))
            visit(query.expression, name_of(f"{name} second branch".strip()))
        elif isinstance(query, exp.Select):
            found[name] = _clauses(query, qualified, by_position=name.endswith("branch"))
            from_ = query.args.get("from_")
            for table in [*([from_.this] if from_ else []), *(join.this for join in query.args.get("joins") or ())]:
                if isinstance(table, exp.Subquery):
                    visit(table, name_of(lower(table.alias) or f"subquery of {name or 'it'}"))

    visit(parse(text), "")
    return found


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


def _clauses(query: exp.Select, qualified: bool, by_position: bool) -> Clauses:
    if query.args.get("windows"):
        query = _with_windows(query)

    def meant(found: Iterator[exp.Expr]) -> dict[str, exp.Expr]:
        return by_meaning(found, qualified)

    def part(name: str) -> exp.Expr | None:
        node = query.args.get(name)
        return node.this if node is not None else None

    joins, reads = {}, []
    on_filters: dict[str, exp.Expr] = {}
    from_ = part("from_")
    if from_ is not None:
        reads.append(_relation(from_))
    for join in query.args.get("joins") or ():
        kind = " ".join(lower(str(join.args.get(one) or "")) for one in ("method", "side", "kind")).split()
        kind = [word for word in kind if word not in ("outer", "inner", "cross")]
        relation = _relation(join.this)
        reads.append(relation)
        on = join.args.get("on")
        using = ", ".join(sorted(lower(one.name) for one in join.args.get("using") or ()))
        if not kind and on is not None:  # an inner join's condition is a filter
            on_filters.update(meant(conditions(on)))
            on = None
        on_meant = " ".join(sorted(meant(conditions(on)))) if on is not None else using
        key, number = relation, 1
        while key in joins:
            number += 1
            key = f"{relation} ({number})"
        joins[key] = (" ".join(kind) or "inner", on, on_meant)
    columns = {}
    for number, item in enumerate(query.expressions):
        value = item.this if isinstance(item, exp.Alias) else item
        name = f"column {number + 1}" if by_position else lower(item.alias_or_name) or written(value)
        columns["*" if value.find(exp.Star) is value else name] = (_meaning(written(value), qualified), value)
    limit = [said(query.args[one]).removeprefix("limit ") for one in ("limit", "offset") if query.args.get(one)]
    distinct = query.args.get("distinct")
    return Clauses(
        filters=on_filters | meant(conditions(part("where"))),
        having=meant(conditions(part("having"))),
        qualify=meant(conditions(part("qualify"))),
        joins=joins,
        reads=tuple(sorted(reads)),
        keys={_meaning(written(key), qualified): key for key in _group_keys(query, columns)},
        columns=columns,
        distinct=said(distinct) if distinct is not None else "",
        limit=" ".join(limit),
        order=said(query.args["order"]) if query.args.get("order") else "",
    )


def _group_keys(query: exp.Select, columns: Mapping[str, tuple[str, exp.Expr]]) -> list[exp.Expr]:
    """What GROUP BY names, where it gives a column's number or its alias the column's own value."""
    group = query.args.get("group")
    by_name = {name: value for name, (_, value) in columns.items()}
    listed = list(by_name.values())
    return [
        listed[int(key.name) - 1]
        if isinstance(key, exp.Literal) and key.is_int and 0 < int(key.name) <= len(listed)
        else by_name.get(lower(key.name), key)
        if isinstance(key, exp.Column) and not key.table
        else key
        for key in (group.expressions if group else ())
    ]


def names_read(text: str, wanted: frozenset[str]) -> frozenset[str]:
    """The names that the columns of these names are computed from, in any select of a query, and those that decide
    about its rows; and themselves."""
    try:
        selects = clauses(text).values()
    except Unclear:
        return wanted
    found = set(wanted)
    for select in selects:
        for column, (_, value) in select.columns.items():
            if column in wanted:
                found |= _columns(value)
        for conditions in (select.filters, select.having, select.qualify, select.keys):
            for condition in conditions.values():
                found |= _columns(condition)
        for _, on, _ in select.joins.values():
            found |= _columns(on) if on is not None else set()
    return frozenset(found)


def _columns(node: exp.Expr) -> set[str]:
    return {lower(read.name) for read in node.find_all(exp.Column)}
