"""Batch scoring gives what a sync at the same instant serves: value by value, against the client reading Redis."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_warehouse import FeatureClient, get_historical_features
from feature_warehouse.errors import DataError, RequestError, SyncerError, WarehouseError
from feature_warehouse.training.batch import BatchFeatures, get_batch_features
from tests.support.shop import Shop, inside, latest

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      materialized: table
      meta: {{feature_view: {{entity: {entity}, join_keys: [{keys}], event_timestamp: event_at, {meta}}}}}
    columns:
{columns}
    versions: [{{v: 1}}]
"""

#: name -> (entity, join keys, metadata)
VIEWS = {
    "orders": ("customer", "k, region", "available_at: known_at, ttl: 60 minutes"),
    "accounts": ("customer", "k, region", "available_at: known_at, deleted: gone, ttl: 45 minutes"),
    "delayed": ("customer", "k, region", "available_at: known_at, sync_delay: 30 minutes"),
    "regions": ("region", "region", "available_at: none, ttl: 90 minutes"),
}

COLUMNS = {
    "k": "varchar",
    "region": "integer",
    "event_at": "timestamptz",
    "known_at": "timestamptz",
    "gone": "boolean",
    "amount": "bigint",
    "price": "decimal(18,4)",
    "ratio": "double",
    "recent": "double[]",
    "day": "date",
    "seen_at": "timestamptz",
    "note": "varchar",
}

FEATURES = ["amount", "price", "ratio", "recent", "day", "seen_at", "note"]

SERVICES = """
exposures:
  - name: churn_v1
    type: ml
    owner: {{name: growth, email: growth@example.com}}
    depends_on: ["ref('orders', v=1)", "ref('accounts', v=1)", "ref('delayed', v=1)", "ref('regions', v=1)"]
    config: {{meta: {{feature_service: {{name: churn, version: 1, features: [{reads}],
      request: {{total: double}},
      on_demand: [{{name: share, data_type: double, expression: orders_ratio / total}}]}}}}}}
  - name: move_v1
    type: ml
    owner: {{name: growth, email: growth@example.com}}
    depends_on: ["ref('regions', v=1)"]
    config: {{meta: {{feature_service: {{name: move, version: 1, features: [
      {{view: regions.v1, features: [amount], keys: {{region: here}}, prefix: here_}},
      {{view: regions.v1, features: [amount], keys: {{region: there}}, prefix: there_}}]}}}}}}
"""

EMPTY = "select " + ", ".join(f"null::{type_} as {name}" for name, type_ in COLUMNS.items()) + " where false"


def columns_of(view: str) -> list[str]:
    own = ["k", "gone"] if view == "regions" else [] if view == "accounts" else ["gone"]
    own += ["known_at"] if view == "regions" else []
    return [name for name in COLUMNS if name not in own]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    reads = ", ".join(f"{{view: {view}.v1, features: [{', '.join(FEATURES)}], prefix: {view}_}}" for view in VIEWS)
    files = {"models/services.yml": SERVICES.format(reads=reads)}
    yaml = "models:"
    for view, (entity, keys, meta) in VIEWS.items():
        columns = columns_of(view)
        files[f"models/{view}_v1.sql"] = f"select {', '.join(columns)} from ({EMPTY})"
        files |= latest(view)
        listed = "\n".join(f'      - {{name: {name}, data_type: "{COLUMNS[name]}"}}' for name in columns)
        yaml += VIEW.format(name=view, entity=entity, keys=keys, meta=meta, columns=listed)
    files["models/views.yml"] = yaml
    shop = Shop(tmp_path_factory.mktemp("batch"), files)
    shop.dbt("build")
    shop.syncer("register")
    return shop


