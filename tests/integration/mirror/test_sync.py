"""Sync, verify and read together: Redis is an exact mirror of the latest-value views, and every difference is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from feature_warehouse import FeatureClient
from feature_warehouse.errors import WarehouseError
from feature_warehouse.mirror import lease
from feature_warehouse.mirror.lease import Writer
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.manifest import load_manifest
from feature_warehouse.project.profile import Output
from feature_warehouse.registry.document import load_registry
from feature_warehouse.store.session import Session
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.warehouse.latest import spool_latest
from feature_warehouse.wire.encode import Encoder
from tests.support.results import assert_mirrored, assert_refused, contents, differences, marker
from tests.support.shop import CHURN_2, NOW, TRANSFER, VISITS, Shop, latest

NOW_TIME = datetime(2026, 1, 10, tzinfo=timezone.utc)


def fields(server: Any, key: str) -> set[bytes]:
    return set(server.hkeys(key))


# --- the mirror


def test_before_the_first_sync_every_row_is_missing_and_after_it_none(shop: Shop) -> None:
    assert differences(shop) == {"orders.v1": (3, 0, 0), "stock.v1": (2, 0, 0), "visits.v1": (2, 0, 0)}
    shop.syncer("sync")
    assert_mirrored(shop)


def test_what_is_read_is_what_the_warehouse_holds(shop: Shop) -> None:
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        found = client.get_online_features("churn@1", [{"customer_id": n} for n in range(1, 6)])
    assert found.service == "churn@1"
    assert found.names == ("orders_30d", "plan", "visits_7d")
    assert found.values == ((2, "gold", 12), (7, None, None), (3, "basic", None), (None, None, None), (None, None, 1))
    assert found.statuses == (
        ("present", "present", "present"),
        ("present", "null", "missing"),
        ("present", "present", "missing"),
        ("missing", "missing", "missing"),  # expired before the sync: the latest-value view leaves it out
        ("missing", "missing", "present"),
    )


def test_a_second_sync_takes_over_what_came_changed_and_went(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.sql(
        "update orders_v1 set plan = 'silver' where customer_id = 1",  # a correction: the event time is the same
        "delete from orders_v1 where customer_id = 2",
        "insert into orders_v1 by name select * replace (6 as customer_id) from orders_v1 where customer_id = 3",
        "update visits_v1 set event_at = event_at - interval 1 hour, visits_7d = null where customer_id = 1",
    )
    assert differences(shop) == {"orders.v1": (1, 1, 1), "visits.v1": (0, 1, 0)}
    synced = {view["view"]: (view["rows"], view["removed"]) for view in shop.json("sync")["views"]}
    assert synced == {"orders.v1": (3, 1), "stock.v1": (2, 0), "visits.v1": (2, 0)}
    assert_mirrored(shop)
    assert shop.json("get", "churn@1", "customer_id=1")["features"]["plan"] == "silver"
    assert not server.exists("shop_dev:customer:2")  # its last field is gone, and the key with it
    assert fields(server, "shop_dev:customer:6") == {b"orders:1"}


def test_a_sync_without_changes_leaves_every_value_as_it_was(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    before = contents(shop.redis_url)
    shop.syncer("sync")
    after = contents(shop.redis_url)
    del before[b"shop_dev:#markers"], after[b"shop_dev:#markers"]  # each run has a token of its own
    assert before == after


def test_views_of_one_entity_share_its_key_and_do_not_disturb_each_other(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    assert fields(server, "shop_dev:customer:1") == {b"orders:1", b"visits:1"}
    visits = server.hget("shop_dev:customer:1", "visits:1")
    shop.sql("delete from orders_v1 where customer_id = 1")
    shop.syncer("sync")
    assert server.hgetall("shop_dev:customer:1") == {b"visits:1": visits}


def test_more_rows_than_one_batch(shop: Shop) -> None:
    shop.sql(
        "insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00' - i * interval 1 second, i "
        "from range(100, 25100) as t(i)"
    )
    shop.syncer("sync", "--select", "visits")
    assert shop.json("verify", "--select", "visits")["views"][0]["rows"] == 25002
    shop.sql("delete from visits_v1 where customer_id >= 100 and customer_id % 5 > 0")
    assert shop.json("sync", "--select", "visits", "--allow-shrink", "0.8")["views"][0]["removed"] == 20000
    assert shop.json("verify", "--select", "visits")["views"][0]["rows"] == 5002


def test_only_the_selected_views_are_touched(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    before = marker(server, "orders:1")
    shop.sql("delete from orders_v1 where customer_id = 2", "delete from visits_v1 where customer_id = 5")
    assert [view["view"] for view in shop.json("sync", "--select", "visits stock")["views"]] == [
        "stock.v1",
        "visits.v1",
    ]
    assert differences(shop) == {"orders.v1": (0, 0, 1)}
    assert marker(server, "orders:1") == before
    assert shop.try_syncer("verify", "--select", "visits").exit_code == 0
    assert shop.try_syncer("verify", "--select", "latest_orders_v1").exit_code == 1


def test_nothing_outside_the_namespace_is_touched(shop: Shop, server: Any) -> None:
    foreign = {
        "unrelated": "1",
        "shop_dev": "2",
        "shop_dev2:customer:2": "3",
        "shop_dev:customers:2": "4",
        "shop_dev:customer": "5",
    }
    for key, value in foreign.items():
        server.set(key, value)
    shop.syncer("sync")
    shop.sql("delete from orders_v1 where customer_id = 2")
    shop.syncer("sync")
    assert {key: server.get(key).decode() for key in foreign} == foreign


def test_two_namespaces_live_in_one_redis(shop: Shop, server: Any) -> None:
    shop.syncer("sync", "--namespace", "one")
    shop.syncer("sync", "--namespace", "two")
    before = {key: value for key, value in contents(shop.redis_url).items() if key.startswith(b"two:")}
    assert len(before) == 8  # six entities, registry and markers
    shop.sql("delete from orders_v1 where customer_id = 2", "update visits_v1 set visits_7d = 0")
    shop.syncer("sync", "--namespace", "one")
    after = {key: value for key, value in contents(shop.redis_url).items() if key.startswith(b"two:")}
    assert after == before
    assert shop.json("get", "churn@1", "customer_id=1", "--namespace", "one")["features"]["visits_7d"] == 0
    assert shop.json("get", "churn@1", "customer_id=1", "--namespace", "two")["features"]["visits_7d"] == 12


# --- what leaves and what comes


def test_a_view_version_that_leaves_the_project_is_emptied_and_its_marker_goes(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.remove("models/visits.yml", "models/visits_v1.sql", "models/latest_visits_v1.sql")
    shop.remove("models/churn_v1.yml", "models/churn_v2.yml")
    shop.dbt("parse")
    assert shop.json("register")["changes"] == ["visits.v1: retired", "churn@1: retired", "churn@2: retired"]
    assert differences(shop) == {"visits.v1": (0, 0, 2)}
    shop.syncer("sync", "--select", "orders")
    assert differences(shop) == {"visits.v1": (0, 0, 2)}  # a selection says nothing about what has left
    synced = {view["view"]: view["removed"] for view in shop.json("sync")["views"]}
    assert synced == {"orders.v1": 0, "stock.v1": 0, "visits.v1": 2}
    assert_mirrored(shop)
    assert not server.hexists("shop_dev:#markers", "visits:1")
    assert fields(server, "shop_dev:customer:1") == {b"orders:1"}
    assert not server.exists("shop_dev:customer:5")
    assert "visits.v1" not in [view["view"] for view in shop.json("sync")["views"]]


def test_a_second_version_lives_beside_the_first(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.replace("models/visits.yml", "[{v: 1}]", "[{v: 1}, {v: 2}]")
    shop.write("models/visits_v2.sql", VISITS.replace("cast(visits_7d as", "cast(visits_7d * 10 as"))
    third = CHURN_2.replace("ref('visits', v=1)", "ref('visits', v=2)").replace("visits.v1", "visits.v2")
    shop.write("models/churn_v3.yml", third.replace("churn_v2", "churn_v3").replace("version: 2", "version: 3"))
    for path, text in latest("visits", 2).items():
        shop.write(path, text)
    shop.dbt("run", "--select", "visits", "latest_visits_v2")
    shop.syncer("register")
    shop.syncer("sync")
    assert_mirrored(shop)
    assert fields(server, "shop_dev:customer:1") == {b"orders:1", b"visits:1", b"visits:2"}
    assert shop.json("get", "churn@2", "customer_id=1", "amount=1")["features"]["visits_7d"] == 12
    assert shop.json("get", "churn", "customer_id=1", "amount=1")["features"]["visits_7d"] == 120


def test_a_reader_that_runs_on_sees_a_changed_registry_after_one_look(shop: Shop, server: Any) -> None:
    shop.remove("models/churn_v2.yml", "registry/registry.json")
    shop.dbt("parse")
    shop.syncer("register")
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        row = [{"customer_id": 1, "amount": 51.0}]
        assert client.get_online_features("churn", row).service == "churn@1"
        shop.write("models/churn_v2.yml", CHURN_2)
        shop.dbt("parse")
        shop.syncer("register")
        shop.syncer("sync")
        server.config_resetstat()
        assert client.get_online_features("churn", row).rows()[0]["plan"] == "gold"
        assert client.get_online_features("churn", row).service == "churn@2"
        assert client.get_online_features("churn@2", row).rows()[0]["basket"] == [1.5, 2.0]
        assert calls(server, "get") == 1


def test_a_reader_that_runs_on_finds_a_service_that_came_later(shop: Shop) -> None:
    shop.remove("models/transfer.yml", "registry/registry.json")
    shop.dbt("parse")
    shop.syncer("register")
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        client.get_online_features("churn@1", [{"customer_id": 1}])
        shop.write("models/transfer.yml", TRANSFER)
        shop.dbt("parse")
        shop.syncer("register")
        shop.syncer("sync")
        row = {"source": "north", "target": "south", "sku": "A-1"}
        assert client.get_online_features("transfer", [row]).rows()[0]["source_in_stock"] == 40


# --- verify


def set_bytes(key: str, field: str, change: Callable[[bytes], bytes]) -> Callable[[Any], None]:
    def corrupt(server: Any) -> None:
        server.hset(key, field, change(server.hget(key, field)))

    return corrupt


@pytest.mark.parametrize(
    ("corrupt", "found", "example"),
    [
        pytest.param(
            set_bytes("shop_dev:customer:1", "orders:1", lambda message: message[:-1] + bytes([message[-1] ^ 1])),
            {"orders.v1": (0, 1, 0)},
            "orders.v1: different shop_dev:customer:1",
            id="one_bit",
        ),
        pytest.param(
            set_bytes("shop_dev:customer:1", "orders:1", lambda message: message + b"\x00"),
            {"orders.v1": (0, 1, 0)},
            "orders.v1: different shop_dev:customer:1",
            id="one_byte_more",
        ),
        pytest.param(
            set_bytes("shop_dev:customer:2", "orders:1", lambda _: b""),
            {"orders.v1": (0, 1, 0)},
            "orders.v1: different shop_dev:customer:2",
            id="empty",
        ),
        pytest.param(
            lambda server: server.hdel("shop_dev:customer:1", "visits:1"),
            {"visits.v1": (1, 0, 0)},
            "visits.v1: missing shop_dev:customer:1",
            id="one_field_missing",
        ),
        pytest.param(
            lambda server: server.delete("shop_dev:item:north|A-1"),
            {"stock.v1": (1, 0, 0)},
            "stock.v1: missing shop_dev:item:north|A-1",
            id="one_entity_missing",
        ),
        pytest.param(
            lambda server: server.hset("shop_dev:customer:99", "visits:1", b"x"),
            {"visits.v1": (0, 0, 1)},
            "visits.v1: extra shop_dev:customer:99",
            id="one_entity_more",
        ),
        pytest.param(
            lambda server: server.hset("shop_dev:customer:5", "orders:1", b"x"),
            {"orders.v1": (0, 0, 1)},
            "orders.v1: extra shop_dev:customer:5",
            id="one_field_more",
        ),
        pytest.param(
            lambda server: server.rename("shop_dev:customer:2", "shop_dev:customer:02"),
            {"orders.v1": (1, 0, 1)},
            "orders.v1: extra shop_dev:customer:02",
            id="another_text_of_the_key",
        ),
        pytest.param(
            lambda server: server.flushall(),
            {"orders.v1": (3, 0, 0), "stock.v1": (2, 0, 0), "visits.v1": (2, 0, 0)},
            "orders.v1: missing shop_dev:customer:1",
            id="flushed",
        ),
    ],
)
def test_verify_finds_what_is_not_as_in_the_warehouse_and_mends_it(
    corrupt: Callable[[Any], object],
    found: dict[str, tuple[int, int, int]],
    example: str,
    shop: Shop,
    server: Any,
) -> None:
    shop.syncer("sync")
    corrupt(server)
    assert differences(shop) == found
    verified = shop.try_syncer("verify")
    assert verified.exit_code == 1
    assert example in verified.stdout.splitlines()
    assert verified.stderr == "Hint: run `syncer verify --repair`, or `syncer sync` where the warehouse has changed.\n"
    assert shop.syncer("verify", "--repair").splitlines()[-1].startswith("Mended: ")
    assert_mirrored(shop)


def test_a_row_of_an_earlier_sync_is_found(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    stale = server.hget("shop_dev:customer:1", "visits:1")
    shop.sql("update visits_v1 set visits_7d = 13 where customer_id = 1")
    shop.syncer("sync")
    server.hset("shop_dev:customer:1", "visits:1", stale)
    assert differences(shop) == {"visits.v1": (0, 1, 0)}


def test_a_key_of_another_type_is_found_by_name(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    server.delete("shop_dev:customer:1")
    server.set("shop_dev:customer:1", "x")
    assert_refused(shop.try_syncer("verify"), "the key shop_dev:customer:1: WRONGTYPE", "remove it")


def test_verify_changes_nothing(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    server.hset("shop_dev:customer:99", "visits:1", b"x")
    before = contents(shop.redis_url)
    shop.try_syncer("verify")
    assert contents(shop.redis_url) == before


def test_a_mirror_is_compared_as_of_its_own_instant(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", "2026-01-09T08:30:00Z")
    assert_mirrored(shop)  # the project's clock stands later, where there are more rows
    assert shop.try_syncer("verify", "--as-of", "2026-02-01T00:00:00Z").exit_code == 0
    shop.syncer("sync")
    assert_mirrored(shop)


# --- runs that meet


def test_while_a_run_writes_a_view_another_one_is_kept_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_PATIENCE", 0.01)
    met = meet(monkeypatch, lambda: shop.try_syncer("sync", "--select", "orders"), during=Session.send)
    shop.syncer("sync", "--select", "orders")
    assert_refused(met[0], f"another sync is writing orders.v1 into 'shop_dev' (process {os.getpid()} on", "one run at")
    assert_mirrored_views(shop, "orders")


def test_a_run_that_read_the_warehouse_before_another_one_wrote_does_not_write_after_it(
    shop: Shop, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_and_sync() -> Result:
        shop.sql("update orders_v1 set plan = 'silver'")
        return shop.try_syncer("sync", "--select", "orders")

    met = meet(monkeypatch, change_and_sync, during=Writer.acquire)
    late = shop.try_syncer("sync", "--select", "orders")
    assert met[0].exit_code == 0, met[0].output
    assert_refused(late, "another sync wrote orders.v1 into 'shop_dev' at the same time", "a newer warehouse")
    assert marker(server, "orders:1")["state"] == "done"
    assert_mirrored_views(shop, "orders")


def meet(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any], during: Callable[..., Any]) -> list[Any]:
    """Has ``run`` happen within the next call of the method ``during``, once; the list gets its result."""
    owner = {"Session": Session, "Writer": Writer}[during.__qualname__.partition(".")[0]]
    met: list[Result] = []

    def meeting(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, during.__name__, during)
        met.append(run())
        return during(*args, **kwargs)

    monkeypatch.setattr(owner, during.__name__, meeting)
    return met


def assert_mirrored_views(shop: Shop, selection: str) -> None:
    assert shop.try_syncer("verify", "--select", selection).exit_code == 0


# --- runs that end half-way


def test_a_first_run_that_ends_half_way_gives_nothing_to_read_and_the_next_one_repairs_it(
    shop: Shop, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(monkeypatch, lambda: server.set("shop_dev:customer:3", "in the way"), during=Writer.send)
    assert_refused(shop.try_syncer("sync"), "refused the key shop_dev:customer:3: WRONGTYPE", "remove it")
    assert (marker(server, "orders:1")["state"], marker(server, "orders:1")["as_of"]) == ("open", None)
    read = ["get", "churn@1", "customer_id=1"]
    assert_refused(shop.try_syncer(*read), "was never completely synced", "`syncer sync`")
    server.delete("shop_dev:customer:3")
    shop.syncer("sync")
    assert marker(server, "orders:1")["state"] == "done"
    assert_mirrored(shop)


def test_a_later_run_that_ends_half_way_leaves_the_facts_of_the_last_complete_one(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    complete = marker(server, "orders:1")
    shop.sql(
        "update orders_v1 set plan = 'silver'",
        "insert into orders_v1 by name select * replace (6 as customer_id) from orders_v1 where customer_id = 2",
        "delete from orders_v1 where customer_id = 2",
    )
    server.set("shop_dev:customer:6", "in the way")
    assert shop.try_syncer("sync", "--allow-shrink", "1", "--as-of", "2026-01-10T00:00:01Z").exit_code == 1
    opened = marker(server, "orders:1")
    assert opened["token"] != complete["token"]
    assert opened == complete | {"state": "open", "token": opened["token"]}
    assert shop.json("get", "churn", "customer_id=1", "amount=1")["features"]["visits_7d"] == 12
    server.delete("shop_dev:customer:6")
    shop.syncer("sync")
    assert_mirrored(shop)
    assert not server.exists("shop_dev:customer:2")


def test_rows_that_no_marker_tells_of_are_removed_too(shop: Shop, server: Any) -> None:
    """Markers can be lost: evicted, or deleted by hand."""
    shop.syncer("sync")
    server.delete("shop_dev:#markers", "shop_dev:#registry")
    shop.sql("delete from orders_v1 where customer_id = 2")
    shop.syncer("sync")
    assert_mirrored(shop)


# --- time


def test_a_marker_tells_what_was_synced(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    found = marker(server, "orders:1")
    assert len(found.pop("token")) == 16
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(found.pop("published_at"))).total_seconds() < 60
    keys = [f"shop_dev:customer:{id_}" for id_ in (1, 2, 3)]
    assert found == {
        "state": "done",
        "entity": "customer",
        "as_of": "2026-01-10T00:00:00+00:00",
        "clock": "fixed",
        "newest_available_at": "2026-01-08T09:00:00+00:00",
        "rows": 3,
        "complete_through": 5,
        "key_bytes": sum(map(len, keys)),
        "message_bytes": sum(server.hstrlen(key, "orders:1") for key in keys),
        "rolled_back": False,
        "held": None,
    }
    assert marker(server, "visits:1")["newest_available_at"] == "2026-01-09T09:00:00+00:00"


def test_without_a_clock_of_its_own_a_project_is_synced_at_the_real_time(shop: Shop, server: Any) -> None:
    shop.replace("dbt_project.yml", f'feature_warehouse_now: "{NOW}"', "")
    os.utime(shop.folder / "dbt_project.yml", (0, 0))  # the manifest says nothing of it
    before = datetime.now(timezone.utc)
    shop.syncer("sync", "--select", "visits")
    found = marker(server, "visits:1")
    assert found["clock"] == "real"
    assert before <= datetime.fromisoformat(found["as_of"]) <= datetime.now(timezone.utc)
    shop.syncer("sync", "--select", "visits", "--as-of", NOW)
    assert marker(server, "visits:1")["clock"] == "fixed"


@pytest.mark.parametrize(
    "now",
    [
        NOW_TIME,
        datetime(2026, 1, 10, 0, 0, 0, 1, timezone.utc),  # customer 3 has lasted exactly 30 days before
        datetime(2026, 2, 4, 8, tzinfo=timezone.utc),
        datetime(2026, 2, 4, 8, 0, 0, 1, timezone.utc),  # and customer 1
        datetime(2026, 3, 1, tzinfo=timezone.utc),
    ],
)
def test_time_expires_online_what_it_expires_in_the_warehouse(now: datetime, shop: Shop) -> None:
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev", as_of=now)) as client:
        found = client.get_online_features("churn@1", [{"customer_id": n} for n in (1, 2, 3)])
    online = {n for n, status in zip((1, 2, 3), found.statuses, strict=True) if status[0] != "expired"}
    in_warehouse = shop.sql(
        f"set variable feature_warehouse_now = '{now.isoformat()}'", "select customer_id from latest_orders_v1"
    )
    assert online == {customer for (customer,) in in_warehouse}


def test_a_fixed_clock_goes_with_the_data_to_the_reader(shop: Shop) -> None:
    """By the real time all of it has long expired; the reader was told nothing."""
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        assert client.get_online_features("churn@1", [{"customer_id": 3}]).statuses[0][0] == "present"
    assert (
        shop.json("get", "churn@1", "customer_id=3", "--as-of", "2026-01-10T00:00:01Z")["statuses"]["plan"] == "expired"
    )


def test_a_row_of_the_future_waits_for_its_time(shop: Shop) -> None:
    shop.sql("update visits_v1 set event_at = '2026-01-10 00:00:01+00' where customer_id = 5")
    assert shop.json("sync")["views"][2]["rows"] == 1
    assert shop.json("sync", "--as-of", "2026-01-10T00:00:01Z")["views"][2]["rows"] == 2


# --- one round trip


def calls(server: Any, command: str) -> int:
    return int(server.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_a_read_is_one_round_trip_with_each_entity_once(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    rows = [
        {"source": "north", "target": "south", "sku": "A-1"},
        {"source": "south", "target": "north", "sku": "A-1"},
        {"source": "north", "target": "west", "sku": "A-1"},
    ] * 50
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        client.get_online_features("transfer", rows)  # learns the registry
        server.config_resetstat()
        found = client.get_online_features("transfer", rows)
        reads = server.info("stats")["total_reads_processed"]
    assert calls(server, "hmget") == 4  # three entities and the markers
    assert calls(server, "get") == calls(server, "hget") == calls(server, "hgetall") == 0
    assert reads == 2  # ours, and the one that asks
    assert len(found.values) == 150
    assert found.values[:3] == ((40, 0, None), (0, 40, datetime(2026, 1, 8).date()), (40, None, None))
    assert found.statuses[2] == ("present", "missing", "missing")


def test_views_of_one_entity_come_with_one_command(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    with closing(FeatureClient(shop.redis_url, "shop_dev")) as client:
        client.get_online_features("churn@1", [{"customer_id": 1}])
        server.config_resetstat()
        client.get_online_features("churn@1", [{"customer_id": 1}, {"customer_id": "1"}, {"customer_id": 2}])
    assert calls(server, "hmget") == 3


# --- the warehouse's reader needs no more than it says


def output(shop: Shop, settings: dict[str, Any] | None = None) -> Output:
    return Output(adapter="duckdb", path=str(shop.database), catalog="shop", schema="main", settings=settings or {})


def test_a_warehouse_is_read_without_pytz(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB wants it for each time with a zone that becomes a Python object; dbt brings it, the syncer does not."""
    declared = read_declarations(load_manifest(shop.folder / "target/manifest.json")).views["orders.v1"]
    served = load_registry(shop.folder / "registry/registry.json", "shop").views["orders.v1"]
    monkeypatch.setitem(sys.modules, "pytz", None)
    with open_warehouse(output(shop)) as warehouse:
        read = spool_latest(warehouse, declared, Encoder("shop_dev", served), NOW_TIME, tmp_path)
    assert read.spool.rows == 3
    assert read.newest_available_at == datetime(2026, 1, 8, 9, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, ["244.1 MiB", 2]),
        ({"threads": "3"}, ["244.1 MiB", 3]),
        ({"memory_limit": "1GiB", "threads": "3"}, ["1.0 GiB", 3]),
        ({"Max_Memory": "1GiB", "threads": "3"}, ["1.0 GiB", 3]),
    ],
)
def test_reading_keeps_within_a_fixed_memory_unless_the_profile_says_otherwise(
    shop: Shop, tmp_path: Path, settings: dict[str, str], limit: list[object]
) -> None:
    declared = read_declarations(load_manifest(shop.folder / "target/manifest.json")).views["orders.v1"]
    served = load_registry(shop.folder / "registry/registry.json", "shop").views["orders.v1"]
    with open_warehouse(output(shop, settings)) as warehouse:
        for _ in range(2):
            spool_latest(warehouse, declared, Encoder("shop_dev", served), NOW_TIME, tmp_path)
        names = ("memory_limit", "threads", "temp_directory")
        found = warehouse.query("select " + ", ".join(f"current_setting('{name}') as {name}" for name in names))
        assert [*found.read_all().to_pylist()[0].values()] == [*limit, str(tmp_path / "spilled")]


