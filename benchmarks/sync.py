"""A full sync of generated entities, side by side with other ways to fill Redis; memory; and how soon a change is read.

    python -m benchmarks.sync [ENTITIES ...]      default: 1,000,000 5,000,000 10,000,000

Ten features an entity (see `users.py`), from the same DuckDB file into the same, emptied Redis:

- `syncer sync`;
- row by row: what one writes first, protobuf row by row and a redis-py pipeline; up to 5,000,000 entities;
- raw bytes: the finished protocol bytes of the same rows, sent over one socket: the server's own ceiling;
- Feast: `materialize` of 100,000 of the entities, from Parquet, in its own environment (`make bench` sets it up). Its
  time grows with the rows, so rows per second are compared. What both then read online is compared first.

Seconds of the work alone (the process's start-up is left out), CPU seconds of the whole process and of Redis: where the
machine has other things to do, these are the figures to compare. Then the peak memory of the syncer for each size; and,
at the first size, how long it takes from the start of the command until all of 1 % changed entities have been read as
changed through `FeatureClient`, while the other 99 % are unchanged.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import redis

from benchmarks.users import FEATURES, NAMESPACE, PATIENCE, Done, build, free_port, materialize, run, sync
from feature_warehouse import FeatureClient
from feature_warehouse.registry.document import from_json
from feature_warehouse.store.embedded import HOST, EmbeddedServer
from feature_warehouse.warehouse.duckdb import DIALECT
from feature_warehouse.wire.encode import Encoder, served_columns
from tests.support.projects import Project

SIZES = (1_000_000, 5_000_000, 10_000_000)

#: Up to so many entities, three runs; beyond, one.
OFTEN = 1_000_000

#: Up to so many entities, all that is compared; beyond, the syncer alone.
COMPARED = 5_000_000

FEAST_ROWS = 100_000
SAMPLE = 1_000

#: The whole row-by-row writer; run as a process of its own.
ROW_BY_ROW = """
import json, sys, time
import duckdb, redis
from feature_warehouse.wire.decode import message_class
from feature_warehouse.registry.document import from_json

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


@dataclass(frozen=True, slots=True)
class Cost:
    """Of writing some rows."""

    rows: int
    seconds: float = math.inf  # of the work
    cpu: float = math.inf  # seconds of the whole process
    redis: float = math.inf  # CPU seconds of Redis

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    def or_less(self, other: Cost) -> Cost:
        return Cost(self.rows, min(self.seconds, other.seconds), min(self.cpu, other.cpu), min(self.redis, other.redis))


def main() -> None:
    sizes = [int(size.replace(",", "")) for size in sys.argv[1:]] or SIZES
    peaks: dict[int, int] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, EmbeddedServer(port=free_port()) as server:
            project = build(Path(folder), size)
            _throughput(project, server.url, size, peaks, with_feast=size == sizes[0])
            if size == sizes[0]:
                _changes(project, server.url, size)
    print("peak memory of the syncer")
    for size in sizes:
        print(f"  {size:>12,} entities  {peaks[size] / 1e6:>7,.0f} MB   x{peaks[size] / peaks[sizes[0]]:.2f}")


def _throughput(project: Project, url: str, size: int, peaks: dict[int, int], *, with_feast: bool) -> None:
    def ours_once() -> Done:
        done = sync(url, project.folder)
        peaks[size] = max(peaks.get(size, 0), done.peak)
        return done

    def by_row_once() -> Done:
        return run(["-c", ROW_BY_ROW, project.database.name, "registry/registry.json", url, "other"], project.folder)

    runs = 3 if size <= OFTEN else 1
    ours = by_row = ceiling = Cost(size)
    with redis.Redis.from_url(url, socket_timeout=PATIENCE) as client:
        for _ in range(runs):
            ours = ours.or_less(_cost(client, size, ours_once))
            if size <= COMPARED:
                by_row = by_row.or_less(_cost(client, size, by_row_once))
                ceiling = ceiling.or_less(_raw(client, project, size))
        print(f"{size:,} entities x {len(FEATURES)} features, best of {runs}")
        print(f"  {'':<12} {'work':>8}  {'rows/s':>9}  {'CPU':>8}  {'of Redis':>8}")
        _line("syncer sync", ours)
        if size <= COMPARED:
            _line("row by row", by_row, f"{ours.rate / by_row.rate:.1f} times as fast")
            _line("raw bytes", ceiling, f"{ours.rate / ceiling.rate:.0%} of the server's ceiling")
        if with_feast:
            feast = _feast(client, project, url, min(size, FEAST_ROWS))
            _line("Feast", feast, f"{ours.rate / feast.rate:.1f} times as fast ({feast.rows:,} rows)")


