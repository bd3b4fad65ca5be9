"""SQL text to trees and algebra: what is kept of a text, what is not understood, and what DuckDB makes of operators."""

from __future__ import annotations

import itertools
import json

import duckdb
import pytest
from sqlglot import exp

from feature_warehouse.sql.algebra import Terms
from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.expressions import Expressions
from feature_warehouse.sql.functions import AGGREGATES, ALIASES, CURRENT_TIME, PURE, RANDOM, RESULT_TYPES, WINDOWS
from feature_warehouse.sql.nodes import Node, Reader
from feature_warehouse.sql.queries import Builder
from feature_warehouse.sql.scope import Names, Scope
from feature_warehouse.sql.text import Unclear, canonical_type, check_words, lower, parse, tokens_of, words_of
from feature_warehouse.sql.types import type_of
from tests.support import corpus


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select 1; select 2", "it is not one query"),
        ("create table t as select 1", "it is not one query"),
        ("selekt a from t", "it is not one query"),
        ("select a from", "it cannot be parsed"),
        ("select a from range(3) as r(a) with ordinality", "the parser lost"),
        ("select a from t tablesample reservoir(10)", "is not understood"),
        ("select a from t using sample 10%", "the parser lost sample"),
        ("select e'\\n' as a from t", "is not understood"),
        ("select a from t where b = $1", "is not understood"),
        ("select columns('a.*') from t", "is not understood"),
    ],
)
def test_a_text_of_which_something_is_lost_is_unclear(sql, why) -> None:
    reader = Reader({"t": Node(columns={"a": "bigint", "b": "bigint"}), "view": Node(sql=sql)}, Terms())
    reader.relation("view")
    assert why in reader.as_text["view"]


@pytest.mark.parametrize(
    ("text", "parsed", "lost"),
    [
        ("select distinct a from t", "select a from t", "distinct"),
        ("select a from t limit 5", "select a from t", "5"),
        ("select sum(a) over () as b from t", "select sum(a) as b from t", "over"),
        ("select a from t where 1 < a", "select a from t", "1"),
        ("select a from t where true", "select a from t", "where"),
        ("select a from t join t as u on true", "select a from t as u", "t"),
        ("select 'x' as a from t", "select 'X' as a from t", "x"),
        ("select last(a ignore nulls) as b from t", "select last(a) as b from t", "ignore"),
    ],
)
def test_the_tree_must_hold_the_words_of_the_text(text, parsed, lost) -> None:
    """As if the parser had dropped something."""
    with pytest.raises(Unclear, match=f"the parser lost '?{lost}"):
        check_words(tokens_of(text), parse(parsed))


@pytest.mark.parametrize(
    "sql",
    [
        "pivot t on a using sum(b)",
        "select a from t positional join u",
        "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) select n as a from r",
        "select a from t natural join u",
        "select a from missing",
        "select a, b from t join u using (k)",  # whose b?
        "select distinct * from t",
        "select a -> 'x' as a from t",
        "select a + b & 3 as a from t",
        "select x.* from t",
        "select b from t group by cube (a, b)",
        "select first(a order by 1) from t",
        "select sum(a) over (w order by b) from t window w as (partition by a)",
    ],
)
def test_a_node_that_is_not_understood_is_compared_as_text(sql) -> None:
    definitions = Definitions({"t": Node(), "u": Node(), "view": Node(sql=sql)})
    view = View(node="view", join_keys={}, event_timestamp="e", features={"a": ""})
    fingerprint = definitions.fingerprint(view, "a")
    assert list(definitions.reader.as_text) == ["view"]
    for other, same in (
        (f"-- more\n{sql.upper()}" if "'" not in sql else f"{sql}  ", True),
        (f"{sql} limit 7", False),
    ):
        changed = Definitions({"t": Node(), "u": Node(), "view": Node(sql=other)})
        assert (changed.fingerprint(view, "a") == fingerprint) is same, other


def test_text_holds_all_that_it_reads() -> None:
    """A filter above a node that is compared as text changes what is below it."""
    view = View(node="view", join_keys={}, event_timestamp="e", features={"a": ""})
    prints = {
        where: Definitions(
            {
                "my-table": Node(),
                "stg": Node(sql=f'select a, e from "my-table" where {where}'),
                "view": Node(sql="pivot stg on a using sum(e)"),
            }
        ).fingerprint(view, "a")
        for where in ("a > 1", "1 < a", "a > 2")
    }
    assert prints["a > 1"] == prints["1 < a"] != prints["a > 2"]


