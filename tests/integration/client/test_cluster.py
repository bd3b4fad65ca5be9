"""A real Cluster: features are read from all its nodes, also while slots move."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import redis

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.errors import StoreRefusedError, StoreUnavailableError
from feature_warehouse.store.store import Store
from tests.support.cluster import Cluster
from tests.support.pages import Page
from tests.support.processes import Processes, client, wait_until
from tests.support.results import contents
from tests.support.shop import Shop

#: What a machine that is busy elsewhere may add to a deadline.
SLACK = 1.5

ROWS = [{"customer_id": number} for number in range(200)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cluster]:
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    try:
        yield Cluster(processes, free_port)
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def served(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory, redis_server: Any) -> dict[bytes, Any]:
    """What a sync writes for customers that are spread over all slots."""
    with redis.Redis.from_url(redis_server.url) as server:
        server.flushall()
    shop = built_shop.copied(tmp_path_factory.mktemp("served") / "shop", redis_server.url)
    shop.sql("insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00', i from range(10, 190) as t(i)")
    shop.syncer("sync")
    return contents(redis_server.url)


@pytest.fixture
def cluster(running: Cluster, served: dict[bytes, Any]) -> Cluster:
    """The Cluster with what was synced, every slot where it was at first."""
    for port in running.ports:
        client(port).flushall()
    for key, value in served.items():
        node = client(running.port_of(key))
        node.hset(key, mapping=value) if isinstance(value, dict) else node.set(key, value)
    return running


def visits(found: Any) -> list[Any]:
    return [row["visits_7d"] for row in found.rows()]


WANTED = [12 if number == 1 else 1 if number == 5 else number if 10 <= number < 190 else None for number in range(200)]


def test_features_are_read_in_one_round_trip_per_node(cluster: Cluster) -> None:
    with FeatureClient(cluster.url, "shop_dev") as reader:
        assert visits(reader.get_online_features("churn@1", ROWS)) == WANTED
        nodes = {port: client(port) for port in cluster.ports}
        before = {port: counted(node) for port, node in nodes.items()}
        assert visits(reader.get_online_features("churn@1", ROWS)) == WANTED
        after = {port: counted(node) for port, node in nodes.items()}
    keys = [*(f"shop_dev:customer:{number}" for number in range(200)), "shop_dev:#markers"]
    assert {port: after[port][0] - before[port][0] for port in nodes} == Counter(map(cluster.port_of, keys))
    # Pieces of input: this trip, in one or two of them, and the INFO that tells.
    assert max(after[port][1] - before[port][1] for port in nodes) <= 3


def test_the_async_client_reads_from_all_nodes_too(cluster: Cluster) -> None:
    async def read() -> Any:
        async with AsyncFeatureClient(cluster.url, "shop_dev") as reader:
            found = await reader.get_online_features("churn@1", ROWS)
            client(cluster.port_of("shop_dev:customer:404")).set("shop_dev:customer:404", "theirs")
            with pytest.raises(StoreRefusedError, match="refused the key shop_dev:customer:404"):
                await reader.get_online_features("churn@1", [{"customer_id": 404}])
            return found

    assert visits(asyncio.run(read())) == WANTED


def counted(node: Any) -> tuple[int, int]:
    """(HMGETs, pieces of input) so far."""
    calls = node.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
    return calls, node.info("stats")["total_reads_processed"]


@pytest.mark.parametrize("finish", [False, True], ids=["ASK", "MOVED"])
def test_a_slot_that_moves_is_followed(finish: bool, cluster: Cluster) -> None:
    key = "shop_dev:customer:20"
    source = cluster.port_of(key)
    target = next(port for port in cluster.ports if port != source)
    with FeatureClient(cluster.url, "shop_dev") as reader:
        assert visits(reader.get_online_features("churn@1", ROWS)) == WANTED
        with cluster.moved(key, target, finish=finish):
            assert not client(source).execute_command("KEYS", key)
            assert client(target).execute_command("KEYS", key)
            assert visits(reader.get_online_features("churn@1", ROWS)) == WANTED
        assert visits(reader.get_online_features("churn@1", ROWS)) == WANTED


def test_the_command_line_reads_from_a_cluster(shop: Shop, cluster: Cluster) -> None:
    shop.redis_url = cluster.url
    assert "gold" in shop.syncer("get", "churn@1", "customer_id=1")


def test_a_reader_without_one_of_its_rights_is_refused(cluster: Cluster) -> None:
    """As docs/wire-format.md lists them; one is for slots that move."""
    rule = Page("wire-format.md").block("more rights").splitlines()[0].replace("demo_dev", "shop_dev").split()
    url = cluster.url.replace("//", "//reader:secret@")

    def read(without: str | None = None) -> Any:
        for port in cluster.ports:
            client(port).execute_command("ACL", "DELUSER", "reader")
            client(port).execute_command(*(word for word in rule if word != without))
        with FeatureClient(url, "shop_dev") as reader:
            return visits(reader.get_online_features("churn@1", ROWS))

    source = cluster.port_of("shop_dev:customer:20")
    target = next(port for port in cluster.ports if port != source)
    with cluster.moved("shop_dev:customer:20", target, finish=False):
        assert read() == WANTED
        for word in (word for word in rule if word.startswith("+")):
            refused = None
            try:
                read(without=word)
            except StoreRefusedError as error:
                refused = error
            assert refused, f"{word} is one right too many"
            assert "NOPERM" in refused.message, word
            assert "docs/wire-format.md lists the commands" in refused.hint, word


def test_a_login_that_is_wrong(cluster: Cluster) -> None:
    url = cluster.url.replace("//", "//nobody:wr0ng@")
    with (
        closing(Store(url)) as store,
        pytest.raises(StoreRefusedError, match="invalid username-password") as met,
    ):
        store.get("k")
    assert "check user and password" in met.value.hint


def test_one_node_by_its_own_url_says_which_url_to_give(cluster: Cluster) -> None:
    elsewhere = next(port for port in cluster.ports if port != cluster.port_of("shop_dev:#registry"))
    url = f"redis://127.0.0.1:{elsewhere}/0"
    with (
        FeatureClient(url, "shop_dev") as reader,
        pytest.raises(StoreRefusedError, match="one node of a Cluster") as met,
    ):
        reader.get_online_features("churn@1", ROWS)
    assert "redis+cluster://" in met.value.hint


def test_a_redis_that_is_no_cluster_is_named(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis+cluster://")
    with closing(Store(url)) as store, pytest.raises(StoreRefusedError, match="is no Cluster") as met:
        store.get("k")
    assert "redis://host:port/0" in met.value.hint


def test_a_node_that_is_down_is_an_error_for_what_it_has_and_no_other(cluster: Cluster) -> None:
    by_port: dict[int, list[dict[str, int]]] = {port: [] for port in cluster.ports}
    for row in ROWS[10:190]:
        by_port[cluster.port_of(f"shop_dev:customer:{row['customer_id']}")].append(row)
    needed = {cluster.port_of(f"shop_dev:{name}") for name in ("#markers", "#registry")}
    victim = next(port for port in cluster.ports if port not in needed)
    healthy = next(port for port in cluster.ports if port != victim)
    with FeatureClient(cluster.url, "shop_dev") as reader:
        reader.get_online_features("churn@1", ROWS)
        cluster.processes.kill(victim)
        try:
            with pytest.raises(StoreUnavailableError):
                reader.get_online_features("churn@1", by_port[victim])
            found = reader.get_online_features("churn@1", by_port[healthy])
            assert visits(found) == [row["customer_id"] for row in by_port[healthy]]
        finally:
            cluster.processes.restart(victim)
            cluster.wait()


def test_a_node_that_is_silent_is_waited_for_until_the_deadline(cluster: Cluster) -> None:
    """In the middle of a read, while connecting, and by many at once; afterwards each goes on by itself."""
    key, markers = "shop_dev:customer:20", cluster.port_of("shop_dev:#markers")
    victim = cluster.port_of(key)
    assert victim != markers
    row = [{"customer_id": 20}]
    with (
        FeatureClient(cluster.url, "shop_dev", deadline=0.5) as reader,
        FeatureClient(cluster.url, "shop_dev", deadline=0.5) as unconnected,
        ThreadPoolExecutor(20) as threads,
    ):
        assert visits(reader.get_online_features("churn@1", row)) == [20]
        with cluster.processes.silent(victim):
            began = time.monotonic()
            errors = [
                each.exception()
                for each in [
                    threads.submit(one.get_online_features, "churn@1", row) for one in (reader, unconnected) * 10
                ]
            ]
            took = time.monotonic() - began
        assert {*map(type, errors)} == {StoreUnavailableError}
        assert "did not answer in time" in str(errors[0])
        assert took < 0.5 + SLACK
        for one in (reader, unconnected):
            wait_until(partial(answers, one, row), 30)


def answers(reader: FeatureClient, rows: list[dict[str, int]]) -> bool:
    """Whether Redis answers in time, and rightly."""
    try:
        assert visits(reader.get_online_features("churn@1", rows)) == [20]
    except StoreUnavailableError:
        return False
    return True


def test_a_cluster_that_is_not_there() -> None:
    url = "redis+cluster://user:s3cret@127.0.0.1:1,127.0.0.1:2"
    missing = r"no Redis at 127\.0\.0\.1:1,127\.0\.0\.1:2"
    with closing(Store(url)) as store, pytest.raises(StoreUnavailableError, match=missing) as met:
        store.get("k")
    assert "s3cret" not in str(met.value)
