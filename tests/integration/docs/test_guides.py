"""What the guides show comes out as shown: their files, commands and tables, read from the pages."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from click.testing import CliRunner

from feature_warehouse.cli.main import main
from feature_warehouse.project.declarations import read_declarations
from tests.support.pages import Page
from tests.support.projects import Project

if TYPE_CHECKING:
    from tests.support.postgres import Database

# --- docs/guides/point-in-time.md -------------------------------------------------------------------------------------

ORDERS_YAML = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta:
        feature_view:
          {{entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at, ttl: 3 days,
            deleted: is_deleted, history: append_only{more}}}
    data_tests:
      - feature_warehouse.history_append_only: {{arguments: {{fingerprints: ref('fingerprints_{name}_v1')}}}}
    columns:
      - {{name: customer, data_type: varchar}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: timestamptz}}
      - {{name: amount, data_type: bigint}}
      - {{name: is_deleted, data_type: boolean}}
    versions: [{{v: 1}}]
"""

FINGERPRINTS = "{{{{ feature_warehouse.history_fingerprints(ref('{name}', v=1)) }}}}"

ORDERS_TYPES = {"event_at": "timestamptz", "known_at": "timestamptz", "amount": "bigint", "is_deleted": "boolean"}

PORTABLE = """
{% set orders, visits = ref("orders", v=1), ref("visits") %}
{{ feature_warehouse.portable__point_in_time_select(
    spine=visits, spine_columns=["customer", "asked_at"], spine_timestamp="asked_at",
    reads=feature_warehouse._feature_reads([orders], none, "test"), on_demand=none, allow_equal=true, known_as_of=none,
) if execute else "select 1" }}
"""

EVENT_TIME_ALONE = """
select visits.customer, visits.asked_at, orders.amount
from {{ ref("visits") }} as visits
asof left join
    (select distinct on (customer, event_at) * from {{ ref("orders", v=1) }} order by known_at desc) as orders
    on visits.customer = orders.customer and visits.asked_at >= orders.event_at
"""


def values(header: list[str], rows: list[list[str]], types: dict[str, str]) -> str:
    """The rows as SQL; times on the pages are UTC."""

    def literal(column: str, cell: str) -> str:
        zone = ":00+00" if types.get(column) == "timestamptz" and cell != "NULL" else ""
        return f"cast({'NULL' if cell == 'NULL' else repr(cell + zone)} as {types.get(column, 'varchar')}) as {column}"

    return "\nunion all ".join(
        "select " + ", ".join(literal(column, cell) for column, cell in zip(header, row, strict=False)) for row in rows
    )


@pytest.fixture(scope="module")
def point_in_time(tmp_path_factory: pytest.TempPathFactory) -> Project:
    page = Page("guides/point-in-time.md")
    header, rows = page.table("history")
    history = values(header[:5], rows, ORDERS_TYPES)
    header, rows = page.table("spine")
    call = page.block("call")
    project = Project(
        tmp_path_factory.mktemp("shop"),
        {
            "models/orders_v1.sql": history,
            "models/delayed_v1.sql": history,
            "models/views.yml": "models:"
            + ORDERS_YAML.format(name="orders", more="")
            + ORDERS_YAML.format(name="delayed", more=", sync_delay: 1 hour"),
            **{f"models/fingerprints_{name}_v1.sql": FINGERPRINTS.format(name=name) for name in ("orders", "delayed")},
            "models/visits.sql": "{{ config(materialized='table') }} "
            + values(header[:2], [row[:2] for row in rows], {"asked_at": "timestamptz"}),
            "models/joined.sql": call,
            "models/portable.sql": PORTABLE,
            "models/strict.sql": call.replace(",\n)", ",\n    allow_equal=false,\n)"),
            "models/delay.sql": call.replace('"orders"', '"delayed"'),
            "models/rebuilt.sql": call.replace(",\n)", ",\n    known_as_of='2025-03-03T00:00:00Z',\n)"),
            "models/event_time.sql": EVENT_TIME_ALONE,
        },
    )
    project.dbt("build")
    return project


