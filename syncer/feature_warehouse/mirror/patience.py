"""Patience: how often, and how long, a run tries again what Redis did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from feature_warehouse.errors import StoreError, StoreUnavailableError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

_Result = TypeVar("_Result")


class Patience:
    """Bears errors for ``seconds`` from the first one on, or until ``stopped`` says so."""

    def __init__(self, seconds: float, stopped: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._stopped = stopped
        self._pause = _FIRST_PAUSE
        self._deadline: float | None = None

    def bear(self, error: StoreError) -> None:
        """Returns after a pause, each longer than the last; raises ``error`` at the end of its patience."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self._seconds
        if now + self._pause > self._deadline:
            raise error
        while time.monotonic() < now + self._pause:
            if self._stopped():
                raise error
            time.sleep(0.05)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def insist(self, step: Callable[[], _Result], on: type[StoreError] = StoreUnavailableError) -> _Result:
        """What ``step`` returns, which may be repeated; ``on``: the errors that are borne."""
        while True:
            try:
                return step()
            except on as error:
                self.bear(error)
