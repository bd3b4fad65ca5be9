"""Claims about what a command printed and left behind."""

from __future__ import annotations

import itertools
import json
from typing import Any

import redis
from click.testing import Result

from tests.support.shop import Shop


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


def assert_held(result: Result, view: str, message: str, hint: str) -> None:
    """Exit code 1, the table, and why that one view is held."""
    assert result.exit_code == 1, result.output
    assert f"{view} (held)" in result.stdout, result.output
    lines = result.stderr.splitlines()
    ((why, advice),) = (pair for pair in itertools.pairwise(lines) if pair[0].startswith(f"Held: {view}: "))
    assert message in why
    assert advice.startswith("Hint: ")
    assert hint in advice


def contents(url: str) -> dict[bytes, Any]:
    """All that Redis holds: strings and hashes. Streams tell what was done, and are others after each run."""
    read: dict[bytes, Any] = {}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            if kind != b"stream":
                read[key] = client.hgetall(key) if kind == b"hash" else client.get(key)
    return read


def differences(shop: Shop) -> dict[str, tuple[int, int, int]]:
    """What `syncer verify` finds: {view: (missing, different, extra)} of the views that differ."""
    result = shop.try_syncer("verify", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == (1 if found["differences"] else 0)
    assert found["differences"] == sum(view["missing"] + view["different"] + view["extra"] for view in found["views"])
    counts = {view["view"]: (view["missing"], view["different"], view["extra"]) for view in found["views"]}
    return {view: count for view, count in counts.items() if any(count)}


def assert_mirrored(shop: Shop) -> None:
    assert differences(shop) == {}


def marker(server: Any, field: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.hget("shop_dev:#markers", field))
    return found
