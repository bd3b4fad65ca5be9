"""A project of somebody else installs this repository as a dbt package: it gets macros and tests, and no flights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.projects import ROOT, messages
from tests.support.shop import Shop

SALES = """
select
    cast(shop as varchar) as shop,
    cast(event_at as timestamptz) as event_at,
    cast(known_at as timestamptz) as known_at,
    cast(sold_7d as bigint) as sold_7d,
    cast(share as double) as share
from
    (
        values
            ('corner', '2026-01-01 18:00:00+00', '2026-01-01 18:05:00+00', 10, 0.1),
            ('corner', '2026-01-02 18:00:00+00', '2026-01-04 09:00:00+00', 20, 0.2),  -- late: known two days after
            ('station', '2026-01-02 18:00:00+00', '2026-01-02 18:05:00+00', 5, null)
    ) as t(shop, event_at, known_at, sold_7d, share)
"""

SALES_YAML = """
models:
  - name: sales
    config:
      materialized: table
      contract: {enforced: true}
      meta:
        feature_view:
          entity: shop
          join_keys: [shop]
          event_timestamp: event_at
          available_at: known_at
          ttl: 30 days
    data_tests:
      - feature_warehouse.unique_history
      - feature_warehouse.zoned_timestamps
      - feature_warehouse.available_by_now
    columns:
      - {name: shop, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: sold_7d, data_type: bigint}
      - {name: share, data_type: double}
    versions: [{v: 1}]
"""

ORDERS = """
select cast(shop as varchar) as shop, cast(asked_at as timestamptz) as asked_at, cast(late as boolean) as late
from
    (
        values
            ('corner', '2026-01-03 12:00:00+00', true),
            ('corner', '2026-01-05 12:00:00+00', false),
            ('station', '2026-01-05 12:00:00+00', false),
            ('harbour', '2026-01-05 12:00:00+00', true)
    ) as t(shop, asked_at, late)
"""

TRAINING = """
{{ feature_warehouse.point_in_time_join(
    spine=ref('orders'), spine_timestamp='asked_at', feature_views=[ref('sales', v=1)]
) }}
"""

TRAINING_YAML = """
models:
  - name: training
    config: {materialized: table}
    data_tests:
      - feature_warehouse.same_rows_as_spine:
          arguments: {spine: ref('orders')}
      - feature_warehouse.no_future_features:
          arguments:
            spine: ref('orders')
            spine_timestamp: asked_at
            feature_views: ["ref('sales', v=1)"]

exposures:
  - name: lateness_v1
    type: ml
    owner: {name: Bakery, email: bakery@example.com}
    depends_on: ["ref('sales', v=1)"]
    config:
      meta: {feature_service: {name: lateness, version: 1, features: [{view: sales.v1, features: [sold_7d, share]}]}}
"""

SETTINGS = """
vars: {feature_warehouse_now: "2026-01-10T00:00:00Z"}
models:
  bakery:
    features: {+schema: features}
"""


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedServer) -> Shop:
    """Installed by `dbt deps`, built by `dbt build`, under a target called prod."""
    made = Shop(
        tmp_path_factory.mktemp("bakery"),
        {
            "models/features/sales_v1.sql": SALES,
            "models/features/sales.yml": SALES_YAML,
            "models/features/latest_sales_v1.sql": "{{ feature_warehouse.latest_values(ref('sales', v=1)) }}",
            "models/orders.sql": "{{ config(materialized='table') }}" + ORDERS,
            "models/training.sql": TRAINING,
            "models/training.yml": TRAINING_YAML,
        },
        name="bakery",
        target="prod",
        more=SETTINGS,
    )
    made.redis_url = redis_server.url
    (made.folder / "dbt_packages" / "feature_warehouse").unlink()
    made.dbt("deps")
    made.dbt("build")
    return made


def written(shop: Shop, name: str) -> Any:
    """What dbt's last run wrote into its target folder."""
    return json.loads((shop.folder / "target" / name).read_text())


@pytest.fixture(scope="module")
def manifest(bakery: Shop) -> Any:
    return written(bakery, "manifest.json")


