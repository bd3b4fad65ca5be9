"""Views made with `rolling_features`, at the gate: judged by what the macro was called with, where they are its SQL."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.support.shop import CLOCK, Shop, latest

STAGING = """
select
    customer::varchar as customer, ordered_at::timestamptz as ordered_at, loaded_at::timestamptz as loaded_at,
    amount::bigint as amount, price::double as price, label::varchar as label
from {{ source('raw', 'orders') }}
"""

SOURCE = """
sources:
  - name: raw
    tables:
      - name: orders
        config: {meta: {retention: 90 days}}
        columns: [{name: customer}, {name: ordered_at}, {name: loaded_at}, {name: amount}, {name: price}, {name: label}]
"""

#: All ten aggregates: name, the others as they stand in the call, the type.
FEATURES = [
    ('"orders_7d", "aggregate": "count", "window": "7 days"', "bigint"),
    ('"priced_7d", "aggregate": "count", "column": "price", "window": "7 days"', "bigint"),
    ('"spent_7d", "aggregate": "sum", "column": "amount", "window": "7 days"', "bigint"),
    ('"paid_30d", "aggregate": "sum", "column": "price", "window": "30 days"', "double"),
    ('"mean_30d", "aggregate": "avg", "column": "amount", "window": "30 days"', "double"),
    ('"least_7d", "aggregate": "min", "column": "amount", "window": "7 days"', "bigint"),
    ('"most_7d", "aggregate": "max", "column": "2 * amount", "window": "7 days"', "bigint"),
    ('"spread_7d", "aggregate": "stddev", "column": "price", "window": "7 days"', "double"),
    ('"labels_7d", "aggregate": "count_distinct", "column": "label", "window": "7 days"', "bigint"),
    ('"free_30d", "aggregate": "rate", "condition": "price = 0 or label = \'*/ /* \'", "window": "30 days"', "double"),
    ('"last_7d", "aggregate": "last", "column": "label", "window": "7 days"', "varchar"),
    ('"latest_7d", "aggregate": "last_n", "column": "amount", "n": 3, "window": "7 days"', "bigint[]"),
]

CALL = """{{{{ feature_warehouse.rolling_features(
    events=ref("stg_orders"), join_keys=["customer"], event_timestamp="ordered_at", available_at="loaded_at",
    features=[
{features}
    ],{more}
) }}}}"""


def name_of(feature: str) -> str:
    return feature.split('"')[1]


def call(*added: str, more: str = "") -> str:
    features = [*(feature for feature, _ in FEATURES), *added]
    return CALL.format(features=",\n".join(f'        {{"name": {feature}}}' for feature in features), more=more)


def view(name: str, *added: str, more: str = "") -> str:
    columns = {name_of(feature): type_ for feature, type_ in FEATURES} | dict.fromkeys(map(name_of, added), "bigint")
    listed = "\n".join(f'      - {{name: {column}, data_type: "{type_}"}}' for column, type_ in columns.items())
    return f"""
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta:
        feature_view:
          {{entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at{more}}}
    columns:
      - {{name: customer, data_type: varchar}}
{listed}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: timestamptz}}
    versions: [{{v: 1}}]
"""


SERVED = ", ".join(name_of(feature) for feature, _ in FEATURES)
SERVICE = """
  - name: {view}_model_v1
    type: ml
    owner: {{name: Growth}}
    depends_on: ["ref('{view}', v=1)"]
    config:
      meta:
        feature_service: {{name: {view}_model, version: 1, features: [{{view: {view}.v1, features: [{served}]}}]}}
