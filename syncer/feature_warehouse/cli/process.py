"""What holds while a command runs: its connection, its signals, what is said in passing, and garbage."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from feature_warehouse.store.store import Store


def open_store(url: str) -> Store:
    """A store that is closed when the command ends."""
    from feature_warehouse.store.store import Store

    return click.get_current_context().with_resource(closing(Store(url)))


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """Set by SIGTERM or SIGINT. The first one asks for an end between two transactions, the second ends."""
    asked = Event()
    previous: dict[signal.Signals, Any] = {}

    def ask(_: int, __: FrameType | None) -> None:
        asked.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        for each in (signal.SIGTERM, signal.SIGINT):
            previous[each] = signal.signal(each, ask)
    except ValueError:
        pass  # signals belong to the main thread
    try:
        yield asked
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextmanager
def logged() -> Iterator[None]:
    """What the library says in passing, as lines on stderr."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(f"Warning: {record.getMessage()}", err=True)

    handler = Lines(logging.WARNING)
    logging.getLogger("feature_warehouse").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("feature_warehouse").removeHandler(handler)


@contextmanager
def uncollected() -> Iterator[None]:
    """For commands that judge a project: dbt's graph and all that is read of its SQL live to the end, and to search
    them for garbage again and again takes a quarter of the whole time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
