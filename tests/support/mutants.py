"""Random small changes of SQL text: one token swapped, dropped, doubled, or moved.

Knows words, not grammar: what DuckDB does not run is thrown away. The question is always the same: does the gate call
a change of data a refactor?
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

TOKEN = re.compile(r"\s+|'(?:[^']|'')*'|\"[^\"]*\"|\d+(?:\.\d+)?|[A-Za-z_][A-Za-z0-9_]*|<=|>=|<>|!=|\|\||::|//|.", re.S)

#: Words that stand where the others of their row may stand.
SWAPS = [
    row.split()
    for row in """
    < <= > >= = <>
    + - * / //
    and or
    left inner right full semi anti cross
    asc desc
    first last
    sum avg min max count any_value
    row_number rank dense_rank
    lag lead first_value last_value
    arg_max arg_min
    rows range groups
    preceding following
    days hours minutes weeks day hour month
    true false null
    double bigint integer varchar float
    date timestamp timestamptz
    union except intersect
    union_all union
    coalesce nullif greatest least
    quantile_cont quantile_disc
    upper lower
    between in
    like ilike
    where having qualify
    on using
    in exists
    list first
    pages scores place stay visits
    city zip a
    + ||
    replace exclude
    s o e u stg
    bigint varchar interval
    user_id order_id referrer_id quantity age
    amount value price
    ordered_at shipped_at event_at signed_up_at valid_from refunded_at
    status country kind session_id
    orders events users refunds prices
    distinct all
    """.strip().splitlines()
]

INSERTS = (
    "not distinct all desc asc - limit offset left asof filter null 1 order by is ( ) , true nulls first ignore "
    "| & ~ ^ % ! @ collate nocase where false exclude ties with"
).split()


def tokens(sql: str) -> list[str]:
    return TOKEN.findall(sql)


def mutant(sql: str, dice: random.Random) -> str:
    """The text with one or two random changes."""
    parts = tokens(sql)
    for _ in range(1 if dice.random() < 0.8 else 2):
        parts = dice.choice(OPERATORS)(parts, dice)
    return "".join(parts)


def _at(parts: list[str], dice: random.Random, wanted: Callable[[str], bool]) -> int | None:
    found = [i for i, part in enumerate(parts) if wanted(part)]
    return dice.choice(found) if found else None


def _changed(parts: list[str], at: int | None, *new: str) -> list[str]:
    return parts if at is None else [*parts[:at], *new, *parts[at + 1 :]]


def _swap(parts: list[str], dice: random.Random) -> list[str]:
    at = _at(parts, dice, lambda part: any(part.lower() in row for row in SWAPS))
    if at is None:
        return parts
    row = dice.choice([row for row in SWAPS if parts[at].lower() in row])
    return _changed(parts, at, dice.choice(row))


def _number(parts: list[str], dice: random.Random) -> list[str]:
    at = _at(parts, dice, lambda part: part[0].isdigit())
    if at is None:
        return parts
    number = parts[at]
    return _changed(parts, at, dice.choice([f"{number}.0", f"'{number}'", f"{number}0", "0", "1", "2", "3", "null"]))


def _string(parts: list[str], dice: random.Random) -> list[str]:
    at = _at(parts, dice, lambda part: part[0] == "'")
    if at is None:
        return parts
    return _changed(parts, at, dice.choice(["'paid'", "'Paid'", "'a'", "'b'", "''", "'1'", "'%a%'", "null", "'UTC'"]))


def _name(parts: list[str], dice: random.Random) -> list[str]:
    names = [i for i, part in enumerate(parts) if re.match(r"[A-Za-z_]", part)]
    if len(names) < 2:
        return parts
    return _changed(parts, dice.choice(names), parts[dice.choice(names)])


def _drop(parts: list[str], dice: random.Random) -> list[str]:
    at = _at(parts, dice, lambda part: not part.isspace())
    size = dice.choice([1, 1, 1, 3, 5])
    return parts if at is None else parts[:at] + parts[at + size :]


def _double(parts: list[str], dice: random.Random) -> list[str]:
    at = _at(parts, dice, lambda part: not part.isspace())
    return parts if at is None else _changed(parts, at, parts[at], " ", parts[at])


def _insert(parts: list[str], dice: random.Random) -> list[str]:
    at = dice.randrange(len(parts))
    return [*parts[:at], " ", dice.choice(INSERTS), " ", *parts[at:]]


def _move(parts: list[str], dice: random.Random) -> list[str]:
    words = [i for i, part in enumerate(parts) if not part.isspace()]
    if len(words) < 4:
        return parts
    where = dice.randrange(len(words) - 2)
    one, two = words[where], words[where + dice.choice([1, 2])]
    parts = list(parts)
    parts[one], parts[two] = parts[two], parts[one]
    return parts


def _parentheses(parts: list[str], dice: random.Random) -> list[str]:
    """A pair more, or a pair less."""
    if dice.random() < 0.5:
        at = _at(parts, dice, lambda part: part == "(")
        if at is None:
            return parts
        depth = 0
        for end in range(at, len(parts)):
            depth += {"(": 1, ")": -1}.get(parts[end], 0)
            if depth == 0:
                return [*parts[:at], " ", *parts[at + 1 : end], " ", *parts[end + 1 :]]
        return parts
    start = dice.randrange(len(parts))
    end = min(len(parts), start + dice.choice([3, 5, 7, 9]))
    return [*parts[:start], "(", *parts[start:end], ")", *parts[end:]]


def _clause(parts: list[str], dice: random.Random) -> list[str]:
    """A condition more or less, a key less, a filter more."""
    text = "".join(parts)
    change = dice.choice(
        [
            lambda t: re.sub(r"\bwhere\b(.*?)(?=\bgroup\b|\)|\bqualify\b|\border\b|$)", " ", t, count=1, flags=re.S),
            lambda t: t.replace("where ", "where user_id is not null and ", 1),
            lambda t: t.replace("where ", "where not ", 1),
            lambda t: re.sub(r"\band\b[^()]*?(?=\band\b|\)|$)", " ", t, count=1),
            lambda t: t.replace("select ", "select distinct ", 1),
            lambda t: t.replace("distinct ", "", 1),
            lambda t: re.sub(r"partition by \w+,?", " ", t, count=1),
            lambda t: re.sub(r"partition by (\w+)", r"partition by \1, kind", t, count=1),
            lambda t: re.sub(r"group by (\w+),", "group by ", t, count=1),
            lambda t: re.sub(r"order by (\w+)", r"order by \1 desc", t, count=1),
            lambda t: re.sub(r"order by (\w+)", r"order by \1 nulls first", t, count=1),
            lambda t: re.sub(r"\((\w+)\)(?! over)", r"(\1) filter (where user_id > 2)", t, count=1),
            lambda t: re.sub(r"(sum|count|avg|min|max)\(", r"\1(distinct ", t, count=1),
            lambda t: re.sub(r"\bunion all\b", "union", t, count=1),
            lambda t: re.sub(r"\bunion\b(?! all)", "union all", t, count=1),
            lambda t: re.sub(r"\bleft join\b", "join", t, count=1),
            lambda t: re.sub(r"(?<!left )(?<!asof )\bjoin\b", "left join", t, count=1),
            lambda t: re.sub(r"\basof\b", " ", t, count=1),
            lambda t: re.sub(r"(\w+) as f\b", r"\1::integer as f", t, count=1),
            lambda t: re.sub(r"(\w+) as f\b", r"coalesce(\1, null) as f", t, count=1),
            lambda t: re.sub(r"\b(\w)\.\w+", r"\1::varchar", t, count=1),
            lambda t: re.sub(r"\b(\w)\.(\w+)", r"\1['\2']", t, count=1),
            lambda t: re.sub(r"\bfrom (\w+)\b", r"from (select * from \1) \1", t, count=1),
            lambda t: re.sub(r"\* from", "* exclude (amount) from", t, count=1),
            lambda t: re.sub(r"\* from", "* replace (user_id + 1 as user_id) from", t, count=1),
            lambda t: re.sub(r"(\w+) as f\b", r"coalesce(\1, \1) as f", t, count=1),
            lambda t: re.sub(
                r"(\w+) as f\b", r"case when \1 is null then 1 else case when true then \1 end end as f", t, count=1
            ),
            lambda t: re.sub(r"count\((\w+)\)", r"count(case when \1 is null then 1 end)", t, count=1),
            lambda t: re.sub(r"(\w+) as f\b", r"[\1] + null as f", t, count=1),
            lambda t: t + " limit 3",
            lambda t: t + " order by 1, 2, 3 limit 3",
            lambda t: re.sub(r" as (\w+), (\w+)", r" as \2, \2", t, count=1),
            lambda t: re.sub(r"\b(\w)\.(\w+)", r"\2", t, count=1),
            lambda t: re.sub(r"\bover \(", "over (order by user_id ", t, count=1),
            lambda t: re.sub(r"interval '?(\d+)'?", r"interval '1\1'", t, count=1),
            lambda t: re.sub(r"\bwith (\w+) as", r"with other as (select 1), \1 as", t, count=1),
            lambda t: re.sub(r"\bwith (\w+) as", r"with orders as (select * from orders where quantity > 1), \1 as", t),
        ]
    )
    return tokens(change(text))


OPERATORS = [_swap, _swap, _swap, _number, _string, _name, _name, _drop, _drop, _double, _insert, _move, _parentheses,
             _clause, _clause]  # fmt: skip
