"""On-demand features: what a training set holds and what is computed online are the same bits."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import struct
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from feature_warehouse import AsyncFeatureClient, FeatureClient, OnlineFeatures, get_historical_features
from feature_warehouse.client.ondemand import OnDemand
from feature_warehouse.client.request import request_columns
from feature_warehouse.errors import RequestError
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.manifest import load_manifest
from feature_warehouse.registry.feature import FeatureService, FeatureView
from feature_warehouse.store.embedded import EmbeddedServer
from tests.integration.mirror import test_values
from tests.integration.mirror.test_values import feature
from tests.support.projects import messages
from tests.support.shop import Shop, inside, latest

ROWS = 300

#: DuckDB 1.5 has no case, and so no training set, of arrays of a fixed size.
ARRAYS = duckdb.__version__ >= "2"
VALUES = {type_: values for type_, values in test_values.VALUES.items() if ARRAYS or type_ != "float[3]"}
VALUES["uhugeint"] = ["0", str(2**127 - 1)]  # a training set from Python has no type for larger ones

#: Expressions with their types, over the stored features f_... and the request values r_... of all types.
WRITTEN = {
    "bigint": [
        "extract(hour from r_timestamptz)",
        "extract(hour from r_timestamptz at time zone 'America/New_York')",
        "try(f_bigint + r_bigint)",
        "try(f_bigint // r_integer)",
        "try(f_bigint % nullif(r_bigint, 0))",
        "date_diff('hour', f_timestamptz, r_timestamptz)",
        "date_diff('day', f_date, r_date)",
        "len(f_double_list)",
        "length(f_varchar || r_varchar)",
        "cast(null as bigint) -- nothing at all",
    ],
    "integer": ["7"],
    "double": [
        "r_double / f_double",
        "r_double * 0",
        "f_double + 0",
        "-f_double",
        "f_integer / r_integer",
        "try(sqrt(r_double))",
        "coalesce(f_double, r_double, 0)",
        "f_decimal_9_4 / r_decimal_9_4",
        "case when f_boolean then f_double when not r_boolean then r_double end",
        "f_double_list[1] + r_double_list[-1]",
        "list_sum(f_double_list)",
        "epoch(r_timestamptz)",
        "f_hugeint::double / r_uhugeint",
        "r_float::double - f_float",
        "try(cos(f_double))",
    ],
    "boolean": [
        "f_double = r_double",
        "f_double > r_float",
        "f_varchar = r_varchar",
        "f_uuid = r_uuid",
        "isnan(r_double)",
    ],
    "varchar": [
        "lower(f_varchar) || upper(r_varchar)",
        "cast(r_double as varchar)",
        "cast(f_timestamptz as varchar)",
        "strftime(r_timestamptz, '%A %H:%M %Z')",
        "dayname(r_timestamptz)",
        "left(f_varchar, 2)",
        "'it''s'",
    ],
    "timestamptz": [
        "date_trunc('day', r_timestamptz)",
        "greatest(f_timestamptz, r_timestamptz)",
        "case when year(r_timestamptz) between 2 and 9998 then r_timestamptz - interval 36 hour end",
    ],
    "date": ["cast(r_timestamptz as date)", "least(f_date, r_date)"],
    "float": ["f_float", "r_float + f_float"],
    "decimal(9,4)": ["f_decimal_9_4", "try(cast(f_decimal_9_4 - r_decimal_9_4 as decimal(9,4)))"],
    "decimal(38,10)": ["f_decimal_38_10"],
    "hugeint": ["try(f_hugeint + r_bigint)", "f_bigint::hugeint * r_bigint"],
    "uhugeint": ["r_uhugeint"],
    "ubigint": ["f_ubigint", "try(f_ubigint + r_ubigint)"],
    "uuid": ["coalesce(f_uuid, r_uuid)"],
    "blob": ["f_blob || r_blob"],
    "double[]": [
        "f_double_list",
        "list_concat(f_double_list, [r_double])",
        "list_transform(r_double_list, lambda x: x / 2)",
    ],
    "float[3]": ["coalesce(f_float_list3, r_float_list3)"] if ARRAYS else [],
    "ubigint[]": ["r_ubigint_list"],
    "integer[]": ["list_sort(f_integer_list)"],
}


def generated(count: int, seed: int) -> list[tuple[str, str]]:
    """(type, expression): nested at random, and NULL where an error would be."""
    draw = random.Random(seed)

    def leaf(type_: str) -> str:
        return f"{draw.choice('fr')}_{type_}"

    def make(type_: str, depth: int) -> str:
        if depth == 0:
            return leaf(type_)
        a, b = make(type_, depth - 1), make(type_, depth - 1)
        if draw.random() < 0.25:
            condition = make("boolean", depth - 1)
            return draw.choice(
                [f"case when {condition} then {a} else {b} end", f"coalesce({a}, {b})", f"nullif({a}, {b})"]
            )
        other = {name: make(name, depth - 1) for name in ("bigint", "double", "varchar", "timestamptz", "date")}
        return draw.choice(
            {
                "bigint": [
                    f"({a} + {b})",
                    f"({a} * {b})",
                    f"({a} - {b})",
                    f"({a} // {b})",
                    f"({a} % {b})",
                    f"abs({a})",
                    f"year({other['date']})",
                    f"length({other['varchar']})",
                    f"cast({other['double']} as bigint)",
                    f"extract(minute from {other['timestamptz']})",
                    f"epoch_us({other['timestamptz']})",
                ],
                "integer": ["7"],
                "double": [
                    f"({a} + {b})",
                    f"({a} * {b})",
                    f"({a} / {b})",
                    f"({a} - {b})",
                    f"({a} % {b})",
                    f"round({a}, 2)",
                    f"ln({a})",
                    f"exp({a})",
                    f"sin({a})",
                    f"pow({a}, 0.5)",
                    f"floor({a})",
                    f"greatest({a}, {b})",
                    f"({other['bigint']} / {a})",
                ],
                "boolean": [
                    f"({a} and {b})",
                    f"({a} or not {b})",
                    f"({other['double']} < {other['bigint']})",
                    f"({other['double']} is null)",
                    f"isfinite({other['double']})",
                    f"({other['varchar']} like '%a%')",
                    f"({other['timestamptz']} <= {leaf('timestamptz')})",
                    f"({a} is distinct from {b})",
                ],
                "varchar": [
                    f"({a} || {b})",
                    f"concat({a}, {b})",
                    f"lower({a})",
                    f"trim({a})",
                    f"left({a}, 3)",
                    f"replace({a}, 'a', {b})",
                    f"cast({other['double']} as varchar)",
                    f"cast({other['timestamptz']} as varchar)",
                    f"strftime({other['timestamptz']}, '%Y-%m-%d %H')",
                    f"md5({a})",
                ],
                "timestamptz": [
                    f"({a} + interval 25 hour)",
                    f"({a} - interval 1 month)",
                    f"date_trunc('hour', {a})",
                    f"greatest({a}, {b})",
                    f"time_bucket(interval 15 minute, {a})",
                ],
                "date": [f"cast({other['timestamptz']} as date)", f"({a} + 1)", f"last_day({a})", f"least({a}, {b})"],
            }[type_]
        )

    found = []
    for _ in range(count):
        type_ = draw.choice(["bigint", "double", "boolean", "varchar", "timestamptz", "date"])
        made = make(type_, draw.randint(1, 3))
        if type_ in ("timestamptz", "date"):  # others than these years cannot be served
            first, last = (f"{type_} '{day}'" for day in ("0001-01-01 00:00:00+00", "9999-12-31 23:59:59+00"))
            made = f"case when {made} between {first} and {last} then {made} end"
        found.append((type_, f"try(cast({made} as {type_}))"))
    return found


EXPRESSIONS = [(type_, text) for type_, texts in WRITTEN.items() for text in texts] + generated(120, seed=7)

#: One each that fails on some row, and what DuckDB says.
FAILING = {
    "overflows": ("bigint", "f_bigint + r_bigint", "Overflow in addition"),
    "no_number": ("integer", "cast(r_varchar as integer)", "Could not convert string"),
    "too_large": ("integer", "cast(f_double as integer)", "can't be cast"),
}

#: Spines that a training set of the service `same` is refused for: SQL, and the words.
UNFIT = {
    "incomplete": (
        "select * exclude (r_double) from {{ ref('asked') }}",
        "the spine has no column 'r_double', a request value of same.v1 from which its on-demand features are computed",
    ),
    "taken": (
        "select *, 1 as X0 from {{ ref('asked') }}",
        "the spine already has a column 'x0', which is also an on-demand",
    ),
    "mistyped": (
        "select * replace (cast(r_integer as bigint) as r_integer) from {{ ref('asked') }}",
        "the spine's column 'r_integer' is BIGINT, which is not the type that same.v1 requests. Cast it in the spine: "
        "r_integer::integer",
    ),
}

SERVICE = """
exposures:
  - name: {name}_v1
    type: ml
    owner: {{name: Growth, email: growth@example.com}}
    depends_on: ["ref('stored', v=1)"]
    config:
      meta:
        feature_service:
          name: {name}
          version: 1
          features: [{{view: stored.v1, features: [{features}]}}]
          request: {{{request}}}
          on_demand:
{on_demand}
"""

VIEW = """
models:
  - name: stored
    config:
      materialized: table
      contract: {{enforced: true}}
      meta: {{feature_view: {{entity: thing, join_keys: [id], event_timestamp: event_at, available_at: none}}}}
    columns:
      - {{name: id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
{columns}
    versions: [{{v: 1}}]
"""

#: As a view, where bits are compared: a table in DuckDB 1.5 may keep -0.0 as 0.0.
SET = """
{{{{ config(materialized='{stored}') }}}}
{{{{ feature_warehouse.point_in_time_join(
    spine=ref('{spine}'), spine_timestamp='asked_at', feature_views=[ref('stored', v=1)], service='{name}.v1') }}}}
"""


def service(name: str, on_demand: list[tuple[str, str, str]]) -> str:
    return SERVICE.format(
        name=name,
        features=", ".join(map(feature, VALUES)),
        request=", ".join(f'{feature(type_).replace("f_", "r_")}: "{type_}"' for type_ in VALUES),
        on_demand="\n".join(
            f'            - {{name: {own}, data_type: "{type_}", expression: {text!r}}}'.replace("\\'", "''")
            if '"' not in repr(text)
            else f"            - {{name: {own}, data_type: '{type_}', expression: {quoted(text)}}}"
            for own, type_, text in on_demand
        ),
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def rows(prefix: str, more: str, seed: int) -> str:
    """SQL for rows of every type, each value drawn from those of its type and NULL."""
    draw = random.Random(seed)
    names = [feature(type_).replace("f_", prefix, 1) for type_ in VALUES]
    columns = ", ".join(
        f"[null, {', '.join(f'cast({value} as {type_})' for value in values)}][pick_{i}] as {name}"
        for i, (name, (type_, values)) in enumerate(zip(names, VALUES.items(), strict=True))
    )
    picks = ", ".join(
        f"({id_}, {', '.join(str(draw.randint(1, len(values) + 1)) for values in VALUES.values())})"
        for id_ in range(ROWS)
    )
    listed = ", ".join(f"pick_{i}" for i in range(len(VALUES)))
    return f"select cast(id as bigint) as id, {more}, {columns} from (values {picks}) as t(id, {listed})"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    columns = "\n".join(f'      - {{name: {feature(type_)}, data_type: "{type_}"}}' for type_ in VALUES)
    expressions = [(f"x{i}", type_, text) for i, (type_, text) in enumerate(EXPRESSIONS)]
    files = {
        "models/stored.yml": VIEW.format(columns=columns),
        "models/stored_v1.sql": rows("f_", "timestamptz '2026-01-01 00:00:00+00' as event_at", seed=1),
        "models/asked.sql": "{{ config(materialized='table') }}\n"
        + rows("r_", "timestamptz '2026-01-02 00:00:00+00' as asked_at", seed=2),
        "models/same.yml": service("same", expressions),
        "models/same_set.sql": SET.format(name="same", stored="view", spine="asked"),
        **latest("stored"),
    }
    for name, (type_, text, _) in FAILING.items():
        files[f"models/{name}.yml"] = service(name, [("fine", "integer", "1"), (f"it_{name}", type_, text)])
        files[f"models/{name}_set.sql"] = SET.format(name=name, stored="table", spine="asked")
    for name, (spine, _) in UNFIT.items():
        files[f"models/{name}.sql"] = spine
        files[f"models/{name}_set.sql"] = SET.format(name="same", stored="table", spine=name)
    shop = Shop(tmp_path_factory.mktemp("on_demand"), files)
    shop.dbt("build", "--exclude", *(f"{name}_set" for name in [*FAILING, *UNFIT]))
    shop.syncer("register")
    return shop


def facts(shop: Shop, name: str) -> tuple[FeatureService, dict[str, FeatureView]]:
    declarations = read_declarations(load_manifest(shop.folder / "target" / "manifest.json"))
    declarations.raise_first()
    return declarations.services[f"{name}@1"], declarations.feature_views


def given(shop: Shop) -> dict[str, list[Any]]:
    """What an online read has: the stored features as the client gives them, and the caller's request values."""
    columns = shop_columns(shop, "select * from stored_v1 positional join (select * exclude (id) from asked)")
    service_, _ = facts(shop, "same")
    listed = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return columns | request_columns(service_, listed, {})


def shop_columns(shop: Shop, sql: str) -> dict[str, list[Any]]:
    with duckdb.connect(str(shop.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(sql)
        names = [column[0] for column in found.description or ()]
        return {
            name: list(map(plain, values))
            for name, values in zip(names, zip(*found.fetchall(), strict=True), strict=True)
        }


def plain(value: Any) -> Any:
    """DuckDB's Python value as the client gives it."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, UUID) else value


def bits(value: Any) -> Any:
    """Two values are equal here if they are the same in every bit; only NaNs are all one."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    if isinstance(value, list):
        return [bits(item) for item in value]
    return type(value).__name__, str(value) if isinstance(value, Decimal) else value


ELSEWHERE = """
import pickle, sys
from feature_warehouse.client.ondemand import OnDemand
service, views, columns, rows = pickle.load(open(sys.argv[1], "rb"))
pickle.dump(OnDemand(service, views).compute(columns, rows), open(sys.argv[2], "wb"))
"""


def test_offline_and_online_are_the_same_bits_wherever_the_process_runs(made: Shop, tmp_path: Path) -> None:
    service_, views = facts(made, "same")
    offline = shop_columns(made, "select * from same_set order by id")
    columns = given(made)
    (tmp_path / "in").write_bytes(pickle.dumps((service_, views, columns, ROWS)))
    for zone in ("America/New_York", "Asia/Kathmandu"):
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "in"), str(tmp_path / "out")]
        subprocess.run(command, env={**os.environ, "TZ": zone}, check=True)
        online = pickle.loads((tmp_path / "out").read_bytes())
        assert [len(values) for values in online] == [ROWS] * len(EXPRESSIONS)
        for computed, values in zip(service_.on_demand, online, strict=True):
            assert list(map(bits, values)) == list(map(bits, offline[computed.name])), computed.expression


def test_the_expressions_say_something(made: Shop) -> None:
    """Most of them give different values for different rows, and no NULL for some."""
    offline = shop_columns(made, "select * from same_set")
    varied = sum(len({str(value) for value in offline[f"x{i}"]}) > 2 for i in range(len(EXPRESSIONS)))
    assert varied > 0.8 * len(EXPRESSIONS)


def test_one_row_at_a_time_gives_what_all_rows_together_give(made: Shop) -> None:
    computed, columns = OnDemand(*facts(made, "same")), given(made)
    together = computed.compute(columns, ROWS)
    for row in range(0, ROWS, 15):
        alone = computed.compute({name: values[row : row + 1] for name, values in columns.items()}, 1)
        assert [bits(values[0]) for values in alone] == [bits(values[row]) for values in together]


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_a_training_set_fails_a_read_and_both_name_the_feature(made: Shop, name: str) -> None:
    failed = messages(made.try_dbt("run", "--select", f"{name}_set"))
    assert f"the on-demand feature it_{name} of {name}.v1 cannot be computed: {FAILING[name][1]}" in failed
    columns = given(made)
    with pytest.raises(RequestError, match=f"the on-demand feature 'it_{name}' cannot be computed: ") as caught:
        OnDemand(*facts(made, name)).compute(columns, ROWS)
    assert FAILING[name][2] in caught.value.message
    row = int(caught.value.message.partition("row ")[2].partition(":")[0])
    for rows_before in (row, row + 1):
        some = {name_: values[:rows_before] for name_, values in columns.items()}
        if rows_before == row:  # none fails before the one that is named
            OnDemand(*facts(made, name)).compute(some, rows_before)


def trained(shop: Shop, spine: str) -> pa.Table:
    with inside(shop.folder):
        return get_historical_features(spine, "same@1", timestamp="asked_at").to_arrow()


def test_a_spine_that_does_not_have_the_request_values_as_they_are_online_is_refused(made: Shop) -> None:
    failed = messages(made.try_dbt("run", "--select", *(f"{name}_set" for name in UNFIT)))
    for _, words in UNFIT.values():
        assert words in failed
    for name, words in {
        "incomplete": "the rows have no column 'r_double', from which on-demand features of same@1 are computed",
        "taken": "the rows already have a column 'x0', which is also a feature of same@1",
        "mistyped": "the rows' column 'r_integer' is bigint, but same@1 requests integer",
    }.items():
        with pytest.raises(RequestError) as caught:
            trained(made, name)
        assert caught.value.message == words


def test_from_python_comes_what_comes_from_dbt(made: Shop) -> None:
    found = trained(made, "asked")
    assert found.num_rows == ROWS
    assert found["x0"].to_pylist() == shop_columns(made, "select x0 from same_set order by asked_at, id")["x0"]


@pytest.mark.parametrize(("setting", "value"), [("TimeZone", "America/New_York"), ("integer_division", "true")])
def test_settings_that_change_values_are_refused(made: Shop, tmp_path: Path, setting: str, value: str) -> None:
    shop = made.copied(tmp_path / "shop", made.redis_url)
    settings = {"TimeZone": "UTC"} | {setting: value}
    shop.replace("profiles.yml", "TimeZone: UTC", ", ".join(f"{name}: {value}" for name, value in settings.items()))
    shop.write("models/fine_set.sql", SET.format(name="same", stored="table", spine="asked"))
    failed = messages(shop.try_dbt("run", "--select", "fine_set"))
    assert "the on-demand features of same.v1 would not be those computed online" in failed
    assert f"remove others of {setting} = {value}" in failed


# --- through Redis


@pytest.fixture(scope="module")
def online(made: Shop, redis_server: EmbeddedServer) -> str:
    """The URL of a Redis that holds what the service reads."""
    made.redis_url = redis_server.url
    made.syncer("sync", "--namespace", "on_demand")
    return redis_server.url


def asked(shop: Shop) -> list[dict[str, Any]]:
    columns = shop_columns(shop, "select * from asked order by id")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_read_gives_what_the_training_set_has_in_either_client(made: Shop, online: str) -> None:
    rows = asked(made)
    offline = shop_columns(made, "select * from same_set order by id")

    async def read() -> OnlineFeatures:
        async with AsyncFeatureClient(online, "on_demand") as client:
            return await client.get_online_features("same", rows)

    with FeatureClient(online, "on_demand") as client:
        for found in (client.get_online_features("same@1", rows), asyncio.run(read())):
            assert found.not_computed == ()
            for name, values in found.to_dict().items():
                assert list(map(bits, values)) == list(map(bits, offline[name])), name
        assert found.names[-1] == f"x{len(EXPRESSIONS) - 1}"
        place = found.names.index("x0")
        given = {value is None: status[place] for status, value in zip(found.statuses, offline["x0"], strict=True)}
        assert given == {True: "null", False: "present"}
        chunks = [found.to_dict()["x0"] for found in client.iter_online_features("same", rows, chunk_rows=70)]
        assert [value for chunk in chunks for value in chunk] == offline["x0"]


def test_a_request_value_holds_for_all_rows_unless_a_row_has_its_own(made: Shop, online: str) -> None:
    first, second, *_ = asked(made)
    common = {name: value for name, value in first.items() if name.startswith("r_")}
    with FeatureClient(online, "on_demand") as client:
        apart = client.get_online_features("same", [{"id": 0}, second], common)
        assert list(map(bits, apart.values[0])) == list(
            map(bits, client.get_online_features("same", [first]).values[0])
        )
        with pytest.raises(RequestError, match="same@1, row 1: the request value 'r_bigint' is missing"):
            client.get_online_features("same", [first, {"id": 1}])
        with pytest.raises(RequestError, match="overflows@1, row 0: the on-demand feature 'it_overflows' cannot be"):
            client.get_online_features("overflows", [{**first, "id": biggest(made), "r_bigint": 2**63 - 1}])


def biggest(shop: Shop) -> int:
    ((id_,),) = shop.sql("select min(id) from stored_v1 where f_bigint = 9223372036854775807")
    return int(id_)


LIGHT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("duckdb", "numpy", "pyarrow"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from feature_warehouse import FeatureClient
with FeatureClient(sys.argv[1], "on_demand") as client:
    found = client.get_online_features("same", [{"id": 0}])
print(len(found.names), *found.not_computed)
"""


def test_without_duckdb_a_client_says_what_it_cannot_compute(online: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, online], capture_output=True, text=True, check=True)
    stored, *not_computed = done.stdout.split()
    assert int(stored) == len(VALUES)
    assert not_computed == [f"x{i}" for i in range(len(EXPRESSIONS))]
