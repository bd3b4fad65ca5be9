"""Columns as an Arrow table: the same arrays, whether they are made one by one or cut from one of their type."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from feature_warehouse.wire import arrays

VALUES: dict[str, list[Any]] = {
    "bigint": [1, None, -(2**63)],
    "utinyint": [0, 255, None],
    "double": [0.5, None, float("inf")],
    "boolean": [True, None, False],
    "varchar": ["", None, "zwölf"],
    "blob": [b"", b"\0", None],
    "date": [date(1, 1, 1), None, date(9999, 12, 31)],
    "timestamptz": [datetime(2013, 1, 31, tzinfo=timezone.utc), None, None],
    "decimal(12,2)": [Decimal("-0.01"), None, Decimal("9999999999.99")],
    "hugeint": [2**100, None, 0],
    "double[]": [[], None, [1.5, 2.5]],
    "float[2]": [[1.0, 2.0], None, [0.5, 0.25]],
}


@pytest.mark.parametrize("rows", [0, 1, 2, 3, arrays._FEW, arrays._FEW + 1])
def test_a_table_is_its_columns_one_by_one(rows: int) -> None:
    columns = [
        (f"{type_}_{shift}", type_, [values[(row + shift) % 3] for row in range(rows)])
        for shift in range(3)
        for type_, values in VALUES.items()
    ]
    found = arrays.arrow_table(columns, rows)
    assert found.num_rows == rows
    assert found.column_names == [name for name, _, _ in columns]
    for name, type_, values in columns:
        alone = pa.array(values, found.schema.field(name).type)
        assert found[name].combine_chunks().equals(alone), name
        assert found[name].to_pylist() == values
        assert found.schema.field(name).type == arrays._arrow(type_)
    found.validate(full=True)
