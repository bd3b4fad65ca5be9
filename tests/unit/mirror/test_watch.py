"""The pace of a watch, and what ends it."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Event, Timer

import pytest

from feature_warehouse.errors import DataError, StoppedError
from feature_warehouse.mirror.watch import watch


class Clock(Event):
    """Time passes only where somebody waits for it."""

    now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


def test_cycles_begin_at_a_steady_pace_and_a_slow_one_delays_only_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, began = Clock(), list[float]()
    monkeypatch.setattr("feature_warehouse.mirror.watch.time.monotonic", lambda: stopped.now)

    def cycle() -> None:
        began.append(stopped.now)
        if len(began) == 2:
            stopped.wait(25)
        if len(began) == 5:
            stopped.set()

    assert list(watch(cycle, timedelta(seconds=10), stopped)) == [None] * 5
    assert began == [0, 10, 35, 45, 55]


def test_an_error_of_ours_is_handed_on_and_the_next_cycle_tries_again() -> None:
    stopped, error = Event(), DataError("an empty view")

    def failing() -> str:
        if not seen:
            raise error
        return "done"

    seen: list[object] = []
    for result in watch(failing, timedelta(milliseconds=1), stopped):
        seen.append(result)
        if len(seen) == 2:
            stopped.set()
    assert seen == [error, "done"]


def test_what_is_not_ours_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        list(watch(lambda: 1 / 0, timedelta(seconds=1), Event()))


def test_it_ends_at_once_when_told_to_between_two_cycles() -> None:
    stopped = Event()
    Timer(0.1, stopped.set).start()
    started = time.monotonic()
    assert list(watch(lambda: 1, timedelta(hours=1), stopped)) == [1]
    assert time.monotonic() - started < 10


def test_a_cycle_that_was_stopped_is_the_last_one() -> None:
    def cycle() -> None:
        raise StoppedError("stopped in visits.v1")

    assert list(watch(cycle, timedelta(0), Event())) == []
