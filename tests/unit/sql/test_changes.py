"""Classes, reasons, diffs and facts of changed features; on-demand expressions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from benchmarks.gate import chain
from feature_warehouse.sql.changes import Definitions, View, check_on_demand, diff, judge
from feature_warehouse.sql.nodes import Node
from tests.support import corpus

FLIGHTS = {
    "flight_id": "varchar", "carrier": "varchar", "tailnum": "varchar", "day": "date", "arrived_at": "timestamptz",
    "delay": "bigint", "local_time": "timestamp", "is_cancelled": "boolean",
}  # fmt: skip
PLANES = {"tailnum": "varchar", "seats": "bigint"}
RAW = {"raw_flights": Node(columns=FLIGHTS, closed=True), "raw_planes": Node(columns=PLANES, closed=True)}

STAGING = "select * from raw_flights"
DELAYS = """
with arrived as (select * from stg_flights where arrived_at is not null),
rolling as (
    select
        carrier, arrived_at,
        avg(delay) over (
            partition by carrier order by arrived_at range between interval 7 days preceding and current row
        ) as mean_delay,
        count(*) over (partition by carrier) as flights
    from arrived
)
select carrier, arrived_at as event_at, mean_delay, flights from rolling
"""
VIEW = View(
    node="carrier_delays",
    join_keys={"carrier": "varchar"},
    event_timestamp="event_at",
    features={"mean_delay": "double", "flights": "bigint"},
)


def project(view: str = DELAYS, staging: str = STAGING, more: dict[str, Node] | None = None) -> Definitions:
    return Definitions(RAW | {"stg_flights": Node(sql=staging), "carrier_delays": Node(sql=view)} | (more or {}))


def judged(new: Definitions, view: View = VIEW) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {c.feature: (c.kind, c.reasons) for c in judge(project(), VIEW, new, view)}


def test_the_same_is_a_refactor() -> None:
    assert judged(project()) == {"mean_delay": ("refactor", ()), "flights": ("refactor", ())}


def test_the_type_that_a_seed_is_loaded_as_is_part_of_the_values_and_a_remark_on_a_source_is_not() -> None:
    loaded = {"raw_flights": Node(columns=FLIGHTS | {"delay": "varchar", "local_time": ""}, closed=True)}
    assert judged(project(more=loaded)) == {
        "mean_delay": ("value change", ("type of delay bigint -> varchar in the seed `raw_flights`",)),
        "flights": ("refactor", ()),
    }
    said = {"raw_flights": Node(columns=FLIGHTS | {"delay": "double"})}
    source, other = project(more={"raw_flights": Node(columns=FLIGHTS)}), project(more=said)
    assert {change.kind for change in judge(source, VIEW, other, VIEW)} == {"refactor"}


def test_a_window_is_told_with_its_place_and_touches_no_neighbour() -> None:
    assert judged(project(DELAYS.replace("7 days", "14 days"))) == {
        "mean_delay": ("value change", ("window 7 days -> 14 days in `rolling` of `carrier_delays`",)),
        "flights": ("refactor", ()),
    }


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (
            project(staging="select * from raw_flights where not is_cancelled"),
            "filter added in `stg_flights`: not is_cancelled",
        ),
        (
            project(DELAYS.replace("arrived_at is not null", "arrived_at is not null and delay > 0")),
            "filter added in `arrived` of `carrier_delays`: delay > 0",
        ),
        (
            project(DELAYS.replace(" where arrived_at is not null", "")),
            "filter removed in `arrived` of `carrier_delays`: not arrived_at is null",
        ),
        (
            project(DELAYS.replace("from stg_flights", "from stg_flights join raw_planes using (tailnum)")),
            "inner join added in `arrived` of `carrier_delays`: raw_planes",
        ),
        (
            project(DELAYS.replace("select carrier, arrived_at as", "select distinct carrier, arrived_at as")),
            "no distinct -> distinct in `carrier_delays`",
        ),
        (
            project(DELAYS.replace("arrived_at as event_at", "arrived_at + interval 1 hour as event_at")),
            "`event_at` arrived_at -> arrived_at + interval '1' hour in `carrier_delays`",
        ),
        (
            project(DELAYS.replace("as flights\n    from arrived", "as flights\n    from stg_flights")),
            "reads `arrived` -> `stg_flights` in `rolling` of `carrier_delays`",
        ),
        (
            project(DELAYS + " limit 5"),
            "limit none -> 5 in `carrier_delays`",
        ),
        (
            project(staging="select * replace (delay + 1 as delay) from raw_flights"),
            "`*` * -> * replace (delay + 1 as delay) in `stg_flights`",
        ),
    ],
)  # fmt: skip
def test_a_value_change_says_what_and_where(new, reason) -> None:
    assert judged(new)["mean_delay"] == ("value change", (reason,))


def test_a_join_says_its_kind_and_relation() -> None:
    text = "select f.carrier, f.arrived_at as event_at, p.seats as mean_delay, 1 as flights from stg_flights f {} join raw_planes p on p.tailnum = f.tailnum"
    changes = judge(project(text.format("left")), VIEW, project(text.format("")), VIEW)
    assert "join left -> inner on `raw_planes` in `carrier_delays`" in changes[0].reasons


def test_a_position_in_group_by_counts_all_columns_also_two_of_one_name() -> None:
    text = "select tailnum as carrier, carrier, max(arrived_at) as event_at, avg(delay) as mean_delay, 1 as flights from stg_flights group by {}"
    view = "select carrier, event_at, mean_delay, flights from grouped"
    old, new = (project(view, more={"grouped": Node(sql=text.format(keys))}) for keys in ("1, 2", "1"))
    [changed, _] = judge(old, VIEW, new, VIEW)
    assert changed.reasons == ("group by tailnum, carrier -> tailnum in `grouped`",)


def test_a_query_more_in_a_union_is_one_sentence() -> None:
    branch = "select carrier, arrived_at, delay from {}"
    tables = ["raw_flights", "stg_flights", "raw_flights"]
    view = "select carrier, arrived_at as event_at, avg(delay) over (partition by carrier) as mean_delay, 1 as flights from (with u as ({}) select * from u)"
    text = view.format(" union all ".join(map(branch.format, tables)))
    more = view.format(" union all ".join(map(branch.format, ["stg_flights", *tables])))
    other = text.replace("delay from stg", "delay + 1 from stg")
    [first, _], [second, _] = (judge(project(text), VIEW, project(new), VIEW) for new in (more, other))
    assert first.reasons == ("union all of 3 -> 4 queries in `u` of `carrier_delays`",)
    assert second.reasons == ("`column 3` delay -> delay + 1 in `u branch 2` of `carrier_delays`",)


def test_breaks() -> None:
    renamed = View(
        node="carrier_delays",
        join_keys={"carrier": "varchar"},
        event_timestamp="event_at",
        features={"average_delay": "double", "flights": "integer"},
    )
    text = DELAYS.replace("event_at, mean_delay,", "event_at, mean_delay as average_delay,")
    assert judged(project(text), renamed) == {
        "mean_delay": ("schema break", ("renamed to average_delay",)),
        "flights": ("schema break", ("type bigint -> integer",)),
        "average_delay": ("additive", ("was called mean_delay",)),
    }
    keys = View(
        node=VIEW.node,
        join_keys={"carrier": "varchar", "day": "date"},
        event_timestamp="event_at",
        features=VIEW.features,
    )
    kind, reasons = judged(
        project(
            DELAYS.replace("select carrier, arrived_at as", "select carrier, event_day as day, arrived_at as").replace(
                "carrier, arrived_at,\n", "carrier, day as event_day, arrived_at,\n"
            )
        ),
        keys,
    )["flights"]
    assert (kind, reasons) == ("schema break", ("join keys carrier -> carrier, day",))
    retyped = View(node=VIEW.node, join_keys={"carrier": "bigint"}, event_timestamp="event_at", features=VIEW.features)
    assert judged(project(), retyped)["flights"] == ("schema break", ("type of join key carrier: varchar -> bigint",))


def test_a_removed_feature_is_no_rename_of_another() -> None:
    fewer = View(
        node=VIEW.node, join_keys=VIEW.join_keys, event_timestamp="event_at", features={"mean_delay": "double"}
    )
    assert judged(project(), fewer)["flights"] == ("schema break", ("removed",))


def test_text_is_said_to_be_text() -> None:
    text = "with p as (pivot stg_flights on carrier using sum(delay)) select 'a' as carrier, now() as event_at, 1 as mean_delay, 2 as flights from p"
    [change, _] = judge(project(text), VIEW, project(f"-- same\n{text}"), VIEW)
    assert (change.kind, len(change.as_text)) == ("refactor", 1)
    assert change.as_text[0].startswith("`carrier_delays` is compared as text: ")
    [change, _] = judge(project(text), VIEW, project(text.replace("sum", "avg")), VIEW)
    assert change.kind == "value change"
    assert change.reasons == ("the SQL of `carrier_delays` changed",)
    assert change.as_text[0].startswith("`carrier_delays` is compared as text: ")


def test_the_diff_names_nodes_and_ignores_layout() -> None:
    assert diff(project(), VIEW, project(" ".join(DELAYS.split())), VIEW) == ""
    told = diff(
        project(), VIEW, project(DELAYS.replace("7 days", "14 days"), staging=STAGING + " where delay > 0"), VIEW
    )
    assert "--- carrier_delays.sql (accepted)\n+++ carrier_delays.sql (proposed)" in told
    assert "+++ stg_flights.sql (proposed)" in told
    assert "14" in told


def test_many_views_share_what_is_read() -> None:
    """Two views over one staging model do not disturb each other, in whatever order they are asked."""
    second = View(node="other", join_keys={"carrier": ""}, event_timestamp="event_at", features={"n": ""})
    more = Node(
        sql="select carrier, max(arrived_at) as event_at, count(*) as n from stg_flights where carrier > 'B' group by 1"
    )
    one, two = (project(more={"other": more}) for _ in range(2))
    first = [one.fingerprint(VIEW, "flights"), one.fingerprint(second, "n"), one.fingerprint(VIEW, "mean_delay")]
    again = [two.fingerprint(VIEW, "mean_delay"), two.fingerprint(second, "n"), two.fingerprint(VIEW, "flights")]
    assert first == again[::-1]


def test_a_filter_below_one_view_does_not_reach_another() -> None:
    """A filter goes down into groupings; what two models share must stay as it is."""
    totals = """
        with daily as (select carrier, day, count(*) as n, max(arrived_at) as at from stg_flights group by carrier, day)
        select carrier, max(at) as event_at, sum(n) as n from daily group by carrier
    """
    shared = View(node="totals", join_keys={"carrier": ""}, event_timestamp="event_at", features={"n": ""})
    filtered = View(node="filtered", join_keys={"carrier": ""}, event_timestamp="event_at", features={"n": ""})
    more = {"totals": Node(sql=totals), "filtered": Node(sql="select * from totals where carrier = 'AA'")}
    alone = project(more=more).fingerprint(shared, "n")
    together = project(more=more)
    assert together.fingerprint(filtered, "n") != alone
    assert together.fingerprint(shared, "n") == alone


@pytest.mark.parametrize("join", ["join", "left join"])
def test_a_long_chain_of_joins_is_read_as_any_other(join) -> None:
    (before, view), (after, _) = (chain(80, join, old) for old in (True, False))
    old, new = Definitions(before), Definitions(after)
    assert [change.kind for change in judge(old, view, new, view)] == ["refactor"]
    assert old.as_text(view) == new.as_text(view) == ()
    assert new.facts(view, "f").sources == (("raw_0", "amount"), ("raw_80", "amount"))


def test_fingerprints_do_not_hang_on_hash_seeds_or_order_of_asking() -> None:
    for pair in corpus.pairs("joins")[:20]:
        forth = [pair.old.definitions().fingerprint(pair.old.view, f) for f in pair.old.view.features]
        assert forth == [pair.old.definitions().fingerprint(pair.old.view, f) for f in pair.old.view.features]


# -- facts -----------------------------------------------------------------------


def facts(select: str, column: str = "f"):
    view = View(node="v", join_keys={"carrier": ""}, event_timestamp="event_at", features={column: ""})
    return Definitions(RAW | {"v": Node(sql=select)}).facts(view, column)


def test_lineage_goes_down_to_source_columns() -> None:
    found = facts(
        "with a as (select carrier, arrived_at, delay * 2 as twice, tailnum from raw_flights where not is_cancelled) "
        "select a.carrier, a.arrived_at as event_at, a.twice / p.seats as f, a.tailnum as g from a left join raw_planes p using (tailnum)"
    )
    assert found.sources == (("raw_flights", "delay"), ("raw_planes", "seats"))
    assert found.row_sources == (
        ("raw_flights", "arrived_at"), ("raw_flights", "carrier"), ("raw_flights", "is_cancelled"),
        ("raw_flights", "tailnum"), ("raw_planes", "tailnum"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("select", "kind", "span", "where"),
    [
        ("select carrier, arrived_at as event_at, delay as f from raw_flights", "bounded", timedelta(0), ""),
        (
            "select carrier, arrived_at as event_at, sum(delay) over (partition by carrier order by arrived_at range between interval 7 days preceding and current row) as f from raw_flights",
            "bounded", timedelta(days=7), "",
        ),
        (
            "select carrier, arrived_at as event_at, sum(delay) over (partition by carrier order by arrived_at) as f from raw_flights",
            "unbounded", timedelta(0), "sum() in `v` reads all rows before",
        ),
        (
            "select carrier, arrived_at as event_at, sum(delay) over (partition by carrier) as f from raw_flights",
            "unbounded", timedelta(0), "sum() in `v` reads its whole partition",
        ),
        (
            "select carrier, arrived_at as event_at, avg(delay) over (partition by carrier order by arrived_at rows 3 preceding) as f from raw_flights",
            "unknown", timedelta(0), "avg() in `v` reads a number of rows, of any age",
        ),
        (
            "with daily as (select carrier, day, count(*) as n from raw_flights group by carrier, day), days as (select distinct day from raw_flights) "
            "select d.carrier, s.day::timestamp at time zone 'UTC' as event_at, sum(d.n) as f from days s join daily d on d.day between s.day - 6 and s.day group by all",
            "bounded", timedelta(days=7), "",
        ),
        (
            "select p.tailnum as carrier, p.at as event_at, sum(f.delay) as f from (select tailnum, arrived_at as at from raw_flights) p "
            "left join raw_flights f on f.tailnum = p.tailnum and f.arrived_at <= p.at and f.arrived_at > p.at - interval 36 hours group by all",
            "bounded", timedelta(hours=36), "",
        ),
        (
            "select p.tailnum as carrier, p.at as event_at, sum(f.delay) as f from (select tailnum, arrived_at as at from raw_flights) p "
            "left join raw_flights f on f.tailnum = p.tailnum and f.arrived_at <= p.at group by all",
            "unbounded", timedelta(0), "sum() in `v` reads all rows of its group",
        ),
        (
            "select carrier, date_trunc('hour', arrived_at) as event_at, count(*) as f from raw_flights group by all",
            "bounded", timedelta(hours=1), "",
        ),
        (
            "select carrier, max(arrived_at) as event_at, count(*) as f from raw_flights group by carrier",
            "unbounded", timedelta(0), "count() in `v` reads all rows of its group",
        ),
        (
            "select f.carrier, f.arrived_at as event_at, p.delay as f from raw_flights f asof left join raw_flights p on p.carrier = f.carrier and p.arrived_at < f.arrived_at",
            "unbounded", timedelta(0), "an ASOF join in `v` takes the last row, however old",
        ),
        (
            "with w as (select carrier, arrived_at, sum(delay) over (partition by carrier order by arrived_at range between interval 2 days preceding and current row) as s from raw_flights) "
            "select carrier, arrived_at as event_at, avg(s) over (partition by carrier order by arrived_at range between interval 3 days preceding and current row) as f from w",
            "bounded", timedelta(days=5), "",
        ),
        ("with p as (pivot raw_flights on carrier using sum(delay)) select 1 as carrier, 2 as event_at, 3 as f from p", "unknown", timedelta(0), "the SQL of `v` is not understood"),
    ],
)  # fmt: skip
def test_lookback(select, kind, span, where) -> None:
    found = facts(select).lookback
    assert (found.kind, found.where) == (kind, (where,) if where else ())
    if kind == "bounded":
        assert found.span == span


@pytest.mark.parametrize(
    ("expression", "fact", "told"),
    [
        ("now() - arrived_at", "current_time", ("now()",)),
        ("today() - day", "current_time", ("today()",)),
        ("current_date - day", "current_time", ("current_date()",)),
        ("random()", "nondeterministic", ("random()",)),
        ("uuid()", "nondeterministic", ("uuid()",)),
        ("frobnicate(delay)", "unknown", ("frobnicate()",)),
        ("row_number() over ()", "nondeterministic", ("row_number() without an order",)),
        (
            "arrived_at + interval '1.5' hour",
            "session_zone",
            ("days are added to a timestamptz",),
        ),  # as far as is known
        ("date_trunc('day', local_time)", "session_zone", ()),
        ("arrived_at::timestamp", "session_zone", ("a timestamptz is cast to timestamp",)),
        ("current_time_of_my_own(getvariable('mine'))", "current_time", ()),
        ("delay - epoch(getvariable('feature_warehouse_now')::timestamptz)", "current_time", ("current_instant()",)),
        ("delay", "nondeterministic", ()),
        ("age(arrived_at)", "current_time", ("age() of one time",)),
        ("age(arrived_at, local_time)", "current_time", ()),
        ("'now'::timestamptz - arrived_at", "current_time", ("the text 'now'",)),
        ("day > 'today'", "current_time", ("the text 'today'",)),
        ("tailnum = 'today'", "current_time", ()),
        (
            "row_number() over (partition by carrier order by carrier)",
            "nondeterministic",
            ("row_number() without an order",),
        ),
    ],
)
def test_clocks_chance_and_zones(expression, fact, told) -> None:
    assert getattr(facts(f"select carrier, arrived_at as event_at, {expression} as f from raw_flights"), fact) == told


@pytest.mark.parametrize(
    ("aggregate", "fact", "told"),
    [
        ("first(delay)", "nondeterministic", ("first() without an order",)),
        ("list(delay)", "nondeterministic", ("list() without an order",)),
        ("array_agg(delay)", "nondeterministic", ("list() without an order",)),
        ("string_agg(tailnum, ',')", "nondeterministic", ("string_agg() without an order",)),
        ("any_value(delay)", "nondeterministic", ("any_value() without an order",)),
        ("first(delay order by arrived_at)", "nondeterministic", ()),
        ("max_by(delay, day)", "open_ties", ("arg_max(): of several rows that tie, any",)),
        ("sum(delay)", "nondeterministic", ()),
    ],
)
def test_aggregates_that_leave_it_open(aggregate, fact, told) -> None:
    text = f"select carrier, max(arrived_at) as event_at, {aggregate} as f from raw_flights group by carrier"
    assert getattr(facts(text), fact) == told


def test_distinct_on_by_an_order_of_its_keys_takes_any_row() -> None:
    text = "select distinct on (carrier) carrier, arrived_at as event_at, delay as f from raw_flights order by {}"
    told = ("distinct on without an order that tells its rows apart",)
    assert facts(text.format("carrier")).nondeterministic == told
    ordered = facts(text.format("carrier, arrived_at desc, flight_id"))
    assert ordered.nondeterministic == ()
    assert ordered.open_ties == ("distinct on: of several rows that tie, any",)


def test_limits_without_an_order() -> None:
    text = "select carrier, arrived_at as event_at, delay as f from (select * from raw_flights {} limit 5)"
    assert facts(text.format("")).nondeterministic == ("limit without an order",)
    assert facts(text.format("order by flight_id")).nondeterministic == ()


def test_a_limit_without_an_order_is_compared_as_text() -> None:
    """Which rows it keeps hangs on how they are stored, also on what nobody reads."""
    text = "select carrier, arrived_at as event_at, 1 as mean_delay, 2 as flights from stg_flights limit {}"
    staging = "select *, rank() over (order by {}) as place from raw_flights"
    old = project(text.format(5), staging.format("delay"))
    assert judge(old, VIEW, project(text.format("5 -- rows"), staging.format("delay")), VIEW)[0].kind == "refactor"
    assert judge(old, VIEW, project(text.format(5), staging.format("day")), VIEW)[0].kind == "value change"
    ordered = project(text.format(5).replace("limit", "order by flight_id limit"), staging.format("delay"))
    other = project(text.format(5).replace("limit", "order by flight_id limit"), staging.format("day"))
    assert judge(ordered, VIEW, other, VIEW)[0].kind == "refactor"


def test_facts_are_of_the_feature_alone() -> None:
    text = "select carrier, arrived_at as event_at, delay as f, now() as g, random() as h from raw_flights"
    assert facts(text).current_time == facts(text).nondeterministic == ()
    assert facts(text, "g").current_time == ("now()",)


# -- on-demand expressions -------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "type_", "problem"),
    [
        ("extract(hour from departure_at at time zone 'UTC')", "bigint", ""),
        ("case when distance > 500 then 'long' else 'short' end", "varchar", ""),
        ("distance / 2", "double", ""),
        ("n + 1 -- one more", "bigint", ""),
        ("nope + 1", "", "there is no column nope"),
        ("sum(n)", "", "it looks at more than one row: an aggregate, a window or unnest"),
        ("rank() over (order by n)", "bigint", "it looks at more than one row: an aggregate, a window or unnest"),
        ("unnest([n])", "", "it looks at more than one row: an aggregate, a window or unnest"),
        ("random() * n", "", "random() may give another value at each call"),
        ("frobnicate(n)", "", "frobnicate() (not known here) may give another value at each call"),
        ("departure_at - now()", "", "now() reads the clock"),
        ("(select max(n) from row)", "", "it holds a subquery"),
        ("n, n", "", "it is not one expression"),
        ("n as m", "", "it is not one expression"),
        ("n from t", "", "it is not one expression"),
        ("", "", "it is not one expression"),
        ("n +", "", "it cannot be parsed"),
    ],
)
def test_on_demand_expressions(expression, type_, problem) -> None:
    columns = {"distance": "double", "departure_at": "timestamptz", "n": "bigint"}
    found = check_on_demand(expression, columns)
    if problem:
        assert found.problems[0].startswith(problem)
    else:
        assert (found.type, found.problems) == (type_, ())
