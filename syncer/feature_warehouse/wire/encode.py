"""Arrow batches -> keys and messages, whole columns at a time.

Knows which Arrow type each served type arrives in from DuckDB, and the bytes of docs/wire-format.md: canonical key
texts, one protobuf message per row. protobuf's own encoder writes the same messages; it is the test's oracle. Knows no
DuckDB connection and no Redis.

Strategy. Columns become *pieces*: binary arrays with one element per row, empty where the row has nothing to say. A
string is two pieces, tag and length, then the bytes as they lie in Arrow; numbers, each with its tag, that follow one
another are one piece together, because joining costs by the piece. numpy makes the pieces of whole columns at once;
Arrow joins them row by row (``commands.joined``). No Python code runs per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.errors import DataError
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.types import FeatureType, feature_type
from feature_warehouse.wire.commands import BINARY, Encoded, joined
from feature_warehouse.wire.keyspace import SEPARATOR, field_name, key_prefix

#: protobuf's wire types (https://protobuf.dev/programming-guides/encoding/#structure).
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_WIRE_TYPES = {
    "sint64": _VARINT,
    "uint64": _VARINT,
    "sint32": _VARINT,
    "bool": _VARINT,
    "double": _I64,
    "sfixed64": _I64,
    "float": _I32,
}

#: DuckDB exports hugeint as decimal128(38,0), which is narrower, and large uhugeints as negative numbers; uuid depends
#: on a setting, and has no type of its own elsewhere. All three are selected as text.
AS_TEXT = frozenset({"hugeint", "uhugeint", "uuid"})

#: What DuckDB exports each type as; text and bytes also in the forms that its settings can choose. Lists, decimals and
#: times carry parameters, see ``_exported``.
_EXPORTED: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "utinyint",
    pa.uint16(): "usmallint",
    pa.uint32(): "uinteger",
    pa.uint64(): "ubigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "varchar",
    pa.large_string(): "varchar",
    pa.string_view(): "varchar",
    pa.binary(): "blob",
    pa.large_binary(): "blob",
    pa.binary_view(): "blob",
    pa.date32(): "date",
}

#: Days since the epoch that Python's date holds (years 1 to 9999), and microseconds that its datetime holds. DuckDB's
#: infinities lie outside.
_DAYS = tuple(day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)

_HINT_REBUILD = "build the view anew with dbt, under its contract; another type takes a new version of the view"


class Encoder:
    """Encodes the batches of one feature view version."""

    def __init__(self, namespace: str, view: FeatureView) -> None:
        """Raises UnsupportedTypeError when a numbered feature has a type that cannot be served."""
        self.view = view
        self.field = field_name(view.name, view.version).encode()
        self._prefix = pa.scalar(key_prefix(namespace, view.entity.name).encode(), BINARY)
        self._keys = [(key.name, feature_type(key.type)) for key in view.entity.join_keys]
        self._features = [(f.name, f.number or 0, feature_type(f.type)) for f in view.numbered]

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """The keys and messages of N rows. ``batch`` has the columns of ``served_columns`` in any order, maybe others.

        Raises DataError, naming view, column and rows, when a row cannot be served: NULL in a join key or in the event
        time, a date or time that is infinite or outside the years 1 to 9999, a NULL inside a list; also when a column
        is missing or comes in another type than was registered.
        """
        keys = self._encode_keys(batch)
        event_time = self._column(batch, self.view.event_timestamp, feature_type("timestamptz"))
        self._refuse_nulls(event_time, self.view.event_timestamp, "event time")
        self._refuse_unreadable(event_time, self.view.event_timestamp, keys)
        pieces: list[Any] = [_number(1, "sfixed64", event_time)]
        for name, number, type_ in self._features:
            column = self._column(batch, name, type_)
            self._refuse_unreadable(column, name, keys)
            if type_.is_list:
                self._refuse_null_elements(column, name, keys)
                pieces += _list_pieces(number, type_.proto, column)
            elif type_.proto in _WIRE_TYPES:
                pieces.append(_number(number, type_.proto, column))
            else:
                pieces += _bytes_pieces(number, _as_bytes(column))
        return Encoded(keys=keys, field=self.field, messages=joined([*_written(pieces)]))

    def _encode_keys(self, batch: pa.RecordBatch) -> pa.LargeBinaryArray:
        texts: list[Any] = []
        for name, type_ in self._keys:
            column = self._column(batch, name, type_)
            self._refuse_nulls(column, name, "join key")
            self._refuse_unreadable(column, name, None)
            texts.append(_key_texts(column, type_))
        first, *others = texts
        separated = [piece for text in others for piece in (SEPARATOR.encode(), text)]
        return joined([self._prefix, first, *separated])

    def _column(self, batch: pa.RecordBatch, name: str, type_: FeatureType) -> pa.Array:
        position = batch.schema.get_field_index(name)
        if position < 0:
            raise DataError(f"{self.view.id}: no column '{name}' among {', '.join(batch.schema.names)}", _HINT_REBUILD)
        column = batch.column(position)
        came = _exported(column.type)
        if came != ("varchar" if type_.name in AS_TEXT else type_.name):
            raise DataError(f"{self.view.id}: '{name}' is registered as {type_.name}, came as {came}", _HINT_REBUILD)
        return column

    def _refuse_nulls(self, column: pa.Array, name: str, role: str) -> None:
        if column.null_count:
            raise DataError(
                f"{self.view.id}: {role} '{name}' is NULL in {_at_least(column.null_count)}",
                "filter these rows out in the model, and test the column with not_null",
            )

    def _refuse_unreadable(self, column: pa.Array, name: str, keys: pa.LargeBinaryArray | None) -> None:
        """Dates and times that no reader could turn into Python's."""
        if pa.types.is_date(column.type):
            first, last = _DAYS
        elif pa.types.is_timestamp(column.type):
            first, last = _MICROSECONDS
        else:
            return
        numbers = column.view(pa.int32() if pa.types.is_date(column.type) else pa.int64())
        bad = pc.or_(pc.less(numbers, first), pc.greater(numbers, last)).fill_null(False)
        self._refuse(np.flatnonzero(bad), name, "is infinite or outside the years 1 to 9999", keys)

    def _refuse_null_elements(self, column: pa.Array, name: str, keys: pa.LargeBinaryArray) -> None:
        elements = pc.list_flatten(column)
        if elements.null_count:
            bad = pc.list_parent_indices(column).filter(elements.is_null()).unique()
            self._refuse(bad.to_numpy(), name, "holds NULL inside a list", keys)

    def _refuse(self, rows: npt.NDArray[np.int64], name: str, what: str, keys: pa.LargeBinaryArray | None) -> None:
        if len(rows):
            # The least key: a warehouse gives its rows in any order, and the next run is to say the same.
            example = f", first for {pc.min(keys.take(rows)).as_py().decode()}" if keys is not None else ""
            raise DataError(
                f"{self.view.id}: '{name}' {what} in {_at_least(len(rows))}{example}",
                "replace or filter these values in the model",
            )


