"""Settled histories: in any order of arrival they are what one full refresh makes, and joins give the oracle's rows.

One that was made of other rows than the view has now is never read.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse.errors import WarehouseError
from feature_warehouse.training.historical import get_historical_features
from feature_warehouse.training.provenance import read_manifest
from tests.integration.macros import test_point_in_time as plain
from tests.integration.macros.test_point_in_time import COLUMNS, histories, labels, shown, written
from tests.support.projects import Project

HISTORY = "select " + ", ".join(f"null::{type_} as {name}" for name, type_ in COLUMNS.items()) + " where false"

VIEWS = {name: plain.VIEWS[name] for name in ("accounts", "waived", "delayed")}

VIEW = plain.VIEW.replace("event_timestamp: event_at,", "event_timestamp: event_at, settled: settled_{name},")

#: {key} is what it is called in the test; K stands where an instant comes.
JOINS = {"settled_True": (True, None), "settled_False": (False, None), "settled_known": (True, "2026-01-01T02:00:00Z")}

#: point_in_time_join without its demand that a history is proven to grow alone.
MACRO = """
{% macro joined(views, labels, equal, known_as_of) %}
    {% set reads = [] %}
    {% for read in feature_warehouse._feature_reads(views, none, 'test') %}
        {% do reads.append(dict(read, settled=feature_warehouse._settled(read.view, 'test'))) %}
    {% endfor %}
    {{ return(feature_warehouse.duckdb__point_in_time_select(
        spine=labels, spine_columns=['label_id', 'k', 'region', 'asked_at', 'note'], spine_timestamp='asked_at',
        reads=reads, on_demand=none, allow_equal=equal, known_as_of=known_as_of
    )) }}
{% endmacro %}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    views = ", ".join(plain.ITEM.format(name=name) for name in VIEWS)
    columns = "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, type_ in COLUMNS.items())
    files = {f"models/{name}_v1.sql": HISTORY for name in VIEWS}
    files |= {
        f"models/settled_{name}.sql": f"{{{{ feature_warehouse.settled_history(ref('{name}', v=1)) }}}}"
        for name in VIEWS
    }
    files["models/views.yml"] = "models:" + "".join(
        VIEW.format(name=name, meta=view[0], columns=columns, indexes=[]) for name, view in VIEWS.items()
    )
    files["models/labels.sql"] = (
        "{{ config(materialized='table') }} select 1::bigint as label_id, 'a' as k, 1::integer as region, "
        "timestamptz '2026-01-01' as asked_at, 'x' as note where false"
    )
    files["macros/joined.sql"] = MACRO
    named = "".join(f"-- depends_on: {{{{ ref('settled_{name}') }}}}\n" for name in VIEWS)
    for name, (equal, known_as_of) in JOINS.items():
        call = f"joined([{views}], ref('labels'), {str(equal).lower()}, {known_as_of!r})".replace("None", "none")
        files[f"models/{name}.sql"] = named + "{% set sql = " + call + " if execute else 'select 1' %}{{ sql }}"
        files[f"models/{name}.sql"] += f"{{# {views} #}}" + "".join(
            f"\n-- depends_on: {{{{ ref('{v}', v=1) }}}}" for v in VIEWS
        )
        files[f"models/{name}.sql"] += "\n-- depends_on: {{ ref('labels') }}\n"
    made = Project(tmp_path_factory.mktemp("shop"), files)
    made.dbt("run")
    return made


class Settling:
    """What dbt does in a first and in every later run of a settled history, as it did it itself, without dbt."""

    def __init__(self, project: Project) -> None:
        self.first = {name: project.compiled(f"settled_{name}") for name in VIEWS}
        with duckdb.connect(str(project.database)) as connection:  # for an incremental run something must stand there
            connection.execute("set TimeZone = 'UTC'")
        project.dbt("run", "--select", "settled_*")
        self.later = {name: project.compiled(f"settled_{name}") for name in VIEWS}
        self.merge = {}
        for name in VIEWS:
            (path,) = (project.folder / "target" / "run").rglob(f"settled_{name}.sql")
            sql = path.read_text()
            (temporary,) = re.findall(r"USING (\S+) AS DBT_INTERNAL_SOURCE", sql)
            self.merge[name] = sql.replace(temporary, "__new")

    def anew(self, connection: Any, name: str, table: str) -> None:
        connection.execute(f"create or replace table {table} as {self.first[name]}").fetchall()

    def on(self, connection: Any, name: str) -> None:
        connection.execute(f"create or replace temp table __new as {self.later[name]}").fetchall()
        connection.execute(self.merge[name]).fetchall()


@pytest.fixture(scope="module")
def settling(project: Project) -> Settling:
    return Settling(project)


@pytest.fixture(scope="module")
def connection(project: Project, settling: Settling) -> Any:
    with duckdb.connect(str(project.database)) as made:
        made.execute("set TimeZone = 'UTC'")
        yield made


