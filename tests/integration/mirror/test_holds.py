"""One bad view holds itself, and nothing else: what is online of it stays whole, and all see since when and why."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse import FeatureClient
from feature_warehouse.errors import RequestError, StoppedError, StoreError
from feature_warehouse.mirror import sync
from feature_warehouse.mirror.preparation import Instant
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.registry.document import from_document
from feature_warehouse.registry.guards import Guards
from feature_warehouse.wire.marker import Marker, read_marker
from tests.support.metrics import parsed
from tests.support.runs import Runs
from tests.support.shop import NOW, Shop

#: What upstream does to the visits, and what is said of it then.
BAD = {
    "empty": ("delete from visits_v1", "the latest-value view of visits.v1 is empty"),
    "no key": (
        "create or replace view latest_visits_v1 as select * replace (nullif(customer_id, 5) as customer_id) "
        "from visits_v1",
        "join key 'customer_id' is NULL in",
    ),
    "no time": ("update visits_v1 set event_at = '-infinity'", "'event_at' is infinite"),
    "two rows": (
        "create or replace view latest_visits_v1 as from visits_v1 union all from visits_v1",
        "rows whose key another row has too",
    ),
    "another type": (
        "create or replace table visits_v1 as select * replace (visits_7d::double as visits_7d) from visits_v1",
        "'visits_7d' is registered as bigint, came as double",
    ),
    "no value of its type": (
        "create or replace view latest_visits_v1 as select * replace (('x' || visits_7d)::bigint as visits_7d) "
        "from visits_v1",
        "visits.v1 cannot be read: Could not convert string",
    ),
    "no column": (
        "create or replace table visits_v1 as from visits_v1 select customer_id, event_at",
        "visits.v1 cannot be read",
    ),
    "no table": ("drop view latest_visits_v1", "visits.v1 is not built"),
    "fewer": (
        "create or replace table visits_v1 as select * from visits_v1 where customer_id < 120",
        "visits.v1 would lose",
    ),
}


class Held:
    """Some runs on a shop, one of whose views goes bad again and again."""

    def __init__(self, shop: Shop) -> None:
        self.runs = Runs(shop.folder, shop.redis_url)
        self.server: Any = redis.Redis.from_url(shop.redis_url)
        self.database = str(shop.database)

    def sql(self, *statements: str) -> None:
        with duckdb.connect(self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def sync(self, **options: Any) -> dict[str, ViewSynced]:
        return {view.view: view for view in self.runs.sync(allow_shrink=0.5, **options)}

    def marker(self, view: str = "visits") -> Marker:
        marker = read_marker(f"{view}:1", self.server.hget("shop_dev:#markers", f"{view}:1"))
        assert marker
        return marker

    def online(self, view: str = "visits") -> dict[bytes, bytes]:
        values = {key: self.server.hget(key, f"{view}:1") for key in self.server.keys("shop_dev:[a-z]*")}
        return {key: value for key, value in values.items() if value is not None}


@pytest.fixture
def held(shop: Shop) -> Held:
    made = Held(shop)
    made.runs.change(1)
    made.sync()
    return made


def test_each_kind_of_bad_view_holds_itself_alone_and_ends_by_itself(held: Held) -> None:
    held.sql("create table good as from visits_v1")
    with duckdb.connect(held.database) as connection:
        ((definition,),) = connection.execute(
            "select sql from duckdb_views() where view_name = 'latest_visits_v1'"
        ).fetchall()
    definition = definition.replace("CREATE VIEW", "create or replace view")
    for number, (kind, (statement, words)) in enumerate(BAD.items()):
        values, before = held.online(), held.marker()
        held.sql(statement, f"update orders_v1 set orders_30d = {100 + number}")
        done = held.sync()
        assert {view: each.published for view, each in done.items()} == {
            "orders.v1": True,
            "stock.v1": True,
            "visits.v1": False,
        }, kind
        assert done["orders.v1"].written == 3
        (reason,) = done["visits.v1"].reasons
        assert words in reason.message
        assert reason.hint
        assert held.online() == values
        marker = held.marker()
        assert marker.held
        assert (marker.held.why, marker.kept) == (reason.message, None)
        assert replace(marker, held=None) == before, kind
        assert abs(datetime.now(timezone.utc) - marker.held.since).total_seconds() < 60

        held.sync()
        assert held.marker() == marker  # since then, and nothing is written again and again
        held.sql("create or replace table visits_v1 as from good", definition)
        held.sql(f"update visits_v1 set visits_7d = visits_7d + {number}")
        assert held.sync()["visits.v1"].published
        assert held.marker().held is None
    held.runs.assert_exact()


def test_who_syncs_into_an_empty_namespace_serves_what_is_good(shop: Shop) -> None:
    held = Held(shop)
    held.sql("create table good as from visits_v1", "delete from visits_v1")
    assert [view for view, each in held.sync().items() if not each.published] == ["visits.v1"]
    assert held.marker().as_of is None
    assert held.marker().held
    row = {"customer_id": 1, "source": "north", "target": "south", "sku": "A-1"}
    with FeatureClient(shop.redis_url, "shop_dev") as reader:
        assert reader.get_online_features("transfer", [row]).rows()[0]["source_in_stock"] == 40
        with pytest.raises(StoreError, match=r"visits\.v1 .*never completely synced"):
            reader.get_online_features("churn@1", [row])
        held.sql("insert into visits_v1 from good")
        held.sync()
        assert reader.get_online_features("churn@1", [row]).rows()[0]["visits_7d"] == 12
    held.runs.assert_exact()


def test_a_service_keeps_what_it_had_while_what_it_is_to_gain_is_held(shop: Shop) -> None:
    """And what is new beside it is shown: a held view holds nothing but what needs it."""
    held = Held(shop)
    whole = held.runs.registry
    views = {id_: view for id_, view in whole.views.items() if id_ != "stock.v1"}
    orders = views["orders.v1"]
    fewer = tuple(feature for feature in orders.features if feature.name in ("orders_30d", "plan"))
    views["orders.v1"] = replace(orders, features=fewer)
    held.runs.registry = replace(whole, views=views, services={"churn@1": whole.services["churn@1"]})
    held.sync()

    held.runs.registry = whole
    held.sql("create table good as from orders_v1", "delete from orders_v1")
    assert not held.sync()["orders.v1"].published

    def shown() -> Any:
        return from_document(held.server.get("shop_dev:#registry"))

    assert {*shown().services} == {"churn@1", "transfer@1"}
    assert shown().views == {**views, "stock.v1": whole.views["stock.v1"]}
    row = {"customer_id": 1, "source": "north", "target": "south", "sku": "A-1", "amount": 1.0}
    with FeatureClient(shop.redis_url, "shop_dev") as reader:
        assert reader.get_online_features("churn@1", [row]).rows() == [
            {"orders_30d": 2, "plan": "gold", "visits_7d": 12}
        ]
        reader.get_online_features("transfer", [row])
        with pytest.raises(RequestError, match="there is no feature service 'churn@2'"):
            reader.get_online_features("churn@2", [row])
        held.sql("insert into orders_v1 from good")
        held.sync()
        assert reader.get_online_features("churn@2", [row]).rows()[0]["plan"] == "gold"
    assert shown().services == whole.services


def test_a_hold_does_not_outlive_its_view(held: Held) -> None:
    held.sql("delete from visits_v1")
    held.sync()
    held.runs.retire("visits.v1")
    assert held.sync()["visits.v1"].published
    assert held.server.hget("shop_dev:#markers", "visits:1") is None
    assert held.online() == {}


def guarded(runs: Runs, view: str, **guards: Guards) -> None:
    runs.declared = {**runs.declared, view: replace(runs.declared[view], guards=guards)}


def test_a_guard_of_a_feature_holds_its_view(held: Held) -> None:
    guarded(held.runs, "visits.v1", visits_7d=Guards(max_null_jump=0.2, max_changed_share=0.9, range=(0, 1e6)))
    guarded(held.runs, "orders.v1", spent=Guards(range=(0, 1000)))
    held.sync()
    online = held.online()
    for statement, words in (
        (
            "update visits_v1 set visits_7d = null where customer_id % 2 = 0",
            "visits_7d would be NULL in 49.4% of its rows, and is in 0.0% of those online, and its guard is "
            "max_null_jump 0.2",
        ),
        (
            "update visits_v1 set visits_7d = visits_7d + 1",
            "visits_7d would be another value for 100.0% of the entities that stay, and its guard is "
            "max_changed_share 0.9",
        ),
        (
            "update visits_v1 set visits_7d = -1 where customer_id = 5",
            "visits_7d reaches from -1 to 299, and its guard is range [0, 1000000.0]",
        ),
    ):
        held.sql("create table good as from visits_v1", statement)
        done = held.sync()
        assert [each.published for each in done.values()] == [True, True, False]
        assert [reason.message for reason in done["visits.v1"].reasons] == [f"visits.v1: {words}"]
        assert held.online() == online
        held.sql("create or replace table visits_v1 as from good", "drop table good")
        assert held.sync()["visits.v1"].published
    held.sql("update visits_v1 set visits_7d = null")
    assert held.sync(allow_guarded=True)["visits.v1"].written == len(online)
    held.sync()
    held.runs.assert_exact()


@pytest.mark.parametrize("proven", [True, False])
def test_what_a_run_left_half_written_is_not_held_so(proven: bool, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its history is known to only grow, what lay there before comes back; else it is said, with the way back."""
    monkeypatch.setattr(sync, "TRANSACTION_ROWS", 1)
    runs, noon = held.runs, Instant(as_of=datetime(2026, 1, 9, 12, tzinfo=timezone.utc), clock="fixed")
    orders = replace(runs.declared["orders.v1"], append_only=True, append_only_test=proven)
    runs.declared = {**runs.declared, "orders.v1": orders}
    held.sync(instant=noon)
    whole, before = held.online("orders"), held.marker("orders")
    then = "timestamptz '2026-01-09 18:00:00+00'"
    held.sql(
        f"insert into orders_v1 by name select * replace ({then} as event_at, {then} as known_at, 70 as orders_30d) "
        "from latest_orders_v1"
    )
    written: list[int] = []
    with pytest.raises(StoppedError, match=r"stopped in orders\.v1"):
        held.sync(remember=False, progress=lambda *_: written.append(1), stopped=lambda: bool(written))
    assert held.marker("orders").state == "open"
    assert 0 < sum(held.online("orders")[key] != message for key, message in whole.items()) < len(whole)

    guarded(runs, "orders.v1", orders_30d=Guards(max_changed_share=0))
    for _ in range(2):
        done = held.sync()["orders.v1"]
        guard, *more = [reason.message for reason in done.reasons]
        marker = held.marker("orders")
        assert marker.held
        assert (guard in marker.held.why, marker.kept, marker.as_of) == (True, None, noon.as_of)
        if proven:
            assert (more, held.online("orders")) == ([], whole)
            assert replace(marker, held=None, token="", published_at=None) == replace(
                before, token="", published_at=None
            )
        else:
            assert more == [
                "orders.v1 was left half written by a run that died: some of its rows are newer than others"
            ]
            assert "`syncer rollback orders.v1 --as-of 2026-01-09T12:00:00Z`" in done.reasons[1].hint
            assert (more[0] in marker.held.why, marker.state) == (True, "open")
    guarded(runs, "orders.v1")
    assert held.sync()["orders.v1"].published
    runs.assert_exact()


