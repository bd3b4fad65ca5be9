"""Who logs in to Redis by a credential provider: asked at each connection, so that a token may be short-lived."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from feature_warehouse.errors import StoreError
from feature_warehouse.store.connect import close_async, locate
from feature_warehouse.store.store import Store


class Tokens(redis.CredentialProvider):
    """Gives the token that counts now, and counts how often it was asked."""

    def __init__(self) -> None:
        self.token, self.asked = "first", 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return "tokens", self.token


tokens = Tokens()


def nothing() -> str:
    return "no provider"


@pytest.fixture
def url(redis_url: str) -> Iterator[str]:
    """A server with a user whose password is the token."""
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser("tokens", enabled=True, reset=True, passwords=["+first"], keys=["*"], commands=["+@all"])
        tokens.__init__()  # type: ignore[misc]
        yield redis_url
        admin.acl_deluser("tokens")


@pytest.fixture(autouse=True)
def company_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module under a name that a URL can have."""
    monkeypatch.setitem(sys.modules, "company_tokens", sys.modules[__name__])


def test_each_connection_asks_for_the_token_that_counts_then(url: str) -> None:
    place = f"{url}?credential_provider=company_tokens:tokens"
    with locate(place, 5.0).connect() as client:
        assert client.acl_whoami() == "tokens"
    with redis.Redis.from_url(url) as admin:
        admin.acl_setuser("tokens", reset_passwords=True, passwords=["+second"], enabled=True)
    with pytest.raises(StoreError, match="password"), closing(Store(place)) as store:
        store.hash_fields("any")
    tokens.token = "second"
    with closing(Store(place)) as store:
        assert store.hash_fields("any") == {}
        assert "tokens" not in store.address

    async def whoami() -> Any:
        client = locate(place, 5.0).connect_async()
        try:
            return await client.acl_whoami()
        finally:
            await close_async(client)

    assert asyncio.run(whoami()) == "tokens"
    assert tokens.asked >= 4


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("company_tokens:nonesuch", "cannot be had: AttributeError"),
        ("nonesuch_at_all:provider", "cannot be had: ModuleNotFoundError"),
        ("company_tokens:nothing", "is no credential provider but a str"),
        ("company_tokens", "cannot be had"),
        ("", "cannot be had"),
    ],
)
def test_what_is_no_provider_is_said_by_name(named: str, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        locate(f"redis://127.0.0.1:1/0?credential_provider={named}", 1.0)


def test_a_login_beside_a_provider_is_refused_without_saying_it() -> None:
    with pytest.raises(StoreError, match="both a login and a credential provider") as refused:
        locate("redis://me:hunter2@127.0.0.1:1/0?credential_provider=company_tokens:tokens", 1.0)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_servers_behind_sentinels_and_in_a_cluster_are_asked_too(kind: str) -> None:
    path = "/service/0" if kind == "sentinel" else ""
    place = locate(f"redis+{kind}://127.0.0.1:1{path}?credential_provider=company_tokens:tokens", 1.0)
    if kind == "sentinel":
        pool = place.connect().connection_pool
        assert pool.connection_kwargs["credential_provider"] is tokens
        (sentinel,) = pool.sentinel_manager.sentinels
        assert sentinel.connection_pool.connection_kwargs["credential_provider"] is None
