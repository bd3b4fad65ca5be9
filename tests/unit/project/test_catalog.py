"""What the manifest says for people."""

from __future__ import annotations

from typing import Any

from feature_warehouse.project.catalog import Relation, drift_tables, read_consumers, read_relations, upstream


def relation(name: str, *parents: str, **more: Any) -> Relation:
    usual: dict[str, Any] = {"kind": "model", "path": "", "description": "", "sql": "", "columns": {}, "drift": None}
    return Relation(unique_id=name, name=name, parents=parents, relation=f'"{name}"', **{**usual, **more})


def named(*relations: Relation) -> dict[str, Relation]:
    return {each.unique_id: each for each in relations}


def test_what_is_upstream_stands_in_layers_each_after_all_that_it_reads() -> None:
    found = named(
        relation("view", "stage", "days", "elsewhere"),
        relation("stage", "raw"),
        relation("days", "stage"),
        relation("raw"),
        relation("other", "raw"),
    )
    layers = [[each.name for each in layer] for layer in upstream(found, "view")]
    assert layers == [["raw"], ["stage"], ["days"]]
    assert upstream(found, "raw") == []


def test_a_profile_is_found_with_its_reference() -> None:
    found = named(
        relation("view"),
        relation("reference", "view", drift="reference"),
        relation("profile", "view", "reference", drift="profile"),
        relation("alone", "view", drift="profile"),
        relation("reader", "reference"),
    )
    assert list(drift_tables(found)) == [('"profile"', '"reference"')]


MANIFEST: dict[str, Any] = {
    "nodes": {
        "model.shop.orders.v2": {
            "unique_id": "model.shop.orders.v2",
            "resource_type": "model",
            "name": "orders",
            "version": 2,
            "config": {},
            "original_file_path": "models/orders_v2.sql",
            "description": " What was ordered.\n",
            "raw_code": "select 1\n",
            "columns": {"spent": {"name": "spent", "description": None}},
            "depends_on": {"nodes": ["source.shop.raw.orders", "source.shop.raw.orders"]},
            "relation_name": '"shop"."main"."orders_v2"',
        },
        "test.shop.one": {"unique_id": "test.shop.one", "resource_type": "test"},
    },
    "sources": {
        "source.shop.raw.orders": {
            "unique_id": "source.shop.raw.orders",
            "resource_type": "source",
            "source_name": "raw",
            "name": "orders",
            "config": {"meta": {}},
            "original_file_path": "models/__sources.yml",
            "columns": {},
        }
    },
    "exposures": {
        "exposure.shop.churn_v1": {
            "name": "churn_v1",
            "label": None,
            "description": None,
            "owner": {"name": None, "email": ["a@example.com", "b@example.com"]},
            "config": {"meta": {"feature_service": {"name": "churn", "version": 1}}},
        },
        "exposure.shop.board": {"name": "board", "config": {"meta": {}}},
        "exposure.shop.broken": {"name": "broken", "config": {"meta": {"feature_service": "churn"}}},
    },
}


def test_models_and_sources_are_read_and_nothing_else() -> None:
    orders, raw = read_relations(MANIFEST).values()
    assert (orders.name, orders.description, orders.sql) == ("orders.v2", "What was ordered.", "select 1")
    assert (orders.columns, orders.parents) == ({"spent": ""}, ("source.shop.raw.orders",))
    assert (raw.name, raw.kind, raw.sql, raw.relation) == ("raw.orders", "source", "", None)


def test_a_service_s_exposure_says_whom_to_ask() -> None:
    ((id_, consumer),) = read_consumers(MANIFEST).items()
    assert (id_, consumer.label, consumer.owner) == ("churn@1", "churn_v1", "")
    assert consumer.email == "a@example.com, b@example.com"
