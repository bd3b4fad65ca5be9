"""Rows of another warehouse in a DuckDB of our own: spooled to a temporary folder, then joined and computed there.

What DuckDB computes means the same whatever warehouse the rows come from: features on demand, the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow.parquet as pq

from feature_warehouse.warehouse.duckdb import DIALECT, DuckDB
from feature_warehouse.warehouse.source import Source


class Local(DuckDB):
    """A DuckDB in memory, with a folder for what it is given and for what does not fit."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        super().__init__(connection)
        self._folder = folder

    def fetch(self, source: Source, sql: str, name: str, types: Mapping[str, str], of: str) -> dict[str, str]:
        """Makes the rows of a query of ``source`` readable as ``name``; returns {column: DuckDB type}.

        types: {column: type} as they are to be here; the others stay as they come. Raises WarehouseError and DataError.
        """
        path, found = self._folder / f"{name}.parquet", dict[str, str]()
        batches = source.batches(sql, types, of=of)
        first = next(batches)
        with pq.ParquetWriter(path, first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
        for column in first.schema.names:
            found[column] = types.get(column, "")
        listed = ", ".join(
            f"cast({DIALECT.quoted(column)} as {type_}) as {DIALECT.quoted(column)}"
            if type_
            else DIALECT.quoted(column)
            for column, type_ in found.items()
        )
        return self.add(name, f"select {listed} from read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')")


@contextmanager
def open_local() -> Iterator[Local]:
    """An empty one, in UTC; its folder is gone once the ``with`` block has ended."""
    with TemporaryDirectory(prefix="feature_warehouse_") as folder, duckdb.connect() as connection:
        connection.execute("set temp_directory = ?", [str(Path(folder) / "spilled")])
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set asof_loop_join_threshold = 0")
        connection.begin()
        yield Local(connection, Path(folder))
