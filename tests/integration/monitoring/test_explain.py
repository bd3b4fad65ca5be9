"""Why this value: what is told of a value is what the client and the training set have of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_warehouse import FeatureClient, ServedLog
from feature_warehouse.monitoring.chosen import choose
from feature_warehouse.project.declarations import Declarations, DeclaredView, read_declarations
from feature_warehouse.project.manifest import load_manifest
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.warehouse.duckdb import DuckDB
from tests.support.pages import Page
from tests.support.projects import Project
from tests.support.shop import Shop

# --- at T it is the training row of T ---------------------------------------------------------------------------------

COLUMNS = {
    "k": "varchar",
    "region": "integer",
    "event_at": "timestamptz",
    "known_at": "timestamptz",
    "amount": "bigint",
    "price": "decimal(18,4)",
    "recent": "double[]",
    "score": "double",
    "gone": "boolean",
}
FEATURES = ["amount", "price", "recent", "score"]
VIEWS = {
    "accounts": "available_at: known_at, deleted: gone, ttl: 45 minutes",
    "visits": "available_at: known_at, deleted: gone",
    "waived": "available_at: none, deleted: gone, ttl: 90 minutes",
    "delayed": "available_at: known_at, deleted: gone, ttl: 60 minutes, sync_delay: 30 minutes",
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
#: prefix -> (view, the label's column of the key k): two roles of one view among them
ROLES = {f"{name}_": (name, "k") for name in VIEWS} | {"other_": ("accounts", "other")}
ITEM = (
    "{{'view': ref('{view}', v=1), 'prefix': '{prefix}', 'keys': {{'k': '{key}'}}, 'features': " + repr(FEATURES) + "}}"
)


@dataclass(repr=False)  # it has pages of SQL
class Joined:
    """A project whose tables are filled by hand, and the SQL of its training set."""

    connection: Any
    declarations: Declarations
    sql: str

    def view(self, name: str) -> tuple[DeclaredView, FeatureView]:
        """As declared, and as a registry would have it; without availability, `known_at` would be a feature."""
        declared = self.declarations.views[f"{name}.v1"]
        served = (feature for feature in declared.view.features if feature.name in FEATURES)
        numbered = tuple(replace(feature, number=number) for number, feature in enumerate(served, 2))
        return declared, replace(declared.view, features=numbered)

    def fill(self, table: str, rows: list[Any]) -> None:
        self.connection.execute(f"delete from {table}")
        if rows:
            self.connection.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    empty = "select " + ", ".join(f"null::{type_} as {name}" for name, type_ in COLUMNS.items()) + " where false"
    columns = "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, type_ in COLUMNS.items())
    items = ", ".join(ITEM.format(view=view, prefix=prefix, key=key) for prefix, (view, key) in ROLES.items())
    files = {f"models/{name}_v1.sql": empty for name in VIEWS}
    files["models/views.yml"] = "models:" + "".join(
        VIEW.format(name=name, meta=meta, columns=columns) for name, meta in VIEWS.items()
    )
    files["models/labels.sql"] = (
        "select 1 as id, 'a' as k, 1 as region, 'a' as other, timestamptz '2026-01-01' as asked_at where false"
    )
    files["models/training.sql"] = (
        "{{ feature_warehouse.point_in_time_join(spine=ref('labels'), spine_timestamp='asked_at', "
        f"feature_views=[{items}]) }}}}"
    )
    project = Project(tmp_path_factory.mktemp("joined"), files)
    project.dbt("compile")
    declarations = read_declarations(load_manifest(project.folder / "target/manifest.json"))
    with duckdb.connect(str(project.database)) as connection:
        connection.execute("set TimeZone = 'UTC'; set asof_loop_join_threshold = 0")
        for name in VIEWS:
            connection.execute(
                f"create table {name}_v1 ({', '.join(f'{name} {type_}' for name, type_ in COLUMNS.items())})"
            )
        connection.execute(
            "create table labels (id integer, k varchar, region integer, other varchar, asked_at timestamptz)"
        )
        yield Joined(connection, declarations, project.compiled("training"))


START = datetime(2026, 1, 1, tzinfo=timezone.utc)
moments = st.tuples(st.integers(0, 16), st.sampled_from([0, 0, 0, 0, -1, 1])).map(
    lambda drawn: START + timedelta(minutes=15 * drawn[0], microseconds=drawn[1])
)
facts = st.tuples(
    st.sampled_from(["a", "a", "a", "b", "a|b'c"]),
    st.sampled_from([1, 1, 1, 2]),
    moments | moments | st.none() | st.just("infinity"),
    moments | moments | st.none() | st.just("-infinity"),
    st.none() | st.sampled_from([0, -1, 2**63 - 1]),
    st.sampled_from([None, False, False, True]),
)
labels = st.tuples(
    st.sampled_from(["a", "b", "a|b'c"]), st.sampled_from([1, 2, 3]), st.sampled_from(["a", "b"]), moments
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(facts, max_size=16, unique_by=lambda fact: fact[:4]),
    spine=st.lists(labels, min_size=1, max_size=2),
)
def test_what_is_told_of_an_instant_is_the_training_row_of_it(
    joined: Joined, history: list[Any], spine: list[Any]
) -> None:
    scores = [-0.0, 0.0, math.nan, -math.inf, None]
    rows = [
        (k, region, event, known, amount, i / 4, [float(i), -0.0] if i % 3 else None, scores[i % 5], gone)
        for i, (k, region, event, known, amount, gone) in enumerate(history)
    ]
    for name in VIEWS:
        once = {row[:3]: row for row in rows}.values() if name == "waived" else rows
        joined.fill(f"{name}_v1", list(once))
    joined.fill("labels", [(i, *label) for i, label in enumerate(spine)])
    trained = joined.connection.execute(f"select * from ({joined.sql}) order by id").fetchall()
    warehouse = DuckDB(joined.connection)
    for row, (k, region, other, at) in zip(trained, spine, strict=True):
        told: list[Any] = []
        for view, key in ROLES.values():
            declared, registered = joined.view(view)
            keys = {"k": k if key == "k" else other, "region": region}
            chosen = choose(warehouse, declared, registered, FEATURES, keys, at, declared.sync_delay)
            assert chosen.trouble is None
            assert chosen.has_value or not chosen.values
            assert len(chosen.newer) == min(3, chosen.newer_rows)
            assert all(newer.why.startswith(("known only", "true only", "counts only")) for newer in chosen.newer)
            told += [chosen.values.get(name) for name in FEATURES]
        assert list(map(repr, told)) == list(map(repr, row[5:]))


def test_each_reason_has_its_words(joined: Joined) -> None:
    def at(minutes: int) -> datetime:
        return START + timedelta(minutes=minutes)

    rows: list[Any] = [("a", 1, at(0), at(1), 1, 1, [], 0.5, False), ("a", 1, at(10), at(20), 2, 2, [], 0.5, False)]
    rows += [("a", 1, at(30), at(12), 3, 3, [], 0.5, True), ("b", 1, at(5), at(5), 4, 4, [None], 0.5, False)]
    joined.fill("delayed_v1", rows)
    joined.fill("accounts_v1", rows)
    warehouse = DuckDB(joined.connection)

    def told(view: str, minutes: int, k: str = "a") -> Any:
        declared, registered = joined.view(view)
        keys = {"k": k, "region": 1}
        return choose(warehouse, declared, registered, FEATURES, keys, at(minutes), declared.sync_delay)

    assert (told("accounts", 0).outcome, told("accounts", 1).outcome) == ("no row", "value")
    assert [newer.why for newer in told("accounts", 15).newer] == [
        "true only from 2026-01-01T00:30:00Z",
        "known only from 2026-01-01T00:20:00Z",
    ]
    assert told("accounts", 15).expires_at == "2026-01-01T00:45:00Z"
    assert (told("accounts", 30).outcome, told("accounts", 76).outcome) == ("deleted", "expired")
    assert [newer.why for newer in told("delayed", 25).newer][1:] == [
        "counts only 30 minutes after it was known (sync_delay)",
        "counts only 30 minutes after it was known (sync_delay)",
    ]
    assert told("accounts", 0, "nobody").newer_rows == 0
    assert "'recent' holds NULL inside a list" in (told("accounts", 9, "b").trouble or "")
    joined.fill("accounts_v1", [rows[0], rows[0]])
    assert told("accounts", 2).ties == 2


# --- now it is what the client reads ----------------------------------------------------------------------------------


def explained(shop: Shop, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = shop.json("explain", *arguments)
    return found


def values(found: dict[str, Any], what: str = "value") -> dict[str, Any]:
    parts = [one for item in found["items"] for one in item["features"]] + found["computed"]
    return {one["name"]: one[what] for one in parts}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.syncer("sync")
    return shop


def test_what_is_online_is_what_the_client_reads(synced: Shop) -> None:
    for customer in range(1, 7):
        keys = [f"customer_id={customer}", "amount=51"]
        read, found = synced.json("get", "churn@2", *keys), explained(synced, "churn@2", *keys)
        assert values(found) == read["features"]
        assert values(found, "status") == read["statuses"]
        assert [item["differs"] for item in found["items"]] == [None, None]
        for item in found["items"]:
            stored = item["online"]["event_time"]
            assert (item["chosen"]["outcome"] == "value") == (stored is not None)
            assert item["online"]["synced_by"]["kind"] == "sync"
    roles = explained(synced, "transfer", "source=north", "target=south", "sku=A")
    read = synced.json("get", "transfer", "source=north", "target=south", "sku=A")
    assert values(roles) == read["features"]
    assert [item["keys"]["warehouse"] for item in roles["items"]] == ["north", "south"]


def test_what_the_history_says_otherwise_is_told(synced: Shop) -> None:
    synced.sql("update orders_v1 set plan = 'iron' where customer_id = 1")
    found = explained(synced, "churn@1", "customer_id=1")
    assert [item["differs"] for item in found["items"]] == [
        "the history has other values of plan in that row now",
        None,
    ]
    synced.sql("delete from visits_v1")
    differs = explained(synced, "churn@1", "customer_id=1")["items"][1]["differs"]
    assert differs == "the history has none (no row) as of 2026-01-10T00:00:00Z"
    # A fact of after the sync is newer, and says why it is not online.
    synced.sql(
        "insert into orders_v1 by name select 1 as customer_id, timestamptz '2026-01-11 00:00:00+00' as event_at, "
        "timestamptz '2026-01-11 01:00:00+00' as known_at, 5 as orders_30d"
    )
    (newer,) = explained(synced, "churn@1", "customer_id=1")["items"][0]["chosen"]["newer"]
    assert newer["why"] == "known only from 2026-01-11T01:00:00Z"


def test_an_instant_in_the_past_has_its_training_row_and_what_was_served(synced: Shop, server: Any) -> None:
    now = datetime.now(timezone.utc)
    with FeatureClient(synced.redis_url, "shop_dev", log=ServedLog(), as_of=now) as client:
        read = client.get_online_features(
            "churn@2", [{"customer_id": 1, "amount": 51.0}, {"customer_id": 2, "amount": 1.0}]
        )
    asked = ["churn@2", "customer_id=1", "amount=51"]
    found = explained(synced, *asked, "--as-of", now.isoformat())  # still in the log in Redis
    assert datetime.fromisoformat(found["served_at"]) == now
    served = values(found, "served")
    assert served["visits_7d"] == str(read.rows()[0]["visits_7d"])
    assert served["spent"] is None  # expired, then as now
    assert [item["chosen"]["outcome"] for item in found["items"]] == ["value", "expired"]
    synced.syncer("audit", "churn@2")
    server.delete("shop_dev:#served:churn@2")
    again = explained(synced, *asked, "--as-of", (now + timedelta(hours=9)).isoformat())  # drained into the warehouse
    assert again["served_at"] == found["served_at"]
    assert values(again, "served") == served

    then = explained(synced, *asked, "--as-of", "2026-01-06T00:00:00Z")
    trained = {"visits_7d": None, "orders_30d": 2, "spent": "25.50", "plan": "gold", "basket": [1.5, 2.0]}
    assert values(then) == {**trained, "amount_share": 2.0}
    before = explained(synced, *asked, "--as-of", "2026-01-05T08:30:00Z")
    orders = before["items"][1]["chosen"]
    assert (orders["event_time"], values(before)["orders_30d"]) == ("2026-01-01T08:00:00Z", 1)
    assert [newer["why"] for newer in orders["newer"]] == ["known only from 2026-01-05T09:00:00Z"]


def test_one_feature_with_the_columns_that_it_comes_from(synced: Shop) -> None:
    found = explained(synced, "churn@2", "customer_id=1", "--feature", "amount_share")
    assert (found["items"], [one["missing"] for one in found["computed"]]) == ([], [["amount"]])
    assert "not computed: give amount" in synced.syncer("explain", "churn@2", "customer_id=1")
    told = synced.syncer("explain", "churn@2", "customer_id=1", "--feature", "plan")
    assert "  plan  gold" in told.splitlines()
    assert told.count("comes from") == 1
    assert len(told.splitlines()) < 24


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["churn@9", "customer_id=1"], "there is no feature service 'churn@9'", "churn@"),
        (["churn@1"], "churn@1: 'customer_id' is missing", "give customer_id"),
        (["churn@1", "customer=1"], "churn@1 asks for no 'customer'", "did you mean 'customer_id'?"),
        (["churn@1", "customer_id=1", "x=2"], "churn@1 asks for no 'x'", "it asks for: customer_id\n"),
        (["churn@1", "customer_id=x"], "is not an integer", ""),
        (["churn@1", "customer_id=1", "--feature", "plann"], "has no feature 'plann'", "did you mean 'plan'?"),
    ],
)
def test_bad_questions(arguments: list[str], message: str, hint: str, shop: Shop) -> None:
    refused = shop.try_syncer("explain", *arguments, "--as-of", "2026-01-06T00:00:00Z")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert message in refused.stderr
    assert hint in refused.stderr


def test_a_key_that_is_given_twice_is_no_question(shop: Shop) -> None:
    for command in ("explain", "get"):
        refused = shop.try_syncer(command, "churn@1", "customer_id=1", "customer_id=2")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "'customer_id' is given twice: 1 and 2" in refused.stderr


def test_the_past_needs_no_redis(shop: Shop) -> None:
    told = shop.try_syncer(
        "explain",
        "churn@1",
        "customer_id=1",
        "--as-of",
        "2026-01-06T00:00:00Z",
        SYNCER_REDIS_URL="redis://127.0.0.1:1/0",
    )
    assert told.exit_code == 0
    assert "  plan        gold" in told.stdout
    assert "Warning: what Redis has of the log" in told.stderr
    now = shop.try_syncer("explain", "churn@1", "customer_id=1", SYNCER_REDIS_URL="redis://127.0.0.1:1/0")
    assert (now.exit_code, now.stdout) == (1, "")


def test_the_transcript_of_the_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_warehouse.monitoring.trail.revision", lambda folder: "3f2c1a9b0d4e")
    monkeypatch.setattr("socket.gethostname", lambda: "ci-7")
    monkeypatch.setattr("feature_warehouse.mirror.lease.secrets.token_hex", lambda size: "95fabe77755873d5")
    monkeypatch.setenv("LOGNAME", "ada")
    shop.syncer("sync")
    shop.sql(
        "insert into orders_v1 by name select 1 as customer_id, timestamptz '2026-01-09 20:00:00+00' as event_at, "
        "timestamptz '2026-01-10 06:00:00+00' as known_at, 3 as orders_30d"
    )
    command, *page = Page("guides/monitoring.md").block("explain").splitlines()
    assert shop.syncer(*command.split()[2:]).splitlines() == page
