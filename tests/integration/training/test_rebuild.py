"""A training set made again from its manifest: the same content, or what has changed, by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from feature_warehouse import content_hash
from feature_warehouse.cli.main import main
from feature_warehouse.errors import RequestError
from feature_warehouse.training.historical import get_historical_features
from feature_warehouse.training.rebuild import Rebuilt, rebuild
from tests.support.projects import Project

YAML = """
models:
  - name: orders
    config:
      contract: {enforced: true}
      materialized: table
      meta:
        feature_view: {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: known_at,
          ttl: 90 days, history: append_only}
    columns:
      - {name: customer, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
      - {name: amount, data_type: bigint}
      - {name: basket, data_type: "double[]"}
      - {name: unread, data_type: varchar}
    versions:
      - v: 1
        data_tests:
          - feature_warehouse.history_append_only: {arguments: {fingerprints: ref('fingerprints_orders_v1')}}
  - name: visits
    config:
      contract: {enforced: true}
      materialized: table
      meta: {feature_view: {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: none}}
    columns:
      - {name: customer, data_type: varchar}
      - {name: event_at, data_type: timestamptz}
      - {name: pages, data_type: integer}
    versions: [{v: 1}]
exposures:
  - name: churn_v1
    type: ml
    owner: {name: growth, email: growth@example.com}
    depends_on: ["ref('orders', v=1)", "ref('visits', v=1)"]
    config: {meta: {feature_service: {name: churn, version: 1, features: [
      {view: orders.v1, features: [amount, basket]}, {view: visits.v1, features: [pages]}]}}}
"""

#: The newest order is known on 2026-01-20, a day before the last label is asked.
FILES = {
    "models/views.yml": YAML,
    "macros/doubled.sql": "{% macro doubled(column) %} 2 * {{ column }} {% endmacro %}",
    "models/stg_orders.sql": "select i, 'c' || i % 20 as customer from range(400) as t(i)",
    "models/orders_v1.sql": """
select
    customer,
    timestamptz '2026-01-01 00:00:00+00' + i * interval 1 hour as event_at,
    timestamptz '2026-01-01 00:00:00+00' + (i + i % 3 * 10 + i // 399 * 45) * interval 1 hour as known_at,
    {{ doubled('i') }}::bigint as amount,
    case when i % 4 > 0 then [i, 0.5] end::double[] as basket,
    'x' as unread
from {{ ref('stg_orders') }}
""",
    "models/fingerprints_orders_v1.sql": "{{ feature_warehouse.history_fingerprints(ref('orders', v=1)) }}",
    "models/visits_v1.sql": """
select 'c' || i % 20 as customer, timestamptz '2026-01-01 00:00:00+00' + i * interval 7 hour as event_at,
    i::integer as pages
from range(60) as t(i)
""",
    "models/labels.sql": """
{{ config(materialized='table') }}
select
    'c' || i % 21 as customer,
    timestamptz '2026-01-01 00:00:00+00' + i * interval 1 hour as asked_at,
    i % 2 = 0 as churned
from range(481) as t(i)
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("rebuild"), FILES)
    made.dbt("build")
    return made


@pytest.fixture(scope="module")
def original(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(project, "labels", tmp_path_factory.mktemp("made") / "training.parquet")


@pytest.fixture
def made(original: Path, tmp_path: Path) -> Path:
    """A training set of the model `labels`, as it was made, in a folder of its own."""
    for file in original.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / original.name


@pytest.fixture
def labels(project: Project, tmp_path: Path) -> Path:
    """The labels as a file, in no particular order."""
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute(f"copy (from labels order by hash(asked_at)) to '{tmp_path / 'labels.csv'}'")
    return tmp_path / "labels.csv"


def make(project: Project, spine: Any, path: Path, **more: Any) -> Path:
    folder = str(project.folder)
    options = {"timestamp": "asked_at", "project_dir": folder, "profiles_dir": folder} | more
    get_historical_features(spine, "churn", **options).to_parquet(path)
    return path


def again(project: Project, path: Path, **more: Any) -> Rebuilt:
    folder = str(project.folder)
    return rebuild(f"{path}.manifest.json", project_dir=folder, profiles_dir=folder, **more)


@contextmanager
def changed(project: Project, *statements: str) -> Iterator[None]:
    """With the warehouse changed, for as long as the block lasts."""
    backup = project.database.with_suffix(".backup")
    shutil.copy(project.database, backup)
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for statement in statements:
            connection.execute(statement)
    try:
        yield
    finally:
        shutil.move(backup, project.database)


@contextmanager
def edited(project: Project, path: str, old: str, new: str) -> Iterator[None]:
    """With a file of the project changed and the manifest made anew."""
    text = (project.folder / path).read_text()
    assert text.count(old) == 1
    project.write(path, text.replace(old, new))
    try:
        project.dbt("parse")
        yield
    finally:
        project.write(path, text)
        project.dbt("parse")


def values(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


# --- the manifest -----------------------------------------------------------------------------------------------------


def test_the_manifest_says_what_the_set_was_made_from(project: Project, made: Path) -> None:
    manifest = json.loads(Path(f"{made}.manifest.json").read_text())
    assert manifest["content"] == content_hash(pq.read_table(made))
    assert manifest["spine"]["content"] == content_hash(
        pq.read_table(made, columns=["customer", "asked_at", "churned"])
    )
    assert (manifest["spine"]["kind"], manifest["spine"]["source"]) == ("model", "labels")
    assert (manifest["features"], manifest["timestamp"], manifest["known_as_of"]) == ("churn@1", "asked_at", None)
    assert (manifest["rows"], manifest["read_until"]) == (481, "2026-01-21T00:00:00Z")
    orders, visits = manifest["views"]
    assert (orders["view"], visits["view"]) == ("orders.v1", "visits.v1")
    assert orders["history"]["rows"] == 400
    assert orders["history"]["newest_available_at"] == "2026-01-19T12:00:00.000000Z"
    assert visits["history"]["rows"] == 60
    assert manifest["software"].keys() == {"feature-warehouse", "dbt-core", "dbt-duckdb", "duckdb"}


def test_the_hash_of_a_history_is_the_same_on_every_release_of_duckdb(made: Path) -> None:
    """DuckDB does not promise it. Where this fails, old manifests say of every history that it has changed."""
    orders, visits = json.loads(Path(f"{made}.manifest.json").read_text())["views"]
    assert (orders["history"]["hash"], visits["history"]["hash"]) == (
        "3622051950303478391345",
        "564137520280755619798",
    )


# --- the same content -------------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_content(project: Project, made: Path) -> None:
    before = made.read_bytes(), Path(f"{made}.manifest.json").read_bytes()
    found = again(project, made)
    assert (found.differences, found.changes) == ((), ())
    assert (made.read_bytes(), Path(f"{made}.manifest.json").read_bytes()) == before


@pytest.mark.parametrize(
    "statements",
    [
        # a table that is built anew may have its rows in another order
        [f"create or replace table {table} as from {table} order by random()" for table in ("labels", "orders_v1")],
        # known after the last label, so no label could read it
        ["insert into orders_v1 values ('c1', '2026-01-02 00:30:00+00', '2026-01-21 00:00:00.000001+00', 1, [], 'y')"],
        ["update orders_v1 set unread = 'y'"],  # the service does not read it
    ],
    ids=["order", "later", "unread"],
)
def test_what_could_not_be_read_is_no_change(project: Project, made: Path, statements: list[str]) -> None:
    with changed(project, *statements):
        found = again(project, made)
    assert (found.differences, found.changes) == ((), ())


def test_a_change_without_effect_is_named_too(project: Project, made: Path) -> None:
    nobody = "insert into visits_v1 values ('nobody', '2026-01-02 00:00:00+00', 1)"
    with changed(project, nobody):
        found = again(project, made)
    assert found.differences == ()
    assert found.changes == ("the history of visits.v1 has changed: 1 row more, and not only at its end",)


def test_an_append_only_history_gives_a_set_of_an_earlier_day_again(project: Project, tmp_path: Path) -> None:
    early = datetime(2026, 1, 5, tzinfo=timezone.utc)
    folder = str(project.folder)
    features = get_historical_features(
        "labels", ["orders.v1"], timestamp="asked_at", known_as_of=early, project_dir=folder, profiles_dir=folder
    )
    features.to_parquet(tmp_path / "early.parquet")
    later = "insert into orders_v1 values ('c1', '2026-01-02 00:30:00+00', '2026-01-05 00:00:01+00', 1, [], 'y')"
    with changed(project, later):
        found = again(project, tmp_path / "early.parquet")
    assert (found.differences, found.changes) == ((), ())


def test_a_folder_can_be_moved(project: Project, labels: Path, tmp_path: Path) -> None:
    make(project, labels, tmp_path / "training.parquet")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in tmp_path.glob("*.*"):
        file.rename(moved / file.name)
    assert again(project, moved / "training.parquet").differences == ()


# --- what has changed, by name ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "differences", "changes"),
    [
        (
            "insert into orders_v1 values ('c1', '2026-01-18 00:00:00+00', '2026-01-20 00:00:00+00', 1, [], 'y')",
            ["other values in amount, basket", "amount: 1 of 481 rows", "basket: 1 of 481 rows"],
            "the history of orders.v1 has changed: 1 row more, available after 2026-01-19T12:00:00.000000Z; "
            "none of the old ones has changed",
        ),
        (
            "insert into orders_v1 values ('c1', '2026-01-17 12:30:00+00', '2026-01-17 12:30:00+00', 1, [], 'y')",
            None,
            "the history of orders.v1 has changed: 1 row more, and not only at its end",
        ),
        (
            "update orders_v1 set basket = [] where basket is null",
            ["other values in basket", "basket: {nulls} of 481 rows"],
            "the history of orders.v1 has changed: 400 rows as before, with other values in some of them",
        ),
        (
            "delete from visits_v1 where pages < 2",
            None,
            "the history of visits.v1 has changed: 2 rows fewer, and not only at its end",
        ),
    ],
    ids=["later", "backdated", "rewritten", "removed"],
)
def test_a_changed_history_is_named(
    project: Project, made: Path, statement: str, differences: list[str] | None, changes: str
) -> None:
    before = values(made)
    with changed(project, statement):
        found = again(project, made)
    assert found.changes == (changes,)
    assert found.differences
    nulls = sum(row["basket"] is None and row["amount"] is not None for row in before)
    if differences is not None:
        assert found.differences == tuple(line.format(nulls=nulls) for line in differences)


def test_a_changed_definition_is_named_and_a_refactor_is_no_change(project: Project, made: Path) -> None:
    """Also where it is that of a model further up; and who owns a service is no part of it."""
    with (
        edited(project, "models/views.yml", "name: growth", "name: shrink"),
        edited(project, "models/stg_orders.sql", "select i", "select /* numbered */ i"),
    ):
        found = again(project, made)
    assert (found.changes, found.differences) == ((), ())
    with edited(project, "models/stg_orders.sql", "range(400)", "range(399)"):
        found = again(project, made)
    assert found.changes == (
        "the definition of orders.v1 has changed: amount, basket: "
        "reads `range(400) as t(i)` -> `range(399) as t(i)` in `stg_orders`",
    )
    assert found.differences == ()  # nothing was built since


def test_a_changed_service_is_named(project: Project, made: Path) -> None:
    with edited(project, "models/views.yml", "features: [amount, basket]", "features: [amount, unread]"):
        found = again(project, made)
    assert found.changes[0] == "the definition of the service churn@1 has changed"
    assert found.differences == ("'basket' is gone", "'unread' is new")


def test_a_changed_spine_is_named(project: Project, labels: Path, made: Path, tmp_path: Path) -> None:
    make(project, labels, tmp_path / "of_file.parquet")
    text = labels.read_text()
    labels.write_text(text.replace("true", "false", 1))
    found = again(project, tmp_path / "of_file.parquet")
    assert found.changes == ("the spine has changed: other values in churned",)
    assert found.differences == ("other values in churned", "churned: 1 of 481 rows")
    with changed(project, "alter table labels add column note varchar default 'n'"):
        assert again(project, made).changes == ("the spine has changed: 'note' is new",)


def test_another_release_is_named(project: Project, made: Path) -> None:
    path = Path(f"{made}.manifest.json")
    manifest = json.loads(path.read_text())
    now = manifest["software"]["duckdb"]
    manifest["software"]["duckdb"] = "0.1.0"
    path.write_text(json.dumps(manifest))
    assert again(project, made).changes == (f"duckdb is {now}, and was 0.1.0",)


def test_a_file_that_is_another_one_now_is_not_compared(project: Project, made: Path) -> None:
    rewritten = "update orders_v1 set amount = 7"
    with changed(project, rewritten):
        made.write_bytes(b"not a file of ours")
        assert again(project, made).differences[-1].startswith("training.parquet is no longer what its manifest says")
        made.unlink()
        assert again(project, made).differences == ("other values in amount",)


# --- where it is written ----------------------------------------------------------------------------------------------


def test_the_new_set_goes_where_it_is_told(project: Project, made: Path, tmp_path: Path) -> None:
    before = values(made)
    with changed(project, "update orders_v1 set amount = 7"):
        found = again(project, made, output=tmp_path / "new.parquet")
        assert again(project, tmp_path / "new.parquet").differences == ()
    assert values(made) == before
    assert {row["amount"] for row in values(tmp_path / "new.parquet")} == {None, 7}
    assert content_hash(pq.read_table(tmp_path / "new.parquet")) == found.now.content.hash
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"training", "new"}


def test_rows_from_python_have_to_be_given_again(project: Project, labels: Path, tmp_path: Path) -> None:
    frame = duckdb.read_csv(str(labels)).to_arrow_table()
    make(project, frame, tmp_path / "training.parquet")
    with pytest.raises(RequestError, match="were given from Python, so nobody can read them again"):
        again(project, tmp_path / "training.parquet")
    assert again(project, tmp_path / "training.parquet", entity_rows=frame).differences == ()
    assert again(project, tmp_path / "training.parquet", entity_rows=labels).differences == ()


# --- the command ------------------------------------------------------------------------------------------------------


def run(project: Project, *arguments: str) -> Result:
    folders = ["--project-dir", str(project.folder), "--profiles-dir", str(project.folder)]
    return CliRunner().invoke(main, ["training-set", "--rebuild", *arguments, *folders])


def test_the_command_says_so_and_exits(project: Project, made: Path, tmp_path: Path) -> None:
    manifest = f"{made}.manifest.json"
    content = json.loads(Path(manifest).read_text())["content"]
    same = run(project, manifest)
    assert (same.exit_code, same.stdout) == (0, f"Same content: 481 rows, {content}.\n")
    with changed(project, "update orders_v1 set basket = [] where basket is null"):
        other = run(project, manifest, "-o", str(tmp_path / "new.parquet"))
        as_json = run(project, manifest, "--json")
    new = json.loads((tmp_path / "new.parquet.manifest.json").read_text())
    assert other.exit_code == as_json.exit_code == 1
    first, values_, counted, since, change, written = other.stdout.splitlines()
    assert first == f"Other content: {new['content']}, and was {content}."
    assert (values_, since) == ("  other values in basket", "Since it was made:")
    assert counted.startswith("  basket: ")
    assert change.startswith("  the history of orders.v1 has changed")
    assert written == f"Written to {tmp_path / 'new.parquet'}."
    said = json.loads(as_json.stdout)
    assert (said["same"], said["manifest"]["content"]) == (False, new["content"])
    assert said["changes"] == [change.strip()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no manifest at"),
        ("{", "is not the manifest of a training set: "),
        ("[1]", "is not the manifest of a training set"),
        ('{"metadata": {}}', "is not the manifest of a training set"),
        ('{"format": 99}', "has the format 99, and this release reads 1"),
        ('{"format": 1, "content": "x"}', "is not the manifest of a training set"),
        ("edited", "has been edited"),
    ],
)
def test_what_is_no_manifest_is_refused(
    project: Project, made: Path, tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "some.manifest.json"
    if text == "edited":
        text = Path(f"{made}.manifest.json").read_text().replace('"rows": 481', '"rows": 480', 1)
    if text is not None:
        path.write_text(text)
    result = run(project, str(path))
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert words in error
    assert hint.startswith("Hint: ")
