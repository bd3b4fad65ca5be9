"""The content hash: one text that stands for the values of a table, whatever file or memory they lie in.

Knows Arrow, and no database. Each column is taken apart into streams of bytes (which rows have a value, how long each
value is, the values themselves), and each stream is hashed as it comes. So nothing depends on how rows are cut into
batches, no row is looked at by Python, and memory holds one batch. The definition, with examples that a test reads, is
docs/reference/content-hash.md.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.errors import DataError

#: Stands in the hashed text, so that another definition can never give the same hash by accident.
DEFINITION = "feature_warehouse content 1"

#: By width, the quiet NaN without sign or payload; which bits a computation leaves in its place depends on the machine.
_NAN: dict[int, Any] = {4: np.uint32(0x7FC00000), 8: np.uint64(0x7FF8000000000000)}


@dataclass(frozen=True, slots=True)
class ColumnContent:
    """One column: its name, the name of its type in the definition, and the hash of its values in row order."""

    name: str
    type: str
    hash: str  # 64 hexadecimal digits


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a table holds: its rows counted, its columns hashed."""

    rows: int
    columns: tuple[ColumnContent, ...]

    @property
    def hash(self) -> str:
        """The content hash, 'sha256:...'."""
        lines = [DEFINITION, f"rows {self.rows}"]
        lines += [f"{column.hash} {column.type} {json.dumps(column.name)}" for column in self.columns]
        return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def first(self, columns: int) -> TableContent:
        """The same rows, of which only the first ``columns`` columns."""
        return TableContent(self.rows, self.columns[:columns])


class ContentHash:
    """Takes the batches of one table, in row order and cut anywhere, and says what they hold."""

    def __init__(self, schema: pa.Schema) -> None:
        """Raises DataError, naming the column, for a type that the definition does not know."""
        self._types = [(field.name, _named(field)) for field in schema]
        self._streams = [_Streams(field.type) for field in schema]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        for streams, column in zip(self._streams, batch.columns, strict=True):
            streams.update(column)

    def content(self) -> TableContent:
        """What has come so far."""
        columns = (
            ColumnContent(name, type_, streams.digest().hex())
            for (name, type_), streams in zip(self._types, self._streams, strict=True)
        )
        return TableContent(self._rows, tuple(columns))


def content_of(table: pa.Table) -> TableContent:
    """What a whole table holds."""
    content = ContentHash(table.schema)
    for batch in table.to_batches():
        content.update(batch)
    return content.content()


def content_hash(table: pa.Table) -> str:
    """The content hash of a whole table, for instance of ``pyarrow.parquet.read_table("training.parquet")``."""
    return content_of(table).hash


class _Streams:
    """One column as three streams of bytes, each hashed as it comes, and the columns within it in turn."""

    def __init__(self, type_: pa.DataType) -> None:
        self._form = _form(type_)
        self._present, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._inner = [_Streams(inner.type) for inner in _inner(self._form)]

    def update(self, column: pa.Array) -> None:
        if column.type != self._form:
            column = column.cast(self._form)
        if column.null_count:
            self._present.update(np.asarray(column.is_valid()).astype(np.uint8).tobytes())
            column = column.drop_null()
        else:
            self._present.update(b"\1" * len(column))
        parts: list[pa.Array] = []
        if pa.types.is_large_list(self._form):
            self._lengths.update(np.asarray(pc.list_value_length(column)).astype("<u8").tobytes())
            parts = [pc.list_flatten(column)]
        elif pa.types.is_struct(self._form):
            parts = [pc.struct_field(column, i) for i in range(len(self._inner))]
        elif pa.types.is_large_binary(self._form):
            lengths, values = _texts(column)
            self._lengths.update(lengths)
            self._values.update(values)
        else:
            self._values.update(_fixed(column))
        for streams, part in zip(self._inner, parts, strict=True):
            streams.update(part)

    def digest(self) -> bytes:
        own = self._present.digest() + self._lengths.digest() + self._values.digest()
        return hashlib.sha256(own + b"".join(streams.digest() for streams in self._inner)).digest()


# --- types: what is written differently and means the same has one name and one form ----------------------------------


def type_name(type_: pa.DataType) -> str:
    """The name of an Arrow type in the definition. Raises TypeError, with the type, where there is none."""
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return type_name(type_.value_type)
    if kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_):
        return "text"
    type_ = _form(type_)
    if kinds.is_large_list(type_):
        return f"list({_inner_name(type_.value_type)})"
    if kinds.is_struct(type_):
        return f"struct({', '.join(f'{json.dumps(inner.name)} {_inner_name(inner.type)}' for inner in _inner(type_))})"
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


def _named(field: pa.Field) -> str:
    try:
        return type_name(field.type)
    except TypeError as error:
        raise DataError(
            f"the column '{field.name}' is of the type {error}, which a training set cannot hold",
            "cast it, for instance to varchar",
        ) from None


def _form(type_: pa.DataType) -> pa.DataType:
    """The one Arrow type in which values of this type are hashed; what is inside lists and structs stays as it is."""
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return _form(type_.value_type)
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


def _inner(type_: pa.DataType) -> list[pa.Field]:
    """The columns within a column of this form: the elements of a list, the fields of a struct."""
    return [type_.field(i) for i in range(type_.num_fields)] if pa.types.is_nested(type_) else []


# --- values: what is there, as bytes; nothing here has a NULL ---------------------------------------------------------


def _fixed(values: pa.Array) -> bytes | memoryview:
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


def _texts(values: pa.Array) -> tuple[bytes, bytes | memoryview]:
    """(how many bytes each value has, as 64-bit numbers; all the bytes)."""
    _, offsets, data = values.buffers()
    if not len(values):
        return b"", b""
    ends = np.frombuffer(offsets, "<i8")[values.offset : values.offset + len(values) + 1]
    return np.diff(ends).tobytes(), memoryview(data or b"")[ends[0] : ends[-1]]
