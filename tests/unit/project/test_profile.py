"""The plain reading of dbt's files is dbt's own reading, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.dbt import read_target
from feature_warehouse.project.profile import plain_target

PROJECT = {"name": "shop", "version": "1.0", "profile": "shop"}
OUTPUT = {"type": "duckdb", "path": "shop.duckdb"}


def written(folder: Path, project: dict[str, Any], output: dict[str, Any]) -> Path:
    """A folder with both files."""
    (folder / "dbt_project.yml").write_text(json.dumps(project))  # JSON is YAML
    (folder / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))
    return folder


ENVIRONMENT = {"FW_PLAIN": "plain", "FW_NUMBER": "7", "FW_JINJA": "{{ 1 }}", "DBT_ENV_SECRET_PATH": "secret.duckdb"}

#: What people write where a text is expected: plain, nearly plain, and not plain at all.
TEXTS = [
    "{{ env_var('FW_PLAIN') }}",
    '{{env_var("FW_PLAIN","x")}}',
    "a/{{ env_var('FW_UNSET', 'b c') }}.duckdb",
    "{{ env_var('FW_UNSET', '') }}x{{ env_var('FW_PLAIN') }}",
    "{{ env_var('FW_UNSET') }}",
    "{{ env_var('FW_NUMBER') }}",
    "{{ env_var('FW_NUMBER') | as_number }}",
    "{{ env_var('FW_JINJA') }}",
    "{{ env_var('DBT_ENV_SECRET_PATH') }}",
    "{{ env_var('FW_UNSET', '\\x41') }}",
    "{{- env_var('FW_PLAIN') }}",
    "{{ 'a' ~ 'b' }}",
    "{# a comment #}x",
    "{%- if true %}x{% endif %}",
    "}} {{",
    "one\n",
    "\n one",
    " one ",
    "12",
    "'quoted'",
    "True",
    "[1]",
    "",
    "md:cloud",
    "s3://bucket/x.duckdb",
    "x?y.duckdb",
    ":memory:",
    "/tmp/a.b.duckdb",
    ".hidden.duckdb",
    "..",
    "dir.d/",
    "café.duckdb",
]

#: The same for whole entries.
ENTRIES: list[tuple[str, str, list[Any]]] = [
    ("project", "name", ["2shop", "my shop", "_s", "{{ 'shop' }}"]),
    ("project", "profile", ["none", "{{ env_var('FW_UNSET', 'shop') }}", ["shop"]]),
    ("project", "model-paths", ["models", [1], ["a", "b"], None]),
    ("project", "model_paths", [["other"]]),
    ("project", "source-paths", [["old"]]),
    ("project", "source_paths", [["old"]]),
    ("project", "target_path", ["out"]),
    ("project", "vars", [None, [], {"shop": {"feature_warehouse_now": "x"}, "y": "{{ z }}"}]),
    ("output", "type", ["snowflake", "Duckdb", "{{ 'duckdb' }}", None]),
    ("output", "threads", ["2", 2, True, "{{ 1 }}"]),
    ("output", "schema", [None, 1]),
    ("output", "settings", [None, {"a": None}, {"a": [1]}, {"a": 1, "b": 1.5, "c": True}, {"{{ 'a' }}": 1}]),
    ("output", "keep_open", ["yes", False]),
    ("output", "retries", [{"connect_attempts": 6}, 3]),
    ("output", "database", ["shop", "other"]),
    ("output", "motherduck_token", ["x"]),
    ("output", "extensions", [["httpfs"]]),
    ("output", "nonsense", [1]),
]


def test_a_plain_reading_is_dbts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for text in TEXTS:
        cases += [
            ({"target-path": text}, {}),
            ({"model-paths": [text], "macro-paths": [text]}, {}),
            ({"vars": {"feature_warehouse_now": text}}, {}),
            ({}, {"path": text}),
            ({}, {"schema": text}),
            ({}, {"settings": {"TimeZone": text}}),
        ]
    cases += [
        ({key: value}, {}) if file == "project" else ({}, {key: value})
        for file, key, values in ENTRIES
        for value in values
    ]
    plain = sum(same_or_none(tmp_path, *case) for case in cases)
    assert plain > len(cases) / 3


@given(path=st.text(max_size=12), schema=st.text(max_size=12))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_read_otherwise_than_dbt_reads_it(path: str, schema: str, tmp_path: Path) -> None:
    same_or_none(tmp_path, {}, {"path": path, "schema": schema, "settings": {"s": path}})


def same_or_none(folder: Path, project: dict[str, Any], output: dict[str, Any]) -> bool:
    """Whether the files can be read without dbt; then they mean what dbt takes them for."""
    written(folder, PROJECT | project, OUTPUT | output)
    plain = plain_target(folder, folder, None)
    if plain is None:
        return False
    assert plain == read_target(folder, folder, None), (project, output)
    return True


@pytest.mark.parametrize(
    ("project", "output"),
    [
        ({}, {}),
        ({"target-path": "{{ env_var('FW_UNSET', 'out') }}"}, {"path": "{{ env_var('FW_PLAIN') }}.duckdb"}),
        (
            {
                "model-paths": ["a", "b"],
                "macro-paths": ["c"],
                "vars": {"feature_warehouse_now": "2026-01-01T00:00:00Z"},
            },
            {
                "schema": "anna",
                "threads": 4,
                "settings": {"TimeZone": "UTC", "memory_limit": "1GB", "threads": 2},
                "keep_open": False,
                "retries": {"connect_attempts": 6, "retryable_exceptions": ["IOException"]},
            },
        ),
    ],
)
def test_the_usual_files_need_no_dbt(
    project: dict[str, Any], output: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FW_PLAIN", "plain")
    folder = written(tmp_path, PROJECT | project, OUTPUT | output)
    plain = plain_target(folder, folder, None)
    assert plain is not None
    assert plain == read_target(folder, folder, None) == plain_target(folder, folder, "dev")
    assert plain_target(folder, folder, "prod") is None


POSTGRES = {
    "type": "postgres",
    "host": "127.0.0.1",
    "port": 5432,
    "user": "reader",
    "password": "{{ env_var('DBT_ENV_SECRET_PASSWORD') }}",
    "dbname": "features",
    "schema": "main",
}


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        ({}, True),
        ({"password": "a pass'word/:@"}, True),
        ({"password": "123"}, True),
        ({"threads": 4, "role": "reading", "search_path": "a, b", "sslmode": "disable", "connect_timeout": 3}, True),
        ({"host": "{{ env_var('FW_PLAIN') }}", "retries": 2, "keepalives_idle": 7}, True),
        ({"port": "{{ env_var('FW_NUMBER') | as_number }}"}, False),
        ({"user": "{{ 'me' }}"}, False),
    ],
)
def test_a_login_is_dbts_own(
    output: dict[str, Any], plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FW_PLAIN": "plain", "FW_NUMBER": "7", "DBT_ENV_SECRET_PASSWORD": "hunter2"}.items():
        monkeypatch.setenv(name, value)
    folder = written(tmp_path, PROJECT, {**POSTGRES, **output})
    found, dbts = plain_target(folder, folder, None), read_target(folder, folder, None)
    assert found == (dbts if plain else None)
    assert "hunter2" not in repr(found) + repr(dbts)
    assert dbts.output.login["password"] == output.get("password", "hunter2")


@pytest.mark.parametrize("missing", ["dbt_project.yml", "profiles.yml"])
def test_what_is_missing_or_broken_is_dbts_to_report(missing: str, tmp_path: Path) -> None:
    folder = written(tmp_path, PROJECT, OUTPUT)
    (folder / missing).write_text("name: [")
    assert plain_target(folder, folder, None) is None
    with pytest.raises(ProjectError):
        read_target(folder, folder, None)
    (folder / missing).unlink()
    assert plain_target(folder, folder, None) is None
