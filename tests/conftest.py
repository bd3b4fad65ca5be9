"""Fixtures for every test: a real Redis, started once for the run, and ports; and how Hypothesis searches."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings

from feature_warehouse.errors import StoreError
from feature_warehouse.store.embedded import HOST, EmbeddedServer, find_server
from tests.support.wanted import counted, refuse_unknown

# What the shell of a user of dbt and git has set would steer what is tested.
for _name in [name for name in os.environ if name.startswith(("DBT_", "GIT_", "SYNCER_"))]:
    del os.environ[_name]
os.environ["GIT_CONFIG_GLOBAL"] = os.environ["GIT_CONFIG_SYSTEM"] = os.devnull

# The same examples each time, and none of them is late: a change is judged by what it does, not by the dice or by how
# busy the machine is. `pytest --hypothesis-profile search` throws the dice.
_PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("search", **_PATIENT)
settings.register_profile("same", derandomize=True, **_PATIENT)
settings.load_profile("same")

#: Above a port of `free_port` is another one for it: that of a Cluster node's bus.
BUS = 10_000
#: Ports for each process that runs tests. Below 32,768: systems take those above for the client's end of connections.
_FIRST_PORT, _PORTS, _PROCESSES = 11_000, 1_000, 10


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Call it for a port of 127.0.0.1 that nothing listens on, and that nobody else is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    first, offset = _FIRST_PORT + worker * _PORTS, random.randrange(_PORTS)  # another run of the tests may go on beside
    ports = (first + (offset + number) % _PORTS for number in range(_PORTS))

    def find() -> int:
        return next(port for port in ports if _is_free(port) and _is_free(port + BUS))

    return find


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
        probe.bind((HOST, port))
        return True
    return False


@pytest.fixture(scope="session")
def redis_server(free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    """The run's own Redis, shared by all tests; nothing of it is kept."""
    with EmbeddedServer(port=free_port()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """The URL of the shared Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command("FLUSHALL", "SYNC")  # Valkey would free it later, while a test measures
    return redis_server.url


def pytest_configure() -> None:
    refuse_unknown()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows which server it was, what was skipped, and what tests measured, as ``record_property("figure", ...)``: a
    worker beside others has no terminal.
    """
    with contextlib.suppress(StoreError):  # unit tests need none
        server = find_server()
        said = subprocess.run([server, "--version"], capture_output=True, text=True).stdout
        terminalreporter.write_line(f"{said.partition(' sha=')[0]}: {server}")
    terminalreporter.write_line(counted([report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]))
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for figure in sorted(figures):
            terminalreporter.line(figure)
