"""How far a value that was served is from the one that training has."""

from __future__ import annotations

import duckdb
import pytest

from feature_warehouse.monitoring.audit import _difference


@pytest.mark.parametrize(
    ("type_", "value", "expected", "difference"),
    [
        ("bigint", "9007199254740993", "9007199254740992", 1.0),
        ("bigint", "9223372036854775807", "-9223372036854775808", 2.0**64),
        ("ubigint", "0", "18446744073709551615", 2.0**64),
        ("hugeint", "-170141183460469231731687303715884105728", "1", 2.0**127),
        ("uhugeint", "340282366920938463463374607431768211455", "0", 2.0**128),
        ("decimal(38,2)", "900719925474099301.01", "900719925474099301.00", 0.01),
        ("decimal(38,0)", "99999999999999999999999999999999999999", "-1", 1e38),
        ("double", "0.5", "-0.25", 0.75),
        ("float", "inf", "1", float("inf")),
        ("bigint", "1", None, None),
        ("double", None, "1", None),
        ("varchar", "a", "b", None),
        ("double[]", "[1.0]", "[2.0]", None),
        ("timestamptz", "2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00", None),
    ],
)
def test_numbers_are_subtracted_exactly(
    type_: str, value: str | None, expected: str | None, difference: float | None
) -> None:
    sql = f"select {_difference(type_)} from (select cast($1 as {type_}) as value, cast($2 as {type_}) as expected)"
    with duckdb.connect() as connection:
        assert connection.execute(sql, [value, expected]).fetchall() == [(difference,)]
