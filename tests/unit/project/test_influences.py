"""Config keys: every one that dbt and its adapter have is known, and one that nobody knows counts."""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files
from typing import Any

import pytest
from dbt.adapters.duckdb.impl import DuckDBConfig

from feature_warehouse.project.dbt import default_config
from feature_warehouse.project.influence import Influence, changed
from feature_warehouse.project.influences import DEFINED, HARMLESS, Influences

#: Keys that count by the rule alone, looked at one by one. A new release's key turns up in none of the three lists.
COUNTING = {
    "contract",
    "csv_read_options",
    "delimiter",
    "event_time",
    "fast",
    "format",
    "json_read_options",
    "materialized",
    "merge_clauses",
    "merge_insert_condition",
    "merge_on_using_columns",
    "merge_returning_columns",
    "merge_update_condition",
    "merge_update_set_expressions",
    "on_schema_change",
    "options",
    "overwrite",
    "parameters",
    "parquet_read_options",
    "plugin",
    "post-hook",
    "pre-hook",
    "predicates",
    "quote_columns",
    "snapshot_meta_column_names",
    "snapshot_table_column_names",
    "sql_header",
}

#: Of tests, functions and Python models, which are not above a feature view.
ELSEWHERE = {
    "entry_point",
    "error_if",
    "expected_rows",
    "expected_sql",
    "fail_calc",
    "limit",
    "runtime_version",
    "store_failures",
    "store_failures_as",
    "volatility",
    "warn_if",
    "where",
}


def keys_of_macros() -> set[str]:
    """What the macros of dbt and of dbt-duckdb ask a config for."""
    asked = re.compile(r"""config\.(?:get|require)\(\s*['"]([\w-]+)""")
    folders = [files("dbt.include.global_project"), files("dbt.include.duckdb")]
    return {key for folder in folders for path in folder.rglob("*.sql") for key in asked.findall(path.read_text())}  # type: ignore[attr-defined]


def test_every_config_key_of_dbt_and_its_adapter_was_looked_at() -> None:
    known = HARMLESS.keys() | DEFINED | COUNTING
    declared = {key for kind in ("model", "seed", "snapshot", "source") for key in default_config(kind)}
    adapter = {field.name for field in dataclasses.fields(DuckDBConfig)} - {"_extra"}
    assert declared | adapter <= known
    assert keys_of_macros() <= known | ELSEWHERE
    assert not HARMLESS.keys() & (DEFINED | COUNTING)


