"""PostgreSQL as the warehouse: the project of a DuckDB, moved by its profile alone, and what may go wrong there."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pyarrow as pa
import pytest

from feature_warehouse import get_batch_features, get_historical_features
from feature_warehouse.mirror.preparation import prepare
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.mirror.wishes import read_wishes
from feature_warehouse.project.project import ANYWHERE
from feature_warehouse.registry.guards import Guards
from feature_warehouse.store.store import Store
from feature_warehouse.training.content import content_of
from feature_warehouse.training.provenance import manifest_path, read_manifest
from feature_warehouse.training.rebuild import rebuild
from feature_warehouse.wire.keyspace import field_name
from tests.support import movable
from tests.support.projects import ROOT
from tests.support.runs import dumps
from tests.support.shop import Shop, inside

if TYPE_CHECKING:
    from tests.support.postgres import Database, Postgres


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return movable.build(tmp_path_factory.mktemp("movable") / "duck")


@pytest.fixture(scope="module")
def home(postgres: Postgres) -> Database:
    """The database that the project is moved to; a test leaves it as it was."""
    return postgres.create_database()


@pytest.fixture(scope="module")
def moved(duck: Shop, home: Database) -> Shop:
    return movable.move(duck, duck.folder.parent / "moved", home.output())


@pytest.fixture
def shop(moved: Shop, redis_url: str) -> Shop:
    """The moved project, with an empty Redis and nothing remembered."""
    shop = moved.at(moved.folder, redis_url)
    for file in (moved.folder / ".syncer").rglob("*.json"):
        file.unlink()
    return shop


def online(shop: Shop) -> dict[bytes, bytes]:
    """All entities in Redis, as the server dumps them."""
    with closing(Store(shop.redis_url)) as store:
        return {key: value for key, value in dumps(store).items() if b":#" not in key}


@contextmanager
def changed(database: Database, change: str, back: str) -> Iterator[None]:
    database.execute(change)
    try:
        yield
    finally:
        database.execute(back)


def test_the_first_sync_of_a_moved_project_sends_nothing(duck: Shop, moved: Shop, shop: Shop) -> None:
    duck.at(duck.folder, shop.redis_url).syncer("sync")
    before = online(shop)
    assert len(before) == 6
    synced = shop.json("sync")
    assert [(view["written"], view["removed"]) for view in synced["views"]] == [(0, 0), (0, 0)]
    assert online(shop) == before
    assert "0 differences" in shop.syncer("verify")
    assert "0 changes" in shop.syncer("plan")
    assert (
        moved.folder.joinpath("registry/registry.json").read_bytes()
        == (duck.folder / "registry/registry.json").read_bytes()
    )


def test_a_sync_from_there_writes_the_same_bytes(duck: Shop, shop: Shop) -> None:
    duck.at(duck.folder, shop.redis_url).syncer("sync", "--full")
    before = online(shop)
    shop.syncer("drop", "--yes")
    assert online(shop) == {}
    assert [view["written"] for view in shop.json("sync")["views"]] == [4, 2]
    assert online(shop) == before
    answer = shop.json("get", "churn", "customer_id=1", "amount=5.0")["features"]
    assert (answer["large"], answer["share"], answer["spent"]) == (2**53 + 1, 5.0 / -12.5, "-12.50")


def test_status_knows_both_halves_and_the_way_back_is_there(shop: Shop) -> None:
    shop.syncer("sync")
    assert "no feature view is stale" in shop.syncer("status")
    north = ("get", "transfer", "warehouse=north", "sku=A|1", "day=2026-01-08")
    assert shop.json(*north)["features"] == {"in_stock": 0}
    shop.syncer("rollback", "stock.v1", "--as-of", "2026-01-09T00:00:00Z", "--reason", "counted twice")
    assert shop.json(*north)["features"] == {"in_stock": 40}
    shop.syncer("release", "stock.v1")
    assert [view["written"] for view in shop.json("sync")["views"]] == [0, 2]


def test_another_instant_costs_no_call_of_dbt(shop: Shop) -> None:
    shop.syncer("sync")
    kept = (shop.folder / "target" / "latest_values.json").read_bytes()
    (shop.folder / "dbt_packages" / "feature_warehouse").rename(shop.folder / "away")  # dbt could not compile anything
    try:
        later = shop.json("sync", "--as-of", "2026-01-20T09:00:00Z", "--allow-shrink", "1")
        assert [view["rows"] for view in later["views"]] == [4, 2]
        answer = shop.json("get", "churn", "customer_id=1", "amount=5.0")["features"]
        assert answer["whole"] == 4  # the revision that became known at that very instant
        assert [view["rows"] for view in shop.json("sync", "--as-of", "2026-01-08T08:59:59Z", "--allow-older")["views"]]
    finally:
        (shop.folder / "away").rename(shop.folder / "dbt_packages" / "feature_warehouse")
    assert (shop.folder / "target" / "latest_values.json").read_bytes() == kept


# --- what may go wrong: one sentence, and Redis as it was


def _remade(change: str) -> str:
    """The table anew with a change that views on it would forbid."""
    return (
        "alter table main.orders_v1 rename to kept; create table main.orders_v1 as select * from main.kept; "
        f"alter table main.orders_v1 {change}; grant select on main.orders_v1 to reader"
    )


_BACK = "drop table main.orders_v1; alter table main.kept rename to orders_v1"

#: What is done to the database, how it is undone, and what is said of it.
TROUBLE = {
    "a table is gone": (
        "alter table main.orders_v1 rename to away",
        "alter table main.away rename to orders_v1",
        r'orders\.v1 is not built: relation "[\w.]+" does not exist',
    ),
    "no rights": (
        "revoke select on main.stock_v1 from reader",
        "grant select on main.stock_v1 to reader",
        r"stock\.v1 may not be read: permission denied for table stock_v1",
    ),
    "a column is gone": (
        "alter table main.stock_v1 rename in_stock to away",
        "alter table main.stock_v1 rename away to in_stock",
        r'stock\.v1 cannot be read: column "in_stock" does not exist',
    ),
    "a number without scale": (
        _remade("alter spent type numeric"),
        _BACK,
        r"orders\.v1: 'spent' is numeric without precision and scale",
    ),
    "another type": (
        _remade("alter whole type bigint"),
        _BACK,
        r"orders\.v1: 'whole' is registered as integer, came as bigint",
    ),
    "a number that is none": (
        "update main.orders_v1 set spent = 'NaN' where spent = -12.5",
        "update main.orders_v1 set spent = -12.5 where spent = 'NaN'",
        r"orders\.v1: 'spent' has a value that is no decimal\(12,2\)",
    ),
    "a list of lists": (
        "update main.orders_v1 set clicks = '{{1,2},{3,4}}' where clicks = '{}'",
        "update main.orders_v1 set clicks = '{}' where clicks = '{{1,2},{3,4}}'",
        r"orders\.v1 cannot be read: malformed array literal: \"a list of lists: \[1:2\]\[1:2\]\"",
    ),
    "a NULL in a list": (
        "update main.orders_v1 set basket = '{1,NULL}' where basket = '{}'",
        "update main.orders_v1 set basket = '{}' where customer_id = 2 and cardinality(basket) = 2",
        r"orders\.v1: 'basket' holds NULL inside a list",
    ),
    "a day without end": (
        "update main.orders_v1 set since = 'infinity' where since = '0001-01-01'",
        "update main.orders_v1 set since = '0001-01-01' where since = 'infinity'",
        r"orders\.v1: 'since' is infinite or outside the years 1 to 9999",
    ),
    "an instant without end": (
        "update main.orders_v1 set seen_at = '-infinity' where seen_at > '9999-01-01'",
        "update main.orders_v1 set seen_at = '9999-12-31 23:59:59.999999+00' where seen_at = '-infinity'",
        r"orders\.v1: 'seen_at' is infinite or outside the years 1 to 9999",
    ),
}


@pytest.fixture(scope="module")
def reader(moved: Shop, home: Database) -> Database:
    """A role that may do what docs/guides/warehouses.md lists for one that reads."""
    page = (ROOT / "docs/guides/warehouses.md").read_text()
    (grants,) = re.findall(r"```sql grants\n(.*?)```", page, re.DOTALL)
    home.execute(grants.replace("features", home.name).replace("analytics", "main").replace("'...'", "'read'"))
    return dataclasses.replace(home, user="reader", password="read")


@contextmanager
def logged_in(shop: Shop, output: dict[str, Any]) -> Iterator[None]:
    """The shop with another output in its profile."""
    profiles = shop.folder / "profiles.yml"
    before = profiles.read_text()
    written = json.loads(before)
    written["shop"]["outputs"]["dev"] = output
    profiles.write_text(json.dumps(written))
    try:
        yield
    finally:
        profiles.write_text(before)


def test_what_is_wrong_is_said_and_redis_stays(shop: Shop, home: Database, reader: Database) -> None:
    with logged_in(shop, reader.output()):
        shop.syncer("sync")
        before = online(shop)
        for trouble, (change, back, words) in TROUBLE.items():
            with changed(home, change, back):
                refused = shop.try_syncer("sync")
            assert refused.exit_code == 1, trouble
            assert re.search(words, refused.stderr), (trouble, refused.stderr)
            assert "Hint: " in refused.stderr, trouble
            assert "Traceback" not in refused.output, trouble
            assert online(shop) == before, trouble
        assert [view["written"] for view in shop.json("sync")["views"]] == [0, 0]


def test_a_target_that_only_reads_is_enough_for_all_that_reads(
    moved: Shop, reader: Database, redis_url: str, tmp_path: Path
) -> None:
    """A second output of the profile, with the grants of the guide and no others. The gate asks no warehouse: below."""
    shutil.copytree(moved.folder, tmp_path / "shop", symlinks=True, ignore=shutil.ignore_patterns("target", ".syncer"))
    shop = moved.at(tmp_path / "shop", redis_url)
    profile = json.loads((shop.folder / "profiles.yml").read_text())
    profile["shop"]["outputs"]["serving"] = reader.output()
    shop.write("profiles.yml", json.dumps(profile))
    shop.dbt("parse", "--target", "serving")
    serving = ("--target", "serving")
    for writing in ("create table main.mine (a integer)", "delete from main.stock_v1"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            reader.execute(writing)
    assert [view["written"] for view in shop.json("sync", *serving)["views"]] == [4, 2]
    assert "0 differences" in shop.syncer("verify", *serving)
    assert "no feature view is stale" in shop.syncer("status", *serving)
    set_ = ("training-set", "churn", "--spine", QUERY, "--timestamp", "asked_at", "-o", str(tmp_path / "set.parquet"))
    assert "12 rows" in shop.syncer(*set_, *serving)


def test_a_server_that_ends_in_mid_read_is_an_error(shop: Shop, home: Database) -> None:
    shop.syncer("sync")
    before = online(shop)
    slow = "alter table main.stock_v1 rename to quick; create view main.stock_v1 as select * from main.quick where "
    slow += "pg_sleep(1) is not null"
    end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'syncer' and query like "
    end += "'%in_stock%' and state = 'active'"

    def kill() -> None:
        deadline = time.monotonic() + 30
        while not home.execute(end) and time.monotonic() < deadline:
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    with changed(home, slow, "drop view main.stock_v1; alter table main.quick rename to stock_v1"):
        killer.start()
        refused = shop.try_syncer("sync")
        killer.join()
    assert refused.exit_code == 1
    assert re.search(r"stock\.v1 was not read to its end: terminating connection", refused.stderr), refused.stderr
    assert online(shop) == before


def test_a_table_that_dbt_replaces_meanwhile_is_not_read_as_empty(shop: Shop, home: Database) -> None:
    """As dbt-postgres does it: the new table is made and takes the old one's place in one transaction."""
    shop.syncer("sync")
    waiting = "select count(*) from pg_locks where not granted and relation = 'main.stock_v1'::regclass"

    with closing(home.connect()) as dbt, dbt.cursor() as cursor:
        for statement in (
            "begin",
            "create table main.stock_v1__dbt_tmp as select * from main.stock_v1",
            "alter table main.stock_v1 rename to stock_v1__dbt_backup",
            "alter table main.stock_v1__dbt_tmp rename to stock_v1",
        ):
            cursor.execute(statement)

        def commit() -> None:
            deadline = time.monotonic() + 60
            while home.execute(waiting) == [(0,)] and time.monotonic() < deadline:
                time.sleep(0.02)
            cursor.execute("commit")

        other = threading.Thread(target=commit)
        other.start()
        synced = shop.try_syncer("sync", "--json")
        other.join()
    home.execute("drop table main.stock_v1; alter table main.stock_v1__dbt_backup rename to stock_v1")
    assert synced.exit_code == 0, synced.output
    assert [(view["rows"], view["removed"]) for view in json.loads(synced.stdout)["views"]] == [(4, 0), (2, 0)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"password": "gue'ssed"}, "password authentication failed for user"),
        ({"port": 1}, "127.0.0.1:1, database"),
        ({"user": "nobody_here"}, "password authentication failed for user"),
        ({"host": "nobody.invalid"}, "could not translate host name"),
    ],
)
def test_who_is_not_let_in_is_told_without_a_secret(
    wrong: dict[str, Any], words: str, shop: Shop, home: Database
) -> None:
    with logged_in(shop, home.output() | wrong):
        refused = shop.try_syncer("sync")
    assert refused.exit_code == 1
    assert words in refused.stderr, refused.stderr
    assert "Hint: see what `dbt debug` says" in refused.stderr
    assert home.password not in refused.output
    assert "gue'ssed" not in refused.output


