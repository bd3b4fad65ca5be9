"""A client that reads by the registry file of its own repository, whatever the document in Redis says beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.errors import NamespaceError, RegistryError, RequestError, SyncerError
from feature_warehouse.registry.document import Registry, register, revision, to_text
from feature_warehouse.registry.feature import OnDemandFeature
from feature_warehouse.wire.keyspace import markers_key, registry_key
from feature_warehouse.wire.marker import REVISION
from tests.support.facts import ITEM, service, view
from tests.support.served import NAMESPACE, Served

ORDERS = view("orders", "n bigint", "plan varchar")
MORE = view("orders", "n bigint", "plan varchar", "spent double")
CHURN = replace(service("churn", "orders.v1 n plan"), on_demand=(OnDemandFeature("twice", "bigint", "n + n"),))
WIDER = replace(service("churn", "orders.v1 n plan spent"), on_demand=CHURN.on_demand)
KEY = {"customer_id": 1}


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    with Served(redis_url, [ORDERS], [CHURN]) as made:
        made.put("orders.v1", KEY, n=2, plan="gold")
        yield made


@pytest.fixture
def pinned(served: Served, tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.write_text(to_text(served.registry))
    return path


def read(served: Served, pinned: Path) -> dict[str, Any]:
    """What both clients read, who agree."""

    async def loop() -> dict[str, Any]:
        async with AsyncFeatureClient(served.url, NAMESPACE, registry=pinned) as client:
            return (await client.get_online_features("churn", [KEY])).rows()[0]

    with FeatureClient(served.url, NAMESPACE, registry=str(pinned)) as client:
        found = client.get_online_features("churn", [KEY]).rows()[0]
    assert asyncio.run(loop()) == found
    return found


def edit(served: Served, change: Callable[[Any], object]) -> None:
    """The document as somebody else would leave it."""
    document = json.loads(served.server.get(registry_key(NAMESPACE)))
    change(document)
    text = json.dumps(document).encode()
    served.server.set(registry_key(NAMESPACE), text)
    served.server.hset(markers_key(NAMESPACE), REVISION, revision(text))


def features(document: Any) -> Any:
    return document["views"]["orders.v1"]["features"]


def test_what_is_read_comes_from_the_file(served: Served, pinned: Path) -> None:
    def hostile(document: Any) -> None:
        on_demand = document["services"]["churn@1"]["on_demand"][0]
        on_demand["expression"] = "(select count(*) from range(2000000000)) + n"

    edit(served, hostile)
    assert read(served, pinned) == {"n": 2, "plan": "gold", "twice": 4}


def test_a_registry_that_has_more_or_less_goes_on(served: Served, pinned: Path) -> None:
    served.publish([MORE], [WIDER])  # Redis is newer
    served.mark(served.registry.views["orders.v1"])
    assert read(served, pinned) == {"n": 2, "plan": "gold", "twice": 4}
    other = view("stock", "in_stock integer", entity=ITEM)
    served.publish([MORE, other], [WIDER, service("depot", "stock.v1 in_stock")])
    assert read(served, pinned) == {"n": 2, "plan": "gold", "twice": 4}


def test_a_file_that_is_ahead_reads_what_was_synced(served: Served, pinned: Path) -> None:
    newer, _ = register(served.registry, {"orders.v1": MORE}, {"churn@1": WIDER})
    pinned.write_text(to_text(newer))
    with pytest.raises(NamespaceError, match=r"'spent' of orders\.v1 is registered, but not yet synced"):
        read(served, pinned)
    served.mark(newer.views["orders.v1"])  # the sync of the commit has been here, and publishes last
    assert read(served, pinned) == {"n": 2, "plan": "gold", "spent": None, "twice": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: features(d)[0].update(number=9), "n is bigint in field 9, not bigint in field 2"),
        (lambda d: features(d)[0].update(type="varchar"), "n is varchar in field 2, not bigint in field 2"),
        (lambda d: features(d)[0].update(name="m"), "has m as field 2, not n"),
        (lambda d: d["entities"]["customer"][0].update(type="varchar"), "the entity customer: customer_id varchar"),
        (lambda d: d["services"]["churn@1"].update(request={"x": "double"}), "churn@1 requests the value 'x'"),
        (lambda d: d.update(project="bakery"), "of the project 'bakery', not of 'shop'"),
    ],
)
def test_a_contradiction_is_an_error_that_names_it(
    change: Callable[[Any], object], told: str, served: Served, pinned: Path
) -> None:
    good = served.server.get(registry_key(NAMESPACE))
    with FeatureClient(served.url, NAMESPACE, registry=pinned) as client:
        assert client.get_online_features("churn", [KEY]).rows()[0]["n"] == 2
        edit(served, change)
        with pytest.raises(NamespaceError) as refused:
            client.get_online_features("churn", [KEY])
        assert told in refused.value.message
        served.server.set(registry_key(NAMESPACE), good)
        served.server.hset(markers_key(NAMESPACE), REVISION, revision(good))
        assert client.get_online_features("churn", [KEY]).rows()[0]["n"] == 2  # mended, and it goes on


def test_the_document_is_still_that_of_a_namespace(served: Served, pinned: Path) -> None:
    with FeatureClient(served.url, NAMESPACE, registry=pinned) as client:
        with pytest.raises(RequestError, match="there is no feature service 'depot'"):
            client.get_online_features("depot", [KEY])
        for text in (b"", b"[" * 100_000, b'{"format": 2}'):
            served.server.set(registry_key(NAMESPACE), text)
            served.server.hset(markers_key(NAMESPACE), REVISION, "other")
            with pytest.raises(SyncerError):
                client.get_online_features("churn", [KEY])
        served.server.flushall()
        with pytest.raises(NamespaceError):
            client.get_online_features("churn", [KEY])


@pytest.mark.parametrize("content", [None, "", "{", '{"format": 2}', to_text(Registry("shop"))[:-5]])
def test_a_file_that_is_none_is_refused_at_once(content: str | None, served: Served, tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    if content is not None:
        path.write_text(content)
    for kind in (FeatureClient, AsyncFeatureClient):
        with pytest.raises(RegistryError, match=r"registry\.json"):
            kind(served.url, NAMESPACE, registry=path)
