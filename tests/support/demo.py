"""The demo as `make demo` runs it, in a clone of its own, so that the warehouse of this folder stays as it is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.projects import ROOT

FIRST_PORT = 6390  # of its Redis, where nobody else has it


@dataclass(frozen=True)
class Demo:
    """What it left: a folder with the built warehouse, and what it printed."""

    folder: Path
    port: int  # of the Redis that it started
    printed: str


def run(clone: Path) -> Demo:
    """The demo in ``clone``, a folder that is not there yet, while somebody else has its first port."""
    shutil.copytree(ROOT, clone, symlinks=True, ignore=shutil.ignore_patterns(".*", "target", "*.duckdb*", "*.parquet"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with socket.socket() as somebody:
        with contextlib.suppress(OSError):  # really somebody else
            somebody.bind(("127.0.0.1", FIRST_PORT))
            somebody.listen()
        done = subprocess.run(
            ["bash", "scripts/demo.sh"], cwd=clone, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr + done.stdout
    (port,) = re.findall(r"^\$ syncer redis --port (\d+) &$", done.stdout, re.MULTILINE)
    return Demo(clone, int(port), done.stdout)
