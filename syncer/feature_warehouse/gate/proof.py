"""The proof by data: two definitions of a feature view side by side on the warehouse.

Both are computed from the sources, seeds and snapshots that are there now, as a full refresh would, in memory and
temporary files; nothing is written to the warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from feature_warehouse.errors import WarehouseError
from feature_warehouse.project.definition import SNAPSHOT, Definition
from feature_warehouse.sql.text import reference
from feature_warehouse.warehouse.duckdb import DuckDB


@dataclass(frozen=True, slots=True)
class Different:
    """One feature: in how many of the rows that both have it differs, and by how much at most where it is a number."""

    feature: str
    rows: int
    largest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Rows of a history before and now, and those that only one of them has: by keys, event time and availability."""

    view: str
    before: int
    now: int
    gone: int
    new: int
    features: tuple[Different, ...]

    @property
    def same(self) -> bool:
        return not (self.gone or self.new or any(different.rows for different in self.features))


def prove(warehouse: DuckDB, view: str, was: Definition, now: Definition, relations: Mapping[str, str]) -> Proof:
    """Of the features that both have, of one type. ``relations``: where sources, seeds and snapshots are, by node name.

    Raises WarehouseError when one of the two cannot be computed.
    """
    features = [name for name, type_ in was.view.features.items() if now.view.features.get(name) == type_]
    for side, definition in (("was", was), ("now", now)):
        warehouse.run(*_computed(side, definition, features, relations))
    both = "was.there and now.there"
    numbers = {name for name in features if now.view.features[name] in _NUMBERS or _is_decimal(now.view.features[name])}
    sums = ["count(was.there) as before", "count(now.there) as now"]
    sums += ["count(*) filter (now.there is null) as gone", "count(*) filter (was.there is null) as new"]
    for number, name in enumerate(features):
        sums.append(f'count(*) filter ({both} and was."{name}" is distinct from now."{name}") as rows_{number}')
        if name in numbers:
            sums.append(f'max(abs(was."{name}"::double - now."{name}"::double)) filter ({both}) as largest_{number}')
    on = " and ".join(f"was.{column} is not distinct from now.{column}" for column in ("key", "occurrence"))
    query = f"select {', '.join(sums)} from proof_was as was full join proof_now as now on {on}"
    (found,) = warehouse.query(query).read_all().to_pylist()
    return Proof(
        view=view,
        **{name: found[name] for name in ("before", "now", "gone", "new")},
        features=tuple(
            Different(name, found[f"rows_{number}"], found.get(f"largest_{number}"))
            for number, name in enumerate(features)
        ),
    )


_NUMBERS = {
    "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "float",
    "double",
}  # fmt: skip


def _is_decimal(type_: str) -> bool:
    return type_.startswith("decimal")


def _computed(side: str, definition: Definition, features: list[str], relations: Mapping[str, str]) -> Iterator[str]:
    """Statements that leave the rows of a definition in the temporary table ``proof_<side>``.

    Its SQL names relations of the catalogs ``ref`` and ``source``: for this while, there are such catalogs.
    """
    for catalog in ("ref", "source"):
        yield f"detach database if exists {catalog}"
        yield f"attach ':memory:' as {catalog} (read_write)"
    yield from _views(definition, relations)
    view = definition.view
    key = [*view.join_keys, view.event_timestamp, *([view.available_at] if view.available_at else [])]
    columns = ", ".join(f'"{name}"' for name in [*key, *features])
    of_key = ", ".join(f'"{name}"' for name in key)
    named = ", ".join(f"'{name}': \"{name}\"" for name in key)  # a table of DuckDB 1.5 takes no struct without names
    yield (
        f"create or replace temp table proof_{side} as select true as there, {{{named}}} as key, "
        f"row_number() over (partition by {of_key} order by {columns}) as occurrence, "
        + ", ".join(f'"{name}"' for name in features)
        + f" from {reference(view.node)}"
    )


def _views(definition: Definition, relations: Mapping[str, str]) -> Iterator[str]:
    """A view for each node, those that it reads before it."""
    schemas: set[str] = set()
    made: set[str] = set()

    def make(name: str) -> Iterator[str]:
        if name in made:
            return
        made.add(name)
        node = definition.nodes[name]
        stands = node.sql is None or node.opaque == SNAPSHOT
        if not stands:
            for above in node.reads or ():
                yield from make(above)
        elif name not in relations:
            raise WarehouseError(
                f"{name}, which the accepted SQL reads, is no longer in the project", "compare without --data"
            )
        place = reference(name)
        catalog, schema, *last = place.split(".", 2)
        if last and f"{catalog}.{schema}" not in schemas:
            schemas.add(f"{catalog}.{schema}")
            yield f"create schema {catalog}.{schema}"
        yield f"create view {place} as\n{f'from {relations[name]}' if stands else (node.sql or '').rstrip('; ')}\n"

    yield from make(definition.view.node)
