"""Feast's `get_online_features(...).to_dict()`, timed in .venv-feast; benchmarks/online.py starts it.

One request on stdin, JSON; first the features are written into Feast's own Redis. A reply a line on stdout: the seconds
of each read, and the last answer of each number of entities, for comparison.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig  # type: ignore[import-not-found]
from feast.value_type import ValueType  # type: ignore[import-not-found]
from process import field_type  # type: ignore[import-not-found]  # beside this file


def make_store(folder: str, request: dict[str, Any]) -> tuple[FeatureStore, FeatureService]:
    store = FeatureStore(
        config=RepoConfig(
            project="peer",
            provider="local",
            registry=f"{folder}/registry.db",
            offline_store={"type": "duckdb"},
            online_store={"type": "redis", "connection_string": request["redis"]},
            entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.INT64)
    views = []
    for name, path in request["views"].items():
        schema = pq.read_schema(path)
        fields = [field for field in schema if field.name not in ("user_id", "event_at")]
        views.append(
            FeatureView(
                name=name,
                entities=[user],
                source=FileSource(name=f"{name}_source", path=path, timestamp_field="event_at"),
                schema=[Field(name=field.name, dtype=field_type(field.type)) for field in fields],
            )
        )
    service = FeatureService(name="service", features=views)
    store.apply([user, *views, service])
    for name, path in request["views"].items():
        store.write_to_online_store(name, pd.read_parquet(path))
    return store, service


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Feast prints, and the pipe is for replies alone
    request = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory() as folder:
        store, service = make_store(folder, request)
        replies.write(json.dumps("written") + "\n")
        for line in sys.stdin:
            seconds, answer = [], {}
            for ids in json.loads(line):
                rows = [{"user_id": number} for number in ids]
                started = time.perf_counter()
                answer = store.get_online_features(features=service, entity_rows=rows).to_dict()
                seconds.append(time.perf_counter() - started)
            replies.write(json.dumps({"seconds": seconds, "answer": answer}) + "\n")


if __name__ == "__main__":
    main()
