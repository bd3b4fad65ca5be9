"""Planning a read and putting its replies together, without a Redis."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from feature_warehouse.client.features import OnlineFeatures
from feature_warehouse.client.plan import OnStale, ServicePlan, find_service
from feature_warehouse.errors import NamespaceError, RequestError, StaleError, StoreError
from feature_warehouse.registry.document import Registry, register
from feature_warehouse.registry.feature import FeatureService, FeatureView, ServiceView
from feature_warehouse.store.fetch import Fetch
from feature_warehouse.wire.decode import message_class, microseconds
from feature_warehouse.wire.marker import Marker
from tests.support.facts import ITEM, service, view

NOW = datetime(2026, 1, 10, tzinfo=timezone.utc)

DAY = timedelta(days=1)
ORDERS = view("orders", "orders_30d bigint", "plan varchar", ttl=30 * DAY, expected_every=20 * DAY)
VISITS = view("visits", "visits_7d bigint", expected_every=20 * DAY)
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


SYNCED = Marker(entity="customer", state="done", as_of=NOW, complete_through=9)


def read(
    *replies: list[bytes | None], rows: list[Any] | None = None, now: datetime = NOW, on_stale: OnStale = "warn"
) -> OnlineFeatures:
    """What a read of ``CHURN`` gives when Redis answers for each key with the values of orders:1 and visits:1."""
    plan = ServicePlan(REGISTRY, CHURN, "shop_dev")
    wanted = plan.plan(rows or [{"customer_id": number} for number in range(len(replies))])
    values = [[], [value for reply in replies for value in reply]]
    return plan.assemble(wanted, values, [SYNCED, SYNCED], lambda _: microseconds(now), on_stale)


def fetches(service: FeatureService, rows: list[Any]) -> list[Fetch]:
    """What is fetched besides the markers."""
    return list(ServicePlan(REGISTRY, service, "shop_dev").plan(rows).fetches[1:])


def test_a_null_key_names_no_entity_and_the_other_rows_are_read() -> None:
    rows: list[Any] = [{"customer_id": None}, {"customer_id": 1}]
    assert fetches(CHURN, rows) == [Fetch([b"shop_dev:customer:1"], (b"orders:1", b"visits:1"))]
    found = read([None, message(REGISTRY.views["visits.v1"], NOW, visits_7d=2)], rows=rows)
    assert found.values == ((None, None, None), (None, None, 2))
    assert found.statuses == (("missing",) * 3, ("missing", "missing", "present"))


def test_a_service_without_a_version_is_its_highest_number() -> None:
    services = {f"churn@{n}": replace(CHURN, version=n) for n in (2, 10, 9)}
    assert find_service(services, "churn").version == 10
    assert find_service(services, "churn@9").version == 9


@pytest.mark.parametrize("wanted", ["chrun", "churn@3", "churn@", "@1", ""])
def test_an_unknown_service_is_refused(wanted: str) -> None:
    with pytest.raises(RequestError, match=f"there is no feature service '{wanted}'"):
        find_service({CHURN.id: CHURN}, wanted)


def test_all_views_of_an_entity_come_with_one_fetch_and_the_markers_with_them() -> None:
    plan = ServicePlan(REGISTRY, CHURN, "shop_dev")
    assert plan.plan([{"customer_id": 1}, {"customer_id": "2"}]).fetches == [
        Fetch([b"shop_dev:#markers"], (b"orders:1", b"visits:1", b"#registry")),
        Fetch([b"shop_dev:customer:1", b"shop_dev:customer:2"], (b"orders:1", b"visits:1")),
    ]


def test_an_entity_is_fetched_once_however_many_rows_and_roles_want_it() -> None:
    rows = [
        {"source": "north", "target": "south", "sku": "A"},
        {"source": "south", "target": "north", "sku": "A"},
        {"source": "north", "target": "north", "sku": "A"},
    ]
    plan = ServicePlan(REGISTRY, TRANSFER, "shop_dev")
    wanted = plan.plan(rows)
    assert wanted.fetches[1:] == [Fetch([b"shop_dev:item:north|A", b"shop_dev:item:south|A"], (b"stock:1",))]
    stock: list[bytes | None] = [message(REGISTRY.views["stock.v1"], NOW, in_stock=number) for number in (40, 7)]
    found = plan.assemble(wanted, [[], stock], [SYNCED], lambda _: microseconds(NOW), "warn")
    assert found.to_dict() == {"source_in_stock": [40, 7, 40], "target_in_stock": [7, 40, 40]}


def test_a_role_is_asked_for_no_more_than_its_own_views() -> None:
    """Of an entity that only one role names, what the other role wants is not fetched."""
    first = ServiceView(view="orders.v1", features=("orders_30d",), keys={"customer_id": "giver"}, prefix="giver_")
    second = ServiceView(view="visits.v1", features=("visits_7d",), keys={"customer_id": "taker"}, prefix="taker_")
    gift = FeatureService(name="gift", version=1, views=(first, second))
    registry = registered(CHURN, gift)
    plan = ServicePlan(registry, gift, "shop_dev")
    wanted = plan.plan([{"giver": 1, "taker": 2}, {"giver": 2, "taker": 3}])
    assert wanted.fetches[1:] == [
        Fetch([b"shop_dev:customer:1"], (b"orders:1",)),
        Fetch([b"shop_dev:customer:2"], (b"orders:1", b"visits:1")),
        Fetch([b"shop_dev:customer:3"], (b"visits:1",)),
    ]
    orders: list[bytes | None] = [message(registry.views["orders.v1"], NOW, orders_30d=number) for number in (10, 20)]
    visits: list[bytes | None] = [message(registry.views["visits.v1"], NOW, visits_7d=number) for number in (2, 3)]
    found = plan.assemble(
        wanted,
        [[], orders[:1], [orders[1], visits[0]], visits[1:]],
        [SYNCED, SYNCED],
        lambda _: microseconds(NOW),
        "warn",
    )
    assert found.to_dict() == {"giver_orders_30d": [10, 20], "taker_visits_7d": [2, 3]}


def test_no_rows_need_no_fetch_and_give_no_rows() -> None:
    plan = ServicePlan(REGISTRY, CHURN, "shop_dev")
    wanted = plan.plan([])
    assert [fetch.keys for fetch in wanted.fetches[1:]] == [[]]
    found = plan.assemble(wanted, [[], []], [SYNCED, SYNCED], lambda _: microseconds(NOW), "warn")
    assert found.names == ("orders_30d", "plan", "visits_7d")
    assert (found.rows(), found.to_dict()) == ([], {"orders_30d": [], "plan": [], "visits_7d": []})


def test_a_row_names_what_finds_its_entities() -> None:
    plan = ServicePlan(REGISTRY, TRANSFER, "shop_dev")
    assert plan.request_names == ["source", "sku", "target"]
    with pytest.raises(RequestError) as refused:
        plan.plan([{"source": "a", "target": "b", "sku": "c"}, {"source": "a"}])
    assert refused.value.message == "transfer@1, row 1: 'sku' is missing (it finds stock.v1)"
    assert refused.value.hint == "give source, sku, target"


@pytest.mark.parametrize("row", ["customer_id", ["customer_id", 1], 1, None])
def test_a_row_that_is_no_mapping_is_refused(row: Any) -> None:
    with pytest.raises(RequestError, match=r"churn@1, row 1: .* is no mapping"):
        ServicePlan(REGISTRY, CHURN, "shop_dev").plan([{"customer_id": 1}, row])


def message(of: FeatureView, event_time: datetime, **features: object) -> bytes:
    values = {"event_time": int(event_time.timestamp() * 1_000_000), **features}
    return message_class(of)(**values).SerializeToString()


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


def test_what_is_stored_has_an_event_time_expired_or_not() -> None:
    orders, then = REGISTRY.views["orders.v1"], NOW - timedelta(days=31)
    found = read([message(orders, NOW, orders_30d=1), None], [message(orders, then, orders_30d=1), None], [None, None])
    assert [row[0] for row in found.event_times] == [NOW, then, None]
    assert [row[0] for row in found.statuses] == ["present", "expired", "missing"]


def test_a_view_that_was_not_synced_in_time_is_stale() -> None:
    orders = REGISTRY.views["orders.v1"]
    replies: list[bytes | None] = [message(orders, NOW + DAY, orders_30d=3), None]
    late = NOW + timedelta(days=30, microseconds=1)
    assert read(replies, now=NOW + timedelta(days=30)).statuses == (("present", "null", "missing"),)
    warned = read(replies, now=late)
    assert (warned.values, warned.statuses) == (((3, None, None),), (("stale", "null", "missing"),))
    withheld = read(replies, now=late, on_stale="null")
    assert (withheld.values, withheld.statuses) == (((None, None, None),), (("stale", "stale", "missing"),))
    with pytest.raises(StaleError, match=r"churn@1: orders\.v1 was last synced at 2026-01-10T00:00:00Z, .* 1\.5 times"):
        read(replies, now=late, on_stale="raise")


def test_a_message_that_cannot_be_read_names_service_view_and_key() -> None:
    orders = message(REGISTRY.views["orders.v1"], NOW, orders_30d=3)
    for count in (1, 20):
        replies: list[list[bytes | None]] = [[orders, None] for _ in range(count)]
        replies[count // 2] = [orders[:-1], None]
        with pytest.raises(StoreError, match=rf"churn@1: .* orders\.v1 .* shop_dev:customer:{count // 2}"):
            read(*replies)


def test_only_a_view_that_was_completely_synced_is_read() -> None:
    plan = ServicePlan(REGISTRY, CHURN, "shop_dev")
    synced = replace(SYNCED, complete_through=3)
    plan.markers([synced.to_bytes(), replace(synced, complete_through=2).to_bytes()])
    plan.markers([replace(synced, state="open").to_bytes(), synced.to_bytes()])
    for marker in (None, Marker(entity="customer").to_bytes()):
        with pytest.raises(NamespaceError, match=r"visits\.v1 was never completely synced into 'shop_dev'"):
            plan.markers([synced.to_bytes(), marker])
    with pytest.raises(NamespaceError, match=r"'plan' of orders\.v1 is registered, but not yet synced"):
        plan.markers([replace(synced, complete_through=2).to_bytes(), synced.to_bytes()])


def test_a_view_of_thousands_of_features_is_planned_in_time_linear_in_them() -> None:
    """Compared with itself, so that it does not matter how busy the machine is."""

    def seconds(count: int) -> float:
        names = [f"f{number}" for number in range(count)]
        declared = view("wide", *names)
        wide = replace(declared, features=tuple(replace(f, number=n) for n, f in enumerate(declared.features, 2)))
        # Two roles, of which one reads all but one feature: the columns of the one are picked from those of both.
        reads = service("wide", f"wide.v1 {' '.join(names)}", f"wide.v1 {' '.join(names[1:])}")
        began = time.process_time()
        ServicePlan(Registry("shop", {"wide.v1": wide}, {"wide@1": reads}), reads, "shop_dev")
        return time.process_time() - began

    seconds(100)
    few, many = min(seconds(500) for _ in range(3)), min(seconds(4_000) for _ in range(2))
    assert many < 24 * few  # 8 times as many; a quadratic part made it 60 and more