#: Operators that may stand side by side without parentheses; '' marks where the operands go.
_SAFE = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "||",
    "=",
    "<>",
    "<",
    ">=",
    "is distinct from",
    "and",
    "or",
    "like",
    "at time zone",
]
_SUFFIX = ["is null", "is not null", "::varchar", "in (c)", "not in (c)", "between c and d", "not like c"]
_PREFIX = ["not ", "-"]


def _expressions() -> list[str]:
    found = [f"a {one} b {two} c" for one, two in itertools.product(_SAFE, repeat=2)]
    found += [f"a {one} b {two}" for one, two in itertools.product(_SAFE, _SUFFIX)]
    found += [f"{one}a {two} b" for one, two in itertools.product(_PREFIX, _SAFE)]
    found += [f"{one}a {two}" for one, two in itertools.product(_PREFIX, _SUFFIX)]
    found += [f"a {two} {one}b" for one, two in itertools.product(_PREFIX, _SAFE)]
    found += [
        f"a {one} b {two} c {three} d"
        for one, two, three in itertools.product(["+", "||", "*", "=", "and", "or"], repeat=3)
    ]
    return found


def _shape_of_duckdb(node: object) -> object:
    """Which columns stand together, by DuckDB's own parser."""
    if isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            return ".".join(node["column_names"])
        if node.get("function_name") == "timezone":
            return _joined([_shape_of_duckdb(one) for one in _children(node)][::-1])
        return _joined([_shape_of_duckdb(value) for key, value in node.items() if key != "cast_type"])
    return _joined([_shape_of_duckdb(one) for one in node]) if isinstance(node, list) else None


def _children(node: dict) -> list:
    """The arguments of a function; their key has changed between releases."""
    return next(value for key, value in node.items() if isinstance(value, list) and key in ("children", "arguments"))


def _shape_of_sqlglot(node: exp.Expr) -> object:
    if isinstance(node, exp.Column):
        return node.name
    parts = []
    for value in node.args.values():
        parts += [
            _shape_of_sqlglot(one)
            for one in (value if isinstance(value, list) else [value])
            if isinstance(one, exp.Expr)
        ]
    return _joined(parts)


def _joined(parts: list[object]) -> object:
    found = [part for part in parts if part is not None]
    return None if not found else found[0] if len(found) == 1 else tuple(found)


def _flat(shape: object) -> object:
    """and, or: (a, (b, c)) is (a, b, c) to DuckDB."""
    return str(shape).replace("(", "").replace(")", "") if isinstance(shape, tuple) else shape


def test_operators_bind_as_duckdb_binds_them() -> None:
    con = duckdb.connect()
    compared = 0
    wrong = []
    for text in _expressions():
        [told] = con.execute("select json_serialize_sql(?)", [f"select {text} from t"]).fetchone() or [""]
        parsed = json.loads(told)
        if parsed["error"]:
            continue  # DuckDB refuses it
        duck = _shape_of_duckdb(parsed["statements"][0]["node"]["select_list"])
        try:
            item = parse(f"select {text} from t").expressions[0]
            Builder(Reader({"t": Node()}, Terms()), "view").query(parse(f"select {text} from t"), Scope(Names()))
        except Unclear:
            continue  # compared as text
        ours = _shape_of_sqlglot(item)
        compared += 1
        chain = text.count(" and ") > 1 or text.count(" or ") > 1
        if (_flat(duck) if chain else duck) != (_flat(ours) if chain else ours):
            wrong.append((text, duck, ours))
    assert wrong == []
    assert compared > 400


def _sources() -> Scope:
    scope = Scope(Names())
    builder = Builder(Reader(corpus.SOURCES, Terms()), "view")
    query = parse("select 1 as x from orders join events on true join users on true")
    builder._from(query, scope)  # type: ignore[arg-type]
    return scope


