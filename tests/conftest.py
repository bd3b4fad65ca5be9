"""Fixtures for every test: a real Redis, started once for the run."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from syncer.server import HOST, EmbeddedServer


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Call it for a port of 127.0.0.1 that nothing listened on a moment ago."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def redis_server(free_port: Callable[[], int]) -> Iterator[EmbeddedServer]:
    """The run's own Redis, shared by all tests; nothing of it is kept."""
    with EmbeddedServer(port=free_port()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """The URL of the shared Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows what tests measured, as ``record_property("figure", ...)``: a worker beside others has no terminal."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for figure in sorted(figures):
            terminalreporter.line(figure)
