"""The log of what was served: what a value's text is, which rows are sampled, and that it never hurts a read."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import duckdb
import pytest

from feature_warehouse.client.served import QUEUE_ROWS, ServedLog, ServedRow, ServedView, ServedWriter, read_row, text
from feature_warehouse.errors import StoreUnavailableError

NOON = datetime(2013, 1, 31, 12, tzinfo=timezone.utc)
ROW = ServedRow(NOON, {"carrier": "UA"}, {"rate": 0.25}, [ServedView(None, NOON)])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("boolean", True),
        ("bigint", -(2**63)),
        ("hugeint", 2**100),
        ("double", 0.1),
        ("double", 5e-324),
        ("double", -0.0),
        ("double", float("inf")),
        ("float", 0.10000000149011612),
        ("decimal(38,10)", Decimal("1234567890123456789012345678.0123456789")),
        ("varchar", "Zürich 'x' \0"),
        ("date", date(1, 1, 1)),
        ("timestamptz", NOON.astimezone(timezone(timedelta(hours=-5))) + timedelta(microseconds=1)),
        ("double[]", [0.1, -1.0, float("inf")]),
        ("integer[]", []),
    ],
)
def test_sql_casts_the_text_of_a_value_back_to_it(type_: str, value: object) -> None:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        ((found,),) = connection.execute(f"select cast($1 as {type_})", [text(value)]).fetchall()
    assert repr(found) == repr(value) or found == value


def test_null_is_null_bytes_are_hexadecimal_and_nan_is_nan() -> None:
    assert (text(None), text(b"\x00\xff"), text(float("nan"))) == (None, "00ff", "nan")


class Memory:
    """A stream that keeps what it is given, or fails."""

    def __init__(self, failing: bool = False) -> None:
        self.entries: list[tuple[str, bytes]] = []
        self.failing = failing
        self.go = threading.Event()
        self.go.set()

    def append(self, entries: Sequence[tuple[str, bytes]], rows: int) -> None:
        self.go.wait()
        if self.failing:
            raise StoreUnavailableError("nobody answers")
        self.entries += entries

    def close(self) -> None:
        pass


def test_what_was_left_when_it_is_closed_is_written() -> None:
    stream = Memory()
    writer = ServedWriter(lambda: stream, ServedLog())
    for number in range(50):
        writer.add(f"s{number}", [ROW] * 2, 2)
    writer.close()
    assert [name for name, _ in stream.entries] == [f"s{number // 2}" for number in range(100)]
    assert read_row(stream.entries[0][1])["given"] == {"carrier": "UA"}


def test_a_log_that_fails_is_said_once_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    writer = ServedWriter(lambda: Memory(failing=True), ServedLog())
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            writer.add("s", [ROW], 1)
        writer.close()
    assert [record.getMessage() for record in caplog.records] == [
        "what was served cannot be logged: StoreUnavailableError: nobody answers"
    ]
    assert writer.dropped == 5


def test_rows_that_cannot_wait_are_dropped_and_nobody_waits() -> None:
    stream = Memory()
    stream.go.clear()
    writer = ServedWriter(lambda: stream, ServedLog())
    for _ in range(30):
        writer.add("s", [ROW] * 1_000, 1_000)  # who waits here waits for ever
    stream.go.set()
    writer.close()
    assert len(stream.entries) + writer.dropped == 30_000
    assert len(stream.entries) in (QUEUE_ROWS, QUEUE_ROWS + 1_000)  # one was on its way


def test_a_fork_leaves_its_parents_rows_and_locks_alone() -> None:
    """What waits is the parent's to write, or it would be logged twice."""
    stream = Memory()
    stream.go.clear()  # what is being written stays where it is
    writer = ServedWriter(lambda: stream, ServedLog(sample=0.5))
    writer.add("parent", [ROW], 1)
    writer.add("parent", [ROW], 1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writer._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        signal.alarm(120)
        try:
            stream = Memory()
            writer.sampled(10)
            writer.add("child", [ROW], 1)
            writer.close()
            os._exit(0 if [name for name, _ in stream.entries] == ["child"] else 2)
        finally:
            os._exit(1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stream.go.set()
    writer.close()
    assert [name for name, _ in stream.entries] == ["parent", "parent"]


def test_the_sample_is_the_share_that_was_asked_for() -> None:
    writer = ServedWriter(Memory, ServedLog(sample=0.1))
    chosen = [writer.sampled(7) for _ in range(10_000)]
    assert all(set(rows) <= set(range(7)) and rows == sorted(set(rows)) for rows in chosen)
    assert 6_300 < sum(map(len, chosen)) < 7_700
    assert ServedWriter(Memory, ServedLog()).sampled(3) == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"sample": 1.5}, {"rows": 0}])
def test_a_log_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="give"):
        ServedLog(**wrong)
