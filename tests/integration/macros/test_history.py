"""Append-only history: what is recorded of a feature view, and what of it can no longer be changed unseen."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt.cli.main import dbtRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.projects import Project, messages

ORDERS_YAML = """
sources: [{name: raw, schema: main, tables: [{name: raw_orders}]}]
models:
  - name: orders
    config:
      contract: {enforced: true}
      meta:
        feature_view:
          {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at,
            history: append_only}
    columns:
      - {name: customer, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: amount, data_type: double}
      - {name: basket, data_type: "varchar[]"}
    versions:
      - v: 1
        data_tests:
          - feature_warehouse.history_append_only:
              name: orders_only_grow
              arguments: {fingerprints: ref('fingerprints_orders_v1')}
"""

ORDERS = "select customer, event_at, known_at, amount, basket from {{ source('raw', 'raw_orders') }}"
FINGERPRINTS = "{{ feature_warehouse.history_fingerprints(ref('orders', v=1)) }}"

TRAINING = """
{{ feature_warehouse.point_in_time_join(
    spine="(select 'a' as customer, timestamptz '2026-01-03' as asked_at)", spine_timestamp="asked_at",
    feature_views=[ref("orders", v=1)], known_as_of="2026-01-02T00:00:00Z",
) }}
"""

#: The form for databases without a hash that adds up, in DuckDB's place.
PORTABLE = """
{% macro duckdb__sum_of_hashes(text) %} {{ feature_warehouse.default__sum_of_hashes(text) }} {% endmacro %}
"""

#: DuckDB's update leaves a 0.0 that is set to -0.0 as it is.
ANEW = "create or replace table raw_orders as"

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass
class Warehouse:
    """A warehouse that was built when the history was empty, and the compiled SQL of later runs."""

    connection: duckdb.DuckDBPyConnection
    new_fingerprints: str
    violations: str

    def record(self, now: datetime) -> None:
        """What `dbt run` of the record does at ``now``."""
        self.connection.execute("set variable feature_warehouse_now = $now", {"now": now.isoformat()})
        self.connection.execute(f"insert into fingerprints_orders_v1 {self.new_fingerprints}")

    def found(self) -> list[tuple[Any, ...]]:
        """What the test returns: (day, problem, recorded rows, found rows)."""
        return sorted(self.connection.execute(self.violations).fetchall())

    def add(self, *rows: tuple[Any, ...]) -> None:
        self.connection.executemany("insert into raw_orders values (?, ?, ?, ?, ?)", [list(row) for row in rows])


FILES = {
    "models/orders.yml": ORDERS_YAML,
    "models/orders_v1.sql": ORDERS,
    "models/fingerprints_orders_v1.sql": FINGERPRINTS,
    "models/training.sql": TRAINING,
}


def empty_shop(folder: Path, files: dict[str, str]) -> Project:
    """A project on a table of orders that has no rows yet."""
    project = Project(folder, files)
    with duckdb.connect(str(project.database)) as connection:
        connection.execute(
            "create table raw_orders"
            " (customer varchar, event_at timestamptz, known_at timestamptz, amount double, basket varchar[])"
        )
    return project


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Warehouse]]:
    """DuckDB's form and the portable one, on one warehouse."""
    project = empty_shop(tmp_path_factory.mktemp("shop"), FILES)
    for _ in range(2):  # the first run makes the table, the second compiles what later ones do
        project.dbt("build", "--vars", "{feature_warehouse_now: '2000-01-02T00:00:00Z'}")
    compiled = {"duckdb": [project.compiled("fingerprints_orders_v1"), project.compiled("orders_only_grow")]}
    project.write("macros/portable.sql", PORTABLE)
    project.dbt("compile")
    compiled["portable"] = [project.compiled("fingerprints_orders_v1"), project.compiled("orders_only_grow")]
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield {form: Warehouse(connection, *sql) for form, sql in compiled.items()}


@pytest.fixture(params=["duckdb", "portable"])
def built(request: pytest.FixtureRequest, forms: dict[str, Warehouse]) -> Warehouse:
    return forms[request.param]


@pytest.fixture
def warehouse(built: Warehouse) -> Iterator[Warehouse]:
    """The same, to be changed: everything is rolled back."""
    built.connection.execute("begin")
    yield built
    built.connection.execute("rollback")


def at(days: float) -> datetime:
    return START + timedelta(days=days)


FIRST = ("a", at(0), at(0), 1.5, ["x"])


