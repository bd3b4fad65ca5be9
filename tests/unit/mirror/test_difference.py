"""mirror: what differs between two spools, against dicts; and within how much memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import SyncerError
from feature_warehouse.mirror import difference as mirror
from feature_warehouse.mirror.difference import Comparison
from feature_warehouse.warehouse import spool
from feature_warehouse.warehouse.spool import BINARY, Spool, SpoolWriter

#: Messages on both sides of what is compared as it is; long ones that differ in a byte alone.
MESSAGES = st.sampled_from([b"", b"\x09", b"\x09\x00", b"m" * 1_024, b"m" * 1_025, b"m" * 1_024 + b"n", b"m" * 3_000])
ROWS = st.dictionaries(st.binary(min_size=1, max_size=2), MESSAGES, max_size=12)


def write(path: Path, rows: Sequence[tuple[bytes, bytes]], together: int = 3) -> Spool:
    with SpoolWriter(path) as writer:
        for first in range(0, len(rows), together):
            keys, messages = zip(*rows[first : first + together], strict=True)
            writer.add(pa.array(keys, BINARY), pa.array(messages, BINARY))
    return writer.spool


def read(spool: Spool) -> dict[bytes, bytes | None]:
    rows = [row for batch in spool.batches() for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]
    assert len(rows) == len(dict(rows)) == spool.rows
    return dict(rows)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=ROWS, online=ROWS, kept=ROWS, done=st.integers(0, 24), twice=st.booleans())
def test_a_difference_turns_what_is_online_into_what_is_wanted(
    tmp_path: Path,
    wanted: dict[bytes, bytes],
    online: dict[bytes, bytes],
    kept: dict[bytes, bytes],
    done: int,
    twice: bool,
) -> None:
    wanted, online = wanted | kept, online | kept
    found = [*online.items()] * (2 if twice else 1)  # a scan may find a key twice
    with Comparison(tmp_path) as comparison:
        made = comparison.difference(write(tmp_path / "wanted", [*wanted.items()]), write(tmp_path / "online", found))
        writes, removals = read(made.writes), read(made.removals)
        assert writes == {key: message for key, message in wanted.items() if online.get(key) != message}
        assert removals == dict.fromkeys(online.keys() - wanted.keys())
        assert made.added == len(wanted.keys() - online.keys())
        assert set(made.examples) <= named("missing", writes) | named("different", writes) | named("extra", removals)

        written, removed = min(done, len(writes)), max(0, min(done - len(writes), len(removals)))
        left = comparison.overlay(write(tmp_path / "once", [*online.items()]), made, written, removed)
        after = online | dict([*writes.items()][:written])
        assert read(left) == {key: after[key] for key in after.keys() - {*[*removals][:removed]}}


def named(kind: str, keys: Mapping[bytes, object]) -> set[str]:
    return {f"{kind} {key.decode(errors='replace')}" for key in keys}


def test_long_messages_are_compared_and_laid_over_one_another_within_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB cannot join them within this much, not even with the disk."""
    monkeypatch.setattr(mirror, "MEMORY_LIMIT", "64MB")
    monkeypatch.setattr(spool, "BATCH_BYTES", 1 << 20)
    rows, size = 2_000, 50_000
    sides = [
        write(tmp_path / side, [(b"k:%d" % row, byte * size) for row in range(rows)], together=500)
        for side, byte in {"wanted": b"w", "online": b"o"}.items()
    ]
    with Comparison(tmp_path) as comparison:
        made = comparison.difference(*sides)
        assert (made.writes.rows, made.added, made.removals.rows) == (rows, 0, 0)
        left = comparison.overlay(sides[1], made, 700, 0)
        found = [message[:1] for batch in left.batches() for message in batch.column(1).to_pylist()]
        assert (found.count(b"w"), found.count(b"o")) == (700, rows - 700)
    assert max(batch.nbytes for each in (*sides, made.writes, left) for batch in each.batches()) < 1.1 * (1 << 20)


def test_a_comparison_that_does_not_fit_says_where_it_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MEMORY_LIMIT", "1MB")
    sides = [
        write(tmp_path / side, [(b"%s%d" % (side.encode(), row), b"m") for row in range(20_000)], 20_000)
        for side in "wo"
    ]
    with Comparison(tmp_path) as comparison, pytest.raises(SyncerError, match="cannot be compared: Out of Memory"):
        comparison.difference(*sides)
