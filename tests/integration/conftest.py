"""Fixtures of the integration tests: a shop, built once, with a copy for each test that wants one; the demo; Feast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support import demo as demos
from tests.support import feast as peer
from tests.support import shop as shops
from tests.support.demo import Demo
from tests.support.shop import Shop
from tests.support.wanted import want

if TYPE_CHECKING:
    from tests.support.postgres import Database, Postgres


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop that all others are copied from; not to be changed."""
    return shops.build(tmp_path_factory.mktemp("built_shop"))


@pytest.fixture
def shop(built_shop: Shop, tmp_path: Path, redis_url: str) -> Shop:
    """A shop of one's own, built and registered, with an empty Redis."""
    return built_shop.copied(tmp_path / "shop", redis_url)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once; not to be changed."""
    return demos.run(tmp_path_factory.mktemp("demo") / "clone")


@pytest.fixture
def server(shop: Shop) -> Iterator[Any]:
    """A client on the shop's Redis."""
    with redis.Redis.from_url(shop.redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def feast() -> Iterator[peer.Feast]:
    """Feast in its own environment. `make test` sets that up; pytest by hand, without it, says what is skipped."""
    want("feast", found=peer.PYTHON.exists())
    with peer.Feast() as made:
        yield made


@pytest.fixture(scope="session")
def postgres(free_port: Callable[[], int]) -> Iterator[Postgres]:
    """The run's own PostgreSQL, started when the first test wants one."""
    from tests.support import postgres as servers  # with its driver, which other tests do without

    want("postgres", found=servers.find_programs() is not None)
    with servers.Postgres(free_port()) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Database:
    """An empty database in PostgreSQL."""
    return postgres.create_database()
