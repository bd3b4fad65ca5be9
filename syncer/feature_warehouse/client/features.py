"""What an online read gives: values, statuses and event times, by feature and by row.

Nothing is turned into rows before somebody asks: a read holds the columns that its messages were parsed into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.wire.decode import BatchDecoder, Columns, instant
from feature_warehouse.wire.marker import Marker

#: Each value's status.
PRESENT, NULL, MISSING, EXPIRED, STALE = "present", "null", "missing", "expired", "stale"

# --- what a read gives


@dataclass(frozen=True, slots=True)
class ServiceItem:
    """One item of a service: a view in one role, and how it is read."""

    view: FeatureView
    field: str
    field_bytes: bytes
    names: tuple[str, ...]  # of the features in the result: prefix and own name
    types: tuple[str, ...]
    decoder: BatchDecoder  # of all that the service reads of the view
    columns: tuple[int, ...] | None  # which of the decoder's are the item's; None: all, in this order
    ttl: int | None  # microseconds, as the next
    stale_age: int | None


@dataclass(slots=True)  # not frozen, which takes three times as long to make: each read makes one per item
class ViewFeatures:
    """What one item of a service gave for N rows."""

    item: ServiceItem
    marker: Marker  # of the view: its as_of is the instant whose latest values Redis holds
    stale: bool  # no sync in 1.5 of the view's intervals
    withheld: bool  # because it is stale
    rows: int
    columns: Columns  # of M stored messages
    stored: Sequence[int] | None  # per row its message, -1: none; None: row i has message i
    valid: Sequence[int] | None  # the same without what is expired

    @property
    def names(self) -> tuple[str, ...]:
        return self.item.names

    @property
    def types(self) -> tuple[str, ...]:
        return self.item.types

    def lists(self) -> list[list[Any]]:
        """Per feature, N values; None where there is none."""
        return [column[:] for column in self.sequences()]  # type: ignore[misc]  # of protobuf's, too, it is a list

    def sequences(self) -> Sequence[Sequence[Any]]:
        """As ``lists``, not copied: a list, or a sequence of protobuf's, which holds no None."""
        if self.withheld:
            return [[None] * self.rows for _ in self.names]
        if self.valid is None:
            return self.columns.features
        padded = [[*column[:], None] for column in self.columns.features]
        return [[column[i] for i in self.valid] for column in padded]

    def statuses(self) -> Iterator[list[str]]:
        """Per feature, N statuses."""
        there = STALE if self.stale else PRESENT
        rows = [there] * self.rows
        for at, row in enumerate(self.stored or ()):
            if row < 0:
                rows[at] = MISSING
        for at, row in enumerate(self.valid or ()):
            if row < 0 and rows[at] == there:
                rows[at] = EXPIRED
        for values in self.lists():
            yield [
                NULL if value is None and status == there and not self.withheld else status
                for value, status in zip(values, rows, strict=True)
            ]

    def event_times(self) -> list[datetime | None]:
        """Per row, when what is stored became true, expired or not; None: nothing is stored."""
        times = [*map(instant, self.columns.event_times), None]
        return times[:-1] if self.stored is None else [times[i] for i in self.stored]


