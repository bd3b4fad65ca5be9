"""The seam: where rows come from. What the syncer asks of a warehouse, and nothing of how one answers.

A ``Source`` is read; a ``Ledger`` is appended to. ``duckdb`` is both. Whatever is particular to an engine and no more
than a name stands in its ``Dialect``, as plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from feature_warehouse.errors import DataError, WarehouseError
from feature_warehouse.registry.types import canonical
from feature_warehouse.wire.encode import AS_TEXT

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_warehouse.project.declarations import DeclaredView


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one engine writes what all of them have.

    adapter: its name among dbt's adapters. title: its name for people. quote: around an identifier, doubled inside.
    folds: what an identifier without quotes becomes. types: the engine's own names of types that are not among those of
    ``registry.types``, with the canonical ones. names: what it calls canonical types whose name it does not know.
    selected: how columns of a canonical type are selected, "[]" for lists of any kind, where their name alone will not
    do; in it ``{column}`` is the name and ``{type}`` the type. hashed: an order-free hash of all rows as text, from
    ``{columns}``, of which lists are written as ``hashed_list``. instant_text: ``{instant}`` in ISO 8601.
    """

    adapter: str
    title: str
    quote: str = '"'
    folds: str = "lower"
    types: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    selected: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(AS_TEXT, "cast({column} as varchar)"))

    hashed: str = "coalesce(sum(hash({columns})), 0)::varchar"
    hashed_list: str = "{column}, len({column})"  # [] is no NULL
    instant_text: str = "strftime({instant}, '%Y-%m-%dT%H:%M:%S.%fZ')"

    def quoted(self, name: str) -> str:
        """An identifier as SQL."""
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote

    def canonical(self, type_: str) -> str:
        """The canonical name of a type that the engine calls ``type_``."""
        return self.types.get(type_.lower()) or canonical(type_)

    def select_list(self, types: Mapping[str, str]) -> str:
        """Select expressions for {column: canonical type}: each keeps its name and arrives as ``Encoder`` expects it.

        Nothing is cast that Arrow can carry: a column whose type has drifted is then refused, not rounded.
        """
        return ", ".join(self._selected(self.quoted(name), type_) for name, type_ in types.items())

    def _selected(self, column: str, type_: str) -> str:
        form = self.selected.get("[]" if type_.endswith("]") else type_)
        return column if form is None else f"{form.format(column=column, type=self.type_name(type_))} as {column}"

    def hashed_rows(self, types: Iterable[tuple[str, str]]) -> str:
        """An order-free hash of rows with these (column, type): equal for equal rows, of this engine alone.

        A column counts as often as it is named, as it always did.
        """
        columns = (
            self.hashed_list.format(column=self.quoted(name)) if type_.endswith("]") else self.quoted(name)
            for name, type_ in types
        )
        return self.hashed.format(columns=", ".join(columns))

    def type_name(self, type_: str) -> str:
        """What the engine calls a canonical type."""
        name, bracket, rest = type_.partition("[")
        return self.names.get(name, name) + bracket + rest


class Source(Protocol):
    """A warehouse, read: one snapshot of all tables for as long as its ``with`` block lasts, where the engine has one.

    Each method raises WarehouseError when a relation is missing or cannot be read.
    """

    @property
    def dialect(self) -> Dialect: ...

    def describe(self, relation: str, of: str = "the query") -> dict[str, str]:
        """{column: canonical type} of a relation, given as SQL; errors call it ``of``."""

    def newest_available_at(self, declared: DeclaredView, as_of: datetime) -> datetime | None:
        """When the newest fact of a history became available, of those that are by ``as_of``; None: there is none.

        To be asked before the rows are read: without a snapshot it then errs towards the past.
        """

    def latest(self, declared: DeclaredView, as_of: datetime) -> str:
        """SQL of the rows that a latest-value view has at an instant, to stand after ``from``; until the next call."""

    def place(self, rows: Any, name: str, types: Mapping[str, str] | None = None) -> dict[str, str]:
        """Makes rows readable as the table ``name``, before the snapshot begins; returns {column: its type}.

        rows: an Arrow table or reader, a frame of pandas or Polars, a DuckDB relation, the path of a CSV or Parquet
        file. types: {column: type} where they do not say, as a CSV file.
        """

    def batches(
        self, sql: str, types: Mapping[str, str] | None = None, of: str = "the query"
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which errors call ``of``; in any number of batches, one at least, which has the columns.

        types: {column: canonical type} as they are declared, for engines that do not send them along.
        """

    def recover(self) -> None:
        """Makes the warehouse readable again after an error, where the engine can on the same snapshot."""

    def spill_to(self, folder: Path) -> None:
        """What a query cannot hold in the memory that is meant for reading may lie in ``folder``."""


class Ledger(Protocol):
    """A warehouse, appended to: what is added is there once its ``with`` block has ended, all of it or nothing.

    Each method raises WarehouseError when it cannot be done.
    """

    def create(self, table: str, columns: Mapping[str, str], key: Sequence[str]) -> None:
        """Makes a table of {column: type} in which a key comes once, where there is none yet."""

    def append(self, table: str, rows: str) -> None:
        """Adds the rows of a query, with the table's columns in their order; those whose key it has are left out."""


def without_scale(of: str, column: str) -> DataError:
    """What is said of a number that may have any scale: a value of another one would be another text."""
    return DataError(
        f"{of}: '{column}' is numeric without precision and scale",
        f"cast it in the model, as its contract says: cast({column} as numeric(18, 3))",
    )


def latest_relation(declared: DeclaredView) -> str:
    """Where the latest values of a feature view are. Raises WarehouseError when the project has no view of them."""
    if declared.latest_relation is None:
        view = declared.view
        raise WarehouseError(
            f"{view.id} has no latest-value view",
            f"create models/{declared.latest_name}.sql with one line: "
            f"{{{{ feature_warehouse.latest_values(ref('{view.name}', v={view.version})) }}}}",
        )
    return declared.latest_relation
