"""TLS: the same bytes through another socket, and what certificates may have against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from feature_warehouse.errors import StoreError, StoreRefusedError, StoreUnavailableError
from feature_warehouse.store.embedded import EmbeddedServer
from feature_warehouse.store.session import Fence
from feature_warehouse.store.store import Store
from feature_warehouse.wire.commands import Encoded
from tests.support.results import assert_mirrored, assert_refused
from tests.support.shop import Shop
from tests.support.tunnel import CERTIFICATES, Tunnel

TRUSTED = "ssl_ca_certs=ca.pem"
LOGIN = ("ssl_certfile=client.pem", "ssl_keyfile=client.key")


@pytest.fixture
def tunnel(redis_server: EmbeddedServer, redis_url: str) -> Iterator[Tunnel]:
    with Tunnel(redis_server.port) as made:
        yield made


@pytest.fixture
def mutual(redis_server: EmbeddedServer, redis_url: str) -> Iterator[Tunnel]:
    with Tunnel(redis_server.port, mutual=True) as made:
        yield made


def test_a_sync_through_tls_is_exact_and_is_read(shop: Shop, mutual: Tunnel) -> None:
    shop.redis_url = mutual.url(TRUSTED, *LOGIN)
    shop.syncer("sync")
    assert_mirrored(shop)
    assert "gold" in shop.syncer("get", "churn@1", "customer_id=1")


def test_long_replies_and_long_batches_come_whole(tunnel: Tunnel) -> None:
    """TLS hands out what it received in records of its own size, whatever was asked for."""
    with closing(Store(tunnel.url(TRUSTED))) as store:
        (session,) = store.sessions()
        session.call("HSET", "lease", "token", "us")
        keys = [f"k:{number}".encode() for number in range(2_500)]
        messages = [bytes([number % 251]) * (number * 37 % 3_000) for number in range(len(keys))]
        batch = Encoded(
            keys=pa.array(keys, pa.large_binary()), field=b"f:1", messages=pa.array(messages, pa.large_binary())
        )
        portions = list(batch.portions(1_000, 1 << 20))
        assert sum(rows for rows, _ in session.send(Fence("lease", "token"), portions)) == len(keys)
        session.give_back()
        assert store.field_of_each(keys, "f:1") == messages


def test_a_connection_that_breaks_is_no_matter_of_certificates(redis_server: EmbeddedServer) -> None:
    with Tunnel(redis_server.port) as tunnel, closing(Store(tunnel.url(TRUSTED))) as store:
        (session,) = store.sessions()
        tunnel.__exit__(None, None, None)
        with pytest.raises(StoreUnavailableError):
            session.call("PING")
        session.close()
        with pytest.raises(StoreUnavailableError, match="there is no Redis at"):
            store.get("k")


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ((), "its certificate is not trusted: ", "ssl_ca_certs=ca.pem"),
        (("ssl_ca_certs=other.pem", *LOGIN), "its certificate is not trusted: ", "ssl_ca_certs=ca.pem"),
    ],
)
def test_certificates_that_are_refused(
    settings: tuple[str, ...], message: str, hint: str, shop: Shop, mutual: Tunnel
) -> None:
    shop.redis_url = mutual.url(*settings)
    for command in (["sync"], ["get", "churn@1", "customer_id=1"]):
        assert_refused(shop.try_syncer(*command), f"no TLS with Redis at 127.0.0.1:{mutual.port}/0: {message}", hint)


def test_a_client_without_the_certificate_that_is_wanted(shop: Shop, mutual: Tunnel) -> None:
    """TLS 1.3 tells it after the handshake, if the connection still stands when it does."""
    shop.redis_url = mutual.url(TRUSTED)
    for command in (["sync"], ["get", "churn@1", "customer_id=1"]):
        assert_refused(shop.try_syncer(*command), f"Redis at 127.0.0.1:{mutual.port}/0: ", "ssl_certfile=client.pem")


def test_no_tls_to_a_redis_that_wants_it(tunnel: Tunnel) -> None:
    with closing(Store(tunnel.url(scheme="redis"), timeout=1)) as store, pytest.raises(StoreUnavailableError) as met:
        store.get("k")
    assert "rediss://" in met.value.hint


def test_a_certificate_for_another_host(tunnel: Tunnel) -> None:
    with closing(Store(tunnel.url(TRUSTED, host="127.1"))) as store:
        with pytest.raises(StoreRefusedError, match=r"not trusted: .*127\.1") as refused:
            store.get("k")
        assert "the host as the certificate does" in refused.value.hint
    with closing(Store(tunnel.url(TRUSTED, "ssl_check_hostname=false", host="127.1"))) as store:
        assert store.get("k") is None


def test_tls_to_a_redis_without_it(redis_server: EmbeddedServer) -> None:
    url = f"rediss://127.0.0.1:{redis_server.port}/0?ssl_ca_certs={CERTIFICATES / 'ca.pem'}"
    with closing(Store(url, timeout=0.3)) as store, pytest.raises(StoreError) as met:
        store.get("k")
    assert "write redis:// for a Redis without TLS" in met.value.hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("ssl_ca_certs=none.pem",), "No such file"),
        (("ssl_ca_certs=README.md",), "NO_CERTIFICATE_OR_CRL_FOUND"),
        ((TRUSTED, "ssl_certfile=client.pem"), ""),
        ((TRUSTED, "ssl_certfile=client.pem", "ssl_keyfile=server.key"), "KEY_VALUES_MISMATCH"),
        ((TRUSTED, "ssl_keyfile=client.key"), ""),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
def test_files_that_are_no_certificates_are_named(
    settings: tuple[str, ...], words: str, scheme: str, tunnel: Tunnel
) -> None:
    with pytest.raises(StoreError, match="certificates of the Redis URL cannot be used") as refused:
        Store(tunnel.url(*settings, scheme=scheme))
    assert words in refused.value.message
    assert str(CERTIFICATES / settings[-1].partition("=")[2]) in refused.value.message
    assert "PEM" in refused.value.hint


def test_a_key_with_a_password_never_asks_on_the_terminal(tmp_path: Path) -> None:
    key = tmp_path / "locked.key"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n")
    url = f"rediss://localhost/0?ssl_certfile={CERTIFICATES / 'client.pem'}&ssl_keyfile={key}"
    with pytest.raises(StoreError, match="certificates of the Redis URL cannot be used"):
        Store(url)
