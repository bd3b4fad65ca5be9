"""Every type, value and key comes back itself from the whole way: from the warehouse through Redis to the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from feature_warehouse import FeatureClient
from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.shop import Shop, latest

#: Each type that can be served, with values in SQL. Every column also holds a NULL.
VALUES = {
    "boolean": ["true", "false"],
    "tinyint": ["-128", "0", "127"],
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "0", "2147483647"],
    "bigint": ["-9223372036854775808", "-1", "0", "9007199254740993", "9223372036854775807"],
    "utinyint": ["0", "255"],
    "usmallint": ["0", "65535"],
    "uinteger": ["0", "4294967295"],
    "ubigint": ["0", "18446744073709551615"],
    "hugeint": ["-170141183460469231731687303715884105728", "0", "170141183460469231731687303715884105727"],
    "uhugeint": ["0", "340282366920938463463374607431768211455"],
    "float": ["'nan'", "'inf'", "'-inf'", "'-0.0'", "0", "0.1", "1e-45", "3.4028235e38"],
    "double": ["'nan'", "'inf'", "'-inf'", "'-0.0'", "0", "0.1", "5e-324", "1.7976931348623157e308"],
    "decimal(9,4)": ["-99999.9999", "-0.0001", "0", "0.0000", "1.5", "99999.9999"],
    "decimal(38,10)": ["-9999999999999999999999999999.9999999999", "0.0000000001"],
    "decimal(4,0)": ["-7", "0", "9999"],
    "varchar": ["''", "' '", "'Zürich 東京 😀'", "'a' || chr(0) || 'b'", "repeat('long', 10000)", "'null'", "'\"; \\'"],
    "uuid": ["'0F8FAD5B-D9CB-469F-A165-70867728950E'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "blob": ["''", "'\\x00\\xFF\\x0D\\x0A'"],
    "date": ["'0001-01-01'", "'1969-12-31'", "'1970-01-01'", "'9999-12-31'"],
    "timestamptz": [
        "'0001-01-01 00:00:00+00'",
        "'1969-12-31 23:59:59.999999+00'",
        "'1970-01-01 00:00:00+00'",
        "'2026-01-10 00:00:00.000001-05'",
        "'9999-12-31 23:59:59.999999+00'",
    ],
    "double[]": ["[]", "[0.1]", "['nan', 'inf', '-inf', '-0.0']", "range(768)"],
    "float[]": ["[]", "[0.1, -1]"],
    "float[3]": ["[0.1, -1, 1e-45]"],
    "integer[]": ["[]", "[-2147483648, 0, 2147483647]"],
    "bigint[]": ["[]", "[-9223372036854775808, 300, 9223372036854775807]"],
    "ubigint[]": ["[18446744073709551615, 0]"],
}

#: Texts that keys must keep apart.
NAMES = [
    "plain",
    "",
    " ",
    "|",
    ":",
    "\\",
    "a|b",
    "a\\|b",
    "a:b",
    "a\\",
    "\\|",
    "ä",
    "東京",
    "😀",
    "a\nb",
    "*",
    "[a]",
    "{a}",
    "%2F",
]


def feature(type_: str) -> str:
    return "f_" + type_.replace("(", "_").replace(")", "").replace(",", "_").replace("[", "_list").replace("]", "")


FEATURES = {feature(type_): type_ for type_ in VALUES}
ROWS = max(map(len, VALUES.values())) + 1

YAML = f"""
models:
  - name: readings
    config:
      materialized: table
      contract: {{enforced: true}}
      meta:
        feature_view: {{entity: sensor, join_keys: [name, number], event_timestamp: event_at, available_at: none}}
    columns:
      - {{name: name, data_type: varchar}}
      - {{name: number, data_type: integer}}
      - {{name: event_at, data_type: timestamptz}}
{"".join(f'      - {{name: {name}, data_type: "{type_}"}}{chr(10)}' for name, type_ in FEATURES.items())}
    versions: [{{v: 1}}]

  - name: moments
    config:
      materialized: table
      contract: {{enforced: true}}
      meta:
        feature_view:
          {{entity: moment, join_keys: [day, instant, flag, code, huge], event_timestamp: event_at, available_at: none}}
    columns:
      - {{name: day, data_type: date}}
      - {{name: instant, data_type: timestamptz}}
      - {{name: flag, data_type: boolean}}
      - {{name: code, data_type: uuid}}
      - {{name: huge, data_type: hugeint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: position, data_type: integer}}
    versions: [{{v: 1}}]