def _at_least(rows: int) -> str:
    """What one batch can say of the whole view."""
    return f"at least {rows} row{'s' * (rows != 1)}"


def served_columns(view: FeatureView) -> dict[str, str]:
    """{column: canonical type} of what ``Encoder`` reads: join keys, event timestamp, numbered features."""
    columns = [(key.name, key.type) for key in view.entity.join_keys]
    columns += [(view.event_timestamp, "timestamptz"), *((f.name, f.type) for f in view.numbered)]
    return {name: feature_type(data_type).name for name, data_type in columns}


def _exported(arrow: pa.DataType) -> str:
    """The canonical type that DuckDB exports as this Arrow type; Arrow's own name when there is none."""
    if arrow in _EXPORTED:
        return _EXPORTED[arrow]
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return f"{_exported(arrow.value_type)}[]"
    if pa.types.is_fixed_size_list(arrow):
        return f"{_exported(arrow.value_type)}[{arrow.list_size}]"
    if pa.types.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if pa.types.is_timestamp(arrow) and arrow.unit == "us" and arrow.tz is not None:
        return "timestamptz"
    return str(arrow)


# Texts: (N,) columns -> (N,) binary columns, NULL stays NULL.


def _key_texts(column: pa.Array, type_: FeatureType) -> pa.LargeBinaryArray:
    """The canonical, escaped texts of a join key; see ``keyspace.canonical_text``."""
    if type_.kind == "timestamp":
        # Arrow writes '2013-01-31 12:00:00.000000'.
        text = column.view(pa.timestamp("us")).cast(pa.large_string())
        text = pc.replace_substring(pc.replace_substring(text, " ", "T"), ".000000", "")
        text = joined([text.cast(BINARY), b"Z"])
    else:
        text = column.cast(pa.large_string())
    encoded = text.cast(BINARY)
    if type_.proto in ("string", "sfixed64") and _has_any(encoded, b"|:\\"):
        encoded = pc.replace_substring_regex(text, r"([|:\\])", r"\\\1").cast(BINARY)
    return encoded


