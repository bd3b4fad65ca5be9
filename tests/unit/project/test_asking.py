"""What models ask of the run that compiles them."""

from __future__ import annotations

from typing import Any

import pytest

from feature_warehouse.project.asking import asked_of_the_run


def node(text: str, *above: str, macros: tuple[str, ...] = (), materialized: str = "view") -> dict[str, Any]:
    return {
        "resource_type": "model",
        "raw_code": text,
        "config": {"materialized": materialized},
        "depends_on": {"nodes": list(above), "macros": list(macros)},
    }


def macro(package: str, text: str, *calls: str) -> dict[str, Any]:
    return {"package_name": package, "macro_sql": text, "depends_on": {"macros": list(calls)}}


def asked(nodes: dict[str, Any], macros: dict[str, Any] | None = None) -> dict[str, tuple[str, ...]]:
    return asked_of_the_run({"metadata": {"adapter_type": "duckdb"}, "nodes": nodes, "macros": macros or {}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select {{ 1 if target.name == 'prod' else 2 }}", ("target.name",)),
        ("{% if target [ 'name' ] == 'prod' %}select 1{% endif %}", ("target[",)),
        ("select {{ env_var('RATE', '1') }} * {{ env_var( 'FEE' ) }}", ("env_var('RATE')", "env_var('FEE')")),
        ("select '{{ run_started_at }}' as at, '{{ invocation_id }}' as run", ("run_started_at", "invocation_id")),
        ("select '{{ modules.datetime.date.today() }}' as today", ("modules.datetime",)),
        ("select target.name from {{ ref('a') }} as target", ()),
        ("select {{ 'a' if target.type == 'duckdb' else 'b' }}", ()),
        ("{# target.name, env_var('X') #}select {{ var('rate') }}", ()),
    ],
)
def test_what_a_text_asks(text: str, found: tuple[str, ...]) -> None:
    assert asked({"model.a": node(text)}).get("model.a", ()) == found


def test_what_macros_and_ephemeral_models_ask_is_asked_by_their_readers() -> None:
    nodes = {
        "model.inner": node("select {{ env_var('RATE') }}", materialized="ephemeral"),
        "model.view": node("select 1", "model.inner", macros=("macro.shop.outer", "macro.dbt.type")),
        "model.below": node("select 2", "model.view"),
    }
    macros = {
        "macro.shop.outer": macro("shop", "{{ inner() }}", "macro.shop.inner"),
        "macro.shop.inner": macro("shop", "{{ target.schema }}"),
        "macro.dbt.type": macro("dbt", "{{ target.name }}"),
    }
    found = asked(nodes, macros)
    assert found["model.view"] == ("target.schema", "env_var('RATE')")
    assert "model.below" not in found
