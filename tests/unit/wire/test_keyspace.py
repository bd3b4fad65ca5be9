"""keyspace: one canonical text for every key, from Python values and from Arrow columns alike."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import RequestError
from feature_warehouse.registry.feature import Entity, FeatureView, JoinKey
from feature_warehouse.registry.types import INTEGER_RANGES
from feature_warehouse.warehouse.duckdb import DIALECT
from feature_warehouse.wire.encode import Encoder, served_columns
from feature_warehouse.wire.keyspace import (
    entity_key,
    entity_keys,
    field_name,
    key_text,
    markers_key,
    registry_key,
    split_key,
)

UTC = timezone.utc
NEW_YORK = timezone(timedelta(hours=-5))
HEX = "0f8fad5b-d9cb-469f-a165-70867728950e"

#: (type, the value in SQL, the same value in Python, key text). Drives the scalar and the columnar form.
EXAMPLES = [
    ("varchar", "'N14228'", "N14228", "N14228"),
    ("varchar", "''", "", ""),
    ("varchar", "'a|b:c\\d'", "a|b:c\\d", r"a\|b\:c\\d"),
    ("varchar", "'\\\\|'", "\\\\|", r"\\\\\|"),
    ("varchar", "'Zürich 東京 🛫'", "Zürich 東京 🛫", "Zürich 東京 🛫"),
    ("varchar", "' a' || chr(10) || 'B '", " a\nB ", " a\nB "),
    ("tinyint", "-128", -128, "-128"),
    ("utinyint", "255", 255, "255"),
    ("integer", "0", 0, "0"),
    ("bigint", "9223372036854775807", 2**63 - 1, "9223372036854775807"),
    ("bigint", "'-9223372036854775808'", -(2**63), "-9223372036854775808"),
    ("ubigint", "18446744073709551615", 2**64 - 1, "18446744073709551615"),
    ("hugeint", "'-170141183460469231731687303715884105728'", -(2**127), str(-(2**127))),
    ("uhugeint", f"'{2**128 - 1}'", 2**128 - 1, str(2**128 - 1)),
    ("boolean", "true", True, "true"),
    ("boolean", "false", False, "false"),
    ("date", "'2013-01-31'", date(2013, 1, 31), "2013-01-31"),
    ("date", "'0001-01-01'", date.min, "0001-01-01"),
    ("date", "'9999-12-31'", date.max, "9999-12-31"),
    ("timestamptz", "'2013-01-31 12:00:00+00'", datetime(2013, 1, 31, 12, tzinfo=UTC), r"2013-01-31T12\:00\:00Z"),
    ("timestamptz", "'2013-01-31 07:00:00-05'", datetime(2013, 1, 31, 7, tzinfo=NEW_YORK), r"2013-01-31T12\:00\:00Z"),
    (
        "timestamptz",
        "'1969-12-31 23:59:59.5+00'",
        datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC),
        r"1969-12-31T23\:59\:59.500000Z",
    ),
    (
        "timestamptz",
        "'0001-01-01 00:00:00.000001+00'",
        datetime(1, 1, 1, 0, 0, 0, 1, UTC),
        r"0001-01-01T00\:00\:00.000001Z",
    ),
    ("timestamptz", "'9999-12-31 23:59:59+00'", datetime(9999, 12, 31, 23, 59, 59, 0, UTC), r"9999-12-31T23\:59\:59Z"),
    ("uuid", f"'{HEX.upper()}'", UUID(HEX), HEX),
]

#: (type, the text of a command line, key text)
TYPED = [
    ("bigint", "42", "42"),
    ("bigint", "-007", "-7"),
    ("boolean", "true", "true"),
    ("date", "2013-01-31", "2013-01-31"),
    ("timestamptz", "2013-01-31T12:00:00Z", r"2013-01-31T12\:00\:00Z"),
    ("timestamptz", "2013-01-31 07:00-05:00", r"2013-01-31T12\:00\:00Z"),
    ("timestamptz", "2013-01-31 07:00:00.25-05", r"2013-01-31T12\:00\:00.250000Z"),
    ("uuid", HEX.upper(), HEX),
]

#: (type, a value that no key can be made of, a word of the message)
REFUSED = [
    ("varchar", None, "None"),
    ("varchar", 5, "not a string"),
    ("varchar", b"EWR", "not a string"),
    ("varchar", "\udc80", "not valid UTF-8"),
    ("bigint", 1.0, "not an integer"),
    ("bigint", "1.0", "not an integer"),
    ("bigint", "\u0661", "not an integer"),
    ("bigint", "", "not an integer"),
    ("bigint", True, "not an integer"),
    ("bigint", "9" * 5000, "not an integer"),
    ("bigint", 2**63, "between"),
    ("tinyint", "128", "between"),
    ("ubigint", -1, "between"),
    ("boolean", 1, "not a boolean"),
    ("boolean", "True", "not a boolean"),
    ("date", datetime(2013, 1, 31, tzinfo=UTC), "not a date"),
    ("date", "2013-02-30", "not a date"),
    ("date", "20130131", "not a date"),
    ("timestamptz", datetime(2013, 1, 31), "not an instant"),
    ("timestamptz", date(2013, 1, 31), "not a timestamp"),
    ("timestamptz", "2013-01-31T12:00:00", "not a timestamp"),
    ("timestamptz", "2013-01-31T25:00:00Z", "not a timestamp"),
    ("timestamptz", 1359633600, "not a timestamp"),
    ("timestamptz", datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "within the years"),
    ("uuid", "N14228", "not a UUID"),
    ("uuid", 7, "not a UUID"),
]


def columnar_key(entity: Entity, literals: list[str]) -> str:
    """The key that the syncer writes for one row of the warehouse."""
    view = FeatureView(name="any_view", version=1, entity=entity, features=())
    values = ", ".join(
        f"cast({sql} as {key.type}) as {key.name}" for key, sql in zip(entity.join_keys, literals, strict=True)
    )
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'America/New_York'")  # no key may depend on the session
        batch = (
            connection.sql(
                f"select {DIALECT.select_list(served_columns(view))} "
                f"from (select {values}, timestamptz '2013-01-01 00:00:00+00' as event_at)"
            )
            .to_arrow_reader()
            .read_next_batch()
        )
    key: bytes = Encoder("demo_dev", view).encode(batch).keys[0].as_py()
    return key.decode()


@pytest.mark.parametrize(("type_", "sql", "value", "text"), EXAMPLES)
def test_a_python_value_and_a_warehouse_value_have_the_same_key(type_, sql, value, text):
    entity = Entity("thing", (JoinKey("id", type_),))
    assert entity_key("demo_dev", entity, {"id": value}) == f"demo_dev:thing:{text}"
    assert columnar_key(entity, [sql]) == f"demo_dev:thing:{text}"


def test_composite_keys_are_joined_in_join_key_order():
    types = ["varchar", "varchar", "date", "integer"]
    entity = Entity("route", tuple(JoinKey(f"k{i}", type_) for i, type_ in enumerate(types)))
    values: dict[str, object] = {"k3": 7, "k2": date(2013, 1, 31), "k1": "", "k0": "a|b", "other": None}
    assert entity_key("demo_dev", entity, values) == r"demo_dev:route:a\|b||2013-01-31|7"
    assert columnar_key(entity, ["'a|b'", "''", "'2013-01-31'", "7"]) == r"demo_dev:route:a\|b||2013-01-31|7"


@pytest.mark.parametrize(("type_", "value", "text"), TYPED)
def test_a_typed_text_has_the_key_of_the_value_it_says(type_, value, text):
    assert key_text([value], [type_]) == text


@pytest.mark.parametrize(("type_", "value", "words"), REFUSED)
def test_a_value_of_another_type_is_refused(type_, value, words):
    with pytest.raises(RequestError, match=words):
        key_text([value], [type_])


def test_a_refusal_names_key_entity_and_value_and_gives_a_hint():
    entity = Entity("plane", (JoinKey("seats", "integer"),))
    with pytest.raises(RequestError) as caught:
        entity_key("demo_dev", entity, {"seats": 1.0})
    assert caught.value.message == "join key 'seats' of entity 'plane': 1.0 (float) is not an integer"
    assert caught.value.hint == "give a whole number: 1, not 1.0"


def test_a_missing_join_key_is_named():
    entity = Entity("route", (JoinKey("origin", "varchar"), JoinKey("dest", "varchar")))
    with pytest.raises(RequestError, match="join key 'dest' of entity 'route' is missing"):
        entity_key("demo_dev", entity, {"origin": "EWR"})


def test_numpy_integers_are_integers():
    assert key_text([np.int64(7)], ["bigint"]) == "7"


@given(st.lists(st.text(alphabet=st.sampled_from("a|:\\\nü")), min_size=1, max_size=4))
def test_split_key_undoes_key_text(values):
    assert split_key(key_text(values, ["varchar"] * len(values))) == values


@given(st.lists(st.lists(st.text(alphabet="|:\\a", max_size=4), min_size=1, max_size=3), min_size=2, max_size=2))
def test_different_values_have_different_keys(pair):
    one, other = (key_text(values, ["varchar"] * len(values)) for values in pair)
    assert (one == other) == (pair[0] == pair[1])


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_columns_of_any_text_have_the_scalar_keys(values):
    entity = Entity("thing", (JoinKey("id", "varchar"),))
    view = FeatureView(name="any_view", version=1, entity=entity, features=())
    times = pa.array([0] * len(values), pa.timestamp("us", "UTC"))
    batch = pa.record_batch({"id": pa.array(values, pa.string()), "event_at": times})
    keys = [key.decode() for key in Encoder("ns", view).encode(batch).keys.to_pylist()]
    assert keys == [entity_key("ns", entity, {"id": value}) for value in values]


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=5))
def test_columns_of_any_time_have_the_scalar_keys(values):
    entity = Entity("thing", (JoinKey("id", "timestamptz"),))
    view = FeatureView(name="any_view", version=1, entity=entity, features=(), event_timestamp="id")
    batch = pa.record_batch({"id": pa.array(values, pa.timestamp("us", "UTC"))})
    keys = [key.decode() for key in Encoder("ns", view).encode(batch).keys.to_pylist()]
    assert keys == [entity_key("ns", entity, {"id": value}) for value in values]


def test_names_around_the_keys():
    assert field_name("carrier_delays", 2) == "carrier_delays:2"
    assert registry_key("demo_dev") == "demo_dev:#registry"
    assert markers_key("demo_dev") == "demo_dev:#markers"


KEY_VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["|", ":", "\\", "a\nb", "7", "\ud800", "ü"]),
    st.floats(),
)


@given(st.lists(st.fixed_dictionaries({"a": KEY_VALUES, "b": KEY_VALUES}), max_size=5), st.booleans())
def test_keys_of_many_rows_are_what_each_of_them_is(rows, composite):
    keys = (JoinKey("x", "bigint"), JoinKey("y", "varchar")) if composite else (JoinKey("x", "varchar"),)
    entity, names = Entity("thing", keys), ["a", "b"] if composite else ["b"]

    def one(row):
        values = {key.name: row[name] for key, name in zip(keys, names, strict=True)}
        return None if None in values.values() else entity_key("shop_dev", entity, values).encode()

    try:
        wanted = [one(row) for row in rows]
    except RequestError:
        with pytest.raises(RequestError):
            entity_keys("shop_dev", entity, names, rows)
    else:
        assert entity_keys("shop_dev", entity, names, rows) == wanted


@pytest.mark.parametrize("type_", ["tinyint", "bigint", "uhugeint"])
def test_a_number_beyond_its_type_is_no_key_among_many_either(type_):
    entity = Entity("thing", (JoinKey("x", type_),))
    smallest, largest = INTEGER_RANGES[type_]
    found = entity_keys("shop_dev", entity, ["x"], [{"x": smallest}, {"x": largest}])
    assert found == [f"shop_dev:thing:{smallest}".encode(), f"shop_dev:thing:{largest}".encode()]
    for number in (smallest - 1, largest + 1):
        with pytest.raises(RequestError, match="is not between"):
            entity_keys("shop_dev", entity, ["x"], [{"x": largest}, {"x": number}])
