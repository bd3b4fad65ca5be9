"""What counts as a change of what a training set was made from, and how it is said."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse.project.definition import Definition, to_text
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature, ServiceView
from feature_warehouse.sql.changes import View
from feature_warehouse.sql.nodes import Node
from feature_warehouse.training.content import ColumnContent, TableContent
from feature_warehouse.training.provenance import (
    CodeRecord,
    HistoryRecord,
    SpineRecord,
    TrainingSetManifest,
    ViewRecord,
    changed_content,
    changed_definition,
    changed_history,
    changed_inputs,
    code_revision,
    instant_text,
    read_manifest,
    service_hash,
)

# --- definitions ------------------------------------------------------------------------------------------------------


def record(sql: str = "select k, at, x * 2 as amount, x as other from ref.raw", ttl: int = 3) -> ViewRecord:
    nodes = {"orders_v1": Node(sql=sql, reads=("raw",)), "raw": Node(columns=dict.fromkeys(["k", "at", "x"], "bigint"))}
    features = {"amount": "bigint", "other": "bigint"}
    view = View(node="orders_v1", join_keys={"k": "bigint"}, event_timestamp="at", features=features)
    definition = Definition(view=view, nodes=nodes, ttl=timedelta(days=ttl))
    history = HistoryRecord(rows=1, hash="1", newest_available_at=None)
    return ViewRecord(
        view="orders.v1", features=("amount",), definition=to_text("orders.v1", definition), history=history
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (record(), []),
        (record("select 2 * x as amount, k, at, x as other from ref.raw -- doubled"), []),
        (record("select k, at, x * 2 as amount, x + 1 as other from ref.raw"), []),  # was not read
        (
            record("select k, at, x * 3 as amount, x as other from ref.raw"),
            ["the definition of orders.v1 has changed: amount: `amount` x * 2 -> x * 3 in `orders_v1`"],
        ),
        (record(ttl=4), ["the definition of orders.v1 has changed: amount: ttl 3 days -> 4 days"]),
        (
            replace(record(), definition=None),
            ["whether the definition of orders.v1 has changed is not known: its SQL cannot be read"],
        ),
    ],
)
def test_a_definition_has_changed_when_it_means_something_else(now: ViewRecord, said: list[str]) -> None:
    assert changed_definition(record(), now) == said


SERVICE = FeatureService(
    name="churn",
    version=1,
    views=(ServiceView(view="orders.v1", features=("amount",)),),
    on_demand=(OnDemandFeature("share", "double", "amount / 2"),),
    owner="growth",
)


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"owner": "shrink"}, False),
        ({"request": {"total": "double"}}, True),
        ({"on_demand": (OnDemandFeature("share", "double", "amount / 3"),)}, True),
        ({"views": (ServiceView(view="orders.v1", features=("amount",), keys={"customer": "friend"}),)}, True),
        ({"views": (ServiceView(view="orders.v1", features=("amount",), prefix="friend_"),)}, True),
    ],
)
def test_a_service_is_what_it_gives(change: dict[str, Any], matters: bool) -> None:
    assert (service_hash(replace(SERVICE, **change)) != service_hash(SERVICE)) is matters


# --- what has changed -------------------------------------------------------------------------------------------------


def content(rows: int, **columns: str) -> TableContent:
    """Columns as name='type hash'."""
    return TableContent(rows, tuple(ColumnContent(name, *text.split()) for name, text in columns.items()))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (content(3, id="int64 a", name="text b"), []),
        (content(3, id="int64 a", name="text c"), ["other values in name"]),
        (content(3, id="int64 z", name="text c"), ["other values in id, name"]),
        (content(3, id="int32 z", name="text b"), ["'id' is int32, and was int64"]),
        (content(3, id="int64 a"), ["'name' is gone"]),
        (content(3, id="int64 a", name="text b", age="int8 d"), ["'age' is new"]),
        (content(3, name="text b", id="int64 a"), ["its columns have another order"]),
        (content(1, id="int64 z", name="text c"), ["1 row, and there were 3"]),
        (content(4000, id="int64 z"), ["4,000 rows, and there were 3", "'name' is gone"]),
    ],
)
def test_what_differs_in_a_table_is_said_by_column(now: TableContent, said: list[str]) -> None:
    assert changed_content(content(3, id="int64 a", name="text b"), now) == said


OLD = HistoryRecord(rows=10, hash="1", newest_available_at="2026-01-01T00:00:00.000000Z")
AFTER = "available after 2026-01-01T00:00:00.000000Z; none of the old ones has changed"


@pytest.mark.parametrize(
    ("rows", "hash_", "now_old", "said"),
    [
        (10, "1", OLD, None),
        (12, "2", OLD, f"2 rows more, {AFTER}"),
        (12, "2", replace(OLD, hash="3"), "2 rows more, and not only at its end"),
        (9, "2", replace(OLD, rows=9), "1 row fewer, and not only at its end"),
        (10, "2", replace(OLD, hash="2"), "10 rows as before, with other values in some of them"),
    ],
)
def test_how_a_history_has_changed_is_said_as_far_as_it_is_known(
    rows: int, hash_: str, now_old: HistoryRecord, said: str | None
) -> None:
    found = changed_history("orders.v1", OLD, HistoryRecord(rows=rows, hash=hash_, newest_available_at=None), now_old)
    assert found == ([] if said is None else [f"the history of orders.v1 has changed: {said}"])


MANIFEST = TrainingSetManifest(
    content=content(3, id="int64 a", amount="int64 b"),
    created_at="2026-01-01T00:00:00Z",
    project="shop",
    features=("orders.v1",),
    service=None,
    timestamp="asked_at",
    known_as_of=None,
    read_until=None,
    spine=SpineRecord(kind="rows", source=None, columns=1, content="x"),
    views=(),
    code=CodeRecord(commit="a" * 40, dirty=False),
    software={"duckdb": "2.0.0"},
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"created_at": "2027-01-01T00:00:00Z"}, []),
        ({"content": content(3, id="int64 a", amount="int64 c")}, []),
        ({"content": content(3, id="int64 z", amount="int64 b")}, ["the spine has changed: other values in id"]),
        ({"project": "market"}, ["the project is market, and was shop"]),
        ({"software": {"duckdb": "2.1.0"}}, ["duckdb is 2.1.0, and was 2.0.0"]),
        ({"software": {}}, ["duckdb is not there, and was 2.0.0"]),
        ({"code": None}, ["the code is in no git repository, and was at commit aaaaaaaaaa"]),
        ({"snapshots": {"lake": 7}}, []),
        (
            {"code": CodeRecord(commit="b" * 40, dirty=True)},
            ["the code is at commit bbbbbbbbbb with changes that are not committed, and was at commit aaaaaaaaaa"],
        ),
    ],
)
def test_what_else_has_changed_is_said_by_name(change: dict[str, Any], said: list[str]) -> None:
    assert changed_inputs(MANIFEST, replace(MANIFEST, **change)) == said


def test_a_lake_that_is_no_longer_attached_is_said() -> None:
    before = replace(MANIFEST, snapshots={"lake": 7})
    said = ["snapshot 7 of lake was read, and the profile attaches no such lake now"]
    assert changed_inputs(before, MANIFEST) == said
    assert changed_inputs(before, before) == []


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_from_its_file(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "training.parquet.manifest.json")
    assert read_manifest(tmp_path / "training.parquet.manifest.json") == MANIFEST
    assert "snapshots" not in (tmp_path / "training.parquet.manifest.json").read_text()  # which older releases refuse
    of_a_lake = replace(MANIFEST, snapshots={"lake": 7})
    of_a_lake.write(tmp_path / "training.parquet.manifest.json")
    assert read_manifest(tmp_path / "training.parquet.manifest.json") == of_a_lake
    assert len(list(tmp_path.iterdir())) == 1


def test_the_code_is_a_commit_or_changes_to_it(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    assert code_revision(tmp_path, [models]) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert code_revision(tmp_path, [models]) is None  # nothing committed yet
    (models / "orders.sql").write_text("select 1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)
    (tmp_path / "training.parquet").write_text("not code")
    found = code_revision(tmp_path, [models, tmp_path / "macros"])
    assert found is not None
    assert (len(found.commit), found.dirty) == (40, False)
    (models / "visits.sql").write_text("select 2")
    assert code_revision(tmp_path, [models]) == replace(found, dirty=True)


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (2**63 - 1, "infinity"),
        (-(2**63) + 1, None),
    ],
)
def test_an_instant_of_duckdb_has_a_text(microseconds: int | None, text: str | None) -> None:
    assert instant_text(microseconds) == text