def test_a_drift_alarm_holds_only_where_a_feature_says_so(held: Held) -> None:
    held.sql(
        "create table drift_visits as select 'visits.v1' as source, 'feature_view' as source_type, feature, "
        "timestamptz '2026-01-05' + day * interval 1 day as period_start, psi, verdict "
        "from (values ('visits_7d', 0, 0.9, 'act'), ('visits_7d', 1, 0.4, 'act'), ('other', 1, 0.9, 'act')) "
        "as t(feature, day, psi, verdict)"
    )
    profiles = ("shop.main.never_built", "shop.main.drift_visits")
    assert held.sync(drift_profiles=profiles)["visits.v1"].published
    guarded(held.runs, "visits.v1", visits_7d=Guards(hold_on_drift=True))
    done = held.sync(drift_profiles=profiles)
    assert [each.published for each in done.values()] == [True, True, False]
    (reason,) = done["visits.v1"].reasons
    assert reason.message == "visits.v1: visits_7d has drifted, PSI 0.40, and its guard is hold_on_drift"
    assert held.sync(drift_profiles=profiles, allow_guarded=True)["visits.v1"].published
    held.sql("update drift_visits set verdict = 'look' where period_start > '2026-01-05 12:00:00+00'")
    assert held.sync(drift_profiles=profiles)["visits.v1"].published


