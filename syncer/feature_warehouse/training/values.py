"""Values as the definitions of docs/reference/content-hash.md see them: the name of a type, its one form, its bytes.

Knows Arrow, and nothing of hashes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from feature_warehouse.errors import DataError

#: By width, the quiet NaN without sign or payload; which bits a computation leaves in its place depends on the machine.
_NAN: dict[int, Any] = {4: np.uint32(0x7FC00000), 8: np.uint64(0x7FF8000000000000)}

# --- types: what is written differently and means the same has one name and one form ----------------------------------


def named_type(field: pa.Field) -> str:
    try:
        return type_name(field.type)
    except TypeError as error:
        raise DataError(
            f"the column '{field.name}' is of the type {error}, which a training set cannot hold",
            "cast it, for instance to varchar",
        ) from None


def type_name(type_: pa.DataType) -> str:
    """The name of an Arrow type in the definition. Raises TypeError, with the type, where there is none."""
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return type_name(type_.value_type)
    if kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return "text"
    type_ = form_of(type_)
    if kinds.is_large_list(type_):
        return f"list({_inner_name(type_.value_type)})"
    if kinds.is_struct(type_):
        fields = (f"{json.dumps(field.name)} {_inner_name(field.type)}" for field in inner_fields(type_))
        return f"struct({', '.join(fields)})"
    if kinds.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if kinds.is_timestamp(type_):
        return f"{'instant' if type_.tz else 'timestamp'}({type_.unit})"
    if kinds.is_time(type_) or kinds.is_duration(type_):
        return f"{'time' if kinds.is_time(type_) else 'duration'}({type_.unit})"
    if kinds.is_integer(type_) or kinds.is_null(type_):
        return str(type_)
    if type_ in _NAMES:
        return _NAMES[type_]
    raise TypeError(type_)


_NAMES = {
    pa.bool_(): "boolean",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.date32(): "date",
    pa.large_binary(): "binary",
}


def _inner_name(type_: pa.DataType) -> str:
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_) or pa.types.is_null(type_):
        raise TypeError(type_)  # Arrow cannot yet drop the NULLs of lists and structs of these; of null it aborts
    return type_name(type_)


def form_of(type_: pa.DataType) -> pa.DataType:
    """The one Arrow type in which values of this type are hashed; what is inside lists and structs stays as it is."""
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return form_of(type_.value_type)
    if any(is_kind(type_) for is_kind in _TEXTS):
        return pa.large_binary()
    if kinds.is_map(type_):
        return pa.large_list(pa.struct([("key", type_.key_type), ("value", type_.item_type)]))
    if any(is_kind(type_) for is_kind in _LISTS):
        return pa.large_list(type_.value_type)
    if kinds.is_decimal(type_):
        decimal = pa.decimal128 if type_.precision <= 38 else pa.decimal256
        return decimal(type_.precision, type_.scale)
    if getattr(type_, "unit", None) == "s":  # Parquet knows no seconds
        return pa.timestamp("ms", type_.tz) if kinds.is_timestamp(type_) else _MILLISECONDS[type_]
    return pa.date32() if kinds.is_date(type_) else type_


_MILLISECONDS = {pa.time32("s"): pa.time32("ms"), pa.duration("s"): pa.duration("ms")}

_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)

_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def inner_fields(type_: pa.DataType) -> list[pa.Field]:
    """The columns within a column of this form: the elements of a list, the fields of a struct."""
    return [type_.field(i) for i in range(type_.num_fields)] if pa.types.is_nested(type_) else []


# --- values: what is there, as bytes; nothing here has a NULL ---------------------------------------------------------


def fixed_bytes(values: pa.Array) -> bytes | memoryview:
    """Values of one width, little-endian and side by side."""
    type_, data = values.type, values.buffers()[1] if values.type != pa.null() else None
    if data is None:
        return b""
    if pa.types.is_boolean(type_):
        return np.asarray(values).astype(np.uint8).tobytes()
    width = type_.bit_width // 8
    here = memoryview(data)[values.offset * width : (values.offset + len(values)) * width]
    if not pa.types.is_floating(type_):
        return here
    nan = _NAN[width]
    numbers = np.frombuffer(here, f"<f{width}")
    return bytes(np.where(np.isnan(numbers), nan, numbers.view(nan.dtype)))


def text_bytes(values: pa.Array) -> tuple[bytes, bytes | memoryview]:
    """(how many bytes each value has, as 64-bit numbers; all the bytes)."""
    _, offsets, data = values.buffers()
    if not len(values):
        return b"", b""
    ends = np.frombuffer(offsets, "<i8")[values.offset : values.offset + len(values) + 1]
    return np.diff(ends).tobytes(), memoryview(data or b"")[ends[0] : ends[-1]]
