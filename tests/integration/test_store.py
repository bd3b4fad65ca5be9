"""Bytes in and out of a real Redis, and what its refusals become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from syncer.encode import Encoded
from syncer.errors import StoreError, StoreRefusedError, StoreUnavailableError
from syncer.server import EmbeddedServer
from syncer.store import CHUNK, Store, _translated

BINARY = pa.large_binary()


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with closing(Store(redis_url)) as made:
        yield made


def batch(first: int, rows: int) -> Encoded:
    keys = [f"k:{number}".encode() for number in range(first, first + rows)]
    return Encoded(keys=pa.array(keys, BINARY), field=b"f:1", messages=pa.array([b"m"] * rows, BINARY))


def test_batches_are_acknowledged_in_order_with_their_rows_and_bytes(store: Store) -> None:
    batches = [batch(first, rows) for first, rows in ((0, 3), (3, 0), (3, 5000), (5003, 1))]
    assert list(store.send(batches)) == [(each.rows, len(each.commands())) for each in batches]
    assert store.field_of_each([b"k:0", b"k:5003", b"k:5004"], b"f:1") == [b"m", b"m", None]


@pytest.mark.parametrize("refused", range(10))
def test_a_refused_row_is_named_whichever_batch_it_is_in(refused: int, store: Store) -> None:
    """Replies to later batches come along with those to earlier ones."""
    store.set(f"k:{refused}", b"theirs")
    with pytest.raises(StoreRefusedError, match=f"refused the key k:{refused}: WRONGTYPE"):
        list(store.send(batch(first, 2) for first in range(0, 10, 2)))
    store.set("k:0", b"")  # the store is as good as before


def test_a_sender_that_stops_half_way_leaves_no_replies_behind(store: Store) -> None:
    sending: Any = store.send(batch(first, 2) for first in range(0, 10, 2))
    next(sending)
    sending.close()
    assert store.get("k") is None


def test_more_keys_than_fit_into_one_pipeline(store: Store) -> None:
    rows = 2 * CHUNK + 1
    list(store.send([batch(0, rows)]))
    keys = [f"k:{number}".encode() for number in range(rows)]
    assert store.field_of_each(keys, "f:1") == [b"m"] * rows
    found = [key for some in store.scan("k:") for key in some]
    assert set(found) == set(keys)
    assert store.delete_fields([*keys, b"k:none"], b"f:1") == rows
    assert list(store.scan("k:")) == []


def test_a_scan_takes_its_prefix_literally(store: Store) -> None:
    for key in ("a*b[c]?\\^:1", "aXb[c]?\\^:1", "a*bc?\\^:1"):
        store.set(key, b"")
    assert list(store.scan("a*b[c]?\\^:")) == [[b"a*b[c]?\\^:1"]]


def test_after_a_restart_of_redis_the_store_goes_on(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with closing(Store(f"redis://127.0.0.1:{port}/0")) as store:
        with EmbeddedServer(port=port, directory=tmp_path):
            store.set("k", b"v")
        with EmbeddedServer(port=port, directory=tmp_path):
            assert store.get("k") == b"v"
            assert sum(rows for rows, _ in store.send([batch(0, 2)])) == 2
        with pytest.raises(StoreUnavailableError, match=f"there is no Redis at 127.0.0.1:{port}"):
            store.get("k")
        with EmbeddedServer(port=port, directory=tmp_path):
            assert store.field_of_each([b"k:0", b"k:1"], "f:1") == [b"m", b"m"]


def error_classes(of: type[Exception]) -> Iterator[type[Exception]]:
    yield of
    for narrower in of.__subclasses__():
        yield from error_classes(narrower)


ERRORS = {error.__name__: error for error in [*error_classes(redis.RedisError), TimeoutError, OSError]}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_of_the_library_becomes_one_of_ours(error: type[Exception]) -> None:
    raised = error.__new__(error, "words")
    raised.args = ("words",)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:6379/0"), _translated("127.0.0.1:6379/0"):
        raise raised


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
        ("READONLY You can't write against a read only replica.", "the URL of the primary"),
        ("NOPERM this user has no permissions to run the 'hset' command", "more rights"),
        ("MISCONF Redis is configured to save RDB snapshots", "see its log"),
        ("ERR something else", "Redis documentation"),
    ],
)
def test_a_refusal_says_what_to_do(words: str, hint: str) -> None:
    with pytest.raises(StoreRefusedError) as refused, _translated("127.0.0.1:6379/0"):
        raise redis.ResponseError(words)
    assert words in refused.value.message
    assert hint in refused.value.hint


def test_the_address_shows_neither_user_nor_password() -> None:
    addresses = {
        "redis://user:s3cret@cache:6380/2": "cache:6380/2",
        "rediss://:s3cret@cache": "cache:6379/0",
        "redis://cache/0?password=s3cret": "cache:6379/0",
        "unix:///run/redis.sock?db=3&password=s3cret": "/run/redis.sock/3",
    }
    assert {url: Store(url).address for url in addresses} == addresses
