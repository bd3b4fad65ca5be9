"""The Redis protocol (RESP2), as bytes: commands out, one-line replies in.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is an array of bulk strings. The
commands that write features are answered by one line each (an integer, a status or an error), so a stream of replies
is read by counting lines. Knows no socket, and no replies of several lines (bulk strings, arrays).
"""

from __future__ import annotations


def command(*args: bytes | str | int) -> bytes:
    r"""One command: command('GET', 'k') -> b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'. Text is sent as UTF-8."""
    encoded = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in encoded)


class ReplyCounter:
    """Counts one-line replies and finds the errors among them, however the stream is torn into chunks.

    ``count``: complete replies so far. ``errors``: (index of the reply in the whole stream from 0, text without the
    '-'), in order. Text is kept as Redis sent it: 'OOM command not allowed when used memory > 'maxmemory'.'
    """

    def __init__(self) -> None:
        self.count = 0
        self.errors: list[tuple[int, str]] = []
        self._torn = b""  # the begun reply at the end of the last chunk

    def feed(self, chunk: bytes) -> int:
        """Takes the next bytes off the socket; returns ``count``."""
        data = self._torn + chunk
        complete, _, self._torn = data.rpartition(b"\n")
        # Nearly every chunk is all integers: no line starts with '-' (a negative integer starts with ':').
        if complete.startswith(b"-") or b"\n-" in complete:
            self.errors += (
                (self.count + index, line[1:].rstrip(b"\r").decode(errors="replace"))
                for index, line in enumerate(complete.split(b"\n"))
                if line.startswith(b"-")
            )
        self.count += data.count(b"\n")
        return self.count
