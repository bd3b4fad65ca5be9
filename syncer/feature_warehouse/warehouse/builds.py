"""The record of builds in a warehouse, which dbt's hooks keep; what its rows mean, `project.builds` knows."""

from __future__ import annotations

from typing import Any

from feature_warehouse.project.builds import COLUMNS, TABLE
from feature_warehouse.warehouse.source import Source

#: The adapters for which `macros/history/_record_begun.sql` writes; in no other warehouse will there ever be a record.
RECORDING = ("duckdb",)


def recorded_builds(source: Source, catalog: str, schema: str) -> list[tuple[Any, ...]] | None:
    """The rows of the record in a target's schema, in their order; None where there is none. Raises WarehouseError."""
    place = {"table_catalog": catalog, "table_schema": schema, "table_name": TABLE}
    texts = {column: name.replace("'", "''") for column, name in place.items()}
    where = " and ".join(f"{column} = '{text}'" for column, text in texts.items())
    if not _rows(source, f"select table_name from information_schema.tables where {where}"):
        return None
    relation = ".".join(source.dialect.quoted(part) for part in (catalog, schema, TABLE))
    columns = ", ".join(source.dialect.quoted(column) for column in COLUMNS)
    return _rows(source, f"select {columns} from {relation} order by number")


def _rows(source: Source, sql: str) -> list[tuple[Any, ...]]:
    batches = source.batches(sql, of="the record of builds")
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
