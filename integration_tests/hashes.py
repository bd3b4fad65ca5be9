"""The hashes of what `dbt build` has made here, beside the published ones.

    python hashes.py [--target postgres] [--profiles-dir ...]     arguments are dbt's own

Reads each table of hashes.txt through dbt's own adapter, gives its values the types that the model declares, and prints
its line. Ends with 0 where all are as published, with 1 where one is not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from dbt.adapters.factory import FACTORY
from dbt.cli.main import dbtRunner

from feature_warehouse import rows_hash

PUBLISHED = Path(__file__).parent / "hashes.txt"

_TYPES = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double precision": pa.float64(),
    "varchar": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


def arrow_type(declared: str) -> pa.DataType:
    if declared.endswith("[]"):
        return pa.list_(arrow_type(declared.removesuffix("[]")))
    if decimal := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", declared):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _TYPES[declared]


def as_table(rows: Iterable[Iterable[Any]], types: Mapping[str, str]) -> pa.Table:
    """Rows as a DB-API cursor gives them, in the declared types."""
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays = [pa.array(list(column), arrow_type(type_)) for column, type_ in zip(columns, types.values(), strict=True)]
    return pa.table(arrays, names=list(types))


def hashes(arguments: list[str]) -> dict[str, str]:
    """{model: the hash of its rows} of each published model, in the warehouse that dbt's arguments name."""
    parsed = dbtRunner().invoke(["--quiet", "--log-level-file", "none", "parse", *arguments])
    if not parsed.success:
        raise SystemExit(str(parsed.exception))
    (adapter,) = FACTORY.adapters.values()
    models = {node.alias: node for node in parsed.result.nodes.values() if node.resource_type == "model"}
    found = {}
    with adapter.connection_named("hashes"):
        for name in published():
            types = {column.name: column.data_type for column in models[name].columns.values()}
            listed = ", ".join(adapter.quote(column) for column in types)
            _, cursor = adapter.connections.add_query(f"select {listed} from {models[name].relation_name}")
            found[name] = rows_hash(as_table(cursor.fetchall(), types))
    return found


def published() -> dict[str, str]:
    return dict(line.split() for line in PUBLISHED.read_text().splitlines())


def main() -> int:
    found, expected = hashes(sys.argv[1:]), published()
    for name, value in found.items():
        sys.stdout.write(f"{name} {value}\n")
    wrong = [name for name, value in found.items() if value != expected[name]]
    for name in wrong:
        sys.stderr.write(f"{name} is not as published: {expected[name]}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
