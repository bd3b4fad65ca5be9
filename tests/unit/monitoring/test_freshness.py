"""When data and syncs are too old: the borders, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse.monitoring.freshness import Freshness, Offline, Online, age_text, judge
from feature_warehouse.project.run_results import ModelRun, read_runs
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.wire.marker import Marker
from tests.support.facts import view

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=timezone.utc)
#: The project's clock stands somewhere else than dbt's.
REAL_NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
INSTANT = timedelta(microseconds=1)
DAY = timedelta(days=1)
LIMIT = 1.5 * DAY

DAILY = view("orders", "spent", expected_every=DAY)
STATIC = replace(DAILY, tier="static", expected_every=None)


def marker(as_of: datetime | None, newest: datetime | None) -> Marker:
    return Marker(entity="customer", state="done", as_of=as_of, newest_available_at=newest)


def judged(
    of: FeatureView = DAILY,
    *,
    served: bool = True,
    data: timedelta | None = DAY,
    synced: timedelta | None = DAY,
    built: timedelta | None = DAY,
    succeeded: bool = True,
    **halves: Any,
) -> Freshness:
    """``data``, ``synced``, ``built``: how long ago; None: never."""
    newest = None if data is None else NOW - data
    online = Online(marker=None if synced is None else marker(NOW - synced, newest))
    run = None if built is None else ModelRun(ended_at=REAL_NOW - built, succeeded=succeeded)
    known: dict[str, Any] = {"offline": Offline(newest_available_at=newest), "online": online, **halves}
    return judge(of, served=served, built=run, as_of=NOW, real_now=REAL_NOW, **known)


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({}, []),
        ({"data": LIMIT, "synced": LIMIT}, []),
        ({"data": -DAY}, []),  # nothing asks for it: the warehouse leaves out what is not available yet
        (
            {"data": LIMIT + INSTANT},
            [
                "the newest fact is 1 d 12 h old (expected every 1 d): "
                "dbt built it 1 d ago, so its source is quiet, or broken"
            ],
        ),
        (
            {"data": 3 * DAY, "built": 2 * DAY},
            ["the newest fact is 3 d old (expected every 1 d): dbt built it 2 d ago"],
        ),
        (
            {"data": 3 * DAY, "succeeded": False},
            ["the newest fact is 3 d old (expected every 1 d): its dbt run failed 1 d ago"],
        ),
        (
            {"data": 3 * DAY, "built": None},
            ["the newest fact is 3 d old (expected every 1 d): dbt's last command did not build it"],
        ),
        ({"data": None}, ["the warehouse has no fact of it that is available"]),
        (
            {"synced": LIMIT + INSTANT},
            ["last synced 1 d 12 h ago (expected every 1 d): see whether its scheduler still runs"],
        ),
        ({"synced": None}, ["never completely synced"]),
        ({"online": Online(marker=marker(None, None))}, ["never completely synced"]),
        ({"synced": None, "served": False}, []),
        ({"of": STATIC, "data": 900 * DAY, "synced": 900 * DAY, "built": 900 * DAY}, []),
        ({"of": STATIC, "data": 900 * DAY, "built": None}, []),
        ({"of": STATIC, "succeeded": False}, ["its last dbt run failed"]),
        ({"of": STATIC, "data": None}, ["the warehouse has no fact of it that is available"]),
        ({"of": replace(STATIC, expected_every=DAY), "data": 900 * DAY, "built": LIMIT}, []),
        (
            {"of": replace(STATIC, expected_every=DAY), "built": LIMIT + INSTANT},
            ["last built 1 d 12 h ago (expected every 1 d)"],
        ),
        # the other half goes on being judged, and what it knows of this one
        ({"offline": None, "data": 2 * DAY}, ["the newest fact online is 2 d old (expected every 1 d)"]),
        ({"offline": None, "of": STATIC, "data": 900 * DAY}, []),
        ({"offline": None, "of": replace(STATIC, expected_every=DAY), "data": 900 * DAY}, []),
        ({"online": None}, []),
    ],
)
def test_a_view_is_stale_for_a_reason(facts: dict[str, Any], reasons: list[str]) -> None:
    found = judged(**facts)
    assert list(found.reasons) == reasons
    assert (found.state == "stale") == bool(reasons)


def test_what_cannot_be_judged_is_unknown_and_never_fresh() -> None:
    assert judged(offline=None).state == "unknown"
    assert judged(online=None).state == "unknown"
    assert judged(online=None, served=False).state == "fresh"


def test_what_is_left_online_of_a_view_that_no_service_reads_is_not_judged() -> None:
    found = judged(served=False, synced=9 * DAY)
    assert (found.online, found.sync_age, found.reasons) == (None, None, ())


def test_a_source_that_is_only_quiet_is_told_from_a_dbt_that_stopped() -> None:
    assert judged(data=3 * DAY, built=LIMIT).quiet
    assert not judged(data=3 * DAY, built=LIMIT + INSTANT).quiet
    assert not judged(data=3 * DAY, built=LIMIT, succeeded=False).quiet
    assert not judged(data=DAY, built=LIMIT).quiet


def test_ages_are_measured_from_each_half() -> None:
    found = judged(data=2 * DAY, synced=DAY, built=timedelta(hours=3))
    assert (found.offline_age, found.online_age, found.sync_age) == (2 * DAY, 2 * DAY, DAY)
    assert found.built_age == timedelta(hours=3)


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=61), "1 h 1 min"),
        (timedelta(hours=24, seconds=59), "1 d"),
        (timedelta(days=2, hours=3, minutes=59), "2 d 3 h"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_an_age_is_told_in_two_units(age: timedelta, text: str) -> None:
    assert age_text(age) == text


# --- what dbt says of its last run ------------------------------------------------------------------------------------

RESULTS = {
    "metadata": {"generated_at": "2026-01-10T00:00:05Z"},
    "args": {"which": "build"},
    "results": [
        {
            "unique_id": "model.shop.orders.v1",
            "status": "success",
            "timing": [
                {"name": "compile", "completed_at": "2026-01-10T00:00:01Z"},
                {"name": "execute", "completed_at": "2026-01-10T00:00:02.500000Z"},
            ],
        },
        {"unique_id": "model.shop.visits.v1", "status": "skipped", "timing": []},
        {"unique_id": "model.shop.stock.v1", "status": "error", "timing": [{"completed_at": None}]},
    ],
}


def test_the_last_run_of_each_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run_results.json"
    path.write_text(json.dumps(RESULTS))
    end = datetime(2026, 1, 10, 0, 0, 5, tzinfo=timezone.utc)
    assert read_runs(path) == {
        "model.shop.orders.v1": ModelRun(ended_at=end.replace(second=2, microsecond=500_000), succeeded=True),
        "model.shop.visits.v1": ModelRun(ended_at=end, succeeded=False),
        "model.shop.stock.v1": ModelRun(ended_at=end, succeeded=False),
    }


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"args": {}}', json.dumps(RESULTS | {"args": {"which": "compile"}}), "\ufffe"]
)
def test_a_file_that_says_nothing_of_builds_says_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run_results.json"
    assert read_runs(path) == {}
    path.write_text(text)
    assert read_runs(path) == {}
