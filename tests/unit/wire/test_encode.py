"""encode: whole columns become the bytes that protobuf and the Redis protocol would have written row by row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import DataError
from feature_warehouse.registry.feature import Entity, Feature, FeatureView, JoinKey
from feature_warehouse.registry.types import INTEGER_RANGES, feature_type
from feature_warehouse.warehouse.duckdb import DIALECT
from feature_warehouse.wire import resp
from feature_warehouse.wire.commands import commands
from feature_warehouse.wire.decode import Decoder, message_class
from feature_warehouse.wire.encode import Encoder, served_columns
from feature_warehouse.wire.keyspace import entity_key
from feature_warehouse.wire.message import MessageWriter

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLANE = Entity("plane", (JoinKey("tailnum", "varchar"),))


@dataclass(frozen=True)
class Case:
    """How one type comes from DuckDB, and the values it can have."""

    arrow: pa.DataType
    values: st.SearchStrategy[Any]


def integers(name: str) -> st.SearchStrategy[int]:
    smallest, largest = INTEGER_RANGES[name]
    near = [n for n in (0, 1, -1, 63, 64, -64, -65, 127, 128, smallest, largest) if smallest <= n <= largest]
    return st.sampled_from(near) | st.integers(smallest, largest)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    largest = 10**precision - 1
    unscaled = st.sampled_from([0, 1, -1, largest, -largest]) | st.integers(-largest, largest)
    return unscaled.map(lambda number: Decimal(f"{number}E-{scale}"))


text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300)
floats = st.sampled_from([0.0, -0.0, float("inf"), -float("inf"), float("nan")]) | st.floats(width=32)

#: Every type, as DuckDB exports it, with the limits of its range among the values.
CASES = {
    "boolean": Case(pa.bool_(), st.booleans()),
    "tinyint": Case(pa.int8(), integers("tinyint")),
    "smallint": Case(pa.int16(), integers("smallint")),
    "integer": Case(pa.int32(), integers("integer")),
    "bigint": Case(pa.int64(), integers("bigint")),
    "utinyint": Case(pa.uint8(), integers("utinyint")),
    "usmallint": Case(pa.uint16(), integers("usmallint")),
    "uinteger": Case(pa.uint32(), integers("uinteger")),
    "ubigint": Case(pa.uint64(), integers("ubigint")),
    "hugeint": Case(pa.string(), integers("hugeint").map(str)),
    "uhugeint": Case(pa.string(), integers("uhugeint").map(str)),
    "float": Case(pa.float32(), floats),
    "double": Case(pa.float64(), floats | st.floats()),
    "decimal(4,4)": Case(pa.decimal128(4, 4), decimals(4, 4)),
    "decimal(18,3)": Case(pa.decimal128(18, 3), decimals(18, 3)),
    "decimal(38,0)": Case(pa.decimal128(38, 0), decimals(38, 0)),
    "decimal(38,37)": Case(pa.decimal128(38, 37), decimals(38, 37)),
    "varchar": Case(pa.string(), text),
    "uuid": Case(pa.string(), st.uuids().map(str)),
    "blob": Case(pa.binary(), st.binary(max_size=300)),
    "date": Case(pa.date32(), st.dates()),
    "timestamptz": Case(pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "tinyint[]": Case(pa.list_(pa.int8()), st.lists(integers("tinyint"), max_size=5)),
    "bigint[]": Case(pa.list_(pa.int64()), st.lists(integers("bigint"), max_size=200)),
    "ubigint[]": Case(pa.list_(pa.uint64()), st.lists(integers("ubigint"), max_size=5)),
    "float[]": Case(pa.list_(pa.float32()), st.lists(floats, max_size=40)),
    "double[]": Case(pa.list_(pa.float64()), st.lists(floats, max_size=40)),
    "double[2]": Case(pa.list_(pa.float64(), 2), st.lists(floats, min_size=2, max_size=2)),
    "integer[1]": Case(pa.list_(pa.int32(), 1), st.lists(integers("integer"), min_size=1, max_size=1)),
}


def view_of(*features: Feature, entity: Entity = PLANE) -> FeatureView:
    return FeatureView(name="plane_facts", version=3, entity=entity, features=features)


def batch_of(view: FeatureView, event_times: list[Any], **columns: pa.Array) -> pa.RecordBatch:
    keys = pa.array([f"N{row}" for row in range(len(event_times))], pa.string())
    return pa.record_batch({"tailnum": keys, "event_at": pa.array(event_times, pa.timestamp("us", "UTC")), **columns})


def protobuf_bytes(view: FeatureView, event_time: datetime, values: dict[str, Any]) -> bytes:
    """The oracle: the message as protobuf's own encoder writes it."""
    message: Any = message_class(view)()
    message.event_time = (event_time - EPOCH) // timedelta(microseconds=1)
    for feature in view.numbered:
        value = values[feature.name]
        type_ = feature_type(feature.type)
        if value is None:
            continue
        if type_.is_list:
            getattr(message, feature.name).SetInParent()
            getattr(message, feature.name).values.extend(value)
            continue
        if type_.kind == "decimal":
            value = f"{value:f}"
        elif type_.kind == "date":
            value = (value - EPOCH.date()).days
        elif type_.kind == "timestamp":
            value = (value - EPOCH) // timedelta(microseconds=1)
        setattr(message, feature.name, value)
    return bytes(message.SerializeToString())