def test_without_the_driver_the_extra_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    monkeypatch.delitem(sys.modules, "feature_warehouse.warehouse.postgres", raising=False)
    refused = shop.try_syncer("sync")
    assert refused.exit_code == 1
    assert "pip install 'feature-warehouse[postgres]'" in refused.stderr


def test_another_schema_with_tables_of_the_same_names_plays_no_part(shop: Shop, home: Database) -> None:
    shop.syncer("sync")
    decoy = "create schema decoy; create table decoy.stock_v1 as select * from main.stock_v1 where false"
    with changed(home, decoy, "drop schema decoy cascade"), logged_in(shop, home.output() | {"search_path": "decoy"}):
        assert [view["written"] for view in shop.json("sync")["views"]] == [0, 0]


def test_what_needs_duckdb_says_so(shop: Shop) -> None:
    shop.syncer("sync")
    for command, exit_code, who in (
        (("audit", "churn"), 2, "the audit"),
        (("explain", "churn", "customer_id=1", "amount=5.0"), 1, "explain"),
        (("check", "--data"), 1, r"the proof by data \(--data\)"),
    ):
        refused = shop.try_syncer(*command)
        assert refused.exit_code == exit_code, refused.output
        assert re.search(f"{who} needs DuckDB, and the target is in postgres", refused.stderr), refused.output
        assert "Hint: docs/guides/warehouses.md says which command works where" in refused.stderr


