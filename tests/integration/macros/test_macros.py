"""What the macros refuse, and where looking up metadata is hard: unit tests, --defer, aliases."""

from __future__ import annotations

import shutil

import duckdb
import pytest

from tests.support.projects import Project, messages

ORDERS = """
select 'a' as customer, timestamptz '2026-01-01 10:00:00+00' as event_at,
    timestamptz '2026-01-01 11:00:00+00' as known_at, 3::bigint as amount
"""

ORDERS_YAML = """
  - name: orders
    latest_version: 2
    config:
      contract: {enforced: true}
      materialized: table
      meta:
        feature_view: {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at}
    columns:
      - {name: customer, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: amount, data_type: bigint}
    versions: [{v: 1}, {v: 2}]
"""


def declared(name: str, meta: str, known_type: str = "timestamptz") -> str:
    """A feature view's YAML with other metadata."""
    return f"""
  - name: {name}
    config: {{meta: {{feature_view: {{{meta}}}}}}}
    columns:
      - {{name: customer, data_type: varchar}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: {known_type}}}
      - {{name: amount, data_type: bigint}}
    versions: [{{v: 1}}]
"""


KEYS = "entity: customer, join_keys: [customer], event_timestamp: event_at"
BROKEN_VIEWS = {
    "no_availability": declared("no_availability", KEYS),
    "no_keys": declared("no_keys", "entity: customer, event_timestamp: event_at, available_at: known_at"),
    "strange_column": declared("strange_column", f"{KEYS}, available_at: loaded_at"),
    "naive": declared("naive", f"{KEYS}, available_at: known_at", "timestamp"),
    "strange_ttl": declared("strange_ttl", f"{KEYS}, available_at: known_at, ttl: one week"),
    "strange_delay": declared("strange_delay", f"{KEYS}, available_at: known_at, sync_delay: 5"),
}

SERVICES = """
exposures:
  - name: churn_v1
    type: ml
    owner: {name: growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)"]
    config: {meta: {feature_service: {name: churn, version: 1, features: [
      {view: orders.v1, features: [amount], keys: {customer: buyer}, prefix: buyer_},
      {view: orders.v1, features: [amount], keys: {customer: seller}, prefix: seller_}],
      on_demand: [{name: twice, data_type: bigint, expression: 2 * buyer_amount}]}}}
"""


def join(spine: str = "ref('labels')", views: str = "[ref('orders', v=1)]", more: str = "") -> str:
    time = "" if "spine_timestamp" in more else ", spine_timestamp='asked_at'"
    return f"{{{{ feature_warehouse.point_in_time_join(spine={spine}, feature_views={views}{time}{more}) }}}}"


#: model -> (its SQL, what the error says)
REFUSED = {
    "not_a_view": (join(views="[ref('labels')]"), "is not a feature view. Pass ref('<feature view>', v=<version>)"),
    "a_name": (join(views="['orders']"), "orders is not a feature view"),
    "no_list": (join(views="ref('orders', v=1)"), "`feature_views` must be a list of ref(...)"),
    "empty_list": (join(views="[]"), "`feature_views` must be a list of ref(...)"),
    "two_versions": (join(views="[ref('orders', v=1), ref('orders', v=2)]"), "two features would be called 'amount'"),
    "in_spine": (join(spine="ref('priced')"), "the spine already has a column 'amount'"),
    "in_spine_in_capitals": (join(spine="ref('capitals')"), "the spine already has a column 'amount'"),
    "other_key_type": (
        join(spine="ref('numbered')"),
        "the spine's column 'customer' is an integer (INTEGER), but the join key 'customer' of orders.v1 is a text",
    ),
    "no_time": (join(more=", spine_timestamp='at'"), "`spine_timestamp` is 'at', but the spine"),
    "naive_time": (join(spine="ref('naive_labels')"), "of type TIMESTAMP, which has no zone"),
    "naive_subquery": (
        "{{ config(materialized='table') }} " + join(spine="'(select * from ' ~ ref('naive_labels') ~ ')'"),
        "`spine_timestamp` is the column",
    ),
    "no_key": (join(spine="ref('keyless')"), "has no column 'customer' to match the join key 'customer' of orders.v1"),
    "strange_key": (
        join(views="[{'view': ref('orders', v=1), 'keys': {'client': 'customer'}}]"),
        "orders.v1 has no join key 'client'; its join keys are customer",
    ),
    "strange_feature": (
        join(views="[{'view': ref('orders', v=1), 'features': ['total']}]"),
        "orders.v1 has no feature 'total'; it has amount",
    ),
    "strange_setting": (
        join(views="[{'view': ref('orders', v=1), 'ttl': '1 day'}]"),
        "item 1 of `feature_views` has the unknown setting 'ttl'. Use features, keys, prefix, view.",
    ),
    "no_service": (join(more=", service='churn.v9'"), "there is no feature service 'churn.v9'"),
    "other_service_views": (
        join(views="[ref('orders', v=2)]", more=", service='churn.v1'"),
        "disagree. Missing: orders.v1. Not in the service: orders.v2.",
    ),
    "known_as_of": (
        join(more=", known_as_of='2026-01-01T00:00:00Z'"),
        "`known_as_of` needs every history to keep what was once known",
    ),
    "naive_as_of": (join(more=", known_as_of='2026-01-01'"), "known_as_of is '2026-01-01', which names no instant"),
    "bad_no_availability": (join(views="[ref('no_availability', v=1)]"), "or `available_at: none` to waive it"),
    "bad_no_keys": (join(views="[ref('no_keys', v=1)]"), "declares no `join_keys`"),
    "bad_column": (join(views="[ref('strange_column', v=1)]"), "names the column `loaded_at`, which is not among"),
    "bad_zone": (join(views="[ref('naive', v=1)]"), "has the time column `known_at` of type timestamp"),
    "bad_ttl": (join(views="[ref('strange_ttl', v=1)]"), "'one week' is not a duration"),
    "bad_delay": (join(views="[ref('strange_delay', v=1)]"), "'5' is not a duration"),
    "latest_of_nothing": (
        "{{ feature_warehouse.latest_values(ref('labels')) }}",
        "latest_values: ",
    ),
}

