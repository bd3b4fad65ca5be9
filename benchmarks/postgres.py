"""What it takes to read and encode latest values from PostgreSQL, beside DuckDB, and beside rows of psycopg.

    python -m benchmarks.postgres [rows]         # 200,000 by default; starts a PostgreSQL of its own
    python -m benchmarks.postgres memory [rows]  # the peak of that memory, at so many rows and at five times as many

CPU seconds of this process: the server's own are the same whoever asks. The second of two runs counts. Memory is that
of a process of its own which reads and encodes once.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa

from benchmarks.users import free_port
from feature_warehouse.project.profile import Output
from feature_warehouse.registry.feature import Entity, Feature, FeatureView, JoinKey
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.warehouse.postgres import open_postgres
from feature_warehouse.warehouse.source import Source
from feature_warehouse.wire.encode import Encoder, served_columns
from tests.support.postgres import Database, Postgres

#: Four doubles, three integers, two texts, a boolean.
FEATURES = {
    **{f"d{i}": ("double precision", f"i / {i + 3}.0") for i in range(4)},
    **{f"n{i}": ("bigint", f"i * {i + 7}") for i in range(3)},
    **{f"t{i}": ("varchar", f"'text {i} of ' || i") for i in range(2)},
    "flag": ("boolean", "i % 3 = 0"),
}
VIEW = FeatureView(
    name="users",
    version=1,
    entity=Entity("user", (JoinKey("user_id", "bigint"),)),
    features=tuple(
        Feature(name, type_.replace(" precision", ""), number)
        for number, (name, (type_, _)) in enumerate(FEATURES.items(), 2)
    ),
    event_timestamp="event_at",
    available_at=None,
)
SELECT = ", ".join(f"cast({sql} as {type_}) as {name}" for name, (type_, sql) in FEATURES.items())
TABLE = (
    "create table users as select cast(i as bigint) as user_id, timestamptz '2026-01-01 00:00:00+00' as event_at, "
    f"{SELECT} from generate_series(1, {{rows}}) as t(i)"
)


def encoded(source: Source) -> Iterator[pa.RecordBatch]:
    types = served_columns(VIEW)
    return source.batches(f"select {source.dialect.select_list(types)} from users", types)


def by_rows(database: Database) -> Iterator[pa.RecordBatch]:
    """As one would without Arrow: a cursor of the server's, and a Python object for each value."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=database.port, dbname=database.name, user=database.user, password=database.password
    )
    names = list(served_columns(VIEW))
    with connection, connection.cursor("rows") as cursor:
        cursor.itersize = 20_480
        cursor.execute(f"select {', '.join(names)} from users")
        while rows := cursor.fetchmany(20_480):
            columns = [pa.array(column) for column in zip(*rows, strict=True)]
            columns[1] = columns[1].cast(pa.timestamp("us", "UTC"))
            yield pa.record_batch(columns, names)
    connection.close()


def measured(name: str, batches: Callable[[], Iterator[pa.RecordBatch]], rows: int) -> float:
    encoder, seconds = Encoder("bench", VIEW), 0.0
    for _ in range(2):
        started, seen = time.process_time(), 0
        for batch in batches():
            seen += encoder.encode(batch).rows
        seconds = time.process_time() - started
        assert seen == rows, (name, seen)
    print(f"{name:<28} {seconds:6.2f} CPU s  {rows / seconds:12,.0f} rows per CPU s")
    return seconds


def memory(rows: int) -> None:
    with Postgres(free_port()) as server:
        database = server.create_database()
        peaks = []
        for number in (rows, 5 * rows):
            database.execute("drop table if exists users")
            database.execute(TABLE.format(rows=number))
            given = json.dumps(database.output())
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.postgres", "peak", given], check=True, capture_output=True, text=True
            )
            read, peak = said.stdout.split()
            assert int(read) == number, said.stdout
            peaks.append(int(peak))
            print(f"{number:>10,} rows: {peaks[-1]:,} MB at most")
    print(f"{peaks[1] / peaks[0]:.2f}x the memory for five times the rows")


def peak(given: dict[str, Any]) -> None:
    """Reads once; prints how many rows there were, and the MB that this process held at most."""
    output = Output(
        adapter="postgres", catalog=given["dbname"], schema="main", login={**given, "database": given["dbname"]}
    )
    encoder = Encoder("bench", VIEW)
    with open_postgres(output) as source:
        seen = sum(encoder.encode(batch).rows for batch in encoded(source))
    print(seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Postgres(free_port()) as server:
        path = Path(folder) / "users.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(TABLE.format(rows=rows))
        database = server.create_database()
        database.execute(TABLE.format(rows=rows))
        here = Output(adapter="duckdb", catalog="users", schema="main", path=str(path))
        there = Output(
            adapter="postgres",
            catalog=database.name,
            schema="main",
            login={**database.output(), "database": database.name},
        )
        with open_warehouse(here) as duck:
            of_duckdb = measured("DuckDB", lambda: encoded(duck), rows)
        with open_postgres(there) as postgres:
            of_postgres = measured("PostgreSQL by ADBC", lambda: encoded(postgres), rows)
        of_rows = measured("PostgreSQL by psycopg rows", lambda: by_rows(database), rows)
    print(f"ADBC: {of_rows / of_postgres:.1f}x as fast as rows, {of_duckdb / of_postgres:.2f} of DuckDB's rate")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["peak", given]:
            peak(json.loads(given))
        case ["memory", *rows]:
            memory(int(rows[0]) if rows else 200_000)
        case rows:
            main(int(rows[0]) if rows else 200_000)
