"""What was served: a sample of the rows that a client gave, kept in a Redis stream for ``syncer audit``.

Writing it costs a read nothing but a place in a queue: a thread of its own writes what is in it. What does not fit is
dropped, and a Redis that refuses is a warning in the log. The format is in docs/wire-format.md, "Served log".
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from feature_warehouse.registry.feature import NAME
from feature_warehouse.registry.shape import Part, parse

if TYPE_CHECKING:
    from feature_warehouse.client.features import OnlineFeatures

_log = logging.getLogger(__name__)

#: Rows that wait to be written; what comes beyond them is dropped and counted.
QUEUE_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLog:
    """How a client logs. ``sample``: the share of rows; ``rows``: about how many of a service Redis keeps."""

    sample: float = 1.0
    rows: int = 100_000

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample={self.sample!r} is no share of rows; give one above 0 and up to 1")
        if self.rows < 1:
            raise ValueError(f"rows={self.rows!r}: give how many rows Redis is to keep")


@dataclass(frozen=True, slots=True)
class ServedView:
    """One item of a service as it was read: when its row became true, and the instant that Redis mirrored."""

    event_time: datetime | None  # None: nothing was stored
    as_of: datetime
    withheld: bool = False  # its values were left out because the mirror was stale


@dataclass(frozen=True, slots=True)
class ServedRow:
    """One row that was served. ``given``: join keys and request values, by the names that the service gives them."""

    at: datetime
    given: Mapping[str, object]
    features: Mapping[str, object]
    views: Sequence[ServedView]  # in the order of the service

    def to_bytes(self) -> bytes:
        """JSON; every value as the text that SQL casts to its type, null for NULL."""
        views = [{"event_time": text(v.event_time), "as_of": text(v.as_of), "withheld": v.withheld} for v in self.views]
        return json.dumps(
            {
                "at": text(self.at),
                "given": {name: text(value) for name, value in self.given.items()},
                "features": {name: text(value) for name, value in self.features.items()},
                "views": views,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()


def text(value: object) -> str | None:
    """The text of a value that SQL casts back to the same; bytes in hexadecimal."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return f"[{', '.join(str(item) for item in value)}]"
    return str(value)


def served_rows(
    found: OnlineFeatures, chosen: Sequence[int], given: Sequence[Mapping[str, object]], at: datetime
) -> Iterator[ServedRow]:
    """The rows ``chosen`` of what a read gave. ``given``: per chosen row, its keys and request values."""
    features = found.to_dict()
    views = [(view.event_times(), view.marker.as_of, view.withheld) for view in found.views]
    for row, of_row in zip(chosen, given, strict=True):
        yield ServedRow(
            at,
            of_row,
            {name: values[row] for name, values in features.items()},
            [ServedView(times[row], as_of, withheld) for times, as_of, withheld in views if as_of is not None],
        )


class Stream(Protocol):
    """Where rows go; ``store.Store`` is one."""

    def append(self, entries: Sequence[tuple[str, bytes]], rows: int) -> None: ...
    def close(self) -> None: ...


class ServedWriter:
    """Writes rows behind the back of whoever serves them; safe to share between threads, and after a fork."""

    def __init__(self, connect: Callable[[], Stream], log: ServedLog) -> None:
        """``connect``: makes the stream; called in each process that writes."""
        self._connect = connect
        self._settings = log
        self._begin()
        if hasattr(os, "register_at_fork"):  # not on Windows, which forks nothing
            begin = weakref.WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (found := begin()) and found())

    def _begin(self) -> None:
        """Nothing is waiting. Also after a fork: the parent writes its own rows, and may hold each of these locks."""
        self._waiting: deque[tuple[str, Iterable[ServedRow], int]] = deque()
        self._rows = 0  # in all that is waiting
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._failed = False
        self._skip = self._gap()
        self.dropped = 0  # rows that were sampled and not written

    def sampled(self, rows: int) -> list[int]:
        """Which of the next ``rows`` rows to log."""
        if self._settings.sample == 1:
            return list(range(rows))
        found = []
        with self._lock:
            while self._skip < rows:
                found.append(self._skip)
                self._skip += 1 + self._gap()
            self._skip -= rows
        return found

    def add(self, stream: str, rows: Iterable[ServedRow], count: int) -> None:
        """Leaves ``count`` rows to be made and written to ``stream``. Never fails and never waits."""
        if self._rows + count > QUEUE_ROWS:
            self.dropped += count
            return
        self._rows += count
        self._waiting.append((stream, rows, count))
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="served log", daemon=True)
                    self._thread.start()
        self._wake.set()

    def close(self, timeout: float = 5.0) -> None:
        """Writes what is waiting, for ``timeout`` seconds at most."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _gap(self) -> int:
        """Rows to pass over before the next one that is logged."""
        share = self._settings.sample
        return 0 if share == 1 else int(math.log(1 - random.random()) / math.log(1 - share))

    def _run(self) -> None:
        connected = self._connect()
        while self._waiting or not self._closed:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                stream, rows, count = self._waiting.popleft()
                self._rows -= count
                try:
                    connected.append([(stream, row.to_bytes()) for row in rows], self._settings.rows)
                    self._failed = False
                except Exception as error:  # whatever it is, reads go on
                    self.dropped += count
                    if not self._failed:  # said once, and not with every read
                        self._failed = True
                        _log.warning("what was served cannot be logged: %s: %s", type(error).__name__, error)
        connected.close()


def read_row(entry: bytes) -> dict[str, Any]:
    """The JSON of an entry, whose four parts have their shapes; what is beside them is gone. Raises ShapeError."""
    row = parse(entry)
    return {
        "at": text(row["at"].instant()),
        "given": {name: _text(value) for name, value in row["given"].members(NAME)},
        "features": {name: _text(value) for name, value in row["features"].members(NAME)},
        "views": [
            {
                "event_time": None if view["event_time"].is_null else text(view["event_time"].instant()),
                "as_of": text(view["as_of"].instant()),
                "withheld": (withheld := view.get("withheld")) is not None and withheld.boolean(),
            }
            for view in row["views"].items()
        ],
    }


def _text(value: Part) -> str | None:
    return None if value.is_null else value.text()
