"""What the gate compiles for itself: definitions of feature views, whatever their models are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_warehouse.project.compiling import compile_feature_views
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.definition import Definition, ProjectDefinitions, from_text, read_definitions, to_text
from feature_warehouse.project.project import load_project
from feature_warehouse.sql.changes import Definitions, View, judge
from feature_warehouse.sql.text import words_of
from tests.support.projects import Project
from tests.support.shop import inside

VIEW = """
models:
  - name: {name}
    config:
      materialized: {materialized}
      contract: {{enforced: true}}
      meta:
        feature_view: {{entity: customer, join_keys: [customer_id], event_timestamp: event_at, available_at: none}}
    columns:
      - {{name: customer_id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: spent, data_type: double}}
    versions: [{{v: 1}}]
"""

SNAPSHOT = """
{% snapshot plans %}
{{ config(unique_key='customer_id', strategy='check', check_cols=['plan']) }}
select customer_id, plan from {{ source('crm', 'customers') }}
{% endsnapshot %}
"""

INCREMENTAL = """incremental
      incremental_strategy: delete+insert
      on_schema_change: fail
"""

FILES = {
    "seeds/payments.csv": "customer_id,paid_at,Amount,note\n1,2026-01-01T00:00:00Z,2.5,first\n",
    "models/sources.yml": """
sources:
  - name: crm
    schema: other
    tables: [{name: customers, identifier: clients, columns: [{name: customer_id, data_type: bigint}]}]
seeds:
  - {name: payments, config: {column_types: {amount: double, paid_at: timestamptz}}}
