"""Incremental models and snapshots that keep rows of before a change: told of, per target, until they are rebuilt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shop import Shop, latest

NOW = "2026-01-10T00:00:00Z"

EVENTS = """
select * from (
    values
        ('anna', 10.0, 8.0, timestamptz '2026-01-01 09:00:00+00'),
        ('ben', 5.0, 4.0, timestamptz '2026-01-02 09:00:00+00')
) as o(customer, amount, net, t)
where t <= {{ current }}
"""

FCT = """
{{ config(materialized="incremental", unique_key=["customer", "t"], on_schema_change="append_new_columns") }}
select customer, amount, t from {{ ref("events") }}
{% if is_incremental() %} where t > (select max(t) from {{ this }}) {% endif %}
"""

ORDERS = "select customer, amount, t as event_at from {{ ref('fct') }}"

YAML = """
models:
  - name: {name}
    config:
      materialized: table
      contract: {{enforced: true}}
      meta:
        feature_view: {{entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: none}}
    columns:
      - {{name: customer, data_type: varchar}}
      - {{name: {feature}, data_type: double}}
      - {{name: event_at, data_type: timestamptz}}
    versions: [{{v: 1}}]
"""

SERVICE = """
exposures:
  - name: {name}
    type: ml
    owner: {{name: Growth}}
    depends_on: ["ref('{view}', v=1)"]
    config:
      meta:
        feature_service: {{name: {name}, version: 1, features: [{{view: {view}.v1, features: [{feature}]}}]}}
"""

PLANS = "select customer, net, t from {{ ref('events') }} where net > 1"
SNAPSHOT = """
snapshots:
  - {name: plans_kept, relation: ref('plans'), config: {unique_key: customer, strategy: timestamp, updated_at: t}}
"""
PLAN = "select customer, net::double as net, dbt_valid_from::timestamptz as event_at from {{ ref('plans_kept') }}"

FILES = {
    "models/events.sql": EVENTS.replace("{{ current }}", f"timestamptz '{NOW}'"),
    "models/fct.sql": FCT,
    "models/orders_v1.sql": ORDERS.replace("amount,", "amount::double as amount,"),
    "models/orders.yml": YAML.format(name="orders", feature="amount"),
    "models/churn.yml": SERVICE.format(name="churn", view="orders", feature="amount"),
    "models/plans.sql": PLANS,
    "snapshots/plans.yml": SNAPSHOT,
    "models/plan_v1.sql": PLAN,
    "models/plan.yml": YAML.format(name="plan", feature="net"),
    "models/value.yml": SERVICE.format(name="value", view="plan", feature="net"),
    **latest("orders"),
    **latest("plan"),
}

REFRESH = "dbt build --full-refresh --select fct+"
MORE = f'vars: {{feature_warehouse_now: "{NOW}"}}\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Built in two targets, and registered."""
    shop = Shop(tmp_path_factory.mktemp("rebuild") / "shop", FILES, more=MORE)
    profiles = (shop.folder / "profiles.yml").read_text()
    dev = profiles[profiles.index("    dev:\n") :]
    shop.write("profiles.yml", profiles + dev.replace("dev:", "prod:").replace("shop.duckdb", "prod.duckdb"))
    for target in ("prod", "dev"):
        shop.dbt("build", "--target", target)
    shop.syncer("register")
    return shop


@pytest.fixture
def shop(built: Shop, tmp_path: Path, redis_url: str) -> Shop:
    return built.copied(tmp_path / "shop", redis_url)


def rebuild(shop: Shop, *target: str) -> list[tuple[str, list[str], str]]:
    """What `syncer status` says has to be built anew."""
    said = json.loads(shop.syncer("status", "--json", *target))["rebuild"]
    return [(one["view"], one["features"], one["command"]) for one in said if one["certain"]]


def test_an_accepted_fix_is_told_of_in_each_target_until_the_model_was_built_anew_there(shop: Shop) -> None:
    shop.syncer("sync")
    shop.replace("models/fct.sql", "amount, t from", "amount * 1.19 as amount, t from")
    done = shop.try_syncer("register", "--accept-fix", "the tax was missing")
    assert done.exit_code == 0
    assert (
        f"orders.v1: amount: `fct` keeps rows from before this change, in each target\nHint: build anew: `{REFRESH}`"
        in (done.stderr)
    )
    [fix] = json.loads((shop.folder / "registry" / "registry.json").read_text())["fixes"]
    assert (fix["reason"], fix["features"]) == ("the tax was missing", ["amount"])
    prod = ("--target", "prod")
    shop.dbt("build", *prod)
    assert rebuild(shop, *prod) == [("orders.v1", ["amount"], REFRESH)]
    shop.dbt("build", "--full-refresh", "--select", "fct+", *prod)
    assert rebuild(shop, *prod) == []
    assert "fct" not in shop.try_syncer("check", *prod).output + shop.try_syncer("plan", *prod).output

    shop.dbt("build")
    assert rebuild(shop) == [("orders.v1", ["amount"], REFRESH)]
    assert shop.sql("select amount::double from fct where customer = 'anna'") == [(10.0,)]
    behind = "orders.v1: amount: `fct` has rows from before what is accepted now, in the target 'dev'"
    assert behind in shop.try_syncer("check").stderr
    assert f"{behind}; build anew: `{REFRESH}`." in shop.syncer("status")
    assert shop.try_syncer("status", "--check").exit_code == 1
    synced = shop.try_syncer("sync")  # what is online stays what it was
    assert (synced.exit_code, behind in synced.stderr) == (0, True)


