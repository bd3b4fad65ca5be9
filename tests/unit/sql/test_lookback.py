"""How far a feature reaches into each of its sources. What one query is bounded by stands in test_changes.py."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.facts import Facts
from feature_warehouse.sql.nodes import Node

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
        (WINDOW.format(value="sum(amount)", order="day", frame="range between 6 preceding and current row"), {"": 6, "orders": 6}),
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
