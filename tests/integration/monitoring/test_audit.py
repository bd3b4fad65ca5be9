"""What was served, against what training knows: an honest run passes, and every seeded skew is found."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_warehouse import AsyncFeatureClient, FeatureClient, ServedLog
from tests.support.pages import Page
from tests.support.shop import FILES, ORDERS, Shop

CUSTOMERS = [{"customer_id": id_, "amount": 51.0} for id_ in (1, 2, 3, 4, 5, 404, None)]

#: Customer 1 ordered on 5 January at 08:00, which was known at 09:00.
KNOWN = datetime(2026, 1, 5, 9, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("audit"), FILES)
    shop.dbt("build")
    shop.syncer("register")
    return shop


@pytest.fixture
def shop(built: Shop, tmp_path: Path, redis_url: str) -> Shop:
    return built.copied(tmp_path / "shop", redis_url)


def sync(shop: Shop, at: datetime) -> None:
    shop.syncer("sync", "--as-of", at.isoformat(), "--allow-shrink", "1", "--allow-empty")


def serve(shop: Shop, at: datetime, rows: list[dict[str, Any]] = CUSTOMERS) -> None:
    with FeatureClient(shop.redis_url, "shop_dev", as_of=at, log=ServedLog()) as client:
        client.get_online_features("churn", rows)


async def serve_async(shop: Shop, at: datetime) -> None:
    async with AsyncFeatureClient(shop.redis_url, "shop_dev", as_of=at, log=ServedLog()) as client:
        await client.get_online_features("churn", CUSTOMERS)


def audit(shop: Shop, code: int, *options: str) -> dict[str, dict[str, Any]]:
    """What the audit says of each feature of churn@2."""
    done = shop.try_syncer("audit", "churn@2", "--json", *options)
    assert done.exit_code == code, done.output
    return {feature["feature"]: feature for feature in json.loads(done.stdout)["features"]}


def counts(found: dict[str, dict[str, Any]], verdict: str) -> dict[str, int]:
    return {name: feature[verdict] for name, feature in found.items() if feature[verdict]}


def test_an_honest_run_matches_in_every_value(shop: Shop) -> None:
    for at in (KNOWN - timedelta(minutes=1), KNOWN, datetime(2026, 1, 10, tzinfo=timezone.utc)):
        sync(shop, at)
        serve(shop, at)
        asyncio.run(serve_async(shop, at + timedelta(seconds=30)))
    found = audit(shop, 0)
    assert list(found) == ["visits_7d", "orders_30d", "spent", "plan", "basket", "amount_share"]
    assert {name: (feature["rows"], feature["match"]) for name, feature in found.items()} == dict.fromkeys(
        found, (42, 42)
    )
    assert counts(found, "skew") == counts(found, "lag") == counts(found, "stale") == {}


def test_a_value_that_the_mirror_did_not_have_yet_is_lag_within_the_goal_and_stale_beyond(shop: Shop) -> None:
    sync(shop, KNOWN - timedelta(hours=12))
    serve(shop, KNOWN + timedelta(hours=1))
    found = audit(shop, 0)
    assert counts(found, "lag") == {"orders_30d": 1, "spent": 1, "plan": 1, "basket": 1, "amount_share": 1}
    assert (found["spent"]["max_difference"], found["spent"]["served"], found["spent"]["expected"]) == (
        15.5,
        "10.00",
        "25.50",
    )
    serve(shop, KNOWN + timedelta(hours=25))  # orders are expected every day
    found = audit(shop, 1)
    assert (
        counts(found, "stale")
        == counts(found, "lag")
        == {"orders_30d": 1, "spent": 1, "plan": 1, "basket": 1, "amount_share": 1}
    )
    assert counts(found, "skew") == {}


def test_a_value_that_expired_since_the_mirror_is_a_match(shop: Shop) -> None:
    """ttl is judged when a value is served: customer 3's order is of 11 December, and lives for 30 days."""
    sync(shop, datetime(2026, 1, 9, 23, tzinfo=timezone.utc))
    serve(shop, datetime(2026, 1, 10, 0, 0, 1, tzinfo=timezone.utc))
    assert counts(audit(shop, 0), "match") == dict.fromkeys(
        ["visits_7d", "orders_30d", "spent", "plan", "basket", "amount_share"], 7
    )


