"""Where our answer is not Feast's: each difference on docs/reference/feast.md, run on both sides as the page has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_warehouse import get_historical_features
from feature_warehouse.errors import SyncerError
from tests.support.feast import HERE, Feast, FeastError, Read
from tests.support.pages import Page
from tests.support.projects import Project

Row = dict[str, Any]

PAGE = Page("reference/feast.md")

INSTANT = pa.timestamp("us", tz="UTC")

#: view -> (metadata, columns)
VIEWS: dict[str, tuple[str, dict[str, pa.DataType]]] = {
    "orders": (
        "available_at: known_at, deleted: closed, ttl: 1 day",
        {"event_at": INSTANT, "known_at": INSTANT, "amount": pa.int64(), "closed": pa.bool_()},
    ),
    "shots": ("available_at: none", {"event_at": INSTANT, "position_y": pa.float64(), "rn": pa.int64()}),
    "clocks": ("available_at: none", {"event_at": pa.timestamp("us"), "amount": pa.int64()}),
}

DBT_TYPES = {
    INSTANT: "timestamptz",
    pa.timestamp("us"): "timestamp",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
}

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta: {{feature_view: {{entity: customer, join_keys: [customer], event_timestamp: event_at, {meta}}}}}
    columns:
{columns}
    versions: [{{v: 1}}]
"""


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-01T{clock}:00+00:00")


def order(event: str, *, known: str | None = "12:00", amount: int = 10, customer: int = 1, closed: bool = False) -> Row:
    return {
        "customer": customer,
        "event_at": at(event),
        "known_at": known and at(known),
        "amount": amount,
        "closed": closed,
    }


ASKED = at("13:00")


def label(**more: Any) -> Row:
    return {"customer": 1, "event_timestamp": ASKED} | more


def first_value(table: pa.Table, feature: str) -> str:
    found = table.column(feature)[0].as_py()
    return "NULL" if found is None else str(found)


def order_of_labels(table: pa.Table, feature: str) -> str:
    numbers = table.column("number").to_pylist()
    return "kept" if numbers == sorted(numbers) else "not kept"


