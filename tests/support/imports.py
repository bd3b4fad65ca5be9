"""Python in a process of its own, in which some libraries cannot be imported: what is loaded before its time fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

#: The command line as code; to be formatted with its arguments, a tuple.
SYNCER = "from feature_warehouse.__main__ import main\nsys.argv = ['syncer', *{!r}]\nmain()"

_BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if any(name == library or name.startswith(library + ".") for library in {libraries!r}):
            raise ImportError(f"{{name}} is imported before its time")

sys.meta_path.insert(0, Blocked())
{code}
"""


def run_without(libraries: Iterable[str], code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``libraries``: packages or modules, with all that lies in them."""
    program = _BLOCKED.format(libraries=sorted(libraries), code=code)
    return subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )
