"""A new feature that means what another view's feature means already."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_warehouse.gate.alike import alike_features
from feature_warehouse.project.definition import Definition, ProjectDefinitions
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import Entity, Feature, FeatureService, FeatureView, JoinKey, ServiceView
from feature_warehouse.sql.changes import View
from feature_warehouse.sql.nodes import Node

RAW = Node(columns={"customer": "varchar", "amount": "double", "t": "timestamptz"}, closed=True)
OTHER = Node(columns={"customer": "varchar", "amount": "double", "t": "timestamptz"}, closed=True)
CUSTOMER = Entity("customer", (JoinKey("customer", "string"),))
KNOWN = "select customer, t as event_at, amount * 2 as twice, 1 as one, customer as who, t as since from ref.stg"


def definition(name: str, sql: str, features: str, ttl: int | None = None) -> Definition:
    view = View(
        node=name,
        join_keys={"customer": "varchar"},
        event_timestamp="event_at",
        features=dict.fromkeys(features.split(), ""),
    )
    nodes = {
        "source.shop.raw": RAW,
        "source.shop.other": OTHER,
        "stg": Node(sql="select * from source.shop.raw", reads=("source.shop.raw",)),
        name: Node(sql=sql, reads=("source.shop.raw", "source.shop.other", "stg")),
    }
    return Definition(view=view, nodes=nodes, ttl=ttl and timedelta(days=ttl))  # type: ignore[arg-type]


def served(name: str, features: str, version: int = 1) -> FeatureView:
    numbered = tuple(Feature(feature, "double", number + 2) for number, feature in enumerate(features.split()))
    return FeatureView(
        name=name, version=version, entity=CUSTOMER, features=numbered, event_timestamp="event_at", available_at=None
    )


CHURN = FeatureService(
    name="churn",
    version=1,
    owner="Growth",
    views=(ServiceView(view="orders.v1", features=("twice",), keys={}, prefix=""),),
)


def said(sql: str, features: str, *, name: str = "spending", version: int = 1, ttl: int | None = None) -> list[str]:
    id_ = f"{name}.v{version}"
    definitions = {
        "orders.v1": definition("orders_v1", KNOWN, "twice one who since"),
        id_: definition(f"{name}_v{version}", sql, features, ttl),
    }
    before = Registry(
        project="shop", views={"orders.v1": served("orders", "twice one who since")}, services={"churn@1": CHURN}
    )
    after = Registry(
        project="shop", views={**before.views, id_: served(name, features, version)}, services=before.services
    )
    return [str(one) for one in alike_features(before, after, ProjectDefinitions(definitions=definitions, problems={}))]


SAME = "select r.t as event_at, r.customer, 2 * r.amount as doubled from source.shop.raw as r"


@pytest.mark.parametrize(
    ("sql", "features", "expected"),
    [
        (SAME, "doubled", ["spending.v1.doubled means what orders.v1.twice means already (churn@1, Growth)"]),
        (SAME + " where r.amount > 0", "doubled", []),
        (SAME.replace("2 *", "3 *"), "doubled", []),
        (SAME.replace(".raw", ".other"), "doubled", []),
        (SAME.replace("r.t as", "r.t + interval 1 day as"), "doubled", []),
        (KNOWN, "one who since", []),  # a constant, a key, a time
        (SAME.replace("as doubled", "as doubled, 2 * r.amount as again"), "doubled again", [
            "spending.v1.doubled means what orders.v1.twice means already (churn@1, Growth)",
            "spending.v1.again means what orders.v1.twice means already (churn@1, Growth)",
        ]),
    ],
)  # fmt: skip
def test_a_new_feature_is_told_of_when_another_view_has_it(sql, features, expected) -> None:
    assert said(sql, features) == expected


def test_a_version_is_like_the_one_before_and_another_ttl_gives_other_values() -> None:
    assert said(KNOWN, "twice", name="orders", version=2) == []
    assert said(SAME, "doubled", ttl=30) == []


def test_of_two_new_ones_the_later_is_told_of_and_one_that_nobody_reads_has_no_owner() -> None:
    definitions = {name + ".v1": definition(name + "_v1", SAME, "doubled") for name in ("one", "two")}
    after = Registry(project="shop", views={name + ".v1": served(name, "doubled") for name in ("one", "two")})
    project = ProjectDefinitions(definitions=definitions, problems={})
    found = [str(one) for one in alike_features(Registry(project="shop"), after, project)]
    assert found == ["two.v1.doubled means what one.v1.doubled means already (no service reads it)"]
    assert list(alike_features(after, after, project)) == []