@dataclass(frozen=True, slots=True)
class ComputedFeatures:
    """The on-demand features of a service for N rows."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    values: Sequence[list[Any]]  # per feature, N values
    rows: int
    reads: Sequence[Set[str]]  # per feature, the names that it is computed from
    views: Sequence[ViewFeatures]  # where these may be

    def lists(self) -> list[list[Any]]:
        """Per feature, N values; None where an expression is NULL."""
        return [values[:] for values in self.values]

    def sequences(self) -> Sequence[Sequence[Any]]:
        """As ``lists``, not copied."""
        return self.values

    def statuses(self) -> Iterator[list[str]]:
        """Per feature, N statuses: the worst of its inputs; with a value, only of those that have one themselves."""
        of_inputs = {
            name: statuses for view in self.views for name, statuses in zip(view.names, view.statuses(), strict=True)
        }
        withheld = any(view.withheld for view in self.views)
        for values, names in zip(self.values, self.reads, strict=True):
            inputs = [of_inputs[name] for name in names if name in of_inputs]
            met = [{statuses[row] for statuses in inputs} for row in range(self.rows)]
            yield [
                (STALE if STALE in seen else PRESENT)
                if value is not None
                else next((s for s in (MISSING, EXPIRED, STALE) if s in seen and (s != STALE or withheld)), NULL)
                for value, seen in zip(values, met, strict=True)
            ]

    def event_times(self) -> list[datetime | None]:
        """Nothing of it is stored."""
        return [None] * self.rows


class OnlineFeatures:
    """What a read gave: N rows in the order of the request, one value and one status per feature.

    A status is ``present``; ``null`` (the newest row has no value), ``missing`` (the entity is not online), ``expired``
    (older than its ttl): these three come with the value None; or ``stale`` (there, but its view was not synced in
    time; None if the client was told to withhold such values).
    """

    __slots__ = ("_rows", "changing", "computed", "not_computed", "service", "views")

    def __init__(
        self, service: str, views: Sequence[ViewFeatures], rows: int, not_computed: tuple[str, ...] = ()
    ) -> None:
        self.service = service  # its id, with the version that answered: departure_delay@2
        self.views = views  # one per item of the service, in its order
        self.computed: ComputedFeatures | None = None  # the service's on-demand features, after those of its views
        self.not_computed = not_computed  # their names, where there is no DuckDB to compute them
        self.changing: tuple[str, ...] = ()  # ids of views that a sync was writing: some rows may be of before it
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"<OnlineFeatures {self.service}: {self._rows} rows of {', '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self._parts for name in part.names)

    def to_dict(self) -> dict[str, list[Any]]:
        """{feature: [value of each row]}."""
        found: dict[str, list[Any]] = {}
        for part in self._parts:
            found.update(zip(part.names, part.lists(), strict=True))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One {feature: value} per row."""
        names = self.names
        return [dict(zip(names, row, strict=True)) for row in self.values]

    def to_numpy(self) -> dict[str, Any]:
        """{feature: array of N}, in the feature's own dtype; a masked array (numpy.ma) where values are missing."""
        from feature_warehouse.wire.arrays import numpy_column

        return {name: numpy_column(type_, values) for name, type_, values in self._typed()}

    def to_arrow(self) -> Any:
        """A pyarrow.Table of N rows, each feature in the type that it is registered with."""
        from feature_warehouse.wire.arrays import arrow_table

        return arrow_table([*self._typed()], len(self))

    def to_pandas(self) -> Any:
        """A pandas frame on Arrow types."""
        from feature_warehouse.wire.arrays import pandas_frame

        return pandas_frame(self.to_arrow())

    def _typed(self) -> Iterator[tuple[str, str, Sequence[Any]]]:
        for part in self._parts:
            yield from zip(part.names, part.types, part.sequences(), strict=True)

    @property
    def values(self) -> tuple[tuple[Any, ...], ...]:
        """N rows x features."""
        return self._by_row(part.lists() for part in self._parts)

    @property
    def statuses(self) -> tuple[tuple[str, ...], ...]:
        """N rows x features."""
        return self._by_row(part.statuses() for part in self._parts)

    @property
    def event_times(self) -> tuple[tuple[datetime | None, ...], ...]:
        """N rows x features: when the stored value became true, in UTC, expired or not; None: nothing is stored."""
        return self._by_row([part.event_times()] * len(part.names) for part in self._parts)

    @property
    def _parts(self) -> list[ViewFeatures | ComputedFeatures]:
        return [*self.views, self.computed] if self.computed else [*self.views]

    def _by_row(self, columns: Iterable[Iterable[list[Any]]]) -> tuple[tuple[Any, ...], ...]:
        return tuple(zip(*(column for view in columns for column in view), strict=True))
