"""A Redis that is not there, not open or not ours: one sentence, one hint, and what is in it stays as it was."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from feature_warehouse import FeatureClient
from feature_warehouse.errors import StoreUnavailableError
from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.results import assert_refused, contents
from tests.support.shop import Shop

#: One command of each kind that uses Redis.
COMMANDS = (["sync"], ["verify"], ["get", "churn@1", "customer_id=1"])


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_redis_every_command_ends_at_once(
    command: list[str], shop: Shop, free_port: Callable[[], int]
) -> None:
    shop.redis_url = f"redis://user:s3cret@127.0.0.1:{free_port()}/0"
    started = time.monotonic()
    refused = shop.try_syncer(*command)
    assert time.monotonic() - started < 30
    assert_refused(refused, "there is no Redis at 127.0.0.1:", "start one with `syncer redis`, or give its URL")
    assert "s3cret" not in refused.stderr


def test_a_redis_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = FeatureClient(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "shop_dev", timeout=0.2)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="did not answer in time"):
            client.get_online_features("churn@1", [])
        assert time.monotonic() - started < 30


@pytest.fixture(scope="module")
def guarded(free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(port=free_port(), password="s3cret") as server:
        yield server


@pytest.mark.parametrize(
    ("login", "message", "hint"),
    [
        ("", "Authentication required", "give the password in the URL"),
        (":wr0ng@", "invalid username-password pair", "check user and password"),
        ("nobody:wr0ng@", "invalid username-password pair", "check user and password"),
    ],
)
def test_a_login_that_redis_refuses(login: str, message: str, hint: str, shop: Shop, guarded: EmbeddedServer) -> None:
    for command in COMMANDS:
        shop.redis_url = f"redis://{login}127.0.0.1:{guarded.port}/0"
        refused = shop.try_syncer(*command)
        assert_refused(refused, message, hint)
        assert "wr0ng" not in refused.stderr


def test_the_right_password_opens(shop: Shop, guarded: EmbeddedServer) -> None:
    shop.redis_url = guarded.url
    for command in COMMANDS:
        assert "s3cret" not in shop.try_syncer(*command).output


@pytest.mark.parametrize(
    "url",
    [
        "user:s3cret@localhost:6379",
        "http://user:s3cret@localhost:6379/0",
        "redis://user:s3cret@localhost:port/0",
        "redis://user:s3cret@localhost:99999/0",
        "redis://user:s3cret@localhost/features",
        "redis://user:s3cret@localhost/0?password_=s3cret",
        "redis://user:s3cret@[::1/0",
        " ",
    ],
)
def test_a_text_that_is_no_redis_url_is_refused_without_being_repeated(url: str, shop: Shop) -> None:
    shop.redis_url = url
    for command in (["sync"], ["get", "churn@1", "customer_id=1"]):
        refused = shop.try_syncer(*command)
        assert_refused(refused, "the Redis URL cannot be read", "write redis://host:port/0")
        assert "s3cret" not in refused.output


def test_a_password_in_the_environment_is_not_in_the_help(shop: Shop) -> None:
    shop.redis_url = "redis://:s3cret@localhost:6379/0"
    assert "s3cret" not in shop.syncer("sync", "--help", SYNCER_REDIS_PASSWORD="s3cret")
    assert "s3cret" not in shop.syncer("redis", "--help", SYNCER_REDIS_PASSWORD="s3cret")


def test_a_database_number_that_redis_does_not_have(shop: Shop) -> None:
    shop.redis_url += "/77"
    assert_refused(shop.try_syncer("sync"), "DB index is out of range", "redis://host:port/0")


def put_foreign(shop: Shop, key: str, *, as_hash: bool = False) -> None:
    """Somebody else's value under one of our keys."""
    with redis.Redis.from_url(shop.redis_url) as client:
        if as_hash:
            client.hset(key, "a", "b")
        else:
            client.set(key, "theirs")


@pytest.mark.parametrize(
    ("key", "as_hash"),
    [
        ("shop_dev:customer:1", False),  # a row of the warehouse
        ("shop_dev:customer:77", False),  # an entity that the warehouse does not have
        ("shop_dev:#markers", False),
        ("shop_dev:#registry", True),
    ],
)
def test_a_key_that_holds_something_else_is_named(key: str, as_hash: bool, shop: Shop) -> None:
    put_foreign(shop, key, as_hash=as_hash)
    for command in ("sync", "verify"):
        refused = shop.try_syncer(command)
        assert_refused(refused, f"refused the key {key}: WRONGTYPE", "something else wrote that key")


