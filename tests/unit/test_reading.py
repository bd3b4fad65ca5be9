"""Planning a read and putting its replies together, without a Redis."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from syncer.decode import Decoder, message_class
from syncer.errors import NamespaceError, RequestError
from syncer.feature import FeatureService, FeatureView, ServiceView
from syncer.marker import Marker
from syncer.reading import OnlineFeatures, assemble, check_markers, find_service, plan_read, request_names
from syncer.registry import Registry, register
from tests.support.facts import ITEM, service, view

NOW = datetime(2026, 1, 10, tzinfo=timezone.utc)

ORDERS = view("orders", "orders_30d bigint", "plan varchar", ttl=timedelta(days=30))
VISITS = view("visits", "visits_7d bigint")
STOCK = view("stock", "in_stock integer", entity=ITEM)
CHURN = service("churn", "orders.v1 orders_30d plan", "visits.v1 visits_7d", version=1)
TRANSFER = FeatureService(
    name="transfer",
    version=1,
    views=tuple(
        ServiceView(view="stock.v1", features=("in_stock",), keys={"warehouse": role}, prefix=f"{role}_")
        for role in ("source", "target")
    ),
)


def registered(*services: FeatureService) -> Registry:
    registry, _ = register(
        Registry("shop"), {v.id: v for v in (ORDERS, VISITS, STOCK)}, {service.id: service for service in services}
    )
    return registry


REGISTRY = registered(CHURN, TRANSFER)


def test_a_null_key_names_no_entity_and_the_other_rows_are_read() -> None:
    rows: list[dict[str, object]] = [{"customer_id": None}, {"customer_id": 1}]
    plan = plan_read(REGISTRY, CHURN, "shop_dev", rows)
    assert [key for key, _ in plan.fetches] == ["shop_dev:customer:1"]
    decoders = {id_: Decoder(view) for id_, view in REGISTRY.views.items()}
    found = assemble(plan, [[None] * 2], decoders, dict.fromkeys(REGISTRY.views, NOW))
    assert found.values[0] == (None,) * len(found.names)
    assert set(found.statuses[0]) == {"missing"}


def test_a_service_without_a_version_is_its_highest_number() -> None:
    services = {f"churn@{n}": replace(CHURN, version=n) for n in (2, 10, 9)}
    assert find_service(services, "churn").version == 10
    assert find_service(services, "churn@9").version == 9


@pytest.mark.parametrize("wanted", ["chrun", "churn@3", "churn@", "@1", ""])
def test_an_unknown_service_is_refused(wanted: str) -> None:
    with pytest.raises(RequestError, match=f"there is no feature service '{wanted}'"):
        find_service({CHURN.id: CHURN}, wanted)


def test_all_views_of_an_entity_come_with_one_fetch() -> None:
    plan = plan_read(REGISTRY, CHURN, "shop_dev", [{"customer_id": 1}])
    assert plan.fetches == (("shop_dev:customer:1", ("orders:1", "visits:1")),)


def test_an_entity_is_fetched_once_however_many_rows_and_roles_want_it() -> None:
    rows = [
        {"source": "north", "target": "south", "sku": "A"},
        {"source": "south", "target": "north", "sku": "A"},
        {"source": "north", "target": "north", "sku": "A"},
    ]
    plan = plan_read(REGISTRY, TRANSFER, "shop_dev", rows)
    assert plan.fetches == (("shop_dev:item:north|A", ("stock:1",)), ("shop_dev:item:south|A", ("stock:1",)))
    assert plan.places == (((0, 0), (1, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 0)))


def test_no_rows_need_no_fetch_and_give_no_rows() -> None:
    plan = plan_read(REGISTRY, CHURN, "shop_dev", [])
    assert plan.fetches == ()
    found = assemble(plan, [], {}, {})
    assert found.names == ("orders_30d", "plan", "visits_7d")
    assert (found.rows(), found.to_dict()) == ([], {"orders_30d": [], "plan": [], "visits_7d": []})


def test_a_row_names_what_finds_its_entities() -> None:
    assert request_names(REGISTRY, TRANSFER) == ["source", "sku", "target"]
    with pytest.raises(RequestError) as refused:
        plan_read(REGISTRY, TRANSFER, "shop_dev", [{"source": "a", "target": "b", "sku": "c"}, {"source": "a"}])
    assert refused.value.message == "transfer@1, row 1: 'sku' is missing (it finds stock.v1)"
    assert refused.value.hint == "give source, sku, target"


def message(of: FeatureView, event_time: datetime, **features: object) -> bytes:
    values = {"event_time": int(event_time.timestamp() * 1_000_000), **features}
    return message_class(of)(**values).SerializeToString()


def read(*replies: list[bytes | None], now: datetime = NOW) -> OnlineFeatures:
    rows = [{"customer_id": number} for number in range(len(replies))]
    decoders = {id_: Decoder(view) for id_, view in REGISTRY.views.items()}
    return assemble(plan_read(REGISTRY, CHURN, "shop_dev", rows), replies, decoders, dict.fromkeys(REGISTRY.views, now))


def test_each_value_has_a_status() -> None:
    orders, visits = REGISTRY.views["orders.v1"], REGISTRY.views["visits.v1"]
    found = read(
        [message(orders, NOW, orders_30d=0, plan="gold"), message(visits, NOW, visits_7d=2)],
        [message(orders, NOW, orders_30d=3), None],
        [message(orders, NOW - timedelta(days=31), orders_30d=3, plan="gold"), message(visits, NOW)],
    )
    assert found.values == ((0, "gold", 2), (3, None, None), (None, None, None))
    assert found.statuses == (
        ("present", "present", "present"),
        ("present", "null", "missing"),
        ("expired", "expired", "null"),
    )


def test_a_value_counts_for_exactly_its_ttl() -> None:
    orders = REGISTRY.views["orders.v1"]
    replies: list[bytes | None] = [message(orders, NOW, orders_30d=1, plan="gold"), None]
    assert read(replies, now=NOW + timedelta(days=30)).statuses[0][0] == "present"
    assert read(replies, now=NOW + timedelta(days=30, microseconds=1)).statuses[0][0] == "expired"


def test_only_a_view_that_was_completely_synced_is_read() -> None:
    plan = plan_read(REGISTRY, CHURN, "shop_dev", [{"customer_id": 1}])
    synced = Marker(entity="customer", state="done", as_of=NOW, complete_through=3)
    check_markers(plan, {"orders:1": synced, "visits:1": replace(synced, complete_through=2)}, "shop_dev")
    check_markers(plan, {"orders:1": replace(synced, state="open"), "visits:1": synced}, "shop_dev")
    for marker in (None, Marker(entity="customer")):
        with pytest.raises(NamespaceError, match=r"visits\.v1 was never completely synced into 'shop_dev'"):
            check_markers(plan, {"orders:1": synced, "visits:1": marker}, "shop_dev")
    with pytest.raises(NamespaceError, match=r"'plan' of orders\.v1 is registered, but not yet synced"):
        check_markers(plan, {"orders:1": replace(synced, complete_through=2), "visits:1": synced}, "shop_dev")
