"""resp: commands as bytes, one-line replies read, errors found wherever the stream is torn."""

from __future__ import annotations

import contextlib
import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.wire.resp import Answers, Replies, ReplyError, UnusualError, command, errors, hmget

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


# --- what a reader says and hears


def test_a_read_of_many_keys_is_the_commands_one_after_the_other():
    assert hmget([b"a", b"\xc3\xbc"], (b"f", b"g")) == command("HMGET", "a", "f", "g") + command("HMGET", "ü", "f", "g")
    assert hmget([b"a", b"b"], ()) == command("GET", "a") + command("GET", "b")
    assert hmget([], (b"f",)) == b""


def bulk(value):
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


#: A text that somebody wrote, and what a list of millions begins with.
MILLIONS = b"call me:\r\n*5550199999\r\n"

#: Values that look like the protocol, of all the lengths of a length.
BULKS = (
    st.none()
    | st.sampled_from([b"", b"\r\n", b"$-1\r\n", b"*2\r\n$1\r\n", b"x" * 99, b"y" * 100, b"z" * 1234, MILLIONS])
    | st.binary(max_size=12)
)


@given(st.data())
def test_answers_are_read_however_the_stream_is_torn(data):
    shapes = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=4))
    stream = b""
    values: list[list[bytes | None]] = []
    refused: list[tuple[int, int, str]] = []
    for request, (count, size) in enumerate(shapes):
        values.append([])
        for key in range(count):
            if data.draw(st.integers(0, 9)) == 0:
                stream += b"-ERR no such thing\r\n"
                refused.append((request, key, "ERR no such thing"))
                values[-1] += [None] * max(size, 1)
                continue
            bulks = data.draw(st.lists(BULKS, min_size=max(size, 1), max_size=max(size, 1)))
            stream += (b"*%d\r\n" % size if size else b"") + b"".join(map(bulk, bulks))
            values[-1] += bulks
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    for careful in (False, True):
        answers = Answers(shapes, careful=careful)
        try:
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                answers.feed(stream[start:end])
        except UnusualError:
            assert not careful
            assert MILLIONS in stream
        else:
            assert careful or MILLIONS not in stream
            assert (answers.complete, answers.values, answers.refused) == (len(shapes), values, refused)


def test_answers_know_when_something_is_outstanding():
    stream = b"*2\r\n$1\r\na\r\n$-1\r\n*2\r\n$1\r\nb\r\n$0\r\n\r\n"
    for end in range(len(stream)):
        answers = Answers([(2, 2)])
        answers.feed(stream[:end])
        assert answers.complete == 0
        answers.feed(stream[end:])
        assert (answers.complete, answers.values) == (1, [[b"a", None, b"b", b""]])


@pytest.mark.parametrize(
    "stream",
    [b"+OK\r\n", b":1\r\n", b"*1\r\n$1\r\na\r\n", b"*-1\r\n", b"$1\r\na\r\n", b"*2\r\n$x\r\n", b"HTTP/1.1"],
)
def test_what_is_no_answer_to_a_read_is_refused(stream):
    with pytest.raises(ValueError, match="no reply to HMGET"):
        Answers([(1, 2)]).feed(stream)
    with pytest.raises(ValueError, match=r"is no reply to HMGET|begins no value"):
        Answers([(1, 2)], careful=True).feed(stream + b"\r\n")


def fed(answers, stream, step):
    for at in range(0, len(stream), step):
        answers.feed(stream[at : at + step])


@pytest.mark.parametrize("start", [b"*2147483647\r\n", b">9999999\r\n", b"*1\r\n*2147483647\r\n", b"*+2147483647\r\n"])
@pytest.mark.parametrize("before", [b"", b"*2\r\n$1\r\na\r\n$-1\r\n"])
def test_no_room_is_made_for_what_is_only_announced(before, start):
    """However the announcement is torn; the parser would take gigabytes, and seconds."""
    for step in (1, 7, 1_000):
        with pytest.raises(UnusualError):
            fed(Answers([(9, 2)]), before + start, step)
    tracemalloc.start()
    careful = Answers([(9, 2)], careful=True)
    with contextlib.suppress(ValueError):
        careful.feed(before + start)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("stream", [b"x", b"$12345678901\r\n", b"$1073741825\r\n", b"$-2\r\n", b":1\r\n", b"$x\r\n"])
def test_what_is_no_value_ends_a_read_back(stream):
    chunks = iter([stream, *[b"x" * 65_536] * 100])
    with pytest.raises(ValueError, match=r"begins no value|does not end|invalid literal"):
        Replies(lambda: next(chunks)).values(1)


def test_a_line_that_never_ends_is_no_reply():
    chunks = iter([b"x" * 65_536] * 100)
    with pytest.raises(ValueError, match="does not end"):
        Replies(lambda: next(chunks)).lines(1)
