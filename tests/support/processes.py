"""Redis processes that belong together: a primary with its replica and Sentinels, a Cluster.

They are started from the server binary that the embedded Redis uses, on free ports of the loopback, and end with the
test. Each can be killed and started again by its port.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from feature_warehouse.store.embedded import find_server

HOST = "127.0.0.1"


class Processes:
    """Servers by port, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._commands: dict[int, list[str]] = {}

    def start(self, port: int, *lines: str, sentinel: bool = False) -> None:
        folder = self._folder / str(port)
        folder.mkdir()
        config = folder / "redis.conf"
        config.write_text("\n".join([f"port {port}", f"bind {HOST}", f"dir {folder}", 'save ""', *lines, ""]))
        self._commands[port] = [str(find_server()), str(config), *(["--sentinel"] if sentinel else [])]
        self.restart(port)

    def restart(self, port: int) -> None:
        log = self._folder / str(port) / "log"
        with open(log, "ab") as file:
            self._started[port] = subprocess.Popen(self._commands[port], stdout=file, stderr=file)
        wait_until(lambda: bool(client(port).ping()))

    def kill(self, port: int) -> None:
        process = self._started.pop(port)
        process.kill()
        process.wait()

    @contextmanager
    def silent(self, port: int) -> Iterator[None]:
        """With a server that takes connections and answers nothing."""
        self._started[port].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._started[port].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for process in self._started.values():
            process.kill()
        for process in self._started.values():
            process.wait()


def client(port: int) -> Any:
    return redis.Redis(host=HOST, port=port, protocol=2, socket_timeout=30)


def wait_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until ``true``; a Redis that does not answer yet is not yet there."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if true():
                return
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@contextmanager
def sentinels(folder: Path, free_port: Callable[[], int]) -> Iterator[SentinelService]:
    processes = Processes(folder)
    try:
        yield SentinelService(processes, free_port)
    finally:
        processes.stop()


class SentinelService:
    """A primary, a replica of it, and a Sentinel that calls them ``features``.

    One Sentinel alone: several have to agree on who leads, and on a busy machine they take their time. It fails over
    when it is told to; by itself it would also do so when the machine is slow. The URL begins with one that is not
    there.
    """

    def __init__(self, processes: Processes, free_port: Callable[[], int]) -> None:
        self.processes = processes
        self.primary, self.replica, self.sentinel, nobody = (free_port() for _ in range(4))
        processes.start(self.primary)
        processes.start(self.replica, f"replicaof {HOST} {self.primary}", "repl-diskless-sync-delay 0")
        wait_until(lambda: client(self.replica).info("replication")["master_link_status"] == "up")
        processes.start(
            self.sentinel,
            f"sentinel monitor features {HOST} {self.primary} 1",
            "sentinel down-after-milliseconds features 600000",
            sentinel=True,
        )
        wait_until(lambda: client(self.sentinel).sentinel_master("features")["num-slaves"] == 1)
        self.url = f"redis+sentinel://{HOST}:{nobody},{HOST}:{self.sentinel}/features/0"

    def follow(self) -> None:
        """Returns when the replica has all that was written so far."""
        with client(self.primary) as connection:
            connection.set("followed", 1)  # WAIT is about the writes of its own connection
            assert connection.wait(1, 25_000) == 1

    def fail_over(self) -> None:
        """Kills the primary; returns when the Sentinel has made a primary of the replica."""
        self.kill_primary()
        wait_until(lambda: int(client(self.sentinel).sentinel_master("features")["port"]) == self.replica)

    def kill_primary(self) -> None:
        """Kills the primary; soon the Sentinel will make a primary of the replica."""
        self.processes.kill(self.primary)
        wait_until(lambda: bool(client(self.sentinel).execute_command("SENTINEL", "FAILOVER", "features")))
