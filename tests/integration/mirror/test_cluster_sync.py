"""Writing to a real Cluster: whatever happens to its nodes and slots in the middle of a run, it ends as the mirror.

After each fault `Runs.assert_exact` compares every value both ways and looks for stray keys on all nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from feature_warehouse.errors import StoreNotReadyError, StoreRefusedError
from feature_warehouse.mirror import lease, sync
from feature_warehouse.mirror.namespace import read_markers
from feature_warehouse.store.store import Store
from feature_warehouse.wire.keyspace import trail_key
from tests.integration.mirror.test_faults import scenario
from tests.support.cluster import Cluster
from tests.support.pages import Page
from tests.support.processes import Processes, client
from tests.support.results import assert_mirrored
from tests.support.runs import EARLIER, NAMESPACE, Runs
from tests.support.shop import Shop

#: Of a visitor who is in every warehouse, and whose node has no markers.
KEY = "shop_dev:customer:140"
MARKERS = "shop_dev:#markers"


@pytest.fixture(autouse=True)
def many_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "TRANSACTION_ROWS", 16)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cluster]:
    processes = Processes(tmp_path_factory.mktemp("cluster"))
    try:
        yield Cluster(processes, free_port)
    finally:
        processes.stop()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """The Cluster, emptied."""
    for port in running.ports:
        client(port).flushall()
    return running


@pytest.fixture
def runs(shop: Shop, cluster: Cluster) -> Runs:
    """The shop with some hundred visitors, synced once and changed since."""
    made = Runs(shop.folder, cluster.url)
    made.change(1)
    made.sync()
    made.change(2)
    return made


def test_what_differs_is_written_proven_and_dropped(shop: Shop, cluster: Cluster) -> None:
    shop.redis_url = cluster.url
    runs = Runs(shop.folder, cluster.url)
    runs.change(1)
    assert all(view["read_back"] for view in shop.json("sync")["views"])
    runs.assert_exact()
    again = shop.json("sync")["views"]
    assert [(view["read_back"], view["written"], view["bytes"]) for view in again] == [(None, 0, 0)] * 3
    found = {view["view"]: view for view in shop.json("status", "--as-of", "2026-01-09T10:00:00Z")["views"]}
    assert {id_: (view["online"]["rows"], view["state"]) for id_, view in found.items()} == {
        "orders.v1": (3, "fresh"),
        "stock.v1": (2, "fresh"),
        "visits.v1": (shop.sql("select count(*) from latest_visits_v1")[0][0], "fresh"),
    }
    assert "no feature view is stale" in shop.syncer("status", "--check", "--as-of", "2026-01-09T10:00:00Z")
    runs.change(2)
    assert "visits.v1" in shop.syncer("plan")
    done = {view["view"]: view for view in shop.json("sync")["views"]}
    assert done["visits.v1"]["read_back"] is None
    assert 0 < done["visits.v1"]["removed"] < done["visits.v1"]["written"] < done["visits.v1"]["rows"]
    assert_mirrored(shop)

    at = next(port for port in cluster.ports if KEY.encode() in client(port).scan_iter())
    client(at).hset(KEY, "visits:1", b"other")
    assert "different shop_dev:customer:140" in shop.try_syncer("verify").stdout
    shop.syncer("verify", "--repair")
    runs.assert_exact()
    shop.syncer("drop", "--yes")
    left = [key for port in cluster.ports for key in client(port).scan_iter()]
    assert left == [trail_key(NAMESPACE, "changes").encode()]  # who dropped it


def test_a_run_may_be_killed_anywhere(shop: Shop, cluster: Cluster) -> None:
    shop.redis_url = cluster.url
    assert "killed" in scenario(shop, "kill", 12)


def test_a_run_that_was_stopped_wakes_up_after_another_one_and_writes_nothing(shop: Shop, cluster: Cluster) -> None:
    shop.redis_url = cluster.url
    assert "3 of 3 sleepers were refused" in scenario(shop, "stop", 3)


def test_several_runs_at_once(runs: Runs) -> None:
    runs.sync_at_once(3)
    runs.assert_exact()


@pytest.mark.parametrize("key", [KEY, MARKERS])
def test_a_slot_changes_hands_in_the_middle(key: str, runs: Runs, cluster: Cluster) -> None:
    target = next(port for port in cluster.ports if port != cluster.port_of(key))
    with ExitStack() as stack:
        runs.sync_with(lambda: stack.enter_context(cluster.moved(key, target, finish=True)))
        runs.assert_exact()
    runs.change(3)
    assert all(view.read_back for view in runs.sync()), "it has changed hands again"
    runs.assert_exact()


def test_a_slot_that_is_on_the_move_is_waited_for(runs: Runs, cluster: Cluster) -> None:
    target = next(port for port in cluster.ports if port != cluster.port_of(KEY))
    with ExitStack() as stack:
        runs.sync_with(lambda: stack.enter_context(cluster.moved(KEY, target, finish=True, after=0.7)))
        runs.assert_exact()
    with cluster.moved(KEY, target, finish=False), pytest.raises(StoreNotReadyError, match="are on the move"):
        runs.sync(deadline=0.2)
    runs.sync()
    runs.assert_exact()


@pytest.mark.parametrize("key", [KEY, MARKERS])
def test_a_node_is_emptied_in_the_middle_and_between_two_runs(key: str, runs: Runs, cluster: Cluster) -> None:
    runs.sync_with(lambda: client(cluster.port_of(key)).flushall())
    runs.assert_exact()
    client(cluster.port_of(key)).flushall()
    done = runs.sync()
    assert all(view.read_back for view in done)
    assert sum(view.written for view in done)
    runs.assert_exact()


def test_a_view_that_is_rolled_back_is_mended_where_it_lies(runs: Runs, cluster: Cluster) -> None:
    """In the middle of a run and between two, and stays until it is released."""
    runs.sync()
    runs.roll_back()
    victim = cluster.port_of(KEY)
    runs.change(5)
    runs.sync_with(lambda: client(victim).flushall())
    runs.assert_exact_but({"orders": EARLIER})
    client(victim).flushall()
    runs.change(6)
    runs.sync()
    runs.assert_exact_but({"orders": EARLIER})
    with closing(Store(runs.url)) as store:
        assert read_markers(store, NAMESPACE)["orders:1"].kept
    runs.let_go()
    runs.sync()
    runs.assert_exact()


def test_a_node_is_killed_and_comes_back_without_its_data(runs: Runs, cluster: Cluster) -> None:
    victim = cluster.port_of(KEY)

    def restart() -> None:
        cluster.processes.kill(victim)
        threading.Timer(0.3, cluster.processes.restart, [victim]).start()

    runs.sync_with(restart)
    runs.assert_exact()


def test_a_node_stays_away(runs: Runs, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)  # the next run waits until that of this one ends
    monkeypatch.setattr(lease, "_PATIENCE", 60.0)
    victim = cluster.port_of(KEY)
    with pytest.raises(StoreNotReadyError):
        runs.sync_with(lambda: cluster.processes.kill(victim), deadline=0.5)
    cluster.processes.restart(victim)
    runs.sync()
    runs.assert_exact()


def test_the_listed_rights_are_enough_and_not_one_too_many(runs: Runs, cluster: Cluster) -> None:
    rule = Page("wire-format.md").block("more rights").splitlines()[1].replace("demo_dev", NAMESPACE).split()
    assert rule[2] == "writer"
    admin, runs.url = cluster.url, cluster.url.replace("//", "//writer:secret@")
    numbers = iter(range(10, 100))

    def write(without: str | None = None) -> None:
        for port in cluster.ports:
            client(port).execute_command("ACL", "DELUSER", "writer")
            client(port).execute_command(*(word for word in rule if word != without))
        runs.change(next(numbers))
        runs.sync(remember=False)
        with closing(Store(runs.url)) as store:
            list(sync.drop(store, namespace=NAMESPACE, project="shop", target="dev"))

    write()
    lives_without = ("+info", "+wait", "+xadd")  # the last is for the trail of commands
    for word in lives_without:
        write(without=word)
    needed = [word for word in rule if word.startswith("+") and word not in lives_without]
    for word in needed:
        with pytest.raises(StoreRefusedError, match="NOPERM") as refused:
            write(without=word)
        assert "docs/wire-format.md lists the commands" in refused.value.hint, word
        for port in cluster.ports:
            client(port).flushall()
    runs.url = admin
    runs.sync()
    runs.assert_exact()


def test_a_replica_takes_over_in_the_middle(runs: Runs, cluster: Cluster, free_port: Callable[[], int]) -> None:
    """The last test of the Cluster: its nodes are others afterwards."""
    primary = cluster.port_of(KEY)
    replica = cluster.add_replica(primary, free_port)
    runs.sync()
    runs.change(3)

    def fail_over() -> None:
        cluster.processes.kill(primary)
        client(replica).execute_command("CLUSTER", "FAILOVER", "TAKEOVER")

    done = {view.view: view for view in runs.sync_with(fail_over)}
    assert done["visits.v1"].read_back
    runs.assert_exact()
    assert client(replica).exists(KEY)
