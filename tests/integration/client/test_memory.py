"""The clients of rows in memory beside those of a real Redis: the same questions, the same answers, the same errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.errors import RegistryError, RequestError, SyncerError
from feature_warehouse.registry.document import to_text
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature, ServiceView
from feature_warehouse.testing import InMemoryAsyncFeatureClient, InMemoryFeatureClient
from tests.integration.client.test_client import CHURN, DAY, ORDERS, STOCK, TRANSFER, VISITS
from tests.support.served import NAMESPACE, Served

SHARE = FeatureService(
    name="share",
    version=1,
    views=(ServiceView(view="visits.v1", features=("visits_7d",)),),
    request={"seen": "integer"},
    on_demand=(OnDemandFeature("share", "double", "visits_7d / nullif(seen, 0)"),),
)
LAST_VISIT = datetime(2026, 1, 1, tzinfo=timezone.utc)

#: (view, age of its event time, row): as a test of a service puts them.
ROWS: list[tuple[str, timedelta, dict[str, Any]]] = [
    ("orders", timedelta(), {"customer_id": 1, "orders_30d": 2, "spent": Decimal("25.50"), "basket": [1.5, 2]}),
    ("orders", timedelta(), {"customer_id": 2, "orders_30d": 0, "basket": []}),
    ("orders", 31 * DAY, {"customer_id": 3, "orders_30d": 3}),
    ("visits.v1", timedelta(), {"customer_id": 1, "visits_7d": 12, "last_visit": LAST_VISIT}),
    ("visits.v1", timedelta(), {"customer_id": 5, "visits_7d": 1}),
    ("stock", timedelta(), {"warehouse": "north|1", "sku": "A:\\", "in_stock": 40}),
    ("stock", timedelta(), {"warehouse": "south", "sku": "A:\\", "in_stock": 0}),
]  # fmt: skip

CUSTOMERS = [{"customer_id": number} for number in (1, 2, 3, 5, 404, 1, None)]

QUESTIONS: list[tuple[Any, ...]] = [
    ("churn", CUSTOMERS),
    ("churn@1", CUSTOMERS[:1]),
    ("churn", {"customer_id": "1"}),
    ("churn", []),
    (
        "transfer",
        [{"source": "north|1", "target": "south", "sku": "A:\\"}, {"source": "x", "target": None, "sku": "A"}],
    ),
    ("share", CUSTOMERS, {"seen": 24}),
    ("share", [{"customer_id": 1, "seen": 0}, {"customer_id": 5, "seen": 2}]),
    ("share", CUSTOMERS),
    ("share", CUSTOMERS, {"seen": "many"}),
    ("share", CUSTOMERS, {"sene": 1}),
    ("chrun", CUSTOMERS),
    (7, CUSTOMERS),
    ("churn", [{"customer": 1}]),
    ("churn", [{"customer_id": 1.5}]),
    ("churn", [{"customer_id": 1 << 70}]),
    ("churn", [7]),
    ("churn", 7),
]


@dataclass
class Pair:
    """The same rows, under the same registry, in a Redis and in memory."""

    served: Served
    registry: Path

    def answers(self, **options: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
        """(question, the answer from Redis, from memory), of both kinds of client."""
        for question in QUESTIONS:
            with FeatureClient(self.served.url, NAMESPACE, **options) as real, self.memory(**options) as double:
                yield question, answer(real.get_online_features, question), answer(double.get_online_features, question)
            one, other = asyncio.run(self._both(question, options))
            yield question, one, other

    def memory(self, **options: Any) -> InMemoryFeatureClient:
        return self.filled(InMemoryFeatureClient(self.registry, namespace=NAMESPACE, **options))

    def filled(self, double: Any) -> Any:
        for name, age, row in ROWS:
            double.put(name, [row | {"event_at": self.served.now - age}])
        return double

    async def _both(self, question: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
        double = self.filled(InMemoryAsyncFeatureClient(self.registry, namespace=NAMESPACE, **options))
        async with AsyncFeatureClient(self.served.url, NAMESPACE, **options) as real, double:
            return await async_answer(real, question), await async_answer(double, question)


def answer(ask: Any, question: tuple[Any, ...]) -> Any:
    try:
        return facts(ask(*question))
    except SyncerError as error:
        return type(error), error.message, error.hint


async def async_answer(client: Any, question: tuple[Any, ...]) -> Any:
    try:
        return facts(await client.get_online_features(*question))
    except SyncerError as error:
        return type(error), error.message, error.hint


def facts(found: Any) -> Any:
    return found.service, found.names, repr(found.values), found.statuses, found.event_times, found.changing


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> Iterator[Pair]:
    with Served(redis_url, [ORDERS, VISITS, STOCK], [CHURN, SHARE, TRANSFER]) as served:
        for name, age, row in ROWS:
            declared = served.registry.views[name if "." in name else f"{name}.v1"]
            keys = {key.name: row[key.name] for key in declared.entity.join_keys}
            values = {key: value for key, value in row.items() if key not in keys}
            if "last_visit" in values:
                values["last_visit"] = int(values["last_visit"].timestamp() * 1_000_000)
            if "spent" in values:
                values["spent"] = str(values["spent"])
            served.put(declared.id, keys, age=age, **values)
        registry = tmp_path / "registry.json"
        registry.write_text(to_text(served.registry))
        yield Pair(served, registry)


def test_what_is_asked_has_one_answer(pair: Pair) -> None:
    seen = set()
    for question, real, double in pair.answers():
        assert double == real, question
        seen.add(real[0])
    assert seen == {"churn@1", "share@1", "transfer@1", RequestError}


@pytest.mark.parametrize("on_stale", ["warn", "null", "raise"])
def test_a_view_that_was_not_synced_in_time_is_stale_in_both(pair: Pair, on_stale: str) -> None:
    long_ago = pair.served.now - 2 * DAY
    pair.served.mark(pair.served.registry.views["orders.v1"], as_of=long_ago)
    with FeatureClient(pair.served.url, NAMESPACE, on_stale=on_stale) as real:  # type: ignore[arg-type]
        online = answer(real.get_online_features, QUESTIONS[0])
    double = pair.memory(on_stale=on_stale)
    double.put("orders", [], synced_at=long_ago)
    assert answer(double.get_online_features, QUESTIONS[0]) == online
    assert "stale" in repr(online).lower()


def test_a_row_that_no_sync_would_write_is_refused_and_none_is_put(pair: Pair) -> None:
    double = pair.memory()
    for row, message in [
        ({"customer_id": 9, "orders_3d": 1}, "orders.v1, row 1: there is no column 'orders_3d'"),
        ({"orders_30d": 1}, "orders.v1, row 1: join key 'customer_id' of entity 'customer' is missing"),
        ({"customer_id": None}, "orders.v1, row 1: join key 'customer_id' of entity 'customer': None is no key"),
        ({"customer_id": 9, "orders_30d": 1.5}, "orders.v1, row 1: 'orders_30d': 1.5 (float) is not an integer"),
        ({"customer_id": 9, "spent": Decimal("1.234")}, "orders.v1, row 1: 'spent': "),
        ({"customer_id": 9, "event_at": datetime(2026, 1, 1)}, "orders.v1, row 1: 'event_at': "),
        (7, "orders.v1, row 1: 7 (int) is no mapping"),
    ]:
        with pytest.raises(RequestError) as refused:
            double.put("orders", [{"customer_id": 77, "orders_30d": 1}, row])  # type: ignore[list-item]
        assert message in refused.value.message
        assert refused.value.hint
    with pytest.raises(RequestError, match="there is no feature view 'ordres'") as refused:
        double.put("ordres", {})
    assert refused.value.hint == "did you mean 'orders.v1'?"
    assert double.get_online_features("churn", [{"customer_id": 77}]).statuses[0][0] == "missing"


def test_rows_are_put_one_by_one_replaced_and_forgotten(pair: Pair) -> None:
    at = datetime(2026, 1, 31, tzinfo=timezone.utc)
    with InMemoryFeatureClient(pair.registry, as_of=at) as double:
        assert double.get_online_features("churn", [{"customer_id": 1}]).statuses == (("missing",) * 5,)
        double.put("visits", {"customer_id": 1, "visits_7d": "3", "last_visit": "2026-01-30T10:00:00Z"})
        double.put("visits", {"customer_id": 1, "visits_7d": 4})
        found = double.get_online_features("churn", [{"customer_id": 1}])
        assert found.values[0][3:] == (4, None)
        assert found.statuses[0][3:] == ("present", "null")
        assert found.event_times[0][3] == at
        double.clear()
        assert double.get_online_features("churn", [{"customer_id": 1}]).statuses == (("missing",) * 5,)


def test_a_registry_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"nothing\.json cannot be read: No such file"):
        InMemoryFeatureClient(tmp_path / "nothing.json")


pytest_plugins = ["pytester"]

SUITE = """
def test_a_service(feature_client):
    feature_client.put("visits", {"customer_id": 1, "visits_7d": 4})
    assert feature_client.get_online_features("churn", [{"customer_id": 1}]).rows()[0]["visits_7d"] == 4

def test_another(feature_client):
    assert feature_client.get_online_features("churn", [{"customer_id": 1}]).statuses[0][3] == "missing"
"""


def test_pytest_finds_the_fixture_by_itself(pair: Pair, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    found = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    found.assert_outcomes(errors=2)
    found.stdout.fnmatch_lines(["*registry.json cannot be read: No such file*", "*Hint: keep a copy*"])
    pytester.makeini(f"[pytest]\nfeature_registry = {pair.registry}\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
