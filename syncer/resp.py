"""The Redis protocol (RESP2), as bytes: commands out, replies in.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is an array of bulk strings. What the
writing of features is answered by comes in lines (an integer, a status, an error, the length of an array), so its
replies are read by counting lines. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable


def command(*args: bytes | str | int) -> bytes:
    r"""One command: command('GET', 'k') -> b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'. Text is sent as UTF-8."""
    encoded = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in encoded)


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
