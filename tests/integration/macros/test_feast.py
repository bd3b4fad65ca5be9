"""The point-in-time join beside Feast's DuckDB store, on many generated datasets: not one row may differ unexplained.

docs/reference/feast.md lists the differences; test_feast_differences.py holds an example of each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.feast import Feast, Read
from tests.support.projects import Project

Row = dict[str, Any]

#: feature -> (dbt type, Arrow type): those that both sides know
FEATURES = {
    "amount": ("bigint", pa.int64()),
    "pieces": ("integer", pa.int32()),
    "weight": ("double", pa.float64()),
    "ratio": ("float", pa.float32()),
    "price": ("decimal(18,4)", pa.decimal128(18, 4)),
    "note": ("varchar", pa.string()),
    "raw": ("blob", pa.binary()),
    "flag": ("boolean", pa.bool_()),
    "seen_at": ("timestamptz", pa.timestamp("us", tz="UTC")),
    "recent": ("double[]", pa.list_(pa.float64())),
}

KEYS = {"customer": ("varchar", pa.string()), "region": ("integer", pa.int32()), "device": ("bigint", pa.int64())}

TIMES = {name: ("timestamptz", pa.timestamp("us", tz="UTC")) for name in ("event_at", "known_at")}

HISTORY = KEYS | TIMES | FEATURES

LABELS = {
    "label_id": ("bigint", pa.int64()),
    **KEYS,
    "friend": ("varchar", pa.string()),
    "friend_region": ("integer", pa.int32()),
    "asked_at": ("timestamptz", pa.timestamp("us", tz="UTC")),
    "remark": ("varchar", pa.string()),
}

#: One revision an event: what is left of a history when nobody asks when a row became known.
LAST_REVISIONS = """
select * from {{ ref('history') }}
qualify row_number() over (
    partition by customer, region, device, event_at order by known_at desc nulls last
) = 1
"""

ORDER_KEYS = ["customer", "region"]

#: view -> (its history, join keys, ttl in minutes, availability)
VIEWS: dict[str, tuple[str, list[str], int, str]] = {
    "orders": ("history", ORDER_KEYS, 60, "known_at"),
    "visits": ("history", ORDER_KEYS, 0, "known_at"),
    "devices": ("history", ["device"], 15, "known_at"),
    "waived": ("last_revisions", ORDER_KEYS, 90, "none"),
}

#: prefix -> (view, join key -> column of the labels where the names differ, features)
READS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "orders": ("orders", {}, list(FEATURES)),
    "friends": ("orders", {"customer": "friend", "region": "friend_region"}, ["amount", "price"]),
    "visits": ("visits", {}, ["pieces", "note"]),
    "devices": ("devices", {}, ["pieces", "seen_at"]),
    "waived": ("waived", {}, ["pieces", "recent"]),
}

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta: {{feature_view: {{entity: {name}, join_keys: {keys}, event_timestamp: event_at, {meta}}}}}
    columns:
{columns}
    versions: [{{v: 1}}]
"""

JOIN = """
{{{{ feature_warehouse.point_in_time_join(
    spine=ref('labels'), spine_timestamp='asked_at', feature_views=[{views}]
) }}}}
"""


def null_rows(columns: dict[str, tuple[str, Any]]) -> str:
    nulls = ", ".join(f"null::{type_} as {name}" for name, (type_, _) in columns.items())
    return "{{ config(materialized='table') }} select " + nulls + " where false"