def test_a_day_is_recorded_an_hour_after_its_end_and_once(warehouse: Warehouse) -> None:
    warehouse.add(FIRST, ("a", at(0.5), at(1.5), 2.0, None))
    for now in (at(1) + timedelta(minutes=59, seconds=59), at(1) + timedelta(hours=1), at(1.5), at(2.5), at(2.5)):
        warehouse.record(now)
    rows = warehouse.connection.execute(
        "select available_on, row_count, recorded_at from fingerprints_orders_v1 where row_count > 0 order by 1"
    ).fetchall()
    assert rows == [(date(2026, 1, 1), 1, at(1) + timedelta(hours=1)), (date(2026, 1, 2), 1, at(2.5))]
    assert warehouse.found() == []


def test_a_late_fact_is_an_append(warehouse: Warehouse) -> None:
    warehouse.add(FIRST)
    warehouse.record(at(5))
    warehouse.add(("a", at(-3), at(5.1), 7.0, ["late"]), ("a", at(0), at(5.2), 1.6, ["corrected"]))
    assert warehouse.found() == []
    warehouse.record(at(9))
    assert warehouse.found() == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (f"{ANEW} select * replace (if(amount = 0, -amount, amount) as amount) from raw_orders", "rows were rewritten"),
        ("update raw_orders set amount = null where amount = 0", "rows were rewritten"),
        ("update raw_orders set basket = [] where basket is null", "rows were rewritten"),
        ("update raw_orders set basket = ['a', 'b'] where basket = ['a, b']", "rows were rewritten"),
        ("update raw_orders set event_at = event_at + interval 1 microsecond where amount = 0", "rows were rewritten"),
        ("update raw_orders set customer = 'null' where customer is null", "rows were rewritten"),
        ("update raw_orders set customer = '' where customer is null", "rows were rewritten"),
        ("delete from raw_orders where amount = 0", "rows are gone"),
        ("insert into raw_orders from raw_orders", "rows were added"),
        ("update raw_orders set known_at = '2026-01-09' where amount = 0", "rows are gone"),
    ],
)
def test_what_was_recorded_cannot_change_unseen(warehouse: Warehouse, change: str, problem: str) -> None:
    warehouse.add(("a", at(0), at(0), 0.0, None), (None, at(0), at(0.9), 1.0, ["a, b"]))
    warehouse.record(at(2))
    warehouse.connection.execute(change)
    assert [(day, said) for day, said, *_ in warehouse.found()] == [(date(2026, 1, 1), problem)]


def test_a_row_put_into_an_empty_day_of_the_past_is_found(warehouse: Warehouse) -> None:
    warehouse.record(at(5))
    warehouse.add(FIRST)
    warehouse.record(at(9))  # the record never goes back
    assert warehouse.found() == [(date(2026, 1, 1), "rows were added", 0, 1)]


def test_neither_the_session_s_zone_nor_the_order_of_rows_matters(warehouse: Warehouse) -> None:
    warehouse.add(FIRST, ("b", at(0.2), at(0.3), None, None))
    warehouse.record(at(2))
    warehouse.connection.execute(f"{ANEW} from raw_orders order by customer desc")
    for zone in ("America/New_York", "Asia/Kolkata", "UTC"):
        warehouse.connection.execute(f"set TimeZone = '{zone}'")
        assert warehouse.found() == []


def test_the_fingerprint_is_the_same_in_every_release(warehouse: Warehouse) -> None:
    """Records outlive releases of DuckDB: this is what a row comes to, without DuckDB."""
    warehouse.add(FIRST)
    warehouse.record(at(2))
    values = ("1.5", "[x]", "a", "2026-01-01 00:00:00", "2026-01-01 00:00:00")  # by the columns' names
    digest = hashlib.md5("".join(f"{len(value)}:{value}" for value in values).encode())
    expected = str(int.from_bytes(digest.digest()[8:], "little"))
    if "string_agg" in warehouse.new_fingerprints:
        expected = hashlib.md5(digest.hexdigest().encode()).hexdigest()
    ((found,),) = warehouse.connection.execute(
        "select fingerprint from fingerprints_orders_v1 where available_on = '2026-01-01'"
    ).fetchall()
    assert found == expected


