"""Each rewriting over operators, types and NULLs: what the gate takes for one, DuckDB computes as one.

A pair of spellings is tried with columns of every type, once with types that are known and once over an open source,
where nothing is known. Where the fingerprints are equal, the values, their text and their types must be.
"""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

import duckdb
import pytest

from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.functions import PURE, STRICT
from feature_warehouse.sql.nodes import Node

#: Few of each, but those that are told apart by little; NULL is one of each.
VALUES = {
    "tinyint": ["1", "5"],
    "integer": ["0", "1", "5"],
    "bigint": ["1", "5", "16777217"],
    "double": ["0.0", "'-0.0'", "1.5", "'nan'"],
    "float": ["0.1", "'-0.0'", "16777216"],
    "decimal(10,2)": ["0.10", "1.50", "5.00"],
    "varchar": ["'1'", "'a'", "'A'", "''"],
    "boolean": ["true", "false"],
    "date": ["'2020-01-02'", "'2020-01-31'"],
    "timestamp": ["'2020-01-02 00:00'", "'2020-01-31 12:30'"],
    "timestamptz": ["'2020-01-02 00:00+00'", "'2020-01-31 12:30+00'"],
    "interval": ["'1 month'", "'30 days'", "'720 hours'"],
    "bigint[]": ["[]", "[1]", "[1, null]"],
    "varchar[]": ["['x']", "['x', null]"],
    "struct(p bigint, q varchar)": ["{p: 1, q: 'x'}", "{p: null, q: null}"],
    "map(varchar, bigint)": ["map {'p': 1, 'P': 2}"],
}  # fmt: skip

#: Two spellings of what may be one value; those after the bar are one for no type.
EXPRESSIONS = [
    line.strip().split(" == ")
    for line in """
    a < b == b > a
    a <= b == b >= a
    a = b == b = a
    a <> b == not (a = b)
    not (a < b) == a >= b
    not (a <= b) == b < a
    not (a = b and b = a) == a <> b or b <> a
    a is distinct from b == not (a is not distinct from b)
    not not (a = b) == a = b
    not not a == a
    a and a == a
    a between b and b == a >= b and a <= b
    a between 1 and 5 == a >= 1 and a <= 5
    a between '2020-01-02' and '2020-01-31' == a >= '2020-01-02' and a <= '2020-01-31'
    a between 1 and 5.5 == a >= 1 and a <= 5.5
    a between 0.1 and 5.25 == a >= 0.1 and a <= 5.25
    a in (b, 5) == a = b or a = 5
    a in (1, 5) == a = 1 or a = 5
    a in (0.1, 1.5) == a = 0.1 or a = 1.5
    a in (0.1, 1.55) == a = 0.1 or a = 1.55
    a in ('1', 'a') == a = '1' or a = 'a'
    a not in (1, 5) == a <> 1 and a <> 5
    a + b == b + a
    a + 1 == 1 + a
    a * b == b * a
    a - b == b - a
    a || b == b || a
    a::bigint == a
    a::varchar == a
    a::double == a
    a::timestamp == a
    1::integer == 1
    coalesce(a, 1) == coalesce(a, 1::integer)
    coalesce(a, -1) == coalesce(a, (-1)::integer)
    coalesce(a, '1') == coalesce(a, '1'::varchar)
    a + 1 == a + 1::integer
    case when a is null then b else a end == coalesce(a, b)
    case when a is not null then a else b end == coalesce(a, b)
    case when a is null then 1 else a end == coalesce(a, 1)
    coalesce(coalesce(a, b), b) == coalesce(a, b, b)
    coalesce(coalesce(a, 1), b) == coalesce(a, 1, b)
    coalesce(coalesce(1, a), b) == coalesce(1, a, b)
    coalesce(a, coalesce(b, 0)) == coalesce(a, b, 0)
    coalesce(a, coalesce('1', 'b')) == coalesce(a, '1', 'b')
    coalesce(a, null) == a
    coalesce(null, a) == a
    coalesce(a, 1, b) == coalesce(a, 1)
    coalesce(a is null, b) == a is null
    nullif(a, b) == case when a = b then null else a end
    nullif(1, a) == case when 1 = a then null else 1 end
    if(a, b, b) == case when a then b else b end
    case when a = b then 1 else case when b is null then 2 else 3 end end == case when a = b then 1 when b is null then 2 else 3 end
    case when a is null then 'v' else case when a = b then 1 else a end end == case when a is null then 'v' when a = b then 1 else a end
    case when a is null then b else case when a = b then 1 else a end end == case when a is null then b when a = b then 1 else a end
    case when a is null then b else case when a = b then b else a end end == case when a is null then b when a = b then b else a end
    case when a is null then 1 else case when a = b then '5' else '6' end end == case when a is null then 1 when a = b then '5' else '6' end
    case a when b then 1 else 2 end == case when a = b then 1 else 2 end
    greatest(a, b) == greatest(b, a)
    least(a, b, a) == least(b, a)
    year(a) == date_part('YEAR', a)
    hour(a) == extract(hour from a)
    date_trunc('DAY', a) == date_trunc('day', a)
    date_trunc('Month', a) == date_trunc('month', a)
    a at time zone 'UTC' == timezone('UTC', a)
    interval 7 days == to_days(7)
    interval '1 day' * 7 == interval '7 days'
    7 * interval '1 day' == to_weeks(1)
    interval '1 month' * 12 == interval '1 year'
    interval '30 days' == interval '1 month'
    a * interval '1 day' == to_days(a)
    a + interval '1 day' * 2 == a + interval '2 days'
    a.p == a['p']
    a.P == a['p']
    a.P == a['P']
    a.p == struct_extract(a, 'p')
    {p: a, q: b}.p == a
    {p: a, q: b}['q'] == b
    {P: a} == {p: a}
    (a is null and b is null) or a = b == a is not distinct from b
    coalesce(a = b, a is null and b is null) == a is not distinct from b
    a = b or (b is null and a is null) == a is not distinct from b
    a is true == a = true
    a is not null and b is not null and a = b == a = b
    """.strip().splitlines()
]  # fmt: skip