def test_a_hold_is_told_in_every_place(shop: Shop) -> None:
    shop.syncer("sync")
    shop.sql("delete from visits_v1", "update orders_v1 set plan = 'silver'")
    planned = shop.try_syncer("plan")
    assert (planned.exit_code, "visits.v1 (held)" in planned.stdout) == (1, True)
    assert f"Held: visits.v1: the latest-value view of visits.v1 is empty at {NOW[:-1]}+00:00\n" in planned.stderr

    metrics = shop.folder / "sync.prom"
    synced = shop.try_syncer("sync", "--metrics", str(metrics))
    assert synced.exit_code == 1
    assert "visits.v1 (held)" in synced.stdout
    assert synced.stdout.splitlines()[-1].endswith("; 1 view is held.")
    assert synced.stderr.startswith("Held: visits.v1: the latest-value view of visits.v1 is empty at ")
    assert "Hint: serving nothing is rarely meant" in synced.stderr
    told = parsed(metrics.read_text())["feature_warehouse_held"]
    assert {labels.split('"')[3]: value for labels, value in told.items()} == {
        "orders.v1": 0,
        "stock.v1": 0,
        "visits.v1": 1,
    }

    again = shop.try_syncer("sync", "--json")
    found = json.loads(again.stdout)
    assert (again.exit_code, found["held"]) == (1, ["visits.v1"])
    visits = found["views"][2]
    assert "is empty" in visits["reasons"][0]["message"]
    assert visits["held"]["why"] == visits["reasons"][0]["message"]

    status = shop.try_syncer("status", "--check")
    assert status.exit_code == 1
    assert "visits.v1: held since " in status.stdout
    assert "1 of 3 feature views is held, and " in status.stdout
    by_view = {view["view"]: view for view in shop.json("status")["views"]}
    assert by_view["visits.v1"]["state"] == "held"
    assert by_view["visits.v1"]["held"] == visits["held"]
    assert by_view["orders.v1"]["held"] is None

    explained = shop.json("explain", "churn@1", "customer_id=1")["items"]
    held = {item["view"]: item["online"]["held"] for item in explained}
    assert held["orders.v1"] is None
    assert held["visits.v1"].startswith("held since ")
    assert "is empty" in held["visits.v1"]

    verified = shop.try_syncer("verify")  # of what its marker claims, the warehouse has nothing left
    assert (verified.exit_code, "visits.v1: held since " in verified.stdout) == (1, True)
    repaired = shop.try_syncer("verify", "--repair")
    assert (repaired.exit_code, "Held: visits.v1" in repaired.stderr) == (1, True)

    shop.syncer("report", "-o", "report.html")
    page = (shop.folder / "report.html").read_text()
    assert "views held" in page
    assert "held since" in page
    shop.syncer("sync", "--allow-empty")
    assert {view["held"] is None for view in shop.json("status")["views"]} == {True}


