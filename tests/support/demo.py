"""The demo as `make demo` runs it, in a clone of its own, so that the warehouse of this folder stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.projects import ROOT


@dataclass(frozen=True)
class Demo:
    """What it left: a folder with the built warehouse, and what it printed."""

    folder: Path
    port: int  # of the Redis that it started
    printed: str


def run(clone: Path, port: int) -> Demo:
    """The demo in ``clone``, a folder that is not there yet."""
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(".*", "target", "*.duckdb*", "*.parquet"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "scripts/demo.sh"],
        cwd=clone,
        env=os.environ | {"PATH": path, "DEMO_REDIS_PORT": str(port)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return Demo(clone, port, done.stdout)
