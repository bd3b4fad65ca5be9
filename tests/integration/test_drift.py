"""Drift: bins, statistics, PSI and verdicts against an oracle that knows no SQL; runs day by day against one run."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.projects import Project

#: The features of the view: name -> type
FEATURES = {
    "weight": "double",
    "ratio": "float",
    "amount": "bigint",
    "price": "decimal(9,2)",
    "label": "varchar",
    "is_new": "boolean",
    "seen_at": "timestamptz",
    "seen_on": "date",
    "tags": "varchar[]",
}

READINGS_YAML = """
sources: [{name: raw, schema: main, tables: [{name: raw_readings}]}]
models:
  - name: readings
    config:
      materialized: view
      contract: {enforced: true}
      meta:
        feature_view:
          {entity: sensor, join_keys: [sensor], event_timestamp: event_at, available_at: known_at, deleted: is_deleted}
    columns:
      - {name: sensor, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: is_deleted, data_type: boolean}
      - {name: weight, data_type: double}
      - {name: ratio, data_type: float}
      - {name: amount, data_type: bigint, config: {meta: {drift: {look: 0.5, act: 1, minimum_rows: 5}}}}
      - {name: price, data_type: "decimal(9,2)"}
      - {name: label, data_type: varchar}
      - {name: is_new, data_type: boolean}
      - {name: seen_at, data_type: timestamptz}
      - {name: seen_on, data_type: date}
      - {name: tags, data_type: "varchar[]"}
      - {name: note, data_type: varchar, config: {meta: {drift: false}}}
    versions: [{v: 1}]
"""

COLUMNS = {"sensor": "varchar", "event_at": "timestamptz", "known_at": "timestamptz", "is_deleted": "boolean"}
COLUMNS |= FEATURES | {"note": "varchar"}

REFERENCE = """
{{ feature_warehouse.drift_reference(ref("readings", v=1), start="2026-03-01T00:00:00Z", end="2026-03-03T00:00:00Z") }}
"""

PROFILE = """
{{ feature_warehouse.drift_profile(
    ref("readings", v=1), reference=ref("readings_reference"), period="day", minimum_rows=10
) }}
"""

FILES = {
    "models/readings.yml": READINGS_YAML,
    "models/readings_v1.sql": "select * from {{ source('raw', 'raw_readings') }}",
    "models/readings_reference.sql": REFERENCE,
    "models/readings_drift.sql": PROFILE,
}

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
REFERENCE_DAYS = 2
DAYS = 6
Row = dict[str, Any]


def readings(folder: Path) -> Project:
    """A project on a table of readings that has no rows yet."""
    project = Project(folder, FILES)
    with duckdb.connect(str(project.database)) as connection:
        declared = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        connection.execute(f"create table raw_readings ({declared})")
    return project


@dataclass
class Warehouse:
    """Both models of a project as built on no rows, and their SQL: the first run's, and the profile's of later ones."""

    connection: duckdb.DuckDBPyConnection
    reference: str
    profile: str
    later_profile: str

    def stand_at(self, now: datetime) -> None:
        self.connection.execute("set variable feature_warehouse_now = $now", {"now": now.isoformat()})

    def fill(self, rows: list[Row]) -> None:
        self.connection.execute("delete from raw_readings")
        if rows:
            columns = {name: [row[name] for row in rows] for name in COLUMNS}
            self.connection.register("new_rows", pa.table({n: pa.array(v, ARROW[n]) for n, v in columns.items()}))
            self.connection.execute("insert into raw_readings by name from new_rows")
            self.connection.unregister("new_rows")

    def fix_reference(self) -> None:
        self.connection.execute("delete from readings_reference")
        self.connection.execute(f"insert into readings_reference {self.reference}")

    def run(self, *, full: bool = False) -> None:
        """What `dbt run` of the profile does."""
        self.connection.execute(f"create or replace temp table made as {self.profile if full else self.later_profile}")
        keys = "" if full else "where (period_start, feature) in (select period_start, feature from made)"
        self.connection.execute(f"delete from readings_drift {keys}")
        self.connection.execute("insert into readings_drift from made")

    def rows(self, query: str) -> list[Row]:
        cursor = self.connection.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


ARROW = {
    "sensor": pa.string(),
    "event_at": pa.timestamp("us", "UTC"),
    "known_at": pa.timestamp("us", "UTC"),
    "is_deleted": pa.bool_(),
    "weight": pa.float64(),
    "ratio": pa.float32(),
    "amount": pa.int64(),
    "price": pa.decimal128(9, 2),
    "label": pa.string(),
    "is_new": pa.bool_(),
    "seen_at": pa.timestamp("us", "UTC"),
    "seen_on": pa.date32(),
    "tags": pa.list_(pa.string()),
    "note": pa.string(),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    project = readings(tmp_path_factory.mktemp("shop"))
    project.dbt("run")
    reference, profile = project.compiled("readings_reference"), project.compiled("readings_drift")
    project.dbt("compile")
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'Asia/Kolkata'")  # periods are UTC's, whatever the session's zone
        yield Warehouse(connection, reference, profile, project.compiled("readings_drift"))


@pytest.fixture
def warehouse(built: Warehouse) -> Iterator[Warehouse]:
    """The same, to be changed: everything is rolled back."""
    built.connection.execute("begin")
    yield built
    built.connection.execute("rollback")


# --- the oracle -------------------------------------------------------------------------------------------------------


def as_float(value: Any) -> float:
    return float(value) + 0.0


def text(value: Any) -> str:
    """A value as the page says it is written in `categories`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    number = as_float(value)
    if math.isfinite(number) and number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return repr(number)