moments = st.integers(0, 40).map(lambda step: at(step / 8))
rows = st.tuples(
    st.sampled_from(["a", "b", None]),
    moments,
    moments | st.none(),
    st.sampled_from([None, 0.0, 1.0, 2.5]),
    st.sampled_from([None, [], ["x"], ["x", "y"], [None]]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(rows, max_size=12),
    closings=st.lists(moments, min_size=1, max_size=3),
    removed=st.sets(st.integers(0, 11), max_size=3),
    added=st.lists(rows, max_size=3),
)
def test_exactly_the_changed_days_are_found(
    built: Warehouse, history: list[Any], closings: list[datetime], removed: set[int], added: list[Any]
) -> None:
    """Rows come in when they become available; then some are taken out and others put in, old and new."""
    built.connection.execute("begin")
    try:
        pending = list(history)
        for now in sorted(closings):
            arrived = [row for row in pending if row[2] is not None and row[2] < now]
            pending = [row for row in pending if row not in arrived]
            if arrived:
                built.add(*arrived)
            built.record(now)
        came = [row for row in history if row not in pending]
        left = [row for i, row in enumerate(came) if i not in removed]
        built.connection.execute("delete from raw_orders")
        if left + added:
            built.add(*left, *added)

        closed = (max(closings) - timedelta(hours=1)).date()
        before, after = by_day(came), by_day(left + added)
        expected = []
        for day in sorted(before.keys() | after.keys()):
            then, now_ = before.get(day, Counter()), after.get(day, Counter())
            if day < closed and then != now_:
                more = now_.total() - then.total()
                said = "rows were added" if more > 0 else "rows are gone" if more < 0 else "rows were rewritten"
                expected.append((day, said, then.total(), now_.total()))
        assert built.found() == expected
    finally:
        built.connection.execute("rollback")


def by_day(rows: list[Any]) -> dict[date, Counter[str]]:
    days: dict[date, Counter[str]] = {}
    for row in rows:
        if row[2] is not None:
            days.setdefault(row[2].date(), Counter())[repr(row)] += 1
    return days


# --- through dbt ------------------------------------------------------------------------------------------------------


def build(project: Project, day: int, *arguments: str) -> dict[str, str]:
    """What `dbt build` says of each node, ``day`` days after the start."""
    result = project.try_dbt("build", "--vars", f"{{feature_warehouse_now: '{at(day).isoformat()}'}}", *arguments)
    return {run.node.name: f"{run.status}: {run.message}" for run in result.result.results}


def sql(project: Project, *statements: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for statement in statements:
            connection.execute(statement)
        return connection.fetchall()


def test_the_record_is_made_once_says_so_and_outlives_a_full_refresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = empty_shop(tmp_path, FILES)
    sql(project, "insert into raw_orders values ('a', '2026-01-01 09:00:00+00', '2026-01-01 10:00:00+00', 1, ['x'])")
    said = []
    for day in (2, 3):
        vars_ = f"{{feature_warehouse_now: '{at(day).isoformat()}'}}"
        folders = ["--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path)]
        dbtRunner().invoke(["--log-level-file", "none", "build", "--vars", vars_, *folders])
        said.append("first record of orders.v1" in capsys.readouterr().out)
    assert said == [True, False]

    record = sql(project, "from fingerprints_orders_v1 order by all")
    sql(project, "update raw_orders set amount = 2")
    assert build(project, 3, "--full-refresh")["orders_only_grow"] == "fail: Got 1 result, configured to fail if != 0"
    assert sql(project, "from fingerprints_orders_v1 order by all") == record


def test_a_feature_may_be_added_and_not_be_taken_away(tmp_path: Path) -> None:
    project = empty_shop(tmp_path, FILES)
    sql(
        project,
        "insert into raw_orders values ('a', '2026-01-01 09:00:00+00', '2026-01-01 10:00:00+00', 1, ['x'])",
        "alter table raw_orders add column items bigint",
    )
    assert build(project, 5)["orders_only_grow"].startswith("pass")

    project.write("models/orders_v1.sql", ORDERS.replace("basket from", "basket, items from"))
    project.write(
        "models/orders.yml",
        ORDERS_YAML.replace("    versions:", "      - {name: items, data_type: bigint}\n    versions:"),
    )
    assert build(project, 5)["orders_only_grow"].startswith("pass")
    for column, value in (("items", "7"), ("amount", "7")):  # both the new feature and the old ones are held
        sql(project, f"create table aside as from raw_orders; update raw_orders set {column} = {value}")
        assert build(project, 5)["orders_only_grow"] == "fail: Got 1 result, configured to fail if != 0", column
        sql(project, "drop table raw_orders; alter table aside rename to raw_orders")

    project.write("models/orders_v1.sql", ORDERS)
    project.write("models/orders.yml", ORDERS_YAML)
    said = build(project, 5)["orders_only_grow"]
    assert "history_append_only: orders.v1 has lost the column 'items', which is in its record" in said


def test_known_as_of_wants_the_proof_and_not_the_declaration_alone(tmp_path: Path) -> None:
    project = empty_shop(tmp_path, FILES | {"models/orders.yml": ORDERS_YAML.partition("        data_tests:")[0]})
    said = messages(project.try_dbt("run", "--select", "training"))
    assert "orders.v1 only declares `history: append_only`. Prove it: put the test" in said
    project.write("models/orders.yml", ORDERS_YAML)
    project.dbt("compile", "--select", "training")