def test_a_guard_on_drift_holds_its_view_there_too(shop: Shop, home: Database, tmp_path: Path) -> None:
    with inside(shop.folder):
        wanted = prepare(ANYWHERE)
    declared = dict(wanted.declared)
    declared["stock.v1"] = dataclasses.replace(declared["stock.v1"], guards={"in_stock": Guards(hold_on_drift=True)})
    profiles = ("main.never_built", "main.drift_stock")
    wanted = dataclasses.replace(wanted, declared=declared, drift_profiles=profiles)
    made = (
        "create table main.drift_stock as select 'stock.v1' as source, 'feature_view' as source_type, "
        "'in_stock' as feature, timestamptz '2026-01-05 00:00:00+00' as period_start, 0.4::numeric as psi, "
        "'act' as verdict"
    )

    def refused() -> str | None:
        reason = read_wishes(wanted, {}, tmp_path, Terms())[field_name("stock", 1)].refused
        return reason.message if reason else None

    assert refused() is None
    with changed(home, made, "drop table main.drift_stock"):
        assert refused() == "stock.v1: in_stock has drifted, PSI 0.40, and its guard is hold_on_drift"
        with changed(home, "alter table main.drift_stock drop psi", "select 1"):
            assert 'main.drift_stock cannot be read: column "psi" does not exist' in str(refused())


