"""Evidently's PSI of binned samples, in .venv-feast: one JSON document on stdin, one on stdout.

In: a list of pairs, [rows in each bin of the reference, rows in each bin of the period]. Out: the version, and the PSI
of each pair. The bins go in as categories, so that Evidently counts them as they are.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distribution
from types import ModuleType


def without_its_start_up() -> None:
    """The packages above Evidently's PSI, bare: their own start-up imports a web service and plots."""
    root = distribution("evidently").locate_file("")
    for name in ("", ".legacy", ".legacy.calculations", ".legacy.calculations.stattests"):
        package = ModuleType(f"evidently{name}")
        package.__path__ = [f"{root}/{package.__name__.replace('.', '/')}"]
        sys.modules[package.__name__] = package


without_its_start_up()

import numpy as np  # noqa: E402
import pandas as pd  # type: ignore[import-untyped]  # noqa: E402
from evidently.legacy.calculations.stattests.psi import _psi  # type: ignore[import-not-found]  # noqa: E402
from evidently.legacy.core import ColumnType  # type: ignore[import-not-found]  # noqa: E402


def psi(reference: list[int], period: list[int]) -> float:
    samples = [pd.Series(np.repeat(np.arange(len(counts)), counts)) for counts in (reference, period)]
    return float(_psi(*samples, ColumnType.Categorical, 0.1)[0])


if __name__ == "__main__":
    found = [psi(reference, period) for reference, period in json.load(sys.stdin)]
    json.dump({"version": distribution("evidently").version, "psi": found}, sys.stdout)
