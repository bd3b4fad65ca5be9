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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.training.values import fixed_bytes, form_of, inner_fields, named_type, text_bytes

#: Stands in the hashed text, so that another definition can never give the same hash by accident.
DEFINITION = "feature_warehouse content 1"


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
        self._types = [(field.name, named_type(field)) for field in schema]
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
        self._form = form_of(type_)
        self._present, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._inner = [_Streams(inner.type) for inner in inner_fields(self._form)]

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
            lengths, values = text_bytes(column)
            self._lengths.update(lengths)
            self._values.update(values)
        else:
            self._values.update(fixed_bytes(column))
        for streams, part in zip(self._inner, parts, strict=True):
            streams.update(part)

    def digest(self) -> bytes:
        own = self._present.digest() + self._lengths.digest() + self._values.digest()
        return hashlib.sha256(own + b"".join(streams.digest() for streams in self._inner)).digest()
