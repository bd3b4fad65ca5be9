"""What the drift tables say: how each feature's values were spread, period by period, and in the reference.

Reads what the macros ``drift_reference`` and ``drift_profile`` have written (docs/reference/drift.md), the same tables
that the test ``feature_drift`` judges. Computes no PSI of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from feature_warehouse.errors import WarehouseError
from feature_warehouse.warehouse.duckdb import DuckDB

#: How many of the newest periods are read.
PERIODS = 60

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One feature in one period; what is None, the table does not say."""

    start: datetime
    rows: int
    null_share: float
    distinct: int
    minimum: str | None
    maximum: str | None
    mean: float | None
    median: float | None
    psi: float | None  # None: too few rows
    verdict: str | None  # stable, look, act; None: too few rows to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One bin of the reference: the share of its rows, and of those of the newest period."""

    label: str
    reference: float
    current: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One feature of one source, oldest period first; there is at least one."""

    source: str  # a view id, or the id of a service whose served log it is
    source_type: str  # feature_view, service or model
    feature: str
    every: str  # hour, day or week
    look: float
    act: float
    periods: tuple[Period, ...]
    bins: tuple[Bin, ...]
    reference_start: datetime
    reference_end: datetime
    reference_rows: int

    @property
    def newest(self) -> Period:
        return self.periods[-1]


def read_profiles(warehouse: DuckDB, tables: Iterable[tuple[str, str]]) -> tuple[list[Profile], list[str]]:
    """The profiles in (profile table, reference table), and a sentence for each table that cannot be read."""
    found: list[Profile] = []
    trouble: list[str] = []
    for profile, reference in tables:
        try:
            found += _read(warehouse, profile, reference)
        except WarehouseError as error:
            trouble.append(error.message)
    return found, trouble


def _read(warehouse: DuckDB, profile: str, reference: str) -> Iterable[Profile]:
    bins: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in _rows(warehouse, _REFERENCE.format(reference=reference), f"the drift reference {reference}"):
        bins.setdefault((row["source"], row["feature"], row["reference_id"]), []).append(row)
    periods: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in _rows(warehouse, _PERIODS.format(profile=profile, periods=PERIODS), f"the drift profile {profile}"):
        periods.setdefault((row["source"], row["feature"], row["reference_id"]), []).append(row)
    for key, rows in periods.items():
        if key in bins:  # else the reference has been fixed anew since, and the profile not yet
            yield _profile(rows, bins[key])


_REFERENCE = """
select
    source, feature, reference_id, label, row_count, reference_rows,
    epoch_us(reference_start) as reference_start, epoch_us(reference_end) as reference_end
from {reference}
order by source, feature, bin
"""

_PERIODS = """
select
    source, source_type, feature, reference_id, period, epoch_us(period_start) as period_start, row_count, null_share,
    distinct_count, minimum, maximum, mean, p50, psi, verdict, look, act, counts
from {profile} as profile
qualify dense_rank() over (partition by source order by profile.period_start desc) <= {periods}
order by source, feature, profile.period_start
"""


def _rows(warehouse: DuckDB, sql: str, of: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(sql, of).read_all().to_pylist()
    return rows


def _profile(rows: list[dict[str, Any]], bins: list[dict[str, Any]]) -> Profile:
    newest, first = rows[-1], bins[0]
    whole = max(1, first["reference_rows"])
    return Profile(
        source=newest["source"],
        source_type=newest["source_type"],
        feature=newest["feature"],
        every=newest["period"],
        look=newest["look"],
        act=newest["act"],
        periods=tuple(_period(row) for row in rows),
        bins=tuple(
            Bin(label=each["label"], reference=each["row_count"] / whole, current=count / max(1, newest["row_count"]))
            for each, count in zip(bins, newest["counts"], strict=True)
        ),
        reference_start=_instant(first["reference_start"]),
        reference_end=_instant(first["reference_end"]),
        reference_rows=first["reference_rows"],
    )


def _period(row: dict[str, Any]) -> Period:
    return Period(
        start=_instant(row["period_start"]),
        rows=row["row_count"],
        null_share=row["null_share"],
        distinct=row["distinct_count"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        mean=row["mean"],
        median=row["p50"],
        psi=row["psi"],
        verdict=row["verdict"],
    )


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