"""

#: As the guide has it.
INCREMENTAL = """{{ config(
    materialized="incremental", incremental_strategy="delete+insert", unique_key=["customer", "event_at"],
    on_schema_change="fail",
) }}
"""
SINCE = '\n    changed_since="(select max(known_at) from " ~ this ~ ")" if is_incremental() else none,'

VIEWS = ("growing", "orders", "short_lived", "wrapped")


def files_of(name: str, *added: str) -> dict[str, str]:
    """The SQL and the YAML of a view, with more features."""
    sql = call(*added, more=SINCE if name == "growing" else "")
    sql = {"growing": INCREMENTAL + sql, "wrapped": f"select * from (\n{sql}\n)"}.get(name, sql)
    yaml = view(name, *added, more=", ttl: 10 days" if name == "short_lived" else "")
    return {f"models/{name}_v1.sql": sql, f"models/{name}.yml": "models:" + yaml}


FILES = {
    "models/stg_orders.sql": STAGING,
    "models/sources.yml": SOURCE,
    **{path: text for name in VIEWS for path, text in files_of(name).items()},
    **{path: text for name in VIEWS for path, text in latest(name).items()},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Registered; but for the wrapped view, of which `last` is refused."""
    services = "".join(SERVICE.format(view=name, served=SERVED) for name in VIEWS if name != "wrapped")
    files = FILES | {"models/services.yml": "exposures:" + services}
    made = Shop(tmp_path_factory.mktemp("gate"), files, more=CLOCK)
    for path in ("models/wrapped_v1.sql", "models/wrapped.yml", "models/latest_wrapped_v1.sql"):
        made.remove(path)
    made.first = made.try_syncer("register")  # type: ignore[attr-defined]
    return made


@pytest.fixture
def shop(prepared: Shop, tmp_path: Path) -> Shop:
    folder = tmp_path / "shop"
    shutil.copytree(prepared.folder, folder, symlinks=True)
    made = copy.copy(prepared)
    made.folder, made.database = folder, folder / "shop.duckdb"
    return made


def refused(result: Result) -> list[str]:
    """The errors, without their hints and the SQL."""
    assert result.exit_code == 1, result.output
    return [line for line in result.stderr.splitlines() if line.startswith(("Error: ", "Warning: "))]


def keeps(features: str) -> str:
    """What is said beside a refusal of the view that keeps rows of earlier runs."""
    return f"Warning: growing.v1: {features}: `growing_v1` keeps rows from before this change, in each target"


AGREES = "The registry agrees: feature view versions 3, service versions 3; judged: 36 features.\n"


def add(shop: Shop, feature: str, *views: str) -> None:
    for name in views:
        for path, text in files_of(name, feature).items():
            shop.write(path, text)


def test_every_aggregate_registers_and_nothing_is_warned_of(prepared: Shop) -> None:
    first: Any = prepared.first  # type: ignore[attr-defined]
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    assert {f"growing.v1: {name_of(feature)} is served as field" for feature, _ in FEATURES} <= {
        line.rpartition(" ")[0] for line in first.stdout.splitlines()
    }
    checked = prepared.try_syncer("check")
    assert (checked.stderr, checked.stdout) == ("", AGREES)


def test_a_new_feature_is_additive_for_its_neighbours(shop: Shop) -> None:
    add(shop, '"orders_14d", "aggregate": "count", "window": "14 days"', "orders", "growing")
    add(shop, '"fewer_7d", "aggregate": "min", "column": "amount + 1", "window": "7 days"', "short_lived")
    checked = shop.try_syncer("check")
    assert (checked.stderr, checked.stdout) == ("", AGREES)
    assert shop.syncer("register").splitlines()[:3] == [
        f"{name}.v1: SQL accepted anew, of the same values" for name in ("growing", "orders", "short_lived")
    ]


def test_a_ttl_counts_from_the_rows_at_the_ends_of_all_windows(shop: Shop) -> None:
    """A value that would have been too old holds on with each row that another window adds."""
    add(shop, '"orders_14d", "aggregate": "count", "window": "14 days"', "short_lived")
    (said,) = refused(shop.try_syncer("check"))
    assert said == (
        f"Error: short_lived.v1: {SERVED} would get other values: rows at the ends of windows, from which its ttl "
        "counts: 7 days, 30 days -> 7 days, 14 days, 30 days in `short_lived_v1`"
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '"avg", "column": "amount", "window": "30 days"',
            '"avg", "column": "amount", "window": "60 days"',
            "mean_30d would get other values: window 30 days -> 60 days in `orders_v1`",
        ),
        ('"n": 3', '"n": 4', "latest_7d would get other values: n 3 -> 4 in `orders_v1`"),
        ('"min"', '"max"', "least_7d would get other values: aggregate min -> max in `orders_v1`"),
        (
            '"2 * amount"',
            '"3 * amount"',
            "most_7d would get other values: `most_7d` 2 * amount -> 3 * amount in `events of orders_v1`",
        ),
        ('"2 * amount"', '"amount * 2"', None),
        ('"7 days"},\n        {"name": "priced', '"168 hours"},\n        {"name": "priced', None),
    ],
)
def test_a_change_is_told_of_the_features_that_have_it(shop: Shop, old: str, new: str, says: str | None) -> None:
    shop.replace("models/orders_v1.sql", old, new)
    result = shop.try_syncer("check")
    if says is None:
        assert (result.stderr, result.stdout) == ("", AGREES)
        return
    assert refused(result) == [f"Error: orders.v1: {says}"]
    changed = [line for line in result.stderr.splitlines() if re.match(r"[-+] *\S", line)]
    assert len(changed) == 4  # the names of both sides, and the line that was changed


