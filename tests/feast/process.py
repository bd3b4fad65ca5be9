"""Feast's `get_historical_features`, asked through a pipe, in .venv-feast. The other end is tests/support/feast.py.

One request a line on stdin, one reply a line on stdout, both JSON; tables go through Arrow and Parquet files. A request
is whole in itself: views, labels and options. Views are registered anew each time, and each history file is read once,
so that no answer comes from something remembered.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import feast.types as feast_types  # type: ignore[import-not-found]  # installed in .venv-feast alone
import pandas as pd  # type: ignore[import-untyped]  # ships no types
import pyarrow as pa
import pyarrow.parquet as pq
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
)
from feast.value_type import ValueType  # type: ignore[import-not-found]

#: Feast infers no decimals from a Parquet file, so every type is declared.
FIELD_TYPES = {
    pa.bool_(): feast_types.Bool,
    pa.int32(): feast_types.Int32,
    pa.int64(): feast_types.Int64,
    pa.float32(): feast_types.Float32,
    pa.float64(): feast_types.Float64,
    pa.string(): feast_types.String,
    pa.binary(): feast_types.Bytes,
    pa.decimal128(18, 4): feast_types.Decimal,
    pa.timestamp("us", tz="UTC"): feast_types.UnixTimestamp,
}

KEY_TYPES = {pa.int32(): ValueType.INT32, pa.int64(): ValueType.INT64, pa.string(): ValueType.STRING}

#: pandas' own integers become floats beside a NULL, and texts that are all NULL lose their type; these do not.
TYPED = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.string(): pd.StringDtype()}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(
            config=RepoConfig(
                project="peer",
                provider="local",
                registry=f"{folder}/registry.db",
                offline_store={"type": "duckdb"},
                online_store=None,
                entity_key_serialization_version=3,
            )
        )
        service = register(store, request["reads"])
        with pa.OSFile(request["labels"]) as file:
            labels = pa.ipc.open_file(file).read_all()
        frame = labels.to_pandas(types_mapper=TYPED.get if request["typed_labels"] else None)
        started = time.perf_counter()
        job = store.get_historical_features(
            entity_df=frame,
            features=service,
            full_feature_names=request["full_feature_names"],
            filter_by_created_timestamp=request["filter_by_created_timestamp"],
        )
        table = pa.Table.from_pandas(job.to_df()) if request["as_pandas"] else job.to_arrow()
        seconds = time.perf_counter() - started
    with pa.OSFile(request["output"], "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return {"seconds": seconds}


def register(store: FeatureStore, reads: list[dict[str, Any]]) -> FeatureService:
    """One feature view a read, under the read's name; its join keys are found under the labels' names for them."""
    entities: dict[str, Entity] = {}
    views, projections = [], []
    for read in reads:
        schema = pq.read_schema(read["history"])
        for key in read["keys"]:
            entities[key] = Entity(name=key, join_keys=[key], value_type=KEY_TYPES[schema.field(key).type])
        view = FeatureView(
            name=read["name"],
            entities=[entities[key] for key in read["keys"]],
            ttl=timedelta(seconds=read["ttl_seconds"]),
            source=FileSource(
                name=f"{read['name']}_source",
                path=read["history"],
                timestamp_field=read["event_timestamp"],
                created_timestamp_column=read["created_timestamp"],
            ),
            schema=[Field(name=name, dtype=field_type(schema.field(name).type)) for name in read["features"]],
            online=False,
        )
        views.append(view)
        renamed = {key: column for key, column in read["keys"].items() if key != column}
        projections.append(view.with_join_key_map(renamed) if renamed else view)
    service = FeatureService(name="service", features=projections)
    store.apply([*entities.values(), *views, service])
    return service


def field_type(type_: pa.DataType) -> Any:
    return feast_types.Array(field_type(type_.value_type)) if pa.types.is_list(type_) else FIELD_TYPES[type_]


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # Feast prints, and the pipe is for replies alone
    replies.write(json.dumps({"version": version("feast")}) + "\n")
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
