"""Whatever goes wrong in the middle of a run, in the end Redis is the warehouse, or the run says that it is not.

Real servers, real processes, real sockets. After each fault `Runs.assert_exact` compares every value both ways and
looks for stray keys. `tests/support/runs.py` has the runs that are killed and stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse import FeatureClient
from feature_warehouse.errors import (
    DataError,
    NamespaceError,
    RequestError,
    StoppedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    WarehouseLockedError,
)
from feature_warehouse.mirror import lease, sync
from feature_warehouse.mirror.namespace import check_owner
from feature_warehouse.mirror.planning import Planned
from feature_warehouse.mirror.preparation import Instant
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.store import session
from feature_warehouse.store.embedded import EmbeddedServer
from feature_warehouse.store.session import Session
from feature_warehouse.store.store import Store
from feature_warehouse.wire.keyspace import served_key
from tests.support.processes import Processes, client
from tests.support.projects import ROOT
from tests.support.proxy import Proxy
from tests.support.runs import AS_OF, Runs, dumps
from tests.support.shop import VISITS, Shop


@pytest.fixture(autouse=True)
def many_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "TRANSACTION_ROWS", 16)


@pytest.fixture
def runs(shop: Shop) -> Runs:
    """The shop with some hundred visitors, synced once and changed since."""
    made = Runs(shop.folder, shop.redis_url)
    made.change(1)
    made.sync()
    made.change(2)
    return made


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that wait for the end of one."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "_PATIENCE", 60.0)


# --- processes that end


def scenario(shop: Shop, name: str, points: int) -> str:
    command = [sys.executable, "-m", "tests.support.runs", str(shop.folder), shop.redis_url, name, str(points)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3_600)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_run_may_be_killed_anywhere(shop: Shop) -> None:
    """120 seams: in the middle of a transaction's bytes, between data, marker and state, while removing.

    Some runs have fewer seams than the one that was counted, and may end before the last of them.
    """
    killed = re.search(r"killed (\d+) of 120 runs", scenario(shop, "kill", 120))
    assert killed
    assert int(killed[1]) >= 100


def test_a_run_that_was_stopped_wakes_up_after_another_one_and_writes_nothing(shop: Shop) -> None:
    assert "10 of 10 sleepers were refused" in scenario(shop, "stop", 10)


def test_told_to_stop_a_run_ends_between_transactions_and_the_next_one_sends_the_rest(runs: Runs) -> None:
    told: list[int] = []
    with pytest.raises(StoppedError, match=r"stopped in visits.v1 after \d+ of \d+ changes"):
        runs.sync_with(lambda: told.append(1), stopped=lambda: bool(told))
    rest = {view.view: view for view in runs.sync()}["visits.v1"]
    assert rest.read_back is None
    assert 0 < rest.written < 170
    runs.assert_exact()


def test_told_to_stop_while_another_run_holds_a_lease(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis.from_url(runs.url) as server:
        server.hset("shop_dev:#lease:visits:1", "other", b'{"host": "elsewhere", "pid": 1, "since": ""}')
        told: list[int] = []
        looked = lease.Holder.is_gone

        def look(holder: lease.Holder) -> bool:
            told.append(1)
            return looked(holder)

        monkeypatch.setattr(lease.Holder, "is_gone", look)
        with pytest.raises(StoppedError, match=r"stopped while another sync was writing visits\.v1"):
            runs.sync(stopped=lambda: len(told) > 5)
        server.delete("shop_dev:#lease:visits:1")
    assert {view.read_back for view in runs.sync()} == {None}
    runs.assert_exact()


def test_told_to_stop_while_redis_is_read_back(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CHUNK", 10)
    scan, steps = Session.scan, list[int]()

    def counted(session: Session, prefix: str) -> Iterator[list[bytes]]:
        for keys in scan(session, prefix):
            steps.append(len(keys))
            yield keys

    monkeypatch.setattr(Session, "scan", counted)
    with pytest.raises(StoppedError, match=r"stopped while \w+\.v1 was read back"):
        runs.sync(full=True, stopped=lambda: len(steps) >= 3)
    assert len(steps) == 3
    assert {view.read_back for view in runs.sync()} == {None}
    runs.assert_exact()


def test_told_to_stop_while_it_removes(runs: Runs) -> None:
    with duckdb.connect(str(runs.folder / "shop.duckdb")) as connection:
        connection.execute("delete from visits_v1 where customer_id between 120 and 250")
    runs.sync()
    told: list[int] = []

    def tell(planned: Planned, rows: int, _: int) -> None:
        if rows > planned.difference.writes.rows + 20:
            told.append(1)

    with duckdb.connect(str(runs.folder / "shop.duckdb")) as connection:
        connection.execute("delete from visits_v1 where customer_id >= 100")
    with pytest.raises(StoppedError):
        runs.sync(progress=tell, stopped=lambda: bool(told))
    runs.change(9)
    assert {view.read_back for view in runs.sync()} == {None}
    runs.assert_exact()


# --- Redis


def test_redis_is_flushed_in_the_middle(runs: Runs) -> None:
    with redis.Redis.from_url(runs.url) as server:
        runs.sync_with(server.flushall)  # by then, two of the views were done
    runs.assert_exact()


@pytest.fixture
def own(runs: Runs, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    """The runs on a server of their own, which keeps its data."""
    server = EmbeddedServer(port=free_port(), directory=tmp_path / "redis").start()
    runs.url = server.url
    runs.change(1)
    runs.sync()
    runs.change(2)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("keep", [True, False])
def test_redis_is_killed_and_comes_back_in_the_middle(keep: bool, own: EmbeddedServer, runs: Runs) -> None:
    def restart() -> None:
        own._process.kill()  # type: ignore[union-attr]
        own.stop()
        if not keep:
            shutil.rmtree(str(own.directory))
        threading.Timer(0.3, own.start).start()

    done = {view.view: view for view in runs.sync_with(restart)}
    assert done["visits.v1"].read_back
    runs.assert_exact()


@pytest.mark.usefixtures("short_leases")
def test_redis_stays_away(own: EmbeddedServer, runs: Runs) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no Redis"):
        runs.sync_with(own.stop, deadline=0.5)
    own.start()
    runs.sync()
    runs.assert_exact()


@pytest.mark.usefixtures("short_leases")
def test_memory_is_full(own: EmbeddedServer, runs: Runs) -> None:
    with redis.Redis.from_url(own.url) as server:
        with pytest.raises(StoreRefusedError, match="OOM"):
            runs.sync_with(lambda: server.config_set("maxmemory", 1))
        server.config_set("maxmemory", 0)
    runs.sync()
    runs.assert_exact()


def test_a_redis_that_evicts_is_refused_or_read_back(own: EmbeddedServer, runs: Runs) -> None:
    with redis.Redis.from_url(own.url) as server:
        server.config_set("maxmemory-policy", "allkeys-random")
        server.config_set("maxmemory", "1gb")
        with pytest.raises(StoreError, match="evicts any key when its memory is full"):
            runs.sync()
        starve(server)
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 0)
        server.delete("another")
    assert all(view.read_back for view in runs.sync())
    runs.assert_exact()


def starve(server: Any) -> None:
    """Leaves the server less memory than it uses until it has evicted; what it uses varies with its connections."""
    before = server.info("stats")["evicted_keys"]
    while server.info("stats")["evicted_keys"] == before:
        server.config_set("maxmemory", server.info("memory")["used_memory"] - 10_000)
        with contextlib.suppress(redis.RedisError):
            server.set("another", "x")
    server.config_set("maxmemory", "1gb")
    server.delete("another")


def test_keys_are_evicted_in_the_middle(own: EmbeddedServer, runs: Runs) -> None:
    with redis.Redis.from_url(own.url) as server:
        server.config_set("maxmemory-policy", "allkeys-random")
        server.config_set("maxmemory", "1gb")
        runs.sync_with(lambda: starve(server), allow_eviction=True)
        evicted = server.info("stats")["evicted_keys"]
        runs.sync(allow_eviction=True)
        runs.assert_exact()

        # Of a memory that is always too small a run says so, or leaves it to the next one; it does not go on for ever.
        runs.change(3)
        server.config_set("maxmemory", server.info("memory")["used_memory"] - 30_000)
        with contextlib.suppress(StoreError):
            runs.sync(allow_eviction=True, deadline=1)
        assert server.info("stats")["evicted_keys"] > evicted
        server.config_set("maxmemory", "1gb")
        runs.sync(allow_eviction=True)
        runs.assert_exact()


def test_what_is_lost_again_and_again_is_given_up(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    done = sync._Run._apply

    def emptied(*args: Any) -> Any:
        result = done(*args)
        with redis.Redis.from_url(runs.url) as server:
            server.hdel("shop_dev:#markers", "visits:1")
        return result

    monkeypatch.setattr(sync._Run, "_apply", emptied)
    with pytest.raises(StoreError, match=r"loses what is written: .*visits\.v1"):
        runs.sync(deadline=0.5)


def test_a_redis_that_loads_its_data_is_waited_for(runs: Runs, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """At the first contact, and in the middle of a run."""
    processes, port = Processes(tmp_path), free_port()

    def answer() -> bytes:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64)
        return b""

    def restart() -> None:
        """Until it is seen loading: a machine that is busy elsewhere may miss it."""
        server.save()
        said = b""
        while not said.startswith(b"-LOADING"):
            if starting:
                starting.pop().join()
            processes.kill(port)
            starting.append(threading.Thread(target=processes.restart, args=[port]))
            starting[0].start()
            while not (said := answer()):
                time.sleep(0.005)

    starting: list[threading.Thread] = []
    try:
        processes.start(port, "key-load-delay 3000")  # microseconds for each key
        server = client(port)
        for number in range(40):  # while it loads, a Redis listens once in 2 MB
            server.set(f"filler:{number}", random.randbytes(200_000))
        runs.url = f"redis://127.0.0.1:{port}/0"
        runs.sync()
        runs.change(3)
        restart()
        assert all(view.read_back for view in runs.sync())
        runs.change(4)
        assert {view.view: view for view in runs.sync_with(restart)}["visits.v1"].read_back
        server.delete(*(f"filler:{number}" for number in range(40)))
        runs.assert_exact()
    finally:
        for each in starting:
            each.join()
        processes.stop()


@pytest.mark.usefixtures("short_leases")
def test_the_primary_becomes_a_replica(own: EmbeddedServer, runs: Runs) -> None:
    with redis.Redis.from_url(own.url) as server:
        server.config_set("replica-serve-stale-data", "yes")
        with pytest.raises(StoreRefusedError, match="READONLY"):
            runs.sync_with(lambda: server.execute_command("REPLICAOF", "127.0.0.1", "1"))
        server.execute_command("REPLICAOF", "NO", "ONE")
    runs.sync()
    runs.assert_exact()


def test_rights_are_taken_away_half_way(own: EmbeddedServer, runs: Runs) -> None:
    with redis.Redis.from_url(own.url) as server:
        with pytest.raises(StoreRefusedError, match="no permission"):
            runs.sync_with(lambda: server.execute_command("ACL", "SETUSER", "default", "-hset"))
        server.execute_command("ACL", "SETUSER", "default", "+hset")
    runs.sync()
    runs.assert_exact()


def test_replicas_that_do_not_follow_leave_the_view_open(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "REPLICA_SECONDS", 0.1)
    terms = Terms
    monkeypatch.setattr("tests.support.runs.Terms", lambda **given: terms(**given, wait_replicas=1))
    with pytest.raises(StoreError, match="0 of 1 replicas"):
        runs.sync()
    monkeypatch.setattr("tests.support.runs.Terms", terms)
    runs.sync()
    runs.assert_exact()


def test_a_namespace_that_is_synced_while_it_is_dropped_is_left_alone(runs: Runs) -> None:
    runs.sync()
    with closing(Store(runs.url)) as store:
        dropping = sync.drop(store, namespace="shop_dev", project="shop", target="dev")
        assert [next(dropping).view for _ in range(3)] == ["orders.v1", "stock.v1", "visits.v1"]
        runs.sync()
        with pytest.raises(StoreError, match="another sync wrote into 'shop_dev' while it was dropped"):
            next(dropping)
    runs.assert_exact()


def test_a_drop_tells_readers_first_and_gives_the_namespace_up_last(runs: Runs) -> None:
    runs.sync()
    service = next(iter(runs.registry.services))
    row = {"customer_id": 1, "warehouse": "north", "sku": "A", "amount": 1.0}
    with closing(Store(runs.url)) as store, FeatureClient(runs.url, "shop_dev") as reader:
        asked = partial(reader.get_online_features, service, [row])
        asked()
        log = served_key("shop_dev", service)
        store.append([(log, b"{}")], 10)
        for _ in range(2):  # a drop that dies, and one more
            dropping: Any = sync.drop(store, namespace="shop_dev", project="shop", target="dev")
            next(dropping)
            dropping.close()
            with pytest.raises(RequestError, match=f"there is no feature service '{service}'"):
                asked()
            with pytest.raises(NamespaceError, match="belongs to the project 'shop', target 'dev'"):
                check_owner(store, "shop_dev", "bakery", "dev")
        runs.sync()
        asked()
        runs.verify(store)
        dropping = sync.drop(store, namespace="shop_dev", project="shop", target="dev")
        next(dropping)
        dropping.close()
        list(sync.drop(store, namespace="shop_dev", project="shop", target="dev"))
        assert dumps(store) == {}
        with pytest.raises(NamespaceError, match="nothing was ever published"):
            asked()


def test_a_clock_that_is_behind_brings_no_older_values_in_silence(runs: Runs) -> None:
    later, earlier = (Instant(as_of=AS_OF + timedelta(hours=step), clock="real") for step in (1, -1))
    runs.sync(instant=later)
    with closing(Store(runs.url)) as store:
        before = dumps(store)
        with pytest.raises(
            DataError, match=r"was synced as of .* by the clock of this machine: older values"
        ) as refused:
            runs.sync(instant=earlier)
        assert "--allow-older" in refused.value.hint
        assert dumps(store) == before
        runs.sync(instant=earlier, allow_older=True)
        runs.sync(instant=Instant(as_of=AS_OF, clock="fixed"))  # who names an instant means it
        runs.sync(instant=earlier)


# --- the network


@pytest.mark.parametrize("harm", ["reset", "deaf", "loading"])
def test_the_connection_breaks_at_any_byte(harm: str, runs: Runs) -> None:
    port = int(runs.url.rpartition(":")[2].partition("/")[0])
    runs.timeout = 0.3
    for number, after in enumerate(range(1_000, 13_000, 3_000)):
        runs.change(3 + number)
        with Proxy(port, harm, after, victims=1 + number % 2) as proxy:
            runs.sync(proxy.url)
            assert proxy.harmed
        runs.sync()  # the state was the proxy's address's own
    runs.assert_exact()


def test_a_half_open_connection_is_given_up_and_another_one_taken(runs: Runs) -> None:
    port = int(runs.url.rpartition(":")[2].partition("/")[0])
    runs.timeout = 0.3
    with Proxy(port, "hole", 6_000) as proxy:
        runs.sync(proxy.url)
        assert proxy.harmed
    runs.assert_exact()


def test_a_slow_connection_is_only_slow(runs: Runs) -> None:
    port = int(runs.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port, "slow", 100) as proxy:
        runs.sync(proxy.url)
        assert proxy.harmed
    runs.assert_exact()


# --- the warehouse


def test_dbt_replaces_the_view_during_a_run(runs: Runs) -> None:
    """The file is free as soon as the rows are read; what is written is the warehouse as it was then."""
    runs.sync_with(lambda: runs.change(5))
    done = {view.view: view for view in runs.sync()}
    assert done["visits.v1"].written
    runs.assert_exact()


def test_a_real_dbt_run_replaces_the_view_during_a_run(shop: Shop, runs: Runs) -> None:
    """It gets the file while rows are sent. A run beside it waits for the file, and finds what was or what will be."""
    slow = "where (select sum(hash(i)) from range(30_000_000) as r(i)) is not null"
    shop.write("models/visits_v1.sql", VISITS.rstrip() + f"\n{slow}\n")
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", "run", "--select", "visits", "--profiles-dir", "."]
    started: list[subprocess.Popen[bytes]] = []

    def run() -> None:
        started.append(subprocess.Popen(command, cwd=shop.folder, stdout=subprocess.DEVNULL))
        while not locked(shop.database):
            assert started[0].poll() is None
            time.sleep(0.02)

    runs.sync_with(run)
    before = runs.sync()
    assert started[0].wait() == 0
    after = runs.sync()
    assert {view.view: view.rows for view in after}["visits.v1"] == 2
    assert [view for view in (*before, *after) if view.view == "visits.v1" and view.removed]
    runs.assert_exact()


def locked(database: Path) -> bool:
    """Whether another process holds the file; asked of the system (F_GETLK), since DuckDB would lock it to find out."""
    layout = "hhqqi"
    with open(database, "rb") as file:
        found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, 0, 0, 0, 0))
    kind: int = struct.unpack(layout, found)[0]
    return kind != fcntl.F_UNLCK


def test_a_locked_warehouse_is_waited_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(runs.folder / "shop.duckdb")
    code = f"import duckdb, time; held = duckdb.connect({path!r}); print(1, flush=True); time.sleep({{}})"
    with subprocess.Popen([sys.executable, "-c", code.format(0.8)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.read(1)
        runs.sync()
    monkeypatch.setattr("feature_warehouse.warehouse.duckdb.LOCK_SECONDS", 0.2)
    with subprocess.Popen([sys.executable, "-c", code.format(60)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.read(1)
        with pytest.raises(WarehouseLockedError):
            runs.sync()
        writer.kill()
    runs.assert_exact()


# --- this machine


def test_a_disk_without_room_for_the_state_costs_only_the_memory_of_it(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("feature_warehouse.mirror.state.os.replace", full)
        runs.sync()
    runs.assert_exact()
    assert all(view.read_back for view in runs.sync())
    runs.assert_exact()


def test_a_file_size_limit_stops_a_run_before_it_writes(runs: Runs) -> None:
    before = redis.Redis.from_url(runs.url).hgetall("shop_dev:#markers")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            runs.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert redis.Redis.from_url(runs.url).hgetall("shop_dev:#markers") == before
    runs.sync()
    runs.assert_exact()


def test_several_runs_at_once(runs: Runs) -> None:
    """One of them may be refused; none of them may do harm."""
    for number in range(3):
        runs.change(10 + number)
        runs.sync_at_once(3)
        runs.assert_exact()