@pytest.mark.parametrize("limit", [None, "1GiB"])
def test_a_value_that_is_too_long_for_this_memory_says_where_to_give_more(
    limit: str | None, shop: Shop, tmp_path: Path
) -> None:
    shop.sql("update orders_v1 set plan = repeat('x', 80_000_000) where customer_id = 1")
    declared = read_declarations(load_manifest(shop.folder / "target/manifest.json")).views["orders.v1"]
    served = load_registry(shop.folder / "registry/registry.json", "shop").views["orders.v1"]
    with open_warehouse(output(shop, {"memory_limit": limit} if limit else {})) as warehouse:

        def read() -> int:
            return spool_latest(warehouse, declared, Encoder("shop_dev", served), NOW_TIME, tmp_path).spool.longest

        if limit:
            assert read() > 80_000_000
        else:
            with pytest.raises(WarehouseError, match=r"orders\.v1 takes more memory than DuckDB may use") as refused:
                read()
            assert "settings: {memory_limit: 2GB}" in refused.value.hint


def test_what_is_remembered_is_its_owners_alone(shop: Shop) -> None:
    remembered = shop.folder / ".syncer"
    remembered.mkdir(mode=0o755)  # as it was made before
    shop.syncer("sync")
    assert remembered.stat().st_mode & 0o777 == 0o700
    assert any(remembered.rglob("*.arrow"))
