"""How pyarrow begins in a process that is ours alone."""

from __future__ import annotations

import importlib.abc
import sys

import pyarrow as pa


def leave_pandas_out() -> None:
    """Keeps pyarrow from importing pandas, which takes longer than encoding a million rows; for a process of our own.

    pyarrow looks for pandas once, when it first meets a Python value, in case that is one of pandas'. `to_pandas` still
    imports it later; but pandas' own values would then be taken for any others.
    """

    class NoPandas(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "pandas":
                raise ModuleNotFoundError("pandas is left out")

    finder = NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)