@st.composite
def tables(draw: st.DrawFn) -> tuple[FeatureView, list[datetime], dict[str, list[Any]]]:
    """Some features of any types under any numbers; some rows of them, NULLs among the values."""
    types = draw(st.lists(st.sampled_from(list(CASES)), min_size=1, max_size=6))
    numbers = draw(st.lists(st.integers(2, 2500), min_size=len(types), max_size=len(types), unique=True))
    features = [Feature(f"f{i}", name, number) for i, (name, number) in enumerate(zip(types, numbers, strict=True))]
    times = draw(st.lists(st.datetimes(timezones=st.just(UTC)) | st.just(EPOCH), max_size=5))
    columns = {
        feature.name: draw(
            st.lists(st.none() | CASES[feature.type].values, min_size=len(times), max_size=len(times)),
        )
        for feature in features
    }
    return view_of(*features), times, columns


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.integers(0, 2))
def test_messages_are_protobufs_own_bytes(table, skipped):
    view, times, columns = table
    arrays = {f.name: pa.array(columns[f.name], CASES[f.type].arrow) for f in view.features}
    batch = batch_of(view, times, **arrays).slice(skipped)
    rows = [{name: values[row] for name, values in columns.items()} for row in range(len(times))]
    expected = [protobuf_bytes(view, time, row) for time, row in zip(times, rows, strict=True)]
    assert Encoder("demo_dev", view).encode(batch).messages.to_pylist() == expected[skipped:]
    writer = MessageWriter(view)
    assert [writer.write(time, row) for time, row in zip(times, rows, strict=True)] == expected


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_type_is_encoded_at_its_limits(name, data):
    view = view_of(Feature("value", name, 2))
    values = data.draw(st.lists(st.none() | CASES[name].values, min_size=1, max_size=12))
    batch = batch_of(view, [EPOCH] * len(values), value=pa.array(values, CASES[name].arrow))
    expected = [protobuf_bytes(view, EPOCH, {"value": value}) for value in values]
    assert Encoder("demo_dev", view).encode(batch).messages.to_pylist() == expected


def test_null_is_absent_and_a_default_value_is_written():
    view = view_of(Feature("count", "bigint", 2), Feature("name", "varchar", 3), Feature("seen", "double[]", 4))
    batch = batch_of(
        view,
        [EPOCH, EPOCH],
        count=pa.array([None, 0]),
        name=pa.array([None, ""]),
        seen=pa.array([None, []], pa.list_(pa.float64())),
    )
    event_time = b"\x09" + bytes(8)
    assert Encoder("demo_dev", view).encode(batch).messages.to_pylist() == [
        event_time,
        event_time + b"\x10\x00" + b"\x1a\x00" + b"\x22\x00",
    ]


