"""Rows that another warehouse than DuckDB has, brought to a DuckDB of our own: there they are joined, computed, sorted.

So what is computed on demand, and the order of rows, is the same as of a project in DuckDB.
"""

from __future__ import annotations

from feature_warehouse.registry.types import canonical
from feature_warehouse.training.request import Request
from feature_warehouse.training.spine import POSITION, TABLE, PlacedSpine, Spine, has_order, place_spine
from feature_warehouse.warehouse.local import Local
from feature_warehouse.warehouse.source import Source

#: The table that rows of a query become here.
_GIVEN = "given_here"


def brought(spine: Spine, source: Source, local: Local) -> Spine:
    """The same rows where ``local`` reads them: those of a model and of a query come from ``source``."""
    if spine.kind not in ("model", "sql"):
        return spine
    ordered = has_order(local, spine)
    local.fetch(source, spine.rows, _GIVEN, {}, "the rows")
    return Spine("rows" if ordered else "model", spine.source, f"from {_GIVEN}")


def joined(
    request: Request, spine: Spine, timestamp: str, known_as_of: str | None, source: Source, local: Local
) -> tuple[PlacedSpine, str]:
    """The spine, and DuckDB's query of its rows with their features; the join itself is done by ``source``."""
    placed = place_spine(local, brought(spine, source, local), request.reads, request.views, request.service, timestamp)
    types = {name: canonical(type_) for name, type_ in placed.columns.items()}
    types |= dict.fromkeys(set(placed.order) & {POSITION}, "bigint")
    source.place(local.query(f"from {TABLE}", "the rows"), TABLE, types)
    arguments = [
        f"spine={TABLE!r}",
        f"spine_columns={types!r}",
        f"spine_timestamp={timestamp!r}",
        *([f"known_as_of={known_as_of!r}"] if known_as_of else []),
    ]
    sql = request.compile("_stored_features", arguments, introspect=True)
    wanted = types | {name: canonical(type_) for name, type_ in request.types().items()}
    query = f"select {source.dialect.select_list(wanted)} from ({sql}) as joined"
    local.fetch(source, query, "joined", wanted, "the training set")
    return placed, placed.in_order(request.with_on_demand("select * from joined", "training"))