#: Two queries of (k, e, f) from t (k, e, a, b): the same for all types, for some, or for none.
QUERIES = {
    "what is computed before or after a left join": [
        (
            f"select x.k, x.e, y.f from t x left join (select k + 1 as k, {value} as f from t) y on y.k = x.k",
            f"select x.k, x.e, {outside} as f from t x left join (select k + 1 as k, a, b from t) y on y.k = x.k",
        )
        for value, outside in (
            ("a + b", "y.a + y.b"), ("a + ['x']", "y.a + ['x']"), ("a || 'x'", "y.a || 'x'"), ("a || b", "y.a || y.b"),
            ("a || ['x']", "y.a || ['x']"), ("a - b", "y.a - y.b"), ("a * 2", "y.a * 2"), ("a::varchar", "y.a::varchar"),
            ("a = b", "y.a = y.b"), ("a is null", "y.a is null"), ("coalesce(a, b)", "coalesce(y.a, y.b)"),
            ("a = b or a is null", "y.a = y.b or y.a is null"), ("-a", "-y.a"), ("a / 2", "y.a / 2"), ("[a]", "[y.a]"),
            ("a is not distinct from b", "y.a is not distinct from y.b"), ("{p: a}", "{p: y.a}"), ("a.p", "y.a.p"),
            ("a['p']", "y.a['p']"), ("concat(a, 'x')", "concat(y.a, 'x')"), ("1", "1"), ("a[1]", "y.a[1]"),
            ("date_trunc('day', a)", "date_trunc('day', y.a)"),
        )
    ],
    "a literal that has become a column": [
        (
            f"select k, e, {value.replace('x', literal)} as f from t",
            f"select k, e, {value} as f from (select *, {literal} as x from t)",
        )
        for value in ("coalesce(a, x)", "a = x", "a + x", "case when b is null then a else x end", "a in (x, b)", "[a, x]")
        for literal in ("1", "'1'", "-1", "1.5", "'2020-01-02'", "null")
    ],
    "count by what can be NULL": [
        (f"select k, max(e) as e, count({one}) as f from t group by k", f"select k, max(e) as e, count({two}) as f from t group by k")
        for one, two in (
            ("*", "1"), ("*", "'x'"), ("a", "*"), ("case when a = b then 1 end", "*) filter (where a = b"),
            ("case when a is null then null::integer end", "case when a is null then 1 end"),
            ("case when a is null then null end", "*) filter (where a is null"),
            ("case when a is null then b end", "case when a is null then 1 end"),
            ("case when a is null then b end", "b) filter (where a is null"),
            ("coalesce(a, 1)", "*"), ("a is null", "*"), ("coalesce(a, b)", "*"), ("a = b", "*"), ("nullif(1, 1)", "*"),
            ("[a]", "*"), ("{p: a}", "*"), ("null::integer", "*"), ("-1", "*"), ("try_cast('x' as integer)", "*"),
        )
    ],
    "aggregates and filters": [
        (f"select k, max(e) as e, {one} as f from t group by k", f"select k, max(e) as e, {two} as f from t group by k")
        for one, two in (
            ("sum(case when b is null then a end)", "sum(a) filter (where b is null)"),
            ("max(case when b is null then a end)", "max(a) filter (where b is null)"),
            ("list(case when b is null then a end order by e)", "list(a order by e) filter (where b is null)"),
            ("first(case when b is null then a end order by e)", "first(a order by e) filter (where b is null)"),
            ("sum(a)", "sum(a) filter (where a is not null)"), ("avg(a)", "avg(a) filter (where a is not null)"),
            ("max(a)", "max(a) filter (where a is not null)"), ("bool_and(a)", "bool_and(a) filter (where a is not null)"),
            ("list(a order by e)", "list(a order by e) filter (where a is not null)"),
            ("first(a order by e)", "first(a order by e) filter (where a is not null)"),
            ("any_value(a order by e)", "any_value(a order by e) filter (where a is not null)"),
            ("sum(coalesce(a, 0))", "coalesce(sum(a), 0)"), ("coalesce(count(a), 0)", "count(a)"),
            ("coalesce(sum(a), 0)", "sum(a)"), ("count(distinct a)", "count(a)"),
            ("max({p: a, q: b}).p", "max(a)"), ("max_by({p: a, q: b}, e).p", "max_by(a, e)"),
        )
    ],
    "two ways to say that two values are the same": [
        (f"select k, e, a as f from t where {one}", f"select k, e, a as f from t where {two}")
        for one, two in (
            ("a = b or (a is null and b is null)", "a is not distinct from b"),
            ("(b is null and a is null) or b = a", "a is not distinct from b"),
            ("not (a = b or (a is null and b is null))", "a is distinct from b"),
            ("a = b or a is null", "a is not distinct from b"),
        )
    ],
    "a condition on a group's key": [
        (
            f"select k, max(e) as e, a as f from t group by k, a having {condition}",
            f"select k, max(e) as e, a as f from t where {condition} group by k, a",
        )
        for condition in (
            "a > b", "a is null", "a::varchar = '0.0'", "a::varchar like '%0%'", "a = 1", "a <> '1 month'", "1 / a > 0",
            "a in (1, 5)", "a::varchar is not null", "length(a::varchar) > 3", "not (a = 1)", "a[1] = 1",
        )
    ],
    "an asof left join whose missing rows a condition may let pass": [
        (
            f"select x.k, x.e, y.a as f from t x asof left join (select k + 1 as k, e, a, b from t) y on y.k = x.k and x.e >= y.e where {condition}",
            f"select x.k, x.e, y.a as f from t x asof join (select k + 1 as k, e, a, b from t) y on y.k = x.k and x.e >= y.e where {condition}",
        )
        for condition in (
            "y.a = y.b", "y.a > x.b", "not (y.a = y.b)", "y.a is null", "y.a is not null", "y.k is not null", "not (y.k is null)",
            "y.a in (1, 5)", "y.a not in (1, 5)", "x.a in (1, y.a)", "y.a = x.a or y.b = x.b", "y.a = x.a or x.b is null",
            "y.a = x.a and x.b is null", "coalesce(y.a, x.a) = x.a", "y.a is not distinct from x.a", "y.a is distinct from x.a",
            "y.a is not distinct from 1", "y.a between x.a and x.b", "x.a between y.a and y.b", "not (x.a between y.a and y.b)",
            "y.a::varchar like '%1%'", "y.a::varchar not like '%1%'", "y.a || 'x' = 'x'", "y.a + ['x'] = ['x']", "-y.a = 1",
            "(y.a is null) = false", "(y.a = x.a) is null", "(y.a = x.a) is not null", "y.a.p = 1", "y.a[1] = 1", "y.a = any([1, 5])",
            "case when y.a = x.a then true else false end", "case when y.a = x.a then false else true end",
            "if(y.a = y.b, true, null)", "nullif(y.a, x.a) is not null", "exists (select 1 from t z where z.a = y.a)",
            "not exists (select 1 from t z where z.a = y.a)", "greatest(y.a, x.a) = x.a", "concat(y.a, 'x') = 'x'",
            "y.a is null and y.k = x.k", "y.k = 1", "y.k + x.k > 1", "(y.a, y.b) = (x.a, x.b)", "y.b",
        )
    ],
    "not exists and a left join without a match": [
        (
            f"select x.k, x.e, x.a as f from t x left join (select k + 1 as k, {column} as n from t where b is null) y on {on} where {none}",
            f"select x.k, x.e, x.a as f from t x where not exists (select 1 from (select k + 1 as k, {column} as n from t where b is null) y where {on})",
        )
        for column, on, none in (
            ("a", "y.k = x.k", "y.k is null"), ("a", "y.k = x.k", "y.n is null"), ("1", "y.k = x.k", "y.n is null"),
            ("a", "y.k = x.k and y.n = x.a", "y.n is null"), ("a", "y.k = x.k", "y.k is null and y.n is null"),
            ("a", "y.k = x.k", "y.k is null or y.n is null"), ("a", "y.k = x.k", "y.k + y.k is null"),
            ("a", "y.n is not distinct from x.a", "y.n is null"), ("a", "y.n is not distinct from x.a", "y.k is null"),
            ("coalesce(a, b)", "true", "y.n is null"), ("a is null", "y.k > x.k", "y.n is null"), ("a = b", "true", "y.n is null"),
            ("a", "y.k > x.k or y.n is null", "y.k is null"), ("a", "y.n in (x.a, 1)", "y.n is null"),
        )
    ],
    "a filter on windows, or on the rows that they see": [
        (
            f"select k, e, f from (select k, e, a, b, {window} as f from t) where {condition}",
            f"select k, e, {window} as f from t where {condition}",
        )
        for window, condition in (
            ("count(*) over (partition by a)", "a is null"), ("count(*) over (partition by a)", "a = 1"),
            ("count(*) over (partition by a)", "a::varchar = '0.0'"), ("count(*) over (partition by a)", "a <> '1 month'"),
            ("count(*) over (partition by a)", "length(a::varchar) > 3"), ("count(*) over (partition by a)", "b is null"),
            ("sum(k) over (partition by k, a order by e)", "a in (1, 5)"), ("sum(k) over (partition by k, a order by e)", "k = 1"),
            ("max(a) over (partition by a, b)", "a > b"), ("count(*) over (partition by b)", "not (a = 1)"),
            ("count(*) over ()", "a is null"), ("dense_rank() over (order by a)", "a is null"),
            ("row_number() over (partition by a::varchar order by k, e, b)", "a is null"),
            ("count(*) over (partition by a) + count(*) over (partition by b)", "a is null"),
        )
    ],
    "coalesce and between of one type that nobody knows": [
        (f"select k, e, {one} as f from t", f"select k, e, {two} as f from t")
        for one, two in (
            ("coalesce(a, null)", "a"), ("coalesce(coalesce(a, a), b)", "coalesce(a, b)"), ("coalesce(a, null, b)", "coalesce(a, b)"),
            ("b between a and a", "b >= a and b <= a"), ("b in (a, a)", "b = a"), ("coalesce(coalesce(a, b), a)", "coalesce(a, b, a)"),
            ("coalesce(a, coalesce(a, 1))", "coalesce(a, 1)"), ("coalesce(null, a)", "a"), ("case when k = 1 then a else case when k = 0 then a else b end end", "case when k = 1 then a when k = 0 then a else b end"),
        )
    ],
}  # fmt: skip

