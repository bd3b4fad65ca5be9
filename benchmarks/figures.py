"""The figures that are held: each beside a peer in the same run, with its goal and a floor that it may not fall below.

    python -m benchmarks.figures [--quick] [--write]

CPU seconds, which other work moves less than the clock, as a multiple of the peer's; best of three runs, alternately,
in one process on two threads. Exit code 1 when a figure misses its floor in benchmarks/floors.json, or has none there.
--quick: a tenth of the rows, in under three minutes. --write: the table of docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from benchmarks.histories import by_hand, feature_views, make_history, make_labels
from benchmarks.windows import EVENTS
from tests.support.projects import Project

RUNS = 3
FLOORS = Path(__file__).with_name("floors.json")
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"
MARKS = ("<!-- begin: figures -->", "<!-- end: figures -->")

#: point_in_time_select as _planned_reads may plan it; see macros/joins/_planned_reads.sql.
JOIN = """
{{% set view = ref('view_1', v=1) %}}
{{% set reads = feature_warehouse._feature_reads([view], none, 'figures') if execute else [] %}}
{{% set planned = [] %}}
{{% for read in reads %}}{{% do planned.append(dict(read, split={split}, few={few}, brief={brief})) %}}{{% endfor %}}
{{{{ feature_warehouse.duckdb__point_in_time_select(
    spine='labels', spine_columns=['label_id', 'user_id', 'asked_at'], spine_timestamp='asked_at', reads=planned,
    on_demand=none, allow_equal=true, known_as_of=none
) if execute else 'select 1' }}}}
"""

ROLLING = """
{{{{ config(materialized='table') }}}}
{{{{ feature_warehouse.rolling_features(
    events="(select * from events)", join_keys=['customer'], event_timestamp='ordered_at', available_at='loaded_at',
    features={features}, changed_since={since}
) }}}}
"""


def _windows(aggregate: str, **more: str) -> list[dict[str, str]]:
    return [
        {"name": f"{aggregate}_{days}d", "aggregate": aggregate, "window": f"{days} days", **more}
        for days in (1, 7, 30)
    ]


ROLLED = {
    "sum": _windows("sum", column="weight", data_type="double"),
    "max": _windows("max", column="weight"),
    "stddev": _windows("stddev", column="weight"),
}
DAILY = [
    {"name": "count_1d", "aggregate": "count", "window": "1 day"},
    {"name": "sum_7d", "aggregate": "sum", "column": "amount", "window": "7 days", "data_type": "bigint"},
]

MODELS = {
    "models/plain.sql": JOIN.format(split="false", few="false", brief="false"),
    "models/split.sql": JOIN.format(split="true", few="false", brief="false"),
    "models/few.sql": JOIN.format(split="true", few="true", brief="false"),
    "models/day.sql": ROLLING.format(features=DAILY, since='"(select max(known_at) from standing)"'),
    "models/whole.sql": ROLLING.format(features=DAILY, since="none"),
} | {f"models/{name}.sql": ROLLING.format(features=calls, since="none") for name, calls in ROLLED.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One figure. value: a multiple of ``peer``'s CPU seconds in the same run."""

    name: str
    of: str
    peer: str
    value: float


@dataclass(frozen=True, slots=True)
class Bench:
    """A database in a file, the SQL of MODELS, and how much of the full size is measured."""

    connection: duckdb.DuckDBPyConnection
    sql: dict[str, str]
    scale: float

    def rows(self, full: int) -> int:
        return int(full * self.scale)

    def ratio(self, one: str, peer: str) -> float:
        """CPU seconds of filling a table from ``one``, as a multiple of ``peer``'s."""
        best = {one: float("inf"), peer: float("inf")}
        for _ in range(RUNS):
            for sql in best:
                best[sql] = min(best[sql], self.spent(f"create or replace temp table made as {sql}"))
        return best[one] / best[peer]

    def spent(self, statement: str) -> float:
        started = time.process_time()
        self.connection.execute(statement).fetchall()
        return time.process_time() - started


def joins(bench: Bench) -> Iterator[Found]:
    hand = by_hand([1])
    rows, labels = bench.rows(1_000_000), bench.rows(1_000_000)
    make_labels(bench.connection, labels)
    for late in (0.0, 0.1, 1.0):
        make_history(bench.connection, 1, rows=rows, late=late)
        name = f"join, {late:.0%} late"
        value = bench.ratio(bench.sql["plain"], hand)
        yield Found(name=name, of=f"{rows:,} rows, {labels:,} labels", peer="ASOF join by hand", value=value)
    rows, labels = bench.rows(10_000_000), bench.rows(1_000_000)
    make_history(bench.connection, 1, rows=rows, late=0.1)
    of = f"{rows:,} rows, {labels:,} labels"
    yield Found(
        name="deep join, 10% late", of=of, peer="ASOF join by hand", value=bench.ratio(bench.sql["split"], hand)
    )
    connection = bench.connection
    connection.execute("create or replace table every as from labels")
    connection.execute("create or replace table labels as from every where user_id % 100 = 0")
    whole = bench.sql["plain"].replace("labels", "every")
    yield Found(
        name="join of 1% of the entities", of=of, peer="of all of them", value=bench.ratio(bench.sql["few"], whole)
    )