def _has_any(column: pa.LargeBinaryArray, characters: bytes) -> bool:
    """Whether one of these bytes is in the column. Looking row by row would take a hundred times as long."""
    _, starts, data = column.buffers()
    if not len(column) or data is None:
        return False
    offsets = np.frombuffer(starts, np.int64)[column.offset :][: len(column) + 1]
    data = bytes(memoryview(data)[offsets[0] : offsets[-1]])
    return any(data.find(character) >= 0 for character in characters)


def _as_bytes(column: pa.Array) -> pa.LargeBinaryArray:
    if pa.types.is_decimal(column.type):
        column = _decimal_texts(column)
    return column.cast(BINARY)


def _decimal_texts(column: pa.Array) -> pa.LargeStringArray:
    """'-0.0500' for decimal(9,4). Arrow's own cast writes small numbers as 1E-10, DuckDB's '.0500' for decimal(4,4)."""
    scale = column.type.scale
    unscaled = column.cast(pa.decimal128(38, scale)).view(pa.decimal128(38, 0)).cast(pa.large_string())
    if scale == 0:
        return unscaled
    digits = pc.utf8_lpad(pc.utf8_ltrim(unscaled, "-"), scale + 1, "0")
    sign = pc.if_else(pc.starts_with(unscaled, "-"), "-", "").cast(pa.large_string())
    whole, fraction = pc.utf8_slice_codeunits(digits, 0, -scale), pc.utf8_slice_codeunits(digits, -scale)
    point, nothing = pa.scalar(".", pa.large_string()), pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(sign, whole, point, fraction, nothing)


# Pieces: (N,) columns -> (N,) binary columns without NULLs, except the bytes of strings, which are joined as they come.


@dataclass(frozen=True, slots=True)
class _Numbers:
    """N numbers under one tag, which are yet to become a piece."""

    tag: bytes
    values: npt.NDArray[Any]  # little-endian as they are; or uint64 for varints, 0 where not present
    present: npt.NDArray[np.bool_] | None  # None: all
    is_varint: bool

    @property
    def kind(self) -> str:
        """Neighbours of one kind become one piece; but those of fixed width with gaps each become their own."""
        return "varint" if self.is_varint else "fixed" if self.present is None else "gaps"


def _written(pieces: Sequence[Any]) -> Iterator[pa.LargeBinaryArray]:
    """The pieces, numbers among them written."""
    for kind, group in groupby(pieces, lambda piece: piece.kind if isinstance(piece, _Numbers) else "bytes"):
        if kind == "varint":
            yield _varints([*group])
        elif kind == "fixed":
            yield _fixed([*group])
        elif kind == "gaps":
            yield from (_fixed([numbers]) for numbers in group)
        else:
            yield from group


def _number(number: int, proto: str, column: pa.Array) -> _Numbers:
    wire_type = _WIRE_TYPES[proto]
    return _Numbers(_tag(number, wire_type), _wire_values(proto, column), _present(column), wire_type == _VARINT)


def _length(number: int, lengths: npt.NDArray[np.uint64], present: npt.NDArray[np.bool_] | None) -> _Numbers:
    return _Numbers(_tag(number, _LEN), lengths, present, is_varint=True)


def _bytes_pieces(number: int, column: pa.LargeBinaryArray) -> list[Any]:
    lengths = pc.binary_length(column).fill_null(0).to_numpy().view(np.uint64)
    return [_length(number, lengths, _present(column)), column]


