"""The gate's reading of SQL that dbt compiled: the demo's models, and the rolling features of this package."""

from __future__ import annotations

import csv
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner

from feature_warehouse.sql.changes import Definitions, View, judge
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import relation_parts, with_node_names
from tests.support.projects import ROOT, Project


def definitions(manifest: dict[str, Any], target: Path) -> Definitions:
    """The nodes of a manifest, with node names in place of relations; seeds with the columns of their files."""
    nodes = {}
    names = relation_parts(
        {node["relation_name"]: node["alias"] for node in manifest["nodes"].values() if node.get("relation_name")}
    )
    for node in manifest["nodes"].values():
        if node["resource_type"] == "seed":
            with open(ROOT / node["original_file_path"], newline="") as file:
                header = next(csv.reader(file))
            nodes[node["alias"]] = Node(columns=dict.fromkeys(header, ""), closed=True)
        path = target / "compiled" / node["package_name"] / node["original_file_path"]
        if node["resource_type"] == "model" and path.exists():
            nodes[node["alias"]] = Node(sql=with_node_names(path.read_text(), names))
    return Definitions(nodes)


def views(manifest: dict[str, Any]) -> list[View]:
    found = []
    for node in manifest["nodes"].values():
        declared = (node["config"].get("meta") or {}).get("feature_view")
        if node["resource_type"] == "model" and declared:
            times = (declared["event_timestamp"], declared["available_at"])
            found.append(
                View(
                    node=node["alias"],
                    join_keys=dict.fromkeys(declared["join_keys"], ""),
                    event_timestamp=times[0],
                    available_at=None if times[1] == "none" else times[1],
                    features={
                        name: column["data_type"]
                        for name, column in node["columns"].items()
                        if name not in (*declared["join_keys"], *times)
                    },
                )
            )
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Definitions, list[View]]:
    target = tmp_path_factory.mktemp("demo")
    here = os.getcwd()
    command = ["--quiet", "--log-level-file", "none", "compile", "--full-refresh", "--select", "resource_type:model"]
    folders = ["--project-dir", str(ROOT), "--profiles-dir", str(ROOT / "profiles"), "--target-path", str(target)]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FEATURE_WAREHOUSE_DB", str(target / "empty.duckdb"))
            # columns are asked of the warehouse by what is not looked at here
            done = dbtRunner().invoke([*command, *folders, "--exclude", "training"])
    finally:
        os.chdir(here)
    assert done.success, done.exception
    manifest = json.loads((target / "manifest.json").read_text())
    return definitions(manifest, target), views(manifest)


def test_every_model_of_the_demo_is_understood(demo) -> None:
    made, all_views = demo
    for name, node in made.nodes.items():
        if node.sql is not None and not name.startswith("drift_"):  # no feature view reads what monitors it
            made.reader.relation(name)
    assert made.reader.as_text == {}
    assert len(all_views) == 9
    prints = {(view.node, feature): made.fingerprint(view, feature) for view in all_views for feature in view.features}
    assert len(prints) > 30
    assert len(set(prints.values())) == len(prints)


def test_the_demo_judged_against_itself_rewritten(demo) -> None:
    """Comments and layout gone, relations quoted: all refactors; one filter upstream: what reads it, and no more."""
    made, all_views = demo
    nodes = made.nodes
    rewritten = {
        name: Node(sql=" ".join(line for line in node.sql.split("\n") if not line.strip().startswith("--")))
        if node.sql
        else node
        for name, node in nodes.items()
    }
    other = Definitions(rewritten)
    for view in all_views:
        assert {change.kind for change in judge(made, view, other, view)} == {"refactor"}
    staging = nodes["stg_bts__flights"].sql
    assert staging is not None
    filtered = Definitions(
        nodes | {"stg_bts__flights": Node(sql=staging.replace("from instants", "from instants where distance > 100"))}
    )
    for view in all_views:
        changed = view.node not in ("airport_profile_v1", "plane_profile_v1", "origin_weather_v1")
        kinds = {change.kind for change in judge(made, view, filtered, view)}
        assert kinds == ({"value change"} if changed else {"refactor"}), view.node