def test_dbt_deps_installs_this_repository(bakery: Shop, manifest: Any) -> None:
    assert (bakery.folder / "dbt_packages" / "feature_warehouse").resolve() == ROOT
    assert "macro.feature_warehouse.point_in_time_join" in manifest["macros"]


@pytest.mark.parametrize("kind", ["nodes", "sources", "exposures", "unit_tests", "metrics", "semantic_models"])
def test_nothing_of_the_demo_is_enabled(kind: str, manifest: Any) -> None:
    ours = [id_ for id_, node in manifest[kind].items() if node["package_name"] == "feature_warehouse"]
    assert [id_ for id_ in ours if not id_.startswith("operation.")] == []  # what is built is written down everywhere


def test_nothing_of_the_demo_is_built_or_tested(bakery: Shop) -> None:
    kinds = Counter(
        tuple(result["unique_id"].split(".")[:2]) for result in written(bakery, "run_results.json")["results"]
    )
    hooks = {("operation", "feature_warehouse"): 2}  # which write nothing where nothing keeps rows of earlier runs
    assert kinds == {("model", "bakery"): 4, ("test", "bakery"): 5, ("exposure", "bakery"): 1, **hooks}
    relations = bakery.sql("select table_schema, table_name from information_schema.tables order by all")
    assert relations == [
        ("main", "orders"),
        ("main", "training"),
        ("main_features", "latest_sales_v1"),
        ("main_features", "sales_v1"),
    ]


def test_its_training_set_knows_what_was_known_then(bakery: Shop) -> None:
    rows = bakery.sql("select shop, asked_at::date::varchar, late, sold_7d, share from training order by all")
    assert rows == [
        ("corner", "2026-01-03", True, 10, 0.1),  # the newer value was not known yet
        ("corner", "2026-01-05", False, 20, 0.2),
        ("harbour", "2026-01-05", True, None, None),
        ("station", "2026-01-05", False, 5, None),
    ]


def test_it_registers_syncs_verifies_and_reads(bakery: Shop, redis_url: str) -> None:
    assert bakery.json("register")["views"] == ["sales.v1"]
    nothing: dict[str, Any] = {"problems": [], "warnings": [], "rebuild": [], "notes": [], "not_judged": []}
    assert bakery.json("check") == {**nothing, "judged": 2}
    synced = bakery.json("sync")
    assert (synced["namespace"], synced["views"][0]["rows"]) == ("bakery_prod", 2)
    assert bakery.json("verify")["differences"] == 0
    assert bakery.json("sync", "--select", "sales")["views"][0]["view"] == "sales.v1"
    assert bakery.json("get", "lateness", "shop=corner")["features"] == {"sold_7d": 20, "share": 0.2}
    with redis.Redis.from_url(redis_url) as client:
        assert set(client.keys()) == {
            b"bakery_prod:shop:corner",
            b"bakery_prod:shop:station",
            b"bakery_prod:#registry",
            b"bakery_prod:#markers",
            b"bakery_prod:#trail:changes",
            b"bakery_prod:#trail:syncs",
        }


@pytest.mark.parametrize(
    ("spoilt", "test"),
    [
        ("insert into main_features.sales_v1 from main_features.sales_v1 limit 1", "unique_history"),
        ("update main_features.sales_v1 set known_at = '2026-01-10 00:00:01+00'", "available_by_now"),
        ("alter table main_features.sales_v1 add column naive timestamp", "zoned_timestamps"),
        ("delete from training where shop = 'harbour'", "same_rows_as_spine"),
        ("update training set sold_7d = 20", "no_future_features"),
    ],
)
def test_each_of_our_tests_fails_where_it_should(spoilt: str, test: str, bakery: Shop, tmp_path: Path) -> None:
    copied = bakery.copied(tmp_path / "bakery", bakery.redis_url)
    copied.sql(spoilt)
    result = copied.try_dbt("test", "--select", f"test_name:{test}")
    assert not result.success
    assert "Got " in messages(result)
    assert len(result.result.results) == 1


def test_the_database_file_is_free_after_a_run(bakery: Shop) -> None:
    with duckdb.connect(str(bakery.database)) as connection:
        connection.execute("create or replace temp table t as select 1")
