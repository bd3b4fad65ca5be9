"""The point-in-time join against the ASOF join that one writes by hand, on the same labels and histories.

    python -m benchmarks.point_in_time [ROWS]     default: 3 feature views of 1,000,000 rows, 100,000 entities

The hand-written join looks at event time alone: it is the bare cost of the work, and it leaks where facts come late.
Best of three runs each, alternately, in one process; the ratio is the figure to quote.
"""

from __future__ import annotations

import sys
import time

import duckdb

from benchmarks.histories import ENTITIES, by_hand, by_macro, make_history, make_labels

RUNS = 3
VIEWS = (1, 2, 3)
LABELS = (100_000, 1_000_000)
LATE_SHARES = (0.0, 0.1, 1.0)


def main() -> None:
    rows = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    joins = {"by_hand": by_hand(VIEWS), "macro": by_macro(VIEWS)}
    print(f"3 feature views of {rows:,} rows, {ENTITIES:,} entities, best of {RUNS} runs, 2 threads")
    print(f"  {'labels':>9}  {'late':>5}  {'by hand':>8}  {'macro':>8}  {'ratio':>5}  {'by hand is wrong for':>20}")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'; set threads = 2")
        for late in LATE_SHARES:
            for n in VIEWS:
                make_history(connection, n, rows=rows, late=late)
            for labels in LABELS:
                make_labels(connection, labels)
                seconds: dict[str, list[float]] = {name: [] for name in joins}
                for _ in range(RUNS):
                    for name, sql in joins.items():
                        started = time.monotonic()
                        connection.execute(f"create or replace temp table {name} as {sql}")
                        seconds[name].append(time.monotonic() - started)
                hand, macro = min(seconds["by_hand"]), min(seconds["macro"])
                wrong = _share_wrong(connection, labels)
                print(
                    f"  {labels:>9,}  {late:>5.0%}  {hand:6.2f} s  {macro:6.2f} s  {macro / hand:5.2f}  {wrong:>20.1%}",
                    flush=True,
                )


def _share_wrong(connection: duckdb.DuckDBPyConnection, labels: int) -> float:
    """The share of labels to which the hand-written join gives another first feature."""
    different = (
        "select count(*) from by_hand join macro using (label_id) where by_hand.label_1 is distinct from macro.label_1"
    )
    ((count,),) = connection.execute(different).fetchall()
    return float(count) / labels


if __name__ == "__main__":
    main()
