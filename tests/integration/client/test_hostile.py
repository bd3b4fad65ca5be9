"""Nothing from Redis is trusted: whatever lies there, only our errors come out, and a client survives all of it.

What is drawn is one change, or some, away from what is written there by us. One client reads it all, and the good
contents in between: what is bad outlives its mending nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.client import ondemand
from feature_warehouse.client.served import ServedRow, ServedView, read_row
from feature_warehouse.errors import NamespaceError, RequestError, StoreUnavailableError, SyncerError
from feature_warehouse.mirror.lease import Holder
from feature_warehouse.mirror.namespace import check_contained, check_owner, read_markers
from feature_warehouse.registry.document import revision
from feature_warehouse.registry.feature import OnDemandFeature
from feature_warehouse.store.store import Store
from feature_warehouse.wire.keyspace import entity_key, field_name, markers_key, registry_key
from feature_warehouse.wire.marker import REVISION
from tests.support import hostile
from tests.support.facts import ITEM, service, view
from tests.support.processes import HOST, wait_until
from tests.support.served import NAMESPACE, Served

ORDERS = view(
    "orders", "n bigint", "spent decimal(9,2)", "basket double[]", "plan varchar", "code uuid", "few tinyint",
    ttl=timedelta(days=30), expected_every=timedelta(days=1), available_at="known_at",
)  # fmt: skip
STOCK = view("stock", "in_stock integer", entity=ITEM)
CHURN = replace(
    service("churn", "orders.v1 n spent basket plan code few", "stock.v1 in_stock"),
    request={"amount": "double"},
    on_demand=(OnDemandFeature("share", "double", "amount / n"),),
)
ROW = {"customer_id": 1, "warehouse": "north", "sku": "A", "amount": 3.0}
CODE = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    with Served(redis_url, [ORDERS, STOCK], [CHURN]) as made:
        made.put("orders.v1", {"customer_id": 1}, n=2, spent="25.50", basket=[1.5], plan="a", code=CODE, few=3)
        made.put("stock.v1", {"warehouse": "north", "sku": "A"}, in_stock=4)
        yield made


class Readers:
    """A client of each kind, which live through everything."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._sync = FeatureClient(url, NAMESPACE, timeout=2)
        self._async = AsyncFeatureClient(url, NAMESPACE, timeout=2)

    def read(self) -> list[dict[str, Any] | SyncerError]:
        """What each says of one row. Whatever is no SyncerError comes out."""
        found: list[dict[str, Any] | SyncerError] = []
        try:
            found.append(self._sync.get_online_features("churn", [ROW]).rows()[0])
        except SyncerError as error:
            found.append(error)
        try:
            got = self._loop.run_until_complete(self._async.get_online_features("churn", [ROW] * 7))
            found.append(got.rows()[0])
        except SyncerError as error:
            found.append(error)
        return found

    def close(self) -> None:
        self._sync.close()
        self._loop.run_until_complete(self._async.close())
        self._loop.close()


@pytest.fixture
def readers(served: Served) -> Iterator[Readers]:
    made = Readers(served.url)
    yield made
    made.close()


def said(use: Callable[[], object]) -> str:
    """The words of the SyncerError that a use of Redis ends in; '': it ends well."""
    try:
        use()
    except SyncerError as error:
        return error.message
    return ""


def hold(
    contents: Iterator[bytes], count: int, put: Callable[[bytes], None], mend: Callable[[], None], readers: Readers
) -> int:
    """Reads each of ``count`` contents, and the good one after it; returns how many were refused."""
    mend()
    good = readers.read()
    assert all(isinstance(each, dict) for each in good), good
    refused = 0
    for content in itertools.islice(contents, count):
        put(content)
        bad = readers.read()
        refused += any(isinstance(each, SyncerError) for each in bad)
        first, second = bad
        assert isinstance(first, SyncerError) == isinstance(second, SyncerError), (content[:500], bad)
        mend()
        assert readers.read() == good, content[:500]
    return refused


