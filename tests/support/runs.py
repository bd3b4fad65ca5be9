"""Runs of the engine without the command line and without dbt: quick enough for a hundred of them.

As a program, `python -m tests.support.runs FOLDER URL SCENARIO`, it forks a process for each run of a scenario, kills
or stops some of them, and ends with exit code 0 when every recovery was complete.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from feature_warehouse.care.rollback import release, rollback
from feature_warehouse.errors import StoreError
from feature_warehouse.mirror import lease, state, sync
from feature_warehouse.mirror.namespace import read_markers
from feature_warehouse.mirror.preparation import Instant, Wanted
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.mirror.verify import ViewVerified, verify
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.manifest import load_manifest
from feature_warehouse.project.profile import Output
from feature_warehouse.registry.document import load_registry
from feature_warehouse.registry.guards import Guards
from feature_warehouse.store.layout import PLACES
from feature_warehouse.store.session import Session
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.latest import spool_latest
from feature_warehouse.warehouse.spool import SpoolWriter
from feature_warehouse.wire.encode import Encoder
from feature_warehouse.wire.keyspace import trail_key, witness_key
from feature_warehouse.wire.trail import KEPT_ENTRIES

AS_OF = datetime(2026, 1, 10, tzinfo=timezone.utc)
#: To which a view is rolled back: other orders were the newest then.
EARLIER = datetime(2026, 1, 3, tzinfo=timezone.utc)
NAMESPACE = "shop_dev"

#: Every 7th visitor leaves and others come with each number; a few hundred rows, in transactions of 16.
CHURN = (
    "delete from visits_v1 where customer_id >= 100",
    "insert into visits_v1 select i, timestamptz '2026-01-09 00:00:00+00', i * {n} from range(100, 300) as t(i) "
    "where (i + {n}) % 7 > 0",
    "update stock_v1 set in_stock = {n}",
)


class Runs:
    """The shop in ``folder`` and the Redis at ``url``."""

    def __init__(self, folder: Path, url: str, timeout: float = 10.0) -> None:
        self.folder, self.url, self.timeout = folder, url, timeout
        self.declared = read_declarations(load_manifest(folder / "target/manifest.json")).views
        self.stock: dict[bytes, bytes] = {}  # while it is held
        self.registry = load_registry(folder / "registry/registry.json", "shop")

    def wanted(self, *, remember: bool = True, **changed: Any) -> Wanted:
        return Wanted(
            registry=self.registry,
            declared=self.declared,
            output=Output(adapter="duckdb", path=str(self.folder / "shop.duckdb"), catalog="shop", schema="main"),
            target="dev",
            namespace=NAMESPACE,
            remember=self.folder / ".syncer" if remember else None,
            **{"instant": Instant(as_of=AS_OF, clock="fixed"), **changed},
        )

    def change(self, number: int) -> None:
        with duckdb.connect(str(self.folder / "shop.duckdb")) as connection:
            for statement in CHURN:
                connection.execute(statement.format(n=number))

    def sync(self, url: str | None = None, *, remember: bool = True, **options: Any) -> list[ViewSynced]:
        named = {"allow_eviction", "allow_guarded", "allow_older", "allow_shrink", "deadline", "full", "wait_replicas"}
        own = {"allow_shrink": 1.0} | {name: options.pop(name) for name in {*options} & named}
        terms = Terms(**own)
        with closing(Store(url or self.url, self.timeout)) as store:
            chosen = {name: options.pop(name) for name in {*options} & {"drift_profiles", "instant"}}
            return list(sync.sync(self.wanted(remember=remember, **chosen), store, terms=terms, **options))

    def verify(self, store: Store) -> list[ViewVerified]:
        return list(verify(self.wanted(), store))

    def assert_exact(self) -> None:
        """Redis is the warehouse: by verify, by its markers, and nothing else is there."""
        with closing(Store(self.url)) as store:
            found = self.verify(store)
            assert not [view for view in found if view.differences], found
            markers = store.hash_fields(f"{NAMESPACE}:#markers")
            assert all(b'"state": "done"' in text for field, text in markers.items() if field[:1] != b"#"), markers
            keys = {key.decode() for key in dumps(store)} - {trail_key(NAMESPACE, stream) for stream in KEPT_ENTRIES}
            own = {f"{NAMESPACE}:#markers", f"{NAMESPACE}:#registry"}
            own |= {witness_key(NAMESPACE, place) for place in PLACES} if store.is_cluster else set()
        with duckdb.connect(str(self.folder / "shop.duckdb"), read_only=True) as connection:
            connection.execute(f"set TimeZone = 'UTC'; set variable feature_warehouse_now = '{AS_OF.isoformat()}'")
            customers = "select customer_id from latest_orders_v1 union select customer_id from latest_visits_v1"
            entities = {f"{NAMESPACE}:customer:{key}" for (key,) in connection.execute(customers).fetchall()}
            items = connection.execute("select warehouse || '|' || sku from latest_stock_v1").fetchall()
            entities |= {f"{NAMESPACE}:item:{key}" for (key,) in items}
        assert keys == entities | own, keys ^ entities ^ own

    def assert_exact_but(self, rolled_back: Mapping[str, datetime]) -> None:
        """Redis is the warehouse, some views of it as of other instants: by verify, and by the rows themselves."""
        with closing(Store(self.url)) as store:
            assert not [view for view in self.verify(store) if view.differences]
            with self.wanted().open_source() as source, TemporaryDirectory() as folder:
                for view in self.registry.views.values():
                    as_of = rolled_back.get(view.name, AS_OF)
                    latest = spool_latest(source, self.declared[view.id], Encoder(NAMESPACE, view), as_of, Path(folder))
                    wanted = {
                        key: message
                        for batch in latest.spool.batches()
                        for key, message in zip(*(column.to_pylist() for column in batch.columns), strict=True)
                    }
                    assert self._online(store, view.entity.name, latest.field) == wanted, view.id

    def roll_back(self) -> None:
        """The orders, to what they were earlier."""
        with closing(Store(self.url)) as store:
            wanted = self.wanted(select=frozenset({"orders.v1"}))
            rollback(wanted, store, as_of=EARLIER, reason="a test", terms=Terms())

    def hold(self) -> None:
        """Rolls the orders back, and has a guard of the stock refuse what comes: it stays as it is now."""
        self.sync()
        self.roll_back()
        with closing(Store(self.url)) as store:
            self.stock = self._online(store, "item", "stock:1")
        guards = {"in_stock": Guards(max_changed_share=0)}
        self.declared = {**self.declared, "stock.v1": replace(self.declared["stock.v1"], guards=guards)}

    def assert_held(self) -> None:
        """Both are as they were, and are known to be held; the visits are the warehouse."""
        with closing(Store(self.url)) as store:
            markers = read_markers(store, NAMESPACE)
            orders, stock = markers["orders:1"], markers["stock:1"]
            assert orders.kept, orders
            assert (orders.as_of, orders.state) == (EARLIER, "done"), orders
            assert stock.held, stock
            assert (stock.kept, stock.state) == (None, "done"), stock
            assert self._online(store, "item", "stock:1") == self.stock
            found = {view.view: view for view in self.verify(store)}
            assert not found["orders.v1"].differences, found
            assert not found["visits.v1"].differences, found

    def let_go(self) -> None:
        with closing(Store(self.url)) as store:
            release(store, namespace=NAMESPACE, project="shop", target="dev", view="orders.v1")
        self.declared = {**self.declared, "stock.v1": replace(self.declared["stock.v1"], guards={})}

    def _online(self, store: Store, entity: str, field: str) -> dict[bytes, bytes]:
        found = store.scan(f"{NAMESPACE}:{entity}:", field)
        return {key: value for some in found for key, value in zip(*some, strict=True) if value is not None}

    def retire(self, view: str) -> None:
        """Takes a view and the services that read it out of the registry."""
        registry = self.registry
        gone = {id_ for id_, each in registry.services.items() if view in {read.view for read in each.views}}
        self.registry = replace(
            registry,
            views={id_: each for id_, each in registry.views.items() if id_ != view},
            services={id_: each for id_, each in registry.services.items() if id_ not in gone},
            retired_views=registry.retired_views | {view},
            retired_services=registry.retired_services | gone,
        )

    def sync_at_once(self, runs: int) -> None:
        """Several runs at once: some may be refused, one is done; an error of any other kind is the caller's."""
        with ThreadPoolExecutor(runs) as threads:
            started = [threads.submit(self.sync, remember=False) for _ in range(runs)]
        errors = [error for error in (run.exception() for run in started) if error]
        for error in errors:
            if not isinstance(error, StoreError):
                raise error
        assert len(errors) < runs, errors

    def sync_with(self, event: Callable[[], Any], **options: Any) -> list[ViewSynced]:
        """A run with ``event`` after its third transaction."""
        transactions = 0

        def progress(*_: Any) -> None:
            nonlocal transactions
            transactions += 1
            if transactions == 3:
                event()

        done = self.sync(progress=progress, **options)
        assert transactions >= 3
        return done


