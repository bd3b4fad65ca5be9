"""A spool: keys and messages in an Arrow file on local disk, written once, read as often as wanted, batch by batch.

What a view should hold online, what it does hold, and what has to be sent are each such a file, so that none of them
has to fit into memory and all can be compared with one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

BINARY = pa.large_binary()
SCHEMA = pa.schema([("key", BINARY), ("message", BINARY)])

#: Rows in one batch: enough that per-batch work vanishes, little enough that a few batches fit any memory.
BATCH_ROWS = 20_480

#: Bytes of messages in one batch, where they are long.
BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """Keys, each with its message; the message is NULL where the key's field is to be removed."""

    path: Path
    rows: int
    bytes: int = 0  # of keys and messages together
    key_bytes: int = 0  # of keys alone; 0 in what was remembered
    longest: int = 0  # message, in bytes

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows again, in the batches and the order that they were written in."""
        # Read, not mapped: pages of a mapped file count as the process's own memory.
        with pa.OSFile(str(self.path), "rb") as source, pa.ipc.open_stream(source) as reader:
            yield from reader


class SpoolWriter:
    """Writes a spool; ``spool`` is what was written, once the ``with`` block has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = self._bytes = self._key_bytes = self._longest = 0

    def __enter__(self) -> SpoolWriter:
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_stream(self._file, SCHEMA)
        return self

    def add(self, keys: pa.Array, messages: pa.Array) -> None:
        """N keys with their N messages; so few in one batch that they fit any memory."""
        if not len(keys):
            return
        if len(keys) > 1 and messages.nbytes > BATCH_BYTES:
            half = len(keys) // 2
            self.add(keys[:half], messages[:half])
            self.add(keys[half:], messages[half:])
            return
        lengths, key_bytes = pc.binary_length(messages), pc.sum(pc.binary_length(keys)).as_py() or 0
        self._rows += len(keys)
        self._key_bytes += key_bytes
        self._bytes += key_bytes + (pc.sum(lengths).as_py() or 0)
        self._longest = max(self._longest, pc.max(lengths).as_py() or 0)
        self._writer.write_batch(pa.record_batch([keys, messages], schema=SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._writer.close()

    @property
    def spool(self) -> Spool:
        return Spool(
            path=self._path, rows=self._rows, bytes=self._bytes, key_bytes=self._key_bytes, longest=self._longest
        )
