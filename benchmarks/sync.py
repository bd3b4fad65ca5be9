"""A full sync of generated entities, side by side with what one writes first: protobuf row by row, a redis-py pipeline.

    python -m benchmarks.sync [ENTITIES]      default 1,000,000 entities x 10 features: 4 double, 3 bigint, 3 varchar

Both read the same DuckDB file and write the same messages into the same, emptied Redis. Two figures each: the seconds
of the work itself, and those of the whole process; the difference is start-up. The machine's noise falls on both: the
ratio is the figure to quote.

Beside them, of the same rows: the server's own ceiling (the finished protocol bytes, sent over one socket); the peak
memory of the syncer's process; and how long it takes until a change of 1 % of the entities is readable online, from the
start of the command.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import redis

from syncer.encode import Encoder, select_list
from syncer.registry import from_json
from syncer.server import HOST, EmbeddedServer
from tests.support.projects import Project

RUNS = 3

FEATURES = {
    **{f"ratio_{i}": ("double", f"hash(i, {i}) / 1e19") for i in range(4)},
    **{f"count_{i}": ("bigint", f"(hash(i, {i + 4}) % 100000)::bigint - 1000") for i in range(3)},
    **{f"label_{i}": ("varchar", f"md5((i * 7 + {i})::varchar)[:10]") for i in range(3)},
}

VIEW = """
models:
  - name: users
    config:
      materialized: table
      contract: {enforced: true}
      meta: {feature_view: {entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: none}}
    columns:
      - {name: user_id, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
"""

SERVICE = """
exposures:
  - name: churn_v1
    type: ml
    owner: {{name: bench, email: bench@example.com}}
    depends_on: ["ref('users', v=1)"]
    config:
      meta:
        feature_service: {{name: churn, version: 1, features: [{{view: users.v1, features: [{names}]}}]}}
"""

#: The whole row-by-row writer; run as a process of its own.
ROW_BY_ROW = """
import json, sys, time
import duckdb, redis
from syncer.decode import message_class
from syncer.registry import from_json

started = time.monotonic()
database, registry, url, namespace = sys.argv[1:]
view = from_json(json.load(open(registry))).views["users.v1"]
message = message_class(view)
names = [feature.name for feature in view.numbered]
connection = duckdb.connect(database, read_only=True)
result = connection.execute(f"select user_id, epoch_us(event_at), {', '.join(names)} from latest_users_v1")
client = redis.Redis.from_url(url)
while rows := result.fetchmany(10_000):
    pipe = client.pipeline(transaction=False)
    for key, event_time, *values in rows:
        fields = {name: value for name, value in zip(names, values) if value is not None}
        pipe.hset(f"{namespace}:user:{key}", "users:1", message(event_time=event_time, **fields).SerializeToString())
    pipe.execute()
print(json.dumps({"seconds": time.monotonic() - started}))
"""


def main() -> None:
    entities = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(port=_free_port()) as server:
        project = _build(Path(folder), entities)
        row_by_row = [ROW_BY_ROW, project.database.name, "registry/registry.json", server.url, "other"]
        commands = {
            "syncer sync": ["-m", "syncer", "sync", "--json", "--url", server.url],
            "row by row": ["-c", *row_by_row],
        }
        ceiling = changed = math.inf
        memory = 0
        work: dict[str, list[float]] = {name: [] for name in commands}
        process: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                with redis.Redis.from_url(server.url) as client:
                    client.flushall()
                    started = time.monotonic()
                    work[name].append(json.loads(_run(command, project.folder).splitlines()[-1])["seconds"])
                    process[name].append(time.monotonic() - started)
                    written = client.dbsize()
                assert written in (entities, entities + 2), f"{name} wrote {written} keys"  # 2: registry and markers
                memory = max(memory, _children_peak()) if name == "syncer sync" and not memory else memory
            ceiling = min(ceiling, _raw(server.url, project))
        for run in range(1, RUNS + 1):
            changed = min(changed, _one_percent(server.url, project, entities, run))
    print(f"{entities:,} entities x {len(FEATURES)} features, best of {RUNS} runs")
    print(f"  {'':<12} {'work':>8}  {'rows/s':>9}  {'process':>8}")
    for name in commands:
        rate = entities / min(work[name])
        print(f"  {name:<12} {min(work[name]):6.2f} s  {rate:>9,.0f}  {min(process[name]):6.2f} s")
    ours, theirs = commands
    in_work, in_process = (min(seconds[theirs]) / min(seconds[ours]) for seconds in (work, process))
    print(f"  {'raw bytes':<12} {ceiling:6.2f} s  {entities / ceiling:>9,.0f}")
    print(f"  {'ratio':<12} {in_work:8.2f}  {'':>9}  {in_process:8.2f}")
    print(f"  of the server's ceiling: {ceiling / min(work[ours]):.0%}")
    print(f"  peak memory of the syncer: {memory / 1e6:,.0f} MB")
    print(f"  1 % changed, readable after {changed:.2f} s")


def _build(folder: Path, entities: int) -> Project:
    columns = "".join(f"      - {{name: {name}, data_type: {type_}}}\n" for name, (type_, _) in FEATURES.items())
    selected = ", ".join(f"{sql} as {name}" for name, (_, sql) in FEATURES.items())
    project = Project(
        folder,
        {
            "models/users_v1.sql": "select 'user_' || i as user_id, timestamptz '2026-01-01 00:00:00+00' as event_at, "
            f"{selected} from range({entities}) as t(i)",
            "models/latest_users_v1.sql": "{{ feature_warehouse.latest_values(ref('users', v=1)) }}",
            "models/users.yml": VIEW + columns + "    versions: [{v: 1}]\n",
            "models/services.yml": SERVICE.format(names=", ".join(FEATURES)),
        },
        name="bench",
    )
    print(f"Building {entities:,} entities ...", file=sys.stderr)
    project.dbt("build")
    _run(["-m", "syncer", "register"], folder)
    return project


def _children_peak() -> int:
    """The largest memory, in bytes, that a process started by this one has taken so far."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _raw(url: str, project: Project) -> float:
    """Seconds to send the rows' commands, made beforehand, over one socket, and to read the replies."""
    registry = from_json(json.loads((project.folder / "registry/registry.json").read_text()))
    view = registry.views["users.v1"]
    encoder = Encoder("raw", view)
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        batches = connection.sql(f"select {select_list(view)} from latest_users_v1").to_arrow_reader(20_480)
        encoded = [encoder.encode(batch) for batch in batches]
    rows, buffers = sum(batch.rows for batch in encoded), [batch.commands() for batch in encoded]
    with redis.Redis.from_url(url) as client:
        client.flushall()
        port = int(client.connection_pool.connection_kwargs["port"])
        with socket.create_connection((HOST, port)) as connected:
            replies = threading.Thread(target=_drain, args=(connected, 4 * rows))  # b":1\r\n" each
            started = time.monotonic()
            replies.start()
            for buffer in buffers:
                connected.sendall(buffer)
            replies.join()
            seconds = time.monotonic() - started
        assert client.dbsize() == rows
        client.flushall()
    return seconds


def _drain(connected: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(connected.recv(1 << 16))


def _one_percent(url: str, project: Project, entities: int, run: int) -> float:
    """Seconds from the command's start until the last of 1 % changed entities reads as changed."""
    _run(["-m", "syncer", "sync", "--json", "--url", url], project.folder)
    with duckdb.connect(str(project.database)) as connection:
        connection.execute(f"update users_v1 set count_0 = count_0 + {run} where hash(user_id) % 100 = 0")
    started = time.monotonic()
    done = json.loads(_run(["-m", "syncer", "sync", "--json", "--url", url], project.folder))
    seconds = time.monotonic() - started
    (view,) = done["views"]
    assert 0 < view["written"] < entities / 50, view
    assert view["read_back"] is None, view
    return seconds


def _run(command: list[str], folder: Path) -> str:
    """What a Python process prints, run as a user would in the project's folder."""
    environment = os.environ | {"DBT_PROFILES_DIR": "."}
    done = subprocess.run([sys.executable, *command], cwd=folder, check=True, stdout=subprocess.PIPE, env=environment)
    return done.stdout.decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
