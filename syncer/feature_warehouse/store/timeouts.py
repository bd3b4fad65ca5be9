"""How long a Redis is waited for: between two signs of it, and in all."""

from __future__ import annotations

import math
import time

#: Seconds without any progress on a connection before it counts as dead.
TIMEOUT_SECONDS = 10.0


class Deadline:
    """When a read has to be over; None: when nothing comes any more."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def is_set(self) -> bool:
        return self._end is not None

    def left(self, most: float) -> float:
        """Seconds, above 0 and up to ``most``. Raises TimeoutError when there are none."""
        if self._end is None:
            return most
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for it is over")
        return min(left, most)


def check_deadline(seconds: float | None) -> float | None:
    """Raises ValueError for what is no deadline."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"deadline={seconds!r}: give how many seconds a whole read may take, above 0; None for any")
    return seconds