def test_a_hundred_features_and_a_long_string_are_one_message():
    features = [Feature(f"f{number}", "varchar" if number % 2 else "double", number) for number in range(2, 102)]
    view = view_of(*reversed(features))
    values: dict[str, Any] = {f"f{number}": str(number) if number % 2 else number / 7 for number in range(2, 102)}
    values["f101"] = "x" * 1_000_000
    rows: list[dict[str, Any]] = [values, dict.fromkeys(values)]
    arrays = {f.name: pa.array([row[f.name] for row in rows], CASES[f.type].arrow) for f in features}
    encoded = Encoder("demo_dev", view).encode(batch_of(view, [EPOCH, EPOCH], **arrays))
    assert encoded.messages.to_pylist() == [protobuf_bytes(view, EPOCH, row) for row in rows]


def test_features_without_a_number_stay_in_the_warehouse():
    view = view_of(Feature("served", "bigint", 2), Feature("training_only", "interval"))
    batch = batch_of(view, [EPOCH], served=pa.array([1]))
    assert DIALECT.select_list(served_columns(view)) == '"tailnum", "event_at", "served"'
    assert Encoder("demo_dev", view).encode(batch).messages.to_pylist() == [protobuf_bytes(view, EPOCH, {"served": 1})]


def test_an_empty_batch_is_no_command():
    view = view_of(*(Feature(f"f{i}", name, i + 2) for i, name in enumerate(CASES)))
    arrays = {f.name: pa.array([], CASES[f.type].arrow) for f in view.features}
    encoded = Encoder("demo_dev", view).encode(batch_of(view, [], **arrays))
    assert (encoded.rows, bytes(encoded.commands())) == (0, b"")


#: Every type, as SQL and as a reader gets it back.
EXPORTED = {
    "boolean": ("true", True),
    "tinyint": ("-128", -128),
    "smallint": ("-32768", -32768),
    "integer": ("-2147483648", -(2**31)),
    "bigint": ("9007199254740993", 2**53 + 1),
    "utinyint": ("255", 255),
    "usmallint": ("65535", 65535),
    "uinteger": ("4294967295", 2**32 - 1),
    "ubigint": ("18446744073709551615", 2**64 - 1),
    "hugeint": (f"'{-(2**127)}'", -(2**127)),
    "uhugeint": (f"'{2**128 - 1}'", 2**128 - 1),
    "float": ("0.5", 0.5),
    "double": ("'-inf'", -float("inf")),
    "decimal(4,4)": ("0.5", Decimal("0.5000")),
    "decimal(9,2)": ("-12.3", Decimal("-12.30")),
    "decimal(38,10)": ("1e-10", Decimal("1E-10")),
    "varchar": ("'Zürich'", "Zürich"),
    "uuid": ("'0F8FAD5B-D9CB-469F-A165-70867728950E'", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    "blob": ("'\\x00\\xFF'", b"\x00\xff"),
    "date": ("'0001-01-01'", date.min),
    "timestamptz": ("'9999-12-31 23:59:59.999999+00'", datetime.max.replace(tzinfo=UTC)),
    "bigint[]": ("[1, -2]", [1, -2]),
    "float[]": ("[]", []),
    "double[3]": ("[1, 2, 3]", [1.0, 2.0, 3.0]),
}

SETTINGS = [
    "set TimeZone = 'Asia/Tokyo'",
    "set arrow_large_buffer_size = true",
    "set arrow_output_version = '1.5'; set produce_arrow_string_view = true",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_duckdb_exports_comes_back_to_the_reader(setting):
    view = view_of(*(Feature(f"f{i}", name, i + 2) for i, name in enumerate(EXPORTED)))
    columns = ", ".join(f"cast({sql} as {name}) as f{i}" for i, (name, (sql, _)) in enumerate(EXPORTED.items()))
    row = f"select 'N0' as tailnum, timestamptz '1969-12-31 23:59:59.999999+00' as event_at, {columns}"
    with duckdb.connect() as connection:
        connection.execute(setting)
        connection.execute(f"create table plane_facts as {row}")
        connection.execute("insert into plane_facts (tailnum, event_at) select 'N1', event_at from plane_facts")
        query = f"select {DIALECT.select_list(served_columns(view))} from plane_facts order by tailnum"
        batch = connection.sql(query).to_arrow_reader().read_next_batch()
    encoded = Encoder("demo_dev", view).encode(batch)
    assert encoded.keys.to_pylist() == [b"demo_dev:plane:N0", b"demo_dev:plane:N1"]
    first, second = (Decoder(view).decode(message) for message in encoded.messages.to_pylist())
    event_time = EPOCH - timedelta(microseconds=1)
    assert first == (event_time, {f"f{i}": value for i, (_, value) in enumerate(EXPORTED.values())})
    assert second == (event_time, dict.fromkeys(first[1]))
    assert str(first[1]["f15"]) == "1E-10"
    assert str(first[1]["f13"]) == "0.5000"


def test_a_column_of_another_type_is_refused_not_rounded():
    view = view_of(Feature("seats", "integer", 2))
    batch = batch_of(view, [EPOCH], seats=pa.array([1.5]))
    with pytest.raises(DataError, match="'seats' is registered as integer, came as double"):
        Encoder("demo_dev", view).encode(batch)


def test_an_array_of_another_size_is_refused():
    view = view_of(Feature("embedding", "float[3]", 2))
    batch = batch_of(view, [EPOCH], embedding=pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)))
    with pytest.raises(DataError, match=r"'embedding' is registered as float\[3\], came as float\[2\]"):
        Encoder("demo_dev", view).encode(batch)


