"""SQL of another dialect than DuckDB's: compared by its own words, whatever DuckDB would make of it."""

from __future__ import annotations

import pytest

from feature_warehouse.sql.changes import Definitions, View, judge
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import words_of

VIEW = View(
    node="v", join_keys={"k": "bigint"}, event_timestamp="at", available_at=None, deleted=None, features={"f": "bigint"}
)

#: Each would pass as a refactor of DuckDB's SQL, or does not even show there.
PAIRS = [
    ("select k, at, a + b as f from r", "select k, at, b + a as f from r"),
    ("select k, at, f from r where true", "select k, at, f from r"),
    ("select k, at, F from r", "select k, at, f from r"),
    ("select k, at, $$A$$ as f from r", "select k, at, $$a$$ as f from r"),
    ("select k, at, E'it\\'s A' as f from r", "select k, at, E'it\\'s a' as f from r"),
    ('select k, at, "abc" as f from r', 'select k, at, "ABC" as f from r'),
]


def kind(was: str, now: str, before: str, after: str) -> str:
    nodes = [{"v": Node(sql=sql, reads=(), dialect=dialect)} for sql, dialect in ((was, before), (now, after))]
    (change,) = judge(Definitions(nodes[0]), VIEW, Definitions(nodes[1]), VIEW) or [None]
    return change.kind if change else "same"


@pytest.mark.parametrize("dialect", ["postgres", "spark", "snowflake", "bigquery", "trino", "nobody_knows_it"])
@pytest.mark.parametrize(("was", "now"), PAIRS)
def test_every_change_is_a_value_change(was: str, now: str, dialect: str) -> None:
    assert kind(was, now, dialect, dialect) == "value change"
    assert kind(now, was, dialect, dialect) == "value change"


@pytest.mark.parametrize("dialect", ["postgres", "spark", "snowflake"])
def test_comments_and_lines_are_no_words(dialect: str) -> None:
    was, now = "select k, at, f from r", "-- the newest\nselect k,\n    at, /* as it was */ f\nfrom r\n"
    assert words_of(was, dialect) == words_of(now, dialect)
    assert kind(was, now, dialect, dialect) in ("refactor", "same")


def test_the_same_words_of_another_dialect_are_a_value_change() -> None:
    same = "select k, at, a / b as f from r"  # a fraction in DuckDB, a whole number in PostgreSQL
    assert kind(same, same, "", "postgres") == "value change"
    assert kind(same, same, "postgres", "spark") == "value change"


def test_the_change_is_told_without_reading_it_as_duckdb() -> None:
    nodes = [{"v": Node(sql=sql, reads=(), dialect="postgres")} for sql in PAIRS[0]]
    (change,) = judge(Definitions(nodes[0]), VIEW, Definitions(nodes[1]), VIEW)
    assert change.reasons == ("the SQL of `v` changed",)
    assert change.as_text == ("`v` is compared as text: it is SQL of postgres",)
