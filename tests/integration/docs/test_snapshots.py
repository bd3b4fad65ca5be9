"""docs/guides/snapshots.md: a table that is updated in place, four nights of it, and what every part makes of them."""

from __future__ import annotations

import pytest

from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.pages import Page
from tests.support.shop import Shop

PAGE = Page("guides/snapshots.md")

#: run -> what happened to the table before it
DAYS = {
    "2026-03-02": [
        "create table customers (customer_id varchar, plan varchar, city varchar, updated_at timestamptz)",
        "insert into customers values ('anna', 'basic', 'Oslo', '2026-03-01 09:00:00+00'),"
        " ('ben', 'basic', 'Rome', '2025-12-01 00:00:00+00')",
        "create table backup as from customers where customer_id = 'ben'",
    ],
    "2026-03-03": [
        "update customers set plan = 'gold', city = 'Bergen', updated_at = '2026-03-02 15:00:00+00'"
        " where customer_id = 'anna'",
        "delete from customers where customer_id = 'ben'",
    ],
    "2026-03-04": ["insert into customers from backup"],
    "2026-03-05": [
        "update customers set plan = 'gold', city = 'Milan', updated_at = '2026-03-04 15:00:00+00'"
        " where customer_id = 'ben'"
    ],
}

#: "Now" is in a table, because another var would make dbt parse everything again each night.
CLOCK = "\n".join(
    f'{kind}: {{+pre-hook: "set variable feature_warehouse_now = (select stands_at from clock)"}}'
    for kind in ("models", "snapshots")
)

NIGHTLY = ("customers_read", "fingerprints_customer_plans_v1", "test_name:history_append_only")

SERVICE = """
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: ["ref('customer_plans', v=1)", "ref('customer_addresses', v=1)"]
    config:
      meta:
        feature_service:
          name: churn
          version: 1
          features:
            - {view: customer_plans.v1, features: [plan]}
            - {view: customer_addresses.v1, features: [city]}
"""

TRAINING = """
{{ feature_warehouse.point_in_time_join(
    spine=ref("visits"), spine_timestamp="asked_at",
    feature_views=[ref("customer_plans", v=1), ref("customer_addresses", v=1)],
) }}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedServer) -> Shop:
    """The page's project, not built yet."""
    _, rows = PAGE.table("training")
    visits = " union all ".join(
        f"select '{customer}' as customer_id, timestamptz '{asked}:00+00' as asked_at" for customer, asked, *_ in rows
    )
    made = Shop(
        tmp_path_factory.mktemp("shop"),
        PAGE.files()
        | {
            "models/services.yml": SERVICE,
            "models/visits.sql": "{{ config(materialized='table') }} " + visits,
            "models/training.sql": TRAINING,
        },
        more=CLOCK,
    )
    made.redis_url = redis_server.url
    return made


def served(shop: Shop) -> dict[str, list[object]]:
    """What is online of each customer: [plan, city]."""
    return {
        customer: list(shop.json("get", "churn", f"customer_id={customer}")["features"].values())
        for customer in ("anna", "ben")
    }


def test_four_nights_of_a_mutable_table_come_out_as_the_page_says(shop: Shop, redis_url: str) -> None:
    online = {}
    for day, changes in DAYS.items():
        shop.sql(*changes, f"create or replace table clock as select '{day}T00:00:00Z' as stands_at")
        # everything on the first and the last day, between them what differs from run to run
        select = [] if day in ("2026-03-02", "2026-03-05") else ["--select", "resource_type:snapshot", *NIGHTLY]
        # a warning would be dbt's that the snapshot mixes zoned and naive times
        shop.dbt("--warn-error", "build", *select)
        if day == "2026-03-02":
            shop.syncer("register")
        shop.syncer("sync", "--as-of", f"{day}T12:00:00Z")
        assert shop.json("verify")["differences"] == 0
        online[day] = served(shop)

    _, rows = PAGE.table("history")
    minute = "'%Y-%m-%d %H:%M'"
    history = shop.sql(
        f"select customer_id, plan, strftime(event_at, {minute}), strftime(known_at, {minute}), is_deleted::varchar"
        " from customer_plans_v1 order by customer_id, known_at"
    )
    assert [list(row) for row in history] == [row[:5] for row in rows]

    _, rows = PAGE.table("training")
    training = shop.sql(
        f"select customer_id, strftime(asked_at, {minute}), ifnull(plan, 'NULL'), ifnull(city, 'NULL') from training"
    )
    assert sorted(training) == sorted(tuple(row[:4]) for row in rows)

    assert [day["anna"] for day in online.values()] == [["basic", "Oslo"], *[["gold", "Bergen"]] * 3]
    assert [day["ben"] for day in online.values()] == [
        ["basic", "Rome"],
        [None, None],
        ["basic", "Rome"],
        ["gold", "Milan"],
    ]