_TYPES = list(enumerate(VALUES))
ALONE = [(one, _TYPES[0]) for one in _TYPES]
#: Each type with itself, and with some of the others.
PAIRS = [
    *zip(_TYPES, _TYPES, strict=True),
    *random.Random(1).sample([(one, two) for one in _TYPES for two in _TYPES if one is not two], 30),
]

KNOWN = View(node="v", join_keys={"k": ""}, event_timestamp="e", features={"f": ""})


@pytest.fixture(scope="module")
def warehouse() -> duckdb.DuckDBPyConnection:
    """t_<n>_<m>: all pairs of values of two types, each for one k of two, and at one of two times."""
    con = duckdb.connect(config={"threads": 1})
    con.execute("set timezone = 'UTC'")
    for (n, one), (m, two) in {*ALONE, *PAIRS}:
        firsts, seconds = VALUES[one], VALUES[two]
        rows = [
            f"({i % 2}, '2020-01-0{1 + i % 3} 00:00', ({a})::{one}, ({b})::{two})"
            for i, (a, b) in enumerate(itertools.product([*firsts, "null"], [*seconds, "null"]))
        ]
        con.execute(f"create table t_{n}_{m} (k bigint, e timestamp, a {one}, b {two})")
        con.execute(f"insert into t_{n}_{m} values {', '.join(rows)}")
    return con