def test_a_clock_that_is_one_hour_ahead_is_skew(shop: Shop) -> None:
    """The syncer's clock: it serves what nobody could know yet."""
    sync(shop, KNOWN + timedelta(minutes=10))
    serve(shop, KNOWN - timedelta(minutes=50))
    found = audit(shop, 1)
    assert counts(found, "skew") == {"orders_30d": 1, "spent": 1, "plan": 1, "basket": 1, "amount_share": 1}
    assert (found["plan"]["served"], found["plan"]["expected"], found["plan"]["mirrored"]) == ("gold", "basic", "gold")


def test_the_wrong_version_under_a_versions_name_is_skew(shop: Shop) -> None:
    shop.write(
        "models/latest_orders_v1.sql",
        "select * replace (cast(orders_30d * 10 as integer) as orders_30d) from "
        "({{ feature_warehouse.latest_values(ref('orders', v=1)) }})",
    )
    shop.dbt("run", "--select", "latest_orders_v1")
    now = datetime(2026, 1, 10, tzinfo=timezone.utc)
    sync(shop, now)
    serve(shop, now)
    assert counts(audit(shop, 1), "skew") == {"orders_30d": 3}


def test_a_definition_that_changed_without_a_version_is_skew(shop: Shop) -> None:
    now = datetime(2026, 1, 10, tzinfo=timezone.utc)
    sync(shop, now)
    serve(shop, now)
    shop.write("models/orders_v1.sql", ORDERS.replace("cast(spent as", "cast(2 * spent as"))
    shop.dbt("run", "--select", "orders", "latest_orders_v1")
    found = audit(shop, 1)
    assert counts(found, "skew") == {"spent": 3, "amount_share": 3}
    assert found["spent"]["mean_difference"] == pytest.approx((25.5 + 99.99 + 5) / 3)


def test_what_was_served_before_an_instant_may_be_left_out_or_deleted(shop: Shop) -> None:
    sync(shop, KNOWN + timedelta(minutes=10))
    serve(shop, KNOWN - timedelta(minutes=50))  # skew, of 5 January at 08:10
    sync(shop, KNOWN + timedelta(days=1))
    serve(shop, KNOWN + timedelta(days=1), CUSTOMERS[:2])
    for since, rows in (("2026-01-05", 9), ("2026-01-06", 2), ("2026-01-06T10:00:00+01:00", 2)):
        assert audit(shop, int(rows == 9), "--since", since)["plan"]["rows"] == rows
    late = shop.syncer("audit", "--since", "2026-01-06T09:00:00.000001Z")
    assert late == "0 rows drained.\nNothing was logged since 2026-01-06T09:00:00.000001Z: " + late.partition("Z: ")[2]
    assert "write date, time and zone" in shop.try_syncer("audit", "--since", "2026-01-06T09:00").stderr

    delete = Page("guides/audit.md").block("retention")
    age = int((datetime.now(timezone.utc) - KNOWN).total_seconds() / 3600)
    shop.sql(delete.replace("2160", str(age)))  # all but those of the day after
    assert shop.sql("select count(*) from feature_warehouse_served") == [(2,)]
    assert audit(shop, 0)["plan"]["rows"] == 2
    assert shop.sql("select count(*) from feature_warehouse_served") == [(2,)]


DYING = """
import os, sys
from feature_warehouse.monitoring import audit
setattr(audit, sys.argv[1], lambda *_: os._exit(9))
from feature_warehouse.cli.main import main
main(["audit", "churn@2"])
"""


