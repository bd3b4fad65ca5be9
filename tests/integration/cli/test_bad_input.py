"""Whatever a user gets wrong ends in one sentence, one hint and exit code 1, and leaves Redis as it was.

What is wrong in the declarations themselves is in `test_bad_definitions`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_warehouse.warehouse import duckdb as warehouse
from tests.support.results import assert_held, assert_refused, contents
from tests.support.shop import NOW, Shop

FUTURE = time.time() + 3600


@dataclass(frozen=True)
class Bad:
    """How a good shop is spoilt, and what `syncer sync` then says."""

    name: str
    spoil: Callable[[Shop], object]
    message: str
    hint: str


def assert_sync_refuses(bad: Bad, shop: Shop) -> None:
    before = contents(shop.redis_url)
    bad.spoil(shop)
    assert_refused(shop.try_syncer("sync", HOME=str(shop.folder)), bad.message, bad.hint)
    assert contents(shop.redis_url) == before


def cases(*bad: Bad) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bad", bad, ids=lambda bad: bad.name)


def manifest(text: str) -> Callable[[Shop], None]:
    return lambda shop: shop.write("target/manifest.json", text)


def registry(text: str) -> Callable[[Shop], None]:
    return lambda shop: shop.write("registry/registry.json", text)


def edited(path: str, old: str, new: str, *, parse: bool = False) -> Callable[[Shop], None]:
    def spoil(shop: Shop) -> None:
        shop.replace(path, old, new)
        if parse:
            shop.dbt("parse")

    return spoil


def sql(*statements: str) -> Callable[[Shop], object]:
    return lambda shop: shop.sql(*statements)


# --- the project


@cases(
    Bad("no_project", lambda shop: shop.remove("dbt_project.yml"), "is not a dbt project", "--project-dir"),
    Bad("no_profiles", lambda shop: shop.remove("profiles.yml"), "Could not find profile named 'shop'", "/.dbt"),
    Bad(
        "no_such_profile",
        edited("profiles.yml", "shop:", "bakery:"),
        "Could not find profile named 'shop'",
        "--profiles-dir",
    ),
    Bad(
        "no_such_target",
        edited("profiles.yml", "target: dev", "target: prod"),
        "does not have a target named 'prod'",
        "`dbt debug`",
    ),
    Bad("not_duckdb", edited("profiles.yml", "type: duckdb", "type: oracle"), "oracle", "dbt debug"),
    Bad(
        "torn_project",
        edited("dbt_project.yml", "profile: shop", "profile: [shop"),
        "dbt cannot read the project",
        "dbt debug",
    ),
    Bad(
        "naive_clock",
        edited(
            "dbt_project.yml",
            f'{{feature_warehouse_now: "{NOW}"}}',
            '{shop: {feature_warehouse_now: "2026-01-10"}}',
            parse=True,
        ),
        "feature_warehouse_now: '2026-01-10' names no instant",
        "date, time and zone",
    ),
    Bad("no_manifest", lambda shop: shop.remove("target/manifest.json"), "there is no manifest at", "`dbt parse`"),
    Bad("torn_manifest", manifest('{"metadata": {'), "manifest.json is not a manifest: Expecting", "`dbt parse`"),
    Bad("list_for_manifest", manifest("[]"), "is not a manifest of dbt", "`dbt parse`"),
    Bad(
        "other_manifest",
        manifest('{"metadata": {}, "nodes": {}, "exposures": {}, "macros": {}, "disabled": {}}'),
        "is not a manifest of dbt",
        "`dbt parse`",
    ),
    Bad(
        "other_schema",
        edited("profiles.yml", "threads: 2", "threads: 2\n      schema: other"),
        'made for another target: orders.v1 is "shop"."main"."orders_v1"',
        "`dbt parse --target dev`",
    ),
    Bad(
        "other_file",
        edited("profiles.yml", "path: shop.duckdb", "path: bakery.duckdb"),
        'the target \'dev\' means "bakery"."main"',
        "`dbt parse --target dev`",
    ),
)
def test_project(bad: Bad, shop: Shop) -> None:
    assert_sync_refuses(bad, shop)


def test_every_command_on_a_project_refuses_alike(shop: Shop) -> None:
    shop.remove("target/manifest.json")
    for command in ("plan", "sync", "verify"):
        assert_refused(shop.try_syncer(command), "there is no manifest at", "`dbt parse`")
        assert_refused(shop.try_syncer(command, "--json"), "there is no manifest at", "`dbt parse`")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (edited("models/orders_v1.sql", "gold", "silver"), "models/orders_v1.sql has changed"),
        (edited("models/orders.yml", "ttl: 30 days", "ttl: 31 days"), "models/orders.yml has changed"),
        (edited("dbt_project.yml", 'version: "1.0"', 'version: "1.1"'), "dbt_project.yml has changed"),
        (lambda shop: shop.write("models/deep/new.sql", "select 1 as x"), "models/deep/new.sql has changed"),
        (lambda shop: shop.write("models/deep/new.yml", "models: []"), "models/deep/new.yml has changed"),
        (lambda shop: shop.write("macros/new.sql", "{% macro new() %}{% endmacro %}"), "macros/new.sql has changed"),
        (lambda shop: shop.remove("models/visits_v1.sql"), "models/visits_v1.sql is gone"),
        (lambda shop: shop.remove("models/churn_v1.yml"), "models/churn_v1.yml is gone"),
    ],
)
def test_a_manifest_older_than_the_project_is_refused(changed: Callable[[Shop], None], what: str, shop: Shop) -> None:
    assert_sync_refuses(Bad("", changed, f"the manifest is older than the project: {what}", "`dbt parse`"), shop)


def test_what_says_nothing_about_features_does_not_age_the_manifest(shop: Shop) -> None:
    os.utime(shop.folder / "models/orders_v1.sql", (FUTURE, FUTURE))  # touched, the text is the same
    shop.write("models/visits_v1.sql", (shop.folder / "models/visits_v1.sql").read_text() + "\n\n")
    shop.write("target/compiled/shop/models/new.sql", "select 1")
    shop.write("dbt_packages/other/models/new.sql", "select 1")
    shop.write("analyses/new.sql", "select 1")
    shop.write("README.md", "New")
    shop.syncer("plan")


def test_a_project_that_was_copied_or_checked_out_anew_keeps_its_manifest(shop: Shop) -> None:
    """With a cached target folder, all files are newer than the manifest, and none has changed."""
    for path in (*shop.folder.glob("models/**/*"), *shop.folder.glob("macros/**/*"), shop.folder / "dbt_project.yml"):
        os.utime(path, (FUTURE, FUTURE))
    shop.syncer("plan")
    shop.dbt("parse")  # finds nothing to parse, and leaves what it keeps as it was
    shop.syncer("plan")


def test_what_was_parsed_after_the_manifest_was_written_does_not_vouch_for_it(shop: Shop) -> None:
    edited("models/orders.yml", "ttl: 30 days", "ttl: 31 days")(shop)
    shop.dbt("ls", "--no-write-json")
    assert_refused(shop.try_syncer("plan"), "models/orders.yml has changed", "`dbt parse`")


def test_a_new_parse_makes_the_manifest_fresh_again(shop: Shop) -> None:
    shop.write("models/orders.yml", (shop.folder / "models/orders.yml").read_text() + "# a remark\n")
    assert_refused(shop.try_syncer("plan"), "models/orders.yml has changed", "`dbt parse`")
    shop.dbt("parse")
    shop.syncer("plan")


def test_the_target_path_of_dbt_s_environment_is_followed(shop: Shop) -> None:
    (shop.folder / "target").rename(shop.folder / "elsewhere")
    assert_refused(shop.try_syncer("plan"), "there is no manifest at", "`dbt parse`")
    shop.syncer("plan", DBT_TARGET_PATH="elsewhere")


# --- the registry

LATER_FORMAT = json.dumps({"format": 2})
REGISTERED_ELSEWHERE = edited("registry/registry.json", '"project": "shop"', '"project": "bakery"')
NEW_SERVED = edited("models/churn_v1.yml", "[orders_30d, plan]", "[orders_30d, plan, basket, spent]", parse=True)


@cases(
    Bad(
        "behind", NEW_SERVED, "the registry is behind the project: churn@1: changed", "run `syncer register` and commit"
    ),
    Bad(
        "missing",
        lambda shop: shop.remove("registry/registry.json"),
        "the registry is behind the project",
        "`syncer register`",
    ),
    Bad("torn", registry('{"format": 1,'), "registry.json cannot be read: Expecting property name", "base branch"),
    Bad(
        "conflict",
        registry("<<<<<<< HEAD\n{}\n=======\n"),
        "registry.json cannot be read: Expecting value",
        "base branch",
    ),
    Bad("incomplete", registry('{"format": 1}'), "registry.json cannot be read: it has no 'entities'", "base branch"),
    Bad(
        "binary",
        lambda shop: (shop.folder / "registry/registry.json").write_bytes(b"\xff\xfe"),
        "cannot be read",
        "base branch",
    ),
    Bad(
        "later_format",
        registry(LATER_FORMAT),
        "has format 2, and this version knows format 1",
        "upgrade feature-warehouse",
    ),
    Bad(
        "of_another_project",
        REGISTERED_ELSEWHERE,
        "belongs to the project 'bakery', not to 'shop'",
        "write the new name",
    ),
)
def test_registry(bad: Bad, shop: Shop) -> None:
    assert_sync_refuses(bad, shop)


def test_a_project_without_services_serves_nothing(shop: Shop) -> None:
    shop.remove("models/churn_v1.yml", "models/churn_v2.yml", "models/transfer.yml", "registry/registry.json")
    shop.dbt("parse")
    assert_refused(
        shop.try_syncer("sync"), "no feature is served", "declare a feature service (an exposure of `type: ml`)"
    )


def test_a_file_in_place_of_the_registry_s_folder_is_named(shop: Shop) -> None:
    shutil.rmtree(shop.folder / "registry")
    shop.write("registry", "")
    assert_refused(shop.try_syncer("register"), "/registry", "mend that file")


# --- the warehouse

#: Latest-value views made by hand.
BY_HAND = "create or replace view latest_orders_v1 as select {} from orders_v1"
FAILS_AT_ONCE = """
create or replace view latest_visits_v1 as
select customer_id, event_at, error('boom')::bigint as visits_7d from visits_v1
"""
FAILS_HALF_WAY = """
create or replace view latest_visits_v1 as
select i as customer_id, timestamptz '2026-01-01' as event_at, if(i = 90000, 'x', '1')::bigint as visits_7d
from range(100000) as t(i)
"""
ALL = "customer_id, event_at, known_at, orders_30d, spent, plan, basket"


@cases(
    Bad("no_file", lambda shop: shop.database.unlink(), "/shop.duckdb", "`dbt build`"),
    Bad(
        "no_database",
        lambda shop: shop.database.write_text("hello"),
        "not a valid DuckDB database file",
        "is it a DuckDB file?",
    ),
    Bad(
        "empty_file",
        lambda shop: shop.database.write_text(""),
        "not a valid DuckDB database file",
        "is it a DuckDB file?",
    ),
    Bad(
        "no_such_setting",
        edited("profiles.yml", "TimeZone: UTC", "TimeZone: UTC, frobnicate: 1"),
        "the profile makes the setting 'frobnicate', and whether it changes values is not known",
        "take it out of the profile's settings",
    ),
)
def test_warehouse(bad: Bad, shop: Shop) -> None:
    assert_sync_refuses(bad, shop)


@cases(
    Bad("view_not_built", sql("drop table orders_v1"), "orders.v1 is not built", "`dbt build`"),
    Bad("latest_not_built", sql("drop view latest_orders_v1"), "orders.v1 is not built", "`dbt build`"),
    Bad(
        "column_missing",
        sql(BY_HAND.format("customer_id, event_at, known_at, orders_30d, plan, basket")),
        "latest_orders_v1 has no column 'spent', which orders.v1 serves",
        "`dbt run --select orders+`",
    ),
    Bad(
        "empty",
        sql("delete from visits_v1"),
        f"the latest-value view of visits.v1 is empty at {NOW[:-1]}+00:00",
        "--as-of",
    ),
    Bad(
        "duplicate_keys",
        sql(BY_HAND.format(ALL)),
        "has 1 of 5 rows whose key another row has too, for instance shop_dev:customer:1",
        "feature_warehouse.latest_values",
    ),
    Bad(
        "null_key",
        sql("update orders_v1 set customer_id = null where customer_id = 2", BY_HAND.format(ALL)),
        "orders.v1: join key 'customer_id' is NULL in at least 1 row",
        "not_null",
    ),
    Bad(
        "null_event_time",
        sql("update orders_v1 set event_at = null where customer_id = 2", BY_HAND.format(ALL)),
        "orders.v1: event time 'event_at' is NULL in at least 1 row",
        "not_null",
    ),
    Bad(
        "infinite_event_time",
        sql("update visits_v1 set event_at = '-infinity' where customer_id = 5"),
        "'event_at' is infinite or outside the years 1 to 9999 in at least 1 row, first for shop_dev:customer:5",
        "filter these values",
    ),
    Bad(
        "infinite_date",
        sql("update stock_v1 set counted_on = 'infinity'"),
        "stock.v1: 'counted_on' is infinite or outside the years 1 to 9999 in",
        "filter these values",
    ),
    Bad(
        "null_in_list",
        sql("update orders_v1 set basket = [1, null] where customer_id = 1"),
        "orders.v1: 'basket' holds NULL inside a list in at least 1 row, first for shop_dev:customer:1",
        "replace or filter",
    ),
    Bad(
        "type_drift",
        sql("alter table orders_v1 alter orders_30d type bigint", BY_HAND.format(ALL)),
        "orders.v1: 'orders_30d' is registered as integer, came as bigint",
        "under its contract",
    ),
    Bad(
        "fails_at_once",
        sql(FAILS_AT_ONCE),
        "visits.v1 cannot be read: boom",
        "`dbt build`",
    ),
    Bad(
        "fails_half_way",
        sql(FAILS_HALF_WAY),
        "visits.v1 cannot be read: Could not convert string 'x' to INT64",
        "`dbt build`",
    ),
)
def test_a_view(bad: Bad, shop: Shop) -> None:
    """It holds itself: what is wrong with it is said, and the two others are published."""
    bad.spoil(shop)
    done = shop.try_syncer("sync")
    why, advice, *more = done.stderr.splitlines()
    assert (done.exit_code, more) == (1, [])
    assert why.startswith("Held: ")
    assert bad.message in why
    assert advice.startswith("Hint: ")
    assert bad.hint in advice
    assert done.stdout.count(" (held)") == 1
    with redis.Redis.from_url(shop.redis_url) as server:
        markers: Any = server.hgetall("shop_dev:#markers")
    assert sorted(b'"state": "done"' in text for name, text in markers.items() if name[:1] != b"#") == [
        False,
        True,
        True,
    ]


def test_a_served_view_without_latest_value_view_names_the_file_to_make(shop: Shop) -> None:
    shop.remove("models/latest_visits_v1.sql")
    shop.dbt("parse")
    line = "{{ feature_warehouse.latest_values(ref('visits', v=1)) }}"
    assert_held(
        shop.try_syncer("sync"),
        "visits.v1",
        "visits.v1 has no latest-value view",
        f"models/latest_visits_v1.sql with one line: {line}",
    )


@contextmanager
def held(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has ``database`` open for writing, as a dbt run does."""
    code = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", code, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_warehouse_that_another_process_holds_is_waited_for(shop: Shop) -> None:
    with held(shop.database) as holder:
        started = time.monotonic()
        threading.Timer(0.3, holder.kill).start()
        shop.syncer("sync")
        assert time.monotonic() - started > 0.3


def test_a_warehouse_that_stays_held_is_given_up_with_the_holder_s_name(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "LOCK_SECONDS", 0.2)
    with held(shop.database) as holder:
        refused = shop.try_syncer("sync")
        assert_refused(refused, f"holds {shop.database}, and still did after 0.2 s", "wait for that dbt run")
        assert f"(PID {holder.pid})" in refused.stderr
    assert contents(shop.redis_url) == {}