exposures:
  - name: zoo_v1
    type: ml
    owner: {{name: Zoo, email: zoo@example.com}}
    depends_on: ["ref('readings', v=1)"]
    config: {{meta: {{feature_service: {{name: zoo, version: 1, features: [
      {{view: readings.v1, features: [{", ".join(FEATURES)}]}}]}}}}}}
  - name: times_v1
    type: ml
    owner: {{name: Zoo, email: zoo@example.com}}
    depends_on: ["ref('moments', v=1)"]
    config: {{meta: {{feature_service: {{name: times, version: 1, features: [
      {{view: moments.v1, features: [position]}}]}}}}}}
"""

#: Keys of the other types, and the Python values that name the same entity.
MOMENTS = """
select
    cast(day as date) as day, cast(instant as timestamptz) as instant, cast(flag as boolean) as flag,
    cast(code as uuid) as code, cast(huge as hugeint) as huge,
    timestamptz '2026-01-01 00:00:00+00' as event_at, cast(position as integer) as position
from
    (
        values
            ('2026-01-31', '2026-01-31 07:00:00-05', true, '0F8FAD5B-D9CB-469F-A165-70867728950E', '-1', 0),
            ('0001-01-01', '1969-12-31 23:59:59.5+00', false, '00000000-0000-0000-0000-000000000000', '0', 1),
            (
                '9999-12-31', '2026-07-01 00:00:00.000001+00', false, 'ffffffff-ffff-ffff-ffff-ffffffffffff',
                '170141183460469231731687303715884105727', 2
            )
    ) as t(day, instant, flag, code, huge, position)
"""


def readings() -> str:
    """One row for each value, the others beginning anew where a type has fewer; the last row is all NULL."""
    rows = []
    for row in range(ROWS):
        values = [
            f"cast({'null' if row == ROWS - 1 else values[row % len(values)]} as {type_}) as {feature(type_)}"
            for type_, values in VALUES.items()
        ]
        rows.append(
            f"select cast('row' as varchar) as name, cast({row} as integer) as number, "
            f"timestamptz '1969-12-31 23:59:59.999999+00' + interval {row} minute as event_at, {', '.join(values)}"
        )
    return " union all\n".join(rows)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedServer) -> Shop:
    made = Shop(
        tmp_path_factory.mktemp("zoo"),
        {
            "models/readings_v1.sql": readings(),
            "models/moments_v1.sql": MOMENTS,
            "models/zoo.yml": YAML,
            **latest("readings"),
            **latest("moments"),
        },
        name="zoo",
    )
    made.redis_url = redis_server.url
    made.dbt("build")
    made.syncer("register")
    names = ", ".join("('" + name.replace("'", "''") + "')" for name in NAMES)
    made.sql(
        "insert into readings_v1 by name select * replace (t.name as name, n.number::integer as number) "
        f"from (values {names}) as t(name), (values (0), (-7)) as n(number), readings_v1 as r where r.number = 1"
    )
    return made


@pytest.fixture
def client(zoo: Shop, redis_url: str) -> Iterator[FeatureClient]:
    """A client of the zoo, synced into the Redis that was emptied for this test."""
    zoo.syncer("sync")
    with closing(FeatureClient(redis_url, "zoo_dev")) as made:
        yield made


def python(value: Any) -> Any:
    """What DuckDB's own client makes of a value -> what ours promises."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    return list(value) if isinstance(value, tuple) else value


def same(one: object, other: object) -> bool:
    """Equal and of one type; NaN is itself, and -0.0 is not 0.0."""
    return type(one) is type(other) and repr(one) == repr(other)