def test_what_changes_above_the_macro_is_told_as_ever(shop: Shop) -> None:
    shop.write("models/stg_orders.sql", STAGING + "where amount > 0")
    said = refused(shop.try_syncer("check"))
    assert said == [
        keeps(SERVED),
        *(
            f"Error: {name}.v1: {SERVED} would get other values: filter added in `stg_orders`: amount > 0"
            for name in ("growing", "orders", "short_lived")
        ),
    ]


def test_a_registry_from_before_there_were_arguments_in_it_is_read(shop: Shop) -> None:
    """The macro said no more than its windows then, and put no name in quotes."""
    path = "registry/sql/orders.v1.sql"
    text = (shop.folder / path).read_text()
    spans = ", ".join(f"{name_of(f)} {int(f.split()[-2].strip(chr(34))) * 86400}s" for f, _ in FEATURES)
    before = re.sub(r"/\* rolling_features 1\n.*?\*/", f"/* look-back: {spans} */", text, flags=re.DOTALL)
    lines = [line if line.startswith("---") else re.sub(r'"(\w+)"', r"\1", line) for line in before.splitlines()]
    before = "\n".join(lines) + "\n"
    assert before.count("look-back") == 1
    assert len(before) < len(text) - 1000
    shop.write(path, before)
    shop.replace(
        "models/orders_v1.sql",
        '"avg", "column": "amount", "window": "30 days"',
        '"avg", "column": "amount", "window": "5 days"',
    )
    add_to = (shop.folder / "models/orders_v1.sql").read_text()
    shop.write(
        "models/orders_v1.sql",
        add_to.replace(
            "features=[\n", 'features=[\n        {"name": "orders_14d", "aggregate": "count", "window": "14 days"},\n'
        ),
    )
    shop.write("models/orders.yml", "models:" + view("orders", '"orders_14d"'))
    assert refused(shop.try_syncer("check")) == [
        "Error: orders.v1: mean_30d would get other values: window 30 days -> 5 days in `orders_v1`"
    ]


# --- what is not believed


@pytest.mark.parametrize(
    "edit",
    [
        # a word of the macro's SQL is another one, under the same comment
        call().replace("{{ ", '{{ (').replace("\n) }}", "\n)) | replace('__next_at is null or', 'true or') }}"),
        # more words
        call() + "\nwhere customer <> 'x'",
        # the comment alone
        "{% set made = " + call()[3:-3] + " %}{{ made.split('*/')[0] ~ '*/' }} select customer, "
        + ", ".join(f"null::{type_} as {name_of(feature)}" for feature, type_ in FEATURES)
        + ", ordered_at as event_at, loaded_at as known_at from {{ ref('stg_orders') }}",
    ],
    ids=["another word", "more words", "the comment alone"],
)  # fmt: skip
def test_sql_that_is_not_the_macros_is_judged_as_sql(shop: Shop, edit: str) -> None:
    shop.write("models/orders_v1.sql", edit)
    said = refused(shop.try_syncer("check"))
    assert any(line.startswith("Error: orders.v1: ") and "would get other values" in line for line in said), said
    assert not any("aggregate" in line or "events of" in line for line in said)