def test_documents(served: Served, readers: Readers, record_property: Callable[[str, object], None]) -> None:
    key, markers = registry_key(NAMESPACE), markers_key(NAMESPACE)
    good = served.server.get(key)
    store = Store(served.url)

    def show(document: bytes) -> None:
        served.server.set(key, document)
        served.server.hset(markers, REVISION, revision(document))
        words = said(lambda: check_owner(store, NAMESPACE, "shop", "dev"))
        words += said(lambda: check_contained(document, served.registry, NAMESPACE))
        assert f"'{key}'" in words or "cannot be read" not in words

    refused = hold(hostile.texts(good, random.Random(1)), 900, show, lambda: show(good), readers)
    record_property("figure", f"hostile documents: {refused} of 900 refused, the rest read")
    store.close()


def test_markers(served: Served, readers: Readers, record_property: Callable[[str, object], None]) -> None:
    markers, field = markers_key(NAMESPACE), field_name("orders", 1)
    good = served.server.hget(markers, field)
    store = Store(served.url)

    def put(text: bytes) -> None:
        served.server.hset(markers, field, text)
        words = said(lambda: read_markers(store, NAMESPACE))
        assert not words or f"the marker '{field}' in '{markers}' cannot be read" in words

    refused = hold(hostile.texts(good, random.Random(2)), 500, put, lambda: put(good), readers)
    record_property("figure", f"hostile markers: {refused} of 500 refused, the rest read")
    store.close()


def test_messages(served: Served, readers: Readers, record_property: Callable[[str, object], None]) -> None:
    key, field = entity_key(NAMESPACE, ORDERS.entity, ROW), field_name("orders", 1)
    good = served.server.hget(key, field)
    contents = hostile.messages(good, random.Random(3))

    def put(message: bytes) -> None:
        served.server.hset(key, field, message)

    refused = hold(contents, 500, put, lambda: put(good), readers)
    record_property("figure", f"hostile messages: {refused} of 500 refused, the rest read")


SLOW = "list_sum(list_transform(range(6000), lambda x: list_sum(list_transform(range(6000), lambda y: x * y))))"


