"""`syncer sync` as a job that goes on: real processes, real signals, a real dbt."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.processes import wait_until
from tests.support.results import assert_held, assert_mirrored
from tests.support.shop import Shop
from tests.support.watch import Watch


@pytest.fixture
def own(shop: Shop, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    """A server of the shop's own."""
    server = EmbeddedServer(port=free_port(), directory=tmp_path / "redis").start()
    shop.redis_url = server.url
    try:
        yield server
    finally:
        server.stop()


def visits(shop: Shop, statement: str) -> None:
    """Writes into the warehouse as dbt does: waiting while the watch reads."""
    for _ in range(200):
        try:
            with duckdb.connect(str(shop.database)) as connection:
                connection.execute(statement)
                return
        except duckdb.IOException:
            time.sleep(0.05)
    raise AssertionError("the watch never gave the file back")


def test_a_watch_follows_the_warehouse_through_all_that_happens(own: EmbeddedServer, shop: Shop) -> None:
    metrics = shop.folder / "sync.prom"
    watch = Watch(shop, "--metrics", str(metrics))
    try:
        assert watch.until("rows")[-1].startswith("2026-01-10T00:00:00Z  7 rows, 7 written, 0 removed in ")
        watch.until("7 rows, 0 written")
        first = metrics.read_text()

        visits(shop, "update visits_v1 set visits_7d = 13 where customer_id = 1")
        watch.until("7 rows, 1 written")

        with duckdb.connect(":memory:") as held:  # as a long dbt run does
            for _ in range(200):
                try:
                    held.execute(f"attach '{shop.database}' as shop")
                    break
                except duckdb.IOException:
                    time.sleep(0.05)
            held.execute("update shop.visits_v1 set visits_7d = 14 where customer_id = 1")
            time.sleep(2.5)
        assert not [line for line in watch.until("7 rows, 1 written") if "Error" in line], "it waits for the file"

        visits(shop, "delete from visits_v1")
        assert "the latest-value view of visits.v1 is empty" in watch.until("Hint")[-2]
        visits(shop, "insert into visits_v1 values (1, timestamptz '2026-01-09 12:00:00+00', 15)")
        watch.until("6 rows, 1 written, 1 removed")

        own.stop()
        watch.until("there is no Redis at")
        own.start()
        watch.until("6 rows")

        shop.replace("models/visits.yml", "tier: hourly", "tier: daily")
        watch.until("the manifest is older than the project")
        shop.dbt("parse")
        watch.until("the registry is behind the project")
        shop.syncer("register")
        watch.until("6 rows, 0 written")
        assert watch.end(signal.SIGTERM) == 0
    finally:
        watch.close()
    assert first != metrics.read_text()
    assert 'feature_warehouse_rows{namespace="shop_dev",view="visits.v1"} 1\n' in metrics.read_text()
    assert_mirrored(shop)


def test_a_watch_may_be_interrupted_while_it_waits_for_the_warehouse(own: EmbeddedServer, shop: Shop) -> None:
    with duckdb.connect(str(shop.database)):
        watch = Watch(shop, "--json")
        try:
            with redis.Redis.from_url(own.url) as server:  # which it asks first
                wait_until(lambda: server.info("clients")["connected_clients"] > 1)
            time.sleep(1)
            assert watch.end(signal.SIGINT) == 0
        finally:
            watch.close()


def test_models_are_run_before_the_sync(shop: Shop) -> None:
    shop.replace("profiles.yml", "keep_open: false", "keep_open: true")
    shop.syncer("sync")
    shop.sql("delete from visits_v1 where customer_id = 5")
    done = {view["view"]: view for view in shop.json("sync", "--run", "visits")["views"]}
    assert (done["visits.v1"]["rows"], done["visits.v1"]["removed"]) == (2, 0)

    refused = shop.try_syncer("sync", "--run", "nonsense")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--run nonsense selects no model" in refused.stderr

    shop.replace("models/visits_v1.sql", "from (values", "from nowhere, (values")
    shop.dbt("parse")
    shop.sql("update stock_v1 set in_stock = 7")
    held = shop.try_syncer("sync", "--run", "visits")
    assert_held(held, "visits.v1", "in dbt's last run the model visits failed: ", "--allow-failed")
    assert "nowhere" in held.stderr
    assert re.search(r"^stock\.v1 +2 +2 +0 ", held.stdout, re.MULTILINE)
    assert "Warning: dbt run failed: visits: " in held.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--every", "30"], "'30' is not a duration; write 30s, 5m, 1h, or '30 seconds'"),
        (["--every", "0 seconds"], "there must be time between two syncs"),
        (["--every", "1 minute", "--as-of", "2026-01-10T00:00:00Z"], "--as-of stands still and --every goes on"),
    ],
)
def test_a_pace_that_makes_no_sense_is_refused(arguments: list[str], words: str, shop: Shop) -> None:
    refused = shop.try_syncer("sync", *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert words in " ".join(refused.stderr.split())


def test_a_watch_of_no_project_ends_before_it_begins(shop: Shop, tmp_path: Path) -> None:
    refused: Any = shop.try_syncer("sync", "--every", "1h", "--project-dir", str(tmp_path))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is not a dbt project" in refused.stderr
