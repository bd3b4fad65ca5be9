"""How many matches a join finds for a row: none or some, as a condition may demand, or at most one.

Knows blocks and terms, no SQL. Each answer is a side condition of a rewriting: where it is not certain, it is no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from feature_warehouse.sql.algebra import ASOF, Arg, Attachment, Block, Instance, Term, Terms, flat, uses
from feature_warehouse.sql.types import never_null, sort_of, strict

# -- at most one ---------------------------------------------------------------


def once(attachment: Attachment, terms: Terms) -> bool:
    """Whether an attachment finds at most one match."""
    right = attachment.right
    if attachment.kind in ASOF:
        return True
    compared: set[Term] = set()
    for condition in attachment.on:
        if condition.op in ("=", "same"):
            one, two = condition.children()
            for key, other in ((one, two), (two, one)):
                # a comparison that casts may find '01' and '1' for the one number 1
                if right not in uses(other) and sort_of(key) is not None and sort_of(key) == sort_of(other):
                    compared.add(key)
    return any(
        all(terms.lift(key, right) in compared for key in keys) for keys in unique(right.content.blocks[0], terms)
    )


def unique(block: Block, terms: Terms) -> Iterator[tuple[Term, ...]]:
    """Sets of terms that no two rows of a block share."""
    if len(block.factors) != 1 or not all(once(attachment, terms) for attachment in block.attachments):
        return
    [factor] = block.factors
    content = factor.content

    def seen(keys: Iterable[Arg]) -> tuple[Term, ...]:
        return tuple(terms.lift(key, factor) for key in keys if isinstance(key, Term))

    if content.kind == "group":
        yield tuple(terms.ref(factor, key) for key in content.terms if isinstance(key, Term))
    elif content.kind in ("window", "sub", "ordered", "limit", "distinct on"):
        if content.kind == "distinct on":
            yield seen(flat(content.terms[1:]))
        for keys in unique(content.blocks[0], terms):
            yield seen(keys)
    if content.kind == "window":
        for condition in block.conditions:
            numbered = [one for one in condition.args if isinstance(one, Term) and _numbers(one, factor)]
            if condition.op == "=" and numbered and any(_is_one(one) for one in condition.children()):
                function = numbered[0].args[1]
                assert isinstance(function, Term)
                partition = function.args[2]
                assert isinstance(partition, tuple)
                yield seen(partition[1:])


def _numbers(term: Term, factor: Instance) -> bool:
    """Whether it is a row's number in its partition."""
    if term.op != "ref" or term.args[0] is not factor:
        return False
    function = term.args[1]
    return isinstance(function, Term) and function.op == "window" and function.args[0] == "row_number"


def _is_one(term: Term) -> bool:
    return term.op == "number" and term.args == ("1",)


# -- none ----------------------------------------------------------------------


def null_with(term: Term, missing: Callable[[Term], bool]) -> bool:
    """Whether a term is NULL as soon as the columns are of which ``missing`` is true."""
    if term.op == "ref":
        return missing(term)
    if term.op == "in":
        return null_with(term.children()[0], missing)
    return (strict(term) or term.op in ("like", "ilike")) and any(null_with(one, missing) for one in term.children())


def untrue_with(condition: Term, missing: Callable[[Term], bool]) -> bool:
    """Whether a condition is false or NULL as soon as these columns are NULL."""
    if null_with(condition, missing):
        return True
    parts = condition.children()
    if condition.op == "and":
        return any(untrue_with(part, missing) for part in parts)
    if condition.op == "or":
        return all(untrue_with(part, missing) for part in parts)
    if condition.op == "between":  # NULL and false is false, but never true
        return null_with(parts[0], missing)
    if condition.op == "not":
        [inner] = parts
        return null_with(inner, missing) or (inner.op == "is null" and null_with(inner.children()[0], missing))
    if condition.op == "same":
        return any(null_with(one, missing) and never_null(two) for one, two in (parts, parts[::-1]))
    return False


def demands(condition: Term, right: Instance) -> bool:
    """Whether a condition is only met where ``right`` has a match."""
    return condition.pure and untrue_with(condition, lambda ref: ref.args[0] is right)


def told_once(conditions: list[Term]) -> tuple[Term, ...]:
    """The conditions that rows must meet, without that a column is not NULL where another one says so too."""
    return tuple(one for one in conditions if not any(_says(other, one) for other in conditions if other is not one))


def _says(other: Term, condition: Term) -> bool:
    if condition.op != "not" or condition.children()[0].op != "is null":
        return False
    [column] = condition.children()[0].children()
    return column.op == "ref" and other.pure and untrue_with(other, lambda ref: ref is column)


def demand_none(attachment: Attachment, conditions: list[Term]) -> bool:
    """Whether conditions, all that read the right side of a left join, are met where it has no match, and there alone:
    a column of it is NULL that no match leaves NULL."""
    right = attachment.right
    tested = [condition.children()[0] for condition in conditions if condition.op == "is null"]
    if len(tested) < len(conditions) or not all(condition.pure for condition in attachment.on):
        return False
    if not all(null_with(one, lambda ref: ref.args[0] is right) for one in tested):
        return False
    return any(_never_null_in_a_match(one, attachment) for one in tested if one.op == "ref")


def _never_null_in_a_match(column: Term, attachment: Attachment) -> bool:
    what = column.args[1]
    if isinstance(what, Term) and never_null(what):
        return True
    return any(condition.pure and untrue_with(condition, lambda ref: ref is column) for condition in attachment.on)