LABELS = (
    "select 'a' as customer, 'a' as buyer, 'b' as seller, timestamptz '2026-01-01 12:00:00+00' as asked_at, "
    "'{ note }' as note"
)

FILES = {
    "models/orders_v1.sql": ORDERS,
    "models/orders_v2.sql": ORDERS.replace("3::", "4::"),
    **{f"models/{name}_v1.sql": ORDERS for name in BROKEN_VIEWS},
    "models/views.yml": "models:" + ORDERS_YAML + "".join(BROKEN_VIEWS.values()),
    "models/services.yml": SERVICES,
    "models/labels.sql": LABELS,
    "models/priced.sql": "select *, 1 as amount from {{ ref('labels') }}",
    "models/capitals.sql": "select *, 1 as AMOUNT from {{ ref('labels') }}",
    "models/numbered.sql": "select 7 as customer, asked_at from {{ ref('labels') }}",
    "models/shouted.sql": "select customer as CUSTOMER, asked_at as ASKED_AT from {{ ref('labels') }}",
    "models/of_capitals.sql": join(spine="ref('shouted')"),
    "models/keyless.sql": "select asked_at from {{ ref('labels') }}",
    "models/naive_labels.sql": "select 'a' as customer, timestamp '2026-01-01 12:00:00' as asked_at",
    "models/served.sql": join(more=", service='churn.v1'"),
    "models/latest_version.sql": join(views="[ref('orders')]"),
    **{f"models/refused/{name}.sql": sql for name, (sql, _) in REFUSED.items()},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("shop"), FILES)


@pytest.fixture(scope="module")
def refusals(project: Project) -> dict[str, str]:
    """What dbt said of each model."""
    result = project.try_dbt("run")
    return {run.node.name: run.message for run in result.result.results}


@pytest.mark.parametrize(("model", "words"), [(model, words) for model, (_, words) in REFUSED.items()])
def test_a_wrong_call_is_refused_in_words(refusals: dict[str, str], model: str, words: str) -> None:
    assert words in refusals[model]
    assert "point_in_time_join: " in refusals[model] or "latest_values: " in refusals[model]


