"""The changes of features against an oracle that looks at every instant and at the microsecond before it."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from feature_warehouse.errors import ProjectError, RequestError
from feature_warehouse.project.compiling import compile_sql
from feature_warehouse.project.project import ProjectOptions, load_project
from feature_warehouse.training.changes import get_feature_changes
from feature_warehouse.training.historical import get_historical_features
from tests.support.projects import Project

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TICK = timedelta(microseconds=1)

COLUMNS = {
    "k": "varchar",
    "region": "integer",
    "event_at": "timestamptz",
    "known_at": "timestamptz",
    "gone": "boolean",
    "amount": "bigint",
    "recent": "double[]",
}

#: name -> (metadata, ttl, availability counts, tombstones count)
VIEWS: dict[str, tuple[str, timedelta | None, bool, bool]] = {
    "orders": ("available_at: known_at, ttl: 40 minutes", timedelta(minutes=40), True, False),
    "accounts": ("available_at: known_at, deleted: gone, ttl: 50 minutes", timedelta(minutes=50), True, True),
    "visits": ("available_at: known_at, sync_delay: 30 minutes", None, True, False),
    "waived": ("available_at: none, ttl: 30 minutes", timedelta(minutes=30), False, False),
}

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      materialized: table
      meta: {{feature_view: {{entity: customer, join_keys: [k, region], event_timestamp: event_at, {meta}}}}}
    columns:
{columns}
    versions: [{{v: 1}}]
"""

SERVICE = """
exposures:
  - name: gifts_v1
    type: ml
    owner: {name: growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)", "ref('waived', v=1)"]
    config: {meta: {feature_service: {name: gifts, version: 1, features: [
      {view: orders.v1, features: [amount], keys: {k: giver}, prefix: giver_},
      {view: orders.v1, features: [amount], keys: {k: taker}, prefix: taker_},
      {view: waived.v1, features: [recent], keys: {k: taker}}]}}}
"""

CHANGES = """
{{{{ feature_warehouse.feature_changes(feature_views=[{view}], start='{start}', end='{end}') }}}}
"""

SINCE, UNTIL = START + timedelta(minutes=60), START + timedelta(minutes=200)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    columns = "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, type_ in COLUMNS.items())
    empty = "select " + ", ".join(f"null::{type_} as {name}" for name, type_ in COLUMNS.items()) + " where false"
    files = {"models/services.yml": SERVICE}
    files["models/views.yml"] = "models:" + "".join(
        VIEW.format(name=name, meta=view[0], columns=columns) for name, view in VIEWS.items()
    )
    for name in VIEWS:
        ref = "{'view': ref('" + name + "', v=1), 'features': ['amount', 'recent']}"
        files[f"models/{name}_v1.sql"] = empty
        files[f"models/changes_of_{name}.sql"] = CHANGES.format(
            view=ref, start=SINCE.isoformat(), end=UNTIL.isoformat()
        )
    made = Project(tmp_path_factory.mktemp("changes"), files)
    made.dbt("build")
    return made


def drawn(seed: int) -> list[dict[str, Any]]:
    """A dense history: ties, late and forward-dated rows, repeated and NULL values, microseconds at every edge."""
    draw = random.Random(seed)

    def moment() -> datetime | None:
        shift = timedelta(minutes=10 * draw.randrange(25), microseconds=draw.choice([0, 0, 0, -1, 1]))
        return None if draw.random() < 0.03 else START + shift

    rows: dict[Any, dict[str, Any]] = {}
    for _ in range(draw.choice([15, 60])):
        key = draw.choice([("a", 1), ("a", 2), ("b", 1), ("a", None), (None, 1)])
        row: dict[str, Any] = {"k": key[0], "region": key[1], "event_at": moment(), "known_at": moment()}
        row |= {"gone": draw.choice([None, False, False, True]), "amount": draw.choice([None, None, 0, 2**53 + 1])}
        row |= {"recent": draw.choice([None, None, [], [0.5]])}
        rows[key, row["event_at"], row["known_at"]] = row
    return list(rows.values())


Values = tuple[Any, Any]


def known_row(history: list[dict[str, Any]], key: Any, at: datetime, view: str) -> tuple[dict[str, Any] | None, str]:
    """The newest row that counts at ``at``, and whether it is a value, a deletion or an expiry."""
    _, ttl, uses_availability, uses_tombstones = VIEWS[view]
    best = None
    for row in history:
        event, known = row["event_at"], row["known_at"] if uses_availability else row["event_at"]
        if (row["k"], row["region"]) != key or None in key or event is None or known is None:
            continue
        if event <= at and known <= at and (best is None or (event, known) > best[0]):
            best = ((event, known), row)
    if best is None:
        return None, "none"
    if uses_tombstones and best[1]["gone"]:
        return best[1], "deletion"
    return best[1], "expiry" if ttl is not None and best[0][0] < at - ttl else "value"


def shown(row: dict[str, Any] | None, change: str) -> Values:
    return (row["amount"], row["recent"]) if row is not None and change == "value" else (None, None)


