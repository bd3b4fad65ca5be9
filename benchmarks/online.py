"""Online reads against what they cannot be faster than, and against the Feast package, on the same values.

    python -m benchmarks.online [USERS]      default: 100,000 users, 3 feature views of 10 features

p50 and p99 of one read of 1, 100 and 1,000 entities, each time other ones, one reader at a time:

- floor: the bytes of the same Redis commands, made beforehand, over one socket, and its replies read and thrown away
- features: `FeatureClient.get_online_features`: all values decoded; then with `to_numpy`, `to_arrow`, `to_dict`, `rows`
- async: the same by `AsyncFeatureClient`, with `to_dict`
- pipeline: what one writes first: a pipeline of the Redis library, and protobuf row by row, into dicts
- Feast: `FeatureStore.get_online_features(...).to_dict()`, in its own process and environment, from the same Redis

Rounds of all of them take turns, each time in another order, and each figure is that of its best round: a machine's
noise falls on all, and how deeply a virtual processor sleeps depends on the pauses of what ran before. Then the
throughput of two processes. Answers are compared, value by value, before a figure is printed.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import redis

from benchmarks.served import NAMESPACE, VIEWS, build, features, free_port
from feature_warehouse import AsyncFeatureClient, FeatureClient
from feature_warehouse.registry.document import from_document
from feature_warehouse.store.embedded import HOST, EmbeddedServer
from feature_warehouse.wire.decode import Decoder
from feature_warehouse.wire.resp import hmget
from tests.support.feast import HERE, PYTHON

#: Entities in one read -> reads in one round.
SIZES = {1: 500, 100: 100, 1_000: 20}
ROUNDS = 15
FIELDS = tuple(f"{view}:1".encode() for view in VIEWS)

Rows = list[dict[str, Any]]


class Floor:
    """The exchange itself: prepared bytes out, as many bytes in as will come."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def prepared(self, rows: Rows) -> Callable[[], None]:
        keys = [f"{NAMESPACE}:user:{row['user_id']}".encode() for row in rows]
        request = hmget([f"{NAMESPACE}:#markers".encode()], (*FIELDS, b"#registry")) + hmget(keys, FIELDS)
        self._socket.sendall(request)
        self._socket.settimeout(0.05)  # what has not come by then will not
        size = 0
        try:
            while True:
                size += len(self._socket.recv(1 << 20))
        except TimeoutError:
            self._socket.settimeout(None)

        def exchange() -> None:
            self._socket.sendall(request)
            left = size
            while left:
                left -= len(self._socket.recv(1 << 17))

        return exchange


