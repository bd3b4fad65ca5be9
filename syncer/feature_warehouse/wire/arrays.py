"""Columns of features as NumPy and Arrow arrays; loaded only by who asks for them.

A column comes as its N values: a list, with None where there is none, or a sequence of protobuf's, which has no None.
In Arrow it has the type that the feature is registered with, in NumPy the dtype of that type, so that integers beside
NULLs stay integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timezone
from functools import lru_cache
from typing import Any

import numpy as np

from feature_warehouse.registry.types import feature_type

#: Type -> dtype of NumPy and Arrow's name. All others are Python's own values in NumPy.
_TYPES: dict[str, tuple[str, str]] = {
    "boolean": ("bool", "bool"),
    "tinyint": ("int8", "int8"),
    "smallint": ("int16", "int16"),
    "integer": ("int32", "int32"),
    "bigint": ("int64", "int64"),
    "utinyint": ("uint8", "uint8"),
    "usmallint": ("uint16", "uint16"),
    "uinteger": ("uint32", "uint32"),
    "ubigint": ("uint64", "uint64"),
    "float": ("float32", "float"),
    "double": ("float64", "double"),
    "date": ("datetime64[D]", "date32"),
    "varchar": ("object", "string"),
    "uuid": ("object", "string"),
    "blob": ("object", "binary"),
}


def numpy_column(type_: str, values: Sequence[Any]) -> Any:
    """N values as an array of N; a masked one (numpy.ma) where values are missing.

    Instants are datetime64[us] in UTC; texts, decimals and huge integers Python's own values; a list is an array.
    """
    dtype, nothing, read = _numpy(type_)
    if not isinstance(values, list) or None not in values:
        return _filled(dtype, values[:] if read is None else list(map(read, values)))
    absent = [value is None for value in values]
    there = [nothing if value is None else read(value) if read else value for value in values]
    return np.ma.MaskedArray(_filled(dtype, there), absent)


def _filled(dtype: np.dtype[Any], values: Sequence[Any]) -> Any:
    if dtype.kind != "O" or not values or not isinstance(values[0], np.ndarray):
        return np.array(values, dtype)
    column = np.empty(len(values), dtype)
    for row, value in enumerate(values):  # at once, NumPy would make a matrix of arrays of one length
        column[row] = value
    return column


@lru_cache(maxsize=1_000)
def _numpy(type_: str) -> tuple[np.dtype[Any], Any, Callable[[Any], Any] | None]:
    """(dtype, what stands where nothing is, what to make of a value)."""
    feature = feature_type(type_)
    if feature.is_list:
        element = np.dtype(_TYPES[feature.name.partition("[")[0]][0])
        return np.dtype(object), np.empty(0, element), lambda value: np.array(value, element)
    if feature.kind == "timestamp":  # NumPy knows no zones
        dtype = np.dtype("datetime64[us]")
        return dtype, dtype.type(0, "us"), lambda value: value.astimezone(timezone.utc).replace(tzinfo=None)
    dtype = np.dtype(_TYPES.get(feature.name, ("object",))[0])
    return dtype, None if dtype.kind == "O" else np.zeros(1, dtype)[0], None


def arrow_table(columns: Sequence[tuple[str, str, Sequence[Any]]], rows: int) -> Any:
    """A table of (name, type, N values) each; huge integers are decimal256(39,0)."""
    import pyarrow as pa

    if rows > _FEW:
        return pa.table([_array(type_, values) for _, type_, values in columns], [name for name, _, _ in columns])
    of_type: dict[str, list[int]] = {}
    for at, (_, type_, _) in enumerate(columns):
        of_type.setdefault(type_, []).append(at)
    found: list[Any] = [None] * len(columns)
    for type_, places in of_type.items():
        together = _array(type_, [value for at in places for value in columns[at][2]])
        for number, at in enumerate(places):
            found[at] = together.slice(number * rows, rows)
    return pa.table(found, [name for name, _, _ in columns])


#: Up to so many rows, columns of one type are made at once, and cut: to begin an array costs more than its values.
_FEW = 100


def _array(type_: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values if isinstance(values, list) else values[:], _arrow(type_))


def pandas_frame(table: Any) -> Any:
    """A pandas frame on Arrow types, so that integers beside NULLs stay integers."""
    import pandas as pd  # type: ignore[import-untyped]  # ships no types

    return table.to_pandas(types_mapper=pd.ArrowDtype)


@lru_cache(maxsize=1_000)
def _arrow(type_: str) -> Any:
    import pyarrow as pa

    feature = feature_type(type_)
    if feature.is_list:
        element, _, size = feature.name.rstrip("]").partition("[")
        return pa.list_(_arrow(element), int(size or -1))
    if feature.kind == "decimal":
        precision, _, scale = feature.name[len("decimal(") : -1].partition(",")
        return pa.decimal128(int(precision), int(scale))
    if feature.kind == "integer":
        return pa.decimal256(39, 0)
    if feature.kind == "timestamp":
        return pa.timestamp("us", "UTC")
    return pa.type_for_alias(_TYPES[feature.name][1])
