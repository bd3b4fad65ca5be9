"""The demo's files in a folder of their own, to be edited; nothing is run."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.projects import ROOT
from tests.support.shop import Shop


class Clone(Shop):
    """The demo with the commands of a ``Shop``; its warehouse is not there."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(".*", "target", "*.duckdb*"))
        self.folder, self.database = folder, folder / "warehouse.duckdb"
