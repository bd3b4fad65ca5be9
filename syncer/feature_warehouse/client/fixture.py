"""A plugin of pytest, found by itself: the fixture ``feature_client``. It loads nothing of ours before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from feature_warehouse.client.memory import InMemoryFeatureClient


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "feature_registry",
        "the registry.json that feature_client reads by, from the folder of pytest's configuration",
        default="registry/registry.json",
    )


@pytest.fixture
def feature_client(pytestconfig: pytest.Config) -> Iterator[InMemoryFeatureClient]:
    """An ``InMemoryFeatureClient`` without rows, by the registry that the setting feature_registry names."""
    from feature_warehouse.client.memory import InMemoryFeatureClient
    from feature_warehouse.errors import RegistryError

    path = pytestconfig.rootpath / pytestconfig.getini("feature_registry")
    try:
        client = InMemoryFeatureClient(path)
    except RegistryError as error:
        pytest.fail(
            f"{error.message}\nHint: keep a copy of the feature warehouse's registry.json there, or name another with "
            "feature_registry in pytest's configuration",
            pytrace=False,
        )
    with client:
        yield client