def test_a_form_of_the_macro_that_is_another_packages_is_judged_as_sql(shop: Shop) -> None:
    """Whatever it gives, it gives to both sides; what it means, nobody knows."""
    form = """
{% macro duckdb__rolling_select(events, join_keys, event_timestamp, available_at, plan, changed_since) %}
select customer, VALUE ordered_at as event_at, loaded_at as known_at from {{ events }}
{% endmacro %}
"""
    values = " ".join(f"amount::{type_} as {name_of(feature)}," for feature, type_ in FEATURES)
    shop.write("macros/form.sql", form.replace("VALUE", values))
    project = (shop.folder / "dbt_project.yml").read_text()
    order = "dispatch: [{macro_namespace: feature_warehouse, search_order: [shop, feature_warehouse]}]\n"
    shop.write("dbt_project.yml", project + order)
    said = refused(shop.try_syncer("check"))
    assert len([line for line in said if "would get other values" in line]) == 3
    shop.syncer("register", "--accept-fix", "a form of our own")
    shop.replace(
        "models/orders_v1.sql", '"column": "amount", "window": "30 days"', '"column": "amount", "window": "60 days"'
    )
    assert "agrees" in shop.syncer("check")  # it does not look at windows
    shop.replace("macros/form.sql", "amount::bigint as orders_7d", "2 * amount::bigint as orders_7d")
    warned, *said = refused(shop.try_syncer("check"))
    assert warned == keeps("orders_7d")
    assert [line.partition(" would get other values: ")[0] for line in said] == [
        f"Error: {name}.v1: orders_7d" for name in ("growing", "orders", "short_lived")
    ]


def test_what_is_written_around_the_macro_brings_no_warning_about_it(shop: Shop) -> None:
    for path in ("models/wrapped_v1.sql", "models/wrapped.yml", "models/latest_wrapped_v1.sql"):
        shop.write(path, FILES[path])
    named = ["wrapped.v1", "error()"]
    checked = shop.try_syncer("check")
    assert not [line for line in checked.stderr.splitlines() if all(word in line for word in named)], checked.stderr


# --- what else is known of it


def test_lineage_and_look_back_are_the_declarations(shop: Shop) -> None:
    steps = {step["id"]: step for step in shop.json("lineage", "orders.v1")["steps"]}
    assert steps["orders.v1.mean_30d"]["look_back"] == "30 days"
    assert steps["orders.v1.last_7d"]["look_back"] == "7 days"
    edges = shop.json("lineage", "orders.v1.free_30d")["edges"]
    above = {(edge["from"].rpartition(".")[2], edge.get("by")) for edge in edges if edge["to"] == "orders.v1.free_30d"}
    assert above == {
        ("price", "value"), ("label", "value"), ("customer", "rows"), ("ordered_at", "rows"), ("loaded_at", "rows"),
    }  # fmt: skip


def test_a_window_beyond_what_its_source_keeps_is_refused(shop: Shop) -> None:
    shop.replace("models/sources.yml", "90 days", "20 days")
    said = refused(shop.try_syncer("check"))
    assert [line.partition(": it looks back")[0].rpartition("feature ")[2] for line in said] == [
        f"'{name}'" for _ in range(3) for name in ("paid_30d", "mean_30d", "free_30d")
    ]
    assert all("it looks back 30 days into source.raw.orders, which is kept for 20 days" in line for line in said)


def test_the_later_runs_of_an_incremental_view_are_part_of_it(shop: Shop) -> None:
    shop.replace("models/growing_v1.sql", "delete+insert", "append")
    warned, said = refused(shop.try_syncer("check"))
    assert warned == keeps(SERVED)
    assert "would get other values: later runs delete+insert" in said
    shop.replace("models/growing_v1.sql", "append", "delete+insert")
    shop.replace("models/growing_v1.sql", "max(known_at)", "min(known_at)")
    warned, said = refused(shop.try_syncer("check"))
    assert warned == keeps(SERVED)
    assert "since ( select min ( known_at ) from ref . growing_v1 )" in said
    # an instant that a clock gives: what the table then holds is not what the macro's arguments say
    shop.replace("models/growing_v1.sql", '"(select min(known_at) from " ~ this ~ ")"', '"now()"')
    said = " ".join(refused(shop.try_syncer("check")))
    assert "growing.v1" in said
    assert "later runs" not in said
