"""Who did what: every deed leaves an entry that any machine reads, and none is stopped or broken by it."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse.errors import StoreUnavailableError, SyncerError
from feature_warehouse.monitoring import journal
from feature_warehouse.monitoring.trail import Trail, read_trail
from feature_warehouse.store.store import Store
from feature_warehouse.wire.trail import KEPT_ENTRIES, Touched
from tests.support.pages import Page
from tests.support.processes import HOST
from tests.support.shop import Shop

MORNING = datetime(2026, 1, 10, 3, tzinfo=timezone.utc)
SYNCS, CHANGES = "shop_dev:#trail:syncs", "shop_dev:#trail:changes"


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "ci-7")


def entries(shop: Shop, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(shop.syncer("log", "--json", *arguments))
    assert found["skipped"] == []
    return [{name: value for name, value in entry.items() if name != "id"} for entry in found["entries"]]


def test_the_story_of_a_namespace_is_read_anywhere(shop: Shop, ada: None, tmp_path: Path) -> None:
    shop.syncer("sync")
    shop.sql("update stock_v1 set in_stock = 900")
    shop.syncer("sync")
    shop.syncer("sync")
    shop.database.rename(shop.folder / "away")
    failed = shop.try_syncer("sync")
    assert failed.exit_code == 1
    nothing, changed, first, registered, *others = entries(shop)[1:]
    assert others == []
    assert registered.pop("at") < first["at"] < changed["at"] < nothing["at"]
    assert registered == {
        "kind": "registration",
        "user": "ada",
        "host": "ci-7",
        "what": [
            "orders.v1: orders_30d is served as field 2",
            "orders.v1: spent is served as field 3",
            "orders.v1: plan is served as field 4",
            "orders.v1: basket is served as field 5",
            "stock.v1: in_stock is served as field 2",
            "stock.v1: counted_on is served as field 3",
            "visits.v1: visits_7d is served as field 2",
            "churn@1: new service",
            "churn@2: new service",
            "transfer@1: new service",
        ],
    }
    assert [each["view"] for each in first["views"]] == ["orders.v1", "stock.v1", "visits.v1"]
    assert changed["views"] == [{"view": "stock.v1", "rows": 2, "written": 2, "removed": 0}]
    assert "views" not in nothing
    assert nothing["as_of"] == "2026-01-10T00:00:00+00:00"
    with closing(Store(shop.redis_url)) as store:
        tokens = {json.loads(each)["token"] for field, each in store.hash_fields("shop_dev:#markers").items()
                  if field[:1] != b"#"}  # fmt: skip
    assert set(nothing["tokens"]) == tokens

    # A second machine: another folder, nothing remembered, a namespace by name.
    assert "why" not in first
    elsewhere = shop.copied(tmp_path / "elsewhere", shop.redis_url)
    told = elsewhere.syncer("log", "--namespace", "shop_dev", "--limit", "2").splitlines()
    assert told[0].endswith("  sync  ada on ci-7")
    assert told[2].startswith("  failed: ")
    assert failed.stderr.splitlines()[0] == told[2].replace("  failed: ", "Error: ")
    assert told[3].endswith("  sync  ada on ci-7")
    assert told[4] == "  nothing differed"
    assert told[5].startswith("  as of 2026-01-10T00:00:00Z, in ")
    assert len(told) == 6


def test_it_is_filtered(shop: Shop) -> None:
    shop.syncer("sync")
    with closing(Store(shop.redis_url)) as store:
        trail = Trail(store, "shop_dev", shop.folder / ".syncer")
        trail.record("hold", views=[Touched(view="orders.v1")], why="spent is NULL in half of all rows")
        trail.record("rollback", views=[Touched(view="stock.v1", written=2)], as_of=MORNING)
    assert [each["kind"] for each in entries(shop)] == ["rollback", "hold", "sync", "registration"]
    assert [each["kind"] for each in entries(shop, "--limit", "1")] == ["rollback"]
    assert [each["kind"] for each in entries(shop, "--kind", "hold", "--kind", "sync")] == ["hold", "sync"]
    assert [each["kind"] for each in entries(shop, "--view", "orders")] == ["hold", "sync"]
    assert [each["kind"] for each in entries(shop, "--view", "orders.v2")] == []
    assert entries(shop, "--since", "2100-01-01") == []
    assert len(entries(shop, "--since", "2020-01-01")) == 4
    assert shop.syncer("log", "--view", "orders", "--kind", "hold").splitlines()[1:] == [
        "  orders.v1",
        "  why: spent is NULL in half of all rows",
    ]
    assert shop.syncer("log", "--namespace", "other") == "Nothing is on record of other.\n"
    assert shop.syncer("log", "--view", "nothing") == "Nothing like that is on record of shop_dev.\n"
    assert shop.try_syncer("log", "--kind", "rollbacks").exit_code == 2
    # The local journal has them too, and the report shows the syncs among them.
    local = journal.read(shop.folder / ".syncer", "shop_dev")
    assert [each["kind"] for each in local] == ["rollback", "hold", "sync", "registration"]
    assert [each["rows"] for each in journal.syncs(shop.folder / ".syncer", "shop_dev")[0]["views"]] == [3, 2, 2]


def test_an_accepted_fix_is_told_once_it_is_online(shop: Shop) -> None:
    shop.syncer("sync")
    path = shop.folder / "registry/registry.json"
    content = json.loads(path.read_text())
    content["fixes"] = [{"on": "2026-01-09", "view": "orders.v1", "features": ["spent"], "reason": "tax counted twice"}]
    path.write_text(json.dumps(content))
    shop.syncer("sync")
    shop.syncer("sync")
    told = [each["what"] for each in entries(shop, "--kind", "registration")]
    assert told[:-1] == [["orders.v1: other values of spent on purpose: tax counted twice"]]


def test_a_sync_of_some_views_announces_nothing(shop: Shop) -> None:
    shop.syncer("sync")
    shop.replace("models/visits.yml", "tier: hourly", "tier: daily")
    shop.dbt("parse")
    shop.syncer("register")
    shop.syncer("sync", "--select", "orders")
    told = entries(shop, "--kind", "registration")
    assert [each["what"] for each in told[:-1]] == [
        ["visits.v1: expected_every_seconds 3600 -> 86400", "visits.v1: tier hourly -> daily"]
    ]


def test_the_revision_is_that_of_the_project(shop: Shop) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        done = subprocess.run(["git", "-C", shop.folder, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    shop.write(".gitignore", "target\n.syncer\n*.duckdb\nlogs\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    shop.syncer("sync")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert entries(shop, "--limit", "1")[0]["revision"] == commit
    shop.write("models/new.md", "not committed")
    shop.syncer("sync")
    assert entries(shop, "--limit", "1")[0]["revision"] == f"{commit}+"
    assert f"at {commit}+" in shop.syncer("log", "--limit", "1")


def test_a_drop_is_told_and_the_rest_of_the_namespace_is_gone(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    shop.syncer("drop")
    assert [each["kind"] for each in entries(shop)] == ["sync", "registration"]
    shop.syncer("drop", "--yes")
    assert server.keys("*") == [CHANGES.encode()]
    assert 399 * 86_400 < server.ttl(CHANGES) <= 400 * 86_400
    dropped, registered = entries(shop)
    assert (dropped["kind"], registered["kind"]) == ("drop", "registration")
    assert dropped["views"] == [
        {"view": "orders.v1", "removed": 3},
        {"view": "stock.v1", "removed": 2},
        {"view": "visits.v1", "removed": 2},
    ]
    shop.syncer("drop", "--yes")  # of what is not there, there is nothing to tell
    assert len(entries(shop)) == 2


def test_a_mended_namespace_says_what_was_mended(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    server.delete("shop_dev:customer:1")
    shop.syncer("verify", "--repair")
    assert entries(shop, "--limit", "1")[0]["why"] == "verify found 2 differences"


def test_it_is_bounded_and_ends(shop: Shop, server: Any) -> None:
    with closing(Store(shop.redis_url)) as store:
        store.append([(SYNCS, b"{}")] * 3_000, KEPT_ENTRIES["syncs"])
        assert server.ttl(SYNCS) == -1
        Trail(store, "shop_dev", None).record("sync")
    assert 2_000 <= server.xlen(SYNCS) <= 2_200
    assert server.ttl(SYNCS) > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda server: server.set(SYNCS, b"x") and server.set(CHANGES, b"x"),
        lambda server: server.execute_command("ACL", "SETUSER", "default", "-xadd"),
    ],
    ids=["another type", "no right"],
)
def test_a_trail_that_cannot_be_written_is_said_once_and_the_sync_goes_on(spoil: Any, shop: Shop, server: Any) -> None:
    spoil(server)
    try:
        done = shop.try_syncer("sync")
        assert done.exit_code == 0
        assert done.stderr.count("Warning: the audit trail in Redis lacks this registration: ") == 1
        assert done.stderr.count("Warning") == 1
        shop.syncer("verify")
        assert len(journal.read(shop.folder / ".syncer", "shop_dev")) == 2
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+xadd")


def test_nobody_waits_twice_for_a_redis_that_is_away(tmp_path: Path, free_port: Any) -> None:
    with closing(Store(f"redis://{HOST}:{free_port()}/0")) as store:
        trail = Trail(store, "shop_dev", tmp_path)
        trail.record("sync", error=StoreUnavailableError("no answer\nat all"))
        started = time.monotonic()
        trail.record("hold", error=SyncerError("refused"))
        assert time.monotonic() - started < 5
    assert [each["error"] for each in journal.read(tmp_path, "shop_dev")] == ["refused", "no answer at all"]


def test_bad_entries_are_named_and_skipped(shop: Shop, server: Any) -> None:
    shop.syncer("sync")
    bad = [b"nonsense", b"[" * 100_000, b'{"at": 5}', b"\xff", b'{"at":"2026-01-10T00:00:00Z","kind":"\\u001b"}']
    for each in bad:
        server.xadd(SYNCS, {"row": each})
    server.xadd(SYNCS, {"other": b"x"})
    done = shop.try_syncer("log", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [each["kind"] for each in found["entries"]] == ["sync", "registration"]
    assert len(found["skipped"]) == len(bad) + 1
    assert done.stderr.splitlines() == [f"Warning: {each}" for each in found["skipped"]]
    assert all(each.isprintable() and len(each) < 300 for each in found["skipped"])
    server.delete(SYNCS)
    server.set(SYNCS, b"x")
    refused = shop.try_syncer("log")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "WRONGTYPE" in refused.stderr


def test_two_streams_are_merged_by_the_clock_of_redis(redis_url: str) -> None:
    with closing(Store(redis_url)) as store:
        trail = Trail(store, "other", None)
        kinds = ["sync", "hold", "sync", "sync", "release", "drop"] * 50
        for kind in kinds:
            trail.record(kind)
        read = list(read_trail(store, "other"))
        told = [each.entry.kind for each in read if each.entry]
        assert [kind for kind in told if kind != "sync"] == [kind for kind in kinds if kind != "sync"][::-1]
        moments = [int(each.id.partition("-")[0]) for each in read]
        assert (len(told), moments) == (len(kinds), sorted(moments, reverse=True))
        half = read[len(read) // 2].id.partition("-")[0]
        since = datetime.fromtimestamp(int(half) / 1000, timezone.utc)
        assert len(read) > len([*read_trail(store, "other", since=since + timedelta(milliseconds=1))]) > 0
        assert len([*read_trail(store, "other", kinds={"sync"})]) == 150


def test_the_transcript_of_the_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("guides/monitoring.md").block("log").splitlines()
    assert page[0] == "$ syncer log"
    monkeypatch.setattr("feature_warehouse.monitoring.trail.datetime", _Clock)
    monkeypatch.setattr("feature_warehouse.monitoring.trail.revision", lambda folder: "3f2c1a9b0d4e")
    monkeypatch.setattr("socket.gethostname", lambda: "ci-7")
    monkeypatch.setenv("LOGNAME", "ada")
    shop.syncer("sync")
    shop.sql("update stock_v1 set in_stock = 900")
    shop.syncer("sync")
    told = shop.syncer("log").splitlines()
    assert [_without_seconds(line) for line in told] == [_without_seconds(line) for line in page[1:]]


def _without_seconds(line: str) -> str:
    return line.rpartition(", in ")[0] or line


class _Clock(datetime):
    """Stands at three in the morning."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return MORNING