@dataclass(frozen=True)
class Bin:
    type: str
    lower: Any = None
    upper: Any = None
    values: frozenset[str] = frozenset()

    def holds(self, value: Any, bins: list[Bin]) -> bool:
        if value is None or self.type == "null":
            return value is None and self.type == "null"
        if self.type == "value":
            return True
        is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
        if is_number and math.isnan(value):
            return self.type == "not_a_number"
        if self.type in ("category", "rare"):
            return text(value) in self.values
        if self.type == "unseen":
            return all(text(value) not in other.values for other in bins)
        ranges = [other for other in bins if other.type == "range"]
        if not is_number or not ranges:
            return False
        number = as_float(value)
        if self.type == "below":
            return number < ranges[0].lower
        if self.type == "above":
            return number > ranges[-1].upper
        if self.type == "range":
            is_first = self == ranges[0]
            return (self.lower < number or (is_first and number == self.lower)) and number <= self.upper
        return False


def oracle_bins(name: str, values: list[Any]) -> list[Bin]:
    """The bins of a feature from the reference's values, by the words of docs/reference/drift.md."""
    type_ = FEATURES[name]
    if name in ("seen_at", "seen_on", "tags"):
        return [Bin("null"), Bin("value")]
    is_number = type_ in ("double", "float", "bigint", "decimal(9,2)")
    bins = [Bin("null"), *([Bin("not_a_number")] if is_number else [])]
    there = [value for value in values if value is not None and not (is_number and math.isnan(value))]
    finite = sorted(as_float(value) for value in there if is_number and math.isfinite(value))
    if is_number and len(set(finite)) > 20:
        ends = sorted({finite[math.ceil(tenth * len(finite) / 10) - 1] for tenth in range(1, 11)})
        ranges = [Bin("range", lower, upper) for lower, upper in zip([finite[0], *ends], ends, strict=False)]
        return [*bins, Bin("below"), *ranges, Bin("above")]
    counted = Counter(as_float(value) if is_number else text(value) for value in there)
    frequent = sorted(counted, key=lambda value: (-counted[value], value))[:20]
    kept = [value for value in frequent if counted[value] * 100 >= len(values)]
    shown = sorted(kept) if is_number else kept
    rare = frozenset(text(value) for value in counted if value not in kept)
    return [
        *bins,
        *(Bin("category", values=frozenset([text(v)])) for v in shown),
        Bin("rare", values=rare),
        Bin("unseen"),
    ]


