"""Which settings change values: every one that this DuckDB has is known, and what is recorded of a profile."""

from __future__ import annotations

import duckdb
import pytest

from feature_warehouse.errors import ProjectError
from feature_warehouse.warehouse.settings import (
    _HARMLESS_FAMILIES,
    _OTHER_NAMES,
    DECIDING,
    HARMLESS,
    changed_settings,
    deciding_settings,
)


def test_every_setting_of_duckdb_is_in_one_of_the_lists() -> None:
    names = {name.lower() for (name,) in duckdb.execute("select name from duckdb_settings()").fetchall()}
    names -= {name for name in names if name.startswith(_HARMLESS_FAMILIES)}
    assert names - _OTHER_NAMES.keys() <= DECIDING | HARMLESS
    assert not DECIDING & HARMLESS


#: (setting, a value that is not DuckDB's own, a query that gives another value with it)
CHANGES = [
    ("integer_division", "true", "select 1 / 2"),
    ("default_null_order", "'nulls_first'", "select list(x order by x) from (values (1), (null)) t(x)"),
    ("default_order", "'desc'", "select list(x order by x) from (values (1), (2)) t(x)"),
    ("default_collation", "'nocase'", "select 'a' = 'A'"),
    ("ieee_floating_point_ops", "false", "select 1.0::double / 0"),
    ("timezone", "'America/New_York'", "select timestamptz '2026-01-01 00:00:00+00'::date"),
    ("scalar_subquery_error_on_multiple_rows", "false", "select (select x from (values (1), (2)) t(x)) is not null"),
]


@pytest.mark.parametrize(("setting", "value", "query"), CHANGES, ids=[setting for setting, *_ in CHANGES])
def test_what_changes_a_value_is_in_the_list_that_decides(setting: str, value: str, query: str) -> None:
    def answer(*before: str) -> object:
        with duckdb.connect() as connection:
            for statement in ("set timezone = 'UTC'", *before):
                connection.execute(statement)
            try:
                return repr(connection.execute(query).fetchall())
            except duckdb.Error:
                return "refused"

    assert answer() != answer(f"set {setting} = {value}")
    assert setting in DECIDING


def test_what_decides_is_recorded_by_one_name_and_as_one_text() -> None:
    given = {"TimeZone": "UTC", "Integer_Division": True, "null_order": "nulls_first", "threads": 4, "s3_region": "eu"}
    assert deciding_settings(given) == {
        "default_null_order": "nulls_first",
        "integer_division": "true",
        "timezone": "UTC",
    }


def test_a_setting_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ProjectError, match="makes the setting 'Rounding_Mode'") as refused:
        deciding_settings({"Rounding_Mode": "up"})
    assert "take it out" in refused.value.hint


def test_changes_are_said_both_ways() -> None:
    assert changed_settings({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == [
        "the setting a: 1 -> none",
        "the setting b: 2 -> 3",
        "the setting c: none -> 4",
    ]
