"""What a model may ask while dbt compiles it without a warehouse: the number of days between two dates, for one.

Macros like `dbt.date_spine` send such queries to the database. On DuckDB, one that reads nothing is answered in memory,
with the settings of the profile, and so alike on every machine; any other fails, and says which one it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from feature_warehouse.project.profile import Output
from feature_warehouse.sql.constants import is_constant

#: How a query that is not answered stands in dbt's report.
_REFUSED = re.compile(r"asked while it is compiled: <<(.*?)>>", re.DOTALL)


def refused_query(report: str) -> str:
    """The query that a model asked in vain, on one line; '' where the report of dbt is about something else."""
    found = _REFUSED.search(report)
    return " ".join(found[1].split()) if found else ""


def _set(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    quoted = value.replace("'", "''")
    # of an extension that is not loaded: none of its functions is one that a constant query may call
    with suppress(duckdb.CatalogException):
        connection.execute(f"set {name} = '{quoted}'")


@contextmanager
def answered(output: Output) -> Iterator[None]:
    """Queries of models are answered where they read nothing."""
    if output.adapter != "duckdb":
        yield
        return
    from dbt.adapters.contracts.connection import AdapterResponse
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.duckdb.impl import DuckDBAdapter
    from dbt_common.exceptions import DbtRuntimeError

    def execute(self: Any, sql: str, auto_begin: bool = False, fetch: bool = False, limit: int | None = None) -> Any:
        if not is_constant(sql):
            raise DbtRuntimeError(f"asked while it is compiled: <<{sql}>>")
        try:
            with duckdb.connect(":memory:") as connection:
                for name, value in output.settings.items():
                    _set(connection, name, str(value))
                table = manager.get_result_from_cursor(connection.execute(sql), limit)
        except duckdb.Error as error:
            raise DbtRuntimeError(str(error)) from error
        return AdapterResponse("OK"), table

    adapter: Any = DuckDBAdapter
    manager: Any = DuckDBConnectionManager
    own = adapter.__dict__.get("execute")
    adapter.execute = execute
    try:
        yield
    finally:
        if own is None:
            del adapter.execute
        else:
            adapter.execute = own