class Pipeline:
    """The library's pipeline, and one protobuf message after the other."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        views = from_document(self._client.get(f"{NAMESPACE}:#registry")).views  # type: ignore[arg-type]
        self._decoders = [Decoder(views[f"{view}.v1"]) for view in VIEWS]

    def read(self, rows: Rows) -> list[dict[str, Any]]:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(f"{NAMESPACE}:#markers", [*FIELDS, b"#registry"])
            for row in rows:
                pipe.hmget(f"{NAMESPACE}:user:{row['user_id']}", FIELDS)
            _, *replies = pipe.execute()
        found = []
        for messages in replies:
            values: dict[str, Any] = {}
            for decoder, message in zip(self._decoders, messages, strict=True):
                values.update(decoder.decode(message)[1])
            found.append(values)
        return found


class Feast:
    """Feast in its own process; it times itself."""

    def __init__(self, folder: Path, port: int) -> None:
        self._process = subprocess.Popen(
            [PYTHON, HERE / "online.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        views = {view: str(folder / f"{view}.parquet") for view in VIEWS}
        assert self._ask({"redis": f"{HOST}:{port}", "views": views}) == "written"

    def times(self, reads: Sequence[Rows]) -> tuple[list[float], dict[str, list[Any]]]:
        reply = self._ask([[row["user_id"] for row in rows] for rows in reads])
        return reply["seconds"], reply["answer"]

    def _ask(self, request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "Feast's process has ended; run tests/feast/online.py by hand to see why"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    users = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name, EmbeddedServer(port=free_port()) as server:
        build(Path(name), users, server.url)
        feast = Feast(Path(name), server.port)
        try:
            measure(server, users, feast)
        finally:
            feast.close()
        throughput(server.url, users)


def measure(server: EmbeddedServer, users: int, feast: Feast) -> None:
    reader, floor, pipeline = FeatureClient(server.url, NAMESPACE), Floor(server.port), Pipeline(server.url)
    loop = asyncio.new_event_loop()
    twin = AsyncFeatureClient(server.url, NAMESPACE)

    def read(rows: Rows) -> Any:
        return reader.get_online_features("churn", rows)

    async def read_async(rows: Rows) -> dict[str, list[Any]]:
        return (await twin.get_online_features("churn", rows)).to_dict()

    ways: dict[str, Callable[[Rows], Any]] = {
        "features": read,
        "to_numpy": lambda rows: read(rows).to_numpy(),
        "to_arrow": lambda rows: read(rows).to_arrow(),
        "to_dict": lambda rows: read(rows).to_dict(),
        "rows": lambda rows: read(rows).rows(),
        "pipeline": pipeline.read,
    }
    compare(ways, feast, users)
    print(f"{users:,} users, {len(VIEWS)} feature views x {len(features(VIEWS[0]))} features; milliseconds, p50 / p99")
    for size, reads in SIZES.items():
        drawn = [[{"user_id": number} for number in random.sample(range(users), size)] for _ in range(reads)]
        runs = {"floor": [floor.prepared(rows) for rows in drawn]}  # of the same entities: Redis finds none more easily
        runs |= {name: [partial(way, rows) for rows in drawn] for name, way in ways.items()}
        best: dict[str, tuple[float, float]] = {}
        for _ in range(ROUNDS):
            seconds = {name: [*map(timed, each)] for name, each in random.sample(list(runs.items()), len(runs))}
            seconds["async"] = loop.run_until_complete(timed_async(read_async, drawn))
            seconds["Feast"] = feast.times(drawn)[0]
            for name, each in seconds.items():
                best[name] = min(best.get(name, (1e9, 1e9)), quantiles(each))
        print(f"  {size:,} {'entity' if size == 1 else 'entities'} a read")
        for name in (*runs, "async", "Feast"):
            half, most = best[name]
            to_floor = f"{half / best['floor'][0]:6.2f} x floor"
            to_feast = f"{best['Feast'][0] / half:6.1f} x faster than Feast" if name != "Feast" else ""
            print(f"    {name:<9} {half * 1e3:8.3f} / {most * 1e3:8.3f}  {to_floor}  {to_feast}", flush=True)
    loop.run_until_complete(twin.close())
    loop.close()
    reader.close()


def compare(ways: dict[str, Callable[[Rows], Any]], feast: Feast, users: int) -> None:
    rows = [{"user_id": number} for number in random.sample(range(users), 1_000)]
    wanted = ways["to_dict"](rows)
    assert len(wanted) == 30
    _, (theirs) = feast.times([rows])
    assert {name: theirs[name] for name in wanted} == wanted
    assert ways["to_arrow"](rows).to_pydict() == wanted
    assert {name: column.tolist() for name, column in ways["to_numpy"](rows).items()} == wanted
    assert ways["rows"](rows) == ways["pipeline"](rows)


def timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


async def timed_async(run: Callable[[Rows], Any], reads: Sequence[Rows]) -> list[float]:
    seconds = []
    for rows in reads:
        started = time.perf_counter()
        await run(rows)
        seconds.append(time.perf_counter() - started)
    return seconds


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """(p50, p99)."""
    return statistics.median(seconds), sorted(seconds)[len(seconds) * 99 // 100]


def throughput(url: str, users: int, processes: int = 2, seconds: float = 3.0) -> None:
    """Entities a second that so many readers, each in a process of its own, get as dicts."""
    context = multiprocessing.get_context("spawn")
    print(f"  {processes} processes, to_dict")
    for size in SIZES:
        with context.Pool(processes) as pool:
            reads = sum(pool.starmap(read_for, [(url, users, size, seconds)] * processes))
        print(
            f"    {size:>5,} a read  {reads / seconds:9,.0f} reads/s  {reads * size / seconds:11,.0f} entities/s",
            flush=True,
        )


def read_for(url: str, users: int, size: int, seconds: float) -> int:
    """Reads until the time is over; how many."""
    drawn = [[{"user_id": number} for number in random.sample(range(users), size)] for _ in range(50)]
    reads = 0
    with FeatureClient(url, NAMESPACE) as reader:
        reader.get_online_features("churn", drawn[0])
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            reader.get_online_features("churn", drawn[reads % 50]).to_dict()
            reads += 1
    return reads


if __name__ == "__main__":
    main()
