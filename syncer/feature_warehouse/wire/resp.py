"""The Redis protocol (RESP2), as bytes: commands out, replies in.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is an array of bulk strings. What the
writing of features is answered by comes in lines (an integer, a status, an error, the length of an array), so its
replies are read by counting lines; what a reader is answered by, the Redis project's own parser reads. Knows no socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from hiredis import ProtocolError, Reader
from hiredis import ReplyError as ReplyFailure


def command(*args: bytes | str | int) -> bytes:
    r"""One command: command('GET', 'k') -> b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'. Text is sent as UTF-8."""
    encoded = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in encoded)


def hmget(keys: Sequence[bytes], fields: tuple[bytes, ...]) -> bytes:
    """`HMGET key fields` for each key; without fields `GET key`."""
    if not keys:
        return b""
    start, end = _around_key(fields)
    return start + (end + start).join([b"%d\r\n%b\r\n" % (len(key), key) for key in keys]) + end


@lru_cache(maxsize=1_000)
def _around_key(fields: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    start, end = command(b"HMGET" if fields else b"GET", b"", *fields).split(b"0\r\n\r\n", 1)
    return start, end


class UnusualError(ValueError):
    """What came may announce more than there is: to be asked for again, and read with care."""


class Answers:
    """The replies to a row of ``hmget`` requests, however the stream is torn into chunks.

    ``shapes``: (keys, fields) of each request. ``values``: per request the values of its first key's fields, then of
    the next one's; None where there is none, and for all fields of a key that Redis refused. ``refused``: (request,
    key, what Redis said) of these. ``complete``: how many requests are answered to their end.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], *, careful: bool = False) -> None:
        """``careful``: never takes more memory than what has come, several times as slowly; see ``feed``."""
        self._shapes = shapes
        self._reader: Reader | _CarefulReader = _CarefulReader() if careful else Reader(notEnoughData=_OUTSTANDING)
        self._lengths = None if careful else {b"\r\n*%d\r\n" % fields for _, fields in shapes if fields}
        self._end = b"\r\n"  # of what came so far
        self._done = 0  # keys of the request that is being answered
        self.values: list[list[bytes | None]] = [[] for _ in shapes]
        self.refused: list[tuple[int, int, str]] = []
        self.complete = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes. Raises ValueError for what is no such reply.

        Raises UnusualError where a chunk looks as if it announced a list of millions. The parser would make room for
        them before they come; but these may as well be words in a text that was asked for.
        """
        try:
            if self._lengths is not None:
                self._look(chunk, self._lengths)
            self._reader.feed(chunk)
            while self.complete < len(self._shapes) and self._read(*self._shapes[self.complete]):
                self._done = 0
                self.complete += 1
        except (ProtocolError, MemoryError) as error:
            raise ValueError(f"{error}: no reply to HMGET") from error

    def _look(self, chunk: bytes, expected: set[bytes]) -> None:
        seen = self._end + chunk
        self._end = seen[-_LONGEST_START:]
        # Counting words costs a tenth of searching for a pattern, and most chunks announce nothing else.
        lists = seen.count(b"\r\n*") + seen.count(b"\r\n>")
        if lists != sum(map(seen.count, expected)) and _MILLIONS.search(seen):
            raise UnusualError("it may announce millions of values")

    def _read(self, count: int, size: int) -> bool:
        """Takes what has come of one request's replies; whether that was all."""
        values, reply_of = self.values[self.complete], self._reader.gets
        for done in range(self._done, count):
            reply = reply_of()
            if type(reply) is list and size == len(reply) > 0:
                values += reply
            elif reply is _OUTSTANDING:
                self._done = done
                return False
            elif isinstance(reply, ReplyFailure):
                self.refused.append((self.complete, done, str(reply)))
                values += [None] * (size or 1)
            elif size == 0 and (reply is None or type(reply) is bytes):
                values.append(reply)
            else:
                raise ValueError(f"{reply!r:.40} is no reply to {'HMGET' if size else 'GET'}")
        if not {*map(type, values)} <= _VALUES:
            raise ValueError("what is in a reply to HMGET is no value")
        return True


#: What the library gives while a reply is not there to its end.
_OUTSTANDING = object()

_VALUES = {bytes, type(None)}

#: How a list of a million values or more begins, and no fewer bytes than that.
_MILLIONS, _LONGEST_START = re.compile(rb"\r\n[*>][+0-9]{7}"), 16


class _CarefulReader:
    """Reads what Redis answers a reader with, lists of values, and nothing else; as hiredis' Reader is used."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, chunk: bytes) -> None:
        self._data += chunk

    def gets(self) -> object:
        """The next reply; ``_OUTSTANDING`` while it is not there to its end. Raises ValueError."""
        value, at = self._one(0)
        if value is not _OUTSTANDING:
            self._data = self._data[at:]
        return value

    def _one(self, at: int) -> tuple[object, int]:
        kind, end = self._data[at : at + 1], self._data.find(b"\r\n", at)
        if end < 0:
            return _OUTSTANDING, at
        rest, after = self._data[at + 1 : end], end + 2
        if kind == b"-":
            return ReplyFailure(text(rest)), after
        if kind not in (b"*", b"$") or not _LENGTH.fullmatch(rest):
            raise ValueError(f"{self._data[at:end]!r:.40} begins no value")
        if rest == b"-1":
            return None, after
        if kind == b"*":
            values = []
            for _ in range(int(rest)):
                if self._data[after : after + 1] not in (b"$", b""):
                    raise ValueError("what is in a list is no value")
                value, after = self._one(after)
                if value is _OUTSTANDING:
                    return value, at
                values.append(value)
            return values, after
        size = int(rest)
        if len(self._data) < after + size + 2:
            return _OUTSTANDING, at
        return self._data[after : after + size], after + size + 2


_LENGTH = re.compile(rb"-1|[0-9]{1,10}")


class Replies:
    """The replies on one connection, however the stream is torn into chunks.

    ``receive`` gives the next bytes, at least one; it raises when there will be none.
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._data = b""

    def line(self) -> bytes:
        r"""One line without its end: b':1', b'+OK', b'-ERR no such key', b'*3'."""
        return self.lines(1)[0]

    def lines(self, count: int) -> list[bytes]:
        """The next ``count`` lines."""
        missing = count - self._data.count(b"\n")
        chunks, without = [self._data], 0
        while missing > 0:
            chunks.append(self._receive())
            found = chunks[-1].count(b"\n")
            missing, without = missing - found, 0 if found else without + len(chunks[-1])
            if without > _LONGEST_LINE:
                raise ValueError("a line that does not end is no reply")
        *lines, self._data = b"".join(chunks).split(b"\r\n", count)
        return lines

    def values(self, count: int) -> list[bytes | ReplyError | None]:
        """The next ``count`` replies to a command that answers with one bulk string: None for the null one."""
        found: list[bytes | ReplyError | None] = []
        data, at = self._data, 0
        while len(found) < count:
            end = data.find(b"\r\n", at)
            size = int(data[at + 1 : end]) if end >= 0 and data[at] == _BULK else -1
            if end >= 0 and not ((data[at] == _BULK and -1 <= size <= _LONGEST_VALUE) or data[at] == _ERROR):
                raise ValueError(f"{data[at:end]!r:.40} begins no value")
            if end < 0 and len(data) - at > _LONGEST_LINE:
                raise ValueError("a line that does not end is no reply")
            if end < 0 or (len(data) < end + size + 4 and size >= 0):
                chunks = [data[at:], self._receive()]
                wanted = end + size + 4 - at if end >= 0 else 0
                while sum(map(len, chunks)) < wanted:
                    chunks.append(self._receive())
                data, at = b"".join(chunks), 0
            elif size >= 0:
                found.append(data[end + 2 : end + 2 + size])
                at = end + size + 4
            else:
                found.append(None if data[at] == _BULK else ReplyError(text(data[at + 1 : end])))
                at = end + 2
        self._data = data[at:]
        return found


class ReplyError(str):
    """What Redis said instead of an answer, without the '-'."""


_BULK, _ERROR = ord("$"), ord("-")

#: What Redis never exceeds: an error in words, and a value (its proto-max-bulk-len, twice as it is shipped), in bytes.
_LONGEST_LINE, _LONGEST_VALUE = 1 << 20, 1 << 30


def errors(lines: list[bytes]) -> list[tuple[int, str]]:
    """The errors among ``lines``: the place of each, and its text without the '-'."""
    if not any(line.startswith(b"-") for line in {*lines}):  # most are the same
        return []
    return [(index, text(line[1:])) for index, line in enumerate(lines) if line.startswith(b"-")]


def text(line: bytes) -> str:
    return line.decode(errors="replace")
