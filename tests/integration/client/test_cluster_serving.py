"""A Cluster for readers that log, for who audits, and with replicas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from feature_warehouse import AsyncFeatureClient, FeatureClient, ServedLog
from feature_warehouse.errors import StoreRefusedError
from feature_warehouse.monitoring.trail import read_trail
from feature_warehouse.store.store import Store
from tests.support.cluster import Cluster
from tests.support.pages import Page
from tests.support.processes import Processes, client, wait_until
from tests.support.shop import Shop

RULES = {rule.split()[2]: rule.split() for rule in Page("wire-format.md").block("more rights").splitlines()}
ROWS = [{"customer_id": number, "amount": 51.0} for number in range(200)]
LOG = "shop_dev:#served:churn@2"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cluster]:
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    try:
        yield Cluster(processes, free_port)
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def synced(built_shop: Shop, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop in the Cluster, with customers in all of its slots."""
    shop = built_shop.copied(tmp_path_factory.mktemp("synced") / "shop", cluster.url)
    shop.sql("insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00', i from range(10, 190) as t(i)")
    shop.syncer("sync")
    return shop


def visits(found: Any) -> list[Any]:
    return [row["visits_7d"] for row in found.rows()]


WANTED = [12 if number == 1 else 1 if number == 5 else number if 10 <= number < 190 else None for number in range(200)]


def test_what_a_cluster_served_is_logged_and_audited(synced: Shop, cluster: Cluster) -> None:
    async def read() -> Any:
        async with AsyncFeatureClient(cluster.url, "shop_dev", log=ServedLog()) as reader:
            return await reader.get_online_features("churn@2", ROWS)

    assert visits(asyncio.run(read())) == WANTED
    with FeatureClient(cluster.url, "shop_dev", log=ServedLog()) as reader:
        assert visits(reader.get_online_features("churn@2", ROWS[:5])) == WANTED[:5]
    found = json.loads(synced.syncer("audit", "churn@2", "--json"))
    assert (found["passed"], found["drained"]) == (True, 205)
    assert {feature["match"] for feature in found["features"]} == {205}


def test_rights_of_a_reader_that_logs_and_of_who_audits(synced: Shop, cluster: Cluster) -> None:
    """As docs/wire-format.md lists them, each taken away in turn, while the log's slot is on its way elsewhere."""

    def allow(name: str, without: str | None) -> str:
        for port in cluster.ports:
            client(port).execute_command("ACL", "DELUSER", name)
            client(port).execute_command(
                *(word.replace("demo_dev", "shop_dev") for word in RULES[name] if word != without)
            )
        return cluster.url.replace("//", f"//{name}:secret@")

    def log(without: str | None = None) -> None:
        with FeatureClient(allow("logger", without), "shop_dev", log=ServedLog()) as reader:
            reader.get_online_features("churn@2", ROWS[:1])

    def drain(without: str | None = None) -> int:
        with closing(Store(allow("auditor", without))) as store:
            assert [each.entry.kind for each in read_trail(store, "shop_dev") if each.entry] == ["sync", "registration"]
            return sum(len(entries) for entries in store.entries(LOG, "0-0"))

    target = next(port for port in cluster.ports if port != cluster.port_of(LOG))
    with cluster.moved(LOG, target, finish=False):
        before = drain()
        log()
        for does, name in ((log, "logger"), (drain, "auditor")):
            for word in (word for word in RULES[name] if word.startswith("+")):
                if does == log and word in ("+xadd", "+asking"):  # the read goes on, and nothing is logged
                    log(word)
                else:
                    with pytest.raises(StoreRefusedError, match="NOPERM"):
                        does(word)
        assert drain() == before + 1


def test_replicas_are_read_on_request(synced: Shop, cluster: Cluster, free_port: Callable[[], int]) -> None:
    """One of the three primaries has a replica: it is asked for what that one has, the others for theirs."""
    primary = cluster.ports[0]
    replica = cluster.add_replica(primary, free_port)
    wait_until(lambda: client(replica).dbsize() == client(primary).dbsize())
    nodes = [*cluster.ports, replica]

    async def read() -> Any:
        async with AsyncFeatureClient(cluster.url, "shop_dev", replicas=True) as reader:
            return await reader.get_online_features("churn@1", ROWS)

    def read_in_one_thread() -> Any:
        with FeatureClient(cluster.url, "shop_dev", replicas=True) as reader:
            return reader.get_online_features("churn@1", ROWS)

    for get in (read_in_one_thread, lambda: asyncio.run(read())):
        before = [hmgets(port) for port in nodes]
        assert visits(get()) == WANTED
        asked = [late > early for early, late in zip(before, map(hmgets, nodes), strict=True)]
        assert asked == [False, True, True, True]


def hmgets(port: int) -> int:
    return int(client(port).info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"])