def test_types_are_those_of_duckdb() -> None:
    """Where a type is told, it is DuckDB's: a cast to it is dropped as redundant."""
    expressions = [
        "count(*)", "count(amount)", "sum(amount)", "avg(quantity)", "max(quantity)", "min(status)", "amount + quantity",
        "amount * 2", "quantity / 2", "order_id + quantity", "order_id * 2", "order_id - 1", "ordered_at - interval 1 day",
        "ordered_at + interval 1 hour", "ordered_at - shipped_at", "day - 6", "day - day", "day + interval 1 day",
        "ordered_at at time zone 'UTC'", "local_time at time zone 'UTC'", "coalesce(amount, 0)", "coalesce(order_id, 0)",
        "coalesce(quantity, 0)", "case when is_gift then amount else 0 end", "case when is_gift then 1 end", "status || 'a'",
        "amount > 1", "status in ('a')", "status is null", "not is_gift", "lower(status)", "length(status)", "length(tags)",
        "extract(hour from local_time)", "date_part('epoch', local_time)", "year(local_time)", "-amount", "-quantity", "-order_id",
        "quantity::bigint", "amount::integer", "interval 1 day * 2", "interval 1 day", "'a'", "1", "strftime(local_time, '%Y')",
        "date_diff('day', local_time, local_time)", "epoch(local_time)", "make_date(2013, 1, 1)", "starts_with(status, 'a')",
        "any_value(amount)", "first(status)", "arg_max(status, amount)", "max(amount, 3)", "string_agg(status, ',')",
        "row_number() over ()", "rank() over (order by amount)", "lag(amount) over (order by amount)", "ntile(3) over ()",
        "percent_rank() over (order by amount)", "lag(quantity, 1, 0) over (order by amount)", "day + quantity", "amount % 2",
        "order_id // 2", "quantity // 2", "amount // 2", "order_id % 2", "to_days(2)", "to_hours(quantity)", "order_id / 2",
        "nullif(quantity, 1)", "if(is_gift, status, 'a')", "is_gift is true", "status like 'a%'", "bool_and(is_gift)", "upper(status)",
        "date_trunc('day', ordered_at)", "date_trunc('hour', local_time)", "date_trunc('day', day)", "to_timestamp(3)",
        "time_bucket(interval 1 day, ordered_at)", "time_bucket(interval '15 minutes', local_time)",
        "time_bucket(interval 1 day, day)", "make_timestamptz(2013, 1, 1, 0, 0, 0.0)", "make_timestamp(2013, 1, 1, 0, 0, 0.0)",
    ]  # fmt: skip
    con = corpus.connect()
    told = 0
    for text in expressions:
        sql = f"select {text} as x from orders, (select local_time, day from events) as e"
        builder = Builder(Reader(corpus.SOURCES, Terms()), "view")
        [term] = builder.query(parse(sql), Scope(Names())).columns.values()
        guess = type_of(term)
        if guess is not None:
            told += 1
            [(_, actual, *_)] = con.execute(f"describe {sql}").fetchall()
            assert guess == canonical_type(actual), text
    assert told > 60


def test_every_function_named_here_is_duckdbs() -> None:
    con = duckdb.connect()
    known = {row[0].lower() for row in con.execute("select distinct function_name from duckdb_functions()").fetchall()}
    syntax = {
        "coalesce",
        "if",
        "nullif",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "current_date",
        "ifnull",
        "try",
    }
    named = PURE | AGGREGATES | WINDOWS | RANDOM | CURRENT_TIME | set(ALIASES) | set(RESULT_TYPES)
    newer = named - known - syntax
    if duckdb.__version__ >= "2":
        assert newer == set()
    else:
        assert len(newer) < 20  # functions that DuckDB 2 brought


def test_aliases_are_duckdbs() -> None:
    con = duckdb.connect()
    rows = con.execute(
        "select distinct function_name, alias_of from duckdb_functions() where alias_of is not null"
    ).fetchall()
    told = {name.lower(): other.lower() for name, other in rows}
    same = {"**": "power"}  # DuckDB names the operator
    for name, other in ALIASES.items():
        if name in told:
            one = same.get(told[name], told[name])
            assert ALIASES.get(one, one) == other or told.get(other) == told[name], name


def test_identifiers_fold_ascii_only() -> None:
    """As DuckDB does: É and é are two columns."""
    assert lower("ÉCOLE_Ab") == "École_ab".replace("École", "École")[0:0] + "École_ab".replace("cole", "cole")
    con = duckdb.connect()
    con.execute('create table t ("É" integer, "é" integer)')


def test_words_keep_quoted_text() -> None:
    assert words_of("SELECT 'A  b', \"Q q\" -- c\n FROM T /* d */") == "select 'A  b' \"Q q\" from t".replace(
        "' \"", "' , \""
    )


def test_a_reader_for_each_operator_that_is_known() -> None:
    """No reader is left without a tree that reaches it."""
    reached = {node.key for pair in corpus.pairs() for side in (pair.old, pair.new) for node_ in side.models.values()
               for node in _tree(node_.sql)}  # fmt: skip
    unused = {name.removeprefix("_read_") for name in dir(Builder) if name.startswith("_read_")} - reached
    assert unused <= {"identifier", "respectnulls", "withingroup", "escape"}, unused
    assert issubclass(Builder, Expressions)


def _tree(sql: str | None) -> list[exp.Expr]:
    try:
        return list(parse(sql or "").walk())
    except Unclear:
        return []
