"""Watch: the same cycle again and again, at a steady pace, until it is told to stop.

Knows time and errors, nothing of what a cycle does. One that fails is reported like one that does not, and the next
one tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event
from typing import TypeVar

from feature_warehouse.errors import StoppedError, SyncerError

_Result = TypeVar("_Result")


def watch(cycle: Callable[[], _Result], every: timedelta, stopped: Event) -> Iterator[_Result | SyncerError]:
    """Yields what each cycle returns, or the SyncerError that ended it; ends soon after ``stopped`` is set.

    A cycle begins ``every`` after the last one began, or when the last one ends, if that is later. It may end itself
    with StoppedError once it is told to stop. Other exceptions end the watch.
    """
    due = time.monotonic()
    while not stopped.wait(max(0.0, due - time.monotonic())):
        due = max(due, time.monotonic()) + every.total_seconds()
        try:
            yield cycle()
        except StoppedError:
            return
        except SyncerError as error:
            yield error
