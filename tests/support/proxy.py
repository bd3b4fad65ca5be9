"""A TCP proxy before Redis that hurts its first connections, each in one way, and then lets all others pass."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType


class Proxy:
    """Forwards to ``port``. The first ``victims`` connections that carry ``after`` bytes meet ``harm``:

    reset: closed at once, in both directions; deaf: replies no longer come, requests still arrive; hole: nothing goes
    either way, and nobody closes; slow: some milliseconds for each kilobyte; loading: an answer -LOADING, then closed.
    """

    def __init__(self, port: int, harm: str, after: int, victims: int = 1) -> None:
        self._port, self._harm, self._after, self._victims = port, harm, after, victims
        self._carried = 0
        self.harmed = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                dead = threading.Event()
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink, client, dead), daemon=True).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, client: socket.socket, dead: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(4096):
                request = source is client
                if request and not dead.is_set() and self.harmed < self._victims:
                    self._carried += len(chunk)
                    if self._carried > self._after:
                        self.harmed += 1
                        sink.sendall(chunk[: len(chunk) // 2])  # a command that ends in its middle
                        chunk = chunk[len(chunk) // 2 :]
                        dead.set()
                        self._carried = 0
                if dead.is_set():
                    if self._harm == "reset":
                        for each in (client, source, sink):  # RST, not FIN
                            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        for each in (source, sink):
                            each.close()
                        return
                    if self._harm == "loading":
                        client.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
                        return
                    if self._harm == "hole" or (self._harm == "deaf" and not request):
                        continue
                    if self._harm == "slow":
                        time.sleep(0.002)
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
