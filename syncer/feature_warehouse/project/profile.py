"""What a plain dbt_project.yml and profiles.yml say, read without dbt.

Importing dbt takes longer than most syncs. So where both files hold nothing but plain values and
`{{ env_var('NAME', 'default') }}`, and the profile only settings whose meaning is plain, they are read here; whatever
else there is, and whatever is wrong, is left to dbt (see `project`), which has the last word and the better words.
tests/unit/project/test_profile.py holds this against dbt's own reading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a profile: which warehouse, and how it is reached; values as in dbt's own objects."""

    adapter: str  # dbt's name of it: duckdb
    catalog: str
    schema: str
    path: str = ""  # of a DuckDB file; a relative one is relative to the current folder, as for dbt
    settings: dict[str, Any] = field(default_factory=dict)  # of every connection
    config: dict[str, Any] = field(default_factory=dict)  # of a DuckDB as it starts
    statements: tuple[str, ...] = field(default=(), repr=False)  # that load extensions and make secrets
    attached: Mapping[str, str] = field(default_factory=dict, repr=False)  # catalog: the statement, for reading
    unknown: tuple[str, ...] = ()  # settings of the profile that dbt alone makes use of
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)  # of any other warehouse; with secrets in it

    @property
    def dialect(self) -> str:
        """The adapter whose SQL is compared by its words; "" for DuckDB, whose SQL is understood."""
        return "" if self.adapter == "duckdb" else self.adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target of a dbt project, as far as reading its warehouse goes; values as in dbt's own objects."""

    project: str
    target: str
    target_path: str
    model_paths: tuple[str, ...]
    macro_paths: tuple[str, ...]
    output: Output
    variables: dict[str, Any] = field(default_factory=dict)


class _NotPlainError(Exception):
    """dbt has to read this."""


def plain_target(folder: Path, profiles_folder: Path, target: str | None) -> Target | None:
    """The target of the project in ``folder``, by default the profile's; None when only dbt can tell, or refuse."""
    try:
        project = _yaml(folder / "dbt_project.yml")
        profile = _mapping(_yaml(profiles_folder / "profiles.yml").get(_text(project.get("profile"))))
        name = _text(profile.get("target")) if target is None else target
        return _target(project, name, _mapping(_mapping(profile.get("outputs")).get(name)))
    except (_NotPlainError, ImportError, OSError, ValueError):
        return None


#: Paths of the project that are read here. dbt knows older names of them.
_PATHS = ("model-paths", "macro-paths", "target-path")

#: What a project may be called without dbt having a word to say.
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)

#: Paths of DuckDB files that are no URL, and from which the catalog's name follows as it does for dbt-duckdb.
_FILE = re.compile(r"[\w./-]+", re.ASCII)

#: The settings of a DuckDB target that a reader can take or leave; any other means something that dbt must say.
_KNOWN: dict[str, type] = {
    "type": str,
    "path": str,
    "schema": str,
    "threads": int,
    "settings": dict,
    "keep_open": bool,
    "retries": dict,
}


#: The same of a PostgreSQL target; those without which there is none; and what the syncer logs in by.
_KNOWN_POSTGRES: dict[str, type] = {
    **dict.fromkeys(("type", "host", "user", "password", "pass", "dbname", "database", "schema", "role"), str),
    **dict.fromkeys(("search_path", "sslmode", "sslcert", "sslkey", "sslrootcert", "application_name"), str),
    **dict.fromkeys(("port", "threads", "connect_timeout", "keepalives_idle", "retries"), int),
}
_LOGIN: tuple[str, ...] = (
    *("host", "port", "user", "password", "database", "connect_timeout", "role", "search_path", "keepalives_idle"),
    *("sslmode", "sslcert", "sslkey", "sslrootcert"),
)


def login_of(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """What dbt-postgres logs in by, of all that its credentials say."""
    return {name: credentials[name] for name in _LOGIN if credentials.get(name) is not None}


def _postgres(output: Mapping[str, Any]) -> Output:
    _check(all(type(value) is _KNOWN_POSTGRES.get(key) for key, value in output.items()))
    given = {"password": output.get("pass"), "database": output.get("dbname"), **output}
    login: dict[str, Any] = {"connect_timeout": 10, "keepalives_idle": 0}
    for name in _LOGIN:
        if (value := given.get(name)) is not None:
            login[name] = value if isinstance(value, int) else _text(value, secret=name == "password")
    _check({"host", "port", "user", "password", "database"} <= login.keys())
    schema = _text(output.get("schema"))
    return Output(adapter="postgres", catalog=login["database"], schema=schema, login=login_of(login))


def _duckdb(output: Mapping[str, Any]) -> Output:
    _check(all(type(value) is _KNOWN.get(key) for key, value in output.items()))
    path = _text(output.get("path"))
    catalog = path.rpartition("/")[2].partition(".")[0]
    _check(bool(_FILE.fullmatch(path) and catalog))
    return Output(
        adapter="duckdb",
        catalog=catalog,
        schema=_text(output.get("schema", "main")),
        path=path,
        settings={_text(key): _value(value) for key, value in output.get("settings", {}).items()},
    )


def _target(project: Mapping[str, Any], name: str, output: Mapping[str, Any]) -> Target:
    spelled = {key.replace("_", "-"): key for key in project}
    _check("source-paths" not in spelled and all(spelled.get(key, key) == key for key in _PATHS))
    project_name, adapter = _text(project.get("name")), _text(output.get("type"))
    _check(bool(_NAME.fullmatch(project_name)) and adapter in ("duckdb", "postgres"))
    return Target(
        project=project_name,
        target=name,
        target_path=os.environ.get("DBT_TARGET_PATH") or _text(project.get("target-path", "target")),
        model_paths=_texts(project.get("model-paths", ["models"])),
        macro_paths=_texts(project.get("macro-paths", ["macros"])),
        output=_duckdb(output) if adapter == "duckdb" else _postgres(output),
        variables=_mapping(project.get("vars", {})),
    )


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]  # comes with dbt

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        raise _NotPlainError from None
    return _mapping(content)


#: What Jinja would take for its own, or take away: a last line's end.
_JINJA = re.compile(r"{[{%#]|[%#}]}|\n|\r")
_ENVIRONMENT = re.compile(r"""\{\{ *env_var\( *(['"])(\w+)\1 *(?:, *(['"])([^'"\\{}\r\n]*)\3 *)?\) *\}\}""", re.ASCII)

#: Such variables dbt treats on their own.
_SECRET = "DBT_ENV_SECRET"


def _text(value: object, *, secret: bool = False) -> str:
    """A string as dbt renders it; ``secret``: it may come from the environment's secrets."""
    _check(isinstance(value, str))
    text = str(value)
    _check(not _JINJA.search(_ENVIRONMENT.sub("", text)))
    _check(secret or not any(_SECRET in match[2] for match in _ENVIRONMENT.finditer(text)))
    return _ENVIRONMENT.sub(_variable, text)


def _variable(match: re.Match[str]) -> str:
    value = os.environ.get(match[2], match[4])
    _check(value is not None)
    return str(value)


def _value(value: object) -> object:
    return value if isinstance(value, (bool, int, float)) else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    _check(isinstance(value, list))
    return tuple(_text(item) for item in value) if isinstance(value, list) else ()


def _mapping(value: object) -> dict[str, Any]:
    _check(isinstance(value, dict) and all(isinstance(key, str) for key in value))
    return value if isinstance(value, dict) else {}


def _check(plain: bool) -> None:
    if not plain:
        raise _NotPlainError