@cache
def fingerprint(sql: str, types: tuple[str, str] | None) -> str:
    """types: of a and b, where they are known."""
    columns = {"k": "bigint", "e": "timestamp"} | (dict(zip("ab", types, strict=True)) if types else {})
    nodes = {"t": Node(columns=columns, closed=types is not None), "v": Node(sql=sql)}
    return Definitions(nodes).fingerprint(KNOWN, "f")


def rows(con: duckdb.DuckDBPyConnection, sql: str, table: str) -> list[tuple[object, ...]] | None:
    """The rows with the text and the type of each value; None where DuckDB refuses the query."""
    try:
        written = re.sub(r"\bfrom t\b", f"from {table}", sql)
        return con.execute(
            f"select k, e, typeof(f), f::varchar, count(*) from ({written}) group by all order by all"
        ).fetchall()
    except duckdb.Error:
        return None


def wrongs(con: duckdb.DuckDBPyConnection, one: str, two: str) -> tuple[int, list[str]]:
    """For how many types two queries are taken for one; and for which of these DuckDB tells them apart."""
    taken, wrong = 0, []
    reads_b = re.search(r"\bb\b", f"{one} {two}")
    opened = fingerprint(one, None) == fingerprint(two, None)
    for (n, first), (m, second) in PAIRS if reads_b else ALONE:
        if opened or fingerprint(one, (first, second)) == fingerprint(two, (first, second)):
            found, other = (rows(con, sql, f"t_{n}_{m}") for sql in (one, two))
            if found is not None and other is not None:
                taken += 1
                if found != other:
                    how = "open" if opened else f"{first}, {second}"
                    wrong.append(f"{how}: {one} | {two}: {set(found) ^ set(other)}")
    return taken, wrong


