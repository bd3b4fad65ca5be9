"""What the SQL of `rolling_features` declares, and when it is believed: word for word, or not at all."""

from __future__ import annotations

import dataclasses
import json
import random
from datetime import timedelta

import duckdb
import pytest

from feature_warehouse.sql.rolling import (
    EVENTS,
    SINCE,
    Declaration,
    Feature,
    declaration,
    events,
    filled,
    is_instant,
    is_relation,
    remembered,
    rolled,
    told_apart,
)
from feature_warehouse.sql.text import Unclear, tokens_of

SAID = {
    "join_keys": ["customer"],
    "event_timestamp": "ordered_at",
    "available_at": None,
    "features": [
        {"name": "orders_7d", "aggregate": "count", "window": "7 days"},
        {
            "name": "free_1h",
            "aggregate": "rate",
            "condition": "price = 0",
            "window": "90 minutes",
            "data_type": "double",
        },
    ],
}

DECLARED = Declaration(
    join_keys=("customer",),
    event_timestamp="ordered_at",
    available_at=None,
    features=(
        Feature("orders_7d", "count", "7 days"),
        Feature("free_1h", "rate", "90 minutes", condition="price = 0", data_type="double"),
    ),
)


def head(said: object) -> str:
    return f"\n/* rolling_features 1\n{json.dumps(said)} */\nselect 1"


def test_arguments_are_read_at_the_head_of_the_sql_alone() -> None:
    assert declaration(head(SAID)) == DECLARED
    assert declaration(f"-- one row per customer\n\n  -- and instant{head(SAID)}") == DECLARED
    assert declaration("select 1") is None
    assert declaration(f"select 1 {head(SAID)}") is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        SAID | {"more": 1},
        SAID | {"features": []},
        SAID | {"features": [{"name": "x"}]},
        SAID | {"features": [{"name": "x", "aggregate": "count", "window": "1 month"}]},
        SAID | {"features": [{"name": "x", "aggregate": "count", "window": 7}]},
        SAID | {"features": [{"name": ["x"], "aggregate": "count", "window": "7 days"}]},
        SAID | {"features": [{"name": "x", "aggregate": "count", "window": "7 days", "more": 1}]},
        SAID | {"join_keys": [1]},
        SAID | {"event_timestamp": None},
        {name: value for name, value in SAID.items() if name != "available_at"},
    ],
)
def test_what_this_release_does_not_write_is_no_declaration(said: object) -> None:
    assert declaration(head(said)) is None
    assert declaration(head(SAID).replace("rolling_features 1", "rolling_features 2")) is None


def test_a_call_says_all_but_what_is_called_otherwise_in_each_target() -> None:
    assert DECLARED.call() == SAID | {"events": EVENTS}
    assert DECLARED.call(later=True) == DECLARED.call() | {"changed_since": SINCE}


# --- the same words

RENDERED = f"select a, 'it''s' from {EVENTS} where b > {SINCE} union all select \"order\", 1.5 from {EVENTS} -- end"


@pytest.mark.parametrize("source", ["ref.orders", '"a b".orders', "(select * from (values (1)) as t(a))"])
@pytest.mark.parametrize("since", ["now()", "(select max(a) from x)", "1"])
def test_the_events_are_found_where_all_other_words_are_the_same(source: str, since: str) -> None:
    written = RENDERED.replace(EVENTS, source).replace(SINCE, since)
    assert filled(RENDERED, written) == {EVENTS: source, SINCE: since}
    assert filled(RENDERED, written.replace("select a", "/* a remark */ select\n  a")) == {EVENTS: source, SINCE: since}


def test_any_word_more_less_or_other_is_noticed() -> None:
    source = "(select a from ref.orders as o)"
    written = RENDERED.replace(EVENTS, source).replace(SINCE, "5").removesuffix("-- end")
    words = [written[token.start : token.end + 1] for token in tokens_of(written)]
    inside = [i for i, word in enumerate(words) if word == "ref"]
    draw = random.Random(1)
    others = ["a", "'a'", '"a"', "1", "(", ")", ",", "select", "not", "b", ">", "<"]
    noticed = 0
    for _ in range(2000):
        at, other = draw.randrange(len(words)), draw.choice(others)
        changed = draw.choice(
            [[*words[:at], *words[at + 1 :]], [*words[:at], other, *words[at:]], [*words[:at], other, *words[at + 1 :]]]
        )
        found = filled(RENDERED, " ".join(changed))
        if changed == words:
            continue
        if found is None:
            noticed += 1
            continue
        # only what stands for the events, the same in each place, or for the instant may be another one
        again = RENDERED.replace(EVENTS, found[EVENTS]).replace(SINCE, found[SINCE])
        assert [t.text for t in tokens_of(again)] == [t.text for t in tokens_of(" ".join(changed))]
    assert inside
    assert noticed > 1500


