"""Drift: bins, statistics, PSI and verdicts against an oracle that knows no SQL; runs day by day against one run."""

from __future__ import annotations

import json
import math
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import drifting as drifts
from tests.support import feast as peer
from tests.support.pages import Page
from tests.support.projects import ROOT, Project
from tests.support.wanted import want

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
    reference: str = field(repr=False)
    profile: str = field(repr=False)
    later_profile: str = field(repr=False)

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


def oracle_smoothed_psi(reference: list[int], period: list[int]) -> float:
    filled = [(e + 0.5, a + 0.5) for e, a in zip(reference, period, strict=True) if e or a]
    e_rows, a_rows = (math.fsum(column) for column in zip(*filled, strict=True))
    return math.fsum((a / a_rows - e / e_rows) * math.log((a / a_rows) / (e / e_rows)) for e, a in filled)


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
                assert {row[column] for column in ("psi", "psi_smoothed", "psi_noise", "verdict")} == {None}
                continue
            assert math.isclose(row["psi"], oracle_psi(expected, counts), rel_tol=1e-9, abs_tol=1e-9), (name, day)
            freedom = sum(1 for e, a in zip(expected, counts, strict=True) if e or a) - 1
            noise = chi_squared(freedom) * (1 / len(values) + 1 / len(reference))
            assert math.isclose(row["psi_noise"], noise, rel_tol=1e-9), (name, day)
            smoothed = oracle_smoothed_psi(expected, counts)
            assert math.isclose(row["psi_smoothed"], smoothed, rel_tol=1e-9, abs_tol=1e-9), (name, day)
            verdict = "stable" if row["psi"] < look else None if row["psi_smoothed"] <= noise else "look"
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


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# --- Evidently --------------------------------------------------------------------------------------------------------