# --- the gate


def test_the_gate_asks_no_warehouse_and_compares_words(moved: Shop, tmp_path: Path) -> None:
    shutil.copytree(
        moved.folder, tmp_path / "shop", symlinks=True, ignore=shutil.ignore_patterns("registry", ".syncer", "*.json")
    )
    shop = moved.at(tmp_path / "shop", moved.redis_url)
    output = {"type": "postgres", "host": "127.0.0.1", "port": 1, "user": "nobody", "password": "x", "dbname": "none"}
    shop.write(
        "profiles.yml", json.dumps({"shop": {"target": "dev", "outputs": {"dev": {**output, "schema": "main"}}}})
    )
    assert "orders.v1: SQL accepted" in shop.syncer("register")
    assert "The registry agrees" in shop.syncer("check")
    assert "orders_v1" in shop.syncer("lineage", "orders.v1")
    text = (shop.folder / "models/stock_v1.sql").read_text()
    shop.write("models/stock_v1.sql", "-- counted by hand\n" + text)
    assert "The registry agrees" in shop.syncer("check")
    shop.write("models/stock_v1.sql", text.replace("'north'", "'North'"))
    refused = shop.try_syncer("check")
    assert refused.exit_code == 1
    assert "stock.v1: in_stock would get other values: the SQL of `stock_v1` changed" in refused.stderr
    assert "-select cast('north' as varchar)" in refused.output