@pytest.fixture
def slow(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose expression takes some seconds: by lists beyond the bound, which is the quickest way there is."""
    monkeypatch.setattr("feature_warehouse.client.size.LARGEST", 1_000_000_000)
    expression = OnDemandFeature("slow", "double", f"cast({SLOW} as double) + amount")
    served.publish([ORDERS, STOCK], [CHURN, replace(CHURN, name="slow", on_demand=(expression,))])


@pytest.mark.usefixtures("slow")
def test_an_expression_that_takes_long_is_given_up_in_time(served: Served, readers: Readers) -> None:
    with FeatureClient(served.url, NAMESPACE, timeout=0.3) as client:
        for _ in range(6):
            began = time.monotonic()
            with pytest.raises(RequestError, match="its on-demand features were not computed in time"):
                client.get_online_features("slow", [ROW])
            assert time.monotonic() - began < 5
        assert client.get_online_features("churn", [ROW]).rows()[0]["share"] == 1.5
        wait_until(lambda: not ondemand._ENDING, 120)  # so busy a machine
    assert all(isinstance(each, dict) for each in readers.read())


@pytest.mark.usefixtures("slow")
def test_an_event_loop_goes_on_while_an_expression_is_computed(served: Served) -> None:
    async def ticks() -> int:
        count = 0
        async with AsyncFeatureClient(served.url, NAMESPACE, timeout=0.5) as client:
            reading = asyncio.create_task(client.get_online_features("slow", [ROW]))
            while not reading.done():
                await asyncio.sleep(0.01)
                count += 1
            with pytest.raises(RequestError, match="not computed in time"):
                await reading
        return count

    assert asyncio.run(ticks()) > 10
    wait_until(lambda: not ondemand._ENDING, 120)


@pytest.mark.parametrize(
    ("field", "text"),
    [("orders", b"{}"), (b"\xff", b"{}"), ("orders:x", b"{}"), ("Orders:1", b"{}"), ("orders:99999999999", b"{}")],
)
def test_fields_of_no_view_among_the_markers(field: str | bytes, text: bytes, served: Served, readers: Readers) -> None:
    served.server.hset(markers_key(NAMESPACE), field, text)
    store = Store(served.url)
    with pytest.raises(NamespaceError, match=r"in 'shop_dev:#markers' cannot be read"):
        read_markers(store, NAMESPACE)
    store.close()
    assert all(isinstance(each, dict) for each in readers.read())  # who looks at its own views reads on


def test_a_later_format_says_what_to_upgrade(served: Served, readers: Readers) -> None:
    key = registry_key(NAMESPACE)
    later = json.loads(served.server.get(key)) | {"format": 2}
    served.server.set(key, json.dumps(later))
    served.server.hset(markers_key(NAMESPACE), REVISION, "other")
    for each in readers.read():
        assert isinstance(each, NamespaceError)
        assert each.message == f"the registry document '{key}' in Redis has format 2, and this version knows format 1"
        assert each.hint == "upgrade feature-warehouse here to the version that wrote it"


def test_log_entries() -> None:
    now = datetime(2013, 2, 1, tzinfo=timezone.utc)
    good = ServedRow(now, {"customer_id": 1}, {"n": 2, "plan": None}, [ServedView(now, now)]).to_bytes()
    assert read_row(good)["given"] == {"customer_id": "1"}
    refused = 0
    for entry in itertools.islice(hostile.texts(good, random.Random(4)), 500):
        try:
            json.dumps(read_row(entry), ensure_ascii=False).encode()
        except ValueError:
            refused += 1
    assert refused > 250


def test_words_of_who_holds_a_lease() -> None:
    for text in itertools.islice(hostile.texts(Holder.own(), random.Random(5)), 300):
        holder = Holder(text)
        assert str(holder).encode()
        holder.is_gone()


class Impostor:
    """A server that logs everybody in, and then answers each read with what it is told to."""

    def __init__(self) -> None:
        self.answer = b""
        self.dripping = False
        self._server = socket.create_server((HOST, 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(1 << 16):
                if b"CLIENT" in data or b"SELECT" in data:
                    peer.sendall(b"+OK\r\n" * (data.count(b"CLIENT") + data.count(b"SELECT")))
                elif self.dripping:
                    peer.sendall(b"$1000000000\r\n")
                    while True:
                        peer.sendall(b"x" * 10)
                        time.sleep(0.05)
                else:
                    peer.sendall(self.answer)
                    peer.shutdown(socket.SHUT_WR)  # what was said arrives, whatever else is on its way here

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    made = Impostor()
    yield made
    made.close()


def test_a_read_that_goes_on_and_on_ends_with_its_deadline(impostor: Impostor) -> None:
    """There is progress all the time, so no timeout ends it."""
    impostor.answer, impostor.dripping = b"", True
    url = f"redis://{HOST}:{impostor.port}"

    async def read() -> None:
        async with AsyncFeatureClient(url, NAMESPACE, deadline=0.5) as client:
            await client.get_online_features("churn", [ROW])

    began = time.monotonic()
    with (
        FeatureClient(url, NAMESPACE, deadline=0.5) as client,
        pytest.raises(StoreUnavailableError, match="did not answer in time"),
    ):
        client.get_online_features("churn", [ROW])
    with pytest.raises(StoreUnavailableError, match="did not answer in time"):
        asyncio.run(read())
    assert 0.9 < time.monotonic() - began < 5
    with pytest.raises(ValueError, match="deadline=0: give how many seconds"):
        FeatureClient(url, NAMESPACE, deadline=0)


def test_replies(impostor: Impostor) -> None:
    """Of a server that is none. It never takes long, nor much memory: what is announced is not made room for."""
    readers = Readers(f"redis://{HOST}:{impostor.port}")
    began = time.monotonic()
    for answer in itertools.islice(hostile.replies(b"$2\r\n{}\r\n", random.Random(6)), 200):
        impostor.answer = answer
        assert all(isinstance(each, SyncerError) for each in readers.read()), answer
    readers.close()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "answer",
    [b":1\r\n", b"*2\r\n:1\r\n:2\r\n", b"*3\r\n$1\r\na\r\n:1\r\n$-1\r\n", b"*2\r\n$1\r\n7\r\n:1\r\n"],
)
def test_replies_to_a_syncer(answer: bytes, impostor: Impostor) -> None:
    impostor.answer = answer
    uses: dict[str, Callable[[Store], object]] = {
        "a": lambda store: store.get("a"),
        "b": lambda store: store.hash_fields("b"),
        "c": lambda store: list(store.scan("c", "d")),
    }
    for key, use in uses.items():
        store = Store(f"redis://{HOST}:{impostor.port}", timeout=2)
        assert f"is no reply about {key}: " in said(partial(use, store))
        store.close()
