"""decode: the schema of messages, and their bytes back into Python values."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import DefinitionError, StoreError, UnsupportedTypeError
from feature_warehouse.registry.feature import Entity, Feature, FeatureView, JoinKey
from feature_warehouse.registry.types import feature_type
from feature_warehouse.wire.decode import BatchDecoder, Decoder, file_descriptor, instant, message_class, proto_text

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CARRIER = Entity("carrier", (JoinKey("carrier", "varchar"),))
EVENT_TIME = b"\x09" + bytes(8)


def view_of(*features: Feature, name: str = "carrier_delays", version: int = 2) -> FeatureView:
    return FeatureView(name=name, version=version, entity=CARRIER, features=features)


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"

#: (type, the bytes of field 2, the value)
EXAMPLES = [
    ("boolean", "1001", True),
    ("boolean", "1000", False),
    ("bigint", "1000", 0),
    ("tinyint", "1001", -1),
    ("bigint", "10ffffffffffffffffff01", -(2**63)),
    ("ubigint", "10ffffffffffffffffff01", 2**64 - 1),
    ("hugeint", "12022d31", -1),
    ("double", "11000000000000e03f", 0.5),
    ("float", "150000003f", 0.5),
    ("decimal(9,4)", "120731322e33343030", Decimal("12.3400")),
    ("varchar", "1200", ""),
    ("varchar", "1202c3bc", "ü"),
    (
        "uuid",
        "122430663866616435622d643963622d343639662d613136352d373038363737323839353065",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
    ),
    ("blob", "120100", b"\0"),
    ("date", "1001", date(1969, 12, 31)),
    ("timestamptz", "1140420f0000000000", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
    ("double[]", "1200", []),
    ("double[1]", "120a0a08000000000000e03f", [0.5]),
    ("float[]", "12060a040000003f", [0.5]),
    ("integer[]", "12050a03000103", [0, -1, -2]),
    ("ubigint[]", "12030a0101", [1]),
]


@pytest.mark.parametrize(("type_", "field", "value"), EXAMPLES)
def test_a_field_is_the_value_of_its_type(type_, field, value):
    decoded = Decoder(view_of(Feature("value", type_, 2))).decode(EVENT_TIME + bytes.fromhex(field))
    assert decoded == (EPOCH, {"value": value})
    assert type(decoded[1]["value"]) is type(value)


def test_a_decimal_keeps_its_scale():
    decoder = Decoder(view_of(Feature("value", "decimal(9,4)", 2)))
    assert str(decoder.decode(EVENT_TIME + b"\x12\x0712.3400")[1]["value"]) == "12.3400"


def test_the_event_time_is_an_instant_in_utc():
    message = b"\x09" + (1_359_633_600_000_001).to_bytes(8, "little")
    event_time, _ = Decoder(view_of()).decode(message)
    assert event_time == datetime(2013, 1, 31, 12, 0, 0, 1, UTC)
    assert event_time.tzinfo is UTC


def test_an_old_message_gives_none_for_newer_features():
    old = view_of(Feature("rate", "double", 2))
    new = view_of(Feature("rate", "double", 2), Feature("flights", "bigint", 3), Feature("delays", "double[]", 4))
    message = message_class(old)(event_time=0, rate=0.5).SerializeToString()
    assert Decoder(new).decode(message) == (EPOCH, {"rate": 0.5, "flights": None, "delays": None})


def test_an_old_reader_skips_newer_features():
    old = view_of(Feature("rate", "double", 2))
    new = view_of(Feature("rate", "double", 2), Feature("name", "varchar", 300))
    message = message_class(new)(event_time=0, rate=0.5, name="x").SerializeToString()
    assert Decoder(old).decode(message) == (EPOCH, {"rate": 0.5})


def test_features_come_by_field_number_and_only_numbered_ones():
    view = view_of(Feature("b", "double", 3), Feature("training_only", "double"), Feature("a", "double", 2))
    assert list(Decoder(view).decode(EVENT_TIME)[1]) == ["a", "b"]


def test_a_torn_message_is_refused_and_names_the_view():
    decoder = Decoder(view_of(Feature("name", "varchar", 2)))
    message = EVENT_TIME + b"\x12\x06EWR-NY"
    for length in {*range(len(message))} - {len(EVENT_TIME)}:  # a cut between two fields cannot be seen
        with pytest.raises(StoreError, match=rf"carrier_delays\.v2 .*\({length} bytes\)"):
            decoder.decode(message[:length])


@pytest.mark.parametrize(
    ("type_", "field"),
    [
        ("decimal(9,4)", b"\x12\x03abc"),
        ("hugeint", b"\x12\x031.5"),
        ("varchar", b"\x12\x01\xff"),
        ("date", b"\x10\xff\xff\xff\xff\x0f"),
        ("timestamptz", b"\x11" + b"\xff" * 7 + b"\x7f"),
        ("tinyint", b"\x10\x80\x02"),
        ("uinteger", b"\x10\x01"),
        ("decimal(9,4)", b"\x12\x0512.34"),
        ("decimal(9,4)", b"\x12\x0b123456.0000"),
        ("decimal(9,4)", b"\x12\x03NaN"),
        ("hugeint", b"\x12\x27" + b"9" * 39),
        ("uhugeint", b"\x12\x02-1"),
        ("uuid", b"\x12\x010"),
        ("double[2]", b"\x12\x0a\x0a\x08" + bytes(8)),
        ("tinyint[]", b"\x12\x04\x0a\x02\x80\x02"),
    ],
)
def test_a_value_that_its_type_cannot_have_is_refused(type_, field):
    view = view_of(Feature("value", type_, 2))
    with pytest.raises(StoreError, match=r"carrier_delays\.v2"):
        Decoder(view).decode(EVENT_TIME + field)
    for rows in (1, 20):
        with pytest.raises(StoreError, match=rf"carrier_delays\.v2 .* at key {rows - 1}"):
            BatchDecoder(view, ["value"]).decode(
                [EVENT_TIME] * (rows - 1) + [EVENT_TIME + field], [b"key %d" % row for row in range(rows)]
            )


ANY_DECODER = Decoder(view_of(*(Feature(f"f{i}", type_, i + 2) for i, (type_, _, _) in enumerate(EXAMPLES))))


@given(st.binary(max_size=60))
def test_foreign_bytes_are_a_message_or_a_store_error(data):
    try:
        ANY_DECODER.decode(EVENT_TIME + data)
    except StoreError as error:
        assert "carrier_delays.v2" in error.message  # noqa: PT017  # most random bytes are refused, some are fields


def test_the_proto_file_is_readable():
    delays = view_of(
        Feature("embedding", "float[8]", 4),
        Feature("delay_rate_7d", "double", 2),
        Feature("cost", "numeric(9,2)", 3),
        Feature("training_only", "double"),
    )
    first = view_of(Feature("flights", "integer", 2), version=1)
    assert proto_text([delays, first]) == PROTO


PROTO = """\
// What the syncer writes to Redis: one message per feature view version. Generated from the registry; do not edit.
// A field that is absent is NULL. See docs/wire-format.md.
syntax = "proto3";

