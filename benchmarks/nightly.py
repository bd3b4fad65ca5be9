"""Two nightly jobs and a reader on one PostgreSQL: whether anybody fails, or waits for long.

    python -m benchmarks.nightly [cycles]        # 50 by default; starts a PostgreSQL and a Redis of its own

Each job is a process of dbt's that builds one history anew, and what hangs on it, as often as it can; a sync after the
other reads both meanwhile. A job or a sync that fails ends the measurement with its words. Each sync must find as many
rows as stand in the histories at any moment.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.users import free_port
from feature_warehouse.store.embedded import EmbeddedServer
from tests.support import movable
from tests.support.postgres import Postgres
from tests.support.projects import ROOT

#: One job: dbt in a process of its own, with a folder of its own for what it compiles.
_JOB = """
import sys
from dbt.cli.main import dbtRunner
folder, target, select, cycles = sys.argv[1:]
place = ["--project-dir", folder, "--profiles-dir", folder, "--target-path", target]
quietly = ["--quiet", "--no-write-json", "--log-level-file", "none"]
graph = dbtRunner().invoke(["--quiet", "parse", *place]).result
for cycle in range(int(cycles)):
    done = dbtRunner(manifest=graph).invoke([*quietly, "run", "--select", select, *place])
    if not done.success:
        said = [done.exception, *(one.message for one in done.result.results if one.message)]
        sys.exit(f"{select}, cycle {cycle}: {said}")
"""


def main(cycles: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Postgres(free_port()) as server,
        EmbeddedServer(port=free_port()) as redis,
    ):
        database, home = server.create_database(), Path(folder)
        duck = movable.build(home / "duck")
        moved = movable.move(duck, home / "shop", database.output())
        shop = moved.at(moved.folder, redis.url)
        shop.syncer("sync")
        jobs = [
            subprocess.Popen([sys.executable, "-c", _JOB, moved.folder, home / view, f"{view}+", str(cycles)], cwd=ROOT)
            for view in ("orders", "stock")
        ]
        seconds: list[float] = []
        try:
            while any(job.poll() is None for job in jobs):
                started = time.perf_counter()
                synced = json.loads(shop.syncer("sync", "--json"))
                seconds.append(time.perf_counter() - started)
                assert [view["rows"] for view in synced["views"]] == [4, 2], synced
        finally:
            for job in jobs:
                job.terminate()
        assert [job.wait() for job in jobs] == [0, 0]
        assert "0 differences" in shop.syncer("verify")
    middle, longest = statistics.median(seconds), max(seconds)
    print(f"2 jobs of {cycles} runs each, {len(seconds)} syncs meanwhile: no error")
    print(f"a sync took {middle:.2f} s in the middle, {longest:.2f} s at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
