"""resp: commands as bytes, one-line replies read, errors found wherever the stream is torn."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.resp import Replies, ReplyError, command, errors

LINES = [b":1", b"+OK", b"-OOM command not allowed", b":-1", b":0", b"-MOVED 3999 127.0.0.1:6381", b"-ERR \xff", b"*-1"]
ERRORS = [(2, "OOM command not allowed"), (5, "MOVED 3999 127.0.0.1:6381"), (6, "ERR \ufffd")]

VALUES = [b"", None, b"a", b"$5\r\nab", "WRONGTYPE kind", b"x" * 70, None, b"-ERR", "ERR"]
BULK = b"".join(
    b"$-1\r\n"
    if value is None
    else b"-%b\r\n" % value.encode()
    if isinstance(value, str)
    else b"$%d\r\n%b\r\n" % (len(value), value)
    for value in VALUES
)


def torn(stream: bytes, cuts: list[int]) -> Replies:
    """Replies that come in pieces; more of them than there are is a failure."""
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = iter([stream[start:end] for start, end in itertools.pairwise(edges)])
    return Replies(lambda: next(pieces))


@pytest.mark.parametrize(
    ("args", "encoded"),
    [
        ((b"PING",), b"*1\r\n$4\r\nPING\r\n"),
        (("GET", "ü"), b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"),
        (("EXPIRE", "k", 60), b"*3\r\n$6\r\nEXPIRE\r\n$1\r\nk\r\n$2\r\n60\r\n"),
        (("SET", "", b"\r\n\x00"), b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\n\r\n\x00\r\n"),
    ],
)
def test_a_command_is_an_array_of_bulk_strings(args, encoded):
    assert command(*args) == encoded


@given(st.lists(st.integers(0, 100), max_size=8), st.integers(0, len(LINES)))
def test_it_does_not_matter_where_the_stream_is_torn(cuts, first):
    replies = torn(b"".join(line + b"\r\n" for line in LINES), cuts)
    assert [*replies.lines(first), *replies.lines(len(LINES) - first)] == LINES
    assert errors(LINES) == ERRORS


@given(st.lists(st.integers(0, len(BULK)), max_size=8), st.integers(0, len(VALUES)))
def test_values_are_what_was_stored_wherever_the_stream_is_torn(cuts, first):
    replies = torn(BULK + b":1\r\n", cuts)
    assert [*replies.values(first), *replies.values(len(VALUES) - first), *replies.lines(1)] == [*VALUES, b":1"]


def test_an_error_is_no_value():
    refused, value = torn(b"-ERR\r\n$4\r\n-ERR\r\n", []).values(2)
    assert isinstance(refused, ReplyError)
    assert value == b"-ERR"


def test_more_lines_than_were_asked_for_wait():
    replies = torn(b":0\r\n" * 100_000, [65_536])
    assert len(replies.lines(10)) == 10
    assert len(replies.lines(99_990)) == 99_990