package feature_warehouse;

// Hash field 'carrier_delays:1' of the entity 'carrier' (carrier varchar).
message CarrierDelaysV1 {
  optional sfixed64 event_time = 1;  // microseconds since 1970-01-01T00:00:00Z
  optional sint64 flights = 2;  // integer
}

// Hash field 'carrier_delays:2' of the entity 'carrier' (carrier varchar).
message CarrierDelaysV2 {
  optional sfixed64 event_time = 1;  // microseconds since 1970-01-01T00:00:00Z
  optional double delay_rate_7d = 2;  // double
  optional string cost = 3;  // decimal(9,2)
  optional FloatList embedding = 4;  // float[8]
}

// A list of numbers; a message of its own, so that NULL and [] differ.
message FloatList {
  repeated float values = 1;
}
"""


def test_a_schema_that_protobuf_would_not_take_is_refused_by_name():
    for features, word in [
        ([Feature("event_time", "double", 2)], "'event_time' of carrier_delays.v2"),
        ([Feature("a", "double", 1)], "'a' of carrier_delays.v2"),
        ([Feature("a", "double", 2), Feature("b", "double", 2)], "'b' of carrier_delays.v2"),
    ]:
        with pytest.raises(DefinitionError, match=word):
            file_descriptor([view_of(*features)])


def test_a_type_without_an_online_form_is_refused():
    with pytest.raises(UnsupportedTypeError, match="'interval'"):
        Decoder(view_of(Feature("a", "interval", 2)))


# --- many messages at once; the decoder of one is the oracle

EVERY_TYPE = view_of(*(Feature(f"f{i}", type_, i + 2) for i, (type_, _, _) in enumerate(EXAMPLES)))
NAMES = [feature.name for feature in EVERY_TYPE.numbered]
BATCH = BatchDecoder(EVERY_TYPE, NAMES)


def field_of(position: int) -> bytes:
    """The bytes of an example, under the number that the feature has in EVERY_TYPE."""
    type_, text, value = EXAMPLES[position]
    made: Any = message_class(view_of(Feature("value", type_, 2))).FromString(EVENT_TIME + bytes.fromhex(text))
    renamed = message_class(EVERY_TYPE)()
    if feature_type(type_).is_list:
        getattr(renamed, f"f{position}").CopyFrom(type(getattr(renamed, f"f{position}"))(values=value))
    else:
        setattr(renamed, f"f{position}", made.value)
    return renamed.SerializeToString()


FIELDS = [field_of(position) for position in range(len(EXAMPLES))]

#: A message: an event time in microseconds, and which of the features it has.
ROWS = st.tuples(st.integers(-(10**15), 10**15), st.sets(st.sampled_from(range(len(FIELDS)))))


def made_of(row: tuple[int, set[int]]) -> bytes:
    event_time, present = row
    fields = b"".join(field for position, field in enumerate(FIELDS) if position in present)
    return b"\x09" + event_time.to_bytes(8, "little", signed=True) + fields


@given(st.lists(ROWS, max_size=12), st.permutations(NAMES), st.integers(1, len(NAMES)))
def test_many_messages_are_what_each_of_them_is(rows, names, count):
    messages = [made_of(row) for row in rows]
    wanted = names[:count]
    found = BatchDecoder(EVERY_TYPE, wanted).decode(messages, [b"key"] * len(rows))
    each = [ANY_DECODER.decode(message) for message in messages]
    assert [instant(time) for time in found.event_times] == [time for time, _ in each]
    columns = [list(column[:]) for column in found.features]
    assert columns == [[features[name] for _, features in each] for name in wanted]


@given(st.lists(ROWS, min_size=1, max_size=12), st.data())
def test_a_torn_message_among_many_is_found_and_named(rows, data):
    """Cut between two fields it is a message still; else it would swallow the head of the next one."""
    messages = [made_of(row) for row in rows]
    torn = data.draw(st.integers(0, len(rows) - 1))
    messages[torn] = messages[torn][: data.draw(st.integers(0, len(messages[torn])))]
    try:
        wanted = [ANY_DECODER.decode(message)[1] for message in messages]
    except StoreError:
        with pytest.raises(StoreError, match=rf"carrier_delays\.v2 .* at key {torn}"):
            BATCH.decode(messages, [b"key %d" % number for number in range(len(rows))])
    else:
        columns = BATCH.decode(messages, [b"key"] * len(rows)).features
        assert [list(column[:]) for column in columns] == [[row[name] for row in wanted] for name in NAMES]


def test_a_field_that_comes_twice_is_the_last_one_among_many_too():
    view = view_of(Feature("rate", "double", 2), Feature("flights", "bigint", 3))
    message = message_class(view)
    once = message(event_time=0, rate=0.5).SerializeToString()
    twice = message(event_time=0, flights=1).SerializeToString() + message(flights=2).SerializeToString()
    for messages in ([twice] * 6, [once, *[twice] * 6], [once] * 6):
        found = BatchDecoder(view, ["rate", "flights"]).decode(messages, [b"key"] * len(messages))
        each = [Decoder(view).decode(one)[1] for one in messages]
        assert [list(column[:]) for column in found.features] == [
            [row["rate"] for row in each],
            [row["flights"] for row in each],
        ]


@pytest.mark.parametrize("count", [1, 9])
def test_an_event_time_that_is_none_is_refused_among_many(count):
    view = view_of(Feature("rate", "double", 2))
    good = message_class(view)(event_time=0, rate=0.5).SerializeToString()
    for bad in (b"\x11" + bytes(8), b"\x09" + b"\xff" * 7 + b"\x7f"):
        with pytest.raises(StoreError, match="at key 0"):
            BatchDecoder(view, ["rate"]).decode([bad, *[good] * (count - 1)], [b"key %d" % i for i in range(count)])
