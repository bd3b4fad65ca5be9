"""One declared view over nothing, for tests that look at its definition alone."""

from __future__ import annotations

from typing import Any

from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import Entity, Feature, FeatureView, JoinKey


def declared_spending(**changed: Any) -> DeclaredView:
    """``spending.v1``: a feature ``f`` of a customer."""
    return DeclaredView(
        view=FeatureView(
            name="spending",
            version=1,
            entity=Entity("customer", (JoinKey("customer", "varchar"),)),
            features=(Feature("f", "double"),),
        ),
        path="models/spending.yml",
        unique_id="model.shop.spending.v1",
        relation="spending_v1",
        latest_unique_id=None,
        latest_relation=None,
        **changed,
    )