def fill(shop: Shop, seed: int) -> None:
    """Random histories: ties, late and forward-dated rows, tombstones, expired and NULL values, NULLs in keys."""
    draw = random.Random(seed)

    def moment() -> datetime | None:
        shift = timedelta(minutes=15 * draw.randrange(17), microseconds=draw.choice([0, 0, 0, -1, 1]))
        return None if draw.random() < 0.03 else START + shift

    rows: dict[str, dict[Any, dict[str, Any]]] = {view: {} for view in VIEWS}
    for view in VIEWS:
        for i in range(120):
            row = {
                "k": draw.choice(["a", "b", "A", "", "a|b", None]),
                "region": draw.choice([1, 2, 3, None]),
                "event_at": moment(),
                "known_at": moment(),
                "gone": draw.choice([None, False, False, True]),
                "amount": draw.choice([None, 0, -1, 2**53 + 1, i]),
                "price": draw.choice([None, i / 4]),
                "ratio": draw.choice([None, 0.0, -0.0, math.nan, math.inf, i / 3]),
                "recent": draw.choice([None, [], [float(i), i / 7]]),
                "day": draw.choice([None, datetime(2026, 1, 1 + i % 28).date()]),
                "seen_at": draw.choice([None, START + timedelta(seconds=i, microseconds=i)]),
                "note": draw.choice([None, "", f"Zürich {i}"]),
            }
            row = {name: row[name] for name in columns_of(view)}
            rows[view][row.get("k"), row["region"], row["event_at"], row.get("known_at")] = row
        # One that every latest-value view has at every instant: an empty one is refused.
        sure = dict.fromkeys(columns_of(view)) | {"region": 9, "event_at": START - timedelta(minutes=5), "amount": 9}
        sure |= {name: value for name, value in {"k": "sure", "known_at": START}.items() if name in sure}
        for hour in range(10):
            event = START + timedelta(minutes=30 * hour - 5)
            again = sure | {"event_at": event} | ({"known_at": event} if "known_at" in sure else {})
            rows[view]["sure", hour] = again
    statements = []
    for view, of_view in rows.items():
        values = ", ".join(f"({', '.join(map(literal, row.values()))})" for row in of_view.values())
        statements += [f"delete from {view}_v1", f"insert into {view}_v1 values {values}"]
    shop.sql(*statements)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{value}'::double"
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::double"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]::double[]"
    return "'" + str(value).replace("'", "''") + "'"


def batch(shop: Shop, service: str, as_of: datetime | None = None, **more: Any) -> BatchFeatures:
    return get_batch_features(service, as_of=as_of, project_dir=shop.folder, profiles_dir=shop.folder, **more)


def rows_of(shop: Shop, features: Any) -> list[dict[str, Any]]:
    with inside(shop.folder):
        return features.to_arrow().to_pylist()


def comparable(value: Any) -> Any:
    """A value such that equal texts mean equal values: NaN equals itself, -0.0 is not 0.0, True is not 1."""
    return repr(value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else value)


INSTANTS = [
    START + timedelta(minutes=60),
    START + timedelta(minutes=150, microseconds=1),
    START + timedelta(minutes=240),
]


@pytest.mark.parametrize("seed", range(2))
def test_every_value_is_what_a_sync_serves(made: Shop, redis_url: str, seed: int) -> None:
    fill(made, seed)
    made.redis_url = redis_url
    keys = [(k, region) for k in ("a", "b", "A", "", "a|b", "sure", "nobody", None) for region in (1, 2, 3, 9, None)]
    asked = [{"k": k, "region": region, "id": i, "total": float(i)} for i, (k, region) in enumerate(keys)]
    statuses: set[str] = set()
    for at in INSTANTS:
        with inside(made.folder):
            made.syncer("sync", "--as-of", at.isoformat(), "--allow-shrink", "1")
            found = batch(made, "churn", at, entities=pa.Table.from_pylist(asked)).to_arrow()
        with FeatureClient(redis_url, "shop_dev") as client:
            online = client.get_online_features("churn", asked)
        statuses.update(status for row in online.statuses for status in row)
        assert found.column("id").to_pylist() == [row["id"] for row in asked]
        assert found.schema.names == ["k", "region", "id", "total", *online.names]
        for name, served in online.to_dict().items():
            batched = found.column(name).to_pylist()
            assert list(map(comparable, batched)) == list(map(comparable, served)), (at, name)
    assert statuses == {"present", "null", "missing"}


@pytest.mark.parametrize("at", INSTANTS)
def test_training_at_one_instant_agrees_where_nothing_is_delayed(made: Shop, at: datetime) -> None:
    """`delayed` is known to training half an hour later; everything else is the same."""
    fill(made, 7)
    entities = (
        "select k, region from (values ('a'), ('b'), ('A'), ('sure')) as k(k), (values (1), (2), (9)) as r(region)"
    )
    folders: dict[str, Any] = {"project_dir": made.folder, "profiles_dir": made.folder}
    with inside(made.folder):
        spine = f"select *, 7.0::double as total, timestamptz '{at.isoformat()}' as asked_at from ({entities})"
        trained = get_historical_features(spine, "churn", timestamp="asked_at", **folders).to_arrow()
        batched = batch(made, "churn", at, entities=f"select *, 7.0::double as total from ({entities})").to_arrow()
    assert set(batched.schema.names) == set(trained.schema.names) - {"asked_at"}
    assert "share" in batched.schema.names
    for name in batched.schema.names:
        if not name.startswith("delayed_"):
            assert signless(batched.column(name)) == signless(trained.column(name)), name