def test_a_row_is_drained_once_whoever_dies(shop: Shop) -> None:
    now = datetime(2026, 1, 10, tzinfo=timezone.utc)
    sync(shop, now)
    serve(shop, now)

    for place in ("_typed_view", "_compared"):  # before the drain is committed, and after
        environment = {**os.environ, "SYNCER_REDIS_URL": shop.redis_url}
        command = [sys.executable, "-c", DYING, place]
        assert subprocess.run(command, cwd=shop.folder, env=environment, check=False).returncode == 9
    serve(shop, now, CUSTOMERS[:2])
    assert audit(shop, 0)["plan"]["rows"] == 9
    assert audit(shop, 0)["plan"]["rows"] == 9
    assert shop.sql("select count(*), count(distinct id) from feature_warehouse_served") == [(9, 9)]


def test_the_log_is_rows_to_train_on_and_the_audit_a_table_to_test(shop: Shop) -> None:
    now = datetime(2026, 1, 10, tzinfo=timezone.utc)
    sync(shop, now)
    serve(shop, now)
    audit(shop, 0)
    served = shop.sql("select * exclude (served_id) from served_churn_v2 order by customer_id nulls last limit 1")
    assert served == [(now, 1, 51.0, 12, 2, served[0][5], "gold", [1.5, 2.0], 2.0)]
    shop.write("tests/no_skew.sql", "select * from feature_warehouse_audit where skew + stale > 0")
    shop.dbt("test", "--select", "no_skew")


def test_what_cannot_be_audited_is_exit_code_2(shop: Shop) -> None:
    assert shop.try_syncer("audit", "chrun").exit_code == 2


def test_entries_that_are_no_rows_are_named_and_skipped(shop: Shop) -> None:
    sync(shop, KNOWN)
    serve(shop, KNOWN)
    stream = "shop_dev:#served:churn@2"
    with redis.Redis.from_url(shop.redis_url) as client:
        row = json.loads(client.xrange(stream)[0][1][b"row"])
        first, *_ = row["features"]
        wrong = [b"nonsense", b"[" * 100_000, b'{"at": 5}', b'{"at": null}', b"\xff"]
        for part, change in (
            ("at", {"at": "2013-01-31T12:00:00"}),
            ("views", {"views": [{"as_of": None, "event_time": None}]}),
            ("given", {"given": {"customer_id": "x"}}),
            ("features", {"features": {first: "x"}}),
        ):
            assert part in row
            wrong.append(json.dumps(row | change).encode())
        for entry in wrong:
            client.xadd(stream, {"row": entry})
        client.xadd(stream, {"other": b"x"})
        client.xadd(stream, {"row": json.dumps(row | {"of": "a later version"})})
    done = shop.try_syncer("audit", "churn@2", "--json")
    assert done.exit_code == 0
    named = [line for line in done.stderr.splitlines() if "in the served log of churn@2 cannot be read" in line]
    assert len(named) == len(wrong) + 1
    assert "given.customer_id is no bigint" in "".join(named)
    assert json.loads(done.stdout)["skipped"] == [line.removeprefix("Warning: ") for line in named]
    assert json.loads(done.stdout)["drained"] == len(CUSTOMERS) + 1
    shop.syncer("drop", "--namespace", "shop_dev", "--yes")
    with redis.Redis.from_url(shop.redis_url) as client:
        assert client.keys("shop_dev:*") == [b"shop_dev:#trail:changes"]  # who dropped it


def test_a_dropped_namespace_has_no_log(shop: Shop) -> None:
    sync(shop, KNOWN)
    serve(shop, KNOWN)
    shop.syncer("drop", "--namespace", "shop_dev", "--yes")
    with redis.Redis.from_url(shop.redis_url) as client:
        assert client.keys("shop_dev:*") == [b"shop_dev:#trail:changes"]  # who dropped it


def test_a_log_that_redis_refuses_hurts_no_read(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    sync(shop, KNOWN)
    with redis.Redis.from_url(shop.redis_url) as client:
        client.set("shop_dev:#served:churn@2", "in the way")
    with FeatureClient(shop.redis_url, "shop_dev", as_of=KNOWN, log=ServedLog()) as reader:
        assert reader.get_online_features("churn", CUSTOMERS[:1]).rows()[0]["plan"] == "gold"
    assert "what was served cannot be logged: StoreRefusedError: " in caplog.text


def test_nothing_served_is_said(shop: Shop) -> None:
    assert "Nothing was logged yet" in shop.syncer("audit")
