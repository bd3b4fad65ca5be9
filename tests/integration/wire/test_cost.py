"""What memory costs: computed from the layout, and asked of a real server."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from feature_warehouse.mirror.namespace import server_memory
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import Feature, FeatureView
from feature_warehouse.store.embedded import EmbeddedServer
from feature_warehouse.store.store import Store
from feature_warehouse.wire.cost import Memory, Size, costs, message_bytes, price
from tests.support.facts import view
from tests.support.pages import Page
from tests.support.shop import Shop

LIMIT = "hash-max-ziplist-value"

#: Shapes of a hash: the length of its key, and those of its values. Lengths lie at and beside every border.
LENGTHS = (0, 1, 16, 28, 61, 63, 64, 65, 85, 124, 127, 128, 200, 255, 256, 500, 1024, 1025, 4095, 4096, 9000)
SHAPES = [
    *((key, (length,)) for key in (12, 30, 31, 45) for length in LENGTHS),
    *((29, (length,) * count) for count in (2, 4, 5, 8, 9, 40) for length in (8, 60, 64, 65, 130, 600)),
    *((29, tuple(random.Random(seed).choices(LENGTHS, k=seed % 9 + 1))) for seed in range(60)),
    *((key, (40, 40)) for key in (250, 254, 255, 256, 400)),
]


@pytest.fixture
def own(free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    """A new server: libc's allocator gives more than it is asked for where others have freed some."""
    with EmbeddedServer(port=free_port()) as server:
        yield server


@pytest.fixture(params=[64, 1024])
def limited(request: pytest.FixtureRequest, own: EmbeddedServer) -> Iterator[Any]:
    """A client of it, with texts of so many bytes stored compactly."""
    with redis.Redis.from_url(own.url) as client:
        client.config_set(LIMIT, request.param)
        yield client


def tolerance(server: Any, known: float, others: float) -> float:
    """``known`` for Redis 6 and 7, which the formula was written for; Redis 8 and Valkey lay out differently."""
    info = server.info("server")
    return known if "valkey_version" not in info and info["redis_version"].startswith(("6.", "7.")) else others


def numbered(name: str, types: list[str]) -> FeatureView:
    features = tuple(Feature(f"f{number}", type_, number) for number, type_ in enumerate(types, 2))
    return replace(view(name), features=features)


def test_a_hash_takes_what_the_server_says(limited: Any, own: EmbeddedServer) -> None:
    memory, allowed = server_memory(Store(own.url)), tolerance(limited, 0.06, 0.4)
    with limited.pipeline(transaction=False) as pipe:
        for i, (key, lengths) in enumerate(SHAPES):
            values = {f"carrier_delays:{j}": random.Random(i).randbytes(length) for j, length in enumerate(lengths)}
            pipe.hset(str(i).ljust(key, "x"), mapping=values)
            pipe.hmget(str(i).ljust(key, "x"), list(values))  # a table that has grown moves a place with each look-up
            pipe.execute_command("MEMORY", "USAGE", str(i).ljust(key, "x"), "SAMPLES", 0)
        said = pipe.execute()[2::3]
    for (key, lengths), measured in zip(SHAPES, said, strict=True):
        computed = memory.hash_bytes(key, [(len(f"carrier_delays:{j}"), length) for j, length in enumerate(lengths)])
        assert computed == pytest.approx(measured, rel=allowed, abs=tolerance(limited, 24, 32)), (key, lengths)


