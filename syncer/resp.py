"""The Redis protocol (RESP2), as bytes: commands out, replies in.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is an array of bulk strings. What the
writing of features is answered by comes in lines (an integer, a status, an error, the length of an array), so its
replies are read by counting lines. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache


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
        self._done = [0] * len(shapes)
        self._rest = b""
        self.values: list[list[bytes | None]] = [[] for _ in shapes]
        self.refused: list[tuple[int, int, str]] = []
        self.complete = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes. Raises ValueError for what is no such reply."""
        data, at = self._rest + chunk if self._rest else chunk, 0
        while self.complete < len(self._shapes):
            count, size = self._shapes[self.complete]
            at = self._feed(self.complete, count, size, data, at)
            if self._done[self.complete] < count:
                break
            self.complete += 1
        self._rest = data[at:]

    def _feed(self, request: int, count: int, size: int, data: bytes, at: int) -> int:
        """Reads replies to ``request`` from ``at`` on; the place behind the last one that is whole."""
        values, end, head = self.values[request], len(data), b"*%d\r\n" % size if size else b""
        sizes, skip, bulks = _SIZES, len(head), range(size or 1)
        for done in range(self._done[request], count):
            start = at
            if data.startswith(head, at) and not (size == 0 and data.startswith(b"-", at)):
                at += skip
                for _ in bulks:
                    if (length := sizes.get(data[at : at + 5])) is not None:
                        at += 5
                    elif (length := sizes.get(data[at : at + 6])) is not None:
                        at += 6
                    else:
                        length, at = _bulk_size(data, at)
                    if length >= 0:
                        values.append(data[at : at + length])
                        at += length + 2
                    else:
                        values.append(None)
            elif data.startswith(b"-", at):
                stop = data.find(b"\r\n", at)
                if stop >= 0:
                    self.refused.append((request, done, text(data[at + 1 : stop])))
                    values += [None] * len(bulks)
                    at = stop + 2
            elif not head.startswith(data[at:]):
                raise ValueError(f"{data[at : at + 20]!r} is no reply to HMGET")
            if at > end or at == start:  # incomplete: its values so far are cut off
                del values[done * len(bulks) :]
                self._done[request] = done
                return start
        self._done[request] = count
        return at


def _bulk_size(data: bytes, at: int) -> tuple[int, int]:
    """(its length, where it begins) of the bulk string at ``at``; beyond all ``data`` when its first line is torn."""
    end = data.find(b"\r\n", at)
    if data[at : at + 1] not in (b"$", b""):
        raise ValueError(f"{data[at : at + 20]!r} is no bulk string")
    return (int(data[at + 1 : end]), end + 2) if end >= 0 else (-1, len(data) + 1)


#: The first lines of the null, and of bulk strings as long as most messages are: 5 or 6 bytes.
_SIZES = {b"$%d\r\n" % size: size for size in (-1, *range(10, 1000))}


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
    if not any(line.startswith(b"-") for line in lines):
        return []
    return [(index, text(line[1:])) for index, line in enumerate(lines) if line.startswith(b"-")]


def text(line: bytes) -> str:
    return line.decode(errors="replace")
