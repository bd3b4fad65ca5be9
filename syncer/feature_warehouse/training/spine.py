"""The spine: the rows that features are joined to. Where they come from, their order, and what is wrong with them.

What the macro would refuse is refused here first, in the words of whoever gave the rows: they know nothing of macros.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_warehouse.errors import RequestError
from feature_warehouse.project.manifest import find_relation
from feature_warehouse.registry.feature import FeatureService, FeatureView, ServiceView
from feature_warehouse.registry.types import INTEGER_RANGES, canonical
from feature_warehouse.warehouse.duckdb import DuckDB

#: The table that the rows become, and the column that keeps their order.
TABLE, POSITION = "entity_rows", "__position"

_MODEL = re.compile(r"[A-Za-z_]\w*(\.v\d+)?")
_REF = re.compile(r"(\{\{)?\s*ref\s*\(.*", re.DOTALL)

#: Types whose values are never equal by accident of a cast: 7 and '007', 1 and true.
_KINDS = dict.fromkeys(INTEGER_RANGES, "an integer") | {
    "varchar": "a text",
    "double": "a number with a fraction",
    "float": "a number with a fraction",
    "date": "a date",
    "timestamptz": "an instant",
    "timestamp": "a time without a zone",
    "boolean": "a boolean",
    "uuid": "a uuid",
}


@dataclass(frozen=True, slots=True)
class Spine:
    """Rows, and where they came from: ``source`` is a file's path, a model's name, SQL, or the frame itself."""

    kind: Literal["file", "model", "sql", "rows"]
    source: Any
    rows: Any  # as Source.place takes them, or a query of the warehouse


@dataclass(frozen=True, slots=True)
class PlacedSpine:
    """A spine as the table TABLE of a connection."""

    columns: dict[str, str]  # {column: DuckDB type}
    order: tuple[str, ...]  # sorts its rows; POSITION where they came in an order of their own

    def in_order(self, sql: str) -> str:
        """``sql``, which keeps the spine's columns, with its rows in the spine's order."""
        kept = f"* exclude ({POSITION})" if self.order == (POSITION,) else "*"
        return f"select {kept} from ({sql}) order by {', '.join(map(quoted, self.order))}"


def read_spine(given: Any, manifest: Mapping[str, Any]) -> Spine:
    """What ``given`` means: a path ends in .csv, .csv.gz or .parquet, one word is a dbt model, other text is SQL.

    Raises RequestError for a model that is not in the manifest or not in the warehouse.
    """
    if isinstance(given, Path) or (isinstance(given, str) and given.endswith((".csv", ".csv.gz", ".parquet"))):
        return Spine("file", str(given), Path(given))
    if not isinstance(given, str):
        return Spine("rows", None, given)
    text = given.strip()
    if _MODEL.fullmatch(text):
        return Spine("model", text, f"select * from {find_relation(manifest, text)}")
    if _REF.fullmatch(text):
        raise RequestError(f"the rows are '{text}', which only dbt understands", "name the model alone: departures")
    return Spine("sql", text, text)


def place_spine(
    warehouse: DuckDB,
    spine: Spine,
    reads: Iterable[ServiceView],
    views: Mapping[str, FeatureView],
    service: FeatureService | None,
    timestamp: str | None = None,
) -> PlacedSpine:
    """Makes the rows a table of ``warehouse``, after checking them against what is to be joined.

    ``timestamp``: their time column, where they have one. Raises RequestError for rows that cannot be joined, and
    WarehouseError for rows that cannot be read.
    """
    reads = tuple(reads)
    columns = warehouse.add("given_rows", spine.rows)
    if spine.kind == "file" and spine.rows.suffix != ".parquet":
        if not warehouse.query("from given_rows limit 1").read_all().num_rows:
            raise RequestError(
                f"{spine.source} has no rows, so nobody can tell what its columns are", "give it a row, or leave it out"
            )
        # A CSV file has no types. Join keys and request values have: 007 is a text where the key is one.
        declared = {
            read.keys.get(key.name, key.name).lower(): key.type
            for read in reads
            for key in views[read.view].entity.join_keys
        }
        declared |= service.request if service else {}
        known = {name: declared[name.lower()] for name in columns if name.lower() in declared}
        columns = warehouse.add("given_rows", spine.rows, known)
    _check(columns, reads, views, service, timestamp)
    if has_order(warehouse, spine):
        warehouse.add(TABLE, f"select *, row_number() over () as {POSITION} from given_rows")
        return PlacedSpine(columns, (POSITION,))
    warehouse.add(TABLE, "from given_rows")
    first = [name for name in columns if timestamp is not None and name.lower() == timestamp.lower()]
    return PlacedSpine(columns, tuple(dict.fromkeys([*first, *columns])))


def outputs(reads: Iterable[ServiceView]) -> dict[str, str]:
    """{name of a feature in the result: the view that it is of}. Raises RequestError when two have one name."""
    owners: dict[str, str] = {}
    for read in reads:
        for name in (read.prefix + feature for feature in read.features):
            if name in owners:
                raise RequestError(
                    f"two features would be called '{name}', one of {owners[name]} and one of {read.view}",
                    "ask for one of the two, or declare a feature service that gives one of them a prefix",
                )
            owners[name] = read.view
    return owners


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def has_order(warehouse: DuckDB, spine: Spine) -> bool:
    """True for frames, files, and SQL that ends in ``order by``; other queries may give their rows in any order."""
    if spine.kind != "sql":
        return spine.kind != "model"
    parsed = json.loads(warehouse.parse(spine.rows))
    statements = parsed.get("statements") or [{"node": {}}]  # none where it is no plain query, such as `describe`
    return any(modifier["type"] == "ORDER_MODIFIER" for modifier in statements[0]["node"].get("modifiers", []))


def _check(
    columns: Mapping[str, str],
    reads: Iterable[ServiceView],
    views: Mapping[str, FeatureView],
    service: FeatureService | None,
    timestamp: str | None,
) -> None:
    folded = {name.lower(): type_ for name, type_ in columns.items()}  # as the warehouse finds them
    having = f"they have {', '.join(columns)}"
    if timestamp is not None:
        _check_time(folded, timestamp, having)
    for read in reads:
        for key in views[read.view].entity.join_keys:
            column = read.keys.get(key.name, key.name)
            if column.lower() not in folded:
                raise RequestError(f"the rows have no column '{column}', by which {read.view} is found", having)
            given, wanted = (_KINDS.get(_base(type_)) for type_ in (folded[column.lower()], key.type))
            if given and wanted and given != wanted:
                raise RequestError(
                    f"the rows' column '{column}' is {given} ({folded[column.lower()]}), but as the join key "
                    f"'{key.name}' of {read.view} it is {wanted}",
                    f"cast it: {column}::{key.type}",
                )
    owners = outputs(reads)
    if service is not None and service.on_demand:
        _check_request(folded, service, complete=timestamp is not None)
        owners |= {feature.name: service.id for feature in service.on_demand}
    for name, owner in owners.items():
        if name.lower() in folded:
            raise RequestError(
                f"the rows already have a column '{name}', which is also a feature of {owner}",
                "leave it out of the rows, or give it another name",
            )


def _check_time(folded: Mapping[str, str], timestamp: str, having: str) -> None:
    if timestamp.lower() not in folded:
        raise RequestError(
            f"the rows have no column '{timestamp}' to say when each of them is asked",
            f"{having}; name the one with the time: timestamp (--timestamp)",
        )
    type_ = folded[timestamp.lower()]
    if canonical(type_) != "timestamptz":
        raise RequestError(
            f"the rows' column '{timestamp}' is {type_}, which has no zone, so it names no instant",
            f"convert it: {timestamp} at time zone 'UTC', or the zone that its clock stood in",
        )


def _check_request(folded: Mapping[str, str], service: FeatureService, *, complete: bool) -> None:
    """complete: every request value has to be there."""
    for name, type_ in service.request.items():
        if name not in folded:
            if complete:
                raise RequestError(
                    f"the rows have no column '{name}', from which on-demand features of {service.id} are computed",
                    f"add it, as {type_}",
                )
        elif canonical(folded[name]) != type_:
            # Another type computes other values: 7 // 2 is 3, and 7.0 // 2 is not.
            raise RequestError(
                f"the rows' column '{name}' is {canonical(folded[name])}, but {service.id} requests {type_}",
                f"cast it: {name}::{type_}",
            )


def _base(type_: str) -> str:
    return "double" if canonical(type_).startswith("decimal") else canonical(type_)