def amounts(project: Project, model: str) -> dict[tuple[str, str], str]:
    """(customer, asked_at) -> amount, all as the page writes them."""
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            f"select customer, strftime(asked_at, '%Y-%m-%d %H:%M'), amount::varchar from {model}"
        ).fetchall()
    return {(row[0] or "NULL", row[1] or "NULL"): row[2] or "NULL" for row in found}


@pytest.mark.parametrize("form", ["joined", "portable"])
def test_the_join_gives_what_the_table_says(point_in_time: Project, form: str) -> None:
    _, rows = Page("guides/point-in-time.md").table("spine")
    assert amounts(point_in_time, form) == {(customer, asked): amount for customer, asked, amount, _ in rows}


def test_the_picture_shows_what_the_table_says() -> None:
    page = Page("guides/point-in-time.md")
    *drawn, asked = (line.partition("|") for line in page.block("picture").splitlines()[1:])
    counting = {
        asked[2][place]: [name.split()[-1] for name, _, line in drawn if line[place : place + 1] in ("=", "x")]
        for place in range(len(asked[2]))
        if asked[2][place] != " "
    }
    _, rows = page.table("spine")
    amounts = {time: amount for customer, time, amount, _ in rows if customer == "anna"}
    questions = {"A": "2025-03-02 10:00", "B": "2025-03-03 07:00", "C": "2025-03-04 08:00"}
    assert counting == {label: [amounts[time]] for label, time in questions.items()}


def test_each_variation_gives_what_its_column_says(point_in_time: Project) -> None:
    _, rows = Page("guides/point-in-time.md").table("variations")
    for place, model in enumerate(("joined", "strict", "delay", "rebuilt", "event_time"), 1):
        found = amounts(point_in_time, model)
        assert {row[0]: found["anna", row[0]] for row in rows} == {row[0]: row[place] for row in rows}, model


# --- docs/guides/feature-view.md --------------------------------------------------------------------------------------

FEATURE_VIEW = Page("guides/feature-view.md")

#: What differs from run to run: seconds, the port, the instant.
CHANGING = re.compile(r"\d+\.\d\d s|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT[\d:.]+Z")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The guide's project, built; the current folder is the project's, as the guide says."""
    project = Project(tmp_path_factory.mktemp("shop"), FEATURE_VIEW.files())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        project.dbt("build")
        yield project


def test_the_guides_commands_print_what_it_shows(shop: Project, redis_url: str) -> None:
    shutil.rmtree(shop.folder / "registry", ignore_errors=True)
    for session in FEATURE_VIEW.block("commands").strip().split("\n\n"):
        command, _, shown = session.partition("\n")
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "syncer"
        result = CliRunner().invoke(main, arguments, env={"SYNCER_REDIS_URL": redis_url}, catch_exceptions=False)
        assert CHANGING.sub("~", result.output.strip()) == CHANGING.sub("~", shown), command

    code = FEATURE_VIEW.block("client").replace("redis://127.0.0.1:6379/0", redis_url)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue().splitlines() == [
        line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")
    ]


def test_the_guides_training_set_is_as_shown(shop: Project) -> None:
    _, rows = FEATURE_VIEW.table("training")
    with duckdb.connect(str(shop.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.execute(
            """select visit_id, strftime(visited_at, '%Y-%m-%d %H:%M'), has_ordered, last_order_eur, last_order_items
            from next_order_training order by visit_id"""
        ).fetchall()
    shown = [
        ["NULL" if value is None else str(value).replace("True", "true").replace("False", "false") for value in row]
        for row in found
    ]
    assert [row[:5] for row in rows] == shown


def test_the_guides_project_gives_the_same_training_set_on_postgres(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the page's own profile, but for where the server is."""
    profile = FEATURE_VIEW.block("postgres").replace("5432", str(database.port)).replace("builder", database.user)
    files = FEATURE_VIEW.files() | {"profiles.yml": profile.replace("dbname: shop", f"dbname: {database.name}")}
    monkeypatch.setenv("DBT_ENV_SECRET_PASSWORD", database.password)
    Project(tmp_path, files).dbt("build")
    _, rows = FEATURE_VIEW.table("training")
    found = database.execute(
        """select visit_id, to_char(visited_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), has_ordered, last_order_eur,
            last_order_items from main.next_order_training order by visit_id"""
    )
    shown = [["null" if value is None else str(value).lower() for value in row] for row in found]
    assert [[cell.lower() for cell in row[:5]] for row in rows] == shown


