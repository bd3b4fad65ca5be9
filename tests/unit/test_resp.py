"""resp: commands as bytes, one-line replies counted, errors found wherever the stream is torn."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.resp import ReplyCounter, command

STREAM = b":1\r\n+OK\r\n-OOM command not allowed\r\n:-1\r\n:0\r\n-MOVED 3999 127.0.0.1:6381\r\n-ERR \xff\r\n:0\r\n"
ERRORS = [(2, "OOM command not allowed"), (5, "MOVED 3999 127.0.0.1:6381"), (6, "ERR \ufffd")]


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


def test_every_error_is_found_with_its_place_in_the_stream():
    replies = ReplyCounter()
    assert replies.feed(STREAM) == 8
    assert replies.errors == ERRORS


def test_a_begun_reply_does_not_count_until_it_ends():
    replies = ReplyCounter()
    assert replies.feed(b":1\r\n-ER") == 1
    assert replies.feed(b"R no\r") == 1
    assert replies.errors == []
    assert replies.feed(b"\n:") == 2
    assert replies.errors == [(1, "ERR no")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_does_not_matter_where_the_stream_is_torn(cuts):
    replies = ReplyCounter()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        replies.feed(STREAM[start:end])
    assert (replies.count, replies.errors) == (8, ERRORS)


def test_a_long_stream_of_integers_is_counted():
    replies = ReplyCounter()
    for _ in range(100):
        replies.feed(b":0\r\n" * 1000)
    assert (replies.count, replies.errors) == (100_000, [])