def windows(bench: Bench) -> Iterator[Found]:
    events = bench.rows(2_000_000)
    bench.connection.execute(EVENTS.format(name="events", events=events, entities=events // 20, days=365))
    for name in ("max", "stddev"):
        value = bench.ratio(bench.sql[name], bench.sql["sum"])
        yield Found(name=f"rolling {name}", of=f"{events:,} events, 3 windows", peer="rolling sum", value=value)
    few, many = max(bench.rows(1_000_000), 400_000), bench.rows(10_000_000)  # 400,000: two of its longest windows
    spent = [day(bench, events) for events in (few, many)]
    yield Found(
        name="a day's incremental run", of=f"{many:,} events", peer=f"at {few:,} events", value=spent[1] / spent[0]
    )


def day(bench: Bench, events: int) -> float:
    """What dbt does in one run after a day of 27,000 events, some of them late."""
    bench.connection.execute(
        f"""
        create or replace table arriving as
        select
            (hash(i, 3) % 100000)::bigint as customer,
            timestamptz '2025-01-01' + to_microseconds(i * 3200000) as ordered_at,
            (hash(i, 5) % 10000)::bigint as amount,
            ordered_at + to_seconds(case when hash(i, 1) % 10 = 0 then (hash(i, 2) % 172800)::bigint else 0 end)
            as loaded_at
        from range({events}) as numbers(i)
        """
    )
    bench.connection.execute(
        "create or replace table events as from arriving"
        " where loaded_at <= (select max(loaded_at) - interval 3 day from arriving)"
    )
    bench.connection.execute(f"create or replace table standing as from ({bench.sql['whole']}) order by event_at")
    bench.connection.execute(
        "insert into events from arriving where loaded_at > (select max(loaded_at) from events)"
        " and loaded_at <= (select max(loaded_at) - interval 2 day from arriving)"
    )
    bench.connection.execute("checkpoint")
    spent = []
    for _ in range(RUNS):
        found = bench.spent(f"create or replace temp table made as {bench.sql['day']}")
        bench.connection.execute("begin")
        found += bench.spent(
            "delete from standing as old using made where made.customer = old.customer and made.event_at = old.event_at"
        )
        found += bench.spent("insert into standing by name from made")
        bench.connection.execute("rollback")
        spent.append(found)
    return min(spent)


MEASURED: tuple[Callable[[Bench], Iterator[Found]], ...] = (joins, windows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description="The figures that are held.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--write", action="store_true", help="write the table of docs/reference/performance.md")
    given = parser.parse_args()
    floors = json.loads(FLOORS.read_text(encoding="utf-8"))
    found = []
    missed = 0
    which = "quick" if given.quick else "floor"
    for each in measured(0.1 if given.quick else 1.0):
        found.append(each)
        floor = floors.get(each.name, {}).get(which)
        held = floor is not None and each.value <= floor
        missed += not held
        said = "" if held else "  MISSED" if floor is not None else f"  no floor in {FLOORS.name}"
        print(f"{each.name:32} {each.value:6.2f} x {each.peer} (floor {floor}, {each.of}){said}", flush=True)
    if given.write:
        command = "python -m benchmarks.figures" + " --quick" * given.quick
        limits = {name: {"goal": one["goal"], "floor": one.get(which, "-")} for name, one in floors.items()}
        written = page(PAGE.read_text(encoding="utf-8"), found, limits, f"`{command}`, {date.today().isoformat()}:")
        PAGE.write_text(written, encoding="utf-8")
    sys.exit(1 if missed else 0)


def measured(scale: float) -> Iterator[Found]:
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), feature_views([1]) | MODELS, name="bench")
        project.dbt("compile", "--no-introspect", "--no-populate-cache")
        sql = {
            Path(path).stem: project.compiled(Path(path).stem).replace('"bench"."main"."view_1_v1"', "history_1")
            for path in MODELS
        }
        with duckdb.connect(str(Path(folder) / "figures.duckdb")) as connection:
            connection.execute("set TimeZone = 'UTC'; set threads = 2; set memory_limit = '6GB'")
            for each in MEASURED:
                yield from each(Bench(connection, sql, scale))


def page(text: str, found: list[Found], limits: dict[str, dict[str, float]], said: str) -> str:
    """The page with what was ``found`` as the table between its MARKS. said: what stands above it."""
    lines = ["| figure | of | found | beside | goal | floor |", "|---|---|---|---|---|---|"]
    for each in found:
        held = limits.get(each.name, {})
        lines.append(
            f"| {each.name} | {each.of} | {each.value:.2f} | {each.peer} | {held.get('goal', '-')} |"
            f" {held.get('floor', '-')} |"
        )
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{said}\n\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}"


if __name__ == "__main__":
    main()