def test_a_name_is_the_same_in_quotes_where_it_needs_none() -> None:
    assert filled(f'select "amount" from {EVENTS}', "select amount from x") == {EVENTS: "x"}
    for name in ("Group By", "current_date", "user", "session_user", "rowid", "amount'"):
        assert filled(f'select "{name}" from {EVENTS}', f"select {name} from x") is None
    assert filled(f"select 'amount' from {EVENTS}", "select amount from x") is None


def test_no_name_that_duckdb_reads_otherwise_without_quotes_is_the_same_in_them() -> None:
    """Of all its keywords, and of all functions that it calls without brackets."""
    connection = duckdb.connect()
    names = [name for (name,) in connection.execute("select keyword_name from duckdb_keywords()").fetchall()]
    names += [
        name for (name,) in connection.execute("select distinct function_name from duckdb_functions()").fetchall()
    ]
    for name in sorted({name for name in names if name.isidentifier()}):
        if filled(f'select "{name}" as v from {EVENTS}', f"select {name} as v from x") is not None:
            try:
                found = connection.execute(f'select {name} as v from (select 42 as "{name}")').fetchall()
            except duckdb.ParserException:
                continue  # nobody has run it
            assert found == [(42,)], name


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ref.orders", True),
        ('"order"', True),
        ("(select 1)", True),
        ("(select 1) where (true)", False),
        ("a join b", False),
        ("a, b", False),
        ("f(1)", False),
        ("(select 1", False),
        ("a.", False),
    ],
)
def test_events_are_one_relation(text: str, answer: bool) -> None:
    assert is_relation(text) is answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("(select max(known_at) from ref.orders_v1)", True),
        ("(select coalesce(max(known_at), timestamptz '2000-01-01') - interval 1 day from ref.orders_v1)", True),
        ("now()", False),
        ("current_timestamp", False),
        ("(select max(known_at) from x where random() > 0)", False),
    ],
)
def test_an_instant_comes_from_rows_alone(text: str, answer: bool) -> None:
    assert is_instant(text) is answer


# --- what it means


def test_the_events_are_read_as_the_macro_reads_them() -> None:
    assert (
        events(dataclasses.replace(DECLARED, available_at="from"), "ref.orders").split()
        == (
            'select customer, ordered_at as event_at, "from" as known_at, 1 as orders_7d, '
            "case when price = 0 then 1 else 0 end as free_1h from ref.orders "
            'where customer is not null and ordered_at is not null and "from" is not null'
        ).split()
    )


@pytest.mark.parametrize("column", ["amount, price", "amount) from x --", "1 from x"])
def test_what_is_no_expression_is_not_understood(column: str) -> None:
    feature = Feature("f", "sum", "7 days", column=column)
    with pytest.raises(Unclear):
        events(dataclasses.replace(DECLARED, features=(feature,)), "ref.orders")


def test_what_decides_about_an_aggregate_is_told_apart() -> None:
    was = rolled(DECLARED, ttl=None, later="")["orders_7d"]
    for feature, says in [
        (Feature("orders_7d", "count", "168 hours", data_type="BIGINT"), []),
        (Feature("orders_7d", "count", "14 days"), ["window 7 days -> 14 days in `orders_v1`"]),
        (
            Feature("orders_7d", "sum", "7 days"),
            ["aggregate count -> sum in `orders_v1`", "data_type bigint -> none in `orders_v1`"],
        ),
    ]:
        declared = dataclasses.replace(DECLARED, features=(feature,))
        now = rolled(declared, ttl=None, later="")["orders_7d"]
        assert list(told_apart(was, now, "events of orders_v1")) == says
        assert (str(was) == str(now)) is not bool(says)


def test_sql_from_before_there_were_arguments_may_be_the_call_of_today_with_its_own_windows() -> None:
    old = "/* look-back: orders_7d 1209600s */\nselect 1"
    before = remembered(old, DECLARED)
    assert before == dataclasses.replace(DECLARED, features=(Feature("orders_7d", "count", "14 days"),))
    assert before is not None
    assert before.features[0].span == timedelta(days=14)
    assert remembered("/* look-back: other 60s */ select 1", DECLARED) is None
    assert remembered("select 1", DECLARED) is None
