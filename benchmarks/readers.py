"""What readers notice of a full sync: the latency of `FeatureClient`, in a process of its own.

    python -m benchmarks.readers [ENTITIES] [ROWS_PER_SECOND]      default: 1,000,000 and 50,000

One reader asks for ten features of one entity, again and again: while nothing else happens; during a sync that rewrites
every row at full speed; and during another one under `--max-rows-per-second`. A sync's whole command counts, start-up,
reading and encoding too, which share the machine with the reader.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.users import NAMESPACE, build, free_port, sync
from feature_warehouse.store.embedded import EmbeddedServer
from tests.support.projects import Project

IDLE_SECONDS = 5.0

#: The reader, as a process of its own: for each line on stdin, says what it has met since the last one.
READER = """
import json, random, sys, threading, time
from feature_warehouse import FeatureClient

url, namespace, entities = sys.argv[1], sys.argv[2], int(sys.argv[3])
met = []

def read():
    choose = random.Random(0)
    with FeatureClient(url, namespace) as client:
        while True:
            user = {"user_id": f"user_{choose.randrange(entities)}"}
            started = time.perf_counter()
            client.get_online_features("churn", [user]).rows()
            met.append(time.perf_counter() - started)

threading.Thread(target=read, daemon=True).start()
for line in sys.stdin:
    seconds, met = sorted(met), []
    at = lambda share: seconds[min(len(seconds) - 1, int(share * len(seconds)))] if seconds else 0.0
    shares = {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1)}
    print(json.dumps({"reads": len(seconds), **shares}), flush=True)
"""


def main() -> None:
    entities, limit = [int(each.replace(",", "")) for each in sys.argv[1:]] + [1_000_000, 50_000][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(port=free_port()) as server:
        project = build(Path(folder), entities)
        sync(server.url, project.folder)
        command = [sys.executable, "-c", READER, server.url, NAMESPACE, str(entities)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            time.sleep(2)
            print(f"one reader, {entities:,} entities x 10 features, milliseconds a read")
            print(f"  {'':<26} {'sync':>8}  {'reads':>8}  {'p50':>6}  {'p99':>6}  {'p99.9':>6}  {'max':>6}")
            _met(reader)
            time.sleep(IDLE_SECONDS)
            _print("idle", _met(reader))
            for name, options in {
                "full sync": [],
                f"at most {limit:,} rows/s": ["--max-rows-per-second", str(limit)],
            }.items():
                _change_all(project)
                _met(reader)
                done = sync(server.url, project.folder, *options).result
                _print(name, _met(reader), done["seconds"])
                assert [view["written"] for view in done["views"]] == [entities]
            reader.terminate()


def _change_all(project: Project) -> None:
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("update users_v1 set count_0 = count_0 + 1")


def _met(reader: subprocess.Popen[str]) -> dict[str, Any]:
    """What the reader has met since it was last asked."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    met: dict[str, Any] = json.loads(reader.stdout.readline())
    return met


def _print(name: str, met: dict[str, Any], seconds: float | None = None) -> None:
    took = f"{seconds:6.1f} s" if seconds is not None else ""
    figures = "  ".join(f"{1000 * met[each]:6.2f}" for each in ("p50", "p99", "p999", "max"))
    print(f"  {name:<26} {took:>8}  {met['reads']:>8,}  {figures}", flush=True)


if __name__ == "__main__":
    main()
