"""How fresh everything is: told of a real warehouse and a real Redis, and of either when the other cannot be asked."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.metrics import parsed
from tests.support.pages import Page
from tests.support.shop import CLOCK, Shop
from tests.support.watch import Watch

#: An hour after the newest visit: every view of the shop is fresh then.
AT = "2026-01-09T10:00:00Z"


def status(shop: Shop, *arguments: str, **environment: str) -> dict[str, Any]:
    """{view: its record}, and the rest under ''."""
    found = json.loads(shop.try_syncer("status", "--json", *arguments, **environment).stdout)
    return {view["view"]: view for view in found.pop("views")} | {"": found}


@contextmanager
def held(database: Path) -> Iterator[None]:
    """While another process holds the file, as a dbt run does."""
    code = f"import duckdb, time; held = duckdb.connect({str(database)!r}); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.read(1)
        try:
            yield
        finally:
            holder.kill()


def test_both_ages_are_told_for_each_view(shop: Shop) -> None:
    never = status(shop, "--as-of", AT)
    for view in ("orders.v1", "stock.v1", "visits.v1"):
        assert never[view]["reasons"] == ["never completely synced"]
    shop.syncer("sync", "--as-of", AT)
    # By event time a row is ahead of the clock, as a rolling window writes them; it is available and in time.
    shop.sql("insert into orders_v1 by name select 1 as customer_id, timestamptz '2026-01-20' as event_at, "
             "timestamptz '2026-01-09 09:30:00+00' as known_at")  # fmt: skip
    shop.sql("insert into orders_v1 by name select 1 as customer_id, event_at, timestamptz '2026-01-09 10:00:01+00' as "
             "known_at from orders_v1 where customer_id = 2")  # fmt: skip
    found = status(shop, "--as-of", AT)
    orders, visits = found["orders.v1"], found["visits.v1"]
    assert orders["offline"] == {"newest_available_at": "2026-01-09T09:30:00+00:00", "age_seconds": 1800}
    assert orders["online"].pop("published_at")
    assert orders["online"] == {
        "newest_available_at": "2026-01-08T09:00:00+00:00",
        "age_seconds": 90_000,
        "synced_at": "2026-01-09T10:00:00+00:00",
        "sync_age_seconds": 0,
        "rows": 3,
        "rolled_back": False,
    }
    assert visits["offline"]["age_seconds"] == 3600
    assert (visits["tier"], visits["expected_every_seconds"], visits["served"]) == ("hourly", 3600, True)
    assert [found[view]["state"] for view in ("orders.v1", "stock.v1", "visits.v1")] == ["fresh"] * 3
    assert found[""]["healthy"]
    assert found[""]["as_of"] == "2026-01-09T10:00:00+00:00"


def test_the_table_says_what_is_stale_and_why(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    fresh = shop.syncer("status", "--check", "--as-of", AT).splitlines()
    assert fresh[0].split("  ")[0] == "feature view"
    assert [line.split()[-1] for line in fresh[1:4]] == ["fresh"] * 3
    assert fresh[4].startswith("As of 2026-01-09T10:00:00Z, no feature view is stale (shop_dev on 127.0.0.1:")

    shop.remove("target/run_results.json")
    late = shop.try_syncer("status", "--check", "--as-of", "2026-01-09T11:30:01Z")
    assert late.exit_code == 1
    lines = late.stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["fresh", "fresh", "stale"]
    assert [line.partition(": ")[2] for line in lines if line.startswith("visits.v1: ")] == [
        "the newest fact is 2 h 30 min old (expected every 1 h): dbt's last command did not build it.",
        "last synced 1 h 30 min ago (expected every 1 h): see whether its scheduler still runs.",
    ]
    assert lines[lines.index("") - 1].startswith("As of 2026-01-09T11:30:01Z, 1 of 3 feature views is stale (")
    assert shop.try_syncer("status", "--as-of", "2026-01-09T11:30:01Z").exit_code == 0


def test_the_guide_shows_what_is_printed(shop: Shop) -> None:
    """But for how long ago dbt built the shop, and the port."""
    shop.syncer("sync", "--as-of", "2026-01-09T22:29:00Z")
    command, *shown = Page("guides/monitoring.md").block("status").splitlines()
    assert command == "$ syncer status"

    def cells(line: str) -> list[str]:
        columns = re.split(r"  +", re.sub(r"built it .*? ago|127.0.0.1:\d+", "~", line))
        return columns[:2] + columns[3:]

    assert [cells(line) for line in shop.syncer("status").partition("\n\n")[0].splitlines()] == [
        cells(line) for line in shown
    ]


def test_a_dbt_run_tells_a_quiet_source_from_a_stopped_one(shop: Shop) -> None:
    shop.syncer("sync")
    shop.dbt("run", "--select", "visits")
    found = status(shop)  # at the project's clock: fifteen hours after the newest visit
    assert found[""]["clock_stands"]
    visits = found["visits.v1"]
    assert visits["quiet"]
    assert visits["built"]
    assert visits["reasons"][0].startswith("the newest fact is 15 h old (expected every 1 h): dbt built it ")
    assert visits["reasons"][0].endswith(" ago, so its source is quiet, or broken")


def test_without_redis_the_warehouse_is_still_told(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    shop.redis_url = "redis://127.0.0.1:1/0"
    found = status(shop, "--as-of", AT)
    assert found["visits.v1"]["offline"]["age_seconds"] == 3600
    assert found["visits.v1"]["online"] is None
    assert found["visits.v1"]["state"] == "unknown"
    assert "there is no Redis at 127.0.0.1:1" in found[""]["online_unknown"]
    refused = shop.try_syncer("status", "--check", "--as-of", AT)
    assert refused.exit_code == 1, "nobody knows what is online"
    assert "Error: the half of Redis is unknown: there is no Redis at 127.0.0.1:1" in refused.stderr
    assert refused.stdout.splitlines()[3].split()[-1] == "unknown"
    assert "no feature view is known to be stale" in refused.stdout


def test_while_dbt_writes_redis_is_still_told(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    with held(shop.database):
        found = status(shop, "--check", "--as-of", AT)
        assert f"holds {shop.database}" in found[""]["offline_unknown"]
        assert found[""]["healthy"], "a file that is being written to passes"
        assert found["visits.v1"]["offline"] is None
        assert found["visits.v1"]["online"]["age_seconds"] == 3600
        later = status(shop, "--as-of", "2026-01-09T11:30:01Z")
        assert later["visits.v1"]["reasons"][0] == "the newest fact online is 2 h 30 min old (expected every 1 h)"
        assert not later[""]["healthy"]


def test_a_view_that_is_not_built_leaves_the_others_known(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    shop.sql("drop table visits_v1 cascade")
    found = status(shop, "--as-of", AT)
    assert found["visits.v1"]["state"] == "unknown"
    assert found["stock.v1"]["state"] == found["orders.v1"]["state"] == "fresh"
    assert "visits.v1 is not built" in found[""]["offline_unknown"]
    assert not found[""]["healthy"]
    assert shop.try_syncer("status", "--check", "--as-of", AT).exit_code == 1


def test_what_is_retired_and_still_online_is_said(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    shop.remove("models/stock.yml", "models/stock_v1.sql", "models/latest_stock_v1.sql", "models/transfer.yml")
    shop.dbt("parse")
    shop.syncer("register")
    assert status(shop, "--as-of", AT)[""]["retired"] == ["stock.v1"]
    assert "stock.v1: retired, and still online; `syncer sync` takes it out.\n" in shop.syncer("status", "--as-of", AT)
    shop.syncer("sync", "--as-of", AT)
    assert status(shop, "--as-of", AT)[""]["retired"] == []


def test_another_project_s_namespace_is_refused(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    shop.replace("profiles.yml", "  target: dev", "  target: prod")
    shop.replace("profiles.yml", "    dev:", "    prod:")
    shop.dbt("parse")
    refused = shop.try_syncer("status", "--namespace", "shop_dev")
    assert refused.exit_code == 1
    assert "belongs to the project 'shop', target 'dev'" in refused.stderr


def test_metrics_say_the_same(shop: Shop) -> None:
    shop.syncer("sync", "--as-of", AT)
    file = shop.folder / "status.prom"
    began = time.time()
    shop.syncer("status", "--as-of", "2026-01-09T11:30:01Z", "--metrics", str(file))
    found = {name.removeprefix("feature_warehouse_"): samples for name, samples in parsed(file.read_text()).items()}
    whole, visits, orders = (f'namespace="shop_dev"{more}' for more in ("", ',view="visits.v1"', ',view="orders.v1"'))
    assert found["stale"][visits] == 1
    assert found["stale"][orders] == 0
    assert found["expected_every_seconds"][visits] == 3600
    newest = 1767949200  # 2026-01-09T09:00:00Z
    assert found["offline_newest_available_timestamp_seconds"][visits] == newest
    assert found["online_newest_available_timestamp_seconds"][visits] == newest
    assert found["synced_timestamp_seconds"][visits] == newest + 3600
    assert found["offline_known"][whole] == found["online_known"][whole] == 1
    assert began <= found["status_timestamp_seconds"][whole] <= time.time()
    shop.redis_url = "redis://127.0.0.1:1/0"
    shop.syncer("status", "--as-of", AT, "--metrics", str(file))
    found = parsed(file.read_text())
    assert found["feature_warehouse_online_known"][whole] == 0
    assert found["feature_warehouse_synced_timestamp_seconds"] == {}


def until(look: Callable[[], Any], seen: Callable[[Any], bool]) -> Any:
    """The first look at which ``seen`` is true, within minutes."""
    deadline = time.monotonic() + 120
    while not seen(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_scheduler_that_was_killed_shows(shop: Shop) -> None:
    """Nothing says a word when a scheduler dies; the age of what it left behind does."""
    shop.replace("dbt_project.yml", CLOCK, "")
    shop.replace("models/visits.yml", "tier: hourly", "expected_every: 3 seconds")
    # A feed that never stops, whatever becomes of the scheduler: a visit for each second of the next minutes.
    shop.write(
        "models/visits_v1.sql",
        "{{ config(materialized='view') }} select cast(i as bigint) as customer_id, cast(i as bigint) as visits_7d, "
        f"to_timestamp({int(time.time())} + i - 10) as event_at from range(600) as t(i)",
    )
    shop.sql("drop table visits_v1 cascade")
    shop.dbt("run", "--select", "visits", "latest_visits_v1")
    shop.syncer("register", "--accept-fix", "a feed that never stops")
    watch = Watch(shop, "--allow-empty", "--select", "visits")
    try:
        watch.until("rows")
        watch.until("rows")
        assert not status(shop)[""]["clock_stands"]
        alive = until(lambda: status(shop)["visits.v1"], lambda view: not view["reasons"])
        assert alive["online"]["sync_age_seconds"] <= 4.5
        assert watch.end(signal.SIGKILL) == -signal.SIGKILL
    finally:
        watch.close()
    dead = until(lambda: status(shop)["visits.v1"], lambda view: bool(view["reasons"]))
    assert dead["online"]["sync_age_seconds"] > 4.5
    assert [reason.partition(" ago ")[0][:11] for reason in dead["reasons"]] == ["last synced"]
    assert not dead["quiet"]
    assert shop.try_syncer("status", "--check").exit_code == 1
