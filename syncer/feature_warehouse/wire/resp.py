"""The Redis protocol (RESP2), as bytes: commands out, replies in.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is an array of bulk strings. What the
writing of features is answered by comes in lines (an integer, a status, an error, the length of an array), so its
replies are read by counting lines; what a reader is answered by, the Redis project's own parser reads. Knows no socket.
"""

from __future__ import annotations

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


class Answers:
    """The replies to a row of ``hmget`` requests, however the stream is torn into chunks.

    ``shapes``: (keys, fields) of each request. ``values``: per request the values of its first key's fields, then of
    the next one's; None where there is none, and for all fields of a key that Redis refused. ``refused``: (request,
    key, what Redis said) of these. ``complete``: how many requests are answered to their end.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self._shapes = shapes
        self._reader = Reader(notEnoughData=_OUTSTANDING)
        self._done = 0  # keys of the request that is being answered
        self.values: list[list[bytes | None]] = [[] for _ in shapes]
        self.refused: list[tuple[int, int, str]] = []
        self.complete = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes. Raises ValueError for what is no such reply."""
        try:
            self._reader.feed(chunk)
            while self.complete < len(self._shapes) and self._read(*self._shapes[self.complete]):
                self._done = 0
                self.complete += 1
        except ProtocolError as error:
            raise ValueError(f"{error}: no reply to HMGET") from error

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
        return True


#: What the library gives while a reply is not there to its end.
_OUTSTANDING = object()


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
        chunks = [self._data]
        while missing > 0:
            chunks.append(self._receive())
            missing -= chunks[-1].count(b"\n")
        *lines, self._data = b"".join(chunks).split(b"\r\n", count)
        return lines

    def values(self, count: int) -> list[bytes | ReplyError | None]:
        """The next ``count`` replies to a command that answers with one bulk string: None for the null one."""
        found: list[bytes | ReplyError | None] = []
        data, at = self._data, 0
        while len(found) < count:
            end = data.find(b"\r\n", at)
            size = int(data[at + 1 : end]) if end >= 0 and data[at] == _BULK else -1
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


_BULK = ord("$")


def errors(lines: list[bytes]) -> list[tuple[int, str]]:
    """The errors among ``lines``: the place of each, and its text without the '-'."""
    if not any(line.startswith(b"-") for line in {*lines}):  # most are the same
        return []
    return [(index, text(line[1:])) for index, line in enumerate(lines) if line.startswith(b"-")]


def text(line: bytes) -> str:
    return line.decode(errors="replace")
