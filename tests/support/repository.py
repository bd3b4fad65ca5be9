"""A shop under git, whose registry stands on main: one view of what customers spend, two services, a dashboard."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from click.testing import Result

from tests.support.shop import CLOCK, Shop, latest

SQL = """
-- what each customer paid
with paid as (
    select customer_id, paid_at, amount
    from {{ ref('stg_payments') }}
    where amount > 0
)

select
    customer_id,
    paid_at as event_at,
    paid_at + interval 1 hour as known_at,
    sum(amount) over seven_days as spent_7d,
    count(*) over seven_days as payments_7d,
    max(amount) over (partition by customer_id order by paid_at) as largest
from paid
window seven_days as (
    partition by customer_id order by paid_at range between interval 7 days preceding and current row
)
"""

STAGING = """
select customer_id::bigint as customer_id, paid_at::timestamptz as paid_at, amount::double as amount
from {{ ref('payments') }}
"""

VIEW = """
models:
  - name: spending
    latest_version: 1
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
      - {name: spent_7d, data_type: double}
      - {name: payments_7d, data_type: bigint}
      - {name: largest, data_type: double}
    versions: [{v: 1}]
"""

SERVICES = """
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: ["ref('spending', v=1)"]
    config:
      meta:
        feature_service:
          {name: churn, version: 1, features: [{view: spending.v1, features: [spent_7d, payments_7d]}]}
  - name: value_v1
    type: ml
    owner: {name: Sales, email: sales@example.com}
    depends_on: ["ref('spending', v=1)"]
    config:
      meta:
        feature_service: {name: value, version: 1, features: [{view: spending.v1, features: [spent_7d]}]}
  - name: weekly_report
    type: dashboard
    owner: {name: Finance, email: finance@example.com}
    depends_on: [ref('totals')]
"""

PAYMENTS = """customer_id,paid_at,amount
1,2026-01-01T10:00:00Z,10.5
1,2026-01-05T10:00:00Z,4.5
1,2026-01-09T10:00:00Z,-1
2,2026-01-02T10:00:00Z,7
"""

FILES = {
    "seeds/payments.csv": PAYMENTS,
    "seeds/seeds.yml": "seeds: [{name: payments, config: {column_types: {paid_at: timestamptz, amount: double}}}]\n",
    "models/stg_payments.sql": STAGING,
    "models/spending_v1.sql": SQL,
    "models/spending.yml": VIEW,
    "models/services.yml": SERVICES,
    "models/totals.sql": "select customer_id, max(spent_7d) as most from {{ ref('spending', v=1) }} group by 1",
    ".gitignore": "target/\nlogs/\ndbt_packages/\n*.duckdb\n",
    **latest("spending"),
}


class Repository(Shop):
    """A shop under git."""

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or arguments[0] == "merge", done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def branch(self, folder: Path) -> Repository:
        """A copy of one's own in ``folder``."""
        shutil.copytree(self.folder, folder, symlinks=True)
        made = Repository.__new__(Repository)
        made.__dict__ |= self.__dict__ | {"folder": folder, "database": folder / "shop.duckdb"}
        return made


def registered(folder: Path, files: Mapping[str, str] = MappingProxyType({}), settings: str = CLOCK) -> Repository:
    """Registered and committed on main; a branch `change` is checked out. ``files``: beside those of the shop, or in
    their place; ``settings``: in dbt_project.yml."""
    made = Repository(folder, {**FILES, **files}, more=settings)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.syncer("register")
    made.commit("Serve what customers spend")
    made.git("checkout", "--quiet", "-b", "change")
    return made


def refused(result: Result) -> list[str]:
    """What a command said that refused, before the SQL."""
    assert result.exit_code == 1, result.output
    return result.stderr.partition("\n\n---")[0].splitlines()
