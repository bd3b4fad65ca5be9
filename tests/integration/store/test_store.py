"""Bytes in and out of a real Redis, and what its refusals become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis

from feature_warehouse.errors import FencedError, StoreError, StoreRefusedError, StoreUnavailableError
from feature_warehouse.store.embedded import EmbeddedServer
from feature_warehouse.store.failure import translated
from feature_warehouse.store.session import CHUNK, Fence, Session
from feature_warehouse.store.store import Store
from feature_warehouse.wire.commands import Encoded, Removed
from feature_warehouse.wire.resp import command

BINARY = pa.large_binary()


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with closing(Store(redis_url)) as made:
        yield made


def removed(first: int, rows: int) -> Removed:
    return Removed(keys=batch(first, rows).keys, field=b"f:1")


def batch(first: int, rows: int) -> Encoded:
    keys = [f"k:{number}".encode() for number in range(first, first + rows)]
    return Encoded(keys=pa.array(keys, BINARY), field=b"f:1", messages=pa.array([b"m"] * rows, BINARY))


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    (made,) = store.sessions()
    made.call("HSET", FENCE.key, FENCE.token, "us")
    with closing(made):
        yield made


FENCE = Fence("lease", "token", (command("PEXPIRE", "lease", 60_000), command("PEXPIRE", "none", 60_000)))


def test_batches_are_acknowledged_in_order_with_their_rows_and_bytes(store: Store, session: Session) -> None:
    batches = [batch(first, rows) for first, rows in ((0, 3), (3, 1), (4, 5000), (5004, 1))]
    assert list(session.send(FENCE, batches)) == [(each.rows, len(each.commands())) for each in batches]
    assert store.field_of_each([b"k:0", b"k:5004", b"k:5005"], b"f:1") == [b"m", b"m", None]
    assert list(session.send(FENCE, [removed(0, 1)])) == [(1, len(removed(0, 1).commands()))]
    assert store.field_of_each([b"k:0"], b"f:1") == [None]
    assert session.call("PTTL", "lease") > 50_000


@pytest.mark.parametrize("refused", range(10))
def test_a_refused_row_is_named_whichever_batch_it_is_in(refused: int, store: Store, session: Session) -> None:
    """Replies to later batches come along with those to earlier ones."""
    session.call("SET", f"k:{refused}", b"theirs")
    with pytest.raises(StoreRefusedError, match=f"refused the key k:{refused}: WRONGTYPE"):
        list(session.send(FENCE, (batch(first, 2) for first in range(0, 10, 2))))


def test_a_batch_without_memory_for_it_is_not_begun(
    free_port: Callable[[], int],
) -> None:
    with EmbeddedServer(port=free_port()) as server, closing(Store(server.url)) as store:
        (session,) = store.sessions()
        session.call("HSET", FENCE.key, FENCE.token, "us")
        session.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreRefusedError, match="refused the key k:0: OOM"):
            list(session.send(FENCE, [batch(0, 10)]))
        session.close()
        assert store.field_of_each([b"k:0"], b"f:1") == [None]


def test_memory_that_is_full_in_the_middle_of_a_transaction_undoes_it(free_port: Callable[[], int]) -> None:
    rows = 100
    keys = [f"k:{number}".encode() for number in range(rows)]
    large = Encoded(keys=pa.array(keys, BINARY), field=b"f:1", messages=pa.array([b"m" * 10_000] * rows, BINARY))
    with EmbeddedServer(port=free_port()) as server, closing(Store(server.url)) as store:
        (session,) = store.sessions()
        session.call("HSET", FENCE.key, FENCE.token, "us")
        with redis.Redis.from_url(server.url) as other:
            other.config_set("maxmemory", other.info("memory")["used_memory"] + 500_000)
        with pytest.raises(StoreRefusedError, match=r"refused the key k:[1-9]\d*: OOM"):
            list(session.send(FENCE, [large]))
        session.close()
        assert store.field_of_each(keys, b"f:1") == [None] * rows


@pytest.mark.parametrize("fallen", [("DEL", "lease"), ("FLUSHALL",), ("RENAME", "lease", "elsewhere")])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_once_the_fence_has_fallen_nothing_is_executed(
    fallen: tuple[str, ...], after: int, store: Store, session: Session
) -> None:
    (other,) = store.sessions()

    def batches() -> Iterator[Encoded]:
        for number in range(4):
            if number == after + 1:  # the one before waits for its replies
                other.call(*fallen)
            yield batch(number, 1)

    with pytest.raises(FencedError, match="another run has taken over"):
        list(session.send(FENCE, batches()))
    other.close()
    assert store.field_of_each([b"k:0", b"k:1", b"k:2", b"k:3"], b"f:1")[after + 1 :] == [None] * (3 - after)


def test_a_transaction_that_was_begun_dies_with_the_fence(store: Store, session: Session) -> None:
    """The very moment between the check and the EXEC."""
    (other,) = store.sessions()
    send = session.submit

    def send_late(*buffers: Any) -> None:
        if buffers[-1] == tail:
            other.call("HDEL", "lease", "token")
            other.call("HSET", "lease", "other", "x")
        send(*buffers)

    tail = b"".join(FENCE.renewal) + command("EXEC")
    session.submit = send_late  # type: ignore[method-assign]
    with pytest.raises(FencedError):
        list(session.send(FENCE, [batch(0, 10)]))
    other.close()
    assert store.field_of_each([b"k:0", b"k:9"], b"f:1") == [None, None]


def test_without_a_transaction_no_row_is_sent(store: Store, session: Session) -> None:
    """The right to begin one is taken away half way; rows would then be executed one by one, behind no fence."""
    (other,) = store.sessions()

    def batches() -> Iterator[Encoded]:
        for number in range(4):
            if number == 2:  # whose transaction was begun
                other.call("ACL", "SETUSER", "default", "-multi")
            yield batch(number, 1)

    try:
        with pytest.raises(StoreRefusedError, match="NOPERM"):
            list(session.send(FENCE, batches()))
    finally:
        other.call("ACL", "SETUSER", "default", "+@all")
        other.close()
    assert store.field_of_each([b"k:0", b"k:1", b"k:3"], b"f:1") == [b"m", b"m", None]


def test_a_session_does_not_outlive_its_connection(store: Store, session: Session) -> None:
    """The library would open another one, on which nothing is known of what was sent before."""
    (other,) = store.sessions()
    other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    other.close()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            session.call("PING")


def test_more_keys_than_fit_into_one_pipeline(store: Store, session: Session) -> None:
    rows = 2 * CHUNK + 1
    list(session.send(FENCE, [batch(0, rows)]))
    keys = [f"k:{number}".encode() for number in range(rows)]
    assert store.field_of_each(keys, "f:1") == [b"m"] * rows
    found = {key: value for some, values in store.scan("k:", "f:1") for key, value in zip(some, values, strict=True)}
    assert found == dict.fromkeys(keys, b"m")
    session.call("SET", "k:7", "x")
    with pytest.raises(StoreRefusedError, match="refused the key k:7: WRONGTYPE"):
        store.field_of_each(keys, "f:1")
    assert store.field_of_each([b"k:8"], "f:1") == [b"m"]


def test_of_long_values_few_are_read_back_at_once(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_warehouse.store.store.READ_BYTES", 5_000)
    keys = [f"k:{number}".encode() for number in range(1_000)]
    values = pa.array([b"m" * 1_000] * len(keys), BINARY)
    list(session.send(FENCE, [Encoded(keys=pa.array(keys, BINARY), field=b"f:1", messages=values)]))
    lists = [some for some, _ in store.scan("k:", "f:1") if some]
    assert sorted(key for some in lists for key in some) == sorted(keys)
    assert {len(some) for some in lists[1:-1]} == {5}


def test_a_scan_takes_its_prefix_literally(store: Store, session: Session) -> None:
    for key in ("aXb[c]?\\^:1", "a*bc?\\^:1"):
        session.call("SET", key, b"")
    session.call("HSET", "a*b[c]?\\^:1", "f", "x")
    found = [pair for pair in store.scan("a*b[c]?\\^:", "f") if pair[0]]
    assert found == [([b"a*b[c]?\\^:1"], [b"x"])]


def test_a_value_is_exchanged_only_for_the_one_that_was_read(store: Store) -> None:
    def exchange(before: bytes | None, after: bytes, **options: Any) -> bool:
        return store.exchange("doc", before, after, "hash", "revision", lambda held: b"of " + held, **options)

    assert exchange(None, b"1")
    assert exchange(None, b"1")  # it is there already
    assert not exchange(None, b"2")
    assert exchange(b"1", b"2")
    now = {b"revision": b"of 2"}
    assert exchange(b"0", b"3", wanted=lambda beside: beside != now)
    assert not exchange(b"0", b"3", wanted=lambda beside: beside == now)
    assert (store.get("doc"), store.hash_fields("hash")) == (b"2", {b"revision": b"of 2"})


def test_after_a_restart_of_redis_the_store_goes_on(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with closing(Store(f"redis://127.0.0.1:{port}/0")) as store:
        with EmbeddedServer(port=port, directory=tmp_path):
            store.exchange("k", None, b"v", "h", "f", lambda held: held)
        with EmbeddedServer(port=port, directory=tmp_path):
            assert store.get("k") == b"v"
            assert store.field_of_each([b"h", b"x"], "f") == [b"v", None]
        with pytest.raises(StoreUnavailableError, match=f"there is no Redis at 127.0.0.1:{port}"):
            store.get("k")
        with EmbeddedServer(port=port, directory=tmp_path):
            assert store.field_of_each([b"h", b"x"], "f") == [b"v", None]


def error_classes(of: type[Exception]) -> Iterator[type[Exception]]:
    yield of
    for narrower in of.__subclasses__():
        yield from error_classes(narrower)


ERRORS = {error.__name__: error for error in [*error_classes(redis.RedisError), TimeoutError, OSError]}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_of_the_library_becomes_one_of_ours(error: type[Exception]) -> None:
    raised = error.__new__(error, "words")
    raised.args = ("words",)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:6379/0"), translated("127.0.0.1:6379/0"):
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
    with pytest.raises(StoreRefusedError) as refused, translated("127.0.0.1:6379/0"):
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
