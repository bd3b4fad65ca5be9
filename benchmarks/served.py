"""Generated users in a Redis, as a sync leaves them, for the measurements of reading: a project, synced by `syncer`.

3 feature views of 10 features each: 4 double, 3 bigint, 3 varchar of ten characters. User i has the key i.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import duckdb

from feature_warehouse.store.embedded import HOST
from tests.support.projects import Project

NAMESPACE = "bench_dev"
VIEWS = ("profile", "activity", "spending")

VIEW = """
  - name: {name}
    config:
      materialized: table
      contract: {{enforced: true}}
      meta: {{feature_view: {{entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: none}}}}
    columns:
      - {{name: user_id, data_type: bigint}}
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
        feature_service:
          name: churn
          version: 1
          features:
{reads}
"""


def features(view: str) -> dict[str, tuple[str, str]]:
    """{name: (type, SQL of user i)}."""
    seed = VIEWS.index(view) * 10
    return {
        **{f"{view}_ratio_{n}": ("double", f"hash(i, {seed + n}) / 1e19") for n in range(4)},
        **{f"{view}_count_{n}": ("bigint", f"(hash(i, {seed + n + 4}) % 100000)::bigint - 1000") for n in range(3)},
        **{f"{view}_label_{n}": ("varchar", f"md5((i * 7 + {seed + n})::varchar)[:10]") for n in range(3)},
    }


def build(folder: Path, users: int, url: str) -> Project:
    """A project whose features are in the Redis at ``url``, and each view in ``<view>.parquet`` beside it."""
    files = {}
    models, reads = ["models:"], []
    for view in VIEWS:
        named = features(view)
        selected = ", ".join(f"{sql} as {name}" for name, (_, sql) in named.items())
        files[f"models/{view}_v1.sql"] = (
            f"select i as user_id, date_trunc('second', now()) as event_at, {selected} from range({users}) as t(i)"
        )
        files[f"models/latest_{view}_v1.sql"] = f"{{{{ feature_warehouse.latest_values(ref('{view}', v=1)) }}}}"
        columns = "\n".join(f"      - {{name: {name}, data_type: {type_}}}" for name, (type_, _) in named.items())
        models.append(VIEW.format(name=view, columns=columns))
        reads.append(f"            - {{view: {view}.v1, features: [{', '.join(named)}]}}")
    files["models/views.yml"] = "\n".join(models)
    refs = ", ".join(f"\"ref('{view}', v=1)\"" for view in VIEWS)
    files["models/services.yml"] = SERVICE.format(refs=refs, reads="\n".join(reads))
    project = Project(folder, files, name="bench")
    project.dbt("build")
    for command in (["register"], ["sync", "--url", url]):
        environment = os.environ | {"DBT_PROFILES_DIR": "."}
        subprocess.run(
            [sys.executable, "-m", "feature_warehouse", *command], cwd=folder, check=True, env=environment, stdout=2
        )
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for view in VIEWS:
            connection.execute(f"copy {view}_v1 to '{folder}/{view}.parquet'")
    return project


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
