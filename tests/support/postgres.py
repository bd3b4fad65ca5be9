"""PostgreSQL, a real one: a server process that the tests start themselves, and databases in it.

Its files lie in a temporary folder and it listens on 127.0.0.1 alone, with a password. PostgreSQL does not run as root,
so a test that does hands it to a user without rights. Texts are ordered by their bytes, as DuckDB orders them, and the
clock of its sessions stands in New York, so that what depends on the session's zone shows.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2

HOST = "127.0.0.1"
USER, PASSWORD = "warehouse", "a pass'word/:@"  # in a URL, in SQL and in YAML it wants quotes

#: Where Debian and Ubuntu put what is not on PATH, a folder a release.
_DEBIAN = Path("/usr/lib/postgresql")

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "TimeZone": "America/New_York",
    "max_connections": "40",
    "shared_buffers": "64MB",
    # Nothing is kept.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}
_START_SECONDS = 120.0

#: Runs a server until our end of its input is closed: by ``stop``, or because we were killed.
_WHILE_WE_LIVE = '"$@" </dev/null & server=$!; cat >/dev/null; kill -QUIT $server; wait $server'


def find_programs() -> Path | None:
    """The folder with `postgres` and `initdb`: that on PATH, else Debian's newest, else None."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    with contextlib.suppress(OSError):
        releases = [folder for folder in _DEBIAN.iterdir() if folder.name.isdigit()]
        folders += [folder / "bin" for folder in sorted(releases, key=lambda folder: -int(folder.name))]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def version() -> str:
    """Which server the tests start: "PostgreSQL 15.18: /usr/lib/postgresql/15/bin"; "" where there is none."""
    programs = find_programs()
    if programs is None:
        return ""
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True).stdout
    return f"PostgreSQL {said.partition('(PostgreSQL) ')[2].split()[0]}: {programs}"


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database of the server, and who logs in."""

    port: int
    name: str
    user: str = USER
    password: str = PASSWORD

    def output(self, schema: str = "main") -> dict[str, Any]:
        """The target of a dbt profile that builds here."""
        return {
            "type": "postgres",
            "host": HOST,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
            "schema": schema,
            "threads": 1,
        }

    def connect(self) -> Any:
        """A psycopg2 connection, each statement its own transaction."""
        connection = psycopg2.connect(
            host=HOST, port=self.port, dbname=self.name, user=self.user, password=self.password
        )
        connection.autocommit = True
        return connection

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of the last statement; [] of one that has none."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []


class Postgres:
    """A server between ``start`` and ``stop``, or inside a ``with``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._made = 0

    def start(self) -> Postgres:
        programs = find_programs()
        assert programs is not None, "no PostgreSQL is installed here"
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        home = Path(self._folder.name)
        data, password, log = home / "data", home / "password", home / "log"
        password.write_text(PASSWORD)
        log.touch()
        owner = _unprivileged()
        if owner is not None:
            for path in (home, password, log):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", USER, f"--pwfile={password}", "-A", "scram-sha-256"),
                *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=home,
            **_as(owner),
        )
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [
                    *("sh", "-c", _WHILE_WE_LIVE, "sh"),
                    *(programs / "postgres", "-D", data, "-p", str(self.port)),
                    *(part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home,
                **_as(owner),
            )
        try:
            self._wait(log)
        except BaseException:
            self.stop()
            raise
        return self

    def create_database(self) -> Database:
        """A new, empty database."""
        self._made += 1
        name = f"warehouse_{self._made}"
        Database(port=self.port, name="postgres").execute(f"create database {name}")
        return Database(port=self.port, name=name)

    def stop(self) -> None:
        """Ends the server at once: nothing in it is kept."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self._process is not None
            assert self._process.poll() is None, log.read_text()
            try:
                Database(port=self.port, name="postgres").execute("select 1")
                return
            except psycopg2.OperationalError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the server where the tests run as root; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _as(owner: pwd.struct_passwd | None) -> Mapping[str, Any]:
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