# --- training sets and batches


def spine() -> pa.Table:
    """Rows around the instants at which something happens or becomes known, a NULL key and a key without a value."""
    keys = [1, 1, 1, 1, 2, 4, 5, 2**53 + 1, 3, None, 9]
    times = ["05 08", "05 09", "06 09", "20 09", "09 09", "03 00", "04 00", "09 01", "01 00", "09 00", "09 00"]
    return pa.table(
        {
            "customer_id": pa.array(keys, pa.int64()),
            "asked_at": pa.array([datetime.fromisoformat(f"2026-01-{each}:00+00:00") for each in times]),
            "amount": pa.array([float(number) for number in range(len(keys))]),
            "label": pa.array(["a", "Z", "ü", None, *"efghijk"]),
        }
    )


QUERY = (
    "select customer_id, event_at as asked_at, cast(7 as double precision) as amount from main.orders_v1 "
    "where customer_id is not null order by event_at, known_at, customer_id"
)


def test_training_sets_and_batches_have_one_hash_on_both(
    duck: Shop, moved: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for shop in (duck, moved):
        monkeypatch.chdir(shop.folder)
        path = tmp_path / f"{shop.folder.name}.parquet"
        get_historical_features(spine(), "churn", timestamp="asked_at").to_parquet(path)
        queried = get_historical_features(QUERY, "churn", timestamp="asked_at").to_arrow()
        batch = get_batch_features("churn").to_arrow()
        scored = get_batch_features("churn", entities="select cast(5 as bigint) as customer_id").to_arrow()
        hashes = [content_of(table).hash for table in (queried, batch, scored)]
        found.append((read_manifest(manifest_path(path)), hashes, [t.num_rows for t in (queried, batch, scored)]))
    (here, hashes, counts), (there, hashes_there, counts_there) = found
    assert here.content == there.content
    assert (hashes, counts) == (hashes_there, counts_there) == (hashes, [12, 4, 1])
    assert here.content.rows == 11
    assert there.views[0].history.rows == here.views[0].history.rows
    assert there.views[0].history.hash.startswith("postgres:")
    assert {"duckdb", "dbt-postgres", "adbc-driver-postgresql"} <= there.software.keys()
    monkeypatch.chdir(moved.folder)
    again = rebuild(tmp_path / "moved.parquet.manifest.json", entity_rows=spine())
    assert (again.differences, again.changes) == ((), ())
