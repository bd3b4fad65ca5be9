"""Keys and messages -> commands of the Redis protocol, whole columns at a time: the columnar form of ``resp``.

Arrow joins keys, messages and the protocol's framing row by row into one contiguous buffer; no Python code runs per
row. Knows no feature and no socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Offsets of 64 bits everywhere: the messages of one batch may exceed 2 GB together.
BINARY = pa.large_binary()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One batch, N rows in the batch's order."""

    keys: pa.LargeBinaryArray  # N whole Redis keys, '<namespace>:<entity>:<key text>' in UTF-8
    field: bytes  # the hash field of the view version
    messages: pa.LargeBinaryArray  # N messages

    @property
    def rows(self) -> int:
        return len(self.keys)

    def commands(self) -> memoryview:
        """N commands `HSET key field message` in one contiguous buffer, for ``sendall``; copies keys and messages."""
        return commands(b"HSET", self.keys, self.field, self.messages)

    def arguments(self) -> memoryview:
        """N times the arguments key and message, without a command around them."""
        return arguments(self.keys, self.messages)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Encoded:
        """Those of the N rows that are ``chosen``."""
        mask = pa.array(chosen)
        return replace(self, keys=self.keys.filter(mask), messages=self.messages.filter(mask))

    def portions(self, rows: int, size: int) -> Iterator[Encoded]:
        """The same rows in parts of at most ``rows`` rows, and of at most ``size`` bytes where a row is not larger."""
        offsets = np.frombuffer(self.messages.buffers()[1], np.int64)[self.messages.offset :][: self.rows + 1]
        start = 0
        while start < self.rows:
            fits = int(np.searchsorted(offsets, offsets[start] + size, "right")) - 1
            count = max(1, min(rows, fits - start, self.rows - start))
            yield replace(self, keys=self.keys.slice(start, count), messages=self.messages.slice(start, count))
            start += count


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """N keys of which one field is to go."""

    keys: pa.LargeBinaryArray
    field: bytes

    @property
    def rows(self) -> int:
        return len(self.keys)

    def commands(self) -> memoryview:
        """N commands `HDEL key field`."""
        return commands(b"HDEL", self.keys, self.field)

    def arguments(self) -> memoryview:
        """N times the argument key."""
        return arguments(self.keys)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Removed:
        """Those of the N keys that are ``chosen``."""
        return replace(self, keys=self.keys.filter(pa.array(chosen)))

    def portions(self, rows: int) -> Iterator[Removed]:
        """The same keys in parts of at most ``rows``."""
        for start in range(0, self.rows, rows):
            yield replace(self, keys=self.keys.slice(start, rows))


Rows = Encoded | Removed


def commands(*args: bytes | pa.Array) -> memoryview:
    """N commands in one contiguous buffer: the columnar form of ``resp.command``.

    An argument is a constant, or a binary or text column of N rows; at least one is a column. Raises ValueError for a
    NULL in a column.
    """
    return _framed(b"*%d\r\n" % len(args), args)


def arguments(*args: bytes | pa.Array) -> memoryview:
    """N times these arguments in one contiguous buffer, as part of one long command."""
    return _framed(b"", args)


def _framed(constant: bytes, args: Sequence[bytes | pa.Array]) -> memoryview:
    pieces: list[Any] = []
    for arg in args:
        if isinstance(arg, bytes):
            constant += b"$%d\r\n%b\r\n" % (len(arg), arg)
        elif arg.null_count:
            raise ValueError(f"{arg.null_count} of {len(arg)} arguments are NULL")
        else:
            arg = arg.cast(BINARY)
            lengths = pc.binary_length(arg).cast(pa.large_string()).cast(BINARY)
            pieces += [constant + b"$", lengths, b"\r\n", arg]
            constant = b"\r\n"
    rows = joined([*pieces, constant])
    size = int(np.frombuffer(rows.buffers()[1], np.int64)[len(rows)])
    return memoryview(rows.buffers()[2])[:size]


def joined(pieces: Sequence[Any]) -> pa.LargeBinaryArray:
    """Columns and constants, row by row behind one another; NULL is nothing."""
    scalars = [pa.scalar(piece, BINARY) if isinstance(piece, bytes) else piece for piece in (*pieces, b"")]
    return pc.binary_join_element_wise(*scalars, null_handling="replace", null_replacement=b"")
