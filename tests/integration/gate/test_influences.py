"""What decides about rows beside a view's own SQL: each edit of it is a value change of all that is below, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.repository import SQL, STAGING, VIEW, Repository, registered

SCALE = "{% macro scaled(column) %}{{ column }} * {{ factor() }}{% endmacro %}\n{% macro factor() %}1{% endmacro %}\n"
MATERIALIZATION = """
{% materialization rounded, default %}
    {% set target_relation = this.incorporate(type="table") %}
    {% call statement("main") %}create or replace table {{ target_relation }} as {{ sql }}{% endcall %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
"""
LIKED = "select customer_id::bigint as customer_id, amount::double as liked from {{ ref('likes') }}"
BOOSTED = "select customer_id::bigint as customer_id, boost::double as boost from {{ source('raw', 'boosts') }}"
STRATEGIES = """
{% macro get_incremental_mine_sql(arguments) %}{{ return(get_incremental_append_sql(arguments)) }}{% endmacro %}
{% macro snapshot_mine_strategy(node, snapshotted, current, config, exists) %}
    {{ return(snapshot_check_strategy(node, snapshotted, current, config, exists)) }}
{% endmacro %}
{% materialization view, adapter="duckdb" %}
    {% call statement("main") %}create or replace view {{ this }} as {{ sql }}{% endcall %}
    {{ return({"relations": [this.incorporate(type="view")]}) }}
{% endmaterialization %}
"""

#: A project with one of each: hooks of a model, a seed, a run and another model, a header, a macro of dbt's, a
#: materialisation, strategies, a source, and tables that hooks alone read.
MORE = {
    "macros/scaled.sql": SCALE,
    "macros/rounded.sql": MATERIALIZATION,
    "macros/strategies.sql": STRATEGIES,
    "macros/dbt.sql": "{% macro duckdb__get_create_table_as_sql(temporary, relation, sql) %}"
    "{{ create_table_as(temporary, relation, sql) }}{% endmacro %}\n",
    "seeds/likes.csv": "customer_id,amount\n1,2\n",
    "snapshots/seen.yml": "snapshots: [{name: seen, relation: ref('likes'), config: {unique_key: customer_id, "
    "strategy: mine, check_cols: [amount]}}]\n",
    "models/liked.sql": "{{ config(materialized='rounded') }}" + LIKED,
    "models/rates.sql": "select 2 as rate",
    "models/caps.sql": "select 9 as cap",
    "models/outside.sql": "{{ config(materialized='table') }}select 1 as x",
    "models/__raw.yml": "sources: [{name: raw, schema: raw_2025, tables: [{name: boosts}]}]\n",
    "models/stg_boosts.sql": "{{ config(materialized='incremental', incremental_strategy='mine') }}" + BOOSTED,
    "models/stg_payments.sql": "{{ config(materialized='table', sql_header='create temp macro times(x) as x * 2;', "
    "post_hook=\"update {{ this }} set amount = {{ scaled('amount') }} * {{ var('rate') }}\") }}" + STAGING,
    "models/spending_v1.sql": SQL.replace("from {{ ref('stg_payments') }}", "from {{ ref('stg_payments') }}\n"
    "    left join {{ ref('liked') }} using (customer_id)\n    left join {{ ref('stg_boosts') }} using (customer_id)\n"
    "    left join (select customer_id from {{ ref('seen') }} where dbt_valid_to is null) using (customer_id)"),
    "seeds/seeds.yml": "seeds:\n"
    "  - {name: payments, config: {column_types: {paid_at: timestamptz, amount: double}}}\n"
    "  - {name: likes, config: {post_hook: 'delete from {{ this }} where amount < 0', tags: [small]}}\n",
}  # fmt: skip

PROJECT = """
on-run-start:
  - "create or replace function twice(x) as x * 2"
  - "update stg_payments set amount = 0 where amount > (select max(cap) from {{ ref('caps') }})"
models: {shop: {+on_schema_change: append_new_columns}}
vars: {feature_warehouse_now: "2026-01-10T00:00:00Z", shop: {rate: 1}, fee: 1, unasked: 1}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return registered(tmp_path_factory.mktemp("influences"), MORE, PROJECT)


@pytest.fixture
def shop(prepared: Repository, tmp_path: Path) -> Repository:
    return prepared.branch(tmp_path / "shop")


STG, SEEDS, LATEST = "models/stg_payments.sql", "seeds/seeds.yml", "models/latest_spending_v1.sql"

#: (file, before, after, what the refusal says)
VALUE_CHANGES = [
    (STG, "x * 2;", "x * 3;", "config sql_header of `stg_payments`"),
    (STG, "materialized='table'", "materialized='table', merge_clauses={'a': 1}", "config merge_clauses of `stg_payments`"),
    (STG, "materialized='table'", "materialized='table', never_heard_of=1", "config never_heard_of of `stg_payments`: none -> 1"),
    (STG, "set amount", "set amount = 0, amount", "hooks of `stg_payments` changed"),
    ("macros/scaled.sql", "* {{ factor", "/ {{ factor", "the macro scaled, which `stg_payments` runs changed"),
    ("macros/scaled.sql", "%}1{%", "%}{{ var('f' ~ 'ee') }}{%", "the macro factor, which `stg_payments` runs changed"),
    ("macros/strategies.sql", "get_incremental_append", "get_incremental_delete_insert", "the macro get_incremental_mine_sql, which `stg_boosts` runs changed"),
    ("macros/strategies.sql", "return(snapshot_check", "return(snapshot_timestamp", "the macro snapshot_mine_strategy, which `seen` runs changed"),
    ("macros/strategies.sql", "as {{ sql }}", "as from ({{ sql }}) limit 1", "the macro materialization_view_duckdb, which stands in for dbt's own changed"),
    ("dbt_project.yml", "rate: 1}", "rate: 2}", "the variable rate: 1 -> 2"),
    ("dbt_project.yml", "as x * 2", "as x * 3", "on-run-start of the project changed"),
    ("dbt_project.yml", "vars:", "dispatch: [{macro_namespace: dbt, search_order: [shop, dbt]}]\nvars:", "dispatch of the project came"),
    ("models/caps.sql", "9", "8", "`caps`, which on-run-start reads changed"),
    ("macros/rounded.sql", "as {{ sql }}", "as from ({{ sql }}) limit 1", "which `liked` runs changed"),
    ("macros/dbt.sql", "create_table_as(", "get_create_table_as_sql_again(", "which stands in for dbt's own changed"),
    (SEEDS, "amount < 0", "amount < 1", "the post-hook of `likes` changed"),
    (SEEDS, "tags: [small]", "delimiter: ';'", 'config delimiter of `likes`: none -> ";"'),
    ("models/__raw.yml", "raw_2025", "raw_2026", 'the place of `source.raw.boosts`: "raw_2025" -> "raw_2026"'),
    ("models/outside.sql", "'table'", "'table', post_hook='update {{ ref(\"stg_payments\") }} set amount = (from {{ ref(\"rates\") }})'", "the post-hook of `outside` came"),
    ("models/outside.sql", "'table'", "'table', pre_hook='set global integer_division = true'", "the pre-hook of `outside` came"),
    (LATEST, "{{ feature", "{{ config(post_hook='update {{ this }} set spent_7d = 0') }}{{ feature", "the post-hook of `latest_spending_v1` came"),
    (LATEST, "{{ feature", "{{ config(sql_header='set x = 1;') }}{{ feature", "config sql_header of `latest_spending_v1`: none -> "),
    ("models/spending.yml", "ttl: 30 days", "ttl: 30 days, sync_delay: 2 days", "sync_delay none -> 2 days, by which training"),
    ("models/spending.yml", "{name: spent_7d, data_type: double}", "{name: spent_7d, data_type: double, constraints: [{type: custom, expression: collate nocase}]}", "config constraints of `spending_v1`"),
]  # fmt: skip

#: (file, before, after)
HARMLESS = [
    (SEEDS, "tags: [small]", "tags: [large]"),
    (STG, "materialized='table'", "materialized='table', alias='staged', docs={'show': false}, group=none"),
    ("models/spending.yml", "materialized: table", "materialized: table\n      grants: {select: [reader]}"),
    ("dbt_project.yml", "unasked: 1", "unasked: 2"),
    ("macros/scaled.sql", "{{ column }} *", "{{   column   }}   *"),
    ("dbt_project.yml", "on-run-start:", 'on-run-end: ["grant select on all to reader"]\non-run-start:'),
    ("models/outside.sql", "'table'", "'table', post_hook='insert into seen_rows select count(*) from {{ ref(\"stg_payments\") }}'"),
    ("models/rates.sql", "2", "3"),
]  # fmt: skip


def errors(shop: Repository) -> list[str]:
    """What `syncer check` refuses, without the warnings: hooks are compared as text, which is said."""
    return refusals(shop, "check")


def refusals(shop: Repository, *command: str) -> list[str]:
    done = shop.try_syncer(*command)
    assert done.exit_code == 1, done.output
    return [line for line in done.stderr.splitlines() if line.startswith("Error: ")]


def test_what_decides_beside_the_sql_is_judged(shop: Repository) -> None:
    """All at once: each is among the reasons by its own name."""
    for file, before, after, _ in VALUE_CHANGES:
        shop.replace(file, before, after)
    (refusal,) = errors(shop)
    assert refusal.startswith("Error: spending.v1: spent_7d, payments_7d would get other values: ")
    assert refusal.endswith(" causes more")
    compared = shop.syncer("diff", "main")
    assert [said for *_, said in VALUE_CHANGES if said not in compared] == []


def test_what_changes_no_value_passes(shop: Repository) -> None:
    for edit in HARMLESS:
        shop.replace(*edit)
    checked = shop.try_syncer("check")
    assert checked.exit_code == 0, checked.stderr


def test_what_came_and_what_went_is_said(shop: Repository) -> None:
    written = (shop.folder / "dbt_project.yml").read_text()
    begun = written.index("on-run-start:")
    shop.replace("dbt_project.yml", written[begun : written.index("models:", begun)], "")
    shop.replace("dbt_project.yml", "models:", 'on-run-end: ["update spending_v1 set spent_7d = 0"]\nmodels:')
    (refusal,) = errors(shop)
    assert "on-run-end of the project came" in refusal
    assert "on-run-start of the project is gone" in refusal


def test_an_accepted_influence_passes_from_then_on(shop: Repository) -> None:
    shop.replace("macros/scaled.sql", "%}1{%", "%}1.19{%")
    shop.syncer("register", "--accept-fix", "taxes were left out")
    assert shop.try_syncer("check").exit_code == 0
    shop.replace("macros/scaled.sql", "%}1.19{%", "%}1.2{%")
    (refusal,) = errors(shop)
    assert "the macro factor" in refusal


def test_a_registry_from_before_is_no_change_and_is_completed(shop: Repository) -> None:
    accepted = shop.folder / "registry/sql/spending.v1.sql"
    text = accepted.read_text()
    head, _, rest = text.partition("--- beside the SQL\n")
    accepted.write_text(head + rest[rest.index("\n\n") + 2 :])
    shop.git("checkout", "--quiet", "main")
    shop.commit("As 0.1.0 wrote it")
    shop.git("checkout", "--quiet", "-b", "later")
    shop.replace("macros/scaled.sql", "%}1{%", "%}2{%")
    checked = shop.try_syncer("check")
    assert checked.exit_code == 0, checked.stderr
    assert "What else than their SQL decides about the rows of spending.v1 is not written down yet" in checked.stdout
    shop.syncer("register")
    assert "--- beside the SQL" in accepted.read_text()
    assert accepted.read_text().count("--- ") > head.count("--- ")


def test_a_features_neighbours_stay_as_they_are_when_one_is_added(shop: Repository) -> None:
    shop.replace("models/spending_v1.sql", "as largest", "as largest,\n    min(amount) over seven_days as smallest")
    shop.replace(
        "models/spending.yml", "{name: largest,", "{name: smallest, data_type: double}\n      - {name: largest,"
    )
    shop.replace("models/services.yml", "[spent_7d, payments_7d]", "[spent_7d, payments_7d, smallest]")
    assert "spending.v1: smallest is served as field 4" in shop.syncer("register")


def test_a_view_of_another_view_is_judged_by_what_is_above_both(prepared: Repository, tmp_path: Path) -> None:
    shop = prepared.branch(tmp_path / "two")
    shop.write("models/doubled_v1.sql", "select customer_id, event_at, known_at, spent_7d * 2 as twice "
               "from {{ ref('spending', v=1) }}")  # fmt: skip
    columns = "".join(
        f"      - {{name: {name}, data_type: {type_}}}\n"
        for name, type_ in (("customer_id", "bigint"), ("event_at", "timestamptz"), ("known_at", "timestamptz"))
    )
    shop.write("models/doubled.yml", VIEW.partition("    columns:")[0].replace("spending", "doubled")
               + "    columns:\n" + columns + "      - {name: twice, data_type: double}\n    versions: [{v: 1}]\n")  # fmt: skip
    shop.write("models/more.yml", "exposures:\n  - name: twice_v1\n    type: ml\n    owner: {name: A, email: a@b.c}\n"
               "    depends_on: [\"ref('doubled', v=1)\"]\n    config: {meta: {feature_service: {name: twice, version: 1, "
               "features: [{view: doubled.v1, features: [twice]}]}}}\n")  # fmt: skip
    shop.write("models/latest_doubled_v1.sql", "{{ feature_warehouse.latest_values(ref('doubled', v=1)) }}")
    shop.syncer("register")
    shop.git("checkout", "--quiet", "main")
    shop.commit("Serve twice of it")
    shop.git("checkout", "--quiet", "-b", "rate")
    shop.replace("dbt_project.yml", "rate: 1}", "rate: 3}")
    said = "\n".join(errors(shop))
    assert "doubled.v1: twice would get other values: the variable rate: 1 -> 3" in said
    assert "spending.v1: spent_7d, payments_7d would get other values: the variable rate: 1 -> 3" in said


# --- latest values, settings and names


LINE = "{{ feature_warehouse.latest_values(ref('spending', v=1)) }}"


@pytest.mark.parametrize(
    "text",
    [
        "-- the newest\n{{ config(materialized='view', tags=['online']) }}\n" + LINE,
        "{# as training joins #}\n{{ feature_warehouse.latest_values(relation=ref('spending', version=1)) }}",
        "{% set history = ref('spending', v=1) %}{{ feature_warehouse.latest_values(history) }}",
    ],
)
def test_a_latest_value_view_may_be_spelled_otherwise(shop: Repository, text: str) -> None:
    shop.write(LATEST, text)
    assert shop.try_syncer("check").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"select * replace (spent_7d * 2 as spent_7d) from ({LINE})",
            "is not what latest_values compiles to, so spending",
        ),
        (f"from ({LINE}) where customer_id > 1", "is not what latest_values compiles to"),
        ("{{ config(materialized='table') }}" + LINE, "is materialized as table, so that it would stand still"),
    ],
)
def test_a_latest_value_view_that_computes_is_refused(shop: Repository, text: str, said: str) -> None:
    shop.write(LATEST, text)
    assert any(said in line for line in refusals(shop, "check"))