def histogram(bins: list[Bin], values: list[Any]) -> list[int]:
    counts = [0] * len(bins)
    for value in values:
        (place,) = [i for i, each in enumerate(bins) if each.holds(value, bins)]
        counts[place] += 1
    return counts


def oracle_psi(reference: list[int], period: list[int]) -> float:
    def share(count: int, counts: list[int]) -> float:
        return count / sum(counts) if count else 0.0001

    pairs = [(share(e, reference), share(a, period)) for e, a in zip(reference, period, strict=True)]
    return math.fsum((a - e) * (math.log(a) - math.log(e)) for e, a in pairs)


def counted_rows(rows: list[Row], now: datetime) -> list[Row]:
    """The rows that count: known, of a sensor, in their newest revision, and not deleted."""
    newest: dict[Any, Row] = {}
    for row in rows:
        if None not in (row["sensor"], row["event_at"], row["known_at"]) and row["known_at"] <= now:
            key = row["sensor"], row["event_at"]
            if key not in newest or newest[key]["known_at"] < row["known_at"]:
                newest[key] = row
    return [row for row in newest.values() if not row["is_deleted"]]


def quantile(values: list[float], share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def close(found: float | None, expected: float | None, size: float = 1.0) -> bool:
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12 * size)


def assert_equals_oracle(warehouse: Warehouse, rows: list[Row], now: datetime) -> None:
    counted = counted_rows(rows, now)
    reference = [row for row in counted if row["event_at"] < START + timedelta(days=REFERENCE_DAYS)]
    found_bins = warehouse.rows("select * from readings_reference order by feature, bin")
    found = {
        (row["feature"], row["period_start"].astimezone(timezone.utc)): row
        for row in warehouse.rows("select * from readings_drift")
    }
    days = sorted({row["event_at"].replace(hour=0, minute=0, second=0, microsecond=0) for row in counted})
    closed = [day for day in days if day + timedelta(days=1) <= now]
    assert set(found) == {(name, day) for name in FEATURES for day in closed}
    for name in FEATURES:
        values = [row[name] for row in reference]
        bins = oracle_bins(name, values)
        expected = histogram(bins, values)
        own = [row for row in found_bins if row["feature"] == name]
        made = [Bin(b["bin_type"], b["lower"], b["upper"], frozenset(b["categories"] or [])) for b in own]
        assert made == bins, name
        assert [row["row_count"] for row in own] == expected, name
        assert {row["reference_rows"] for row in own} == {len(reference)}
        for day in closed:
            row = found[name, day]
            values = [each[name] for each in counted if day <= each["event_at"] < day + timedelta(days=1)]
            counts = histogram(bins, values)
            assert row["counts"] == counts, (name, day)
            assert (row["row_count"], row["null_count"]) == (len(values), values.count(None))
            assert_statistics(name, row, [value for value in values if value is not None])
            look, act, minimum_rows = (0.5, 1, 5) if name == "amount" else (0.1, 0.25, 10)
            assert (row["look"], row["act"]) == (look, act)
            if min(len(values), len(reference)) < minimum_rows:
                assert (row["psi"], row["psi_noise"], row["verdict"]) == (None, None, None)
                continue
            assert math.isclose(row["psi"], oracle_psi(expected, counts), rel_tol=1e-9, abs_tol=1e-9), (name, day)
            freedom = sum(1 for e, a in zip(expected, counts, strict=True) if e or a) - 1
            noise = chi_squared(freedom) * (1 / len(values) + 1 / len(reference))
            assert math.isclose(row["psi_noise"], noise, rel_tol=1e-9), (name, day)
            verdict = "stable" if row["psi"] < look else None if row["psi"] <= noise else "look"
            assert row["verdict"] == ("act" if verdict == "look" and row["psi"] >= act else verdict)


def chi_squared(freedom: int) -> float:
    if freedom == 0:
        return 0
    return float(freedom * (1 - 2 / (9 * freedom) + 3.0902 * math.sqrt(2 / (9 * freedom))) ** 3)


