"""Only what differs is sent: by what the last run remembers, or by what Redis holds, and never by a guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_warehouse.mirror import lease
from tests.support.results import assert_mirrored, contents, marker
from tests.support.shop import CHURN_2, Shop


def commands(server: Any, run: Callable[[], Any]) -> dict[str, int]:
    """How often each command was called while ``run`` ran; 'features' counts the HSET and HDEL of feature keys alone.

    Every other HSET and HDEL is of a marker or of a lease, whose keys begin with #.
    """
    server.config_set("slowlog-max-len", 100_000)
    before = server.config_get("slowlog-log-slower-than")
    server.config_set("slowlog-log-slower-than", 0)
    server.slowlog_reset()
    run()
    calls: dict[str, int] = {"features": 0}
    for entry in server.slowlog_get(-1):
        name, *arguments = entry["command"].split(b" ")
        calls[name.decode().lower()] = calls.get(name.decode().lower(), 0) + 1
        calls["features"] += name in (b"HSET", b"HDEL") and b":#" not in arguments[0]
    server.config_set("slowlog-log-slower-than", before["slowlog-log-slower-than"])
    return calls


def synced(shop: Shop, *options: str) -> dict[str, tuple[int, int, bool]]:
    """(written, removed, whether Redis was read back) by view."""
    views = shop.json("sync", *options)["views"]
    return {view["view"]: (view["written"], view["removed"], view["read_back"] is not None) for view in views}


UNCHANGED = {"orders.v1": (0, 0, False), "stock.v1": (0, 0, False), "visits.v1": (0, 0, False)}


def test_a_run_without_changes_sends_no_feature_and_reads_none_back(shop: Shop, server: Any) -> None:
    assert synced(shop) == {"orders.v1": (3, 0, True), "stock.v1": (2, 0, True), "visits.v1": (2, 0, True)}
    before = marker(server, "orders:1")
    calls = commands(server, lambda: shop.syncer("sync", "--as-of", "2026-01-09T23:59:59Z"))
    assert calls["features"] == 0
    assert not {"hget", "scan"} <= calls.keys()
    after = marker(server, "orders:1")
    assert (after["state"], after["as_of"]) == ("done", "2026-01-09T23:59:59+00:00")
    assert after["token"] != before["token"]
    assert_mirrored(shop)


def test_only_what_changed_is_sent(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.sql(
        "update orders_v1 set plan = 'silver' where customer_id = 1",
        "delete from orders_v1 where customer_id = 2",
        "insert into visits_v1 values (7, '2026-01-09 08:00:00+00', 1)",
    )
    calls = commands(server, lambda: shop.syncer("sync"))
    assert (calls["features"], calls.get("scan")) == (3, None)
    assert_mirrored(shop)


@pytest.mark.parametrize(
    "change",
    [
        "plan = ''",  # from NULL
        "basket = null",  # from []
        "spent = 99.98",
        "event_at = event_at - interval 1 microsecond",
        "orders_30d = null",
    ],
)
def test_a_correction_is_a_change_however_small(change: str, shop: Shop) -> None:
    shop.syncer("sync")
    shop.sql(f"update orders_v1 set {change} where customer_id = 2")
    assert synced(shop)["orders.v1"] == (1, 0, False)
    assert_mirrored(shop)


def test_zero_minus_zero_and_no_number_are_told_apart(shop: Shop) -> None:
    for value in ("[0.0]", "['-0.0']", "['nan']", "['inf']", "[]", "null"):
        shop.sql(f"update orders_v1 set basket = {value} where customer_id = 2")
        assert synced(shop)["orders.v1"][0] == (3 if value == "[0.0]" else 1)
        assert_mirrored(shop)


def test_expiry_is_a_difference(shop: Shop) -> None:
    shop.syncer("sync")
    assert synced(shop, "--as-of", "2026-01-10T00:00:00.000001Z")["orders.v1"] == (0, 1, False)  # 30 days are over
    assert_mirrored(shop)


def test_a_new_feature_number_changes_messages_that_have_the_feature(shop: Shop) -> None:
    shop.remove("models/churn_v2.yml", "registry/registry.json")
    shop.dbt("parse")
    shop.syncer("register")
    shop.syncer("sync")
    shop.write("models/churn_v2.yml", CHURN_2)
    shop.dbt("parse")
    shop.syncer("register")
    assert synced(shop) == UNCHANGED | {"orders.v1": (3, 0, False)}
    assert_mirrored(shop)


def touch_state(change: Callable[[Path], Any], pattern: str) -> Callable[[Shop, Any], None]:
    def change_all(shop: Shop, _: Any) -> None:
        found = list((shop.folder / ".syncer").rglob(pattern))
        assert found
        for path in found:
            change(path)

    return change_all


def set_fact(name: str, value: object) -> Callable[[Path], Any]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))


def hand_edit(*command: str) -> Callable[[Shop, Any], None]:
    return lambda _, server: server.execute_command(*command)


def move_evicted_keys(shop: Shop, server: Any) -> None:
    """Redis evicts some other key."""
    server.set("a key", "x" * 100_000)
    used = server.info("memory")["used_memory"]
    server.config_set("maxmemory-policy", "volatile-lru")
    server.expire("a key", 1000)
    server.config_set("maxmemory", used - 50_000)
    for _ in range(10):
        server.set("another", "y")
        if server.info("stats")["evicted_keys"]:
            break
    server.config_set("maxmemory", 0)
    server.config_set("maxmemory-policy", "noeviction")
    server.delete("another")


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        pytest.param(touch_state(Path.unlink, "*.json"), "no state of it here", id="gone"),
        pytest.param(touch_state(Path.unlink, "*.arrow"), "no state of it here", id="spool_gone"),
        pytest.param(touch_state(lambda p: p.write_bytes(p.read_bytes()[:-9]), "*.arrow"), "damaged", id="torn"),
        pytest.param(
            touch_state(lambda p: p.write_bytes(p.read_bytes().replace(b"customer:1", b"customer:9")), "*.arrow"),
            "damaged",
            id="altered",
        ),
        pytest.param(
            touch_state(lambda p: p.write_bytes(p.read_bytes()[:40]), "*.json"), "cannot be read", id="torn_json"
        ),
        pytest.param(touch_state(lambda p: p.write_text("[]"), "*.json"), "cannot be read", id="other_json"),
        pytest.param(touch_state(set_fact("format", 9), "*.json"), "has format 9", id="other_format"),
        pytest.param(touch_state(set_fact("token", "x"), "*.json"), "another run has written it", id="other_token"),
        pytest.param(touch_state(set_fact("server", "x/0"), "*.json"), "was restarted", id="other_server"),
        pytest.param(move_evicted_keys, "has evicted keys", id="evicted"),
        pytest.param(hand_edit("DEL", "shop_dev:#markers"), "no marker", id="markers_gone"),
    ],
)
def test_a_state_that_cannot_be_trusted_costs_a_read_back_and_nothing_else(
    break_it: Callable[[Shop, Any], None],
    reason: str,
    shop: Shop,
    server: Any,
) -> None:
    shop.syncer("sync")
    shop.sql("update orders_v1 set plan = 'silver' where customer_id = 1")
    break_it(shop, server)
    done = shop.json("sync")["views"][0]
    assert reason in done["read_back"]
    assert (done["written"], done["removed"]) == (1, 0)
    assert_mirrored(shop)
    assert synced(shop) == UNCHANGED


def test_what_was_lost_behind_the_marker_is_found_by_a_full_run(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    server.hset("shop_dev:customer:1", "visits:1", b"stale")
    server.delete("shop_dev:customer:5")
    assert synced(shop) == UNCHANGED  # nobody said so
    assert synced(shop, "--full") == {"orders.v1": (0, 0, True), "stock.v1": (0, 0, True), "visits.v1": (2, 0, True)}
    assert_mirrored(shop)


def test_a_flush_is_noticed_and_all_of_it_comes_back(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    before = contents(shop.redis_url)
    server.flushall()
    shop.syncer("sync")
    after = contents(shop.redis_url)
    del before[b"shop_dev:#markers"], after[b"shop_dev:#markers"]
    assert after == before


def test_a_copy_of_an_earlier_redis_is_noticed(shop: Shop, server: Any) -> None:
    """A restore brings an older token with the older rows."""
    shop.syncer("sync")
    backup = {key: server.dump(key) for key in server.scan_iter()}
    shop.sql("update orders_v1 set plan = 'silver'", "delete from visits_v1 where customer_id = 5")
    shop.syncer("sync")
    server.flushall()
    for key, value in backup.items():
        server.restore(key, 0, value)
    assert synced(shop) == {"orders.v1": (3, 0, True), "stock.v1": (0, 0, True), "visits.v1": (0, 1, True)}
    assert_mirrored(shop)


def test_each_redis_and_each_namespace_is_remembered_by_itself(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    url = shop.redis_url
    shop.redis_url = f"{url.removesuffix('/0')}/1"
    with redis.Redis.from_url(shop.redis_url) as other:
        assert synced(shop)["orders.v1"] == (3, 0, True)
        assert synced(shop, "--namespace", "elsewhere")["orders.v1"] == (3, 0, True)
        assert synced(shop) == UNCHANGED
        other.flushdb()
    shop.redis_url = url
    assert synced(shop) == UNCHANGED


def test_where_nothing_can_be_remembered_every_run_reads_back(shop: Shop) -> None:
    (shop.folder / ".syncer").write_text("in the way")
    shop.syncer("sync")
    assert synced(shop) == {"orders.v1": (0, 0, True), "stock.v1": (0, 0, True), "visits.v1": (0, 0, True)}
    assert_mirrored(shop)


def test_the_folder_of_states_is_kept_out_of_git_and_holds_one_state_a_view(shop: Shop) -> None:
    for plan in ("silver", "gold", "none"):
        shop.sql(f"update orders_v1 set plan = '{plan}'")
        shop.syncer("sync")
    folder = shop.folder / ".syncer"
    assert (folder / ".gitignore").read_text() == "*\n"
    assert sorted(path.suffix for path in folder.rglob("*.v1.*")) == [".arrow"] * 3 + [".json"] * 3
    assert not list(folder.glob("run_*"))


def test_the_lease_is_given_back(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    assert list(server.scan_iter("*#lease*")) == []
    server.set("shop_dev:customer:3", "in the way")
    assert shop.try_syncer("sync", "--full").exit_code == 1
    assert list(server.scan_iter("*#lease*")) == []


def test_the_lease_of_a_process_that_is_gone_is_taken_at_once(shop: Shop, server: Any) -> None:
    gone = json.loads(lease.Holder.own()) | {"pid": 2**22 + 1}
    server.hset("shop_dev:#lease:orders:1", "0123456789abcdef", json.dumps(gone))
    shop.syncer("sync")
    assert_mirrored(shop)
