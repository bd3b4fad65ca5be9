"""How far a long sync is, for a person at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from feature_warehouse.mirror.planning import Planned

#: Seconds of work on a view before anything is said, and between two states of the line.
PATIENCE, PACE = 1.0, 0.2


class Progress:
    """One line on a terminal that is written over, and wiped at the end of the ``with`` block; elsewhere nothing."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._terminal = stream, clock, stream.isatty()
        self._view, self._began, self._due, self._width = "", 0.0, 0.0, 0

    def __enter__(self) -> Progress:
        return self

    def show(self, planned: Planned, rows: int, size: int) -> None:
        """``rows`` changes of a view are acknowledged, ``size`` bytes."""
        now = self._clock()
        if planned.view != self._view:
            self._view, self._began, self._due = planned.view, now, now + PATIENCE
        if not self._terminal or now < self._due:
            return
        self._due = now + PACE
        changes = planned.difference.writes.rows + planned.difference.removals.rows
        rate = rows / max(now - self._began, 1e-3)
        self._write(
            f"{planned.view}: {rows:,} of {changes:,} changes, {size / 1e6:,.1f} MB, {rate:,.0f} rows/s, "
            f"{(changes - rows) / rate:,.0f} s left"
        )

    def _write(self, line: str) -> None:
        self._stream.write(f"\r{line:<{self._width}}")
        self._stream.flush()
        self._width = len(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