def test_a_server_grows_by_what_was_computed(limited: Any, own: EmbeddedServer) -> None:
    """Two views of one entity type; every second entity has but the first. Table of keys and all."""
    memory, allowed, count = server_memory(Store(own.url)), tolerance(limited, 0.1, 0.2), 20_000
    sizes = {
        "orders.v1": Size(rows=count, key_bytes=29 * count, message_bytes=60 * count),
        "visits.v1": Size(rows=count // 2, key_bytes=29 * count // 2, message_bytes=25 * count // 2),
    }
    views = [numbered("orders", ["double"]), numbered("visits", ["float"])]
    registry = Registry("shop", {each.id: each for each in views})
    for _ in range(2):  # the first time, the connection's own buffers grow too
        limited.execute_command("FLUSHALL", "SYNC")  # Valkey frees what is gone later, unless it is told to wait
        before = limited.info("memory")["used_memory"]
        with limited.pipeline(transaction=False) as pipe:
            for i in range(count):
                both = {"orders:1": b"x" * 60, "visits:1": b"x" * 25}
                pipe.hset(str(i).ljust(29, "x"), mapping=both if i % 2 else {"orders:1": both["orders:1"]})
            pipe.execute()
        grown = limited.info("memory")["used_memory"] - before
    found = costs(registry, sizes, memory)
    assert sum(cost.bytes for cost in found) == pytest.approx(grown, rel=allowed)
    assert all(sum(f.bytes_per_entity for f in c.features) == pytest.approx(c.bytes_per_entity, 1e-3) for c in found)


def test_what_a_server_does_not_say_is_as_it_is_shipped(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("blind", enabled=True, nopass=True, commands=["+@all", "-config", "-info"], keys=["*"])
        assert server_memory(Store(redis_url.replace("redis://", "redis://blind:x@"))) == Memory(told=False)
        client.acl_deluser("blind")


def test_plan_and_status_say_the_same_and_it_is_true(shop: Shop) -> None:
    shop.sql(
        "insert into orders_v1 by name select i as customer_id, timestamptz '2026-01-09' as event_at, "
        "event_at as known_at, i % 90 as orders_30d, i / 7 as spent, 'plan ' || i as plan, [i, i / 3] as basket "
        "from range(100, 3100) as t(i)",
        "insert into visits_v1 by name select i as customer_id, timestamptz '2026-01-09' as event_at, i as visits_7d "
        "from range(100, 2100) as t(i)",
    )
    planned = shop.json("plan")["cost"]
    shop.syncer("sync")
    found = shop.json("status", "--price-per-gb", "7.5")["cost"]
    assert found["memory"] == planned["memory"]
    assert planned["usd_per_month"] == planned["memory"] / 1e9 * 5
    assert found["usd_per_month"] == found["memory"] / 1e9 * 7.5
    assert found["memory"] == sum(each["memory"] for each in found["views"])
    with redis.Redis.from_url(shop.redis_url) as client:
        keys = list(client.scan_iter("shop_dev:[a-z]*"))
        measured = sum(int(client.memory_usage(key, samples=0) or 0) for key in keys)
        assert found["memory"] == pytest.approx(measured + 16 * len(keys), rel=tolerance(client, 0.1, 0.2))
    (orders,) = (each for each in found["views"] if each["view"] == "orders.v1")
    assert orders["rows"] == 3003
    services = {feature["name"]: feature["services"] for feature in orders["features"]}
    assert services == {
        "orders_30d": ["churn@1", "churn@2"],
        "plan": ["churn@1", "churn@2"],
        "spent": ["churn@2"],
        "basket": ["churn@2"],
    }
    assert "remarks" not in services, "no service reads it, so it is not online"


def test_a_feature_that_no_service_reads_any_more_is_named(shop: Shop) -> None:
    shop.remove("models/churn_v2.yml")
    shop.dbt("parse")
    shop.syncer("register")
    shop.syncer("sync")
    unread = [line for line in shop.syncer("status").splitlines() if "no service reads" in line]
    assert [line.partition(", which takes")[0] for line in unread] == [
        "orders.v1: no service reads spent",
        "orders.v1: no service reads basket",
    ]
    assert [line for line in shop.syncer("plan").splitlines() if "no service reads" in line] == unread


# --- docs/guides/cost.md ----------------------------------------------------------------------------------------------

ENTITIES, KEY = 100_000_000, len("shop_prod:user:12345678")


def rows() -> Iterator[list[str]]:
    """The table of the guide: what 100 million entities take, by what is stored of them."""
    yield ["500 numbers of 8 bytes, and nothing else", "4,000", "400", "2,000"]
    wide = Memory(compact_value=8192)
    for words, features in (
        ("500 `double`", ["double"] * 500),
        ("500 `float`", ["float"] * 500),
        ("a `float[500]`", ["float[500]"]),
        ("100 `float`, 100 `boolean`, 300 small integers", ["float"] * 100 + ["boolean"] * 100 + ["bigint"] * 300),
        ("the 60 `float` that services read", ["float"] * 60),
        ("the 60 `float`, and a Redis as it is shipped", ["float"] * 60),
    ):
        wanted = numbered("user_activity", features)
        length = message_bytes(wanted.features)
        size = Size(rows=ENTITIES, key_bytes=KEY * ENTITIES, message_bytes=length * ENTITIES)
        memory = Memory() if "shipped" in words else wide
        (cost,) = costs(Registry("shop", {wanted.id: wanted}), {wanted.id: size}, memory)
        gigabytes = cost.bytes / 1e9
        yield [words, f"{cost.bytes_per_entity:,.0f}", f"{gigabytes:,.0f}", f"{price(cost.bytes, 5):,.0f}"]


def test_the_guides_table_is_what_the_formula_says() -> None:
    _, shown = Page("guides/cost.md").table("article")
    assert shown == list(rows())