def own_column_of_labels(table: pa.Table, feature: str) -> str:
    return "kept" if "entity_row_id" in table.column_names else "lost"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One history and some labels, given to both sides alike. ``refusal``: words of ours where we refuse."""

    labels: list[Row] = field(default_factory=lambda: [label()])
    history: list[Row] = field(default_factory=lambda: [order("12:00")])
    view: str = "orders"
    feature: str = "amount"
    show: Callable[[pa.Table, str], str] = first_value
    time: str = "event_timestamp"
    typed_labels: bool = True
    as_pandas: bool = False
    refusal: str | None = None


DIFFERENCES: dict[str, Example] = {
    "late fact": Example(history=[order("12:00", known="14:00")]),
    "correction": Example(history=[order("12:00"), order("12:00", known="14:00", amount=11)]),
    "never available": Example(history=[order("12:00", known=None)]),
    "deletion": Example(history=[order("11:00"), order("12:00", closed=True, amount=0)]),
    "label time without a zone": Example(
        labels=[label(event_timestamp=datetime(2026, 1, 1, 13))], refusal="has no zone"
    ),
    "label time as text": Example(labels=[label(event_timestamp="2026-01-01T13:00:00Z")], refusal="has no zone"),
    "history without a zone": Example(
        view="clocks",
        history=[{"customer": 1, "event_at": datetime(2026, 1, 1, 12), "amount": 10}],
        refusal="clocks.v1",
    ),
    "two times in the labels": Example(
        labels=[{"customer": 1, "asked_at": ASKED, "delivered_at": at("18:00")}], time="asked_at"
    ),
    "integer beside a NULL": Example(
        labels=[label(), label(customer=2)], history=[order("12:00", amount=2**53 + 1)], as_pandas=True
    ),
    "integer key beside a NULL": Example(
        labels=[label(customer=2**53 + 1), label(customer=None)],
        history=[order("12:00", customer=2**53)],
        typed_labels=False,
        refusal="is a number with a fraction",
    ),
    "decimal beside a NULL": Example(labels=[label(price=Decimal("1.50")), label(price=None)], typed_labels=False),
    "order of the labels": Example(
        labels=[label(customer=number % 6, number=number) for number in range(10)],
        history=[
            order("12:00", customer=i % 5) | {"event_at": at("12:00") - timedelta(seconds=i)} for i in range(2000)
        ],
        show=order_of_labels,
    ),
    "feature called position_y": Example(
        view="shots",
        feature="position_y",
        history=[{"customer": 1, "event_at": at("12:00"), "position_y": 1.5, "rn": 3}],
    ),
    "feature called rn": Example(
        view="shots",
        feature="rn",
        history=[{"customer": 1, "event_at": at("12:00"), "position_y": 1.5, "rn": 3}],
    ),
    "label column called entity_row_id": Example(labels=[label(entity_row_id="r1")], show=own_column_of_labels),
}

#: What neither side takes, and words of our refusal.
REFUSED_BY_BOTH: dict[str, Example] = {
    "a text key for an integer key": Example(labels=[label(customer="1")], refusal="is a text"),
    "a label column named like the feature": Example(
        labels=[label(amount=1)], refusal="already have a column 'amount'"
    ),
    "no column for the key": Example(labels=[{"event_timestamp": ASKED}], refusal="have no column 'customer'"),
}


@pytest.fixture(scope="module")
def project(feast: Feast, tmp_path_factory: pytest.TempPathFactory) -> Project:  # Feast starts while dbt runs
    """Feature views that read one Parquet file each, the one that Feast reads."""
    folder = tmp_path_factory.mktemp("differences")
    files, described = {}, []
    for name, (meta, types) in VIEWS.items():
        files[f"models/{name}_v1.sql"] = f"select * from read_parquet('{folder / name}.parquet')"
        columns = {"customer": "bigint"} | {column: DBT_TYPES[type_] for column, type_ in types.items()}
        lines = "\n".join(f"      - {{name: {column}, data_type: {type_}}}" for column, type_ in columns.items())
        described.append(VIEW.format(name=name, meta=meta, columns=lines))
        write_history(folder, name, [])
    files["models/views.yml"] = "models:" + "".join(described)
    made = Project(folder, files)
    made.dbt("run")
    return made


def write_history(folder: Path, view: str, rows: list[Row]) -> str:
    path = f"{folder / view}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema({"customer": pa.int64()} | VIEWS[view][1])), path)
    return path


def theirs(feast: Feast, project: Project, example: Example, **options: Any) -> pa.Table:
    read = Read(
        name=example.view,
        history=write_history(project.folder, example.view, example.history),
        keys={"customer": "customer"},
        features=(example.feature,),
        created_timestamp="known_at" if example.view == "orders" else "",
        ttl_seconds=86400,
    )
    labels = pa.Table.from_pylist(example.labels)
    options = {"typed_labels": example.typed_labels, "as_pandas": example.as_pandas} | options
    return feast.historical_features(labels, [read], **options).table


def ours(project: Project, example: Example) -> pa.Table:
    write_history(project.folder, example.view, example.history)
    labels = pa.Table.from_pylist(example.labels)
    given = labels if example.typed_labels else labels.to_pandas()
    folder = project.folder
    features = get_historical_features(
        given, [f"{example.view}.v1"], timestamp=example.time, project_dir=folder, profiles_dir=folder
    )
    return pa.Table.from_pandas(features.to_pandas()) if example.as_pandas else features.to_arrow()


def answered(example: Example, ask: Callable[[], pa.Table]) -> str:
    """As the page writes it. A refusal of ours must be the one that the example is about."""
    try:
        return example.show(ask(), example.feature)
    except FeastError as error:
        return f"error `{error.name}`"
    except SyncerError as error:
        return "refused" if example.refusal and example.refusal in str(error) else str(error)


def test_the_page_has_each_difference_and_no_other() -> None:
    _, rows = PAGE.table("differences")
    assert [row[0] for row in rows] == list(DIFFERENCES)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_both_answers_are_as_the_page_says(feast: Feast, project: Project, name: str) -> None:
    example = DIFFERENCES[name]
    (said,) = (row[2:4] for row in PAGE.table("differences")[1] if row[0] == name)
    found = [
        answered(example, lambda: theirs(feast, project, example)),
        answered(example, lambda: ours(project, example)),
    ]
    assert found == said
    assert found[0] != found[1]


@pytest.mark.parametrize("name", ["late fact", "correction", "never available"])
def test_feast_agrees_once_it_is_asked_for_what_was_known(feast: Feast, project: Project, name: str) -> None:
    example = DIFFERENCES[name]
    filtered = theirs(feast, project, example, filter_by_created_timestamp=True)
    assert first_value(filtered, "amount") == first_value(ours(project, example), "amount")


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_what_neither_takes(feast: Feast, project: Project, name: str) -> None:
    example = REFUSED_BY_BOTH[name]
    assert answered(example, lambda: theirs(feast, project, example)).startswith("error")
    assert answered(example, lambda: ours(project, example)) == "refused"


def test_the_page_names_the_release_that_runs(feast: Feast) -> None:
    assert f"Feast {feast.version}" in PAGE.text
    assert f"feast[duckdb,redis]=={feast.version}" in (HERE / "requirements.in").read_text(encoding="utf-8")