def arrow(rows: Sequence[Row], columns: dict[str, tuple[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema([(name, type_) for name, (_, type_) in columns.items()]))


@pytest.fixture(scope="module")
def project(feast: Feast, tmp_path_factory: pytest.TempPathFactory) -> Project:  # Feast starts while dbt runs
    """Each view twice: as it is, and as Feast reads it by default, the last revision of each event, known at once."""
    columns = "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, (type_, _) in HISTORY.items())
    files = {"models/history.sql": null_rows(HISTORY), "models/labels.sql": null_rows(LABELS)}
    files["models/last_revisions.sql"] = LAST_REVISIONS
    described = []
    for name, (history, keys, minutes, available) in VIEWS.items():
        ttl = f", ttl: {minutes} minutes" if minutes else ""
        for model, source, availability in ((name, history, available), (f"{name}_by_event", "last_revisions", "none")):
            files[f"models/{model}_v1.sql"] = f"select * from {{{{ ref('{source}') }}}}"
            described.append(
                VIEW.format(name=model, keys=keys, meta=f"available_at: {availability}{ttl}", columns=columns)
            )
    files["models/views.yml"] = "models:" + "".join(described)
    for model, suffix in (("known", ""), ("by_event", "_by_event")):
        views = ", ".join(
            f"{{'view': ref('{view}{suffix}', v=1), 'prefix': '{name}__', 'keys': {keys}, 'features': {features}}}"
            for name, (view, keys, features) in READS.items()
        )
        files[f"models/{model}.sql"] = JOIN.format(views=views)
    made = Project(tmp_path_factory.mktemp("shop"), files)
    made.dbt("run")
    return made


@pytest.fixture(scope="module")
def connection(project: Project) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(project.database)) as made:
        made.execute("set TimeZone = 'UTC'")
        yield made


# --- many datasets ----------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

# Two devices that differ by one where floats no longer do, upper and lower case, and NULL in each key.
ENTITIES = [
    ("a", 1, 2**53),
    ("a", 2, 2**53 + 1),
    ("A", 1, -(2**63)),
    ("", 0, 2**63 - 1),
    ("a", None, 0),
    (None, 1, None),
]

AMOUNTS = [None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]


def moment(steps: int, microseconds: int) -> datetime:
    return START + timedelta(minutes=15 * steps, microseconds=microseconds)


def history_row(entity: tuple[Any, Any, Any], event_at: Any, known_at: Any, number: int) -> Row:
    """A history row with values that no other row has, and NULLs in some."""
    row = {
        **dict(zip(KEYS, entity, strict=True)),
        "event_at": event_at,
        "known_at": known_at,
        "amount": AMOUNTS[number % 6] if number % 3 else number,
        "pieces": number,
        "weight": [None, number / 7, float("inf"), -0.0][number % 4],
        "ratio": None if number % 5 == 0 else number / 4,
        "price": Decimal(number) / 16 if number % 2 else None,
        "note": [None, "", f"n{number}", "ünïcode"][number % 4],
        "raw": None if number % 3 else bytes([number % 256, 0]),
        "flag": [None, True, False][number % 3],
        "seen_at": None if number % 4 else moment(number, 1),
        "recent": None if number % 4 == 1 else [float(number)] * (number % 3),
    }
    assert row.keys() == HISTORY.keys()
    return row


def label_row(entity: tuple[Any, Any, Any], friend: tuple[Any, Any, Any], asked_at: Any, number: int) -> Row:
    return {
        "label_id": number // 2,  # in pairs, so that some labels are there twice
        **dict(zip(KEYS, entity, strict=True)),
        "friend": friend[0],
        "friend_region": friend[1],
        "asked_at": asked_at,
        "remark": None if number % 3 else f"r{number // 2}",
    }


def dense(seed: int) -> tuple[list[Row], list[Row]]:
    """Hundreds of rows on a few moments: ties, late and early facts and the exact ends of a ttl are the rule."""
    draw = random.Random(seed)

    def time() -> datetime | None:
        return None if draw.random() < 0.03 else moment(draw.randrange(17), draw.choice([0, 0, 0, 0, -1, 1]))

    revisions = {}
    for number in range(draw.choice([0, 30, 300, 600])):
        row = history_row(draw.choice(ENTITIES), time(), time(), number)
        revisions[row["device"], row["event_at"], row["known_at"]] = row
    labels = [label_row(draw.choice(ENTITIES), draw.choice(ENTITIES), time(), n) for n in range(400)]
    draw.shuffle(labels)
    return list(revisions.values()), labels + labels[:20]


moments = st.builds(moment, st.integers(0, 16), st.sampled_from([0, 0, 0, 0, -1, 1]))
times = moments | moments | st.none()
entities = st.sampled_from(ENTITIES[:2] + ENTITIES)
histories = st.lists(
    st.builds(history_row, entities, times, times, st.integers(0, 999)),
    max_size=25,
    unique_by=lambda row: (row["device"], row["event_at"], row["known_at"]),
)
labellings = st.lists(st.builds(label_row, entities, entities, times, st.integers(0, 9)), max_size=25)


class Both:
    """One dataset on both sides."""

    def __init__(self, feast: Feast, project: Project, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self.feast, self.project, self.connection, self.folder = feast, project, connection, folder
        self.datasets = 0

    def load(self, history: Sequence[Row], labels: Sequence[Row]) -> None:
        self.labels = arrow(labels, LABELS)
        for name, table in (("history", arrow(history, HISTORY)), ("labels", self.labels)):
            self.connection.execute(f"delete from {name}")
            self.connection.register("given", table)
            self.connection.execute(f"insert into {name} select * from given")
            self.connection.unregister("given")
        # New files each time: what Feast's own DuckDB may remember of a file cannot matter.
        self.datasets += 1
        for name in ("history", "last_revisions"):
            table = self.connection.sql(f"select * from {name}").to_arrow_table()
            pq.write_table(table, self.folder / f"{name}_{self.datasets}.parquet")

    def theirs(self, *, filter_by_created_timestamp: bool) -> pa.Table:
        reads = []
        for name, (view, renamed, features) in READS.items():
            history, keys, minutes, available = VIEWS[view]
            read = Read(
                name=name,
                history=str(self.folder / f"{history}_{self.datasets}.parquet"),
                keys={key: renamed.get(key, key) for key in keys},
                features=tuple(features),
                created_timestamp="" if available == "none" else available,
                ttl_seconds=minutes * 60,
            )
            reads.append(read)
        return self.feast.historical_features(
            self.labels, reads, full_feature_names=True, filter_by_created_timestamp=filter_by_created_timestamp
        ).table

    def ours(self, model: str) -> pa.Table:
        return self.connection.sql(self.project.compiled(model)).to_arrow_table()


@pytest.fixture(scope="module")
def both(
    feast: Feast, project: Project, connection: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory
) -> Both:
    return Both(feast, project, connection, tmp_path_factory.mktemp("peer"))


def rows(table: pa.Table) -> list[str]:
    """The rows as a bag; `repr` tells apart all that differs, and holds NaN equal to itself."""
    return sorted(repr(tuple(row.values())) for row in table.to_pylist())


def assert_equal(ours: pa.Table, theirs: pa.Table) -> None:
    """The same columns in the same order, the same types, the same rows."""
    assert [f"{field.name} {field.type}".replace("<l:", "<element:") for field in ours.schema] == [
        f"{field.name} {field.type}".replace("<l:", "<element:") for field in theirs.schema
    ]
    assert rows(ours) == rows(theirs)


@pytest.mark.parametrize("seed", range(8))
def test_every_row_equals_feast(both: Both, seed: int) -> None:
    """Asked for what was known, Feast agrees on every row; by default it differs by what it lets in, and by no more."""
    history, labels = dense(seed)
    both.load(history, labels)
    known, by_default = both.ours("known"), both.theirs(filter_by_created_timestamp=False)
    assert_equal(known, both.theirs(filter_by_created_timestamp=True))
    assert_equal(both.ours("by_event"), by_default)
    assert rows(known) != rows(by_default) or not history  # it does let something in


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, labels=labellings)
def test_every_drawn_row_equals_feast(both: Both, history: list[Row], labels: list[Row]) -> None:
    both.load(history, labels)
    assert_equal(both.ours("known"), both.theirs(filter_by_created_timestamp=True))
    assert_equal(both.ours("by_event"), both.theirs(filter_by_created_timestamp=False))
