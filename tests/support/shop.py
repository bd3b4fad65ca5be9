"""A shop whose features are served: the dbt project behind the tests of the syncer, built once and copied."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from click.testing import CliRunner, Result

from feature_warehouse.cli.main import main
from tests.support.projects import Project

#: The project's clock stands here.
NOW = "2026-01-10T00:00:00Z"

ORDERS = """
select
    cast(customer_id as bigint) as customer_id,
    cast(event_at as timestamptz) as event_at,
    cast(known_at as timestamptz) as known_at,
    cast(orders_30d as integer) as orders_30d,
    cast(spent as decimal(12, 2)) as spent,
    cast(plan as varchar) as plan,
    cast(basket as double[]) as basket,
    cast({'note': plan} as struct(note varchar)) as remarks
from
    (
        values
            (1, '2026-01-01 08:00:00+00', '2026-01-01 09:00:00+00', 1, 10.00, 'basic', [1.5]),
            (1, '2026-01-05 08:00:00+00', '2026-01-05 09:00:00+00', 2, 25.50, 'gold', [1.5, 2]),
            (2, '2026-01-08 08:00:00+00', '2026-01-08 09:00:00+00', 7, 99.99, null, []),
            (3, '2025-12-11 00:00:00+00', '2025-12-11 00:00:00+00', 3, 5.00, 'basic', null),
            (4, '2025-12-01 00:00:00+00', '2025-12-01 00:00:00+00', 1, 1.00, 'basic', null)
    ) as t(customer_id, event_at, known_at, orders_30d, spent, plan, basket)
"""

VISITS = """
select
    cast(customer_id as bigint) as customer_id,
    cast(event_at as timestamptz) as event_at,
    cast(visits_7d as bigint) as visits_7d
from (values (1, '2026-01-09 08:00:00+00', 12), (5, '2026-01-09 09:00:00+00', 1)) as t(customer_id, event_at, visits_7d)
"""

STOCK = """
select
    cast(warehouse as varchar) as warehouse,
    cast(sku as varchar) as sku,
    cast(event_at as timestamptz) as event_at,
    cast(in_stock as integer) as in_stock,
    cast(counted_on as date) as counted_on
from
    (
        values
            ('north', 'A-1', '2026-01-09 08:00:00+00', 40, '2026-01-08'),
            ('south', 'A-1', '2026-01-09 09:00:00+00', 0, null)
    ) as t(warehouse, sku, event_at, in_stock, counted_on)
"""

ORDERS_YAML = """
models:
  - name: orders
    config:
      materialized: table
      contract: {enforced: true}
      meta:
        feature_view:
          {entity: customer, join_keys: [customer_id], event_timestamp: event_at, available_at: known_at, ttl: 30 days}
    columns:
      - {name: customer_id, data_type: bigint}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: orders_30d, data_type: integer}
      - {name: spent, data_type: "decimal(12,2)"}
      - {name: plan, data_type: varchar}
      - {name: basket, data_type: "double[]"}
      - {name: remarks, data_type: "struct(note varchar)"}
    versions: [{v: 1}]
"""

VISITS_YAML = """
models:
  - name: visits
    config:
      materialized: table
      contract: {enforced: true}
      meta:
        feature_view:
          {entity: customer, join_keys: [customer_id], event_timestamp: event_at, available_at: none, tier: hourly}
    columns:
      - {name: customer_id, data_type: bigint}
      - {name: event_at, data_type: timestamptz}
      - {name: visits_7d, data_type: bigint}
    versions: [{v: 1}]
"""

STOCK_YAML = """
models:
  - name: stock
    config:
      materialized: table
      contract: {enforced: true}
      meta:
        feature_view: {entity: item, join_keys: [warehouse, sku], event_timestamp: event_at, available_at: none}
    columns:
      - {name: warehouse, data_type: varchar}
      - {name: sku, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: in_stock, data_type: integer}
      - {name: counted_on, data_type: date}
    versions: [{v: 1}]
"""

CHURN_1 = """
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)", "ref('visits', v=1)"]
    config:
      meta:
        feature_service:
          name: churn
          version: 1
          features:
            - {view: orders.v1, features: [orders_30d, plan]}
            - {view: visits.v1, features: [visits_7d]}
