"""A shop whose history lies in a DuckLake: its catalog in a PostgreSQL, its files on a stand-in for S3.

DuckDB's extensions come as wheels for an older DuckDB than ours. So its commands run in processes of their own, for
which `make .lake/requirements.stamp` has that DuckDB, and the stand-in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import duckdb

from tests.support.projects import ROOT

if TYPE_CHECKING:
    from tests.support.postgres import Database

HOME = ROOT / ".lake"

EXTENSIONS = ("ducklake", "httpfs", "postgres_scanner")

_BUCKET = "features"
_KEY, _SECRET = "AKIAFEATURES", "a-key-that-nobody-sees"


def found() -> bool:
    """Whether that environment is there."""
    return (HOME / "requirements.stamp").exists()


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit code."""

    exit_code: int
    output: str


class _Process:
    """Another Python, which has ``packages`` before our own; a line of JSON each way."""

    def __init__(self, packages: str, log: Path, *arguments: str, **environment: str) -> None:
        self._log = log
        with log.open("ab") as written:
            self._process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME / packages), str(ROOT)]), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            )

    def ask(self, *words: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


class ObjectStorage(_Process):
    """The stand-in, with an empty bucket, between the ends of a ``with``."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__("moto", folder / "moto.log", str(ROOT / "tests" / "lake" / "moto_server.py"))
        self.endpoint = f"127.0.0.1:{port}"
        self.ask("start", str(port), _BUCKET)


class Lake(_Process):
    """A process in which dbt and the syncer run on such a shop; several may be at it at the same time."""

    def __init__(self, folder: Path, redis_url: str, database: Database) -> None:
        where = (str(folder), redis_url)
        super().__init__(
            "duckdb", folder / "lake.log", "-m", "tests.support.lake", *where, PGPASSWORD=database.password
        )

    def dbt(self, *arguments: str) -> None:
        done = Done(**self.ask("dbt", *arguments))
        assert done.exit_code == 0, done.output

    def try_syncer(self, *arguments: str) -> Done:
        return Done(**self.ask("syncer", *arguments))

    def syncer(self, *arguments: str) -> str:
        done = self.try_syncer(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The warehouse is open as a sync opens it; ``rows`` reads it."""
        self.ask("open")
        try:
            yield
        finally:
            self.ask("close")

    def rows(self, sql: str) -> list[list[Any]]:
        """What a query finds, in an open warehouse."""
        found: list[list[Any]] = self.ask("rows", sql)
        return found

    def sql(self, statement: str) -> None:
        """Runs it as somebody who may write."""
        self.ask("sql", statement)


def output(database: Database, storage: ObjectStorage, folder: Path) -> dict[str, Any]:
    """The target of a dbt profile: all is built in the lake."""
    place = f"host=127.0.0.1 port={database.port} dbname={database.name} user={database.user}"
    secret = {"type": "s3", "key_id": _KEY, "secret": _SECRET, "region": "us-east-1", "endpoint": storage.endpoint}
    return {
        "type": "duckdb",
        "path": ":memory:",
        "database": "lake",
        "schema": "main",
        "threads": 1,
        "extensions": list(EXTENSIONS),
        "config_options": {"extension_directory": str(_extensions(folder))},
        "secrets": [{**secret, "use_ssl": False, "url_style": "path"}],
        "attach": [
            {"path": f"ducklake:postgres:{place}", "alias": "lake", "options": {"data_path": f"s3://{_BUCKET}/lake"}}
        ],
        "settings": {"TimeZone": "UTC"},
    }


def _extensions(folder: Path) -> Path:
    """A folder in which DuckDB finds them as installed."""
    (wheel,) = (HOME / "duckdb").glob("duckdb-*.dist-info")
    release = f"v{wheel.name.removeprefix('duckdb-').removesuffix('.dist-info')}"
    platform = duckdb.execute("pragma platform").fetchall()[0][0]
    installed = folder / "extensions" / release / platform
    installed.mkdir(parents=True)
    for name in EXTENSIONS:
        file = f"{name}.duckdb_extension"
        (installed / file).symlink_to(HOME / "duckdb" / f"duckdb_extension_{name}" / "extensions" / release / file)
    return folder / "extensions"


# --- the other end


def _serve(folder: Path, redis_url: str) -> None:
    from feature_warehouse.project.project import ProjectOptions, load_project
    from feature_warehouse.warehouse.duckdb import DuckDB, open_warehouse
    from tests.support.movable import FILES
    from tests.support.projects import messages
    from tests.support.shop import CLOCK, Shop, inside

    replies: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # dbt prints
    assert version("duckdb") == duckdb.__version__
    profiles = (folder / "profiles.yml").read_text()
    shop = Shop(folder, {path: text for path, text in FILES.items() if not (folder / path).exists()}, more=CLOCK)
    shop.write("profiles.yml", profiles)
    shop.redis_url = redis_url
    options = ProjectOptions.given(folder, folder, None)
    stack, warehouse = ExitStack(), None
    for line in sys.stdin:
        said: Any = None
        command, *words = json.loads(line)
        if command == "dbt":
            done = shop.try_dbt(*words)
            said = {"exit_code": int(not done.success), "output": messages(done)}
        elif command == "syncer":
            result = shop.try_syncer(*words)
            said = {"exit_code": result.exit_code, "output": result.output}
        elif command == "open":
            with inside(folder):
                warehouse = stack.enter_context(open_warehouse(load_project(options).output))
        elif command == "rows":
            assert isinstance(warehouse, DuckDB)
            read = warehouse.query(words[0]).read_all().to_pylist()
            said = [[str(value) for value in row.values()] for row in read]
        elif command == "close":
            stack.close()
        else:
            place = load_project(options).output
            with duckdb.connect(config=place.config) as connection:
                for statement in (*place.statements, *place.attached.values()):
                    connection.execute(statement.replace("READ_ONLY, ", ""))
                connection.execute(words[0])
        replies.write(json.dumps(said) + "\n")
        replies.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2])
