"""Both clients against a real Redis: every claim about one is a claim about the other."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner

from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.cli.main import main
from feature_warehouse.errors import (
    NamespaceError,
    RequestError,
    StaleError,
    StoreError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from feature_warehouse.registry.document import revision
from feature_warehouse.registry.feature import FeatureService, ServiceView
from feature_warehouse.wire.keyspace import markers_key, registry_key
from feature_warehouse.wire.marker import REVISION
from tests.support.facts import ITEM, service, view
from tests.support.processes import HOST, Processes, client, sentinels, wait_until
from tests.support.proxy import Proxy
from tests.support.served import NAMESPACE, Served, deprecated

DAY = timedelta(days=1)
ORDERS = view("orders", "orders_30d bigint", "spent decimal(9,2)", "basket double[]", ttl=30 * DAY, expected_every=DAY)
VISITS = view("visits", "visits_7d bigint", "last_visit timestamptz")
STOCK = view("stock", "in_stock integer", entity=ITEM)
CHURN = service("churn", "orders.v1 orders_30d spent basket", "visits.v1 visits_7d last_visit")
CHURN_2 = service("churn", "orders.v1 orders_30d", "visits.v1 visits_7d", version=2)
TRANSFER = FeatureService(
    name="transfer",
    version=1,
    views=tuple(
        ServiceView(view="stock.v1", features=("in_stock",), keys={"warehouse": role}, prefix=f"{role}_")
        for role in ("source", "target")
    ),
)


class Driven:
    """An ``AsyncFeatureClient`` that is used as the other one is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = AsyncFeatureClient(*arguments, **options)
        self._loop = asyncio.new_event_loop()

    def get_online_features(self, *arguments: Any) -> Any:
        return self._loop.run_until_complete(self._client.get_online_features(*arguments))

    def iter_online_features(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        chunks = self._client.iter_online_features(*arguments, **options)
        while True:
            try:
                yield self._loop.run_until_complete(chunks.__anext__())
            except StopAsyncIteration:
                return

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind, and closes them."""
    made: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        kind: Any = FeatureClient if request.param == "sync" else Driven
        made.append(kind(url, "shop_dev", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def put_rows(served: Served) -> None:
    served.put("orders.v1", {"customer_id": 1}, orders_30d=2, spent="25.50", basket=[1.5, 2])
    served.put("orders.v1", {"customer_id": 2}, orders_30d=0, basket=[])
    served.put("orders.v1", {"customer_id": 3}, orders_30d=3, age=31 * DAY)
    served.put("visits.v1", {"customer_id": 1}, visits_7d=12, last_visit=0)
    served.put("visits.v1", {"customer_id": 5}, visits_7d=1)
    for warehouse, number in (("north", 40), ("south", 0)):
        served.put("stock.v1", {"warehouse": warehouse, "sku": "A"}, in_stock=number)


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    with Served(redis_url, [ORDERS, VISITS, STOCK], [CHURN, TRANSFER]) as made:
        put_rows(made)
        yield made


CUSTOMERS = [{"customer_id": number} for number in (1, 2, 3, 5, 404, 1)] + [{"customer_id": None}]


def test_each_value_has_a_status_and_an_event_time(served: Served, connect: Connect) -> None:
    found = connect(served.url).get_online_features("churn", CUSTOMERS)
    rows = [tuple(map(repr, row)) for row in found.values]
    first = (
        "2",
        "Decimal('25.50')",
        "[1.5, 2.0]",
        "12",
        "datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)",
    )
    nothing = ("None",) * 5
    assert rows == [
        first,
        ("0", "None", "[]", "None", "None"),
        nothing,
        ("None", "None", "None", "1", "None"),
        nothing,
        first,
        nothing,
    ]
    present, missing = ("present",), ("missing",)
    assert list(found.statuses) == [
        present * 5,
        ("present", "null", "present", *missing * 2),
        ("expired",) * 3 + missing * 2,
        missing * 3 + ("present", "null"),
        missing * 5,
        present * 5,
        missing * 5,
    ]
    times = [(row[0], row[3]) for row in found.event_times]
    now, old = served.now, served.now - 31 * DAY
    assert times == [(now, now), (now, None), (old, None), (None, now), (None, None), (now, now), (None, None)]
    assert found.names == ("orders_30d", "spent", "basket", "visits_7d", "last_visit")
    assert found.rows()[1]["basket"] == found.to_dict()["basket"][1] == []
    assert len(found) == 7


def test_one_view_in_two_roles(served: Served, connect: Connect) -> None:
    rows = [{"source": "north", "target": "south", "sku": "A"}, {"source": "south", "target": "west", "sku": "A"}]
    found = connect(served.url).get_online_features("transfer", rows)
    assert found.to_dict() == {"source_in_stock": [40, 0], "target_in_stock": [0, None]}


def test_a_read_is_one_round_trip_with_each_entity_once(served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    reader.get_online_features("churn", CUSTOMERS)
    served.server.config_resetstat()
    reader.get_online_features("churn", CUSTOMERS)
    assert served.server.info("stats")["total_reads_processed"] == 2  # ours, and the one that asks
    calls = served.server.info("commandstats")
    assert calls["cmdstat_hmget"]["calls"] == 1 + 5
    assert "cmdstat_get" not in calls


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{}], "churn@1, row 0: 'customer_id' is missing"),
        (["customer_id"], "churn@1, row 0: 'customer_id' \\(str\\) is no mapping"),
        ([{"customer_id": 1}, {"customer_id": 1.5}], "churn@1, row 1: .* is not an integer"),
        (7, "entity_rows is 7"),
        (None, "entity_rows is None"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(rows: Any, message: str, served: Served, connect: Connect) -> None:
    with pytest.raises(RequestError, match=message):
        connect(served.url).get_online_features("churn", rows)


def test_a_service_that_is_no_text_and_chunks_of_no_rows_are_refused(served: Served, connect: Connect) -> None:
    with pytest.raises(RequestError, match=r"None .* names no feature service"):
        connect(served.url).get_online_features(None, CUSTOMERS)
    with pytest.raises(RequestError, match="chunk_rows=0"):
        list(connect(served.url).iter_online_features("churn", CUSTOMERS, chunk_rows=0))


def test_one_mapping_is_one_row_and_any_iterable_is_many(served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    assert reader.get_online_features("churn", {"customer_id": 1}).to_dict()["visits_7d"] == [12]
    assert reader.get_online_features("churn", iter(CUSTOMERS)).values == (
        reader.get_online_features("churn", CUSTOMERS).values
    )
    assert reader.get_online_features("churn", []).rows() == []


def test_a_stale_view_is_served_withheld_or_refused(
    served: Served, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    row = [{"customer_id": 1}]
    served.mark(ORDERS, as_of=served.now - 1.4 * DAY, complete_through=9)
    assert connect(served.url, on_stale="raise").get_online_features("churn", row).statuses[0][0] == "present"
    served.mark(ORDERS, as_of=served.now - 1.6 * DAY, complete_through=9)
    reader = connect(served.url)
    with caplog.at_level(logging.WARNING, "feature_warehouse"):
        for _ in range(3):
            found = reader.get_online_features("churn", row)
    assert found.statuses == (("stale",) * 3 + ("present",) * 2,)
    assert found.values[0][0] == 2
    assert [record.getMessage()[:34] for record in caplog.records] == ["orders.v1 in 'shop_dev' is stale: "]
    found = connect(served.url, on_stale="null").get_online_features("churn", row)
    assert (found.values[0][:4], found.statuses[0][:4]) == ((None, None, None, 12), ("stale",) * 3 + ("present",))
    with pytest.raises(StaleError, match=r"churn@1: orders\.v1 was last synced at .* 1\.5 times 1 day"):
        connect(served.url, on_stale="raise").get_online_features("churn", row)
    with pytest.raises(ValueError, match="on_stale='ignore' is none of warn, null, raise"):
        connect(served.url, on_stale="ignore")
    for timeout in (0, -1.0, float("inf"), float("nan")):  # a socket takes some of them, and means something else
        with pytest.raises(ValueError, match=f"timeout={timeout}: give how many seconds"):
            connect(served.url, timeout=timeout)


def test_the_command_line_shows_a_stale_value_as_such(served: Served) -> None:
    served.mark(ORDERS, as_of=served.now - 2 * DAY, complete_through=9)
    arguments = ["get", "churn", "customer_id=2", "--namespace", "shop_dev", "--url", served.url]
    shown = CliRunner().invoke(main, arguments)
    assert shown.stdout.splitlines() == [
        "churn@1",
        "  orders_30d  0  (stale)",
        "  spent       (null)",
        "  basket      []  (stale)",
        "  visits_7d   (missing)",
        "  last_visit  (missing)",
    ]
    assert json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)["statuses"]["orders_30d"] == "stale"


def test_a_fixed_clock_makes_nothing_stale_and_a_given_one_may(served: Served, connect: Connect) -> None:
    then = served.now - 100 * DAY
    served.mark(ORDERS, as_of=then, clock="fixed", complete_through=9)
    assert connect(served.url).get_online_features("churn", CUSTOMERS).statuses[2][0] == "present"
    assert connect(served.url, as_of=served.now).get_online_features("churn", CUSTOMERS).statuses[0][0] == "stale"


def test_a_deprecated_version_says_so_once(served: Served, connect: Connect) -> None:
    served.publish([deprecated(ORDERS, date(2027, 6, 30)), VISITS, STOCK], [CHURN, TRANSFER])
    reader = connect(served.url)
    with pytest.warns(FutureWarning, match=r"churn@1 reads orders\.v1, which is deprecated from 2027-06-30 on") as said:
        reader.get_online_features("churn", CUSTOMERS)
    assert Path(said[0].filename).name in (Path(__file__).name, "events.py")  # the caller; asyncio calls for itself
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.get_online_features("churn@1", CUSTOMERS)
        reader.get_online_features("transfer", {"source": "north", "target": "south", "sku": "A"})


def test_a_service_goes_from_one_version_to_the_next_while_it_is_read(served: Served, connect: Connect) -> None:
    """Readers that name no version answer by the one or by the other, whole, and by the new one in the end."""
    seen: list[tuple[str, int]] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        reader = connect(served.url)
        try:
            while not over.is_set():
                found = reader.get_online_features("churn", CUSTOMERS)
                assert found.to_dict()["visits_7d"][0] == 12
                seen.append((found.service, len(found.names)))
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for each in readers:
        each.start()
    try:
        wait_until(lambda: bool(failed) or len(seen) > 30)
        served.publish([ORDERS, VISITS, STOCK], [CHURN, CHURN_2, TRANSFER])
        wait_until(lambda: bool(failed) or [service for service, _ in seen[-30:]] == ["churn@2"] * 30)
    finally:
        over.set()
        for each in readers:
            each.join()
    assert not failed
    assert set(seen) == {("churn@1", 5), ("churn@2", 2)}


def test_a_registry_of_a_type_that_this_reader_does_not_know(served: Served, connect: Connect) -> None:
    """It fails who reads such a feature, and nobody for longer than it stands there."""
    readers = [connect(served.url) for _ in range(2)]
    before = readers[0].get_online_features("churn", CUSTOMERS).values
    whole = json.loads(served.server.get(registry_key(NAMESPACE)))

    def publish(of_orders: dict[str, str]) -> None:
        content = copy.deepcopy(whole)
        for feature in content["views"]["orders.v1"]["features"]:
            feature["type"] = of_orders.get(feature["name"], feature["type"])
        content["views"]["visits.v1"]["features"].append({"name": "where", "number": 9, "type": "geometry"})
        document = json.dumps(content).encode()
        served.server.set(registry_key(NAMESPACE), document)
        served.server.hset(markers_key(NAMESPACE), REVISION, revision(document))

    publish({})
    for reader in readers:
        assert reader.get_online_features("churn", CUSTOMERS).values == before
    publish({"spent": "money"})
    for reader in (readers[0], readers[0], connect(served.url)):
        with pytest.raises(UnsupportedTypeError, match="type 'money' cannot be served"):
            reader.get_online_features("churn", CUSTOMERS)
        assert reader.get_online_features("transfer", STOCKED).to_dict()["source_in_stock"] == [40]
    publish({})
    for reader in readers:
        assert reader.get_online_features("churn", CUSTOMERS).values == before


def test_a_read_says_which_views_a_sync_was_writing(served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    assert reader.get_online_features("churn", CUSTOMERS).changing == ()
    served.mark(ORDERS, state="open", complete_through=9)
    assert reader.get_online_features("churn", CUSTOMERS).changing == ("orders.v1",)
    served.mark(ORDERS, complete_through=9)
    many = [{"customer_id": number} for number in range(30_000)]
    assert reader.get_online_features("churn", many).changing == ()
    over = threading.Event()

    def sync() -> None:
        for number in itertools.count():
            served.mark(VISITS, token=f"{number:016}", complete_through=9)
            if over.wait(0.001):
                return

    syncing = threading.Thread(target=sync)
    syncing.start()
    try:
        assert reader.get_online_features("churn", many).changing == ("visits.v1",)
    finally:
        over.set()
        syncing.join()


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT")], ids=repr)
def test_a_key_that_pandas_has_not_is_missing(missing: Any, served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    assert reader.get_online_features("churn", [{"customer_id": 1}, {"customer_id": missing}]).statuses == (
        ("present",) * 5,
        ("missing",) * 5,
    )
    found = reader.get_online_features("transfer", [*STOCKED, {"source": missing, "target": "south", "sku": "A"}])
    assert found.statuses == (("present",) * 2, ("missing", "present"))


@pytest.mark.parametrize(
    "value", [10**5_000, np.array([1.0]), np.array([1, 2]), [1], object(), 1.5, "x", b"1"], ids=type
)
def test_a_key_of_any_other_kind_is_refused_in_words(value: Any, served: Served, connect: Connect) -> None:
    with pytest.raises(RequestError, match=r"churn@1, row 1: join key 'customer_id' of entity 'customer': "):
        connect(served.url).get_online_features("churn", [{"customer_id": 1}, {"customer_id": value}])


def test_a_namespace_that_is_no_text_is_refused(served: Served) -> None:
    for kind in (FeatureClient, AsyncFeatureClient):
        for namespace in (None, 7, b"shop_dev", "Shop"):
            with pytest.raises(RequestError, match="cannot be a namespace"):
                kind(served.url, namespace)  # type: ignore[arg-type]


STOCKED = [{"source": "north", "target": "south", "sku": "A"}]


def test_a_reader_is_older_or_newer_than_the_writer(served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    reader.get_online_features("churn", CUSTOMERS)
    # Rows of a writer that knows a feature more, before it says so: skipped, in each way of decoding.
    newer = view("orders", "orders_30d bigint", "spent decimal(9,2)", "basket double[]", "plan varchar", ttl=30 * DAY)
    extended = replace(
        CHURN, views=(replace(CHURN.views[0], features=(*CHURN.views[0].features, "plan")), CHURN.views[1])
    )
    keep = served.registry
    before = reader.get_online_features("churn", CUSTOMERS).values
    served.publish([newer, VISITS, STOCK], [extended, TRANSFER])
    document, marked = served.server.get("shop_dev:#registry"), served.server.hget("shop_dev:#markers", "#registry")
    wide = served.registry
    served.registry = keep
    served.publish([ORDERS, VISITS, STOCK], [CHURN, TRANSFER])
    served.registry = wide
    for number in range(100, 120):
        served.put("orders.v1", {"customer_id": number}, orders_30d=number, spent="1.00", basket=[], plan="gold")
    many = [{"customer_id": number} for number in range(100, 120)]
    assert reader.get_online_features("churn", CUSTOMERS).values == before
    assert reader.get_online_features("churn", many).to_dict()["orders_30d"] == list(range(100, 120))
    assert reader.get_online_features("churn", many[:1]).to_dict()["orders_30d"] == [100]
    # A reader that knows of the feature, and rows that were written before it: an error, until all rows have it.
    served.server.set("shop_dev:#registry", document)
    served.server.hset("shop_dev:#markers", "#registry", marked)
    with pytest.raises(NamespaceError, match=r"'plan' of orders\.v1 is registered, but not yet synced"):
        reader.get_online_features("churn", many)
    served.mark(served.registry.views["orders.v1"])
    assert reader.get_online_features("churn", many).to_dict()["plan"] == ["gold"] * 20


def test_a_namespace_that_was_emptied_is_an_error_and_no_null(served: Served, connect: Connect) -> None:
    reader = connect(served.url)
    reader.get_online_features("churn", CUSTOMERS)
    served.server.flushall()
    with pytest.raises(NamespaceError, match="nothing was ever published in the namespace 'shop_dev'"):
        reader.get_online_features("churn", CUSTOMERS)


def test_messages_that_are_torn_name_service_view_and_key(served: Served, connect: Connect) -> None:
    whole = served.server.hget("shop_dev:customer:1", "orders:1")
    for number in range(20):
        served.server.hset(f"shop_dev:customer:{number}", "orders:1", whole)
    served.server.hset("shop_dev:customer:13", "orders:1", whole[:-3])
    reader = connect(served.url)
    for rows in ([13], range(20)):
        with pytest.raises(StoreError, match=r"churn@1: .*orders\.v1 .* at shop_dev:customer:13"):
            reader.get_online_features("churn", [{"customer_id": number} for number in rows])


def test_a_key_that_somebody_else_wrote_is_named(served: Served, connect: Connect) -> None:
    served.server.set("shop_dev:customer:404", "theirs")
    reader = connect(served.url)
    for _ in range(2):
        with pytest.raises(StoreError, match="refused the key shop_dev:customer:404: WRONGTYPE"):
            reader.get_online_features("churn", CUSTOMERS)
    assert reader.get_online_features("churn", CUSTOMERS[:3]).values[0][0] == 2


def test_ten_thousand_entities_come_in_chunks_and_in_one_read(served: Served, connect: Connect) -> None:
    with served.server.pipeline(transaction=False) as pipe:
        dumped = served.server.hget("shop_dev:customer:1", "visits:1")
        for number in range(1_000, 11_000):
            pipe.hset(f"shop_dev:customer:{number}", "visits:1", dumped)
        pipe.execute()
    reader = connect(served.url)
    rows = [{"customer_id": number} for number in range(999, 11_001)]
    wanted = [None, *[12] * 10_000, None]
    assert reader.get_online_features("churn", rows).to_dict()["visits_7d"] == wanted
    chunks = list(reader.iter_online_features("churn", iter(rows), chunk_rows=3_000))
    assert [len(chunk) for chunk in chunks] == [3_000, 3_000, 3_000, 1_002]
    assert [value for chunk in chunks for value in chunk.to_arrow()["visits_7d"].to_pylist()] == wanted


def test_columns_have_the_types_of_their_features(served: Served, connect: Connect) -> None:
    import numpy as np
    import pyarrow as pa

    found = connect(served.url).get_online_features("churn", CUSTOMERS)
    table = found.to_arrow()
    assert table.schema.types == [
        pa.int64(),
        pa.decimal128(9, 2),
        pa.list_(pa.float64()),
        pa.int64(),
        pa.timestamp("us", "UTC"),
    ]
    assert table.to_pydict() == found.to_dict()
    arrays = found.to_numpy()
    assert [array.dtype for array in arrays.values()] == ["int64", object, object, "int64", "datetime64[us]"]
    assert arrays["orders_30d"].tolist() == [2, 0, None, None, None, 2, None]
    assert isinstance(arrays["basket"][0], np.ndarray)
    whole = connect(served.url).get_online_features("churn", CUSTOMERS[:1]).to_numpy()
    assert not any(isinstance(array, np.ma.MaskedArray) for array in whole.values())
    assert whole["last_visit"][0] == np.datetime64("1970-01-01T00:00:00")
    frame = found.to_pandas()
    assert frame["orders_30d"].dtype.pyarrow_dtype == pa.int64()
    assert frame["orders_30d"].tolist()[:2] == [2, 0]


# --- connections


def test_a_connection_that_was_reset_is_made_again(served: Served, connect: Connect, redis_server: Any) -> None:
    with Proxy(redis_server.port, "reset", after=900, victims=2) as proxy:
        reader = connect(proxy.url)
        for _ in range(20):
            assert reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2
        assert proxy.harmed == 2


def test_a_redis_that_falls_silent_is_given_up_and_found_again(
    served: Served, connect: Connect, redis_server: Any
) -> None:
    with Proxy(redis_server.port, "deaf", after=900) as proxy:
        reader = connect(proxy.url, timeout=2)

        def read_until_it_is_deaf() -> None:
            for _ in range(20):
                reader.get_online_features("churn", CUSTOMERS)

        with pytest.raises(StoreUnavailableError, match="did not answer in time"):
            read_until_it_is_deaf()
        assert reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2


def test_a_restart_in_between_leaves_no_dead_client(
    connect: Connect, free_port: Callable[[], int], tmp_path: Path
) -> None:
    processes, port = Processes(tmp_path), free_port()
    url = f"redis://{HOST}:{port}/0"
    try:
        processes.start(port, "appendonly yes")
        with Served(url, [ORDERS, VISITS, STOCK], [CHURN, TRANSFER]) as served:
            put_rows(served)
            reader = connect(url)
            before = reader.get_online_features("churn", CUSTOMERS).values
            processes.kill(port)
            with pytest.raises(StoreUnavailableError, match="there is no Redis at"):
                reader.get_online_features("churn", CUSTOMERS)
            processes.restart(port)
            wait_until(lambda: bool(served.server.exists("shop_dev:#registry")))
            for _ in range(3):
                assert reader.get_online_features("churn", CUSTOMERS).values == before
            processes.kill(port)
            processes.restart(port)
            wait_until(lambda: bool(served.server.exists("shop_dev:#registry")))
            assert reader.get_online_features("churn", CUSTOMERS).values == before
    finally:
        processes.stop()


def test_replicas_are_read_on_request(
    connect: Connect, free_port: Callable[[], int], tmp_path: Path, redis_url: str
) -> None:
    with sentinels(tmp_path, free_port) as service_:
        url = f"redis://{HOST}:{service_.primary}/0"
        with Served(url, [ORDERS, VISITS, STOCK], [CHURN, TRANSFER]) as served:
            put_rows(served)
            service_.follow()
            reader = connect(service_.url, replicas=True)
            before = [hmgets(port) for port in (service_.primary, service_.replica)]
            assert reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2
            after = [hmgets(port) for port in (service_.primary, service_.replica)]
            assert [late - early for early, late in zip(before, after, strict=True)] == [0, 6]
    with pytest.raises(StoreError, match="nothing tells of the replicas of 127"):
        connect(redis_url, replicas=True)


def hmgets(port: int) -> int:
    return int(client(port).info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"])


def test_many_threads_share_a_client(served: Served) -> None:
    failed: list[BaseException] = []
    with FeatureClient(served.url, "shop_dev") as reader:

        def read(number: int) -> None:
            try:
                for _ in range(100):
                    found = reader.get_online_features(
                        "transfer" if number % 2 else "churn", ROLES if number % 2 else CUSTOMERS
                    )
                    assert found.values[0][0] == (40 if number % 2 else 2)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not failed


ROLES = [{"source": "north", "target": "south", "sku": "A"}]


def test_many_tasks_share_a_client(served: Served) -> None:
    async def read() -> None:
        async with AsyncFeatureClient(served.url, "shop_dev") as reader:
            found = await asyncio.gather(*(reader.get_online_features("churn", CUSTOMERS) for _ in range(50)))
            assert {each.values[0][0] for each in found} == {2}
            # One that is cancelled leaves no reply behind for the next one to take for its own.
            tasks = [asyncio.ensure_future(reader.get_online_features("churn", CUSTOMERS)) for _ in range(20)]
            await asyncio.sleep(0.001)
            for task in tasks[::2]:
                task.cancel()
            rest = await asyncio.gather(*tasks, return_exceptions=True)
            assert {each.values[0][0] for each in rest if not isinstance(each, BaseException)} == {2}
            again = await reader.get_online_features("transfer", ROLES)
            assert again.values == ((40, 0),)

    asyncio.run(read())


def test_more_tasks_than_connections_wait_their_turn(served: Served) -> None:
    async def read() -> None:
        async with AsyncFeatureClient(served.url, "shop_dev") as reader:
            found = await asyncio.gather(*(reader.get_online_features("churn", CUSTOMERS) for _ in range(300)))
            assert {each.values[0][0] for each in found} == {2}

    asyncio.run(read())


def test_more_threads_than_the_library_has_connections_for(served: Served) -> None:
    with FeatureClient(served.url, "shop_dev") as reader:
        reader.get_online_features("churn", CUSTOMERS)
        connections = [reader._fetcher._connection() for _ in range(120)]
        reader._fetcher._idle += connections
        assert reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2


def test_an_async_client_goes_from_one_event_loop_to_the_next(served: Served) -> None:
    reader = AsyncFeatureClient(served.url, "shop_dev")

    async def read() -> Any:
        found = await reader.get_online_features("churn", CUSTOMERS)
        await reader.close()
        return found.values[0][0]

    assert [asyncio.run(read()) for _ in range(2)] == [2, 2]


def test_a_forked_process_makes_connections_of_its_own(served: Served) -> None:
    """Two processes on one connection would read each other's replies."""
    with FeatureClient(served.url, "shop_dev") as reader:
        reader.get_online_features("churn", CUSTOMERS)
        children = []
        for number in range(3):
            child = os.fork()
            if not child:
                code = 1
                try:
                    wanted = [{"customer_id": 1}] if number % 2 else [{"customer_id": 5}]
                    same = [reader.get_online_features("churn", wanted).values[0][3] for _ in range(200)]
                    code = 0 if set(same) == {12 if number % 2 else 1} else 2
                finally:
                    os._exit(code)
            children.append(child)
        for _ in range(200):
            assert reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


def test_a_fork_does_not_wait_for_a_thread_that_it_left_behind(served: Served) -> None:
    """What another thread had locked at that moment is locked for ever in the new process."""
    with FeatureClient(served.url, "shop_dev") as reader:
        reader.get_online_features("churn", CUSTOMERS)
        fetcher, held, done = reader._fetcher, threading.Event(), threading.Event()

        def hold() -> None:
            with fetcher._lock, fetcher._connected.connection_pool._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            signal.alarm(120)
            try:
                os._exit(0 if reader.get_online_features("churn", CUSTOMERS).values[0][0] == 2 else 2)
            finally:
                os._exit(1)
        done.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
