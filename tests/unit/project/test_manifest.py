"""From dbt's manifest to facts: what is read, what decides freshness and target, and that no value breaks reading."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import DefinitionError, ProjectError, StaleManifestError
from feature_warehouse.project import feast
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.manifest import check_fresh, check_target, load_manifest
from feature_warehouse.project.settings import SETTINGS, check_settings
from feature_warehouse.registry.feature import Entity, Feature, JoinKey, OnDemandFeature, ServiceView

MADE = datetime(2026, 1, 10, tzinfo=timezone.utc)
COLUMNS = {"id": "INT8", "event_at": "timestamptz", "known_at": "timestamp with time zone", "score": "float8"}
FEATURE_VIEW = {"entity": "customer", "join_keys": ["id"], "event_timestamp": "event_at", "available_at": "known_at"}
FEATURE_SERVICE = {"name": "churn", "version": 1, "features": [{"view": "orders.v1", "features": ["score"]}]}


def model(name: str = "orders", **settings: Any) -> dict[str, Any]:
    """A node of dbt's manifest, as far as it is read; ``config`` and ``meta`` add to the usual ones."""
    meta, config = settings.pop("meta", {}), settings.pop("config", {})
    columns, version = settings.pop("columns", COLUMNS), settings.pop("version", 1)
    return {
        "resource_type": "model",
        "package_name": "shop",
        "name": name,
        "version": version,
        "unique_id": f"model.shop.{name}.v{version}",
        "original_file_path": f"models/{name}_v{version}.sql",
        "patch_path": f"shop://models/{name}.yml",
        "checksum": {"checksum": "0"},
        "config": {"contract": {"enforced": True}, "meta": {"feature_view": FEATURE_VIEW | meta}, **config},
        "columns": {name: {"name": name, "data_type": type_} for name, type_ in columns.items()},
        "database": "shop",
        "schema": "main",
        "relation_name": f'"shop"."main"."{name}_v{version}"',
        "deprecation_date": None,
        "depends_on": {"nodes": []},
        **settings,
    }


def latest(name: str, of: str | None) -> dict[str, Any]:
    node = model(name, version=None, depends_on={"nodes": [of] if of else []})
    return node | {"unique_id": f"model.shop.{name}", "config": {}, "patch_path": None}


def exposure(name: str = "churn_v1", *, meta: dict[str, Any] | None = None, of: str = "model.shop.orders.v1") -> Any:
    return {
        "resource_type": "exposure",
        "package_name": "shop",
        "name": name,
        "unique_id": f"exposure.shop.{name}",
        "original_file_path": "models/services.yml",
        "owner": {"name": None, "email": "growth@example.com"},
        "config": {"meta": {"feature_service": FEATURE_SERVICE | (meta or {})}},
        "depends_on": {"nodes": [of]},
    }


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    kinds = {kind: {n["unique_id"]: n for n in nodes if n["resource_type"] == kind} for kind in ("model", "exposure")}
    return {
        "metadata": {"project_name": "shop", "generated_at": MADE.isoformat().replace("+00:00", "Z")},
        "nodes": kinds["model"],
        "exposures": kinds["exposure"],
        "macros": {},
        "disabled": {},
    }


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["score", "id"], "orders.v2: join_keys is ['score', 'id'], which ends with those of orders.v1, ['id']"),
        (["id", "id"], "orders.v2: join_keys is ['id', 'id'], where a column is repeated"),
        (["id", "score"], None),
        (["score"], None),
    ],
)
def test_lists_that_dbt_has_put_end_to_end_are_refused(keys: list[str], says: str | None) -> None:
    """dbt has the version's own list first, then its model's."""
    columns = COLUMNS | {"score": "bigint", "amount": "double"}
    later = model(version=2, columns=columns, meta={"entity": "item", "join_keys": keys})
    for nodes in ((model(), later), (later, model())):
        found = read_declarations(manifest(*nodes))
        assert [problem.message for problem in found.problems] == ([f"models/orders.yml: {says}"] if says else [])
        assert all("dbt puts the list of a model and that of its version end to end" in p.hint for p in found.problems)
        assert found.views.keys() == ({"orders.v1"} if says else {"orders.v1", "orders.v2"})


def read(*nodes: dict[str, Any]) -> Declarations:
    return read_declarations(manifest(*nodes))


# --- what is read