def signless(column: pa.ChunkedArray) -> list[Any]:
    """The values; DuckDB's ASOF join of a few rows makes 0.0 of -0.0 within a struct."""
    return [comparable(0.0 if isinstance(value, float) and value == 0 else value) for value in column.to_pylist()]


def test_all_entities_are_those_with_a_value(made: Shop) -> None:
    fill(made, 3)
    at = INSTANTS[0]
    found = rows_of(made, batch(made, "churn", at))
    online = made.sql(
        f"set variable feature_warehouse_now = '{at.isoformat()}'",
        "select k, region from latest_orders_v1 union select k, region from latest_accounts_v1 "
        "union select k, region from latest_delayed_v1 order by all",
    )
    assert [(row["k"], row["region"]) for row in found] == online
    assert len(online) > 5
    assert any(row["regions_amount"] is not None for row in found)  # a view found by fewer keys is joined all the same


def test_the_clock_of_the_project_is_the_default(shop: Shop, redis_url: str) -> None:
    """And a service of one entity needs no rows."""
    shop.syncer("sync")
    found = rows_of(shop, batch(shop, "churn@1"))
    assert [row["customer_id"] for row in found] == [1, 2, 3, 5]
    with FeatureClient(redis_url, "shop_dev") as client:
        online = client.get_online_features("churn@1", found)
    assert [{name: row[name] for name in online.names} for row in found] == online.rows()


@pytest.mark.parametrize(
    ("service", "more", "error", "words"),
    [
        ("move", {}, RequestError, "move@1 is read by here, there, and no feature view says which of them go together"),
        (
            "move",
            {"entities": "select 1 as here"},
            RequestError,
            "have no column 'there', by which regions.v1 is found",
        ),
        ("move", {"entities": "select 1 as here, 'x' as there"}, RequestError, "'there' is a text (VARCHAR)"),
        ("churn", {"as_of": datetime(2026, 1, 1)}, RequestError, "names no instant"),
        ("chrun", {}, RequestError, "there is no feature service 'chrun'"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(
    made: Shop, service: str, more: dict[str, Any], error: type[SyncerError], words: str
) -> None:
    with pytest.raises(error) as refused, inside(made.folder):
        batch(made, service, **more).to_arrow()
    assert words in refused.value.message
    assert refused.value.hint


def test_a_latest_view_that_repeats_an_entity_is_refused(made: Shop) -> None:
    fill(made, 4)
    view = made.sql("select sql from duckdb_views() where view_name = 'latest_orders_v1'")[0][0]
    made.sql("create or replace view latest_orders_v1 as select * from orders_v1")
    try:
        with (
            pytest.raises(DataError, match=r"latest-value view of orders\.v1 has two rows of one key"),
            inside(made.folder),
        ):
            batch(made, "churn", INSTANTS[0]).to_arrow()
        made.sql("drop view latest_orders_v1")
        with pytest.raises(WarehouseError), inside(made.folder):
            batch(made, "churn", INSTANTS[0]).to_arrow()
    finally:
        made.sql("drop view if exists latest_orders_v1", view)


def test_the_command_writes_it(shop: Shop, tmp_path: Path) -> None:
    output = tmp_path / "scores.parquet"
    asked = ["batch", "transfer", "--entities", "select 'north' as source, 'south' as target, 'A-1' as sku"]
    said = shop.syncer(*asked, "--as-of", "2026-01-09T09:00:00Z", "-o", str(output))
    assert said == f"1 row written to {output}, as of 2026-01-09T09:00:00Z.\n"
    (row,) = pq.read_table(output).to_pylist()
    assert (row["source_in_stock"], row["target_in_stock"]) == (40, 0)
    assert shop.json(*asked, "-o", str(output)) == {
        "rows": 1,
        "path": str(output),
        "as_of": "2026-01-10T00:00:00+00:00",
    }