def test_a_naive_event_time_is_refused():
    view = view_of()
    batch = pa.record_batch({"tailnum": pa.array(["N1"]), "event_at": pa.array([0], pa.timestamp("us"))})
    with pytest.raises(DataError, match="'event_at' is registered as timestamptz, came as timestamp"):
        Encoder("demo_dev", view).encode(batch)


def test_a_missing_column_is_named():
    view = view_of(Feature("seats", "integer", 2))
    with pytest.raises(DataError, match=r"plane_facts\.v3: no column 'seats' among tailnum, event_at"):
        Encoder("demo_dev", view).encode(batch_of(view, [EPOCH]))


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet=r"a|:\é", max_size=4), min_size=1, max_size=6),
    st.sampled_from([pa.string(), pa.large_string()]),
    st.integers(0, 5),
)
def test_keys_are_escaped_wherever_a_batch_begins(keys, arrow, skipped):
    batch = pa.record_batch(
        {"tailnum": pa.array(keys, arrow), "event_at": pa.array([EPOCH] * len(keys), pa.timestamp("us", "UTC"))}
    )
    encoded = Encoder("demo_dev", view_of()).encode(batch.slice(skipped))
    assert encoded.keys.to_pylist() == [
        entity_key("demo_dev", PLANE, {"tailnum": key}).encode() for key in keys[skipped:]
    ]


def test_null_in_a_join_key_is_refused_with_the_number_of_rows():
    view = view_of()
    times = pa.array([EPOCH] * 3, pa.timestamp("us", "UTC"))
    batch = pa.record_batch({"tailnum": pa.array(["N1", None, None]), "event_at": times})
    with pytest.raises(DataError, match=r"plane_facts\.v3: join key 'tailnum' is NULL in at least 2 rows"):
        Encoder("demo_dev", view).encode(batch)


def test_null_in_the_event_time_is_refused_with_the_number_of_rows():
    view = view_of()
    with pytest.raises(DataError, match=r"plane_facts\.v3: event time 'event_at' is NULL in at least 1 row"):
        Encoder("demo_dev", view).encode(batch_of(view, [EPOCH, None]))


INFINITE = {
    "timestamptz": ["'infinity'", "'-infinity'", "'10000-01-01 00:00:00+00'", "'0001-12-31 (BC) 23:59:59+00'"],
    "date": ["'infinity'", "'-infinity'", "'10000-01-01'", "'0001-12-31 (BC)'"],
}


