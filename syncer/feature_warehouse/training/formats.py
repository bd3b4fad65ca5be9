"""The forms in which features come back: Arrow, pandas, Polars, Parquet; computed when one of them is asked for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_warehouse.errors import RequestError


class FeatureTable(ABC):
    """Rows with features that are ready to be computed; every ``to_...`` computes them once."""

    def to_arrow(self) -> pa.Table:
        with self._batches() as reader:
            return reader.read_all()

    def to_pandas(self) -> Any:
        """A pandas frame on Arrow types, so that integers beside NULLs stay integers."""
        import pandas as pd  # type: ignore[import-untyped]  # ships no types

        return self.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)

    def to_polars(self) -> Any:
        import polars as pl

        return pl.from_arrow(self.to_arrow())

    def to_parquet(self, path: str | Path) -> int:
        """Writes a Parquet file batch by batch, whatever its size; returns the number of rows.

        The file is there when it is complete: a run that fails leaves what was there before.
        """
        with self._batches() as reader:
            return write_parquet(Path(path), reader)

    @abstractmethod
    def _batches(self) -> AbstractContextManager[pa.RecordBatchReader]:
        """The rows, as a stream."""


def write_parquet(
    path: Path, reader: pa.RecordBatchReader, watch: Callable[[pa.RecordBatch], None] | None = None
) -> int:
    """Writes a stream to a Parquet file; ``watch`` sees each batch. Returns the number of rows."""
    check_destination(path)
    rows = 0
    unfinished = Path(f"{path}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, reader.schema) as writer:
            for batch in reader:
                rows += batch.num_rows
                writer.write_batch(batch)
                if watch is not None:
                    watch(batch)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def check_destination(path: Path) -> None:
    """Raises RequestError, before anything is computed, when ``path`` has no folder or is named as a CSV file."""
    if path.name.endswith((".csv", ".csv.gz")):
        raise RequestError(
            f"what is written is Parquet, and {path} is named as CSV", "give a name that ends in .parquet"
        )
    if not path.absolute().parent.is_dir():
        raise RequestError(f"the folder of {path} does not exist", "create it, or write elsewhere")
