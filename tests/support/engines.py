"""One way to fill a built project's tables and to ask it, on each database that the macros are proven on."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from tests.support.projects import Project

if TYPE_CHECKING:
    from tests.support.postgres import Database

NAMES = ("duckdb", "postgres")

#: DuckDB's types in PostgreSQL's words, where these are others.
_IN_POSTGRES = {"double": "double precision", "hugeint": "numeric(38,0)"}

Rows = Sequence[Sequence[Any]]


def database_of(request: pytest.FixtureRequest, engine: str) -> Database | None:
    """Where a project builds on ``engine``: None for DuckDB, whose file is the project's own."""
    return None if engine == "duckdb" else request.getfixturevalue("postgres").create_database()


def type_on(engine: str, data_type: str) -> str:
    """A type of DuckDB as the engine spells it: ``double[]`` is ``double precision[]`` in PostgreSQL."""
    name, bracket, rest = data_type.partition("[")
    return (_IN_POSTGRES.get(name, name) if engine == "postgres" else name) + bracket + rest


class Engine:
    """A built project, asked in its own database. Infinite instants, -0.0 and NaN go in as they are."""

    def __init__(self, project: Project, connection: Any) -> None:
        self.project = project
        self.name = project.engine
        self._connection = connection

    def execute(self, sql: str) -> None:
        if self.name == "duckdb":
            self._connection.execute(sql)
            return
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns' names, and the rows."""
        if self.name == "duckdb":
            found = self._connection.execute(sql)
            return [column[0] for column in found.description], found.fetchall()
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return [column.name for column in cursor.description], cursor.fetchall()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.query(sql)[1]

    def fill(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        """Replaces the rows of ``table``."""
        self.execute(f"delete from {table}")
        if not rows:
            return
        if self.name == "duckdb":
            content = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
            given = pa.table({name: pa.array(_plain(values)) for name, values in content.items()})
            self._connection.register("given", given)
            self._connection.execute(f"insert into {table} by name select * from given")
            self._connection.unregister("given")
            return
        text = "".join("\t".join(map(_copied, row)) + "\n" for row in rows)
        with self._connection.cursor() as cursor:
            cursor.copy_expert(f"copy {table} ({', '.join(columns)}) from stdin", io.StringIO(text))


@contextmanager
def asked(project: Project) -> Iterator[Engine]:
    """A connection to what the project has built. DuckDB's clock stands in UTC, PostgreSQL's in New York."""
    if project.engine == "duckdb":
        with duckdb.connect(str(project.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield Engine(project, connection)
        return
    assert project.server is not None
    with closing(project.server.connect()) as connection:
        engine = Engine(project, connection)
        engine.execute("set search_path to main")
        yield engine


def _plain(values: list[Any]) -> list[Any]:
    """A column for Arrow: instants as text, so that the infinite ones can be."""
    return [value.isoformat() if hasattr(value, "isoformat") else value for value in values]


def _copied(value: Any) -> str:
    r"""A value in the text format of COPY: None is \N."""
    if value is None:
        return r"\N"
    if isinstance(value, list):
        return "{" + ",".join("NULL" if item is None else repr(item) for item in value) + "}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