def expected_changes(history: list[dict[str, Any]], view: str) -> list[tuple[Any, ...]]:
    _, ttl, uses_availability, _ = VIEWS[view]
    moments = {row[name] for row in history for name in ("event_at", "known_at") if row[name] is not None}
    instants = {moment + extra for moment in moments for extra in (timedelta(0), (ttl or timedelta(0)) + TICK)}
    found = []
    for key in {(row["k"], row["region"]) for row in history}:
        for at in sorted(at for at in instants if SINCE <= at < UNTIL):
            row, change = known_row(history, key, at, view)
            before = shown(*known_row(history, key, at - TICK, view))
            if row is not None and shown(row, change) != before:
                known = row["known_at"] if uses_availability else row["event_at"]
                found.append((f"{view}.v1", *key, at, change, row["event_at"], known, *shown(row, change)))
    return sorted(found, key=repr)


def fill(connection: duckdb.DuckDBPyConnection, view: str, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Loads a history; returns the rows as loaded: without availability it is unique on key and event time."""
    if not VIEWS[view][2]:
        history = list({(row["k"], row["region"], row["event_at"]): row for row in history}.values())
    connection.execute(f"delete from {view}_v1")
    connection.register("loaded", pa.Table.from_pylist(history))
    connection.execute(f"insert into {view}_v1 by name from loaded")
    return history


@pytest.mark.parametrize("view", VIEWS)
def test_every_change_and_no_other_is_found(project: Project, view: str) -> None:
    sql = project.compiled(f"changes_of_{view}")
    changes: set[str] = set()
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for seed in range(25):
            loaded = fill(connection, view, drawn(seed))
            found = sorted(connection.execute(sql).fetchall(), key=repr)
            wanted = expected_changes(loaded, view)
            assert [tuple(map(utc, row)) for row in found] == [tuple(map(utc, row)) for row in wanted], seed
            changes.update(row[4] for row in found)
    assert changes == {"value"} | ({"expiry"} if VIEWS[view][1] else set()) | (
        {"deletion"} if VIEWS[view][3] else set()
    )


def utc(value: Any) -> Any:
    return value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else value


def test_a_service_has_its_roles_and_the_changes_make_a_spine(project: Project) -> None:
    folders: dict[str, Any] = {"project_dir": project.folder, "profiles_dir": project.folder}
    with duckdb.connect(str(project.database)) as connection:
        for view in ("orders", "waived"):
            fill(connection, view, drawn(2))
        (orders,) = (
            connection.execute(f"select count(*) from ({project.compiled('changes_of_orders')})").fetchone() or ()
        )
    found = get_feature_changes("gifts", SINCE, UNTIL, **folders).to_arrow()
    assert found.schema.names == [
        "feature_view",
        "giver",
        "region",
        "taker",
        "changed_at",
        "change",
        "event_timestamp",
        "available_at",
        "giver_amount",
        "taker_amount",
        "recent",
    ]
    rows = found.to_pylist()
    assert rows == sorted(rows, key=lambda row: row["changed_at"])
    assert {row["feature_view"] for row in rows} == {"orders.v1", "waived.v1"}
    assert all((row["giver"] is None) != (row["taker"] is None) for row in rows)
    assert 0 < sum(row["giver"] is not None for row in rows) <= orders  # fewer features change less often
    spine = found.select(["giver", "taker", "region", "changed_at"])
    joined = get_historical_features(spine, "gifts", timestamp="changed_at", **folders).to_arrow()
    for column in ("giver_amount", "taker_amount", "recent"):
        own = [i for i, row in enumerate(rows) if (column == "giver_amount") == (row["giver"] is not None)]
        own = [i for i in own if (column == "recent") == (rows[i]["feature_view"] == "waived.v1")]
        assert own
        assert [joined.column(column)[i] for i in own] == [found.column(column)[i] for i in own]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("feature_views=[ref('orders', v=1)], start='2026-01-01', end='2026-01-02T00:00:00Z'", "start is '2026-01-01'"),
        (
            "feature_views=[ref('orders', v=1)], start='2026-01-01T00:00:00Z', end='soon'",
            "end is 'soon', which names no",
        ),
        ("feature_views=[], start='2026-01-01T00:00:00Z', end='2026-01-02T00:00:00Z'", "must be a list of ref(...)"),
        (
            "feature_views=[{'view': ref('orders', v=1), 'keys': {'k': 'change'}}], start='2026-01-01T00:00:00Z', "
            "end='2026-01-02T00:00:00Z'",
            "a column of the result is called 'change' itself",
        ),
        (
            "feature_views=[{'view': ref('orders', v=1), 'keys': {'k': 'amount'}}], start='2026-01-01T00:00:00Z', "
            "end='2026-01-02T00:00:00Z'",
            "'amount' is both a join key and a feature",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(project: Project, call: str, words: str) -> None:
    with pytest.raises(ProjectError) as refused:
        compile_sql(
            load_project(ProjectOptions(project_dir=project.folder, profiles_dir=project.folder)),
            "{{ feature_warehouse.feature_changes(" + call + ") }}",
        )
    assert "feature_changes: " in refused.value.message
    assert words in refused.value.message


def test_a_time_without_a_zone_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="names no instant"):
        get_feature_changes("gifts", datetime(2026, 1, 1), UNTIL, project_dir=project.folder)