def manifest(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    node = {
        "name": "a",
        "resource_type": "model",
        "config": default_config("model") | config,
        "columns": {},
        "depends_on": {"macros": []},
    }
    return {
        "metadata": {"project_name": "shop", "adapter_type": "duckdb"},
        "nodes": {"model.shop.a": node},
        "sources": {},
        "macros": {},
        **more,
    }


def configs(config: dict[str, Any]) -> list[tuple[str, str]]:
    found = Influences(manifest(config), {}).of("model.shop.a", {"model.shop.a": "a"}, {})
    return [(one.name, one.value) for one in found if one.kind == "config"]


@pytest.mark.parametrize("key", sorted(HARMLESS))
def test_what_is_harmless_is_left_out(key: str) -> None:
    assert configs({key: "other"}) == []


@pytest.mark.parametrize(
    ("config", "recorded"),
    [
        ({"never_heard_of": 1}, [("never_heard_of", "1")]),
        ({"sql_header": "set x = 1"}, [("sql_header", '"set x = 1"')]),
        ({"materialized": "table"}, []),
        ({"materialized": "external", "format": "csv"}, [("format", '"csv"'), ("materialized", '"external"')]),
        ({"on_schema_change": "sync_all_columns"}, []),  # of an incremental model alone
        (
            {"materialized": "incremental", "on_schema_change": "sync_all_columns"},
            [("on_schema_change", '"sync_all_columns"')],
        ),
        ({"event_time": "at"}, [("event_time", '"at"')]),
    ],
)
def test_what_is_not_dbts_default_is_recorded(config: dict[str, Any], recorded: list[tuple[str, str]]) -> None:
    assert configs(config) == recorded


@pytest.mark.parametrize(("package", "counted"), [("shop", ["on-run-end"]), ("feature_warehouse", [])])
def test_what_runs_around_every_run_counts_but_for_our_own_record(package: str, counted: list[str]) -> None:
    made = manifest({})
    made["nodes"]["operation.end"] = {
        "name": "end",
        "config": {},
        "resource_type": "operation",
        "package_name": package,
        "raw_code": "{{ feature_warehouse._record_builds(results) }}",
        "tags": ["on-run-end"],
        "index": 0,
        "depends_on": {"macros": []},
    }
    found = Influences(made, {}).of("model.shop.a", {"model.shop.a": "a"}, {})
    assert [one.name for one in found if one.kind == "run"] == counted


HOOKS = [
    ("update {{ ref('a') }} set x = 1", True),
    ("delete from main.a", True),
    ("insert into log select count(*) from {{ ref('a') }}", False),
    ("create or replace table log as select * from a; drop table a", True),
    ("set timezone = 'UTC'", True),
    ("{% set x = 1 %}delete from {{ this }}", False),
    ("create or replace macro twice(x) as x * 2", True),
    ("{{ tidy() }}", True),
    ("grant select on a to reader", False),
]


@pytest.mark.parametrize(("hook", "counts"), HOOKS)
def test_a_hook_of_another_node_counts_where_it_may_reach_the_view(hook: str, counts: bool) -> None:
    made = manifest({})
    tidy = {
        "name": "tidy",
        "package_name": "shop",
        "macro_sql": "vacuum; update a set x = 2",
        "depends_on": {"macros": []},
    }
    made["macros"]["macro.shop.tidy"] = tidy
    for name, above in (("other", ["model.shop.read"]), ("read", [])):
        made["nodes"][f"model.shop.{name}"] = made["nodes"]["model.shop.a"] | {
            "name": name,
            "raw_code": f"select {len(name)} as {name}",
            "depends_on": {"macros": ["macro.shop.tidy"] if "tidy" in hook else [], "nodes": above},
        }
    made["nodes"]["model.shop.other"]["config"] = default_config("model") | {"post-hook": [{"sql": hook}]}
    found = Influences(made, {}).of("model.shop.a", {"model.shop.a": "a"}, {})
    assert [one.place for one in found if one.kind == "elsewhere"] == ["the post-hook of `other`"] * counts
    read = [one.place for one in found if one.kind == "read"]
    assert read == [f"`{name}`, which the post-hook of `other` reads" for name in ("other", "read")] * counts


VARIABLES = {"rate": 1, "feature_warehouse_now": "2026-01-01", "shop": {"rate": 1}, "tools": {"cap": 2}}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("{{ var('rate') }}", ["rate"]),
        ('{{ var.has_var( "rate" ) }}', ["rate"]),
        ("{{ var('cap', 3) }}", ["tools.cap"]),
        ("{{ var('ra' ~ 'te') }}", ["rate", "tools.cap"]),
        ("{{ var(name) }}", ["rate", "tools.cap"]),
        ("{{ my_var('rate') }}", []),
    ],
)
def test_variables_count_by_the_names_that_are_asked_for(text: str, asked: list[str]) -> None:
    made = manifest({"post-hook": [{"sql": "update {{ this }} set x = " + text}]})
    made["macros"]["macro.tools.x"] = {
        "name": "x",
        "package_name": "tools",
        "macro_sql": "",
        "depends_on": {"macros": []},
    }
    found = Influences(made, VARIABLES).of("model.shop.a", {"model.shop.a": "a"}, {})
    assert [one.name for one in found if one.kind == "variable"] == asked


def test_a_source_that_is_moved_is_said_and_one_that_comes_is_not() -> None:
    here, there = (Influence("place", "source.raw.orders", "", schema) for schema in ('"raw_1"', '"raw_2"'))
    assert changed([here], [there]) == ['the place of `source.raw.orders`: "raw_1" -> "raw_2"']
    assert changed([], [there]) == []


def test_contracts_count_where_a_column_gets_another_type() -> None:
    def contract(types: str) -> list[Influence]:
        return [Influence("config", "a", "contract", types)]

    assert changed(contract('{"x": "int"}'), contract('{"x": "int", "y": "int"}')) == []
    assert changed([], contract('{"x": "int"}')) == []
    assert changed(contract('{"x": "int"}'), contract('{"x": "double"}')) == [
        'config contract of `a`: {"x": "int"} -> {"x": "double"}'
    ]