def test_look_backs_of_the_demo(demo) -> None:
    made, all_views = demo
    by_name = {view.node: view for view in all_views}

    def lookback(view: str, feature: str) -> tuple[str, timedelta]:
        found = made.facts(by_name[view], feature).lookback
        return found.kind, found.span

    assert lookback("carrier_delays_v2", "delay_rate_7d") == ("bounded", timedelta(days=7))
    assert lookback("route_history_v1", "flights_28d") == ("bounded", timedelta(days=28))
    assert lookback("airport_departure_hours_v1", "departures_by_hour") == ("bounded", timedelta(days=28))
    assert lookback("plane_profile_v1", "seats") == ("bounded", timedelta(0))
    assert lookback("route_history_v1", "last_flown_on")[0] == "unbounded"
    facts = made.facts(by_name["carrier_delays_v1"], "delay_rate_7d")
    assert ("raw_flights", "arr_delay") in facts.sources
    assert facts.current_time == facts.nondeterministic == ()


ROLLING = """
{{{{ feature_warehouse.rolling_features(
    events=ref('events'), join_keys=['k'], event_timestamp='happened_at', available_at='loaded_at', features=[
        {{'name': 'n_{days}d', 'aggregate': 'count', 'window': '{days} days'}},
        {{'name': 'total_7d', 'aggregate': 'sum', 'column': 'amount', 'window': '7 days', 'data_type': 'bigint'}},
        {{'name': 'mean_1d', 'aggregate': 'avg', 'column': 'amount', 'window': '1 day'}},
        {{'name': 'spread_3d', 'aggregate': 'stddev', 'column': 'amount', 'window': '3 days'}},
        {{'name': 'last_2h', 'aggregate': 'last', 'column': 'amount', 'window': '2 hours'}}
    ]
) }}}}
"""


def test_rolling_features_are_understood_and_judged_one_by_one(tmp_path) -> None:
    columns = "'a' as k, now() as happened_at, now() as loaded_at, 1::bigint as amount"
    files = {"models/events.sql": f"{{{{ config(materialized='table') }}}} select {columns}"}
    files |= {f"models/rolling_{days}.sql": ROLLING.format(days=days) for days in (1, 30)}
    shop = Project(tmp_path, files)
    shop.dbt("run", "--select", "events")
    shop.dbt("compile")
    relation = f'"{shop.database.stem}"."main"."events"'
    made = Definitions(
        {"events": Node(columns={"k": "varchar", "happened_at": "timestamptz", "loaded_at": "timestamptz", "amount": "bigint"}, closed=True)}
        | {f"rolling_{days}": Node(sql=with_node_names(shop.compiled(f"rolling_{days}"), relation_parts({relation: "events"}))) for days in (1, 30)}
    )  # fmt: skip
    one, two = (
        View(
            node=f"rolling_{days}", join_keys={"k": ""}, event_timestamp="event_at", available_at="known_at",
            features=dict.fromkeys(["n_1d" if days == 1 else "n_30d", "total_7d", "mean_1d", "spread_3d", "last_2h"], ""),
        )
        for days in (1, 30)
    )  # fmt: skip
    made.relation(one)
    made.relation(two)
    assert made.reader.as_text == {}
    again = Definitions(made.nodes)
    assert {change.kind for change in judge(made, one, again, one)} == {"refactor"}
    spans = {feature: made.facts(two, feature).reach["events"].span for feature in two.features}
    assert spans == {
        "n_30d": timedelta(days=30), "total_7d": timedelta(days=7), "mean_1d": timedelta(days=1),
        "last_2h": timedelta(hours=2), "spread_3d": timedelta(days=3),
    }  # fmt: skip
    assert {made.facts(two, feature).lookback.kind for feature in two.features} == {"bounded"}
    kinds = {change.feature: change.kind for change in judge(made, one, made, two)}
    assert kinds["n_1d"] == "schema break"
    assert kinds["n_30d"] == "additive"