def test_a_new_feature_is_not_served_before_its_history_is_there(shop: Shop) -> None:
    shop.syncer("sync")
    shop.replace("models/fct.sql", "amount, t from", "amount, net, t from")
    shop.replace("models/orders_v1.sql", "amount::double as amount,", "amount::double as amount, net::double as net,")
    shop.replace("models/orders.yml", "- {name: event_at", "- {name: net, data_type: double}\n      - {name: event_at")
    shop.replace("models/churn.yml", "features: [amount]", "features: [amount, net]")
    assert f"Hint: build anew: `{REFRESH}`" in shop.try_syncer("register").stderr
    shop.dbt("build")
    assert shop.sql("select net from fct where customer = 'anna'") == [(None,)]
    assert rebuild(shop) == [("orders.v1", ["net"], REFRESH)]
    refused = shop.try_syncer("sync")
    assert refused.exit_code == 1
    assert "net would go online without its history: orders.v1: net: `fct` has rows from before" in refused.stderr
    assert f"`{REFRESH}`; or give --allow-unbuilt" in refused.stderr
    shop.dbt("build", "--full-refresh", "--select", "fct+")
    assert shop.syncer("sync")
    assert rebuild(shop) == []


def test_a_snapshot_is_told_of_until_its_older_rows_are_taken_as_they_are(shop: Shop) -> None:
    shop.replace("models/plans.sql", "net, t", "net * 2 as net, t")
    said = shop.try_syncer("register", "--accept-fix", "it was half of it").stderr
    assert "plan.v1: net: `plans_kept` keeps rows from before this change, in each target" in said
    assert "what `plans_kept` recorded cannot be built anew" in said
    shop.dbt("build", "--full-refresh")
    assert rebuild(shop) == [("plan.v1", ["net"], "")]
    assert "net would go online without its history" in shop.try_syncer("sync").stderr
    assert "without its history" not in shop.try_syncer("plan", "--allow-unbuilt").stderr
    accepted = shop.syncer("register", "--accept-unbuilt", "nobody trained on last year")
    assert "plan.v1: net: older rows stay: nobody trained on last year" in accepted
    assert rebuild(shop) == []
    assert shop.syncer("sync")
    again = shop.try_syncer("register", "--accept-unbuilt", "once more")
    assert (again.exit_code, "there is nothing to accept" in again.stderr) == (1, True)


def test_a_warehouse_without_a_record_knows_nothing_and_says_what_to_do(shop: Shop) -> None:
    shop.sql("drop table feature_warehouse_builds")
    assert rebuild(shop) == []
    said = shop.syncer("status")
    assert (
        "orders.v1: amount: whether `fct` was built with what is accepted is not known in the target 'dev'; "
        f"build anew: `{REFRESH}`."
    ) in said
    assert shop.syncer("sync")


def test_of_a_run_that_was_killed_nobody_knows_what_it_left(shop: Shop) -> None:
    written = (shop.folder / "models" / "fct.sql").read_text()
    endless = "select max(a.range * b.range) from range(1000000000) as a, range(1000000000) as b"
    shop.write("models/fct.sql", written.replace("{{ config(", f"{{{{ config(pre_hook='{endless}', ", 1))
    command = [str(Path(sys.executable).with_name("dbt")), "build", "--select", "fct", "--no-use-colors"]
    with subprocess.Popen(command, cwd=shop.folder, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any("START sql incremental model" in line for line in run.stdout)
        run.kill()
    shop.write("models/fct.sql", written)
    assert shop.sql("select node, how from feature_warehouse_builds where how like 'begun%'") == [
        ("model.shop.fct", "begun")
    ]
    shop.dbt("build")  # the table above now holds what the killed run may have left
    assert rebuild(shop) == []
    unknown = "orders.v1: amount: whether `fct` was built with what is accepted is not known in the target 'dev'"
    assert unknown in shop.syncer("status")
    shop.dbt("build", "--full-refresh", "--select", "fct+")
    assert unknown not in shop.syncer("status")
    count = "select count(*) from feature_warehouse_builds"
    before = shop.sql(count)
    shop.dbt("build")
    once = shop.sql(count)
    shop.dbt("build")
    assert once > before  # the first later run of fct
    assert shop.sql(count) == once  # and then no row more, as long as nothing is new