def dumps(store: Store) -> dict[bytes, bytes]:
    """All that is in Redis, on all primaries."""
    client: Any = store._client
    return {key: client.dump(key) for key in client.scan_iter()}


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def forked(run: Callable[[], object]) -> int:
    """The process id of a child that runs ``run``; its exit code: 0 done, 1 refused by the engine, 2 anything else."""
    child = os.fork()
    if child:
        return child
    code = 2
    try:
        run()
        code = 0
    except StoreError as error:
        say(str(error))
        code = 1
    except BaseException as error:
        say(repr(error))
    finally:
        os._exit(code)


def ended(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


class Seams:
    """Counts the moments between two steps of a run, and does something at one of them."""

    def __init__(self, at: int, action: Callable[[], object]) -> None:
        self.passed, self._at, self._action = 0, at, action
        for owner, name in (
            (Session, "submit"),
            (Session, "lines"),
            (Session, "call"),
            (SpoolWriter, "add"),
            (os, "replace"),
            (state.StateFolder, "save"),
            (Store, "exchange"),
        ):
            self._between(owner, name)

    def _between(self, owner: Any, name: str) -> None:
        step = getattr(owner, name)

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._pass()
            if name == "submit" and self.passed == self._at - 1:
                session, *buffers = args  # half of what was to be sent arrives
                whole = b"".join(bytes(buffer) for buffer in buffers)
                session._connection._sock.sendall(whole[: len(whole) // 2])
                self._pass()
            result = step(*args, **kwargs)
            self._pass()
            return result

        setattr(owner, name, stepped)

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self._at:
            self._action()


def interrupted(runs: Runs, at: int, number: signal.Signals, first: int = 0) -> None:
    """A run that sends itself a signal at its ``at``-th seam.

    ``first``: the number of the seam at which it has given the warehouse back; nothing happens before.
    """
    seams = Seams(at, lambda: os.kill(os.getpid(), number))
    if first:
        seams.passed = -sys.maxsize
        when_mirroring(lambda: setattr(seams, "passed", first))
    runs.sync()


def when_mirroring(event: Callable[[], object]) -> None:
    """Calls ``event`` each time that a run has given the warehouse back and begins to mirror."""
    mirror = sync._Run.mirror

    def mirroring(*args: Any) -> Any:
        event()
        return mirror(*args)

    sync._Run.mirror = mirroring  # type: ignore[method-assign,assignment]


def count_seams(runs: Runs) -> tuple[int, int]:
    """How many seams a run has, and which is the first after the warehouse was closed."""
    counted, count = os.pipe()

    def run() -> None:
        seams = Seams(-1, lambda: None)
        closed: list[int] = []
        when_mirroring(lambda: closed.append(seams.passed))
        runs.sync()
        os.write(count, f"{seams.passed} {closed[0]}".encode())

    assert ended(forked(run)) == 0
    seams, first = os.read(counted, 20).split()
    return int(seams), int(first)


def killed_anywhere(runs: Runs, points: int) -> None:
    """Kills runs at ``points`` seams, spread over a whole run; the next one must mend it.

    Every other stretch of four, the orders are rolled back and the stock is held by a guard: each stays as it is.
    """
    runs.change(1)
    runs.sync()
    runs.change(2)
    seams, _ = count_seams(runs)
    chosen = sorted(random.Random(7).sample(range(1, seams + 1), min(points, seams)))
    died = 0
    for number, at in enumerate(chosen):
        if number % 8 == 4:
            runs.hold()
        runs.change(3 + number)
        died += ended(forked(partial(interrupted, runs, at, signal.SIGKILL))) == -signal.SIGKILL
        if number % 4 == 3:  # else the next run that is killed begins with what this one left
            runs.sync()
            runs.assert_exact() if number % 8 == 3 else runs.assert_held()
        if number % 8 == 7:
            runs.let_go()
            runs.sync()
            runs.assert_exact()
    say(f"killed {died} of {len(chosen)} runs at {seams} seams")
    assert died >= len(chosen) * 9 // 10


def stopped_and_woken(runs: Runs, points: int) -> None:
    """Stops runs at seams in their middle; another one takes over; the first one wakes up and must write nothing."""
    lease.LEASE_SECONDS, lease._PATIENCE = 0.5, 120.0  # short leases, and time for a slow machine to see them end
    runs.change(0)
    runs.sync()
    runs.change(1)
    seams, first = count_seams(runs)
    refused = 0
    for number in range(points):
        runs.change(2 + 2 * number)
        at = first + 1 + number * (seams - first) * 4 // (5 * points)
        sleeper = forked(partial(interrupted, runs, at, signal.SIGSTOP, first))
        try:
            _, status = os.waitpid(sleeper, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"run {number} ended by itself: {status}"
            runs.change(3 + 2 * number)
            assert ended(forked(runs.sync)) == 0
            with closing(Store(runs.url)) as store:
                before = dumps(store)
                os.kill(sleeper, signal.SIGCONT)
                refused += ended(sleeper) == 1
                assert dumps(store) == before
        except BaseException:
            with suppress(ProcessLookupError):
                os.kill(sleeper, signal.SIGKILL)  # it holds our stderr, which somebody reads to its end
            raise
        runs.assert_exact()
    say(f"{refused} of {points} sleepers were refused")
    assert refused == points


def main() -> None:
    folder, url, scenario, points = sys.argv[1:]
    sync.TRANSACTION_ROWS = 16
    runs = Runs(Path(folder), url)
    started = time.monotonic()
    {"kill": killed_anywhere, "stop": stopped_and_woken}[scenario](runs, int(points))
    say(f"{time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
