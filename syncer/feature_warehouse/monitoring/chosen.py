"""Which row of a history counts for one entity at one instant, and why no newer one does.

The rule is that of the macros ``point_in_time_join`` and ``latest_values`` (docs/guides/point-in-time.md), looked at
row by row, for a person who asks about one value. A test holds the two readings of the rule together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_warehouse.errors import DataError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.feature import FeatureView, period_text
from feature_warehouse.training.spine import quoted
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.source import Dialect
from feature_warehouse.wire.decode import BatchDecoder
from feature_warehouse.wire.encode import Encoder, served_columns
from feature_warehouse.wire.keyspace import canonical_text

if TYPE_CHECKING:
    import pyarrow as pa

#: Newer rows that are named; there may be more.
_NEWER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """A row that is newer than the one that counts; ``why`` it does not."""

    event_time: str
    known_at: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a history gives at an instant. Times are texts: a history may hold those that Python has not.

    outcome: ``value``, or why there is none: ``no row`` that counts yet, ``deleted``, ``expired``. The row is then
    still told. ties: rows with the same two times, of which any may be taken. newer: some of the ``newer_rows`` rows.
    values: by feature, as a client gives them. trouble: why the row's values cannot be told.
    """

    at: datetime
    outcome: str
    event_time: str | None = None
    known_at: str | None = None
    expires_at: str | None = None
    ties: int = 0
    newer: Sequence[Newer] = ()
    newer_rows: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    trouble: str | None = None

    @property
    def has_value(self) -> bool:
        return self.outcome == "value"


def choose(
    warehouse: DuckDB,
    declared: DeclaredView,
    served: FeatureView,
    features: Sequence[str],
    keys: Mapping[str, object],
    at: datetime,
    delay: timedelta | None = None,
) -> Chosen:
    """What the history of a view gives for the entity ``keys`` ({join key: value}) at an instant.

    ``served``: the view as registered; ``delay``: how much later than known a row counts. Raises WarehouseError.
    """
    rows = warehouse.query(_sql(warehouse.dialect, declared, served, keys, at, delay), declared.view.id).read_all()
    found = rows.select([name for name in rows.column_names if name.startswith("__")]).to_pylist()
    counting = next((i for i, row in enumerate(found) if row["__counts"]), None)
    newer = [row for row in found if not row["__counts"]]
    why = tuple(Newer(event_time=row["__event"], known_at=row["__known"], why=_why(row, delay)) for row in newer)
    newer_rows = newer[0]["__many"] if newer else 0
    if counting is None:
        return Chosen(at=at, outcome="no row", newer=why, newer_rows=newer_rows)
    row = found[counting]
    outcome = "expired" if row["__expired"] else "deleted" if row["__deleted"] else "value"
    values, trouble = _values(served, features, rows.slice(counting, 1)) if outcome == "value" else ({}, None)
    return Chosen(
        at=at,
        outcome=outcome,
        event_time=row["__event"],
        known_at=row["__known"],
        expires_at=row["__expires"],
        ties=row["__ties"],
        newer=why,
        newer_rows=newer_rows,
        values=values,
        trouble=trouble,
    )


def _sql(
    dialect: Dialect,
    declared: DeclaredView,
    served: FeatureView,
    keys: Mapping[str, object],
    at: datetime,
    delay: timedelta | None,
) -> str:
    view = declared.view
    event, known = quoted(view.event_timestamp), quoted(view.available_at or view.event_timestamp)
    of_entity = " and ".join(
        f"{quoted(key.name)} = cast({_text(canonical_text(keys[key.name], key.type))} as {key.type})"
        for key in view.entity.join_keys
    )
    now = f"timestamptz '{at.isoformat()}'"
    counts = now if delay is None else f"{now} - {_interval(delay)}"
    expired = "false" if view.ttl is None else f"{event} < {now} - {_interval(view.ttl)}"
    # What is beyond the calendar stays there.
    expires = "null" if view.ttl is None else _written(f"try({event} + {_interval(view.ttl)})")
    return f"""
with mine as (
    select
        {dialect.select_list(served_columns(served))}, {event} as __e, {known} as __k,
        {_written(event)} as __event, {_written(known)} as __known, {expires} as __expires,
        {expired} as __expired, {f"coalesce({quoted(view.deleted)}, false)" if view.deleted else "false"} as __deleted,
        {event} > {now} as __ahead, {known} > {now} as __unknown,
        {event} <= {counts} and {known} <= {counts} as __counts
    from {declared.relation}
    where {of_entity} and {event} is not null and {known} is not null
),
best as (
    select __e as best_e, __k as best_k, count(*) as __ties
    from mine where __counts group by all order by best_e desc, best_k desc limit 1
)
select mine.* exclude (__e, __k), __ties, count(*) over (partition by __counts) as __many
from mine left join best on true
where
    case
        when __counts then __e = best_e and __k = best_k
        else best_e is null or __e > best_e or (__e = best_e and __k > best_k)
    end
qualify
    row_number() over (partition by __counts order by __e desc, __k desc) <= case when __counts then 1 else {_NEWER} end
order by __e desc, __k desc
"""


def _values(served: FeatureView, features: Sequence[str], row: pa.Table) -> tuple[dict[str, Any], str | None]:
    """By feature, what a client would read if the row were online; else why it cannot be."""
    try:
        encoded = Encoder("x", served).encode(row.combine_chunks().to_batches()[0])
    except DataError as error:
        return {}, error.message
    message, key = encoded.messages[0].as_py(), encoded.keys[0].as_py()
    columns = BatchDecoder(served, features).decode([message], [key])
    return {name: column[0] for name, column in zip(features, columns.features, strict=True)}, None


def _why(row: Mapping[str, Any], delay: timedelta | None) -> str:
    if row["__unknown"]:
        return f"known only from {row['__known']}"
    if row["__ahead"]:
        return f"true only from {row['__event']}"
    return f"counts only {period_text(delay or timedelta())} after it was known (sync_delay)"


def _written(instant: str) -> str:
    """SQL: an instant as a text, in UTC."""
    text = f"strftime({instant}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"case when isfinite({instant}) then replace({text}, '.000000Z', 'Z') else cast({instant} as varchar) end"


def _interval(duration: timedelta) -> str:
    """SQL: microseconds, so that no day is longer than another."""
    return f"to_microseconds({duration // timedelta(microseconds=1)})"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
