"""The point-in-time join against Feast's DuckDB offline store, on the same labels and histories, to the same answer.

    python -m benchmarks.feast_join [ROWS]      default: 1,000,000

Three feature views of so many rows, no late facts, 100,000 labels; 100 and 1,000 history rows an entity, because
Feast's join pairs each label with every earlier row of its entity, where ours sorts. Feast's figure, in its own process
and from Parquet files, is `get_historical_features(frame).to_arrow()`, without start-up and registration. Ours, from
tables of a DuckDB file: the SQL of the macro, into an Arrow table; then the whole call of
`feature_warehouse.get_historical_features`, in which dbt first renders that SQL. Best of three runs, of one where Feast
takes a minute. The answers are compared row by row before a figure is printed. Needs .venv-feast, which `make bench`
sets up.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.histories import FEATURES, by_macro, feature_views, make_history, make_labels
from feature_warehouse import get_historical_features
from tests.support.feast import Feast, Read
from tests.support.projects import Project

VIEWS = (1, 2, 3)
LABELS = 100_000

#: history rows an entity -> runs
DEPTHS = {100: 3, 1_000: 1}


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    print(f"3 feature views of {rows:,} rows, {LABELS:,} labels, no late facts, 2 threads")
    print(f"  {'rows an entity':>14}  {'Feast':>8}  {'macro':>8}  {'x':>5}  {'whole call':>10}  {'x':>5}")
    sql = by_macro(VIEWS)
    with Feast() as feast:
        for depth, runs in DEPTHS.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                project = Project(folder, feature_views(VIEWS))
                with duckdb.connect(str(project.database)) as connection:
                    labels = _build(connection, folder, rows, entities=rows // depth)
                project.dbt("run")
                call, called = _best(3, lambda labels=labels, folder=folder: _call(labels, folder))
                with duckdb.connect(str(project.database)) as connection:
                    connection.execute("set TimeZone = 'UTC'; set threads = 2")
                    macro, joined = _best(3, lambda: connection.sql(sql).to_arrow_table())
                theirs = [feast.historical_features(labels, _reads(folder), typed_labels=False) for _ in range(runs)]
                for answer in theirs:
                    _assert_same(joined, answer.table)
                _assert_same(joined, called)
            least = min(answer.seconds for answer in theirs)
            figures = f"{least:6.2f} s  {macro:6.2f} s  {least / macro:5.1f}  {call:8.2f} s  {least / call:5.1f}"
            print(f"  {depth:>14,}  {figures}", flush=True)


def _build(connection: duckdb.DuckDBPyConnection, folder: Path, rows: int, *, entities: int) -> pa.Table:
    """Makes the tables, and the Parquet files with the same rows; returns the labels."""
    connection.execute("set TimeZone = 'UTC'")
    for n in VIEWS:
        make_history(connection, n, rows=rows, late=0, entities=entities)
        connection.execute(f"copy history_{n} to '{folder}/history_{n}.parquet'")
    make_labels(connection, LABELS, entities=entities)
    return connection.sql("from labels").to_arrow_table()


def _reads(folder: Path) -> list[Read]:
    return [
        Read(
            name=f"view_{n}",
            history=f"{folder}/history_{n}.parquet",
            keys={"user_id": "user_id"},
            features=tuple(f"{feature}_{n}" for feature in FEATURES),
            created_timestamp="known_at",
        )
        for n in VIEWS
    ]


def _call(labels: pa.Table, folder: Path) -> pa.Table:
    return get_historical_features(
        labels, [f"view_{n}.v1" for n in VIEWS], timestamp="asked_at", project_dir=folder, profiles_dir=folder
    ).to_arrow()


def _best(runs: int, run: Callable[[], pa.Table]) -> tuple[float, pa.Table]:
    """(seconds of the fastest run, its table)."""
    seconds = []
    for _ in range(runs):
        started = time.monotonic()
        table = run()
        seconds.append(time.monotonic() - started)
    return min(seconds), table


def _assert_same(one: pa.Table, other: pa.Table) -> None:
    """The same columns and rows, in whatever order."""
    assert one.column_names == other.column_names
    with duckdb.connect() as connection:
        connection.register("one", one)
        connection.register("other", other)
        different = "(from one except all from other) union all (from other except all from one)"
        ((count,),) = connection.execute(f"select count(*) from ({different})").fetchall()
    assert one.num_rows == other.num_rows == LABELS
    assert count == 0, f"{count} rows differ"


if __name__ == "__main__":
    main()
