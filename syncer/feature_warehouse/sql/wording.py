"""What two texts of one node say differently, in words; and a diff of their formatted SQL.

For people: a sentence that names the clause and the CTE. Whether a change matters is decided elsewhere, by meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import exp

from feature_warehouse.sql.clauses import Clauses, apart, clauses, said
from feature_warehouse.sql.text import Unclear, lower, parse, words_of, written


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence; ``column``: the one that it is about, None where it is about the rows."""

    text: str
    column: str | None = None


def compared(node: str, old: str, new: str, qualified: bool = False) -> list[Said]:
    """What a node's two texts say differently."""
    try:
        before, after = clauses(old), clauses(new)
    except Unclear:  # the change itself says why it is compared as text
        return [Said(f"the SQL of `{node}` changed")] if words_of(old) != words_of(new) else []
    sentences: list[Said] = []
    numbers = [name for name in after if name in before and before[name].branches != after[name].branches]
    for name in after:
        if any(name.startswith(f"{one} branch ".lstrip()) for one in numbers):
            continue  # which is which cannot be told by their places
        if name in before:
            where = f"`{name}` of `{node}`" if name else f"`{node}`"
            sentences += _compared(where, before[name], after[name], qualified, final=not name)
    if qualified:  # all that is left to say
        sentences += [Said(f"`{name}` added in `{node}`") for name in after if name not in before]
        sentences += [Said(f"`{name}` removed from `{node}`") for name in before if name not in after]
    return sentences


def _compared(where: str, old: Clauses, new: Clauses, qualified: bool, *, final: bool) -> Iterator[Said]:
    if old.combined == new.combined and old.branches != new.branches:
        yield Said(f"{old.combined} of {old.branches} -> {new.branches} queries in {where}")
    if old.combined != new.combined:
        yield Said(f"{old.combined or 'one query'} -> {new.combined or 'one query'} in {where}")
    if old.distinct != new.distinct:
        yield Said(f"{old.distinct or 'no distinct'} -> {new.distinct or 'no distinct'} in {where}")
    for name, one, two in (
        ("filter", old.filters, new.filters),
        ("having", old.having, new.having),
        ("qualify", old.qualify, new.qualify),
    ):
        gone, come = apart(one, two, qualified)
        if len(gone) == len(come) == 1:
            yield Said(f"{_change(gone[0], come[0], name)} in {where}")
            continue
        yield from (Said(f"{name} removed in {where}: {said(condition)}") for condition in gone)
        yield from (Said(f"{name} added in {where}: {said(condition)}") for condition in come)
    yield from _joins(where, old, new, qualified)
    gone, come = apart(old.keys, new.keys, qualified)
    if gone or come:
        before, after = (", ".join(map(said, keys)) or "none" for keys in (old.keys, new.keys))
        yield Said(f"group by {before} -> {after} in {where}")
    if old.limit != new.limit:
        yield Said(f"limit {old.limit or 'none'} -> {new.limit or 'none'} in {where}")
    elif old.order != new.order and (new.limit or new.distinct or not final):
        yield Said(f"{old.order or 'no order'} -> {new.order or 'no order'} in {where}")
    for column, value in new.columns.items():
        if column in old.columns and any(apart([old.columns[column]], [value], qualified)):
            about = None if column == "*" or column.startswith("column ") else column
            yield Said(f"{_change(old.columns[column], value, f'`{column}`')} in {where}", about)


def _joins(where: str, old: Clauses, new: Clauses, qualified: bool) -> Iterator[Said]:
    for relation, join in new.joins.items():
        if relation not in old.joins:
            if relation not in old.reads:
                on = f" on {said(exp.and_(*join.on, copy=True))}" if join.on else ""
                yield Said(f"{join.kind} join added in {where}: {relation}{on}")
            elif join.kind != "inner":
                yield Said(f"`{relation}` is now the side that is joined, by a {join.kind} join, in {where}")
            continue
        before = old.joins[relation]
        gone, come = apart(before.on, join.on, qualified)
        if before.kind != join.kind:
            yield Said(f"join {before.kind} -> {join.kind} on `{relation}` in {where}")
        elif len(gone) == len(come) == 1:
            yield Said(f"{_change(gone[0], come[0], f'join of `{relation}`')} in {where}")
        elif gone or come or before.using != join.using:
            yield Said(f"condition of the join of `{relation}` changed in {where}")
    for relation, join in old.joins.items():
        if relation not in new.joins and relation not in new.reads:
            yield Said(f"{join.kind} join removed in {where}: {relation}")
    read_no_more = [one for one in old.reads if one not in (*new.reads, *old.joins)]
    read_now = [one for one in new.reads if one not in (*old.reads, *new.joins)]
    if len(read_no_more) == len(read_now) == 1:
        yield Said(f"reads `{read_no_more[0]}` -> `{read_now[0]}` in {where}")


def _change(old: exp.Expr, new: exp.Expr, what: str) -> str:
    """The smallest part in which two expressions differ: 'window 7 days -> 14 days'."""
    one, two, frame = old, new, False
    while type(one) is type(two):
        frame = frame or isinstance(one, exp.WindowSpec)
        if isinstance(one, (exp.Literal, exp.Identifier, exp.Column, exp.Interval)):
            break
        apart = [
            (a, b)
            for name in {*one.args, *two.args}
            for a, b in _sides(one.args.get(name), two.args.get(name))
            if a != b
        ]
        if len(apart) != 1:
            break
        [(left, right)] = apart
        if not isinstance(left, exp.Expr) or not isinstance(right, exp.Expr):
            break
        if any(isinstance(side, (exp.Star, exp.Distinct)) for side in (left, right)):
            break  # says nothing without its function
        one, two = left, right
    if isinstance(one, exp.Interval) and isinstance(two, exp.Interval):
        return f"window {_interval(one)} -> {_interval(two)}"
    if frame:
        return f"window {said(one)} -> {said(two)}"
    whole = one is old or (isinstance(one, (exp.Identifier, exp.Column, exp.Literal)) and len(said(old)) < 60)
    return f"{what} {said(old)} -> {said(new)}" if whole else f"{what}: {said(one)} -> {said(two)}"


def _sides(one: object, two: object) -> Iterator[tuple[object, object]]:
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        yield from zip(one, two, strict=True)
    else:
        yield one, two


def _interval(node: exp.Interval) -> str:
    unit = lower(node.args["unit"].name) if node.args.get("unit") else ""
    return f"{node.this.name if isinstance(node.this, exp.Literal) else said(node.this)} {unit}".strip()


@lru_cache(maxsize=2048)
def formatted(text: str) -> str:
    """SQL in one layout, for a diff; as it is where it cannot be parsed."""
    try:
        return written(parse(text), pretty=True)
    except Unclear:
        return text.strip()


def diff(node: str, old: str, new: str) -> str:
    """A unified diff of the formatted SQL of one node, '' where there is none; '' for a node that is not there."""
    was, now = (formatted(sql).splitlines() if sql else [] for sql in (old, new))
    return unified(node, was, now)


def unified(node: str, old: Sequence[str], new: Sequence[str]) -> str:
    lines = difflib.unified_diff(old, new, f"{node}.sql (accepted)", f"{node}.sql (proposed)", lineterm="")
    return "\n".join(lines)
