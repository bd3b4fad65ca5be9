"""Guards of features: what each sees, against the same counted row by row; and how they are declared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import DefinitionError
from feature_warehouse.mirror.difference import Comparison
from feature_warehouse.mirror.feature_guards import Verdict, judge_features
from feature_warehouse.project.declared_view import read_guards
from feature_warehouse.registry.feature import Entity, Feature, FeatureView, JoinKey
from feature_warehouse.registry.guards import Guards
from feature_warehouse.warehouse.extent import Extent, Extents
from feature_warehouse.warehouse.spool import Spool, SpoolWriter
from feature_warehouse.wire.encode import Encoder
from feature_warehouse.wire.marker import Marker

NOW = datetime(2026, 1, 10, tzinfo=timezone.utc)

TYPES = {
    "id": ("bigint", pa.int64()),
    "n": ("bigint", pa.int64()),
    "d": ("decimal(9,2)", pa.decimal128(9, 2)),
    "f": ("double", pa.float64()),
    "g": ("float", pa.float32()),
    "h": ("hugeint", pa.string()),
    "t": ("varchar", pa.string()),
    "l": ("double[]", pa.list_(pa.float64())),
}
FEATURES = [name for name in TYPES if name != "id"]
VIEW = FeatureView(
    name="spending",
    version=1,
    entity=Entity("customer", (JoinKey("id", "bigint"),)),
    features=tuple(Feature(name, TYPES[name][0], number) for number, name in enumerate(FEATURES, 2)),
    event_timestamp="event_at",
)
SYNCED = Marker(entity="customer", state="done", as_of=NOW, complete_through=20)

Rows = Mapping[int, tuple[Any, ...]]


def spooled(path: Path, rows: Rows, together: int = 3) -> tuple[Spool, dict[str, Extent]]:
    """Rows {id: a value of each feature} as a sync would spool them."""
    encoder, extents, items = Encoder("shop_dev", VIEW), Extents(VIEW, FEATURES), [*rows.items()]

    def batches() -> Any:
        for first in range(0, len(items), together):
            some = items[first : first + together]
            columns = [pa.array([id_ for id_, _ in some], pa.int64())]
            columns += [pa.array([values[i] for _, values in some], TYPES[name][1]) for i, name in enumerate(FEATURES)]
            columns += [pa.array([NOW] * len(some), pa.timestamp("us", "UTC"))]
            yield pa.record_batch(columns, ["id", *FEATURES, "event_at"])

    with SpoolWriter(path) as writer:
        for batch in extents.noted(batches()):
            encoded = encoder.encode(batch)
            writer.add(encoded.keys, encoded.messages)
    return writer.spool, extents.found


def judge(
    folder: Path, wanted: Rows, online: Rows, guards: Mapping[str, Guards], marker: Marker | None = SYNCED
) -> dict[tuple[str, str], Verdict]:
    spool, extents = spooled(folder / "wanted", wanted)
    there, _ = spooled(folder / "online", online)
    with Comparison(folder) as comparison:
        made = comparison.difference(spool, there)
        found = judge_features(VIEW, guards, extents, spool, there, made, marker, comparison)
    return {(each.feature, each.guard): each for each in found}


HUGE = st.integers(-(1 << 127), (1 << 127) - 1).map(str)
ROW = st.tuples(
    st.none() | st.integers(-2, 2) | st.sampled_from([1 << 53, (1 << 53) + 1, -(1 << 63)]),
    st.none() | st.decimals(-3, 3, places=2),
    st.none() | st.sampled_from([0.0, -0.0, 0.1, 2.5, math.inf, -math.inf, math.nan]),
    st.none() | st.sampled_from([0.0, 0.1, 0.5, math.nan]),
    st.none() | HUGE | st.sampled_from(["0", "1"]),
    st.none() | st.sampled_from(["", "a", "b"]),
    st.none() | st.lists(st.sampled_from([0.0, 1.0, math.nan]), max_size=2),
)
ROWS = st.dictionaries(st.integers(0, 12), ROW, max_size=12)


def text(value: Any) -> str:
    """The same for what is the same value."""
    if isinstance(value, float):
        value += 0.0  # -0.0 becomes 0.0
    return repr([text(item) for item in value] if isinstance(value, list) else value)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=ROWS, online=ROWS, kept=ROWS, share=st.sampled_from([0, 0.1, 0.25, 0.5, 1]))
def test_shares_are_those_counted_row_by_row(tmp_path: Path, wanted: Any, online: Any, kept: Any, share: float) -> None:
    wanted, online = wanted | kept, online | kept
    guards = {name: Guards(max_null_jump=share, max_changed_share=share) for name in FEATURES}
    found = judge(tmp_path, wanted, online, guards)
    for i, name in enumerate(FEATURES):
        if wanted and online:
            nulls = [Fraction(sum(row[i] is None for row in rows.values()), len(rows)) for rows in (wanted, online)]
            assert found[name, "max_null_jump"].holds == (nulls[0] - nulls[1] > Fraction(repr(share)))
        else:
            assert (name, "max_null_jump") not in found
        stay = wanted.keys() & online.keys()
        if stay:
            changed = sum(text(wanted[id_][i]) != text(online[id_][i]) for id_ in stay)
            assert found[name, "max_changed_share"].holds == (Fraction(changed, len(stay)) > Fraction(repr(share)))
        else:
            assert (name, "max_changed_share") not in found


RANGES: dict[str, tuple[int | float, int | float]] = {
    "n": (-1, 1 << 53),
    "d": (-2.5, 0.1),
    "f": (0, 0.1),
    "g": (0, 0.1),
    "h": (0, 10**38),
}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=ROWS)
def test_a_range_takes_its_ends_and_no_nan(tmp_path: Path, wanted: Any) -> None:
    """Integers beyond 2^53, decimals and floats as they are written."""
    found = judge(tmp_path, wanted, {}, {name: Guards(range=RANGES[name]) for name in RANGES}, None)
    for i, name in enumerate(FEATURES):
        values = [row[i] for row in wanted.values() if row[i] is not None]
        if name not in RANGES:
            continue
        low, high = (Decimal(repr(end)) for end in RANGES[name])
        inside = all(
            not Decimal(repr(value) if isinstance(value, float) else value).is_nan()
            and low <= Decimal(repr(value) if isinstance(value, float) else value) <= high
            for value in values
        )
        assert found[name, "range"].holds != inside


def row(**values: Any) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in FEATURES)


def test_what_is_not_online_yet_is_judged_by_its_range_alone(tmp_path: Path) -> None:
    guards = {"n": Guards(max_null_jump=0, max_changed_share=0, range=(0, 5))}
    rows = {1: row(n=9), 2: row(n=None)}
    for marker in (None, replace(SYNCED, as_of=None), replace(SYNCED, complete_through=1)):
        found = judge(tmp_path, rows, {1: row(n=1)}, guards, marker)
        assert {guard: each.holds for (_, guard), each in found.items()} == {"range": True}
    assert {guard for _, guard in judge(tmp_path, rows, {}, guards)} == {"range"}


def test_a_verdict_names_feature_guard_and_figures(tmp_path: Path) -> None:
    guards = {"n": Guards(max_null_jump=0.2, max_changed_share=0.5, range=(0, 5))}
    found = judge(tmp_path, {1: row(n=None), 2: row(n=7)}, {1: row(n=1), 2: row(n=7)}, guards)
    assert [str(each) for each in found.values()] == [
        "n reaches from 7 to 7 (range [0, 5]: held)",
        "n would be NULL in 50.0% of its rows, and is in 0.0% of those online (max_null_jump 0.2: held)",
        "n would be another value for 50.0% of the entities that stay (max_changed_share 0.5)",
    ]
    refusal = found["n", "max_null_jump"].refusal("spending.v1")
    assert refusal.message == (
        "spending.v1: n would be NULL in 50.0% of its rows, and is in 0.0% of those online, and its guard is "
        "max_null_jump 0.2"
    )
    assert "--allow-guarded" in refusal.hint


def test_what_lies_in_redis_and_is_no_message_is_no_value(tmp_path: Path) -> None:
    """A sync will mend it."""
    spool, extents = spooled(tmp_path / "wanted", {id_: row(n=1) for id_ in range(9)})
    keys = [key for batch in spool.batches() for key in batch.column(0).to_pylist()]
    good = [message for batch in spool.batches() for message in batch.column(1).to_pylist()]
    with SpoolWriter(tmp_path / "online") as writer:
        writer.add(pa.array(keys, pa.large_binary()), pa.array([b"\xff", b"", *good[2:]], pa.large_binary()))
    guards = {"n": Guards(max_null_jump=0, max_changed_share=0)}
    with Comparison(tmp_path) as comparison:
        made = comparison.difference(spool, writer.spool)
        found = judge_features(VIEW, guards, extents, spool, writer.spool, made, SYNCED, comparison)
    assert not any(each.holds for each in found)


def test_a_scan_that_finds_a_key_twice_counts_it_once(tmp_path: Path) -> None:
    rows = {id_: row(n=id_) for id_ in range(4)}
    spool, extents = spooled(tmp_path / "wanted", rows | {0: row(n=9)})
    there, _ = spooled(tmp_path / "there", rows)
    with SpoolWriter(tmp_path / "online") as writer:
        for _ in range(2):
            for batch in there.batches():
                writer.add(*batch.columns)
    with Comparison(tmp_path) as comparison:
        made = comparison.difference(spool, writer.spool)
        assert len([1 for wanted, _ in comparison.pairs(made, writer.spool) for _ in wanted]) == 1
        guards = {"n": Guards(max_changed_share=0.25)}
        (found,) = judge_features(VIEW, guards, extents, spool, writer.spool, made, SYNCED, comparison)
    assert ("25.0%" in found.seen, found.holds) == (True, False)


def declared(guards: object, column: str = "n", where: str = "config") -> dict[str, Guards]:
    meta = {"guards": guards}
    columns = {name: {"name": name, "meta": {}, "config": {"meta": {}}} for name in TYPES}
    columns[column] = (
        {"name": column, "config": {"meta": meta}} if where == "config" else {"name": column, "meta": meta}
    )
    node = {"name": "spending", "version": 1, "original_file_path": "models/spending.sql", "patch_path": None}
    return read_guards({**node, "columns": columns, "config": {}}, VIEW)


@pytest.mark.parametrize("where", ["config", "meta"])
def test_guards_are_read_from_the_meta_of_a_column(where: str) -> None:
    given = {"max_null_jump": 0.2, "range": [0, 1 << 60], "max_changed_share": 1, "hold_on_drift": True}
    guards = Guards(max_null_jump=0.2, range=(0, 1 << 60), max_changed_share=1, hold_on_drift=True)
    assert declared(given, where=where) == {"n": guards}


def test_a_number_without_a_point_is_one_though_yaml_takes_it_for_a_text() -> None:
    assert declared({"range": ["-1e-2", "1e6"], "max_null_jump": "2E-1"}) == {
        "n": Guards(range=(-0.01, 1_000_000), max_null_jump=0.2)
    }
    with pytest.raises(DefinitionError, match="range is"):
        declared({"range": [0, "1e6 "]})


@pytest.mark.parametrize(
    ("guards", "column", "words", "hint"),
    [
        (0.2, "n", "config.meta.guards is 0.2, not a mapping", "max_null_jump"),
        ({}, "n", "is {}, not a mapping", "max_null_jump"),
        ({"max_nul_jump": 0.2}, "n", "unknown setting 'max_nul_jump'", "did you mean 'max_null_jump'?"),
        ({"max_null_jump": 20}, "n", "max_null_jump is 20", "between 0 and 1"),
        ({"max_null_jump": True}, "n", "max_null_jump is True", "between 0 and 1"),
        ({"max_changed_share": -0.1}, "n", "max_changed_share is -0.1", "between 0 and 1"),
        ({"max_changed_share": math.nan}, "n", "max_changed_share is nan", "between 0 and 1"),
        ({"range": [5]}, "n", r"range is \[5\]", "smallest and the largest"),
        ({"range": [5, 1]}, "n", r"range is \[5, 1\]", "smallest and the largest"),
        ({"range": [0, "x"]}, "n", r"range is \[0, 'x'\]", "smallest and the largest"),
        ({"range": [0, math.nan]}, "n", r"range is \[0, nan\]", "smallest and the largest"),
        ({"range": [0, 1]}, "t", "range is judged on numbers, and this is varchar", "dbt test"),
        ({"range": [0, 1]}, "l", r"range is judged on numbers, and this is double\[\]", "dbt test"),
        ({"hold_on_drift": "yes"}, "n", "hold_on_drift is 'yes'", "true or false"),
        ({"max_null_jump": 0.2}, "id", "it is no feature", "move them"),
    ],
)
def test_a_guard_that_makes_no_sense_is_refused_with_its_place(
    guards: object, column: str, words: str, hint: str
) -> None:
    with pytest.raises(DefinitionError, match=words) as refused:
        declared(guards, column)
    assert f"column '{column}'" in refused.value.message
    assert hint in refused.value.hint