def content(connection: Any, table: str) -> list[tuple[Any, ...]]:
    rows = connection.execute(f"select * exclude (__id) from {table}").fetchall()
    return sorted((tuple(map(shown, row)) for row in rows), key=repr)


def load(connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Replaces the rows of ``table``; instants go in as text, so that the infinite ones can."""
    texts = [[v.isoformat() if isinstance(v, datetime) else v for v in map(written, row)] for row in rows]
    content = {name: pa.array([row[i] for row in texts]) for i, name in enumerate(columns)}
    connection.register("given", pa.table(content))
    connection.execute(f"delete from {table}; insert into {table} select * from given").fetchall()
    connection.unregister("given")


def complete(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with all columns, each with values of its own."""
    return [
        {
            "k": row["key"][0],
            "region": row["key"][1],
            "event_at": row["event_at"],
            "known_at": row["known_at"],
            "amount": row["amount"],
            "price": i / 4 if row["amount"] is not None else None,
            "recent": [[float(i), 0.0], None, []][i % 3],
            "score": [-0.0, 0.0, math.nan, -math.inf, i / 3, None][i % 6],
            "gone": row["gone"],
        }
        for i, row in enumerate(history)
    ]


def arrive(connection: Any, settling: Settling, states: Sequence[list[dict[str, Any]]]) -> None:
    """The views in one state after the other, and settled in each."""
    for i, state in enumerate(states):
        for view in VIEWS:
            load(connection, f"{view}_v1", list(COLUMNS), [tuple(row.values()) for row in plain.view_rows(state, view)])
            if i == 0:
                settling.anew(connection, view, f"settled_{view}")
            else:
                settling.on(connection, view)


def assert_settled(project: Project, connection: Any, settling: Settling, spine: list[Any], loaded: list[Any]) -> None:
    for view in VIEWS:
        settling.anew(connection, view, "__whole")
        assert content(connection, f"settled_{view}") == content(connection, "__whole"), view
        (ids,) = connection.execute(f"select count(*), count(distinct __id) from settled_{view}").fetchall()
        assert ids[0] == ids[1], view
    asked = [(i // 2, *key, at, "n") for i, (key, at) in enumerate(spine)]
    load(connection, "labels", ["label_id", "k", "region", "asked_at", "note"], asked)
    for name, (equal, known_as_of) in JOINS.items():
        until = datetime.fromisoformat(known_as_of) if known_as_of else None
        found = connection.execute(project.compiled(name)).fetchall()
        expected = []
        known = {
            view: plain.by_key(
                [
                    row
                    for row in plain.view_rows(loaded, view)
                    if until is None or (at := row["known_at" if VIEWS[view][3] else "event_at"]) is None or at <= until
                ]
            )
            for view in VIEWS
        }
        for i, (key, at) in enumerate(spine):
            row: list[Any] = [i // 2, *key, at, "n"]
            for view in VIEWS:
                row += plain.features(plain.known_row(known[view].get(key, []), key, at, view, strict=not equal))
            expected.append(tuple(row))
        assert sorted((tuple(map(shown, row)) for row in found), key=repr) == sorted(expected, key=repr), name


def in_any_order(history: list[Any], draw: random.Random, *, steps: int) -> list[list[Any]]:
    """States of a table: rows come in any order, some go again, some are rewritten; the last state is the history."""
    came = [draw.randrange(steps) for _ in history]
    states = []
    for step in range(steps):
        state = [row for row, at in zip(history, came, strict=True) if at <= step]
        if step < steps - 1:
            other: dict[str, Any] = {"amount": 7, "score": draw.choice([0.0, -0.0]), "gone": True}
            state = [row | other if draw.random() < 0.1 else row for row in state if draw.random() > 0.1]
        states.append(state)
    return states


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, spine=labels, draw=st.randoms(use_true_random=False))
def test_any_order_of_arrival_settles_to_the_oracle(
    project: Project, connection: Any, settling: Settling, history: list[Any], spine: list[Any], draw: random.Random
) -> None:
    rows = complete(history)
    arrive(connection, settling, in_any_order(rows, draw, steps=3))
    assert_settled(project, connection, settling, spine, rows)


@pytest.mark.parametrize("seed", [0])
def test_thousands_of_cases_settle_to_the_oracle(
    project: Project, connection: Any, settling: Settling, seed: int
) -> None:
    history, spine = plain.thousands_of_cases(random.Random(seed))
    rows = complete(history)
    arrive(connection, settling, in_any_order(rows, random.Random(seed), steps=6))
    assert_settled(project, connection, settling, spine, rows)


# --- what is stale ----------------------------------------------------------------------------------------------------

ANEW = "create or replace table delayed_v1 as select * replace ({}) from delayed_v1"

#: What happens to a view after its history was settled.
CHANGES = {
    "a row more": (
        "insert into delayed_v1 select * replace (known_at + interval '1 day' as known_at) from delayed_v1 limit 1"
    ),
    "a row less": "delete from delayed_v1 where amount = 3",
    "another value": "update delayed_v1 set amount = 4 where amount = 3",
    "a value lost": "update delayed_v1 set amount = null where amount = 3",
    "values of two rows exchanged": "update delayed_v1 set amount = 7 - amount where amount in (3, 4)",
    "another instant": "update delayed_v1 set known_at = known_at + interval '1 microsecond' where amount = 3",
    "another key": "update delayed_v1 set k = 'c' where amount = 3",
    "another sign of zero": ANEW.format("case when score = 0 then -score else score end as score"),
    "an empty list for none": "update delayed_v1 set recent = [] where recent is null",
    "a full refresh with other values": ANEW.format("amount + 1 as amount"),
    "the settled rows of another view": "create or replace table settled_delayed as from settled_accounts",
    "nothing in it": "delete from delayed_v1",
    "nothing recorded": "delete from settled_delayed where __row_count is not null",
}


@pytest.fixture
def settled_rows(connection: Any, settling: Settling) -> Any:
    """Twenty rows in each view, settled; the tables are as before afterwards."""
    draw = random.Random(1)
    keys = [("a", 1), ("b", 1)]
    rows = [
        {
            "key": keys[i % 2],
            "event_at": plain.START + timedelta(hours=i),
            "known_at": plain.START + timedelta(hours=i + draw.choice([-3, 0, 0, 5])),
            "amount": i,
            "gone": None,
        }
        for i in range(20)
    ]
    arrive(connection, settling, [complete(rows)])
    load(connection, "labels", ["label_id", "k", "region", "asked_at", "note"], [(1, "a", 1, plain.START, "n")])
    connection.execute("begin").fetchall()
    yield
    connection.execute("rollback").fetchall()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("settled_rows")
def test_a_settled_history_of_other_rows_is_refused(project: Project, connection: Any, change: str) -> None:
    join = project.compiled("settled_True")
    assert connection.execute(join).fetchall()
    connection.execute(CHANGES[change]).fetchall()
    with pytest.raises(duckdb.Error, match="settled_delayed was not made of the rows that delayed"):
        connection.execute(join).fetchall()


@pytest.mark.usefixtures("settled_rows")
def test_what_a_join_does_not_read_it_does_not_check(project: Project, connection: Any) -> None:
    connection.execute("update delayed_v1 set gone = true").fetchall()
    assert connection.execute(project.compiled("settled_True")).fetchall()


# --- with dbt and syncer themselves -----------------------------------------------------------------------------------


def test_runs_of_dbt_keep_it_and_training_sets_read_it(
    project: Project, connection: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history, spine = plain.thousands_of_cases(random.Random(5))
    rows = complete(history)
    connection.close()
    for state in in_any_order(rows, random.Random(5), steps=2):
        with duckdb.connect(str(project.database)) as between:
            between.execute("set TimeZone = 'UTC'").fetchall()
            for view in VIEWS:
                values = [tuple(row.values()) for row in plain.view_rows(state, view)]
                load(between, f"{view}_v1", list(COLUMNS), values)
            spine_rows = [(i, *key, at, "n") for i, (key, at) in enumerate(spine) if at is not None]
            load(between, "labels", ["label_id", "k", "region", "asked_at", "note"], spine_rows)
        project.dbt("run", "--select", "settled_accounts settled_waived settled_delayed settled_True")

    def table() -> list[tuple[Any, ...]]:
        with duckdb.connect(str(project.database)) as between:
            between.execute("set TimeZone = 'UTC'").fetchall()
            found = between.execute("from settled_True").fetchall()
        return sorted((tuple(map(shown, row)) for row in found), key=repr)

    settled = table()
    assert "settled_delayed" in project.compiled("settled_True").split("with", 1)[1]
    project.dbt("run", "--select", "settled_True", "--vars", "{feature_warehouse_settled: false}")
    assert "settled_delayed" not in project.compiled("settled_True").split("with", 1)[1]
    assert table() == settled

    asked: Any = {"timestamp": "asked_at", "project_dir": project.folder, "profiles_dir": project.folder}

    def training_set(name: str) -> tuple[str, str | None]:
        rows = get_historical_features("labels", ["delayed.v1"], **asked)
        rows.to_parquet(tmp_path / name)
        manifest = read_manifest(tmp_path / f"{name}.manifest.json")
        return manifest.content.hash, manifest.views[0].settled

    content, named = training_set("settled.parquet")
    assert named == "settled_delayed"
    with duckdb.connect(str(project.database)) as between:
        between.execute("update delayed_v1 set amount = 5 where amount = 0").fetchall()
    with pytest.raises(WarehouseError, match="settled_delayed was not made of the rows that delayed"):
        training_set("stale.parquet")
    with duckdb.connect(str(project.database)) as between:
        between.execute("update delayed_v1 set amount = 0 where amount = 5; drop table settled_delayed").fetchall()
    assert training_set("missing.parquet") == (content, None)
    assert "delayed.v1 is joined without its settled history" in caplog.text