def test_a_macro_of_the_projects_own_is_not_taken_for_latest_values(shop: Repository) -> None:
    shop.write(
        "macros/latest_values.sql",
        "{% macro latest_values(history) %}select * replace (spent_7d * 2 as spent_7d) "
        "from ({{ feature_warehouse.latest_values(history) }}){% endmacro %}",
    )
    shop.write(LATEST, LINE.replace("feature_warehouse.", ""))
    said = "is not what latest_values compiles to, so spending.v1 would serve other values than training joins"
    assert any(said in line for line in refusals(shop, "register"))


def test_a_setting_that_changes_values_is_judged(shop: Repository) -> None:
    shop.dbt("parse")
    shop.replace("profiles.yml", "{TimeZone: UTC}", "{TimeZone: UTC, integer_division: true, memory_limit: 1GB}")
    (refusal,) = errors(shop)
    assert "spent_7d, payments_7d would get other values: the setting integer_division: none -> true" in refusal
    (refusal,) = refusals(shop, "plan")
    assert "by other settings than those registered: the setting integer_division: none -> true" in refusal
    shop.syncer("register", "--accept-fix", "whole numbers were meant")
    assert shop.try_syncer("check").exit_code == 0


def test_a_setting_that_changes_no_value_passes_and_an_unknown_one_is_refused_by_name(shop: Repository) -> None:
    shop.replace("profiles.yml", "{TimeZone: UTC}", "{TimeZone: UTC, threads: 1, memory_limit: 1GB, s3_region: eu}")
    assert shop.try_syncer("check").exit_code == 0
    shop.replace("profiles.yml", "threads: 1,", "rounding_mode: up,")
    assert (
        "the profile makes the setting 'rounding_mode', and whether it changes values is not known"
        in shop.try_syncer("check").stderr
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{{ ref('payments') }}", "main.payments"),
        (
            "{{ ref('payments') }}",
            "(select * from {{ ref('payments') }} where amount < (select max(amount) from bounds))",
        ),
        ("{{ ref('payments') }}", "{{ ref('payments') }} semi join other.customers using (customer_id)"),
    ],
)
def test_what_is_read_by_its_name_is_refused(shop: Repository, before: str, after: str) -> None:
    shop.replace(STG, before, after)
    assert any("by its name, so that no change of it could be judged" in line for line in errors(shop))
    assert any("`stg_payments` reads " in line for line in refusals(shop, "register"))