def test_every_value_of_every_type_comes_back_as_the_warehouse_has_it(zoo: Shop, client: FeatureClient) -> None:
    stored = zoo.sql(f"select name, number, {', '.join(FEATURES)} from latest_readings_v1")
    assert len(stored) == ROWS + 2 * len(NAMES)
    found = client.get_online_features("zoo", [{"name": name, "number": number} for name, number, *_ in stored])
    assert found.names == tuple(FEATURES)
    for (name, number, *values), online, statuses in zip(stored, found.values, found.statuses, strict=True):
        for column, value, got, status in zip(FEATURES, values, online, statuses, strict=True):
            expected = python(value)
            assert same(got, expected), f"{column} of {name!r}, {number}: {got!r}, not {expected!r}"
            assert status == ("null" if value is None else "present")


def test_an_empty_list_is_no_null(zoo: Shop, client: FeatureClient) -> None:
    first, last = client.get_online_features(
        "zoo", [{"name": "row", "number": 0}, {"name": "row", "number": ROWS - 1}]
    ).rows()
    assert (first["f_double_list"], last["f_double_list"]) == ([], None)


def test_verify_finds_no_difference_in_any_type(zoo: Shop, client: FeatureClient) -> None:
    assert zoo.json("verify")["differences"] == 0


def test_awkward_keys_are_entities_of_their_own(zoo: Shop, client: FeatureClient, tmp_path: Path) -> None:
    changed = zoo.copied(tmp_path / "zoo", zoo.redis_url)
    changed.sql("update readings_v1 set f_varchar = name || number::varchar where name <> 'row'")
    changed.syncer("sync")
    rows = [{"name": name, "number": number} for name in NAMES for number in (0, -7)]
    found = client.get_online_features("zoo", rows).to_dict()["f_varchar"]
    assert found == [f"{row['name']}{row['number']}" for row in rows]


def test_what_was_synced_under_an_awkward_key_is_removed_under_it(
    zoo: Shop, client: FeatureClient, tmp_path: Path
) -> None:
    changed = zoo.copied(tmp_path / "zoo", zoo.redis_url)
    changed.sql("delete from readings_v1 where name <> 'row'")
    assert [view["removed"] for view in changed.json("sync", "--allow-shrink", "1")["views"]] == [0, 2 * len(NAMES)]
    assert changed.json("verify")["differences"] == 0


@pytest.mark.parametrize(
    "row",
    [
        {
            "day": date(2026, 1, 31),
            "instant": datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
            "flag": True,
            "code": UUID("0f8fad5b-d9cb-469f-a165-70867728950e"),
            "huge": -1,
        },
        {
            "day": "2026-01-31",
            "instant": "2026-01-31T13:00:00+01:00",
            "flag": "true",
            "code": "0F8FAD5B-D9CB-469F-A165-70867728950E",
            "huge": "-1",
        },
    ],
    ids=["python", "text"],
)
def test_keys_of_every_type_are_found_from_values_and_from_texts(row: dict[str, object], client: FeatureClient) -> None:
    assert client.get_online_features("times", [row]).rows() == [{"position": 0}]


def test_keys_as_the_warehouse_holds_them_find_their_entities(zoo: Shop, client: FeatureClient) -> None:
    stored = zoo.sql("select day, instant, flag, code, huge, position from latest_moments_v1 order by position")
    rows = [dict(zip(("day", "instant", "flag", "code", "huge"), row, strict=False)) for row in stored]
    assert client.get_online_features("times", rows).to_dict() == {"position": [0, 1, 2]}


def test_get_shows_every_type_as_strict_json_and_as_text(zoo: Shop, client: FeatureClient) -> None:
    for number in range(ROWS):
        arguments = ("get", "zoo", "name=row", f"number={number}")
        assert set(zoo.json(*arguments)["features"]) == set(FEATURES)
        assert "NaN" not in zoo.syncer(*arguments, "--json").replace('"NaN"', "")
        assert len(zoo.syncer(*arguments).splitlines()) >= len(FEATURES) + 1
    special = zoo.json("get", "zoo", "name=row", "number=2")["features"]
    assert (special["f_double"], special["f_double_list"]) == ("-Infinity", ["NaN", "Infinity", "-Infinity", -0.0])