def evidently(pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    """The PSI of each pair of binned samples, by the Evidently package in .venv-feast."""
    script = ROOT / "tests" / "evidently" / "psi.py"
    done = subprocess.run([peer.PYTHON, script], input=json.dumps(pairs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert f"Evidently {answer['version']}" in Page("reference/drift.md").text
    return list(answer["psi"])


def test_psi_is_that_of_evidently(warehouse: Warehouse) -> None:
    """Of the same bins, to 1e-9; but for its own rule where a bin is empty and another one holds 0.01 % or less."""
    want("feast", found=peer.PYTHON.exists())
    pairs, ours = [], []
    for seed in range(5):
        warehouse.fill(random_rows(random.Random(seed), 400))
        warehouse.stand_at(START + timedelta(days=DAYS))
        warehouse.fix_reference()
        warehouse.run(full=True)
        found = warehouse.rows(
            """select expected, counts, psi
            from readings_drift
            inner join
                (select feature, list(row_count order by bin) as expected from readings_reference group by feature)
                using (feature)
            where psi is not null"""
        )
        assert len(found) > 40
        pairs += [(row["expected"], row["counts"]) for row in found]
        ours += [row["psi"] for row in found]
    stray = [20_000, 1, 5], [20_000, 1, 0]
    *theirs, of_stray = evidently([*pairs, stray])
    assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-9)
    share, empty = 5 / 20_006, 1 / 20_001 / 10**6  # the latter by its own rule; ours is 0.0001
    others = [(20_000 / 20_006, 20_000 / 20_001), (1 / 20_006, 1 / 20_001), (share, empty)]
    assert of_stray == pytest.approx(sum((a - e) * math.log(a / e) for e, a in others), rel=1e-9)
    assert of_stray > 10 * oracle_psi(*stray)


# --- incremental runs -------------------------------------------------------------------------------------------------


def table(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """The profile; the last bits of a mean depend on the order in which it was summed."""
    query = "select * replace (mean::float as mean) from readings_drift order by period_start, feature"
    return warehouse.connection.execute(query).fetchall()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_runs_of_any_rhythm_equal_a_full_refresh(built: Warehouse, seed: int) -> None:
    draw = random.Random(seed)
    built.connection.execute("begin")
    try:
        built.fill(random_rows(draw, 300))
        now = START + timedelta(days=REFERENCE_DAYS)
        built.stand_at(now)
        built.fix_reference()
        while now < START + timedelta(days=DAYS + 2):
            built.stand_at(now)
            built.run()
            now += timedelta(hours=draw.choice([1, 12, 24, 24, 50]))
        runs = table(built)
        built.run(full=True)
        assert runs == table(built)
        assert len(runs) == DAYS * len(FEATURES)
    finally:
        built.connection.execute("rollback")


def reading(hours: float, late: float = 0, **values: Any) -> Row:
    event = START + timedelta(hours=hours)
    own = {"sensor": "s1", "event_at": event, "known_at": event + timedelta(hours=late)}
    return dict.fromkeys(COLUMNS) | own | values


def made(warehouse: Warehouse, now: datetime) -> list[int]:
    """The days, counted from the start, that a run at ``now`` makes."""
    warehouse.stand_at(now)
    warehouse.run()
    days = warehouse.connection.execute("select distinct epoch(period_start)::bigint from made order by 1").fetchall()
    return [(int(seconds) - int(START.timestamp())) // 86400 for (seconds,) in days]


def test_a_run_makes_the_days_that_ended_and_those_that_late_rows_belong_to(warehouse: Warehouse) -> None:
    rows = [reading(hours, weight=float(hours)) for hours in range(24 * 7)]
    warehouse.fill([*rows, reading(30.5, late=24 * 4, weight=1.0)])  # of day 1, known on day 5
    warehouse.stand_at(START + timedelta(days=REFERENCE_DAYS))
    warehouse.fix_reference()
    assert made(warehouse, START + timedelta(days=3, hours=7)) == [0, 1, 2]
    # The last day once more: rows of the very instant up to which the table is known may still have come.
    assert made(warehouse, START + timedelta(days=5)) == [2, 3, 4]
    assert made(warehouse, START + timedelta(days=6)) == [1, 4, 5]
    assert made(warehouse, START + timedelta(days=6, hours=23)) == [5]


def test_a_row_that_was_announced_counts_once_its_day_is_over(warehouse: Warehouse) -> None:
    rows = [reading(hours, weight=float(hours)) for hours in range(24 * 3)]
    warehouse.fill([*rows, reading(24 * 3, late=-48, weight=1.0)])  # at the first instant of day 3, known on day 1
    warehouse.stand_at(START + timedelta(days=REFERENCE_DAYS))
    warehouse.fix_reference()
    assert made(warehouse, START + timedelta(days=3)) == [0, 1, 2]
    assert made(warehouse, START + timedelta(days=4)) == [2, 3]


def test_the_reference_ends_before_its_end_and_keeps_what_one_percent_have(warehouse: Warehouse) -> None:
    labels = ["a"] * 197 + ["b"] * 2 + ["c"]
    rows = [reading(0.2 * i, label=label, weight=-0.0) for i, label in enumerate(labels)]
    warehouse.fill([*rows, reading(24 * REFERENCE_DAYS, label="too late", weight=0.0)])
    warehouse.stand_at(START + timedelta(days=REFERENCE_DAYS + 1))
    warehouse.fix_reference()
    bins = warehouse.rows("select * from readings_reference where feature = 'label' order by bin")
    assert [(row["label"], row["row_count"], row["categories"]) for row in bins] == [
        ("NULL", 0, None),
        ("a", 197, ["a"]),
        ("b", 2, ["b"]),
        ("rare", 1, ["c"]),
        ("unseen", 0, None),
    ]
    warehouse.run()
    after = warehouse.rows("from readings_drift where feature = 'label' and period_start >= '2026-03-03 00:00:00+00'")
    assert [row["counts"] for row in after] == [[0, 0, 0, 0, 1]]


def test_other_bins_make_every_period_anew(warehouse: Warehouse) -> None:
    warehouse.fill([reading(hours, weight=float(hours)) for hours in range(24 * 4)])
    warehouse.stand_at(START + timedelta(days=4))
    warehouse.fix_reference()
    warehouse.run()
    before = table(warehouse)
    warehouse.connection.execute("update raw_readings set weight = weight + 1000 where event_at < '2026-03-03'")
    warehouse.fix_reference()
    assert made(warehouse, START + timedelta(days=4)) == [0, 1, 2, 3]
    after = table(warehouse)
    warehouse.run(full=True)
    assert before != after == table(warehouse)


def test_bins_are_not_fixed_before_their_period_is_over(warehouse: Warehouse) -> None:
    warehouse.fill([reading(hours, weight=float(hours)) for hours in range(24 * 4)])
    warehouse.stand_at(START + timedelta(days=REFERENCE_DAYS, seconds=-1))
    warehouse.fix_reference()
    assert {row["reference_rows"] for row in warehouse.rows("from readings_reference")} == {0}


# --- what the figures are worth ---------------------------------------------------------------------------------------

#: A thousand samples of one distribution, and one of another for each feature in turn; a sample a day, in SQL alone.
SAMPLES = """
insert into raw_readings by name
select
    'sensor ' || reading as sensor,
    timestamptz '2026-03-01 00:00:00+00' + to_hours(24 * day) + to_seconds(reading) as event_at,
    event_at as known_at,
    random() * 10 + random() * 10 + case when day = 1003 then 2 else 0 end as weight,
    floor(-20 * ln(1 - random()) * case when day = 1004 then 2 else 1 end)::bigint as amount,
    case when random() < case when day = 1005 then 0.2 else 0.05 end then null
        else 'l' || floor(-3 * ln(1 - random()))::bigint end as label,
    random() < case when day = 1006 then 0.4 else 0.2 end as is_new
from range(1007) as days(day), range(if(day < 2, 1500, 700)) as readings(reading)
"""


def test_only_what_has_changed_is_flagged(warehouse: Warehouse) -> None:
    """Of 3,000 rows against days of 700: no resample is worth a look; a seeded change is, in its feature alone."""
    warehouse.connection.execute("select setseed(0.5)")
    warehouse.connection.execute("set threads = 1")  # random() in parallel is not the same twice
    warehouse.connection.execute(SAMPLES)
    warehouse.connection.execute("reset threads")
    warehouse.stand_at(START + timedelta(days=1007))
    warehouse.fix_reference()
    warehouse.run(full=True)
    found = warehouse.rows(
        """select epoch(period_start - timestamptz '2026-03-01 00:00:00+00')::bigint // 86400 as day, *
        from readings_drift where feature in ('weight', 'amount', 'label', 'is_new') and day >= 2"""
    )
    assert len(found) == 1005 * 4
    resamples = [row for row in found if row["day"] < 1003]
    assert max(row["psi"] for row in resamples) < 0.1
    assert {row["verdict"] for row in resamples} == {"stable"}
    noisy = sum(row["psi_smoothed"] > row["psi_noise"] for row in resamples) / len(resamples)
    assert noisy < 0.003  # 0.001 is meant
    seeded = {(row["day"], row["feature"]): row["verdict"] for row in found if row["day"] >= 1003}
    assert {key: verdict for key, verdict in seeded.items() if verdict != "stable"} == {
        (1003, "weight"): "act",
        (1004, "amount"): "look",  # by thresholds of its own: 0.5 and 1
        (1005, "label"): "act",
        (1006, "is_new"): "look",
    }


# --- through dbt ------------------------------------------------------------------------------------------------------

PROFILE_OF = "drift_profile(ref('visits', v=1), ref('visits_reference'), "

#: A call -> what dbt says of it
WRONG = {
    f"drift_reference(ref('visits', v=1), {drifts.PERIOD}, timestamp='event_at')": (
        "drift_reference: visits.v1 is a feature view, so its time comes from its metadata. "
        "Leave `timestamp` and `service` out."
    ),
    f"drift_reference(ref('served_log'), {drifts.PERIOD})": (
        "Name the column that says when each row was: timestamp='<column>'."
    ),
    f"drift_reference(ref('visits', v=1), {drifts.PERIOD}, features=['minuets'])": (
        "drift_reference: visits.v1 has no feature 'minuets'; it has minutes, pages, plan."
    ),
    f"drift_reference(ref('visits_reference'), {drifts.PERIOD}, {drifts.OF_CHURN})": (
        "has no column 'last_minutes', which churn.v1 reads; it has source, source_type"
    ),
    f"drift_reference(ref('training'), {drifts.PERIOD}, timestamp='asked_at', service='churn.v9')": (
        "drift_reference: there is no feature service 'churn.v9'. Write <name>.v<version>; declared: churn.v1."
    ),
    "drift_reference(ref('visits', v=1), start='2026-03-01', end='2026-03-03T00:00:00Z')": (
        "drift_reference: start is '2026-03-01', which names no instant."
    ),
    f"{PROFILE_OF}period='month')": "drift_profile: `period` is 'month'. Write hour, day or week.",
    f"{PROFILE_OF}look=0.3)": (
        "drift_profile: of 'minutes' `look` (0.3) is above `act` (0.25). Give both, `look` first."
    ),
    f"{PROFILE_OF}minimum_rows='many')": (
        "drift_profile: `minimum_rows` of 'minutes' is 'many'. Write a number from 0 on."
    ),
}


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return drifts.shop(tmp_path_factory.mktemp("drifting"))


def rows(project: Project, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def test_dbt_warns_at_look_and_fails_at_act(drifting: Project) -> None:
    said = {run.node.name: run for run in drifting.try_dbt("build").result.results}
    verdicts = dict(rows(drifting, "select feature, verdict from visits_drift where period_start = '2026-03-03'"))
    assert verdicts == {"minutes": "act", "pages": "stable", "plan": "look"}
    assert {name: run.status for name, run in said.items() if run.node.resource_type == "test"} == {
        "all_features": "fail",
        "never_fails": "warn",
        "fails_early": "fail",
        "to_look_at": "warn",
        "without_drift": "pass",
        "an_earlier_day": "pass",
    }
    assert said["all_features"].message == "Got 2 results, configured to fail if >= 2"
    assert [name for name, run in said.items() if run.status == "error"] == []


def test_a_served_log_is_compared_with_what_the_model_was_trained_on(drifting: Project) -> None:
    drifting.dbt("run")
    found = rows(
        drifting,
        "select distinct source, source_type, feature, look, verdict from churn_drift"
        " where period_start = '2026-03-02' order by feature",
    )
    assert found == [
        ("churn.v1", "service", "is_night", 0.1, "look"),
        ("churn.v1", "service", "last_minutes", 0.1, "stable"),
        ("churn.v1", "service", "last_pages", 0.2, "stable"),
    ]
    found = rows(drifting, "select distinct source, source_type, feature from log_reference order by feature")
    assert found == [("served_log", "model", name) for name in ("is_night", "last_minutes", "last_pages", "visit_hour")]


def test_fixed_bins_stay_until_their_definition_changes(drifting: Project) -> None:
    drifting.dbt("run")
    before = rows(drifting, "from visits_reference order by feature, bin")
    other = drifts.SHOP["models/visits_v1.sql"].replace("visit % 100", "visit % 90")
    drifting.write("models/visits_v1.sql", other)
    drifting.dbt("run")
    assert rows(drifting, "from visits_reference order by feature, bin") == before

    drifting.write(
        "models/shop.yml", drifts.SHOP_YAML.replace("name: pages, data_type: bigint", "name: pages, data_type: integer")
    )
    drifting.write("models/visits_v1.sql", other.replace("::bigint as pages", "::integer as pages"))
    drifting.dbt("run", "--select", "visits+", "--exclude", "visits_drift")
    after = rows(drifting, "from visits_reference order by feature, bin")
    assert [row for row in after if row[2] != "pages"] == [row for row in before if row[2] != "pages"]
    assert {row[3] for row in after if row[2] == "pages"} == {"integer"}

    drifting.dbt("run", "--full-refresh")
    assert rows(drifting, "from visits_reference order by feature, bin") != after


def test_each_refusal_says_what_to_write(drifting: Project) -> None:
    files = {f"models/wrong_{i}.sql": f"{{{{ feature_warehouse.{call} }}}}" for i, call in enumerate(WRONG)}
    for path, sql in files.items():
        drifting.write(path, sql)
    drifting.write("models/shop.yml", drifts.SHOP_YAML.replace("act: 0.9", "atc: 0.9"))
    try:
        result = drifting.try_dbt("run", "--select", "wrong_*", "visits_drift")
    finally:
        for path in files:
            (drifting.folder / path).unlink()
        drifting.write("models/shop.yml", drifts.SHOP_YAML)
    said = {run.node.name: run.message or "" for run in result.result.results}
    for i, words in enumerate(WRONG.values()):
        assert words in said[f"wrong_{i}"], said[f"wrong_{i}"]
    assert "config.meta.drift of 'pages' is" in said["visits_drift"]
    assert "Write look, act, minimum_rows" in said["visits_drift"]
