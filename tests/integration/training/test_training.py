"""Training sets from Python and from the command line: the same rows as the macro gives in a dbt model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # ships no types
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from feature_warehouse import content_hash
from feature_warehouse.cli.main import main
from feature_warehouse.errors import RequestError, SyncerError, WarehouseError
from feature_warehouse.training.historical import HistoricalFeatures, get_historical_features
from tests.support.projects import Project

VIEWS = """
models:
  - name: orders
    config:
      contract: {enforced: true}
      materialized: table
      meta:
        feature_view:
          {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at, ttl: 30 days}
    columns:
      - {name: customer, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: amount, data_type: bigint}
      - {name: price, data_type: "decimal(9,2)"}
      - {name: basket, data_type: "double[]"}
    versions: [{v: 1}]
  - name: watched
    config:
      contract: {enforced: true}
      meta: {feature_view: {entity: friend, join_keys: [friend], event_timestamp: event_at, available_at: none,
        history: append_only}}
    columns:
      - {name: friend, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: watching, data_type: bigint}
    versions: [{v: 1}]
exposures:
  - name: churn_v1
    type: ml
    owner: {name: growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)"]
    config: {meta: {feature_service: {name: churn, version: 1, features: [
      {view: orders.v1, features: [amount, price]},
      {view: orders.v1, features: [amount], keys: {customer: friend}, prefix: friend_}],
      on_demand: [{name: double_amount, data_type: hugeint, expression: amount * 2::hugeint}]}}}
"""

ORDERS = """
select
    'c' || i % 50 as customer,
    timestamptz '2026-01-01 00:00:00+00' + i * interval 37 minute as event_at,
    timestamptz '2026-01-01 00:00:00+00' + i * interval 37 minute + (i % 7) * interval 5 hour as known_at,
    case when i % 11 > 0 then 9007199254740993 + i end::bigint as amount,
    (i / 4)::decimal(9, 2) as price,
    case when i % 3 > 0 then [i, i / 2]::double[] end as basket
from range(2000) as t(i)
"""

LABELS = """
select
    i as label_id,
    'c' || (i * 7) % 60 as customer,
    'c' || i % 50 as friend,
    timestamptz '2026-01-10 00:00:00+00' + i * interval 53 minute as asked_at,
    i % 2 = 0 as churned
from range(1500) as t(i)
order by hash(i)
"""

TRAINING = """
{{ config(materialized='table') }}
{{ feature_warehouse.point_in_time_join(
    spine=ref('labels'), spine_timestamp='asked_at', feature_views=[ref('orders', v=1)], service='churn.v1'
) }}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(
        tmp_path_factory.mktemp("training"),
        {
            "models/orders_v1.sql": ORDERS,
            "models/labels.sql": "{{ config(materialized='table') }}" + LABELS,
            "models/watched_v1.sql": "select 'c' as friend, to_timestamp(0) as event_at, 1::bigint as watching",
            "models/passing.sql": "{{ config(materialized='ephemeral') }} select 1 as x",
            "models/training.sql": TRAINING,
            "models/views.yml": VIEWS,
        },
    )
    made.dbt("build")
    return made


@pytest.fixture(scope="module")
def labels(project: Project) -> pa.Table:
    """The spine in the order of its table."""
    return query(project, "from labels")


@pytest.fixture(scope="module")
def expected(project: Project) -> list[dict[str, Any]]:
    """What dbt's own model holds, by label."""
    rows: list[dict[str, Any]] = query(project, "from training order by label_id").to_pylist()
    return rows


def query(project: Project, sql: str) -> pa.Table:
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.sql(sql).to_arrow_table()


def ask(project: Project, rows: Any, features: Any = "churn", **more: Any) -> HistoricalFeatures:
    folder = str(project.folder)
    options = {"timestamp": "asked_at", "project_dir": folder, "profiles_dir": folder} | more
    return get_historical_features(rows, features, **options)


def as_file(table: pa.Table, path: Path) -> str:
    write = pyarrow.csv.write_csv if path.suffix == ".csv" else pq.write_table
    write(table, str(path))
    return str(path)


