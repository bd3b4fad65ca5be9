"""What SQL shows of skew: each finding word by word, on one small project of hand-made nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from feature_warehouse.gate.skew import Skew, Surroundings, find_skew
from feature_warehouse.project.definition import Definition, ProjectDefinitions
from feature_warehouse.registry.feature import (
    Retention,
    parse_period,
    period_text,
)
from feature_warehouse.sql.changes import View
from feature_warehouse.sql.nodes import Node
from tests.support.declared import declared_spending

UTC = "UTC"
ORDERS = Node(columns={"customer": "varchar", "at": "timestamptz", "local": "timestamp", "eur": "double"}, closed=True)
NODES = {
    "source.shop.orders": ORDERS,
    "stg_orders": Node(sql="select * from source.shop.orders", reads=("source.shop.orders",)),
}
WINDOW = "avg(eur) over (partition by customer order by at range between interval {} preceding and current row)"
PLACE = "models/spending.yml: spending.v1, feature 'f'"


def found(
    expression: str,
    retentions: Mapping[str, str | Retention] | None = None,
    *,
    lookback: str = "",
    zone: str | None = UTC,
    where: str = "",
    nodes: Mapping[str, Node] = NODES,
) -> Skew:
    sql = f"select customer, at as event_at, {expression} as f from ref.stg_orders {where}"
    lookbacks = {"f": None if lookback == "unbounded" else parse_period(lookback)} if lookback else {}
    view = View(node="spending_v1", join_keys={"customer": ""}, event_timestamp="event_at", features={"f": ""})
    definition = Definition(view=view, nodes={**nodes, "spending_v1": Node(sql=sql, reads=("stg_orders",))})
    kept = {
        name: Retention(parse_period(one), parse_period(one)) if isinstance(one, str) else one
        for name, one in (retentions or {}).items()
    }
    definitions = ProjectDefinitions(definitions={"spending.v1": definition}, problems={})
    return find_skew(
        definitions,
        {"spending.v1": declared_spending(lookbacks=lookbacks)},
        Surroundings(retentions=kept, session_zone=zone),
    )


def problems(*arguments: object, **more: object) -> list[str]:
    return [problem.message for problem in found(*arguments, **more).problems]  # type: ignore[arg-type]


def test_a_three_year_average_over_a_source_kept_for_90_days_is_refused() -> None:
    [problem] = found(WINDOW.format("3 years"), {"source.shop.orders": "90 days"}).problems
    assert problem.message == f"{PLACE}: it looks back 3 years into source.shop.orders, which is kept for 90 days"
    assert problem.hint == (
        "shorten the window, keep source.shop.orders longer, or read an incremental model that keeps its rows and "
        "declares a `retention` of its own"
    )


@pytest.mark.parametrize(
    ("window", "retention", "told"),
    [
        ("3 years", Retention(parse_period("3 years"), parse_period("90 days")), "3 years into source.shop.orders, which is kept for 90 days online"),
        ("3 years", Retention(online=parse_period("2 years")), "3 years into source.shop.orders, which is kept for 2 years online"),
        ("18 months", Retention(offline=parse_period("1 year")), "552 days into source.shop.orders, which is kept for 1 year offline"),
        ("3 years", Retention(parse_period("1 year"), parse_period("7 days")), "3 years into source.shop.orders, which is kept for 1 year offline and 7 days online"),
        ("36 hours", "1 day", "36 hours into source.shop.orders, which is kept for 1 day"),
        ("3 years", "3 years", ""),
        ("90 days", "90 days", ""),
        ("90 days 1 second", "90 days", "7776001 seconds into source.shop.orders, which is kept for 90 days"),
    ],
)  # fmt: skip
def test_look_backs_against_what_is_kept_offline_and_online(window, retention, told) -> None:
    interval = f"interval '{window}'"
    [*messages] = problems(WINDOW.replace("interval {}", interval), {"source.shop.orders": retention})
    assert messages == ([f"{PLACE}: it looks back {told}"] if told else [])


def test_a_look_back_without_end_is_refused_where_rows_are_given_up_and_passes_elsewhere() -> None:
    total = "sum(eur) over (partition by customer order by at)"
    assert problems(total) == []
    assert problems(total, {"source.shop.orders": "3 years"}) == [
        f"{PLACE}: it looks back without end (sum() in `spending_v1` reads all rows before) into source.shop.orders, "
        "which is kept for 3 years"
    ]


def test_an_unknown_look_back_wants_a_declaration_where_rows_are_given_up() -> None:
    last = "avg(eur) over (partition by customer order by at rows 3 preceding)"
    kept = {"source.shop.orders": "90 days"}
    assert problems(last) == []
    [problem] = found(last, kept).problems
    assert problem.message == (
        f"{PLACE}: its SQL does not tell how far it looks back into source.shop.orders, which is kept for 90 days "
        "(avg() in `spending_v1` reads a number of rows, of any age)"
    )
    assert problem.hint == "declare it in config.meta.feature_view: `lookback: {f: 7 days}`"
    assert problems(last, kept, lookback="60 days") == []
    assert problems(last, kept, lookback="91 days") == [
        f"{PLACE}: it looks back 91 days into source.shop.orders, which is kept for 90 days"
    ]


def test_the_declared_look_back_is_held_against_the_sql() -> None:
    week = WINDOW.format("7 days")
    assert problems(week, lookback="7 days") == problems(week, lookback="unbounded") == []
    assert problems(week, lookback="3 days") == [f"{PLACE}: it looks back 7 days, and its declared lookback is 3 days"]
    total = "sum(eur) over (partition by customer order by at)"
    assert problems(total, lookback="unbounded") == []
    assert problems(total, lookback="1 year") == [
        f"{PLACE}: it looks back without end (sum() in `spending_v1` reads all rows before), and its declared lookback is "
        "1 year"
    ]


def test_a_value_that_is_said_to_be_known_at_its_event_time_reads_nothing_later() -> None:
    later = "avg(eur) over (partition by customer order by at range between current row and interval 2 days following)"
    [problem] = found(later).problems
    assert problem.message == (f"{PLACE}: it looks ahead of its event time: avg() in `spending_v1` reads later rows")


def test_names_in_capitals_are_held_against_what_is_kept() -> None:
    nodes = {
        "source.shop.ORDERS": ORDERS,
        "Stg_Orders": Node(sql="select * from source.shop.ORDERS", reads=("source.shop.ORDERS",)),
    }
    week, kept = WINDOW.format("7 days"), {"source.shop.ORDERS": "1 day"}
    assert problems(week, kept, nodes=nodes) == [
        f"{PLACE}: it looks back 7 days into source.shop.orders, which is kept for 1 day"
    ]
    assert problems(week, {**kept, "Stg_Orders": "3 years"}, nodes=nodes) == []


def test_a_model_that_keeps_rows_stands_for_what_it_reads() -> None:
    week = WINDOW.format("7 days")
    kept = {"source.shop.orders": "1 day"}
    assert len(problems(week, kept)) == 1
    assert problems(week, {**kept, "stg_orders": "3 years"}) == []
    assert problems(week, {**kept, "stg_orders": "3 days"}) == [
        f"{PLACE}: it looks back 7 days into stg_orders, which is kept for 3 days"
    ]
    # the view's own retention is about those who read the view
    assert len(problems(week, {**kept, "spending_v1": "1 hour"})) == 1
    # what the kept model does is looked at all the same
    clocked = {
        **NODES,
        "stg_orders": replace(NODES["stg_orders"], sql="select * from source.shop.orders where at < now()"),
    }
    assert len(problems(week, {"stg_orders": "3 years"}, nodes=clocked)) == 1


@pytest.mark.parametrize(
    ("expression", "told", "where"),
    [
        ("date_diff('day', at, now())", "its value hangs on when it is computed: now()", ""),
        ("eur", "its value hangs on when it is computed: now()", "where at > now() - interval '720 hours'"),
        ("epoch(getvariable('feature_warehouse_now')::timestamptz) - epoch(at)", "its value hangs on when it is computed: current_instant()", ""),
        ("eur", "", "where at <= coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), timestamptz '2000-01-01 00:00:00+00')"),
        ("eur * random()", "the same data may give it another value: random()", ""),
        ("first(eur) over (partition by customer)", "the same data may give it another value: first() without an order", ""),
        ("eur", "the same data may give it another value: limit without an order", "limit 10"),
        ("eur", "", "order by at limit 10"),
    ],
)  # fmt: skip
def test_what_another_run_would_compute_otherwise(expression, told, where) -> None:
    assert problems(expression, where=where) == ([f"{PLACE}: {told}"] if told else [])


def test_the_session_zone_counts_where_the_profile_leaves_it_open() -> None:
    day = "dayname(at)"
    assert problems(day) == problems(day, zone="Etc/UTC") == problems("dayname(at at time zone 'UTC')", zone=None) == []
    start = f"{PLACE}: its value hangs on the session's time zone, which"
    assert problems(day, zone=None) == [f"{start} the profile leaves to the machine: dayname() of a timestamptz"]
    assert problems("epoch(local::timestamptz)", zone="Europe/Berlin") == [
        f"{start} is Europe/Berlin: a timestamp is cast to timestamptz"
    ]


def test_a_cast_of_what_may_have_no_zone_is_a_warning() -> None:
    start = f"{PLACE}: its value may hang on the session's time zone, which the profile leaves to the machine:"
    untyped = replace(ORDERS, columns={**ORDERS.columns, "untyped": ""})
    nodes = {**NODES, "source.shop.orders": untyped}
    [warning] = found("epoch(untyped::timestamptz)", zone=None, nodes=nodes).warnings
    assert warning.message == f"{start} `untyped`, whose type is not known, is cast to timestamptz"
    [warning] = found("epoch(customer::timestamptz)", zone=None).warnings
    assert warning.message == f"{start} `customer`, a text, is cast to timestamptz"
    assert found("epoch(untyped::timestamptz)", nodes=nodes).warnings == ()
    for certain in ("at::timestamptz", "(local at time zone 'UTC')::timestamptz", "'2026-01-01 00:00Z'::timestamptz"):
        assert found(f"epoch({certain})", zone=None).warnings == ()


def test_what_hides_skew_is_a_warning() -> None:
    [warning] = found("frobnicate(eur)").warnings
    assert warning.message == (
        f"{PLACE}: whether the same data always gives it the same value is not known: frobnicate()"
    )
    [warning] = found("eur", where="using sample 3").warnings
    assert warning.message.startswith("models/spending.yml: spending.v1: `spending_v1` is compared as text: ")
    assert found(WINDOW.format("7 days")).warnings == ()


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("3 years", timedelta(days=1098)),
        ("1 month", timedelta(days=31)),
        ("1 year", timedelta(days=366)),
        ("90 days", timedelta(days=90)),
        ("36 hours", timedelta(hours=36)),
        ("90 minutes", timedelta(minutes=90)),
    ],
)
def test_periods(text, period) -> None:
    assert parse_period(text) == period
    assert period_text(period) == text


@pytest.mark.parametrize("text", ["3 decades", "year", "1.5 years", "-1 days", "99999999999 years", ""])
def test_no_periods(text) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_period(text)
