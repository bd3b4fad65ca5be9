"""Opening the warehouse that a profile names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from feature_warehouse.errors import WarehouseError
from feature_warehouse.project.latest import LatestSql
from feature_warehouse.project.profile import Output
from feature_warehouse.warehouse.duckdb import DuckDB, open_warehouse
from feature_warehouse.warehouse.source import Source


def open_source(
    output: Output,
    stopped: Callable[[], bool] = lambda: False,
    patience: float | None = None,
    latest: LatestSql | None = None,
    tables: Iterable[str] = (),
) -> AbstractContextManager[Source]:
    """The warehouse of a profile's output, to be read.

    ``patience``: seconds to wait for one that another process holds; None: as long as a sync does. ``latest``: the SQL
    of latest values, for a warehouse whose views do not ask the session for the instant. ``tables``: what will be read,
    as SQL, for a warehouse where one that is replaced meanwhile would be empty. Raises WarehouseError, and StoppedError
    once ``stopped`` says so while it waits.
    """
    if output.adapter == "duckdb":
        return open_warehouse(output, stopped, patience)
    if output.adapter == "postgres":
        from feature_warehouse.warehouse.postgres import open_postgres  # with its driver, which few need

        return open_postgres(output, latest, tables)
    raise WarehouseError(
        f"the syncer does not read {output.adapter}", "it reads DuckDB and PostgreSQL: choose such a target (--target)"
    )


def open_duckdb(
    output: Output,
    purpose: str,
    patience: float | None = None,
    *,
    writable: bool = False,
    snapshots: Mapping[str, int] = MappingProxyType({}),
) -> AbstractContextManager[DuckDB]:
    """The same for what knows DuckDB alone; ``snapshots``: of DuckLakes, see ``open_warehouse``.

    Raises WarehouseError for any other: "<purpose> needs DuckDB".
    """
    if output.adapter != "duckdb":
        raise WarehouseError(
            f"{purpose} needs DuckDB, and the target is in {output.adapter}",
            "docs/guides/warehouses.md says which command works where; build the same project in a DuckDB target",
        )
    return open_warehouse(output, patience=patience, writable=writable, snapshots=snapshots)
