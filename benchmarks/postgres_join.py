"""The point-in-time join in PostgreSQL: rows looked up in an index, beside the plain SQL that ranks every known row.

    python -m benchmarks.postgres_join [rows of the history]

A history of 20 rows an entity, a tenth of them late, with an index on its key, event time and availability; a label for
one entity in a hundred. The server is the tests' own. Both give the same rows, which is checked.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.postgres import Postgres
from tests.support.projects import Project

ROWS_AN_ENTITY, LABELLED = 20, 100
PORT = 15_432

HISTORY = """
{{{{ config(materialized='table', indexes=[{{'columns': ['customer', 'event_at', 'known_at']}}]) }}}}
select
    i % {entities} as customer,
    timestamptz '2026-01-01 00:00:00+00' + interval '1 second' * (i / {entities} * 86400 + i % 86400) as event_at,
    timestamptz '2026-01-01 00:00:00+00' + interval '1 second' * (
        i / {entities} * 86400 + i % 86400 + case when i % 10 = 0 then 200000 else 60 end
    ) as known_at,
    i as amount,
    i / 7.0::double precision as score
from generate_series(0::bigint, {rows} - 1) as t(i)
"""

LABELS = """
{{{{ config(materialized='table') }}}}
select i * {labelled} as customer, timestamptz '2026-01-12 00:00:00+00' + interval '1 second' * (i % 200000) as asked_at
from generate_series(0::bigint, {entities} / {labelled} - 1) as t(i)
"""

YAML = """
models:
  - name: orders
    config:
      meta:
        feature_view:
          {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at, ttl: 30 days}
    columns:
      - {name: customer, data_type: bigint}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: amount, data_type: bigint}
      - {name: score, data_type: double precision}
    versions: [{v: 1}]
"""

LOOKED_UP = """
{{ feature_warehouse.point_in_time_join(
    spine=ref('labels'), spine_timestamp='asked_at', feature_views=[ref('orders', v=1)]
) }}
"""

RANKED = """
{% set views, labels = [ref('orders', v=1)], ref('labels') %}
{{ feature_warehouse.portable__point_in_time_select(
    spine=labels, spine_columns=['customer', 'asked_at'], spine_timestamp='asked_at',
    reads=feature_warehouse._feature_reads(views, none, 'benchmark'), on_demand=none, allow_equal=true, known_as_of=none
) if execute else 'select 1' }}
"""


def main(rows: int) -> None:
    entities = rows // ROWS_AN_ENTITY
    files = {
        "models/orders_v1.sql": HISTORY.format(entities=entities, rows=rows),
        "models/labels.sql": LABELS.format(entities=entities, labelled=LABELLED),
        "models/orders.yml": YAML,
        "models/looked_up.sql": LOOKED_UP,
        "models/ranked.sql": RANKED,
    }
    with tempfile.TemporaryDirectory() as folder, Postgres(PORT) as server:
        project = Project(Path(folder), files, server=server.create_database())
        project.dbt("run")
        assert project.server is not None
        with contextlib.closing(project.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("set search_path to main; analyze")
            queries = {name: project.compiled(name) for name in ("looked_up", "ranked")}
            assert "lateral" in queries["looked_up"]
            cursor.execute(f"({queries['looked_up']}) except all ({queries['ranked']})")
            assert cursor.fetchall() == []
            best = {name: min(milliseconds(cursor, sql) for _ in range(3)) for name, sql in queries.items()}
    print(f"{rows:,} rows, {entities:,} entities, {entities // LABELLED:,} labels")
    print(f"looked up in the index: {best['looked_up']:.1f} ms; every known row ranked: {best['ranked']:.1f} ms")
    print(f"{best['ranked'] / best['looked_up']:.1f} times as fast")


def milliseconds(cursor: Any, sql: str) -> float:
    """What PostgreSQL says that the query took, planned and run."""
    cursor.execute(f"explain (analyze, timing off, format json) {sql}")
    ((plan,),) = cursor.fetchone()
    return float(plan["Planning Time"] + plan["Execution Time"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
