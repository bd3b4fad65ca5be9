"""Opening the warehouse that a profile names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from feature_warehouse.project.profile import Output
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.warehouse.source import Source


def open_source(
    output: Output, stopped: Callable[[], bool] = lambda: False, patience: float | None = None
) -> AbstractContextManager[Source]:
    """The warehouse of a profile's output, to be read.

    ``patience``: seconds to wait for one that another process holds; None: as long as a sync does. Raises
    WarehouseError, and StoppedError once ``stopped`` says so while it waits.
    """
    return open_warehouse(output, stopped, patience)