def test_a_version_has_the_ttl_that_the_guide_gives_it_and_the_models_other_settings(tmp_path: Path) -> None:
    files = FEATURE_VIEW.files()
    versions = "    versions:\n      - {v: 1}\n"
    assert versions in files["models/customer_orders.yml"]
    files["models/customer_orders.yml"] = files["models/customer_orders.yml"].replace(
        versions, FEATURE_VIEW.block("own settings")
    )
    files["models/customer_orders_v2.sql"] = files["models/customer_orders_v1.sql"]
    files["models/latest_customer_orders_v2.sql"] = files["models/latest_customer_orders_v1.sql"].replace("v=1", "v=2")
    project = Project(tmp_path, files)
    project.dbt("build", "--select", "+latest_customer_orders_v1", "+latest_customer_orders_v2")
    assert "interval" not in project.compiled("latest_customer_orders_v1")
    assert "interval '720 hours'" in project.compiled("latest_customer_orders_v2")
    views = read_declarations(json.loads((tmp_path / "target" / "manifest.json").read_text())).feature_views
    assert [view.ttl for view in views.values()] == [None, timedelta(days=30)]
    assert views["customer_orders.v1"].entity == views["customer_orders.v2"].entity


# --- docs/guides/drift.md ---------------------------------------------------------------------------------------------


def test_the_guides_drift_models_are_built(shop: Project) -> None:
    """On top of the first feature view: three orders, so there is drift to compute and no verdict to give."""
    files = Page("guides/drift.md").files()
    for path, text in files.items():
        shop.write(path, text)
    try:
        result = shop.dbt("build", "--select", "monitoring")
        assert {run.node.name: run.status for run in result.result.results if run.node.resource_type == "model"} == {
            "drift_reference_customer_orders_v1": "success",
            "drift_customer_orders_v1": "success",
            "customers_by_day": "success",
        }
        with duckdb.connect(str(shop.database), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            profiled = connection.execute(
                "select feature, period_start::date::varchar, row_count, verdict"
                " from drift_customer_orders_v1 order by all"
            ).fetchall()
            daily = connection.execute(
                "select ends_at::date::varchar, list(last_order_eur::varchar order by customer_id)"
                " from customers_by_day group by 1 order by 1"
            ).fetchall()
        days = [("2025-03-01", 2), ("2025-03-02", 1)]
        features = ("last_order_eur", "last_order_items")
        assert profiled == [(feature, day, rows, None) for feature in features for day, rows in days]
        assert daily == [
            ("2025-03-02", ["129.90", "20.00"]),
            ("2025-03-03", ["129.90", "20.00"]),
            ("2025-03-04", ["129.90", "20.00"]),
            ("2025-03-05", ["15.50", "20.00"]),
            ("2025-03-06", ["15.50", "20.00"]),
        ]
    finally:
        for path in files:
            (shop.folder / path).unlink()


# --- docs/guides/unit-tests.md ----------------------------------------------------------------------------------------


def test_the_guides_unit_tests_pass_and_need_their_overrides(shop: Project) -> None:
    ((path, text),) = Page("guides/unit-tests.md").files().items()
    shop.write(path, text)
    try:
        result = shop.dbt("test", "--select", "test_type:unit")
        assert [run.status for run in result.result.results] == ["pass", "pass"]

        shop.write(path, re.sub(r"    overrides:\n.*?(?=    given:)", "", text, flags=re.DOTALL))
        result = shop.try_dbt("test", "--select", "test_type:unit")
        assert [run.status for run in result.result.results] == ["error", "error"]
    finally:
        (shop.folder / path).unlink()
