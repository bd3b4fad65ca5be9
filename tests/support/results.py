"""Claims about what a command printed and left behind."""

from __future__ import annotations

from typing import Any

import redis
from click.testing import Result


def assert_refused(result: Result, message: str, hint: str) -> None:
    """One sentence, one hint, exit code 1, and nothing where a program would look for a result."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 2, result.stderr
    error, advice = lines
    assert error.startswith("Error: ")
    assert message in error
    assert advice.startswith("Hint: ")
    assert hint in advice


def contents(url: str) -> dict[bytes, Any]:
    """All that Redis holds: strings and hashes."""
    with redis.Redis.from_url(url) as client:
        return {
            key: client.hgetall(key) if client.type(key) == b"hash" else client.get(key) for key in client.scan_iter()
        }
