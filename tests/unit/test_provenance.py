"""What counts as a change of what a training set was made from, and how it is said."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncer.content import ColumnContent, TableContent
from syncer.feature import FeatureService, OnDemandFeature, ServiceView
from syncer.provenance import (
    CodeRecord,
    HistoryRecord,
    SpineRecord,
    TrainingSetManifest,
    changed_content,
    changed_history,
    changed_inputs,
    code_revision,
    definition_hash,
    instant_text,
    read_manifest,
    service_hash,
)

# --- definitions ------------------------------------------------------------------------------------------------------

DBT: dict[str, Any] = {
    "nodes": {
        "model.shop.orders.v1": {
            "raw_code": "select 2 from {{ ref('stg') }}",
            "config": {"meta": {"feature_view": {"ttl": "3 days"}}, "contract": {"enforced": True}},
            "columns": {"amount": {"name": "amount", "data_type": "bigint", "description": "how much"}},
            "depends_on": {"nodes": ["model.shop.stg"], "macros": ["macro.shop.doubled", "macro.dbt.ref"]},
            "relation_name": '"dev"."main"."orders_v1"',
        },
        "model.shop.stg": {
            "raw_code": "select 1 from {{ source('raw', 'orders') }}",
            "config": {"materialized": "view"},
            "columns": {},
            "depends_on": {"nodes": ["source.shop.raw.orders", "seed.shop.names"], "macros": []},
        },
        "model.shop.other": {"raw_code": "select 3", "config": {}, "columns": {}, "depends_on": {"nodes": []}},
        "seed.shop.names": {"raw_code": "", "config": {}, "columns": {}, "checksum": {"checksum": "1"}},
    },
    "sources": {"source.shop.raw.orders": {"identifier": "orders", "schema": "raw", "database": "dev"}},
    "macros": {
        "macro.shop.doubled": {"macro_sql": "2 * x", "depends_on": {"macros": ["macro.shop.inner"]}},
        "macro.shop.inner": {"macro_sql": "x", "depends_on": {"macros": ["macro.shop.doubled"]}},
        "macro.dbt.ref": {"macro_sql": "ref", "depends_on": {"macros": []}},
    },
}


def model(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["nodes"][f"model.shop.{name}"].update(changes)


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (model("orders.v1", raw_code="select 2.0 from {{ ref('stg') }}"), True),
        (model("orders.v1", raw_code="\nselect 2 from {{ ref('stg') }}\n"), False),
        (
            model("orders.v1", config={"meta": {"feature_view": {"ttl": "4 days"}}, "contract": {"enforced": True}}),
            True,
        ),
        (model("orders.v1", columns={"amount": {"name": "amount", "data_type": "double"}}), True),
        (model("orders.v1", columns={"amount": {"name": "amount", "data_type": "bigint", "description": "x"}}), False),
        (model("orders.v1", relation_name='"prod"."main"."orders_v1"'), False),
        (model("stg", raw_code="select 11 from {{ source('raw', 'orders') }}"), True),
        (model("stg", config={"materialized": "table"}), False),
        (model("other", raw_code="select 4"), False),
        (lambda manifest: manifest["macros"]["macro.shop.inner"].update(macro_sql="y"), True),
        (lambda manifest: manifest["macros"]["macro.dbt.ref"].update(macro_sql="y"), False),
        (lambda manifest: manifest["sources"]["source.shop.raw.orders"].update(identifier="orders_2"), True),
        (lambda manifest: manifest["sources"]["source.shop.raw.orders"].update(database="prod"), False),
        (lambda manifest: manifest["nodes"]["seed.shop.names"].update(checksum={"checksum": "2"}), False),
    ],
)
def test_a_definition_is_its_sql_and_all_it_is_made_from(change: Callable[[Any], None], matters: bool) -> None:
    changed = copy.deepcopy(DBT)
    change(changed)
    found = [definition_hash(manifest, "model.shop.orders.v1") for manifest in (DBT, changed)]
    assert (found[0] != found[1]) is matters


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
        (
            {"code": CodeRecord(commit="b" * 40, dirty=True)},
            ["the code is at commit bbbbbbbbbb with changes that are not committed, and was at commit aaaaaaaaaa"],
        ),
    ],
)
def test_what_else_has_changed_is_said_by_name(change: dict[str, Any], said: list[str]) -> None:
    assert changed_inputs(MANIFEST, replace(MANIFEST, **change)) == said


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_from_its_file(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "training.parquet.manifest.json")
    assert read_manifest(tmp_path / "training.parquet.manifest.json") == MANIFEST
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