@pytest.mark.parametrize(("type_", "sql"), [(type_, sql) for type_, values in INFINITE.items() for sql in values])
def test_times_that_no_reader_can_hold_are_refused(type_, sql):
    view = view_of(Feature("seen", type_, 2))
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = f"values ('N0', now(), null), ('N1', now(), cast({sql} as {type_}))"
        batch = connection.sql(f"select * from ({rows}) t(tailnum, event_at, seen)").to_arrow_reader().read_next_batch()
    with pytest.raises(DataError, match=r"'seen' is infinite or .* in at least 1 row, first for demo_dev:plane:N1"):
        Encoder("demo_dev", view).encode(batch)
    as_event_time = FeatureView(name="v", version=1, entity=PLANE, features=(), event_timestamp="seen")
    as_key = view_of(entity=Entity("moment", (JoinKey("seen", type_),)))
    for other, words in (
        (as_event_time, "is infinite" if type_ == "timestamptz" else "came as date"),
        (as_key, "is infinite"),
    ):
        with pytest.raises(DataError, match=f"'seen' .*{words}"):
            Encoder("demo_dev", other).encode(batch.slice(1))


@pytest.mark.parametrize("name", ["bigint[]", "double[]", "double[2]"])
def test_null_inside_a_list_is_refused_for_the_first_key(name):
    view = view_of(Feature("seen", name, 2))
    values = [[1, 2], None, [None, 2], [None, None]]
    batch = batch_of(view, [EPOCH] * 4, seen=pa.array(values, CASES[name].arrow))
    for order in (batch, batch.take(pa.array([3, 1, 2, 0]))):  # a warehouse gives its rows in any
        with pytest.raises(DataError) as caught:
            Encoder("demo_dev", view).encode(order)
        assert caught.value.message == (
            "plane_facts.v3: 'seen' holds NULL inside a list in at least 2 rows, first for demo_dev:plane:N2"
        )


def test_what_lies_under_a_null_list_is_not_read():
    values = pa.array([1.0, None, 3.0])
    hidden = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), values, mask=pa.array([False, True, False]))
    view = view_of(Feature("seen", "double[]", 2))
    messages = Encoder("demo_dev", view).encode(batch_of(view, [EPOCH] * 3, seen=hidden)).messages
    expected = [protobuf_bytes(view, EPOCH, {"seen": value}) for value in ([1.0], None, [3.0])]
    assert messages.to_pylist() == expected


words = st.lists(st.binary(max_size=120), min_size=1, max_size=6)


@given(words, words)
def test_columns_of_arguments_are_the_commands_of_their_rows(keys, messages):
    rows = list(zip(keys, messages, strict=False))
    columns = [pa.array(column, pa.large_binary()) for column in zip(*rows, strict=True)]
    hset = commands(b"HSET", columns[0], b"plane_facts:3", columns[1])
    assert bytes(hset) == b"".join(resp.command(b"HSET", key, b"plane_facts:3", message) for key, message in rows)
    hdel = commands(b"HDEL", columns[0], b"plane_facts:3")
    assert bytes(hdel) == b"".join(resp.command(b"HDEL", key, b"plane_facts:3") for key, _ in rows)


def test_a_null_argument_is_refused():
    with pytest.raises(ValueError, match="1 of 2 arguments are NULL"):
        commands(b"GET", pa.array([b"k", None]))


def test_the_commands_of_a_batch_set_each_rows_field():
    view = view_of(Feature("seats", "integer", 2))
    encoded = Encoder("demo_dev", view).encode(batch_of(view, [EPOCH] * 2, seats=pa.array([1, 2], pa.int32())))
    assert bytes(encoded.commands()) == b"".join(
        resp.command("HSET", f"demo_dev:plane:N{row}", "plane_facts:3", protobuf_bytes(view, EPOCH, {"seats": row + 1}))
        for row in range(2)
    )


def test_nan_keeps_its_bits():
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000001], np.uint64)
    view = view_of(Feature("rate", "double", 2))
    batch = batch_of(view, [EPOCH] * 2, rate=pa.array(bits.view(np.float64)))
    messages = Encoder("demo_dev", view).encode(batch).messages.to_pylist()
    assert [message[-8:] for message in messages] == [int(value).to_bytes(8, "little") for value in bits]