def _of(expression: str) -> str:
    return f"select k, e, {expression} as f from t "


@pytest.mark.parametrize(("one", "two"), EXPRESSIONS)
def test_expressions_of_one_fingerprint_have_one_value(warehouse, one, two) -> None:
    assert wrongs(warehouse, _of(one), _of(two))[1] == []


@pytest.mark.parametrize("kind", QUERIES)
def test_queries_of_one_fingerprint_have_the_same_rows(warehouse, kind) -> None:
    found = [wrongs(warehouse, f"{one} ", f"{two} ") for one, two in QUERIES[kind]]
    assert [one for _, wrong in found for one in wrong] == []
    assert sum(taken for taken, _ in found) > 0


#: A value of each type that a form of a function in `STRICT` may take; of texts, one that is a part of a date, too.
GIVEN = {
    "VARCHAR": ["'a'", "'day'"], "BIGINT": ["2"], "INTEGER": ["2"], "DOUBLE": ["1.5::double"], "FLOAT": ["1.5::float"],
    "TIMESTAMP": ["timestamp '2024-01-02'"], "TIMESTAMP WITH TIME ZONE": ["timestamptz '2024-01-02'"],
    "DATE": ["date '2024-01-02'"], "INTERVAL": ["interval 1 day"], "TIME": ["time '10:00'"], "TINYINT": ["2"],
    "SMALLINT": ["2"], "HUGEINT": ["2"], "DECIMAL": ["1.5::decimal(4, 2)"], "BLOB": ["'a'::blob"],
}  # fmt: skip


def test_strict_functions_give_null_for_each_argument_that_is_null(warehouse) -> None:
    forms = warehouse.execute(
        "select function_name, parameter_types from duckdb_functions() where function_type in ('scalar', 'macro') "
        "and list_contains(?, function_name)",
        [sorted(STRICT)],
    ).fetchall()
    tried = set()
    for name, types in forms:
        if not all(type_ in GIVEN for type_ in types):
            continue
        for values, at in itertools.product(itertools.product(*(GIVEN[type_] for type_ in types)), range(len(types))):
            given = [f"null::{types[at]}" if i == at else value for i, value in enumerate(values)]
            try:
                [(found,)] = warehouse.execute(f"select {name}({', '.join(given)}) from range(1)").fetchall()
            except duckdb.Error:  # such as for 'a', which is no part of a date
                continue
            tried.add(name)
            assert found is None, (name, given)
    assert tried == STRICT
    assert STRICT <= PURE