def _list_pieces(number: int, proto: str, column: pa.Array) -> list[Any]:
    """The field's tag and length, the message inside: `values` (field 1, packed) when there are any."""
    counts = pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64)
    elements = _wire_values(proto, pc.list_flatten(column))
    if _WIRE_TYPES[proto] == _VARINT:
        _, starts, data = _varints([_Numbers(b"", elements, None, is_varint=True)]).buffers()
        packed = _binary(np.diff(np.frombuffer(starts, np.int64)[_offsets(counts)]), data)
    else:
        packed = _binary(counts * elements.itemsize, pa.py_buffer(elements))
    sizes = pc.binary_length(packed).to_numpy().view(np.uint64)
    heads = _varints([_length(1, sizes, counts > 0)])
    messages = pc.binary_length(heads).to_numpy().view(np.uint64) + sizes
    return [_length(number, messages, _present(column)), heads, packed]


def _present(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    """Which of N rows are not NULL; None for all."""
    return column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None


def _wire_values(proto: str, column: pa.Array) -> npt.NDArray[Any]:
    """The numbers to write, 0 for NULL: little-endian as they are, or unsigned and zigzag for varints."""
    if proto == "bool":
        column = column.cast(pa.uint8())
    elif proto == "sint32":
        column = column.view(pa.int32())
    elif proto == "sfixed64":
        column = column.view(pa.int64())
    values: npt.NDArray[Any] = column.fill_null(0).to_numpy()
    if proto in ("sint64", "sint32"):
        signed = values.astype(np.int64)
        return ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    if proto in ("uint64", "bool"):
        return values.astype(np.uint64)
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _tag(number: int, wire_type: int) -> bytes:
    tag = number << 3 | wire_type
    groups = [tag >> shift & 0x7F for shift in range(0, tag.bit_length(), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _fixed(columns: Sequence[_Numbers]) -> pa.LargeBinaryArray:
    """Tags and the values' bytes, column after column; of a single column, nothing where not ``present``."""
    tags = [(f"tag_{i}", f"S{len(column.tag)}") for i, column in enumerate(columns)]
    values = [(f"value_{i}", column.values.dtype) for i, column in enumerate(columns)]
    rows = np.empty(len(columns[0].values), [part for pair in zip(tags, values, strict=True) for part in pair])
    for i, column in enumerate(columns):
        rows[f"tag_{i}"], rows[f"value_{i}"] = column.tag, column.values
    present = columns[0].present
    if present is None:
        return _binary(np.full(len(rows), rows.itemsize), pa.py_buffer(rows))
    return _binary(present * rows.itemsize, pa.py_buffer(rows[present]))


def _varints(columns: Sequence[_Numbers]) -> pa.LargeBinaryArray:
    """Tags and values in groups of 7 bits, lowest first, a high bit on all but a value's last; nothing for NULL.

    Written as a matrix as wide as the largest value of each column needs, from which unused bytes are then dropped.
    """
    groups = [max(1, -(-int(np.max(column.values, initial=0)).bit_length() // 7)) for column in columns]
    rows, width = len(columns[0].values), sum(groups) + sum(len(column.tag) for column in columns)
    matrix, used = np.empty((rows, width), np.uint8), np.ones((rows, width), np.bool_)
    lengths = np.zeros(rows, np.int64)
    at = 0
    for column, count in zip(columns, groups, strict=True):
        first, at = at + len(column.tag), at + len(column.tag) + count
        matrix[:, first - len(column.tag) : first] = np.frombuffer(column.tag, np.uint8)
        own = np.full(rows, len(column.tag) + 1)
        rest: npt.NDArray[Any] = column.values  # what is left to write
        for position in range(first, at):
            matrix[:, position] = rest & 0x7F
            if position + 1 < at:
                continued = rest > 0x7F
                matrix[:, position] |= continued.view(np.uint8) << 7
                used[:, position + 1] = continued
                own += continued
                rest = rest >> 7
        if column.present is not None:
            used[:, first - len(column.tag) : first + 1] = column.present[:, None]
            own *= column.present
        lengths += own
    every = max(groups) == 1 and all(column.present is None for column in columns)
    return _binary(lengths, pa.py_buffer(matrix if every else matrix[used]))


def _binary(lengths: npt.NDArray[np.int64], data: pa.Buffer) -> pa.LargeBinaryArray:
    return pa.Array.from_buffers(BINARY, len(lengths), [None, pa.py_buffer(_offsets(lengths)), data])


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