def test_what_cannot_be_judged_is_served_for_a_reason(shop: Repository) -> None:
    shop.replace(STG, "select", "select {# target.type #} {{ '' if target.name == 'dev' else 'distinct' }}")
    warned = [line for line in shop.try_syncer("check").stderr.splitlines() if line.startswith("Warning: ")]
    assert "Warning: models/spending.yml: spending.v1: `stg_payments` is compared as text: it has hooks" in warned
    assert [line for line in warned if " asks " in line] == [
        "Warning: models/spending.yml: spending.v1: `stg_payments` asks target.name while it is compiled, so that its SQL "
        "may be another one elsewhere, and is judged as it is here"
    ]
    shop.replace(STG, "{{ ref('payments') }}", "main.payments")
    said = shop.syncer("register", "--accept-fix", "a view of it", "--accept-unjudged", "IT owns it").splitlines()
    by_name = "spending.v1: `stg_payments` reads main.payments by its name, so that no change of it could be judged"
    assert f"{by_name}: acknowledged: IT owns it" in said
    checked = shop.try_syncer("check")
    assert checked.stderr == ""
    assert checked.stdout.endswith(f"; judged: 0 features; not judged: 2, because {by_name} (IT owns it).\n")
    told = json.loads((shop.folder / "registry/registry.json").read_text())["acknowledged"]
    assert {one["reason"] for one in told} == {"IT owns it"}
    shop.replace(STG, "main.payments", "main.refunds")
    assert any("`stg_payments` reads main.refunds by its name" in line for line in errors(shop))


