"""Durations, and the edges of expired and stale."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import RequestError
from feature_warehouse.registry.feature import (
    NAME,
    STALE_FACTOR,
    TIERS,
    Feature,
    is_expired,
    is_stale,
    parse_duration,
    parse_instant,
    view_id,
)
from tests.support.facts import view

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=timezone.utc)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1 second", timedelta(seconds=1)),
        ("90 minutes", timedelta(minutes=90)),
        ("1 hour", timedelta(hours=1)),
        ("7 days", timedelta(hours=168)),  # a day is 24 hours, whatever the clocks do
        ("2 weeks", timedelta(days=14)),
        ("0 days", timedelta(0)),
        ("  7   DAYS ", timedelta(days=7)),
        ("36525 days", timedelta(days=36525)),
    ],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@given(st.integers(0, 10**6), st.sampled_from(["second", "minute", "hour", "day", "week"]), st.sampled_from(["", "s"]))
def test_units_are_read_with_and_without_s(count: int, unit: str, plural: str) -> None:
    assert parse_duration(f"{count} {unit}{plural}") == count * parse_duration(f"1 {unit}")


@given(st.integers(0, 10**6), st.sampled_from(["second", "minute", "hour", "day", "week"]), st.sampled_from(["", " "]))
def test_what_is_typed_may_be_short(count: int, unit: str, blank: str) -> None:
    short = f"{count}{blank}{unit[0]}"
    assert parse_duration(short, short=True) == parse_duration(f"{count} {unit}", short=True)
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(short)


@pytest.mark.parametrize("text", ["30", "s", "1.5h", "-1s", "1y", "1h30m", "30sec"])
def test_not_everything_short_is_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text, short=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "days",
        "7 d",
        "7days",
        "-7 days",
        "1.5 hours",
        "7 days ago",
        "1 month",
        "1 day 2 hours",
        "9" * 12 + " weeks",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is "):
        parse_duration(text)


def test_a_value_exactly_as_old_as_its_ttl_still_counts() -> None:
    ttl = timedelta(days=1)
    assert not is_expired(NOW - ttl, ttl, NOW)
    assert is_expired(NOW - ttl - INSTANT, ttl, NOW)
    assert not is_expired(NOW, timedelta(0), NOW)
    assert is_expired(NOW - INSTANT, timedelta(0), NOW)


def test_without_a_ttl_nothing_expires() -> None:
    assert not is_expired(datetime.min.replace(tzinfo=timezone.utc), None, NOW)


def test_a_value_ahead_of_now_is_not_expired() -> None:
    assert not is_expired(NOW + timedelta(days=1), timedelta(hours=1), NOW)


def test_a_mirror_is_stale_beyond_one_and_a_half_intervals() -> None:
    interval = timedelta(hours=1)
    assert STALE_FACTOR == 1.5
    assert not is_stale(NOW - timedelta(minutes=90), interval, NOW)
    assert is_stale(NOW - timedelta(minutes=90) - INSTANT, interval, NOW)


def test_what_is_refreshed_at_no_interval_is_never_stale() -> None:
    assert TIERS["static"] is None
    assert not is_stale(datetime(2000, 1, 1, tzinfo=timezone.utc), None, NOW)


def test_an_instant_is_one_in_utc() -> None:
    assert parse_instant("2013-02-01T05:30:00+05:30") == datetime(2013, 2, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2013-02-01", "2013-02-01T00:00", "2013-13-01T00:00Z", "0001-01-01T00:00+01", "9999-12-31T23:59-01:00"],
)
def test_texts_that_are_no_instant(text: str) -> None:
    with pytest.raises(RequestError, match="names no instant"):
        parse_instant(text)


def test_numbered_features_come_by_number_and_without_the_unserved() -> None:
    orders = view("orders", "a", "b", "c")
    features = (Feature("a", "double", 3), Feature("b", "double"), Feature("c", "double", 2))
    assert [f.name for f in view("orders", "a", features=features).numbered] == ["c", "a"]
    assert orders.numbered == ()


def test_ids_name_the_version() -> None:
    assert view("orders", "a", version=12).id == view_id("orders", 12) == "orders.v12"


@pytest.mark.parametrize("name", ["a", "delay_7d", "a__b", "a_"])
def test_names(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "A", "7d", "_a", "a-b", "a b", "a:b", "ä", "a\n"])
def test_texts_that_are_no_names(name: str) -> None:
    assert not NAME.fullmatch(name)
