"""Rolling features over generated events: seconds for each aggregate, and beside a window of 10,000 events.

    python -m benchmarks.windows [EVENTS]      default 2,000,000 events of 100,000 entities in a year, 10 % late

Windows of 1, 7 and 30 days. The second table has the same aggregates over EVENTS / 10 events of a few entities, so many
that a 30-day window holds 10,000 of them. Each figure is the best of two runs that fill a table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.support.projects import Project

WINDOWS = ("1 day", "7 days", "30 days")

#: aggregates -> what each of the windows has of them
CALLS: dict[str, list[dict[str, object]]] = {
    "count": [{"aggregate": "count"}],
    "count, sum of integers": [
        {"aggregate": "count"},
        {"aggregate": "sum", "column": "amount", "data_type": "bigint"},
    ],
    "count, sum of doubles": [{"aggregate": "count"}, {"aggregate": "sum", "column": "weight", "data_type": "double"}],
    "rate": [{"aggregate": "rate", "condition": "amount > 5000"}],
    "avg": [{"aggregate": "avg", "column": "amount"}],
    "min, max": [{"aggregate": "min", "column": "amount"}, {"aggregate": "max", "column": "amount"}],
    "stddev": [{"aggregate": "stddev", "column": "amount"}],
    "count_distinct": [{"aggregate": "count_distinct", "column": "label"}],
    "last": [{"aggregate": "last", "column": "amount"}],
    "last_n, n = 5": [{"aggregate": "last_n", "column": "amount", "n": 5}],
}

MODEL = """
{{{{ config(materialized='table') }}}}
{{{{ feature_warehouse.rolling_features(
    events="(select * from {events})", join_keys=['customer'], event_timestamp='ordered_at', available_at='loaded_at',
    features={features}
) }}}}
"""

EVENTS = """
create table {name} as
select
    customer, ordered_at, amount, amount / 7.0::double as weight, amount % 100 as label,
    case when hash(i, 1) % 10 = 0 then ordered_at + to_seconds((hash(i, 2) % 172800)::bigint) else ordered_at end
    as loaded_at
from (
    select
        i,
        (hash(i, 3) % {entities})::bigint as customer,
        timestamptz '2025-01-01 00:00:00+00' + to_seconds((hash(i, 4) % ({days} * 86400))::bigint) as ordered_at,
        (hash(i, 5) % 10000)::bigint as amount
    from range({events}) as numbers(i)
)
"""


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    hot = events // 10
    models: dict[str, str] = {}
    for table in ("wide", "deep"):
        for i, calls in enumerate(CALLS.values()):
            features = [
                {"name": f"feature_{w}_{c}", "window": window} | call
                for w, window in enumerate(WINDOWS)
                for c, call in enumerate(calls)
            ]
            models[f"models/{table}_{i}.sql"] = MODEL.format(events=table, features=features)

    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), models, name="bench")
        project.dbt("compile")
        with duckdb.connect(str(project.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute(EVENTS.format(name="wide", events=events, entities=max(events // 20, 1), days=365))
            connection.execute(EVENTS.format(name="deep", events=hot, entities=max(hot // 20_000, 1), days=60))
            print(f"{'seconds':24}{f'{events:,} events':>20}{f'{hot:,} events,':>20}")
            print(f"{'':24}{'20 an entity':>20}{'10,000 in 30 days':>20}")
            for i, name in enumerate(CALLS):
                figures = []
                for table in ("wide", "deep"):
                    sql = project.compiled(f"{table}_{i}")
                    figures.append(seconds(connection, sql))
                print(f"{name:24}{figures[0]:>20}{figures[1]:>20}", flush=True)


def seconds(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    started, spent = time.perf_counter(), time.process_time()
    connection.execute(f"create or replace table made as {sql}")
    return f"{time.perf_counter() - started:.1f} ({time.process_time() - spent:.1f})"


if __name__ == "__main__":
    main()
