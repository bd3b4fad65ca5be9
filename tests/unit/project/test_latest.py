"""The SQL of latest values at an instant that stands in its text, and who may not ask the clock beside it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from feature_warehouse.errors import ProjectError
from feature_warehouse.project import latest
from feature_warehouse.project.latest import LatestSql

CLOCK = "macro.feature_warehouse.current_instant"
MACROS = {
    CLOCK: {"depends_on": {"macros": []}},
    "macro.shop.now": {"depends_on": {"macros": [CLOCK]}},
    "macro.shop.again": {"depends_on": {"macros": ["macro.shop.now"]}},
    "macro.shop.other": {"depends_on": {"macros": []}},
}


def node(id_: str, materialized: str, *nodes: str, macros: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "unique_id": id_,
        "name": id_,
        "original_file_path": f"models/{id_}.sql",
        "config": {"materialized": materialized},
        "depends_on": {"nodes": list(nodes), "macros": list(macros)},
    }


def check(*nodes: dict[str, Any]) -> None:
    declared: Any = SimpleNamespace(unique_id="orders", view=SimpleNamespace(id="orders.v1"))
    latest._check_clock({"nodes": {each["unique_id"]: each for each in nodes}, "macros": MACROS}, declared, "postgres")


@pytest.mark.parametrize("macro", [CLOCK, "macro.shop.now", "macro.shop.again"])
@pytest.mark.parametrize("between", ["view", "ephemeral"])
def test_a_view_that_asks_the_clock_below_a_latest_value_is_refused_by_name(macro: str, between: str) -> None:
    with pytest.raises(ProjectError, match=r"models/recent\.sql: the view recent asks current_instant\(\)"):
        check(node("orders", between, "recent"), node("recent", "view", macros=(macro,)))


@pytest.mark.parametrize("built", ["table", "incremental", "snapshot"])
def test_what_a_table_holds_was_decided_when_it_was_built(built: str) -> None:
    check(node("orders", built, "recent"), node("recent", "view", macros=(CLOCK,)))
    check(node("orders", "view", "recent"), node("recent", built, macros=(CLOCK,)))


def test_other_macros_and_sources_are_no_clock() -> None:
    check(node("orders", "view", "recent", "source.raw"), node("recent", "view", macros=("macro.shop.other",)))


def test_only_the_instant_is_put_in() -> None:
    sql = LatestSql(
        {"orders.v1": f"select 1 where a <= timestamptz '{latest._ANY}' and b <= timestamptz '{latest._ANY}'"}
    )
    at = datetime(2026, 1, 10, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    instant = "2026-01-09T23:02:03.000004Z"
    assert sql.at("orders.v1", at) == f"select 1 where a <= timestamptz '{instant}' and b <= timestamptz '{instant}'"