def test_reading_an_entity_whose_key_holds_something_else_names_it(shop: Shop) -> None:
    shop.syncer("sync")
    put_foreign(shop, "shop_dev:customer:9")
    refused = shop.try_syncer("get", "churn@1", "customer_id=9")
    assert_refused(refused, "refused the key shop_dev:customer:9: WRONGTYPE", "something else wrote that key")


def publish(shop: Shop, document: object) -> None:
    with redis.Redis.from_url(shop.redis_url) as client:
        client.set("shop_dev:#registry", document if isinstance(document, str) else json.dumps(document))


def owned_by(project: str, target: str) -> dict[str, object]:
    return {"format": 1, "owner": {"project": project, "target": target}}


@pytest.mark.parametrize(
    ("document", "message", "hint"),
    [
        (
            owned_by("bakery", "dev"),
            "belongs to the project 'bakery', target 'dev', not to 'shop', target 'dev'",
            "choose another --namespace",
        ),
        (
            owned_by("shop", "prod"),
            "belongs to the project 'shop', target 'prod', not to 'shop', target 'dev'",
            "choose another --namespace",
        ),
        (
            {"format": 2},
            "the registry document 'shop_dev:#registry' in Redis has format 2, and this version knows format 1",
            "upgrade feature-warehouse",
        ),
        (
            {"format": 1},
            "the registry document 'shop_dev:#registry' in Redis cannot be read: it has no 'owner'",
            "delete the key",
        ),
        ("{", "the registry document 'shop_dev:#registry' in Redis cannot be read: Expecting", "delete the key"),
    ],
)
def test_a_namespace_that_is_not_ours(document: object, message: str, hint: str, shop: Shop) -> None:
    publish(shop, document)
    before = contents(shop.redis_url)
    for command in ("sync", "verify"):
        assert_refused(shop.try_syncer(command), message, hint)
    assert contents(shop.redis_url) == before


def test_a_reader_refuses_a_registry_document_of_a_later_format(shop: Shop) -> None:
    publish(shop, {"format": 2})
    refused = shop.try_syncer("get", "churn@1", "customer_id=1")
    assert_refused(refused, "has format 2, and this version knows format 1", "upgrade feature-warehouse")


def test_a_torn_marker_is_named_with_what_to_do(shop: Shop) -> None:
    shop.syncer("sync")
    with redis.Redis.from_url(shop.redis_url) as client:
        client.hset("shop_dev:#markers", "visits:1", "{")
        for command in COMMANDS:
            refused = shop.try_syncer(*command)
            assert_refused(
                refused,
                "the marker 'visits:1' in 'shop_dev:#markers' cannot be read",
                "HDEL shop_dev:#markers visits:1",
            )
        client.hdel("shop_dev:#markers", "visits:1")
    shop.syncer("sync")


@pytest.mark.parametrize("namespace", ["Shop", "shop-dev", "shop:dev", "1shop", "shop dev"])
def test_a_namespace_that_keys_would_have_to_escape(namespace: str, shop: Shop) -> None:
    for command in COMMANDS:
        refused = shop.try_syncer(*command, "--namespace", namespace)
        assert_refused(refused, f"'{namespace}' cannot be a namespace", "--namespace shop_prod")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("shop_dev:#registry", "[" * 100_000),
        ("shop_dev:#registry", '{"format": 1, "owner": {"project": "shop", "target": "dev"}, "views": 1e300}'),
        ("shop_dev:#registry", '{"format": 2}'),
        ("shop_dev:#registry", None),
        ("shop_dev:#markers", '{"entity": "customer", "as_of": "2026-01-01T00:00:00", "clock": "solar"}'),
        ("shop_dev:#markers", "[" * 100_000),
        ("shop_dev:#markers", None),
    ],
)
def test_no_command_trips_over_what_lies_in_redis(key: str, text: str | None, shop: Shop, server: Any) -> None:
    """Each says what is wrong and where, in an error and a hint."""
    shop.syncer("sync")
    if text is None:
        server.delete(key)
        server.rpush(key, "of another type")
    elif key.endswith("#markers"):
        server.hset(key, "orders:1", text)
    else:
        server.set(key, text)
    for command in (["sync"], ["plan"], ["verify"], ["status"], ["get", "churn@1", "customer_id=1"], ["drop", "--yes"]):
        done = shop.try_syncer(*command)
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
        words = done.stdout + done.stderr
        # Who needs nothing of it may go on; whoever does not, says what is wrong where.
        assert (key in words and "Hint: " in words) if done.exit_code else command not in (["sync"], ["drop", "--yes"])
