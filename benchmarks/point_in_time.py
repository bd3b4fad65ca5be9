"""The point-in-time join against the ASOF join that one writes by hand, on the same labels and histories.

    python -m benchmarks.point_in_time [ROWS]     default: 3 feature views of 1,000,000 rows, 100,000 entities

The hand-written join looks at event time alone: it is the bare cost of the work, and it leaks where facts come late.
Best of three runs each, alternately, in one process; the ratio is the figure to quote.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.support.projects import Project

RUNS = 3
ENTITIES = 100_000
LABELS = (100_000, 1_000_000)
LATE_SHARES = (0.0, 0.1, 1.0)

VIEW = """
  - name: view_{n}
    config:
      materialized: view
      meta: {{feature_view: {{entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: known_at}}}}
    columns:
      - {{name: user_id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: timestamptz}}
      - {{name: ratio_{n}, data_type: double}}
      - {{name: weight_{n}, data_type: double}}
      - {{name: count_{n}, data_type: bigint}}
      - {{name: label_{n}, data_type: varchar}}
    versions: [{{v: 1}}]
"""

HISTORY = """
create or replace table history_{n} as
select
    hash(i, {n}) % {entities} as user_id,
    timestamptz '2026-01-01 00:00:00+00' + hash(i, {n}, 1) % 7776000 * interval 1 second as event_at,
    if(hash(i, {n}, 2) % 1000 < {late} * 1000, 1 + hash(i, {n}, 3) % 864000, 0) as delay,
    event_at + delay * interval 1 second as known_at,
    hash(i, {n}, 4) / 1e19 as ratio_{n},
    hash(i, {n}, 5) / 1e19 as weight_{n},
    (hash(i, {n}, 6) % 1000)::bigint as count_{n},
    'abc' || i as label_{n}
from range({rows}) as t(i)
"""

SPINE = """
create or replace table labels as
select
    i as label_id,
    hash(i) % {entities} as user_id,
    timestamptz '2026-01-01 00:00:00+00' + hash(i, 99) % 7776000 * interval 1 second as asked_at
from range({labels}) as t(i)
"""

JOIN = """
{{ feature_warehouse.point_in_time_join(
    spine="labels", spine_timestamp="asked_at",
    spine_columns={"label_id": "BIGINT", "user_id": "BIGINT", "asked_at": "TIMESTAMPTZ"},
    feature_views=[ref("view_1", v=1), ref("view_2", v=1), ref("view_3", v=1)]
) }}
"""

BY_HAND = "select labels.*, {features} from labels " + " ".join(
    f"asof left join history_{n} on labels.user_id = history_{n}.user_id and labels.asked_at >= history_{n}.event_at"
    for n in (1, 2, 3)
)


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    ours = _compiled()
    features = ", ".join(f"history_{n}.{name}_{n}" for n in (1, 2, 3) for name in ("ratio", "weight", "count", "label"))
    theirs = BY_HAND.format(features=features)
    print(f"3 feature views of {rows:,} rows, {ENTITIES:,} entities, best of {RUNS} runs, 2 threads")
    print(f"  {'labels':>9}  {'late':>5}  {'by hand':>8}  {'macro':>8}  {'ratio':>5}  {'by hand is wrong for':>20}")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'; set threads = 2")
        for late in LATE_SHARES:
            for n in (1, 2, 3):
                connection.execute(HISTORY.format(n=n, entities=ENTITIES, rows=rows, late=late))
            for labels in LABELS:
                connection.execute(SPINE.format(labels=labels, entities=ENTITIES))
                seconds: dict[str, list[float]] = {"by_hand": [], "macro": []}
                for _ in range(RUNS):
                    for name, sql in (("by_hand", theirs), ("macro", ours)):
                        started = time.monotonic()
                        connection.execute(f"create or replace temp table {name} as {sql}")
                        seconds[name].append(time.monotonic() - started)
                hand, macro = min(seconds["by_hand"]), min(seconds["macro"])
                wrong = _share_wrong(connection, labels)
                print(
                    f"  {labels:>9,}  {late:>5.0%}  {hand:6.2f} s  {macro:6.2f} s  {macro / hand:5.2f}  {wrong:>20.1%}"
                )


def _compiled() -> str:
    """The macro's SQL, on tables called history_1 to history_3."""
    with tempfile.TemporaryDirectory() as folder:
        files = {f"models/view_{n}_v1.sql": f"select * from history_{n}" for n in (1, 2, 3)}
        files |= {"models/training.sql": JOIN, "models/views.yml": "models:" + "".join(map(_yaml, (1, 2, 3)))}
        project = Project(Path(folder), files)
        project.dbt("compile", "--no-introspect", "--no-populate-cache")
        sql = project.compiled("training")
    for n in (1, 2, 3):
        sql = sql.replace(f'"shop"."main"."view_{n}_v1"', f"history_{n}")
    return sql


def _yaml(n: int) -> str:
    return VIEW.format(n=n)


def _share_wrong(connection: duckdb.DuckDBPyConnection, labels: int) -> float:
    """The share of labels to which the hand-written join gives another first feature."""
    different = (
        "select count(*) from by_hand join macro using (label_id) where by_hand.label_1 is distinct from macro.label_1"
    )
    ((count,),) = connection.execute(different).fetchall()
    return float(count) / labels


if __name__ == "__main__":
    main()
