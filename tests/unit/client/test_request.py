"""Request values: what is taken as which type, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import cast

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from feature_warehouse.client.request import request_columns, request_value
from feature_warehouse.errors import RequestError
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature
from feature_warehouse.registry.types import feature_type

NOON = datetime(2013, 1, 31, 12, tzinfo=timezone.utc)

TAKEN = [
    ("double", 300.5, 300.5),
    ("double", 300, 300.0),
    ("double", "300", 300.0),
    ("double", "-1e-3", -0.001),
    ("double", np.float32(0.5), 0.5),
    ("double", math.inf, math.inf),
    ("float", 0.1, 0.1),
    ("bigint", 7, 7),
    ("bigint", "-7", -7),
    ("bigint", np.int64(7), 7),
    ("hugeint", 1 << 100, 1 << 100),
    ("decimal(9,2)", Decimal("1.5"), Decimal("1.50")),
    ("decimal(9,2)", 3, Decimal("3.00")),
    ("decimal(38,10)", "1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
    ("boolean", True, True),
    ("boolean", np.False_, False),
    ("boolean", "false", False),
    ("varchar", "", ""),
    ("uuid", "0F8FAD5B-D9CB-469F-A165-70867728950E", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("blob", b"\x00\xff", b"\x00\xff"),
    ("date", date(2013, 1, 31), date(2013, 1, 31)),
    ("date", "2013-01-31", date(2013, 1, 31)),
    ("timestamptz", NOON, NOON),
    ("timestamptz", NOON.astimezone(timezone(timedelta(hours=-5))), NOON),
    ("timestamptz", "2013-01-31T07:00:00.000001-05:00", NOON + timedelta(microseconds=1)),
    ("double[]", [1, 2.5], [1.0, 2.5]),
    ("double[2]", (1, 2.5), [1.0, 2.5]),
    ("integer[]", np.array([1, 2]), [1, 2]),
    ("ubigint[]", [], []),
]


@pytest.mark.parametrize(("type_", "given", "value"), TAKEN, ids=repr)
def test_what_is_taken(type_: str, given: object, value: object) -> None:
    found = request_value(given, feature_type(type_))
    assert (found, type(found)) == (value, type(value))
    assert str(found) == str(value)  # decimals with their scale, instants in UTC
    assert request_value(None, feature_type(type_)) is None


REFUSED = [
    ("timestamptz", pd.Timestamp("2013-01-31T12:00:00.000000001Z"), "is not in whole microseconds"),
    ("double", True, "True (bool) is not a number"),
    ("double", "12 miles", "'12 miles' (str) is not a number"),
    ("double", "1_000", "'1_000' (str) is not a number"),
    ("double", Decimal("0.1"), "Decimal('0.1') (Decimal) is not a number"),
    ("double", 2**53 + 1, "9007199254740993 (int) is not exactly a double"),
    ("double", 10**400, "is not within the range of a double"),
    ("float", 1e39, "1e+39 (float) is not within the range of a float"),
    ("bigint", 1.0, "1.0 (float) is not an integer"),
    ("tinyint", 128, "128 (int) is not between -128 and 127"),
    ("decimal(9,2)", Decimal("1.005"), "is not a decimal(9,2)"),
    ("decimal(9,2)", 10**7, "10000000 (int) is not a decimal(9,2)"),
    ("decimal(9,2)", 1.5, "1.5 (float) is not a decimal"),
    ("decimal(9,2)", Decimal("nan"), "is not a decimal(9,2)"),
    ("decimal(9,2)", "1e999999999", "is not a decimal(9,2)"),
    ("boolean", 1, "1 (int) is not a boolean"),
    ("varchar", 7, "7 (int) is not a string"),
    ("blob", "text", "'text' (str) is not bytes"),
    ("date", NOON, "is not a date"),
    ("timestamptz", NOON.replace(tzinfo=None), "is not an instant"),
    ("timestamptz", "2013-01-31 12:00", "is not a timestamp"),
    ("double[]", 1.0, "1.0 (float) is not a list"),
    ("double[]", "12", "'12' (str) is not a list"),
    ("double[]", {1.0}, "{1.0} (set) is not a list"),
    ("boolean", np.array([True]), "is not a boolean"),
    ("double[]", [None], "None is no element of a list"),
    ("double[2]", [1.0], "a list of 1 is not a double[2]"),
    ("integer[]", [1.5], "1.5 (float) is not an integer"),
    ("double", np.array([1.0]), "array([1.]) (ndarray) is not a number"),
    ("double", np.array([1.0, 2.0]), "(ndarray) is not a number"),
]


@pytest.mark.parametrize(("type_", "given", "words"), REFUSED, ids=repr)
def test_what_is_refused(type_: str, given: object, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        request_value(given, feature_type(type_))
    assert words in caught.value.message


@pytest.mark.parametrize("type_", ["bigint", "double", "date", "varchar", "decimal(9,2)", "double[]"])
def test_a_number_too_long_to_be_shown_is_refused_in_words(type_: str) -> None:
    service = replace(SERVICE, request={"amount": type_}, on_demand=())
    with pytest.raises(RequestError, match=r"fraud@2, row 0: 'amount': .*int"):
        request_columns(service, [{"amount": 10**5_000}], {})


@pytest.mark.parametrize(
    ("type_", "missing"),
    [("bigint", pd.NA), ("bigint", math.nan), ("varchar", math.nan), ("timestamptz", pd.NaT), ("double", pd.NA)],
)
def test_what_pandas_has_for_missing_values_is_missing(type_: str, missing: object) -> None:
    assert request_value(missing, feature_type(type_)) is None


def test_a_nan_where_numbers_have_one_is_a_nan() -> None:
    assert math.isnan(cast(float, request_value(math.nan, feature_type("double"))))


SERVICE = FeatureService(
    name="fraud",
    version=2,
    views=(),
    request={"amount": "double", "asked_at": "timestamptz"},
    on_demand=(OnDemandFeature("twice", "double", "2 * amount"),),
)


def test_a_rows_own_value_goes_before_that_for_all_rows() -> None:
    rows: list[dict[str, object]] = [{"amount": 1}, {"amount": None}, {}]
    found = request_columns(SERVICE, rows, {"amount": 3.0, "asked_at": NOON})
    assert found == {"amount": [1.0, None, 3.0], "asked_at": [NOON] * 3}
    assert request_columns(SERVICE, [], {}) == {"amount": [], "asked_at": []}


@pytest.mark.parametrize(
    ("rows", "request_", "words", "hint"),
    [
        ([{"amount": 1}], {}, "fraud@2, row 0: the request value 'asked_at' is missing", "asked_at (timestamptz)"),
        (
            [{"amount": 1}, {"amount": "x"}],
            {"asked_at": NOON},
            "fraud@2, row 1: 'amount': 'x' (str) is not a number",
            "give a float",
        ),
        ([], None, "fraud@2: None (NoneType) is no mapping", "request={"),
        ([], {"amout": 1}, "fraud@2 requests no value 'amout'", "amount (double), asked_at (timestamptz)"),
    ],
)
def test_errors_name_service_row_and_value(rows: list, request_: dict, words: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        request_columns(SERVICE, rows, request_)
    assert caught.value.message == words
    assert hint in caught.value.hint
