"""Feast's `materialize` from Parquet files into Redis, run in .venv-feast; see `users.materialize`.

One feature view a file, all of one entity. Prints the seconds of the call, without start-up and registration, and the
values that Feast then reads online for a sample of users.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from feast import (  # type: ignore[import-not-found]  # installed in .venv-feast alone
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
)
from feast.types import Float64, Int64, String  # type: ignore[import-not-found]
from feast.value_type import ValueType  # type: ignore[import-not-found]

TYPES = {pa.float64(): Float64, pa.int64(): Int64, pa.string(): String}


def main() -> None:
    request = json.loads(sys.argv[1])
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Feast prints
    with tempfile.TemporaryDirectory() as folder:
        server = urlsplit(request["url"])
        store = FeatureStore(
            config=RepoConfig(
                project="bench",
                provider="local",
                registry=f"{folder}/registry.db",
                offline_store={"type": "duckdb"},
                online_store={"type": "redis", "connection_string": f"{server.hostname}:{server.port}"},
                entity_key_serialization_version=3,
            )
        )
        user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.STRING)
        views = [
            FeatureView(
                name=name,
                entities=[user],
                ttl=timedelta(0),
                source=FileSource(name=f"{name}_source", path=path, timestamp_field="event_at"),
                schema=[
                    Field(name=field.name, dtype=TYPES[field.type])
                    for field in pq.read_schema(path)
                    if field.name not in ("user_id", "event_at")
                ],
            )
            for name, path in request["files"].items()
        ]
        store.apply([user, *views])
        started = time.monotonic()
        store.materialize(datetime(2025, 12, 31, tzinfo=timezone.utc), datetime(2026, 1, 2, tzinfo=timezone.utc))
        seconds = time.monotonic() - started
        values = {}
        if request["sample"]:
            features = [f"{view.name}:{field.name}" for view in views for field in view.features]
            rows = [{"user_id": key} for key in request["sample"]]
            values = store.get_online_features(features=features, entity_rows=rows).to_dict()
    result.write(json.dumps({"seconds": seconds, "values": values}) + "\n")
    result.close()


if __name__ == "__main__":
    main()