def _line(name: str, cost: Cost, ours: str = "") -> None:
    cpu = f"{cost.cpu:6.2f} s" if cost.cpu < math.inf else ""
    said = f"  {name:<12} {cost.seconds:6.2f} s  {cost.rate:>9,.0f}  {cpu:>8}  {cost.redis:6.2f} s"
    print(f"{said}   ours: {ours}" if ours else said, flush=True)


def _cost(client: redis.Redis, rows: int, write: Callable[[], Done]) -> Cost:
    """What ``write``, a process that fills an empty Redis with ``rows`` keys, takes."""
    client.flushall()
    before = _cpu_of_redis(client)
    done = write()
    written = client.dbsize()
    assert written in (rows, rows + 2), f"{written:,} keys were written"  # 2: registry and markers
    return Cost(rows, done.result["seconds"], done.cpu, _cpu_of_redis(client) - before)


def _cpu_of_redis(client: redis.Redis) -> float:
    facts = client.info("cpu")
    return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


def _raw(client: redis.Redis, project: Project, rows: int) -> Cost:
    """Sending the rows' commands, made beforehand, over one socket, and reading the replies."""
    registry = from_json(json.loads((project.folder / "registry/registry.json").read_text()))
    view = registry.views["users.v1"]
    encoder = Encoder("raw", view)
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        batches = connection.sql(
            f"select {DIALECT.select_list(served_columns(view))} from latest_users_v1"
        ).to_arrow_reader(20_480)
        buffers = [encoder.encode(batch).commands() for batch in batches]
    client.flushall()
    before = _cpu_of_redis(client)
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
    return Cost(rows, seconds, redis=_cpu_of_redis(client) - before)


def _drain(connected: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(connected.recv(1 << 16))


def _feast(client: redis.Redis, project: Project, url: str, rows: int) -> Cost:
    """Feast's `materialize`, once what it serves was found to be what we serve."""
    client.flushall()
    sync(url, project.folder)
    users = [{"user_id": f"user_{i}"} for i in range(min(rows, SAMPLE))]
    with FeatureClient(url, NAMESPACE) as reader:
        served = reader.get_online_features("churn", users).rows()
    client.flushall()
    before = _cpu_of_redis(client)
    done = materialize(project, url, rows, sample=len(users))
    assert client.dbsize() == rows
    cost = Cost(rows, done.result["seconds"], done.cpu, _cpu_of_redis(client) - before)
    theirs = done.result["values"]
    for name in FEATURES:
        assert theirs[name] == [row[name] for row in served], f"Feast serves other values of {name}"
    return cost


def _changes(project: Project, url: str, entities: int) -> None:
    """Prints how long it takes from the command's start until 1 % changed entities have all been read as changed."""
    with redis.Redis.from_url(url, socket_timeout=PATIENCE) as client:
        client.flushall()
    sync(url, project.folder)
    least = math.inf
    for _ in range(3):
        with duckdb.connect(str(project.database)) as connection:
            chosen = "hash(user_id) % 100 = 0"
            connection.execute(f"update users_v1 set count_0 = count_0 + 1 where {chosen}")
            wanted = dict(connection.execute(f"select user_id, count_0 from users_v1 where {chosen}").fetchall())
        least = min(least, _until_read(project, url, wanted))
    print(f"  1 % changed ({len(wanted):,}), all read as changed {least:.2f} s after the command's start", flush=True)


def _until_read(project: Project, url: str, wanted: dict[str, int]) -> float:
    """Seconds from the command's start until the client has read each user's new value."""
    few, all_ = list(wanted)[:: max(1, len(wanted) // 100)], list(wanted)
    with FeatureClient(url, NAMESPACE) as reader:
        assert not _reads(reader, few, wanted)
        started = time.monotonic()
        command = [sys.executable, "-m", "feature_warehouse", "sync", "--json", "--url", url, "--profiles-dir", "."]
        process = subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True)
        # All are read only once a few of them are there: reading takes from the machine what the sync could use.
        while not (_reads(reader, few, wanted) and _reads(reader, all_, wanted)):
            time.sleep(0.01)
            assert time.monotonic() < started + 120
        seconds = time.monotonic() - started
    output, _ = process.communicate()
    (view,) = json.loads(output)["views"]
    assert (view["written"], view["read_back"]) == (len(wanted), None), view
    return seconds


def _reads(reader: FeatureClient, users: list[str], wanted: dict[str, int]) -> bool:
    """Whether the client reads what is wanted for each of these users."""
    rows = reader.get_online_features("churn", [{"user_id": user} for user in users]).rows()
    return [row["count_0"] for row in rows] == [wanted[user] for user in users]


if __name__ == "__main__":
    main()
