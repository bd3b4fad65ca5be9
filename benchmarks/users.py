"""What the measurements of the sync share: generated users in a dbt project, and processes whose cost is known.

A user has ten features: 4 double, 3 bigint, 3 varchar. They depend on the user's number alone, so that projects of
different sizes agree in the users that both have.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from feature_warehouse.store.embedded import HOST
from tests.support.feast import PYTHON as FEAST_PYTHON
from tests.support.projects import Project

NAMESPACE = "bench_dev"

#: Seconds for an answer of Redis: emptying it of millions of keys takes longer than its client would wait.
PATIENCE = 600

FEATURES = {
    **{f"ratio_{i}": ("double", f"hash(i, {i}) / 1e19") for i in range(4)},
    **{f"count_{i}": ("bigint", f"(hash(i, {i + 4}) % 100000)::bigint - 1000") for i in range(3)},
    **{f"label_{i}": ("varchar", f"md5((i * 7 + {i})::varchar)[:10]") for i in range(3)},
}

VIEW = """
models:
  - name: {name}
    config:
      materialized: table
      contract: {{enforced: true}}
      meta: {{feature_view: {{entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: none}}}}
    columns:
      - {{name: user_id, data_type: varchar}}
      - {{name: event_at, data_type: timestamptz}}
{columns}
    versions: [{{v: 1}}]
"""

SERVICE = """
exposures:
  - name: churn_v1
    type: ml
    owner: {{name: bench, email: bench@example.com}}
    depends_on: [{refs}]
    config:
      meta:
        feature_service: {{name: churn, version: 1, features: [{reads}]}}
"""


def build(folder: Path, entities: int, views: Sequence[str] = ("users",)) -> Project:
    """A built and registered project: ``views`` of one entity, each with the same features of so many users."""
    columns = "\n".join(f"      - {{name: {name}, data_type: {type_}}}" for name, (type_, _) in FEATURES.items())
    selected = ", ".join(f"{sql} as {name}" for name, (_, sql) in FEATURES.items())
    rows = f"select 'user_' || i as user_id, timestamptz '2026-01-01 00:00:00+00' as event_at, {selected}"
    # A service reads each name once: all views but the first one have a prefix.
    reads = ", ".join(
        f"{{view: {view}.v1, features: [{', '.join(FEATURES)}]{f', prefix: {view}_' if view != views[0] else ''}}}"
        for view in views
    )
    files = {"models/services.yml": SERVICE.format(refs=", ".join(f"\"ref('{v}', v=1)\"" for v in views), reads=reads)}
    for view in views:
        files |= {
            f"models/{view}_v1.sql": f"{rows} from range({entities}) as t(i)",
            f"models/latest_{view}_v1.sql": f"{{{{ feature_warehouse.latest_values(ref('{view}', v=1)) }}}}",
            f"models/{view}.yml": VIEW.format(name=view, columns=columns),
        }
    folder.mkdir(parents=True, exist_ok=True)
    project = Project(folder, files, name="bench")
    print(f"Building {entities:,} entities ...", file=sys.stderr)
    project.dbt("build")
    run(["-m", "feature_warehouse", "register"], folder)
    return project


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended well; of the whole process, start-up included."""

    output: str
    seconds: float
    cpu: float  # seconds, of all its threads
    peak: int  # bytes of memory

    @property
    def result(self) -> Any:
        """The JSON that it printed last."""
        return json.loads(self.output.splitlines()[-1])


#: Starts the process to be measured. Until it has been replaced by that, a started process counts the memory of the one
#: that started it: this one's, which may have grown large.
_LAUNCH = """
import os, sys
report, *command = sys.argv[1:]
_, status, used = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
os.write(int(report), b"%d %f %d" % (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss))
"""


def run(command: Sequence[str], folder: Path, python: str = sys.executable) -> Done:
    """Runs Python as a user would in the project's folder."""
    reading, writing = os.pipe()
    started = time.monotonic()
    with os.fdopen(reading) as report:
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCH, str(writing), python, *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            env=os.environ | {"DBT_PROFILES_DIR": "."},
            pass_fds=[writing],
            check=True,
        )
        seconds = time.monotonic() - started
        os.close(writing)
        code, cpu, peak = report.read().split()
    assert code == "0", f"{' '.join(command[:4])} ended with {code}"
    return Done(done.stdout.decode(), seconds, float(cpu), int(peak) * (1 if sys.platform == "darwin" else 1024))


def sync(url: str, folder: Path, *options: str) -> Done:
    return run(["-m", "feature_warehouse", "sync", "--json", "--url", url, *options], folder)


def materialize(project: Project, url: str, rows: int, views: Sequence[str] = ("users",), sample: int = 0) -> Done:
    """Feast's `materialize` of the first ``rows`` users into Redis; its result: seconds, and the sample's values."""
    files = {}
    with duckdb.connect(str(project.database), read_only=True) as connection:
        for view in views:
            files[view] = str(project.folder / f"feast_{view}.parquet")
            first = f"select * from {view}_v1 where substr(user_id, 6)::bigint < {rows}"
            connection.execute(f"copy ({first}) to '{files[view]}'")
    request = {"files": files, "url": url, "sample": [f"user_{i}" for i in range(sample)]}
    script = str(Path(__file__).parent / "feast_materialize.py")
    return run([script, json.dumps(request)], project.folder, python=str(FEAST_PYTHON))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
