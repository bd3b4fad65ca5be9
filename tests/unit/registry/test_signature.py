"""What may become of a published service version, and what its callers would trip over."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from feature_warehouse.registry.feature import FeatureService, OnDemandFeature, ServiceView
from feature_warehouse.registry.signature import breaks
from tests.support.facts import ITEM, view

VIEWS = {
    made.id: made
    for made in (
        view("orders", "plan varchar", "spent"),
        view("orders", "plan varchar", "spent", version=2),
        view("visits", "visits_7d bigint"),
        view("stock", "in_stock bigint", "price", entity=ITEM),
    )
}

FROM_ORDERS = ServiceView(view="orders.v1", features=("plan", "spent"))
SHARE = OnDemandFeature("share", "double", "amount / spent")
STORED = FeatureService(name="churn", version=1, views=(FROM_ORDERS,))
COMPUTING = replace(STORED, request={"amount": "double"}, on_demand=(SHARE,))


def changed(was: FeatureService, now: FeatureService) -> list[str]:
    return list(breaks(was, VIEWS, now, VIEWS))


def reading(*views: ServiceView) -> FeatureService:
    return replace(STORED, views=views)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        pytest.param(STORED, replace(STORED, owner="Growth"), id="owner"),
        pytest.param(
            STORED, reading(FROM_ORDERS, ServiceView(view="visits.v1", features=("visits_7d",))), id="feature added"
        ),
        pytest.param(reading(replace(FROM_ORDERS, features=("plan",))), STORED, id="feature of the same view added"),
        pytest.param(reading(replace(FROM_ORDERS, features=("spent",))), STORED, id="feature added before others"),
        pytest.param(
            COMPUTING,
            replace(COMPUTING, views=(FROM_ORDERS, ServiceView(view="visits.v1", features=("visits_7d",)))),
            id="stored feature added before those on demand",
        ),
        pytest.param(
            STORED, reading(replace(FROM_ORDERS, keys={"customer_id": "customer_id"})), id="key named as it is"
        ),
        pytest.param(
            STORED,
            reading(replace(FROM_ORDERS, features=("plan",)), replace(FROM_ORDERS, features=("spent",))),
            id="item split",
        ),
        pytest.param(
            replace(COMPUTING, request={"amount": "double", "at": "date"}),
            replace(COMPUTING, request={"at": "date", "amount": "double"}),
            id="request values are named",
        ),
        pytest.param(
            COMPUTING,
            replace(COMPUTING, on_demand=(replace(SHARE, expression="spent"),)),
            id="expression: see services",
        ),
    ],
)
def test_what_no_caller_notices_may_change(was: FeatureService, now: FeatureService) -> None:
    assert changed(was, now) == []


@pytest.mark.parametrize(
    ("was", "now", "sentences"),
    [
        (
            STORED,
            reading(replace(FROM_ORDERS, features=("plan",))),
            ["no longer gives 'spent' (spent of orders.v1), which a model reads"],
        ),
        (
            STORED,
            reading(replace(FROM_ORDERS, features=("spent",))),
            ["no longer gives 'plan' (plan of orders.v1), which a model reads"],
        ),
        (
            STORED,
            reading(replace(FROM_ORDERS, prefix="old_")),
            [
                "no longer gives 'plan' (plan of orders.v1), which a model reads",
                "no longer gives 'spent' (spent of orders.v1), which a model reads",
            ],
        ),
        (
            reading(replace(FROM_ORDERS, features=("plan",))),
            reading(ServiceView(view="orders.v2", features=("plan",))),
            ["gives 'plan' as plan of orders.v2, and gave it as plan of orders.v1"],
        ),
        (
            reading(replace(FROM_ORDERS, features=("plan",))),
            reading(ServiceView(view="orders.v1", features=("plan",), keys={"customer_id": "payer"})),
            [
                "gives 'plan' as plan of orders.v1 by payer, and gave it as plan of orders.v1",
                "asks for the key 'payer' (customer_id of orders.v1), which its callers do not give",
            ],
        ),
        (
            STORED,
            reading(replace(FROM_ORDERS, features=("spent", "plan"))),
            ["gives 'spent' before 'plan', and gave it after: models may take them in their order"],
        ),
        (
            STORED,
            reading(FROM_ORDERS, ServiceView(view="stock.v1", features=("price",), keys={"sku": "article"})),
            [
                "asks for the key 'warehouse' (warehouse of stock.v1), which its callers do not give",
                "asks for the key 'article' (sku of stock.v1), which its callers do not give",
            ],
        ),
        (
            STORED,
            replace(STORED, request={"amount": "double"}),
            ["requests the value 'amount' (double), which its callers do not give"],
        ),
        (
            COMPUTING,
            replace(COMPUTING, request={}),
            ["no longer requests the value 'amount', and refuses the callers who give it"],
        ),
        (
            COMPUTING,
            replace(COMPUTING, request={"amount": "bigint"}),
            ["requests 'amount' as bigint, and its callers give a double"],
        ),
        (
            replace(STORED, request={"amount": "double"}),
            COMPUTING,
            ["computes 'share' as well, and a row for which that fails would fail its callers"],
        ),
        (
            COMPUTING,
            replace(COMPUTING, on_demand=()),
            ["no longer gives 'share' (double computed on demand), which a model reads"],
        ),
        (
            COMPUTING,
            replace(COMPUTING, on_demand=(replace(SHARE, type="float"),)),
            ["gives 'share' as float computed on demand, and gave it as double computed on demand"],
        ),
    ],
)
def test_what_callers_would_trip_over_is_told(was: FeatureService, now: FeatureService, sentences: list[str]) -> None:
    assert changed(was, now) == sentences


def test_in_another_order_roles_give_one_another_s_values() -> None:
    roles = [ServiceView(view="stock.v1", features=("price",), keys={"sku": name}, prefix=f"{name}_") for name in "abc"]
    for order in permutations(roles):
        assert bool(changed(reading(*roles), reading(*order))) == (list(order) != roles)
