"""How the point-in-time join grows with its history, and what it does when memory is short.

    python -m benchmarks.point_in_time_growth [ROWS ...]     default: 1,000,000 10,000,000 50,000,000

One feature view, 1,000,000 labels, 100,000 entities, so a longer history is a deeper one; 10 % of it becomes known
late. Seconds of the hand-written join of benchmarks.point_in_time and of ours, and in brackets CPU seconds, which other
work on the machine moves less; "x" is how many times more CPU seconds than in the step before, "ratio" how many times
those of the hand-written join. Best of two runs, in DuckDB's default memory.

Then the longest history again, each join in a process of its own with memory_limit 1 GB, written to Parquet; the peak
is of that whole process. It takes some 5 GB of disk, in the folder for temporary files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.histories import ENTITIES, by_hand, by_macro, make_history, make_labels

ROWS = (1_000_000, 10_000_000, 50_000_000)
LABELS = 1_000_000
LATE = 0.1
RUNS = 2
MEMORY_LIMIT = "1GB"
SESSION = "set TimeZone = 'UTC'; set threads = 2; set enable_progress_bar = false"

#: Arguments: database, SQL, output. Nothing but DuckDB is imported, so the peak is the join's own. It is Linux's VmHWM:
#: what getrusage says of a new process begins with the memory of the process that started it.
LIMITED = f"""
import json, re, sys, time
import duckdb

database, sql, output = sys.argv[1:]
connection = duckdb.connect(database, read_only=True)
connection.execute("{SESSION}; set memory_limit = '{MEMORY_LIMIT}'")
connection.execute(f"set temp_directory = '{{output}}.spill'")
started, spent = time.monotonic(), time.process_time()
connection.execute(f"copy ({{sql}}) to '{{output}}'")
seconds, cpu = time.monotonic() - started, time.process_time() - spent
(peak,) = re.findall(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([seconds, cpu, int(peak) / 1024]))
"""


def main() -> None:
    steps = [int(given.replace(",", "")) for given in sys.argv[1:]] or list(ROWS)
    joins = {"by hand": by_hand([1]), "macro": by_macro([1])}
    print(f"1 feature view, {LABELS:,} labels, {ENTITIES:,} entities, {LATE:.0%} late, best of {RUNS} runs, 2 threads")
    print(f"  {'history rows':>12}  {'x':>4}  {'by hand':>14}  {'x':>4}  {'macro':>14}  {'x':>4}  {'ratio':>5}")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "growth.duckdb"
        before: tuple[float, ...] = ()
        for rows in steps:
            with duckdb.connect(str(database)) as connection:
                connection.execute(SESSION)
                make_labels(connection, LABELS)
                make_history(connection, 1, rows=rows, late=LATE)
                (hand, hand_cpu), (macro, macro_cpu) = (_seconds(connection, sql) for sql in joins.values())
            now = (rows, hand_cpu, macro_cpu)
            x = [f"{to / of:4.1f}" for to, of in zip(now, before, strict=True)] if before else ["    "] * 3
            print(
                f"  {rows:>12,}  {x[0]}  {hand:6.2f} ({hand_cpu:5.1f})  {x[1]}  {macro:6.2f} ({macro_cpu:5.1f})  {x[2]}"
                f"  {macro_cpu / hand_cpu:5.2f}",
                flush=True,
            )
            before = now
        print(f"The same {steps[-1]:,} rows with memory_limit {MEMORY_LIMIT}, to Parquet")
        for name, sql in joins.items():
            seconds, cpu, peak = _limited(database, sql)
            print(f"  {name:>12}  {seconds:6.2f} ({cpu:5.1f})  peak {peak:,.0f} MiB", flush=True)


def _seconds(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, float]:
    """(seconds, CPU seconds) of a join into a temporary table, the best of each."""
    found = []
    for _ in range(RUNS):
        started, spent = time.monotonic(), time.process_time()
        connection.execute(f"create or replace temp table joined as {sql}")
        found.append((time.monotonic() - started, time.process_time() - spent))
    connection.execute("drop table joined")
    return min(seconds for seconds, _ in found), min(cpu for _, cpu in found)


def _limited(database: Path, sql: str) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of a join in a process of its own that may hold little memory."""
    output = database.with_suffix(".parquet")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(database), sql, str(output)], check=True, stdout=subprocess.PIPE
    )
    output.unlink()
    seconds, cpu, peak = json.loads(done.stdout)
    return seconds, cpu, peak


if __name__ == "__main__":
    main()