TESTED = {
    "models/visits.yml": (
        "- {name: visits_7d, data_type: bigint}",
        "- {name: visits_7d, data_type: bigint, data_tests: [{not_null: {config: {severity: SEVERITY}}}]}",
    ),
}


def test_what_dbt_says_of_a_view_holds_it(shop: Shop) -> None:
    """Its own tests, its model, and the models above; of other models nothing, and of a warning nothing."""

    def held_by() -> dict[str, str]:
        done = json.loads(shop.try_syncer("sync", "--json").stdout)
        return {view["view"]: view["reasons"][0]["message"] for view in done["views"] if view["reasons"]}

    shop.write("models/clicks.sql", "select 1 as n")
    shop.write("models/others.sql", "select 1 as n")
    stock = (shop.folder / "models/stock_v1.sql").read_text()
    shop.write("models/stock_v1.sql", f"-- depends_on: {{{{ ref('clicks') }}}}\n{stock}")
    path, (old, new) = next(iter(TESTED.items()))
    shop.replace(path, old, new.replace("SEVERITY", "error"))
    shop.dbt("build")
    shop.syncer("register")
    shop.syncer("sync")

    shop.replace("models/visits_v1.sql", "12)", "null)")
    shop.replace("models/others.sql", "1 as n", "nothing as n")
    shop.try_dbt("build")
    (visits,) = held_by().items()
    assert visits[0] == "visits.v1"
    assert visits[1].startswith(
        "in dbt's last run the test not_null_visits_v1_visits_7d of visits failed: Got 1 result"
    )
    shop.replace(path, "severity: error", "severity: warn")
    shop.try_dbt("build")
    assert held_by() == {}

    shop.replace("models/clicks.sql", "1 as n", "nothing as n")
    shop.try_dbt("build")
    said = held_by()
    assert {*said} == {"stock.v1"}
    assert said["stock.v1"].startswith("in dbt's last run the model clicks failed: Runtime Error")
    shop.syncer("sync", "--allow-failed")
    shop.dbt("run", "--select", "visits")  # of the stock nothing is known then
    assert held_by() == {}
