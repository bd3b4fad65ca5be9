"""How far a feature reaches into each of its sources. What one query is bounded by stands in test_changes.py."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest

from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.facts import Facts
from feature_warehouse.sql.nodes import Node
from tests.support import corpus

SOURCES = {
    "orders": {"k": "varchar", "at": "timestamptz", "day": "date", "amount": "double", "id": "bigint"},
    "refunds": {"k": "varchar", "at": "timestamptz", "order_id": "bigint", "amount": "double"},
    "shops": {"k": "varchar", "shop": "varchar"},
    "days": {"at": "timestamptz", "day": "date"},
}
LEAVES = {name: Node(columns=columns, closed=True) for name, columns in SOURCES.items()}
VIEW = View(node="v", join_keys={"k": ""}, event_timestamp="event_at", features={"f": ""})


def facts(sql: str, **models: str) -> Facts:
    return Definitions(LEAVES | {name: Node(sql=text) for name, text in {**models, "v": sql}.items()}).facts(VIEW, "f")


def reached(sql: str, **models: str) -> dict[str, object]:
    """Days by source; where there is no such number, the kind."""
    reach = facts(sql, **models).reach
    return {
        source: found.span / timedelta(days=1) if found.kind == "bounded" else found.kind
        for source, found in reach.items()
    }


DAYS = (
    "select s.k, days.at as event_at, {value} as f from days cross join shops s left join orders o "
    "on o.k = s.k and o.at > days.at - interval '{span}' and o.at <= days.at {more} group by s.k, days.at"
)
WINDOW = "select k, at as event_at, {value} over (partition by k order by {order} {frame}) as f from orders"


@pytest.mark.parametrize(
    ("sql", "days"),
    [
        # what only gives the keys is not reached into; what is joined within the bounded rows is
        (DAYS.format(value="sum(o.amount)", span="30 days", more=""), {"": 30, "orders": 30}),
        (DAYS.format(value="avg(o.amount)", span="3 years", more=""), {"": 1098, "orders": 1098}),
        (DAYS.format(value="count(o.id)", span="14 months", more=""), {"": 428, "orders": 428}),
        (
            DAYS.format(value="sum(r.amount)", span="7 days", more="left join refunds r on r.order_id = o.id"),
            {"": 7, "orders": 7, "refunds": 7},
        ),
        (
            "select o.k, days.at as event_at, sum(r.amount) as f from days join orders o on o.at > days.at - interval '7 days' "
            "join refunds r on r.order_id = o.id and r.at > days.at - interval '90 days' group by o.k, days.at",
            {"": 90, "refunds": 90},
        ),
        (
            "select s.k, days.at as event_at, sum(o.amount) as f from days cross join shops s "
            "join orders o on o.k = s.k and o.at > days.at - interval '7 days' "
            "join refunds r on r.order_id = o.id and r.at > days.at - interval '90 days' group by s.k, days.at",
            {"": 90, "orders": 7, "refunds": 90},
        ),
        (
            "select o.k, days.at as event_at, sum(o.amount) as f from days join orders o on o.at > days.at - interval '7 days' "
            "join refunds r on r.order_id = o.id and r.at > days.at - interval '90 days' join shops s on s.k = r.k "
            "group by o.k, days.at",
            {"": 90, "orders": 7, "refunds": 90, "shops": 90},
        ),
        # spans that stand side by side, and one over the other, source by source
        (
            "select o.k, o.at as event_at, o.amount / w.spent as f from orders o join ("
            "select k, at, sum(amount) over (partition by k order by at range between interval 90 days preceding and current row) as spent "
            "from refunds) w on w.k = o.k and w.at = o.at",
            {"": 90, "orders": 0, "refunds": 90},
        ),
        # the earlier end of a frame, whichever way the rows are ordered
        (WINDOW.format(value="sum(amount)", order="at desc", frame="range between current row and interval 9 days following"), {"": 9, "orders": 9}),
        (WINDOW.format(value="sum(amount)", order="at desc", frame="rows between current row and unbounded following"), {"": "unbounded", "orders": "unbounded"}),
        (WINDOW.format(value="sum(amount)", order="at desc", frame="range between interval 9 days preceding and current row"), {"": 0, "orders": 0}),
        (
            "select k, day as event_at, sum(amount) over (partition by k order by day range between 6 preceding and current row) as f from orders",
            {"": 6, "orders": 6},
        ),
        # a time that is not the event time, nor that plus a constant
        (WINDOW.format(value="sum(amount)", order="day", frame="range between 6 preceding and current row"), {"": "unknown", "orders": "unknown"}),
        # what is no time bounds no time
        (WINDOW.format(value="sum(amount)", order="id", frame="range between 6 preceding and current row"), {"": "unbounded", "orders": "unbounded"}),
        (WINDOW.format(value="sum(amount)", order="amount", frame="rows between current row and current row"), {"": "unbounded", "orders": "unbounded"}),
        (
            "select s.k, s.at as event_at, sum(o.amount) as f from orders s join orders o on o.k = s.k and o.id >= s.id - 6 group by s.k, s.at, s.id",
            {"": "unknown", "orders": "unknown"},
        ),
    ],
)  # fmt: skip
def test_each_source_is_reached_into_as_far_as_its_own_rows_are(sql, days) -> None:
    assert reached(sql) == days


SPINE = "select s.k, s.at as event_at, {} as f from orders s left join orders o on o.k = s.k and o.at <= s.at and {} group by s.k, s.at"
RECENT_OF = (
    "with spine as (select distinct k, at, day from orders), c as (select distinct k, at as since from refunds) "
)


@pytest.mark.parametrize(
    ("end", "days"),
    [
        ("o.at > s.at - interval '7 days'", 7),
        ("o.at > s.at - interval '1 day' * 7", 7),
        ("o.at > s.at - to_days(7)", 7),
        ("o.at > s.at - interval (7) day", 7),
        ("o.at > s.at - '7 days'::interval", 7),
        ("o.at > s.at + interval '-1 month'", 31),
        ("o.at > s.at - interval '1 month' - interval '1 day'", 32),
        ("o.at >= date_trunc('year', s.at)", 366),
        ("o.at >= date_trunc('MONTH', s.at)", 31),
        ("o.at >= date_trunc('month', s.at - interval '3 months')", 93 + 31),
        ("o.at >= date_trunc('week', s.at) - interval '2 weeks'", 21),
        ("date_trunc('month', o.at) >= date_trunc('month', s.at)", 31),
        ("date_trunc('month', o.at) = date_trunc('month', s.at)", 31),
        ("date_trunc('day', o.at) between date_trunc('day', s.at) - interval 6 days and date_trunc('day', s.at)", 7),
        ("o.at >= time_bucket(interval '1 hour', s.at)", 1 / 24),
        ("o.at >= date_add(s.at, interval '-365 days')", 365),
        ("o.at >= dateadd('day', -365, s.at)", 365),
        ("o.at::date >= s.at::date - 6", 7),
        ("s.at - o.at < interval '7 days'", 7),
        ("s.at - interval '7 days' < o.at", 7),
        ("date_diff('day', o.at, s.at) <= 6", 7),
        ("date_diff('day', o.at, s.at) between 0 and 6", 7),
        ("o.at > greatest(s.at - interval '7 days', timestamptz '2020-01-01 00:00+00')", 7),
        ("o.at >= last_day(s.at::date) - interval '1 month'", 33),
        ("o.at > s.at - interval '7 days' or o.id = 1", "unbounded"),
        ("o.at >= timestamptz '2020-01-01 00:00+00'", "unbounded"),
        ("o.at > least(s.at - interval '7 days', s.day)", "unknown"),
        ("o.at >= s.day", "unbounded"),
        ("o.at >= s.day - interval '7 days'", "unbounded"),
        ("o.at >= coalesce(s.day, s.at)", "unknown"),
        ("epoch(o.at) >= epoch(s.at) - 86400", "unknown"),
        ("o.id >= s.id - 86400", "unknown"),
        ("strftime(o.at, '%Y-%m') = strftime(s.at, '%Y-%m')", "unbounded"),
        ("true", "unbounded"),
    ],
)
def test_a_lower_end_is_the_event_time_plus_a_constant_or_no_end_that_is_known(end, days) -> None:
    keys = SPINE.replace("group by s.k, s.at", "group by s.k, s.at, s.day, s.id")
    for sql in (keys.format("sum(o.amount)", end), keys.format(f"sum(o.amount) filter (where {end})", "true")):
        assert reached(sql)["orders"] == days


@pytest.mark.parametrize(
    ("sql", "days"),
    [
        # another row's time, or another event's
        (RECENT_OF + "select s.k, s.at as event_at, sum(o.amount) as f from spine s join c using (k) join orders o on o.k = s.k and o.at >= c.since and o.at <= s.at group by all", {"": "unbounded", "orders": "unbounded", "refunds": "unbounded"}),
        (RECENT_OF + "select s.k, s.at as event_at, sum(o.amount) as f from spine s join c using (k) join orders o on o.k = s.k and o.at >= c.since group by s.k, s.at, c.since", {"": "unbounded", "orders": "unbounded"}),
        ("select s.k, s.at as event_at, o.amount as f from refunds s join orders o on o.k = s.k and o.at <= s.at", {"": "unbounded", "orders": "unbounded"}),
        ("select s.k, s.at as event_at, o.amount as f from refunds s join orders o on o.k = s.k and o.at between s.at - interval 3 days and s.at", {"": 3, "orders": 3}),
        ("select s.k, s.at as event_at, p.shop as f from orders s join shops p using (k)", {"": 0, "shops": "unbounded"}),
        # what is bounded, beside what is not
        ("select s.k, s.at as event_at, sum(o.amount) + sum(r.amount) as f from orders s join orders o on o.k = s.k and o.at between s.at - interval 3 days and s.at join refunds r on r.k = s.k group by s.k, s.at", {"": "unbounded", "orders": "unbounded", "refunds": "unbounded"}),
        ("select s.k, max(s.at) as event_at, count(*) as f from orders s group by s.k", {"": "unbounded", "orders": "unbounded"}),
        ("select k, at as event_at, spent as f from (select k, day, max(at) as at, sum(amount) as spent from orders group by k, day)", {"": "unbounded", "orders": "unbounded"}),
        # a window over a window, and a join by a window's time
        ("select o.k, o.at as event_at, w.spent as f from orders o join (select k, at, sum(amount) over (partition by k order by at range between interval 90 days preceding and current row) as spent from refunds) w on w.k = o.k and w.at between o.at - interval 10 days and o.at", {"": 100, "refunds": 100}),
        ("select o.k, o.at as event_at, w.spent as f from orders o join (select k, at, sum(amount) over (partition by k order by at range between interval 90 days preceding and current row) as spent from refunds) w on w.k = o.k", {"": "unknown", "refunds": "unbounded"}),
        # correlated subqueries, lateral joins
        ("select s.k, s.at as event_at, (select sum(o.amount) from orders o where o.k = s.k and o.at between s.at - interval 7 days and s.at) as f from refunds s", {"": 7, "orders": 7}),
        ("select s.k, s.at as event_at, (select sum(o.amount) from orders o where o.k = s.k and o.at <= s.at) as f from refunds s", {"": "unbounded", "orders": "unbounded"}),
        ("select s.k, s.at as event_at, exists (select 1 from orders o where o.k = s.k and o.at between s.at - interval 7 days and s.at) as f from refunds s", {"": 7, "orders": 7}),
        ("select s.k, s.at as event_at, l.spent as f from refunds s, lateral (select sum(o.amount) as spent from orders o where o.k = s.k and o.at > s.at - interval 7 days and o.at <= s.at) l", {"": 7, "orders": 7}),
        # the last row, if it is young enough
        ("select s.k, s.at as event_at, o.amount as f from refunds s asof left join orders o on o.k = s.k and o.at <= s.at", {"": "unbounded", "orders": "unbounded"}),
        ("select s.k, s.at as event_at, case when o.at > s.at - interval 7 days then o.amount end as f from refunds s asof left join orders o on o.k = s.k and o.at <= s.at", {"": 7, "orders": 7, "refunds": 0}),
        ("select s.k, s.at as event_at, o.amount as f from refunds s asof join orders o on o.k = s.k and o.at <= s.at where s.at - o.at < interval 7 days", {"": 7, "orders": 7}),
        ("select k, at as event_at, lag(amount) over (partition by k order by at) as f from orders", {"": "unbounded", "orders": "unbounded"}),
        ("select k, at as event_at, case when at - lag(at) over (partition by k order by at) <= interval 2 days then lag(amount) over (partition by k order by at) end as f from orders", {"": 2, "orders": 2}),
        ("select k, at as event_at, row_number() over (partition by k, date_trunc('month', at) order by at, id) as f from orders", {"": 31, "orders": 31}),
        # a union of both
        ("select k, at as event_at, sum(amount) over (partition by k order by at range between interval 5 days preceding and current row) as f from (select k, at, amount from orders union all select k, at, amount from refunds)", {"": 5, "orders": 5, "refunds": 5}),
    ],
)  # fmt: skip
def test_what_the_event_time_does_not_reach_has_no_end(sql, days) -> None:
    found = reached(sql)
    assert {source: far for source, far in found.items() if far or source in days} == days


@pytest.mark.parametrize(
    ("sql", "ahead"),
    [
        (DAYS.format(value="sum(o.amount)", span="30 days", more=""), ()),
        (DAYS.format(value="sum(o.amount)", span="30 days", more="").replace("and o.at <= days.at", ""), ("rows of `orders` are read without end",)),
        (DAYS.format(value="sum(o.amount)", span="30 days", more="").replace("o.at <= days.at", "o.at <= days.at + interval 2 days"), ("rows of `orders` are read by 2 days, 0:00:00",)),
        (WINDOW.format(value="sum(amount)", order="at", frame="range between interval 3 days preceding and interval 1 day following"), ("sum() in `v` reads later rows",)),
        (WINDOW.format(value="sum(amount)", order="at desc", frame="range between interval 3 days preceding and current row"), ("sum() in `v` reads later rows",)),
        (WINDOW.format(value="lead(amount)", order="at", frame=""), ("lead() in `v` reads a later row",)),
        (WINDOW.format(value="lag(amount)", order="at", frame=""), ()),
    ],
)  # fmt: skip
def test_what_reads_rows_after_the_event_time(sql, ahead) -> None:
    assert facts(sql).ahead == ahead


def test_rows_older_than_the_look_back_decide_nothing(record_property) -> None:
    """Of the corpus, with random rows: what is older than a look-back is dropped, and later values stay as they are."""
    con = corpus.connect(60, 5)
    times = {
        name: [column for column, kind in columns.items() if kind in ("timestamptz", "date", "timestamp")]
        for name, columns in corpus.TABLES.items()
    }
    held, wrong = 0, []
    for pair in corpus.pairs():
        if pair.data == "cannot run" or "time zone" in str((pair.old, pair.new)):  # columns of clocks are no instants
            continue
        for side in (pair.old, pair.new):
            definitions, digits = side.definitions(), 10
            for feature in side.view.features:
                reach = definitions.facts(side.view, feature).reach
                spans = {name: one.span for name, one in reach.items() if name in times and one.kind == "bounded"}
                for start in ("2013-01-04", "2013-01-07 12:00") if spans else ():
                    try:
                        whole = corpus.results(con, side, digits, since=start)[feature]
                        con.execute("begin")
                        for name, span in spans.items():
                            old = " and ".join(
                                f"coalesce({column} < ?::timestamptz - ?, true)" for column in times[name]
                            )
                            con.execute(f"delete from {name} where {old}", [start, span] * len(times[name]))
                        cut = corpus.results(con, side, digits, since=start, nested=True)[feature]
                    except duckdb.Error:
                        continue
                    finally:
                        con.rollback()
                    held += 1
                    if whole != cut:
                        wrong.append(f"{pair.name}.{feature} since {start}: {spans}")
    record_property("figure", f"look-backs held against data: {held}")
    assert wrong == []
    assert held > 100


STATED = "/* rolling_features 1\n{\"join_keys\": [\"k\"], \"event_timestamp\": \"at\", \"available_at\": null, \"features\": [{\"name\": \"n\", \"aggregate\": \"count\", \"window\": \"1 day\"}, {\"name\": \"total\", \"aggregate\": \"sum\", \"column\": \"amount\", \"window\": \"7 days\"}]} */\nselect k, at as event_at, sum(id) over w as n, sum(amount) over w as total from recent where at is not null window w as (partition by k order by at)"  # fmt: skip
RECENT = "select k, at, id, sum(amount) over (partition by k order by at range between interval 2 days preceding and current row) as amount from orders"  # fmt: skip


def test_what_a_macro_states_stands_for_its_own_windows_alone() -> None:
    use = "select k, event_at, {} as f from rolled"
    assert reached(use.format("n"), rolled=STATED, recent=RECENT) == {"": 1, "orders": 1}
    assert reached(use.format("total"), rolled=STATED, recent=RECENT) == {"": 9, "orders": 9}
    assert reached(use.format("total / nullif(n, 0)"), rolled=STATED, recent=RECENT) == {"": 9, "orders": 9}
    endless = "select k, at, id, sum(amount) over (partition by k order by at) as amount from orders"
    assert reached(use.format("total"), rolled=STATED, recent=endless) == {"": "unbounded", "orders": "unbounded"}
    more = "sum(total) over (partition by k order by event_at range between interval 3 days preceding and current row)"
    assert reached(use.format(more), rolled=STATED, recent=RECENT) == {"": 12, "orders": 12}
    endless = "sum(total) over (partition by k order by event_at)"
    assert reached(use.format(endless), rolled=STATED, recent=RECENT) == {"": "unbounded", "orders": "unbounded"}

    pivoted = STATED.partition("*/\n")[0] + "*/" + "\npivot recent on k using sum(amount) as total"
    assert reached(use.format("total"), rolled=pivoted, recent=RECENT) == {"": 9, "orders": 9}


def test_only_the_head_of_a_model_states_something() -> None:
    within = f"with rolled as ({STATED}) select k, event_at, n as f from rolled"
    assert reached(within, recent=RECENT) == {"": "unbounded", "orders": "unbounded"}


def test_neighbours_share_what_is_followed_and_nothing_else() -> None:
    """The facts of a feature are the same, whichever others of its view were asked about before."""
    window = "(partition by k order by at range between interval {} days preceding and {})"
    columns = {
        "week": f"sum(amount) over {window.format(7, 'current row')}",
        "later": f"sum(amount) over {window.format(0, 'interval 2 days following')}",
        "both": f"sum(amount) over {window.format(7, 'current row')} + sum(amount) over "
        f"{window.format(0, 'interval 2 days following')}",
        "next": "lead(amount) over (partition by k order by at, id)",
        "first": "first(amount) over (partition by k)",
        "at_night": "amount * hour(at)",
        "refunded": "coalesce(back, 0)",
        "share": "coalesce(back, 0) / amount",
    }
    listed = ", ".join(f"{text} as {name}" for name, text in columns.items())
    sql = (
        f"select k, at as event_at, {listed} from orders left join "
        "(select order_id, sum(amount) as back from refunds group by order_id) r on r.order_id = orders.id"
    )
    view = View(node="v", join_keys={"k": ""}, event_timestamp="event_at", features=dict.fromkeys(columns, ""))

    def asked(*names: str) -> dict[str, Facts]:
        definitions = Definitions(LEAVES | {"v": Node(sql=sql)})
        return {name: definitions.facts(view, name) for name in names}

    alone = {name: asked(name)[name] for name in columns}
    assert [name for name in columns if alone[name].ahead] == ["later", "both", "next"]
    assert "refunds" in alone["share"].reach
    assert "refunds" not in alone["at_night"].reach
    assert asked(*columns) == alone
    assert asked(*reversed(columns)) == alone
