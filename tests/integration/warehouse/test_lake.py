"""History in a DuckLake on object storage: read while dbt writes, and read again as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_warehouse.training.provenance import manifest_path, read_manifest
from tests.support import lake as lakes
from tests.support.lake import Lake
from tests.support.movable import FILES
from tests.support.wanted import want

if TYPE_CHECKING:
    from feature_warehouse.store.embedded import EmbeddedServer
    from tests.support.postgres import Postgres

SPINE = (
    "select * from (values (1::bigint, timestamptz '2026-01-05 12:00:00+00', 1.0::double), "
    "(2, timestamptz '2026-01-09 12:00:00+00', 2.0)) as t(customer_id, asked_at, amount) order by all"
)

#: A model that dbt-duckdb writes into a file of its own, beside the lake: all that is in the lake is a view of it.
OUTSIDE = "{{ config(materialized='external', location='s3://features/outside/stock.parquet') }}\n"

READ = "select whole from lake.main.orders_v1 where known_at = timestamptz '2026-01-05 09:00:00+00'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake(
    folder: Path, request: pytest.FixtureRequest, redis_server: EmbeddedServer, free_port: Callable[[], int]
) -> Iterator[Lake]:
    """The shop, built in a lake and registered."""
    want("lake", found=lakes.found())
    postgres: Postgres = request.getfixturevalue("postgres")
    database = postgres.create_database()
    with ExitStack() as stack:
        storage = stack.enter_context(lakes.ObjectStorage(free_port(), folder))
        profile = {"shop": {"target": "dev", "outputs": {"dev": lakes.output(database, storage, folder)}}}
        (folder / "profiles.yml").write_text(json.dumps(profile))
        (folder / "models").mkdir()
        (folder / "models/stock_v1.sql").write_text(OUTSIDE + FILES["models/stock_v1.sql"])
        made = stack.enter_context(Lake(folder, redis_server.url, database))
        made.dbt("run")
        made.syncer("register")
        yield made


def test_dbt_writes_a_lake_while_a_sync_reads_it_and_a_rebuild_reads_what_was(
    lake: Lake, folder: Path, redis_url: str
) -> None:
    assert "6 rows in" in lake.syncer("sync")
    old, new = folder / "old.parquet", folder / "new.parquet"
    wanted = ("churn", "--spine", SPINE, "--timestamp", "asked_at", "-o")
    lake.syncer("training-set", *wanted, str(old))
    before = read_manifest(manifest_path(old))
    assert before.snapshots.keys() == {"lake"}

    model = folder / "models/orders_v1.sql"
    written = model.read_text()
    with lake.reading():
        was = lake.rows(READ)
        model.write_text(written.replace("cast('2' as integer)", "cast('22' as integer)"))
        assert model.read_text() != written
        lake.dbt("run", "--select", "orders", "latest_orders")  # another process would have to wait for a file
        assert lake.rows(READ) == was == [["2"]]
    with lake.reading():
        assert lake.rows(READ) == [["22"]]

    lake.syncer("training-set", *wanted, str(new))
    after = read_manifest(manifest_path(new))
    assert after.snapshots["lake"] > before.snapshots["lake"]
    assert after.content.hash != before.content.hash
    again = lake.syncer("training-set", "--rebuild", str(manifest_path(old)))
    assert f"Same content: 2 rows, {before.content.hash}." in again, again

    lake.sql(f"call ducklake_expire_snapshots('lake', versions => [{before.snapshots['lake']}])")
    refused = lake.try_syncer("training-set", "--rebuild", str(manifest_path(old)))
    assert refused.exit_code == 1
    assert "what the training set was made from is no longer kept: No snapshot found" in refused.output


def test_a_lake_that_cannot_be_reached_is_said_without_its_password(lake: Lake, folder: Path) -> None:
    written = json.loads((folder / "profiles.yml").read_text())
    (folder / "gone").mkdir()
    attached = written["shop"]["outputs"]["dev"]["attach"][0]
    for place in ("host=127.0.0.1 port=1 user=u password='hunter 2'", "postgresql://u:hunter2@127.0.0.1:1/x"):
        attached["path"] = f"ducklake:postgres:{place}"
        (folder / "gone/profiles.yml").write_text(json.dumps(written))
        refused = lake.try_syncer("sync", "--profiles-dir", "gone")
        assert refused.exit_code == 1
        assert "cannot be attached: connection to server" in refused.output, refused.output
        assert "hunter" not in refused.output