SPINES: dict[str, Callable[[pa.Table, Path], Any]] = {
    "arrow": lambda table, _: table,
    "arrow_stream": lambda table, _: table.to_reader(),
    "pandas": lambda table, _: table.to_pandas(),
    "polars": lambda table, _: pl.from_arrow(table),
    "duckdb": lambda table, _: duckdb.from_arrow(table),
    "sql_with_order": lambda table, _: "select * from labels order by hash(label_id)",
    "parquet": lambda table, folder: as_file(table, folder / "labels.parquet"),
    "csv": lambda table, folder: as_file(table, folder / "labels.csv"),
    "path": lambda table, folder: Path(as_file(table, folder / "labels.parquet")),
}


@pytest.mark.parametrize("kind", SPINES)
def test_any_kind_of_entity_rows_gives_what_dbt_built(
    project: Project, labels: pa.Table, expected: list[dict[str, Any]], kind: str, tmp_path: Path
) -> None:
    found = ask(project, SPINES[kind](labels, tmp_path)).to_arrow()
    assert found.column("label_id").to_pylist() == labels.column("label_id").to_pylist()  # in the order of the labels
    assert sorted(found.to_pylist(), key=lambda row: row["label_id"]) == expected


@pytest.mark.parametrize("spine", ["labels", "select * from labels", "from labels -- no order"])
def test_rows_without_an_order_come_sorted_by_time(
    project: Project, expected: list[dict[str, Any]], spine: str
) -> None:
    """A model or a query may give its rows in another order tomorrow; the training set must not follow."""
    assert ask(project, spine).to_arrow().to_pylist() == expected  # labels are asked in the order of their ids


