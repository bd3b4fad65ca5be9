"""latest: what it finds out about keys without holding them. That it reads is the integration tests' part."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.warehouse import latest
from feature_warehouse.wire.commands import BINARY, Encoded

KEY = st.binary(max_size=2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(KEY, max_size=6), max_size=4),
    hashed=st.integers(1, 8),
    together=st.integers(1, 8),
)
def test_hashes_repeat_when_two_keys_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: list[list[bytes]], hashed: int, together: int
) -> None:
    monkeypatch.setattr(latest, "_HASHED", hashed)
    monkeypatch.setattr(latest, "_HASHES", together)
    written = [
        Encoded(keys=pa.array(some, BINARY), field=b"f", messages=pa.nulls(len(some), BINARY)) for some in batches
    ]
    with latest._Hashes(tmp_path / "hashes") as hashes:
        assert [*hashes.noted(written)] == written
        every = [key for some in batches for key in some]
        assert hashes.repeat() == (len({*every}) < len(every))


def test_batches_are_gathered_until_they_have_many_rows_or_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest, "BATCH_ROWS", 10)
    monkeypatch.setattr(latest, "BATCH_BYTES", 1_000)

    def gathered(rows: list[int], length: int) -> list[list[int]]:
        batches = [pa.record_batch({"text": pa.array(["x" * length] * count)}) for count in rows]
        return [[batch.num_rows for batch in some] for some in latest._gathered(batches)]

    assert gathered([4, 4, 4, 4, 2], length=1) == [[4, 4], [4, 4, 2]]
    assert gathered([4, 4, 4], length=200) == [[4], [4], [4]]
    assert gathered([12, 1], length=1) == [[12], [1]]
    assert gathered([], length=1) == []
