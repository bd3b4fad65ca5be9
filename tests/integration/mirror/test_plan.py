"""Before anything is written: what a run would do, and what it refuses to do. And the end of a namespace."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.results import assert_held, assert_mirrored, assert_refused, contents
from tests.support.shop import Shop


def test_a_plan_says_what_a_run_does_and_writes_nothing(shop: Shop, server: Any) -> None:
    first = {view["view"]: (view["rows"], view["new"], view["changed"]) for view in shop.json("plan")["views"]}
    assert first == {"orders.v1": (3, 3, 0), "stock.v1": (2, 2, 0), "visits.v1": (2, 2, 0)}
    assert contents(shop.redis_url) == {}
    shop.syncer("sync")
    shop.sql(
        "update orders_v1 set plan = 'silver' where customer_id = 1",
        "delete from orders_v1 where customer_id = 2",
        "insert into orders_v1 by name select * replace (6 as customer_id) from orders_v1 where customer_id = 3",
    )
    before = contents(shop.redis_url)
    orders, stock, _ = shop.json("plan")["views"]
    assert contents(shop.redis_url) == before
    assert [orders[name] for name in ("new", "changed", "removed", "retired", "read_back")] == [1, 1, 1, False, None]
    assert orders["bytes"] > 0
    assert [stock[name] for name in ("new", "changed", "removed", "bytes", "seconds", "memory")] == [0] * 6
    done = shop.json("sync")["views"][0]
    assert (done["written"], done["removed"]) == (2, 1)
    assert_mirrored(shop)


def test_a_plan_is_a_table_for_people_with_what_is_retired(shop: Shop) -> None:
    shop.syncer("sync")
    shop.remove("models/visits.yml", "models/visits_v1.sql", "models/latest_visits_v1.sql")
    shop.remove("models/churn_v1.yml", "models/churn_v2.yml")
    shop.dbt("parse")
    shop.syncer("register")
    heading, *rows, sentence = shop.syncer("plan").partition("\n\n")[0].splitlines()
    assert heading.split() == ["feature", "view", "rows", "new", "changed", "removed", "bytes", "seconds", "memory"]
    assert [row.split()[:6] for row in rows] == [
        ["orders.v1", "3", "0", "0", "0", "0"],
        ["stock.v1", "2", "0", "0", "0", "0"],
        ["visits.v1", "(retired)", "0", "0", "0", "2"],
    ]
    assert sentence.startswith("2 changes to shop_dev on ")
    assert sentence.endswith("; nothing was written.")


def test_long_messages_on_a_redis_that_spreads_them_are_warned_of(shop: Shop, server: Any) -> None:
    name = "hash-max-ziplist-value"
    before = server.config_get(name)[name]
    try:
        server.config_set(name, 8)
        warning = r"up to \d+ bytes, .* compact only up to 8: that costs some 190 bytes an entity, up to 1,330 in all"
        for command in ("plan", "sync"):
            assert re.search(warning, shop.try_syncer(command).stderr)
        planned = shop.json("plan")
        assert planned["compact_limit"] == 8
        more = planned["cost"]["raising"]
        assert (more["limit"], more["raised"]) == (8, 1024)
        assert 0 < more["memory"] < planned["cost"]["memory"]
        assert "With hash-max-listpack-value 1024 in place of 8 it would take about " in shop.syncer("plan")
        server.config_set(name, 4096)
        assert shop.json("plan")["cost"]["raising"]["memory"] == 0
        assert "would take about" not in shop.syncer("plan")
        assert shop.try_syncer("plan").stderr == ""
        server.acl_setuser("blind", enabled=True, nopass=True, commands=["+@all", "-config"], keys=["*"])
        blind = {"SYNCER_REDIS_URL": shop.redis_url.replace("redis://", "redis://blind:x@")}
        assert "is unknown: it does not say (CONFIG)" in shop.syncer("plan", **blind)
        assert shop.try_syncer("sync", **blind).stderr == ""
    finally:
        server.config_set(name, before)
        server.acl_deluser("blind")


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_a_view_that_shrinks_sharply_is_held(command: str, shop: Shop) -> None:
    shop.syncer("sync")
    shop.sql("delete from stock_v1 where warehouse = 'north'")
    shop.sql(
        "insert into stock_v1 by name select * replace ('B-2' as sku) from stock_v1",
        "delete from stock_v1 where sku = 'A-1'",
    )
    before = values(shop)
    words = "stock.v1 would lose 2 of its 2 entities (100%): more than 50% vanish"
    assert_held(shop.try_syncer(command), "stock.v1", words, "--allow-shrink 1")
    assert values(shop) == before
    shop.syncer(command, "--allow-shrink", "1")


def values(shop: Shop) -> dict[bytes, Any]:
    """All that is in Redis but the markers."""
    found = contents(shop.redis_url)
    del found[b"shop_dev:#markers"]
    return found


def test_an_empty_view_is_taken_when_that_is_meant(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.sql("delete from visits_v1")
    before = values(shop)
    assert_held(shop.try_syncer("sync"), "visits.v1", "latest-value view of visits.v1 is empty", "--allow-empty")
    assert values(shop) == before
    assert shop.json("sync", "--allow-empty")["views"][2]["removed"] == 2
    assert not server.exists("shop_dev:customer:5")
    assert_mirrored(shop)


def test_a_namespace_is_dropped_whole_and_nothing_else(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    kept = contents(shop.redis_url)
    shop.syncer("sync", "--namespace", "preview")
    server.hset("preview:customer:1", "theirs", "x")
    looked = shop.syncer("drop", "--namespace", "preview").splitlines()
    assert looked[0] == "orders.v1: 3 entities would go"
    assert looked[-1].endswith(": give --yes.")
    assert server.exists("preview:#registry")
    assert shop.syncer("drop", "--namespace", "preview", "--yes").splitlines()[-1].endswith(" is empty.")
    assert contents(shop.redis_url) == kept | {b"preview:customer:1": {b"theirs": b"x"}}
    shop.syncer("drop", "--namespace", "preview", "--yes")


def test_a_namespace_of_another_project_is_not_dropped(shop: Shop, server: Any) -> None:
    server.set("theirs:#registry", '{"format": 1, "owner": {"project": "bakery", "target": "dev"}}')
    refused = shop.try_syncer("drop", "--namespace", "theirs", "--yes")
    assert_refused(refused, "belongs to the project 'bakery'", "choose another --namespace")


def test_a_limited_run_takes_its_time(shop: Shop) -> None:
    shop.sql(
        "insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00' - i * interval 1 second, i "
        "from range(100, 300) as t(i)"
    )
    views = shop.json("sync", "--max-rows-per-second", "400")["views"]
    assert views[2]["seconds"] > 0.4
    assert_mirrored(shop)
