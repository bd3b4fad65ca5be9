"""Redis goes away under load: who reads gets an error within its deadline, no wrong value, and later goes on by itself.

An outage of a minute, at a twentieth of the scale: three seconds, with a deadline of a quarter of one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.errors import StoreError
from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.shop import Shop

AWAY, DEADLINE = 3.0, 0.25
READERS = 4

#: What a machine that is busy elsewhere may add to a deadline.
SLACK, RECOVERY = 2.0, 30.0


def test_a_redis_that_is_away_under_load(shop: Shop, tmp_path: Path, free_port: Callable[[], int]) -> None:
    server = EmbeddedServer(port=free_port(), directory=tmp_path / "redis").start()
    try:
        shop.redis_url = server.url
        shop.syncer("sync")
        right = {"orders_30d": 2, "plan": "gold", "visits_7d": 12}
        ended = threading.Event()
        # who, began, took, what came: None stands for the caller's default
        reads: list[tuple[int, float, float, Any]] = []
        failures: list[BaseException] = []

        def note(began: float, found: Any) -> None:
            reads.append((threading.get_ident(), began, time.monotonic() - began, found))

        def read() -> None:
            try:
                with FeatureClient(server.url, "shop_dev", timeout=DEADLINE, deadline=DEADLINE) as client:
                    while not ended.is_set():
                        began = time.monotonic()
                        try:
                            note(began, client.get_online_features("churn@1", [{"customer_id": 1}]).rows()[0])
                        except StoreError:
                            note(began, None)
                        time.sleep(0.005)
            except BaseException as error:
                failures.append(error)

        async def read_async() -> None:
            async with AsyncFeatureClient(server.url, "shop_dev", timeout=DEADLINE, deadline=DEADLINE) as client:
                while not ended.is_set():
                    began = time.monotonic()
                    try:
                        found = await client.get_online_features("churn@1", [{"customer_id": 1}])
                        note(began, found.rows()[0])
                    except StoreError:
                        note(began, None)
                    await asyncio.sleep(0.005)

        def run_async() -> None:
            try:
                asyncio.run(read_async())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=target) for target in (*[read] * READERS, run_async)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.stop()
        left = time.monotonic()
        time.sleep(AWAY)
        starting = time.monotonic()  # it may answer before start() has returned
        server.start()
        back = time.monotonic()

        def readers_since() -> set[int]:
            """Who has read a value since Redis is back."""
            return {who for who, began, _, found in tuple(reads) if began > back and found is not None}

        while len(readers_since()) < len(threads) and time.monotonic() < back + RECOVERY:
            time.sleep(0.05)
        ended.set()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert {str(found) for *_, found in reads} == {str(right), "None"}
        assert max(took for _, _, took, _ in reads) < DEADLINE + SLACK
        while_away = [found for _, began, took, found in reads if left < began and began + took < starting]
        assert while_away
        assert not any(while_away)
        assert len(readers_since()) == len(threads), "not each reader goes on by itself"
    finally:
        server.stop()
