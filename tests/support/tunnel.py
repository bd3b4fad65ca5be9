"""TLS before Redis: takes TLS connections and forwards what is in them, since the bundled server speaks none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType

CERTIFICATES = Path(__file__).parent / "tls"


class Tunnel:
    """Forwards to ``port``. ``mutual``: only for clients with a certificate of the tests' authority."""

    def __init__(self, port: int, *, mutual: bool = False) -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
        if mutual:
            self._context.load_verify_locations(CERTIFICATES / "ca.pem")
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def url(self, *settings: str, scheme: str = "rediss", host: str = "127.0.0.1") -> str:
        """'ssl_ca_certs=ca.pem' is a setting; files are those of the tests."""
        pairs = (setting.partition("=") for setting in settings)
        query = "&".join(f"{name}={CERTIFICATES / value if '.' in value else value}" for name, _, value in pairs)
        return f"{scheme}://{host}:{self.port}/0{'?' if query else ''}{query}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            client = self._context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        redis = socket.create_connection(("127.0.0.1", self._target))
        self._open += [client, redis]
        back = threading.Thread(target=_forward, args=(redis, client), daemon=True)
        back.start()
        _forward(client, redis)
        back.join()
        client.close()
        redis.close()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
