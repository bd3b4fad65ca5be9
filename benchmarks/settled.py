"""A settled history: what making and keeping it costs, and the join that reads it, beside an ASOF join written by hand.

    python -m benchmarks.settled [ROWS]     default: 1,000,000 rows, 1,000,000 labels, 100,000 entities

CPU seconds, which other work moves less than the clock, as multiples of those of the hand-written join of
the same run; best of two runs, but "made" and "day" are single ones. "made": the settled history as a whole; "day": the
incremental run after the rows that became known last, about 1 %; "plain": the join without it; "settled": with it, the
look at whether it is stale included; "wrong": rows in which these two differ.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.histories import ENTITIES, JOIN, by_hand, feature_views, make_history, make_labels
from tests.support.projects import Project

LABELS = 1_000_000
LATE_SHARES = (0.0, 0.1, 1.0)
RUNS = 2

VIEW = 'ref("view_1", v=1)'
FILES = {
    "models/settled_1.sql": f"{{{{ feature_warehouse.settled_history({VIEW}) }}}}",
    "models/settled.sql": "-- depends_on: {{ ref('settled_1') }}\n" + JOIN.format(views=VIEW),
    "models/plain.sql": JOIN.format(views=VIEW),
}


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    sql = _compiled()
    print(
        f"{rows:,} rows, {LABELS:,} labels, {ENTITIES:,} entities, 2 threads; CPU seconds by hand, others in multiples"
    )
    print(f"  {'late':>5}  {'by hand':>8}  {'made':>5}  {'day':>5}  {'plain':>5}  {'settled':>7}  {'wrong':>5}")
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "settled.duckdb")) as connection:
        connection.execute("set TimeZone = 'UTC'; set threads = 2; set memory_limit = '4GB'")
        make_labels(connection, LABELS)
        for late in LATE_SHARES:
            make_history(connection, 1, rows=rows, late=late)
            seconds = _measured(connection, sql)
            ((wrong,),) = connection.execute("select count(*) from (from plain except all from settled)").fetchall()
            hand = seconds.pop("by_hand")
            made, day, plain, settled = (seconds[name] / hand for name in ("made", "day", "plain", "settled"))
            print(
                f"  {late:>5.0%}  {hand:6.2f} s  {made:5.2f}  {day:5.2f}  {plain:5.2f}  {settled:7.2f}  {wrong:>5}",
                flush=True,
            )


def _measured(connection: duckdb.DuckDBPyConnection, sql: dict[str, str]) -> dict[str, float]:
    """CPU seconds by name."""
    query = "select (quantile_cont(epoch_us(known_at), 0.99) // 86400000000 * 86400000000)::bigint from history_1"
    ((cut,),) = connection.execute(query).fetchall()
    connection.execute(f"create or replace table today as from history_1 where epoch_us(known_at) >= {cut}")
    connection.execute(f"delete from history_1 where epoch_us(known_at) >= {cut}")
    found = {"made": _spent(connection, f"create or replace table settled_1 as {sql['first']}")}
    connection.execute("insert into history_1 from today")
    found["day"] = _spent(connection, f"create or replace temp table __new as {sql['later']}")
    found["day"] += _spent(connection, sql["merge"])
    joins = {"by_hand": by_hand([1]), "plain": sql["plain"], "settled": sql["settled"]}
    for _ in range(RUNS):
        for name, join in joins.items():
            spent = _spent(connection, f"create or replace temp table {name} as {join}")
            found[name] = min(spent, found.get(name, spent))
    return found


def _spent(connection: duckdb.DuckDBPyConnection, statement: str) -> float:
    started = time.process_time()
    connection.execute(statement).fetchall()
    return time.process_time() - started


def _compiled() -> dict[str, str]:
    """The SQL of dbt's first and later runs of the settled history, and of the joins with it and without."""
    files = feature_views([1])
    files["models/views.yml"] = files["models/views.yml"].replace(
        "event_timestamp:", "settled: settled_1, event_timestamp:"
    )
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), files | FILES)
        with duckdb.connect(str(project.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            make_history(connection, 1, rows=10, late=0.5)
            make_labels(connection, 10)
        project.dbt("run")
        found = {"first": project.compiled("settled_1")}
        found |= {name: project.compiled(name) for name in ("plain", "settled")}
        project.dbt("run", "--select", "settled_1")
        found["later"] = project.compiled("settled_1")
        (path,) = (project.folder / "target" / "run").rglob("settled_1.sql")
        merge = path.read_text()
    (temporary,) = re.findall(r"USING (\S+) AS DBT_INTERNAL_SOURCE", merge)
    found["merge"] = merge.replace(temporary, "__new")
    return {
        name: sql.replace('"shop"."main"."view_1_v1"', "history_1").replace('"shop"."main".', "")
        for name, sql in found.items()
    }


if __name__ == "__main__":
    main()