def assert_statistics(name: str, row: Row, values: list[Any]) -> None:
    is_number = name in ("weight", "ratio", "amount", "price")
    if name == "tags":
        assert row["distinct_count"] == len({tuple(value) for value in values})
        assert row["minimum"] is None
        return
    if not is_number:
        assert row["distinct_count"] == len(set(values))
        mean = sum(values) / len(values) if name == "is_new" and values else None
        assert close(row["mean"], mean)
        assert row["p50"] is None
        if name == "label":
            ordered = sorted(values, key=str.encode)
            assert (row["minimum"], row["maximum"]) == ((ordered[0], ordered[-1]) if ordered else (None, None))
        return
    numbers = [as_float(value) for value in values]
    finite = [number for number in numbers if math.isfinite(number)]
    nans = sum(map(math.isnan, numbers))
    assert row["distinct_count"] == len({number for number in numbers if not math.isnan(number)}) + (nans > 0)
    assert row["minimum"] == (text(min(finite)) if finite else None)
    assert row["maximum"] == (text(max(finite)) if finite else None)
    size = max(map(abs, finite), default=0.0)
    assert close(row["mean"], math.fsum(finite) / len(finite) if finite else None, size)
    for share in (5, 25, 50, 75, 95):
        assert close(row[f"p{share:02}"], quantile(finite, share / 100), size), (name, share)


WEIGHTS = [None, 0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 2.5e-7, 123456789.125]
AMOUNTS = [None, 0, 0, 1, 2, -3, 2**53 + 1]
LABELS = [None, "", "a", "a", "a", "b", "c", "NULL", "rare", "unseen", "Ä", "it's"]


def random_rows(draw: random.Random, count: int) -> list[Row]:
    """``count`` rows; with each draw some features have few values and others many."""
    few = {name: draw.random() < 0.4 for name in FEATURES}
    rows = []
    for _ in range(count):
        event = START + timedelta(hours=draw.randrange(24 * DAYS), microseconds=draw.choice([0, 0, -1, 1]))
        event = max(event, START)
        rows.append(
            {
                "sensor": draw.choice(["s1", "s2", "s3", "s4", None] if draw.random() < 0.1 else ["s1", "s2", "s3"]),
                "event_at": event if draw.random() < 0.98 else None,
                "known_at": draw.choice([event, event, event + timedelta(hours=draw.randrange(60)), None]),
                "is_deleted": draw.choice([False, False, False, None, True]),
                "weight": draw.choice(WEIGHTS) if few["weight"] or draw.random() < 0.1 else round(draw.gauss(0, 50), 3),
                "ratio": draw.choice([None, 0.5, -0.0, math.nan]) if few["ratio"] else draw.randrange(64) / 8,
                "amount": draw.choice(AMOUNTS) if few["amount"] else draw.choice([0, 0, 0, draw.randrange(-50, 50)]),
                "price": None if draw.random() < 0.1 else Decimal(draw.randrange(7 if few["price"] else 999)) / 4,
                "label": draw.choice(LABELS) if few["label"] else f"l{int(draw.expovariate(0.1))}",
                "is_new": draw.choice([None, True, False, False]),
                "seen_at": draw.choice([None, event]),
                "seen_on": draw.choice([None, event.date()]),
                "tags": draw.choice([None, [], ["x"], ["x", "y"]]),
                "note": "not profiled",
            }
        )
    # The same revision twice has no newest one: unique_history refuses that.
    return list({(row["sensor"], row["event_at"], row["known_at"]): row for row in rows}.values())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.sampled_from([0, 1, 30, 150, 400]))
def test_bins_statistics_and_psi_equal_the_oracle(built: Warehouse, seed: int, count: int) -> None:
    draw = random.Random(seed)
    rows = random_rows(draw, count)
    now = START + timedelta(days=DAYS, hours=draw.randrange(-30, 30))
    built.connection.execute("begin")
    try:
        built.fill(rows)
        built.stand_at(now)
        built.fix_reference()
        built.run(full=True)
        assert_equals_oracle(built, rows, now)
    finally:
        built.connection.execute("rollback")