def test_a_feature_view_becomes_facts_with_canonical_types() -> None:
    declared = read(model(deprecation_date="2027-06-30T00:00:00+00:00")).views["orders.v1"]
    view = declared.view
    assert (view.name, view.version, view.id) == ("orders", 1, "orders.v1")
    assert view.entity == Entity("customer", (JoinKey("id", "bigint"),))
    assert view.features == (Feature("score", "double"),)
    assert (view.event_timestamp, view.available_at, view.deleted) == ("event_at", "known_at", None)
    assert (view.ttl, view.tier, view.expected_every) == (None, "daily", timedelta(days=1))
    assert view.deprecation_date == date(2027, 6, 30)
    assert (declared.path, declared.relation) == ("models/orders.yml", '"shop"."main"."orders_v1"')


@pytest.mark.parametrize(
    ("meta", "facts"),
    [
        ({"available_at": "none"}, {"available_at": None}),
        ({"ttl": "90 minutes"}, {"ttl": timedelta(minutes=90)}),
        ({"tier": "static"}, {"tier": "static", "expected_every": None}),
        ({"tier": "hourly"}, {"expected_every": timedelta(hours=1)}),
        ({"tier": "near_real_time"}, {"expected_every": timedelta(minutes=1)}),
        ({"tier": "static", "expected_every": "2 weeks"}, {"expected_every": timedelta(weeks=2)}),
        ({"tier": None, "ttl": None, "deleted": None}, {"tier": "daily", "ttl": None}),
        ({"history": "append_only", "sync_delay": "5 minutes", "lookback": "3 days"}, {}),
    ],
)
def test_settings(meta: dict[str, Any], facts: dict[str, Any]) -> None:
    view = read(model(meta=meta)).views["orders.v1"].view
    assert {name: getattr(view, name) for name in facts} == facts


def test_keys_times_and_the_deleted_mark_are_no_features() -> None:
    columns = COLUMNS | {"gone": "bool", "note": "struct(a int)"}
    view = read(model(columns=columns, meta={"deleted": "gone"})).views["orders.v1"].view
    assert [feature.name for feature in view.features] == ["score", "note"]
    waived = read(model(meta={"available_at": "none"})).views["orders.v1"].view
    assert [feature.name for feature in waived.features] == ["known_at", "score"]


def test_the_latest_value_view_is_the_one_of_that_name_which_reads_the_view() -> None:
    node = model()
    found = read(node, latest("latest_orders_v1", node["unique_id"])).views["orders.v1"]
    assert found.latest_name == "latest_orders_v1"
    assert found.latest_unique_id == "model.shop.latest_orders_v1"
    assert read(node).views["orders.v1"].latest_relation is None
    assert read(node, latest("latest_orders_v1", None)).views["orders.v1"].latest_relation is None
    assert read(node, latest("latest_orders", node["unique_id"])).views["orders.v1"].latest_relation is None


def test_a_service_becomes_facts() -> None:
    features = [
        {"view": "orders.v1", "features": ["score"]},
        {"view": "orders.v1", "features": ["score"], "keys": {"id": "payer"}, "prefix": "payer_"},
    ]
    on_demand = [{"name": "share", "data_type": "float8", "expression": "amount / score"}]
    meta = {"features": features, "request": {"amount": "real"}, "on_demand": on_demand}
    service = read(model(), exposure(meta=meta)).services["churn@1"]
    assert service.views == (
        ServiceView(view="orders.v1", features=("score",)),
        ServiceView(view="orders.v1", features=("score",), keys={"id": "payer"}, prefix="payer_"),
    )
    assert service.request == {"amount": "float"}
    assert service.on_demand == (OnDemandFeature("share", "double", "amount / score"),)
    assert service.owner == "growth@example.com"


def test_what_is_no_feature_view_and_no_service_is_passed_over() -> None:
    other = exposure("dashboard")
    other["config"] = {}
    declarations = read(latest("plain_model", None), other)
    assert (declarations.views, declarations.services, declarations.problems) == ({}, {}, ())


def test_the_order_of_the_manifest_does_not_matter() -> None:
    """dbt lists nodes as the file system does, differently from machine to machine."""
    nodes = [model(name, meta={"tier": tier}) for name, tier in zip("abcdef", ["daily", "?"] * 3, strict=True)]
    nodes += [model("g", columns=COLUMNS | {"id": "text"}), exposure("x"), exposure("y")]
    shuffled = random.Random(7).sample(nodes, len(nodes))
    first, second = read(*nodes), read(*shuffled)
    assert [problem.message for problem in first.problems] == [problem.message for problem in second.problems]
    assert list(first.views) == list(second.views)


# --- all that is wrong with the columns is said at once