def test_values_keep_their_types_in_every_output(project: Project, labels: pa.Table, tmp_path: Path) -> None:
    """Integers beside NULLs stay integers beyond 2^53, decimals stay decimals."""
    features = ask(project, labels)
    arrow = features.to_arrow()
    assert arrow.schema.field("amount").type == pa.int64()
    assert arrow.schema.field("price").type == pa.decimal128(9, 2)
    assert None in arrow.column("amount").to_pylist()
    assert max(value for value in arrow.column("amount").to_pylist() if value) > 2**53
    pandas = features.to_pandas()
    assert [None if pd.isna(value) else int(value) for value in pandas["amount"]] == arrow.column("amount").to_pylist()
    assert features.to_polars()["amount"].to_list() == arrow.column("amount").to_pylist()
    assert features.to_parquet(tmp_path / "training.parquet") == len(labels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.parquet", "training.parquet.manifest.json"]
    assert pq.read_table(tmp_path / "training.parquet").equals(arrow)


def test_feature_views_are_joined_with_all_their_features(project: Project, labels: pa.Table) -> None:
    found = ask(project, labels.select(["customer", "asked_at"]), ["orders.v1"]).to_arrow()
    assert found.schema.names == ["customer", "asked_at", "amount", "price", "basket"]


def test_an_open_reader_does_no_harm(project: Project, labels: pa.Table) -> None:
    with duckdb.connect(str(project.database), read_only=True):
        assert ask(project, labels).to_arrow().num_rows == len(labels)


ONE = {"customer": ["c1"], "friend": ["c2"], "asked_at": [datetime(2026, 2, 1, tzinfo=timezone.utc)]}


@pytest.mark.parametrize(
    ("rows", "features", "more", "error", "words"),
    [
        (ONE, "chrun", {}, RequestError, "there is no feature service 'chrun'"),
        (ONE, ["orders.v9"], {}, RequestError, "there is no feature view 'orders.v9'"),
        (ONE, [], {}, RequestError, "no feature views are asked for"),
        (ONE, ["orders.v1", "orders.v1"], {}, RequestError, "two features would be called 'amount'"),
        (ONE, "churn", {"timestamp": "at"}, RequestError, "the rows have no column 'at' to say when"),
        (
            ONE | {"asked_at": [datetime(2026, 2, 1)]},
            "churn",
            {},
            RequestError,
            "'asked_at' is TIMESTAMP, which has no",
        ),
        (ONE | {"asked_at": ["2026-02-01"]}, "churn", {}, RequestError, "'asked_at' is VARCHAR, which has no zone"),
        (
            {"asked_at": ONE["asked_at"]},
            ["orders.v1"],
            {},
            RequestError,
            "have no column 'customer', by which orders.v1",
        ),
        (ONE | {"friend": [7]}, "churn", {}, RequestError, "'friend' is an integer (BIGINT), but as the join key"),
        (ONE | {"AMOUNT": [1]}, "churn", {}, RequestError, "the rows already have a column 'amount'"),
        (
            ONE | {"double_amount": [1]},
            "churn",
            {},
            RequestError,
            "a column 'double_amount', which is also a feature of",
        ),
        (ONE, "churn", {"known_as_of": datetime(2026, 1, 1, tzinfo=timezone.utc)}, RequestError, "orders.v1 does not"),
        (
            ONE,
            ["watched.v1"],
            {"known_as_of": datetime(2026, 1, 1, tzinfo=timezone.utc)},
            RequestError,
            "only declares",
        ),
        (ONE, "churn", {"known_as_of": datetime(2026, 1, 1)}, RequestError, "names no instant"),
        ("nowhere.parquet", "churn", {}, WarehouseError, "nowhere.parquet"),
        ("select * from nothing", "churn", {}, WarehouseError, "nothing"),
        ("lables", "churn", {}, RequestError, "there is no model 'lables' in the project"),
        ("orders", "churn", {"timestamp": "event_at"}, RequestError, "have no column 'friend'"),  # the latest version
        ("orders.v2", "churn", {}, RequestError, "there is no model 'orders.v2'"),
        ("ref('labels')", "churn", {}, RequestError, "'ref('labels')', which only dbt understands"),
        ("passing", "churn", {}, RequestError, "the model 'passing' is ephemeral"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_the_words_of_who_asks(
    project: Project, rows: Any, features: Any, more: dict[str, Any], error: type[SyncerError], words: str
) -> None:
    given = rows if isinstance(rows, str) else pa.table(rows)
    with pytest.raises(error) as refused:
        ask(project, given, features, **more).to_arrow()
    assert words in refused.value.message
    said = f"{refused.value.message} {refused.value.hint}"
    assert len(said.splitlines()) == 1
    assert not re.search("point_in_time_join|entity_rows|__", said)


def test_the_keys_of_a_csv_file_have_the_types_that_the_views_declare(project: Project, tmp_path: Path) -> None:
    """A file that says 007 does not say whether it means a number."""
    file = tmp_path / "labels.csv"
    file.write_text("Customer,friend,asked_at\n007,1,2026-02-01T00:00:00Z\n")
    (row,) = ask(project, file).to_arrow().to_pylist()
    assert (row["Customer"], row["friend"]) == ("007", "1")


def test_a_csv_file_without_rows_is_refused_for_that(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("customer,friend,asked_at\n")
    with pytest.raises(RequestError, match=r"labels\.csv has no rows"):
        ask(project, file).to_arrow()


def test_no_rows_of_known_types_give_no_rows(project: Project) -> None:
    found = ask(project, "from labels where false").to_arrow()
    assert (found.num_rows, found.schema.names[-3:]) == (0, ["price", "friend_amount", "double_amount"])


def run(project: Project, *arguments: str) -> Result:
    folders = ["--project-dir", str(project.folder), "--profiles-dir", str(project.folder)]
    result = CliRunner().invoke(main, ["training-set", *arguments, *folders])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_writes_the_same_file(project: Project, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "training.parquet"
    asked = ["churn", "--spine", "labels", "--timestamp", "asked_at", "-o", str(output)]
    result = run(project, *asked, "--json")
    assert result.exit_code == 0, result.output
    assert pq.read_table(output).to_pylist() == expected
    written = json.loads(Path(f"{output}.manifest.json").read_text())
    assert json.loads(result.stdout) == {"rows": len(expected), "path": str(output), "manifest": written}
    said = run(project, *asked).stdout
    assert said.splitlines()[-1] == written["content"] == content_hash(pq.read_table(output))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["churn"], "needs SERVICE, --spine and -o"),
        (["--spine", "labels", "-o", "x.parquet"], "needs SERVICE, --spine and -o"),
        (["churn", "--rebuild", "x"], "says the service already"),
        (["--timestamp", "event_timestamp", "--rebuild", "x"], "says the timestamp already"),
        (["--known-as-of", "2026-01-01T00:00:00Z", "--rebuild", "x"], "says the known-as-of already"),
    ],
)
def test_a_command_that_lacks_or_repeats_something_is_refused(
    project: Project, arguments: list[str], words: str
) -> None:
    result = run(project, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_training_set_that_fails_leaves_the_file_of_before(project: Project, tmp_path: Path) -> None:
    output = tmp_path / "training.parquet"
    output.write_bytes(b"of before")
    late = "select *, case when label_id = 1400 then error('late') end as trouble from labels"
    with pytest.raises(WarehouseError, match="late"):
        ask(project, late).to_parquet(output)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"of before"]