"""

CHURN_2 = """
exposures:
  - name: churn_v2
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)", "ref('visits', v=1)"]
    config:
      meta:
        feature_service:
          name: churn
          version: 2
          features:
            - {view: visits.v1, features: [visits_7d]}
            - {view: orders.v1, features: [orders_30d, spent, plan, basket]}
          request: {amount: double}
          on_demand: [{name: amount_share, data_type: double, expression: amount / spent}]
"""

TRANSFER = """
exposures:
  - name: transfer_v1
    type: ml
    owner: {name: Logistics, email: logistics@example.com}
    depends_on: ["ref('stock', v=1)"]
    config:
      meta:
        feature_service:
          name: transfer
          version: 1
          features:
            - {view: stock.v1, features: [in_stock], keys: {warehouse: source}, prefix: source_}
            - {view: stock.v1, features: [in_stock, counted_on], keys: {warehouse: target}, prefix: target_}
"""

LATEST = "{{{{ feature_warehouse.latest_values(ref('{view}', v={version})) }}}}\n"


def latest(view: str, version: int = 1) -> dict[str, str]:
    """The file of a latest-value view."""
    return {f"models/latest_{view}_v{version}.sql": LATEST.format(view=view, version=version)}


FILES = {
    "models/orders_v1.sql": ORDERS,
    "models/visits_v1.sql": VISITS,
    "models/stock_v1.sql": STOCK,
    "models/orders.yml": ORDERS_YAML,
    "models/visits.yml": VISITS_YAML,
    "models/stock.yml": STOCK_YAML,
    "models/churn_v1.yml": CHURN_1,
    "models/churn_v2.yml": CHURN_2,
    "models/transfer.yml": TRANSFER,
    **latest("orders"),
    **latest("visits"),
    **latest("stock"),
}

CLOCK = f'vars: {{feature_warehouse_now: "{NOW}"}}'


class Shop(Project):
    """A project whose commands run in its folder; ``redis_url`` is where they read and write."""

    redis_url = "redis://127.0.0.1:1/0"  # nobody listens there

    def __init__(self, folder: Path, files: dict[str, str], **settings: Any) -> None:
        super().__init__(folder, files, **settings)
        # Where a copy has it too: a profile that differs would cost each copy a full parse.
        self.replace("profiles.yml", str(self.database), self.database.name)

    def copied(self, folder: Path, redis_url: str) -> Shop:
        """The same project, as built and registered so far, in an empty ``folder`` of its own."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return self.at(folder, redis_url)

    def at(self, folder: Path, redis_url: str) -> Shop:
        """The same project in another folder, which has it."""
        made = copy.copy(self)
        made.folder, made.database, made.redis_url = folder, folder / self.database.name, redis_url
        return made

    def try_dbt(self, *arguments: str) -> Any:
        with inside(self.folder):
            return super().try_dbt(*arguments)

    def replace(self, path: str, old: str, new: str) -> None:
        """Edits a file; ``old`` must be there once."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{text.count(old)} times in {path}: {old}"
        self.write(path, text.replace(old, new))

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs ``statements`` in the warehouse; the rows of the last one."""
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for statement in statements:
                connection.execute(statement)
            return connection.fetchall()

    def try_syncer(self, *arguments: str, **environment: str | None) -> Result:
        """What one command printed and its exit code. It must not end in anything but an exit code."""
        with inside(self.folder):
            result = CliRunner(env={"SYNCER_REDIS_URL": self.redis_url, **environment}).invoke(
                main, arguments, prog_name="syncer"
            )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def syncer(self, *arguments: str, **environment: str | None) -> str:
        """What a command that succeeds printed."""
        result = self.try_syncer(*arguments, **environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """What a command that succeeds says with --json."""
        return json.loads(self.syncer(*arguments, "--json"))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With ``folder`` as the current one."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def build(folder: Path) -> Shop:
    """A shop that is built and registered."""
    shop = Shop(folder, FILES, more=CLOCK)
    shop.dbt("build")
    shop.syncer("register")
    return shop
