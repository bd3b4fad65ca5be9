"""duckdb: what it hands over. That it reads at one instant is the integration tests' part."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from feature_warehouse.errors import WarehouseError
from feature_warehouse.project.profile import Output
from feature_warehouse.warehouse import duckdb as warehouse


def test_no_integer_is_exported_as_another_one(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "some.duckdb").close()
    output = Output(adapter="duckdb", path=str(tmp_path / "some.duckdb"), catalog="some", schema="main")
    with warehouse.open_warehouse(output) as opened:
        read = opened.query(
            'select 7::uhugeint as u, pow(2, 127)::uhugeint - 1 as "a ""b", -1::hugeint as h'
        ).read_all()
        assert read.to_pylist() == [{"u": 7, 'a "b': 2**127 - 1, "h": -1}]
        with pytest.raises(WarehouseError, match="out of range"):
            opened.query("select 340282366920938463463374607431768211455::uhugeint as u").read_all()
