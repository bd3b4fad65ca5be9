"""Sentinel, with real processes: the primary is found, lost and found again, and the mirror ends exact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from feature_warehouse import FeatureClient
from feature_warehouse.errors import StoreRefusedError
from feature_warehouse.mirror.planning import Planned
from feature_warehouse.store.store import Store
from tests.support.pages import Page
from tests.support.processes import SentinelService, client, sentinels, wait_until
from tests.support.results import assert_mirrored, assert_refused
from tests.support.runs import EARLIER, Runs
from tests.support.shop import Shop


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SentinelService]:
    with sentinels(tmp_path_factory.mktemp("sentinels"), free_port) as made:
        yield made


def test_a_failover_is_survived_by_readers_and_mended_by_the_next_sync(shop: Shop, service: SentinelService) -> None:
    shop.redis_url = service.url
    read_back = {view["view"]: view["read_back"] for view in shop.json("sync", "--wait-replicas", "1")["views"]}
    assert all(read_back.values())
    assert [view["read_back"] for view in shop.json("sync")["views"]] == [None, None, None]
    with FeatureClient(service.url, "shop_dev") as reader:
        before = reader.get_online_features("churn@1", [{"customer_id": 1}]).rows()

        # The replica loses a row that the marker, which it has, vouches for: only reading back can tell.
        client(service.replica).config_set("replica-read-only", "no")
        client(service.replica).delete("shop_dev:customer:2")
        service.kill_primary()
        synced = shop.json("sync")["views"]  # waits until the Sentinel has another primary
        assert reader.get_online_features("churn@1", [{"customer_id": 1}]).rows() == before

    assert {view["read_back"] for view in synced} == {
        "Redis was restarted, has failed over, has evicted keys, or its slots changed hands"
    }
    assert sum(view["written"] for view in synced) == 1
    assert_mirrored(shop)

    # The old primary comes back as it was without its data, and follows.
    service.processes.restart(service.primary)
    assert [view["read_back"] for view in shop.json("sync")["views"]] == [None, None, None]
    assert_mirrored(shop)


def test_a_hold_is_there_after_a_failover_too(shop: Shop, service: SentinelService) -> None:
    runs = Runs(shop.folder, service.url)
    runs.sync(wait_replicas=1)
    runs.roll_back()
    replica = client(service.replica)
    wait_until(lambda: b"a test" in (replica.hget("shop_dev:#markers", "orders:1") or b""))
    service.kill_primary()
    runs.change(3)
    runs.sync()
    runs.assert_exact_but({"orders": EARLIER})
    runs.let_go()
    runs.sync()
    runs.assert_exact()


def test_a_primary_that_dies_in_the_middle_is_waited_for(shop: Shop, service: SentinelService) -> None:
    shop.redis_url = service.url
    shop.syncer("sync", "--wait-replicas", "1")
    shop.sql(
        "insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00', i from range(100, 5_000) as t(i)",
        "insert into orders_v1 select i, timestamptz '2026-01-09 00:00:00+00', timestamptz '2026-01-09 00:00:00+00',"
        " 1, 1, null, null, null from range(100, 5_000) as t(i)",
    )
    runs = Runs(shop.folder, service.url)
    killer = threading.Thread(target=service.fail_over)

    def once(planned: Planned, rows: int, size: int) -> None:
        if not killer.ident:
            killer.start()
            time.sleep(0.1)  # the next transaction meets a dead primary

    found = runs.sync(progress=once)
    killer.join()
    assert {view.view for view in found} == {"orders.v1", "visits.v1", "stock.v1"}
    assert client(service.replica).exists("shop_dev:customer:4999")
    assert_mirrored(shop)


def test_a_service_that_nobody_knows_and_sentinels_that_are_not_there(
    shop: Shop, service: SentinelService, free_port: Callable[[], int]
) -> None:
    nobody = free_port()
    for url in (
        service.url.replace("/features/", "/feature/"),
        f"redis+sentinel://:s3cret@127.0.0.1:{nobody}/features",
    ):
        shop.redis_url = url
        for command in (["sync"], ["get", "churn@1", "customer_id=1"]):
            refused = shop.try_syncer(*command)
            assert_refused(refused, "answers and knows a primary that is up", "are the Sentinels there")
            assert "s3cret" not in refused.output


def test_sentinels_with_users_of_their_own(service: SentinelService) -> None:
    rule = Page("wire-format.md").block("more rights").splitlines()[-1].split()
    sentinel = client(service.sentinel)
    sentinel.execute_command("ACL", "SETUSER", "default", "-sentinel")
    for without in (None, *(word for word in rule if word.startswith("+"))):
        sentinel.execute_command("ACL", "DELUSER", "asker")
        sentinel.execute_command(*(word for word in rule if word != without))
        with closing(Store(f"{service.url}?sentinel_username=asker&sentinel_password=secret")) as store:
            if without is None:
                assert store.get("k") is None
            else:
                with pytest.raises(StoreRefusedError, match="NOPERM"):
                    store.get("k")
    with closing(Store(service.url)) as store, pytest.raises(StoreRefusedError, match="NOPERM"):
        store.get("k")


def test_the_address_names_service_and_sentinels() -> None:
    addresses = {
        "redis+sentinel://user:s3cret@a:1,b:2,c/features/3?sentinel_password=s3cret": "features@a:1,b:2,c:26379/3",
        "rediss+sentinel://[::1]:1/features": "features@[::1]:1/0",
    }
    assert {url: Store(url).address for url in addresses} == addresses