""",
    # a CTE that is called as another model is
    "models/stg_payments.sql": "with kept as (select customer_id, paid_at, amount from {{ ref('payments') }})\n\n\n\n"
    "select *, '{{ var('feature_warehouse_now') }}' as at from kept -- all of it\n",
    "models/paying.sql": "{{ config(materialized='ephemeral') }}\n"
    "select customer_id from {{ source('crm', 'customers') }}",
    "models/spending_v1.sql": "{{ config(post_hook='grant select on {{ this }} to reporting') }}\n"
    "with stg_payments as (select 1 as one)\n"
    "select p.customer_id, p.paid_at as event_at, p.amount as spent from {{ ref('stg_payments') }} as p\n"
    "semi join {{ ref('paying') }} using (customer_id)",
    "models/spending.yml": VIEW.format(name="spending", materialized="table"),
    "models/growing_v1.sql": "{{ config(unique_key=['customer_id', 'event_at']) }}\n"
    "select customer_id, paid_at as event_at, amount as spent from {{ ref('payments') }}\n"
    "{% if is_incremental() %} where paid_at > (select max(event_at) from {{ this }}) {% endif %}",
    "models/growing.yml": VIEW.format(name="growing", materialized=INCREMENTAL),
    "snapshots/plans.sql": SNAPSHOT,
    "models/recorded_v1.sql": "select customer_id, dbt_valid_from::timestamptz as event_at, 1.0::double as spent\n"
    "from {{ ref('plans') }}",
    "models/recorded.yml": VIEW.format(name="recorded", materialized="table"),
    "models/hooked_v1.sql": "{{ config(post_hook='delete from {{ this }} where spent < 0') }}\n"
    "select customer_id, paid_at as event_at, amount as spent from {{ ref('payments') }}",
    "models/hooked.yml": VIEW.format(name="hooked", materialized="table"),
    "models/scored.py": "def model(dbt, session):\n    return dbt.ref('payments')\n",
    "models/guessed_v1.sql": "select customer_id, paid_at as event_at, amount as spent from {{ ref('scored') }}",
    "models/guessed.yml": VIEW.format(name="guessed", materialized="table"),
}  # fmt: skip


def read(project: Project) -> ProjectDefinitions:
    with inside(project.folder):
        compiled = compile_feature_views(load_project())
    declared = read_declarations(compiled.manifest)
    assert declared.problems == ()
    return read_definitions(compiled, declared.views)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(
        tmp_path_factory.mktemp("defined"), FILES, more='vars: {feature_warehouse_now: "2026-02-02T00:00:00Z"}'
    )


@pytest.fixture(scope="module")
def defined(project: Project) -> ProjectDefinitions:
    return read(project)


def kinds(old: Definition, new: Definition) -> dict[str, str]:
    changes = judge(Definitions(old.nodes), old.view, Definitions(new.nodes), new.view)
    return {change.feature: change.kind for change in changes}


def test_no_warehouse_is_needed_and_dbts_own_manifest_is_left_alone(project, defined) -> None:
    assert not project.database.exists()
    assert {path.name for path in (project.folder / "target").iterdir()} == {"gate"}


def test_all_nodes_above_a_view_with_their_names(defined) -> None:
    spending = defined.definitions["spending.v1"]
    assert set(spending.nodes) == {"spending_v1", "stg_payments", "payments", "source.crm.clients"}
    assert spending.view == View(
        node="spending_v1",
        join_keys={"customer_id": "bigint"},
        event_timestamp="event_at",
        features={"spent": "double"},
    )
    assert spending.nodes["payments"].columns == {
        "customer_id": "", "paid_at": "timestamptz", "Amount": "double", "note": "",
    }  # fmt: skip
    staging = spending.nodes["stg_payments"].sql
    assert staging == (
        "with kept as (select customer_id, paid_at, amount from ref.payments)\n"
        "select *, '2000-01-01T00:00:00Z' as at from kept -- all of it"
    )
    read_twice = Definitions(spending.nodes)
    assert read_twice.as_text(spending.view) == ()
    assert read_twice.facts(spending.view, "spent").sources == (("payments", "amount"),)


def test_the_later_runs_of_an_incremental_model(defined) -> None:
    node = defined.definitions["growing.v1"].nodes["growing_v1"]
    assert "where" not in node.sql
    assert node.incremental.endswith("where paid_at > (select max(event_at) from ref.growing_v1)")
    assert (node.strategy, node.unique_key) == ("delete+insert", ("customer_id", "event_at"))


@pytest.mark.parametrize(
    ("view", "node", "why"), [("recorded.v1", "plans", "it is a snapshot"), ("hooked.v1", "hooked_v1", "it has hooks")]
)
def test_what_sql_alone_does_not_say_is_compared_as_text(defined, view, node, why) -> None:
    definition = defined.definitions[view]
    assert Definitions(definition.nodes).as_text(definition.view) == (f"`{node}` is compared as text: {why}",)
    assert kinds(definition, definition) == {"spent": "refactor"}


def test_a_python_model_is_a_problem_and_no_pass(defined) -> None:
    problem = defined.problems["guessed.v1"]
    assert problem.message == (
        "models/guessed.yml: guessed.v1: the model scored is in Python, where no change could be judged"
    )
    assert set(defined.problems) == {"guessed.v1"}


def test_the_file_of_a_definition_is_read_back_as_it_was(defined) -> None:
    for id_, definition in defined.definitions.items():
        assert from_text(to_text(id_, definition), id_) == definition


def test_a_change_in_an_ephemeral_model_in_a_hook_and_in_the_later_runs(project, defined) -> None:
    edits = {
        "models/paying.sql": ("'customers') }}", "'customers') }} where customer_id > 7"),
        "models/hooked_v1.sql": ("spent < 0", "spent < 1"),
        "models/growing_v1.sql": ("paid_at > (", "paid_at >= ("),
        "snapshots/plans.sql": ("['plan']", "'all'"),
    }
    for path, (old, new) in edits.items():
        text = (project.folder / path).read_text()
        assert text.count(old) == 1
        project.write(path, text.replace(old, new))
    changed = read(project)
    for id_, definition in defined.definitions.items():
        assert kinds(definition, changed.definitions[id_]) == {"spent": "value change"}, id_


def test_a_model_that_asks_the_warehouse_or_does_not_compile_is_a_problem_of_what_reads_it(tmp_path: Path) -> None:
    columns = "1::bigint as customer_id, now() as event_at, 1.0::double as spent"
    files = {
        "models/asking.sql": "{% set found = run_query('select 1 from t') %} select " + columns,
        "models/inlined.sql": "{{ config(materialized='ephemeral') }}\n{% if execute %} {{ nobody.knows }} {% endif %}",
        "models/asking_within.sql": (
            "{{ config(materialized='ephemeral') }} {% set found = run_query('select 1 from t') %} select " + columns
        ),
        "models/between.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('asking_within') }}",
        "models/above_v1.sql": "select * from {{ ref('asking') }}",
        "models/within_v1.sql": "select * from {{ ref('between') }}",
        "models/inlining_v1.sql": "select * from {{ ref('inlined') }}",
        "models/broken_v1.sql": "{% if is_incremental() %} {{ nobody.knows }} {% endif %} select " + columns,
        "models/fine_v1.sql": "select " + columns,
    }
    for name in ("above", "within", "inlining", "broken", "fine"):
        kind = INCREMENTAL if name == "broken" else "table"
        files[f"models/{name}.yml"] = VIEW.format(name=name, materialized=kind)
    found = read(Project(tmp_path, files))
    assert set(found.definitions) == {"fine.v1"}
    assert found.problems["above.v1"].message == (
        "models/above.yml: above.v1: models/asking.sql asks the warehouse while it is compiled, so its SQL is not the "
        "same everywhere"
    )
    assert found.problems["above.v1"].hint == (
        "write down in the model what it asks for: names of columns, values, dates; it asks `select 1 from t`"
    )
    assert found.problems["broken.v1"].message.startswith(
        "models/broken.yml: broken.v1: models/broken_v1.sql: 'nobody' is undefined"
    )
    assert found.problems["within.v1"].message == (
        "models/within.yml: within.v1: models/asking_within.sql asks the warehouse while it is compiled, so its SQL is "
        "not the same everywhere"
    )
    assert found.problems["inlining.v1"].message.startswith(
        "models/inlining.yml: inlining.v1: models/inlined.sql: 'nobody' is undefined"
    )


ASKED = {
    "days": """select day::timestamptz as event_at, 1::bigint as customer_id, 1.0::double as spent from (
        {{ dbt.date_spine('day', "cast('2026-01-30' as date)", "cast('2026-02-03' as date)") }}) spine(day)""",
    "months": """{% set found = dbt.get_intervals_between("'2025-11-01'::date", "'2026-02-01'::date", 'month') %}
        select now() as event_at, {{ found }}::bigint as customer_id, 1.0::double as spent""",
    "listed": """{% set asked = "select name from (values ('a'), ('b')) listed(name) order by name" %}
        {% set rows = run_query(asked).rows if execute else [] %}
        select now() as event_at, 1::bigint as customer_id,
        {% for row in rows %} length('{{ row[0] }}') + {% endfor %} 1.0::double as spent""",
}


def test_a_model_may_ask_what_needs_no_data(tmp_path: Path) -> None:
    """Its SQL is what dbt makes of it with the warehouse. What reads a table or the clock is refused with its query."""
    refused = {
        "until_today": ASKED["days"].replace("cast('2026-02-03' as date)", "current_date"),
        "pivoted": ASKED["listed"].replace(
            "name from (values ('a'), ('b')) listed(name) order by name", "distinct name from names"
        ),
        "described": ASKED["listed"].replace(
            "name from (values ('a'), ('b')) listed(name) order by name",
            "table_name as name from information_schema.tables",
        ),
    }
    files = {"models/names.sql": "select 'a' as name"}
    for name, sql in (ASKED | refused).items():
        files[f"models/{name}_v1.sql"] = sql
        files[f"models/{name}.yml"] = VIEW.format(name=name, materialized="table")
    project = Project(tmp_path, files)
    found = read(project)
    assert set(found.definitions) == {f"{name}.v1" for name in ASKED}
    for name, asks in {
        "until_today": "current_date",
        "pivoted": "from names",
        "described": "from information_schema",
    }.items():
        problem = found.problems[f"{name}.v1"]
        assert f"models/{name}_v1.sql asks the warehouse while it is compiled" in problem.message
        assert asks in problem.hint.partition("it asks `select ")[2]
    project.dbt("compile", "--select", *ASKED)
    for name in ASKED:
        compiled = found.definitions[f"{name}.v1"].nodes[f"{name}_v1"].sql or ""
        assert words_of(compiled) == words_of(project.compiled(f"{name}_v1")), name