def test_all_wrong_columns_of_a_view_are_problems() -> None:
    columns = {"id": "double", "event_at": "timestamp", "known_at": "date", "gone": "integer", "score": ""}
    [*problems] = read(model(columns=columns, meta={"deleted": "gone"})).problems
    assert [problem.message.removeprefix("models/orders.yml: orders.v1, column ") for problem in problems] == [
        "'id': type 'double' cannot be a join key",
        "'event_at': type timestamp has no zone, so it names no instant",
        "'known_at': type date has no zone, so it names no instant",
        "'gone': it marks deleted rows and is integer",
        "'score': it has no data_type",
    ]
    assert all(problem.hint for problem in problems)


def test_all_types_that_cannot_be_served_are_problems_once() -> None:
    wrong = {"place": "struct(x integer)", "span": "interval", "tags": "varchar[]"}
    reads = {"features": [{"view": "orders.v1", "features": ["score", *wrong]}], "request": {"hour": "time"}}
    again = {"name": "other", "features": [{"view": "orders.v1", "features": ["span"]}]}
    declared = [model(columns=COLUMNS | wrong), exposure(meta=reads), exposure("other", meta=again)]
    problems = [problem.message for problem in read(*declared).problems]
    assert len(problems) == len(wrong)
    for problem, (name, type_) in zip(problems, wrong.items(), strict=True):
        assert problem.startswith(f"models/orders.yml: orders.v1, column '{name}': ")
        assert type_ in problem


def test_a_column_that_is_nearly_another_is_asked_for() -> None:
    [problem] = read(model(meta={"event_timestamp": "even_at", "join_keys": ["idd"]})).problems
    assert "'idd', 'even_at' are not among the columns (id, event_at, known_at, score)" in problem.message
    assert problem.hint.startswith("did you mean 'id'? Else add it")


# --- words of Feast


def test_settings_of_feast_are_answered_with_ours() -> None:
    for part, words in feast.SETTINGS.items():
        for word, meant in words.items():
            assert word not in SETTINGS[part]
            with pytest.raises(DefinitionError) as caught:
                check_settings({word: "x"}, part, "here")
            assert caught.value.hint == meant
            named = re.findall(r"write `(\w+)`", meant)
            assert set(named) <= SETTINGS[part] | {"owner"}, meant


# --- whatever stands in a setting is a fact or a problem

ODD: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["", "none", "id", "score", "event_at", "known_at", "orders.v1", "7 days", "Ä", "a b", "x"])
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "x", 1, None]), inner, max_size=2)
    ),
    max_leaves=4,
)
VIEW_SETTINGS = [
    *FEATURE_VIEW,
    "ttl",
    "tier",
    "expected_every",
    "deleted",
    "history",
    "sync_delay",
    "lookback",
    "other",
]


@given(st.dictionaries(st.sampled_from(VIEW_SETTINGS), ODD, max_size=3), st.none() | ODD)
def test_odd_settings_of_a_view_are_problems_and_no_crash(settings: dict[str, Any], instead: Any) -> None:
    node = model(meta=settings)
    if instead is not None:
        node["config"]["meta"]["feature_view"] = instead
    declarations = read(node, exposure())
    for problem in declarations.problems:
        assert problem.message.startswith(("models/orders.yml: orders.v1", "models/services.yml: churn_v1"))
        assert problem.hint


READ_SETTINGS = ["view", "features", "keys", "prefix", "other"]
SERVICE_SETTINGS = ["name", "version", "features", "request", "on_demand", "other"]


@given(
    st.dictionaries(st.sampled_from(SERVICE_SETTINGS), ODD, max_size=2),
    st.none() | st.dictionaries(st.sampled_from(READ_SETTINGS), ODD, max_size=2),
    st.none() | ODD,
)
def test_odd_settings_of_a_service_are_problems_and_no_crash(
    settings: dict[str, Any], read_settings: dict[str, Any] | None, instead: Any
) -> None:
    node = exposure(meta=settings)
    if read_settings is not None:
        node["config"]["meta"]["feature_service"]["features"] = [{"view": "orders.v1", **read_settings}]
    if instead is not None:
        node["config"]["meta"]["feature_service"] = instead
    declarations = read(model(), node)
    for problem in declarations.problems:
        assert problem.message.startswith("models/services.yml: churn_v1")
        assert problem.hint


# --- the file


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"metadata": {}}', "\udcff"])
def test_a_file_that_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ProjectError, match="is not a manifest"):
        load_manifest(path)


def test_a_manifest_that_is_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest(model())))
    assert load_manifest(path) == manifest(model())


# --- freshness

