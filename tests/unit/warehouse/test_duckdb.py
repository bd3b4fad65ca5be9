"""warehouse: what it finds out about keys without holding them. That it reads is the integration tests' part."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import WarehouseError
from feature_warehouse.warehouse import duckdb as warehouse

UINT64 = st.sampled_from([0, 1, 2, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(UINT64, max_size=6), max_size=4), together=st.integers(1, 8))
def test_hashes_repeat_when_two_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: list[list[int]], together: int
) -> None:
    monkeypatch.setattr(warehouse, "_HASHES", together)
    written = [pa.record_batch({"key": pa.nulls(len(some)), "#hash": np.array(some, np.uint64)}) for some in batches]
    with warehouse._Hashes(tmp_path / "hashes") as hashes:
        assert [*hashes.noted(written)] == written
    every = [hash_ for some in batches for hash_ in some]
    assert hashes.repeat() == (len({*every}) < len(every))


def test_no_integer_is_exported_as_another_one(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "some.duckdb").close()
    with warehouse.open_warehouse(tmp_path / "some.duckdb") as opened:
        read = opened.query(
            'select 7::uhugeint as u, pow(2, 127)::uhugeint - 1 as "a ""b", -1::hugeint as h'
        ).read_all()
        assert read.to_pylist() == [{"u": 7, 'a "b': 2**127 - 1, "h": -1}]
        with pytest.raises(WarehouseError, match="out of range"):
            opened.query("select 340282366920938463463374607431768211455::uhugeint as u").read_all()


def test_equal_keys_have_equal_hashes_however_duckdb_holds_them() -> None:
    forms = ["select 'a' as k", "select chr(97) as k from range(5000)", "select k from (values ('a'), ('b')) as t(k)"]
    query = " union all ".join(f"select k, 1 as n from ({form})" for form in forms)
    with duckdb.connect() as connection:
        (found,) = connection.execute(f"select count(distinct hash(k, n)) from ({query}) where k = 'a'").fetchall()
    assert found == (1,)


def test_batches_are_gathered_until_they_have_many_rows_or_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "BATCH_ROWS", 10)
    monkeypatch.setattr(warehouse, "BATCH_BYTES", 1_000)

    def gathered(rows: list[int], length: int) -> list[list[int]]:
        batches = [pa.record_batch({"text": pa.array(["x" * length] * count)}) for count in rows]
        return [[batch.num_rows for batch in some] for some in warehouse._gathered(batches)]

    assert gathered([4, 4, 4, 4, 2], length=1) == [[4, 4], [4, 4, 2]]
    assert gathered([4, 4, 4], length=200) == [[4], [4], [4]]
    assert gathered([12, 1], length=1) == [[12], [1]]
    assert gathered([], length=1) == []
