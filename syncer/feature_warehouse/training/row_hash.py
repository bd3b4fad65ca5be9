"""The hash of rows: one text that stands for the rows of a table, in whatever order they come.

For what is too large to be put in order: two databases give the same rows, each in an order of its own. Each row is
hashed, and the hashes are added. Knows Arrow, and no database; memory holds one batch. The definition, with examples
that a test reads, is docs/reference/content-hash.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.training.values import fixed_bytes, form_of, inner_fields, named_type, text_bytes

#: Stands in the hashed text, so that another definition can never give the same hash by accident.
DEFINITION = "feature_warehouse rows 1"

_SLICE = 65_536  # rows encoded at a time


class RowHash:
    """Takes the batches of one table, in any order, and says what rows they hold."""

    def __init__(self, schema: pa.Schema) -> None:
        """Raises DataError, naming the column, for a type that the definition does not know."""
        self._columns = [(named_type(field), field.name) for field in schema]
        self._rows = self._sum = 0

    def update(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, _SLICE):
            rows = batch.slice(start, _SLICE)
            self._rows += rows.num_rows
            self._sum += _sum_of_hashes(_side_by_side([_encoded(column) for column in rows.columns], rows.num_rows))

    @property
    def hash(self) -> str:
        """The hash of the rows that have come so far, 'rows-sha256:...'."""
        lines = [DEFINITION, f"rows {self._rows}", f"sum {self._sum % 2**256:064x}"]
        lines += [f"{type_} {json.dumps(name)}" for type_, name in self._columns]
        return "rows-sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def rows_hash(table: pa.Table) -> str:
    """The hash of the rows of a whole table, whatever their order."""
    found = RowHash(table.schema)
    for batch in table.to_batches():
        found.update(batch)
    return found.hash


@dataclass(frozen=True, slots=True)
class _Pieces:
    """N pieces of bytes, the i-th from ``ends[i]`` to before ``ends[i + 1]``."""

    data: Any  # uint8
    ends: Any  # int64, N + 1 of them


def _encoded(column: pa.Array) -> _Pieces:
    """A piece for each value, NULL or not."""
    form = form_of(column.type)
    if column.type != form:
        column = column.cast(form)
    present = np.asarray(column.is_valid()).astype(np.uint8)
    values = _values(column.drop_null() if column.null_count else column)
    spread = _Pieces(values.data, values.ends[np.concatenate([[0], np.cumsum(present, dtype=np.int64)])])
    return _side_by_side([_Pieces(present, np.arange(len(column) + 1)), spread], len(column))


def _values(column: pa.Array) -> _Pieces:
    """A piece for each value; there is no NULL."""
    count, form = len(column), column.type
    if pa.types.is_large_list(form):
        lengths = np.asarray(pc.list_value_length(column)).astype("<u8")
        elements = _encoded(pc.list_flatten(column))
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return _side_by_side([_of_one_width(lengths, 8), _Pieces(elements.data, elements.ends[starts])], count)
    if pa.types.is_struct(form):
        fields = [_encoded(pc.struct_field(column, i)) for i in range(len(inner_fields(form)))]
        return _side_by_side(fields, count)
    if pa.types.is_large_binary(form):
        sizes, data = text_bytes(column)
        ends = np.concatenate([[0], np.cumsum(np.frombuffer(sizes, "<i8"), dtype=np.int64)])
        return _side_by_side([_of_one_width(sizes, 8), _Pieces(np.frombuffer(data, np.uint8), ends)], count)
    data = fixed_bytes(column)
    return _of_one_width(data, len(data) // count if count else 0)


def _of_one_width(data: Any, width: int) -> _Pieces:
    flat = np.frombuffer(data, np.uint8)
    return _Pieces(flat, np.arange(0, len(flat) + 1, width) if width else np.zeros(1, np.int64))


def _side_by_side(parts: Sequence[_Pieces], count: int) -> _Pieces:
    """The i-th piece of each part, one after the other, as the i-th piece."""
    sizes = [np.diff(part.ends) for part in parts]
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(np.sum(sizes, axis=0, dtype=np.int64) if parts else 0, out=ends[1:])
    data = np.empty(ends[-1], np.uint8)
    starts = ends[:-1].copy()
    for part, size in zip(parts, sizes, strict=True):
        # The bytes of a piece move together: each is as far from its old place as the piece's first.
        moved = np.repeat(starts - part.ends[:-1], size) + np.arange(part.ends[0], part.ends[-1])
        data[moved] = part.data[part.ends[0] : part.ends[-1]]
        starts += size
    return _Pieces(data, ends)


def _sum_of_hashes(rows: _Pieces) -> int:
    data, ends = memoryview(rows.data), rows.ends.tolist()
    hashes = [hashlib.sha256(data[start:end]).digest() for start, end in pairwise(ends)]
    words = np.frombuffer(b"".join(hashes), "<u4").reshape(-1, 8).sum(axis=0, dtype=np.uint64)
    return sum(int(word) << 32 * place for place, word in enumerate(words))