def test_there_has_to_be_something_to_acknowledge_and_a_reason(shop: Repository) -> None:
    assert refusals(shop, "register", "--accept-unjudged", " ") == ["Error: the reason of --accept-unjudged is empty"]
    shop.syncer("register", "--accept-unjudged", "hooks are reviewed by hand")
    (refusal,) = refusals(shop, "register", "--accept-unjudged", "again")
    assert refusal == "Error: there is nothing to accept: all is judged, or acknowledged"


def test_files_that_dbt_reads_as_a_source_are_one(shop: Repository) -> None:
    shop.write(
        "models/__lake.yml",
        "sources:\n  - name: lake\n    config: {meta: {external_location: \"read_csv('lake/{name}.csv', delim=',')\"}}\n    tables: [{name: paid, columns: [{name: customer_id}, {name: paid_at}, {name: amount}]}]\n",
    )
    shop.replace(STG, "{{ ref('payments') }}", "{{ source('lake', 'paid') }}")
    shop.syncer("register", "--accept-fix", "they come from the lake now")
    accepted = (shop.folder / "registry/sql/spending.v1.sql").read_text()
    assert "from source.lake.paid" in accepted
    assert "read_csv" not in accepted.partition("--- view")[0] + accepted.partition("--- model")[2]
    shop.git("checkout", "--quiet", "main")
    shop.commit("From the lake")
    shop.git("checkout", "--quiet", "-b", "later")
    shop.replace("models/__lake.yml", "lake/{name}", "s3://lake/{name}")
    assert shop.try_syncer("check").exit_code == 0
    shop.replace("models/__lake.yml", "delim=','", "delim=';'")
    assert any("config external_location of `source.lake.paid`" in line for line in errors(shop))


def test_a_latest_value_view_of_a_project_without_the_macro_is_refused(shop: Repository) -> None:
    shop.write(LATEST, "select * from {{ ref('spending', v=1) }}")
    shop.write("packages.yml", "packages: []\n")
    (shop.folder / "dbt_packages" / "feature_warehouse").unlink()
    assert any("is not what latest_values compiles to" in line for line in errors(shop))