def rows(project: Project, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(f"select * from {table}").fetchall()


def test_a_service_gives_its_features_in_their_roles_and_on_demand(project: Project, refusals: dict[str, str]) -> None:
    assert refusals["served"] == "OK"
    ((*_, buyer, seller, twice),) = rows(project, "served")
    assert (buyer, seller, twice) == (3, None, 6)


def test_a_ref_without_version_reads_the_latest_one(project: Project, refusals: dict[str, str]) -> None:
    assert refusals["latest_version"] == "OK"
    assert rows(project, "latest_version")[0][-1] == 4


def test_the_case_of_a_spines_columns_does_not_matter(project: Project, refusals: dict[str, str]) -> None:
    assert refusals["of_capitals"] == "OK"
    assert rows(project, "of_capitals")[0][-1] == 3


def test_metadata_is_found_under_defer(project: Project, refusals: dict[str, str]) -> None:
    """The refs point into another schema, where dbt never built anything under this target."""
    shutil.copytree(project.folder / "target", project.folder / "state", dirs_exist_ok=True)
    profiles = (project.folder / "profiles.yml").read_text()
    project.write(
        "profiles.yml", profiles.replace("threads: 2", "schema: dev_anna, threads: 2".replace(", ", "\n      "))
    )
    try:
        project.dbt("run", "--select", "served", "--defer", "--state", str(project.folder / "state"))
        assert '"main"."orders_v1"' in project.compiled("served")
    finally:
        project.write("profiles.yml", profiles)
    assert rows(project, "dev_anna.served") == rows(project, "main.served")


UNIT_TESTS = """
unit_tests:
  - name: a_late_fact_counts_from_its_availability
    model: training
    overrides:
      macros:
        feature_warehouse.view_facts:
          orders.v1:
            declared: {join_keys: [customer], event_timestamp: event_at, available_at: known_at, ttl: 7 days}
            columns: {customer: varchar, event_at: timestamptz, known_at: timestamptz, amount: bigint}
    given:
      - input: ref('labels')
        rows:
          - {customer: a, asked_at: "2026-01-01T11:59:59Z"}
          - {customer: a, asked_at: "2026-01-01T12:00:00Z"}
      - input: ref('orders', v=1)
        rows:
          - {customer: a, event_at: "2026-01-01T09:00:00Z", known_at: "2026-01-01T09:00:00Z", amount: 1}
          - {customer: a, event_at: "2026-01-01T10:00:00Z", known_at: "2026-01-01T12:00:00Z", amount: 2}
    expect:
      rows:
        - {customer: a, asked_at: "2026-01-01T11:59:59Z", amount: 1}
        - {customer: a, asked_at: "2026-01-01T12:00:00Z", amount: 2}
  - name: the_newest_known_row_is_the_latest_value
    model: latest_orders_v1
    overrides:
      vars: {feature_warehouse_now: "2026-01-01T11:00:00Z"}
      macros:
        feature_warehouse.view_facts:
          orders.v1:
            declared: {join_keys: [customer], event_timestamp: event_at, available_at: known_at}
            columns: {customer: varchar, event_at: timestamptz, known_at: timestamptz, amount: bigint}
    given:
      - input: ref('orders', v=1)
        rows:
          - {customer: a, event_at: "2026-01-01T09:00:00Z", known_at: "2026-01-01T09:00:00Z", amount: 1}
          - {customer: a, event_at: "2026-01-01T10:00:00Z", known_at: "2026-01-01T12:00:00Z", amount: 2}
    expect:
      rows: [{customer: a, amount: 1}]
"""


def test_macros_work_in_dbt_unit_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    keep = ["models/orders_v1.sql", "models/orders_v2.sql", "models/labels.sql"]
    unit = Project(
        tmp_path_factory.mktemp("unit"),
        {
            **{path: FILES[path] for path in keep},
            "models/views.yml": "models:" + ORDERS_YAML,
            "models/training.sql": join(),
            "models/latest_orders_v1.sql": "{{ feature_warehouse.latest_values(ref('orders', v=1)) }}",
            "models/tests.yml": UNIT_TESTS,
        },
    )
    result = unit.dbt("build")
    unit_tests = {run.node.name: run.status for run in result.result.results if run.node.resource_type == "unit_test"}
    assert unit_tests == {
        "a_late_fact_counts_from_its_availability": "pass",
        "the_newest_known_row_is_the_latest_value": "pass",
    }


GENERIC_TESTS = """
models:
  - name: training
    data_tests:
      - feature_warehouse.same_rows_as_spine: {name: rows_kept, arguments: {spine: ref('labels')}}
      - feature_warehouse.no_future_features:
          name: no_leak
          arguments:
            spine: ref('labels')
            spine_timestamp: asked_at
            feature_views: ["ref('orders', v=1)"]
      - feature_warehouse.zoned_timestamps: {name: training_zoned}
"""

VIEW_TESTS = """    data_tests:
      - feature_warehouse.unique_history
      - feature_warehouse.available_by_now
      - feature_warehouse.zoned_timestamps
"""


def failed_tests(project: Project) -> set[str]:
    result = project.try_dbt("test")
    assert not [run.message for run in result.result.results if run.status == "error"], messages(result)
    return {run.node.name for run in result.result.results if run.status == "fail"}


def test_generic_tests_find_what_they_are_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each is green on honest data and red on one seeded fault."""
    project = Project(
        tmp_path_factory.mktemp("generic"),
        {
            "models/orders_v1.sql": ORDERS,
            "models/views.yml": "models:"
            + ORDERS_YAML.replace("[{v: 1}, {v: 2}]", "[{v: 1}]").replace("latest_version: 2", "latest_version: 1")
            + VIEW_TESTS,
            "models/labels.sql": "{{ config(materialized='table') }} " + LABELS,
            "models/training.sql": "{{ config(materialized='table') }} " + join(),
            "models/training.yml": GENERIC_TESTS,
        },
    )
    project.dbt("run")
    assert failed_tests(project) == set()

    faults = {
        "feature_warehouse_unique_history_orders_v1_": "insert into orders_v1 from orders_v1",
        "feature_warehouse_available_by_now_orders_v1_": "update orders_v1 set known_at = now() + interval 1 hour",
        "feature_warehouse_zoned_timestamps_orders_v1_": "alter table orders_v1 alter known_at type timestamp",
        "training_zoned": "alter table training alter asked_at type timestamp",
        "rows_kept": "insert into training from training",
        "no_leak": "update training set amount = 99",
    }
    backup = project.database.with_suffix(".backup")
    shutil.copy(project.database, backup)
    for test, fault in faults.items():
        with duckdb.connect(str(project.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(fault)
        assert test in failed_tests(project), test
        shutil.copy(backup, project.database)
