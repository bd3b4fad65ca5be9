"""Feature views and services in one line each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from feature_warehouse.registry.feature import Entity, Feature, FeatureService, FeatureView, JoinKey, ServiceView

CUSTOMER = Entity("customer", (JoinKey("customer_id", "bigint"),))
ITEM = Entity("item", (JoinKey("warehouse", "varchar"), JoinKey("sku", "varchar")))


def view(name: str, *features: str, version: int = 1, entity: Entity = CUSTOMER, **settings: Any) -> FeatureView:
    """'spent double' is a feature of that type; without a type it is a double."""
    pairs = [feature.partition(" ") for feature in features]
    made = tuple(Feature(name, type_ or "double") for name, _, type_ in pairs)
    return replace(FeatureView(name=name, version=version, entity=entity, features=made), **settings)


def service(name: str, *reads: str, version: int = 1) -> FeatureService:
    """'orders.v1 spent plan' reads two features of orders.v1."""
    pairs = [read.split() for read in reads]
    views = tuple(ServiceView(view=id_, features=tuple(features)) for id_, *features in pairs)
    return FeatureService(name=name, version=version, views=views)