SQL = "select 1 as id\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as it was when the manifest was made."""
    for path, text in {
        "dbt_project.yml": "",
        "models/orders_v1.sql": SQL,
        "models/orders.yml": "",
        "macros/m.sql": "",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        age(file, -1)
    return tmp_path


def age(file: Path, seconds: float) -> None:
    """Sets the time of ``file`` to so long after the manifest was made."""
    moment = MADE.timestamp() + seconds
    os.utime(file, (moment, moment))


def assert_stale(project: Path, what: str, of: dict[str, Any] | None = None) -> None:
    with pytest.raises(StaleManifestError) as refused:
        check(project, of)
    assert refused.value.message == f"the manifest is older than the project: {what}"


def check(project: Path, of: dict[str, Any] | None = None) -> None:
    check_fresh(of or manifest(model()), project, [project / "models", project / "macros"], project / "none.msgpack")


def test_a_project_without_changes_is_fresh(project: Path) -> None:
    check(project)


@pytest.mark.parametrize("path", ["dbt_project.yml", "models/orders_v1.sql", "models/orders.yml", "macros/m.sql"])
def test_a_file_of_the_same_moment_is_part_of_the_manifest_and_a_later_one_is_not(path: str, project: Path) -> None:
    age(project / path, 0)
    check(project)
    age(project / path, 0.001)
    assert_stale(project, f"{path} has changed")


@pytest.mark.parametrize("name", ["new.sql", "new.yml", "new.yaml", "new.py", "deep/er/new.sql"])
def test_a_later_file_is_a_change(name: str, project: Path) -> None:
    file = project / "models" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    assert_stale(project, f"models/{name} has changed")


@pytest.mark.parametrize("path", ["models/notes.md", "models/data.csv", "seeds/new.sql", "new.sql"])
def test_a_later_file_of_another_kind_or_place_is_none(path: str, project: Path) -> None:
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text("")
    check(project)


def test_an_editor_s_dangling_lock_is_no_change(project: Path) -> None:
    (project / "models" / ".#orders_v1.sql").symlink_to("user@host.1234")
    check(project)


@pytest.mark.parametrize("path", ["models/orders_v1.sql", "models/orders.yml"])
def test_a_file_that_is_gone_is_a_change(path: str, project: Path) -> None:
    (project / path).unlink()
    assert_stale(project, f"{path} is gone")


def test_a_disabled_model_is_known_too(project: Path) -> None:
    disabled = manifest()
    disabled["disabled"] = {"model.shop.orders.v1": [model()]}
    (project / "models/orders_v1.sql").unlink()
    assert_stale(project, "models/orders_v1.sql is gone", disabled)


def test_a_model_that_was_only_touched_is_no_change(project: Path) -> None:
    """dbt's digest leaves out blanks at the ends and keeps line ends as they are."""
    file = project / "models/orders_v1.sql"
    file.write_bytes(b"\n  select 1 as id\r\nfrom b\n\n")
    age(file, 1)
    digest = hashlib.sha256(b"select 1 as id\r\nfrom b").hexdigest()
    check(project, manifest(model(checksum={"checksum": digest})))
    file.write_bytes(b"select 1 as id\nfrom b")
    age(file, 1)
    assert_stale(project, "models/orders_v1.sql has changed", manifest(model(checksum={"checksum": digest})))


def test_the_files_of_packages_are_not_the_project_s(project: Path) -> None:
    check(project, manifest(model(), model("theirs", package_name="other")))


# --- the target


def target(**settings: Any) -> None:
    check_target(manifest(model(**settings)), "dev", "shop", "main")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schema": "main_features", "config": {"schema": "features", "meta": {"feature_view": {}}}},
        {"schema": "features", "config": {"schema": "features", "meta": {"feature_view": {}}}},
        {"schema": "main", "config": {"schema": "features", "meta": {"feature_view": {}}}},  # not in production
        {"database": "lake", "config": {"database": "lake", "meta": {"feature_view": {}}}},
        {"schema": "elsewhere", "config": {"meta": {}}},  # no feature view
    ],
)
def test_a_manifest_of_this_target_passes(settings: dict[str, Any]) -> None:
    target(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"schema": "main_dev"},
        {"schema": "mai"},
        {"database": "shop_prod"},
        {"schema": "prod_features", "config": {"schema": "features", "meta": {"feature_view": {}}}},
    ],
)
def test_a_manifest_of_another_target_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ProjectError) as refused:
        target(**settings)
    assert refused.value.message == (
        'the manifest was made for another target: orders.v1 is "shop"."main"."orders_v1", '
        'but the target \'dev\' means "shop"."main"'
    )
    assert refused.value.hint == "run `dbt parse --target dev`, then try again"
