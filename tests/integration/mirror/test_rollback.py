"""The way back: a view is served as of an earlier instant, stays so through what comes, and is released."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse import FeatureClient
from feature_warehouse.care.rollback import RolledBack, limits, release, rollback
from feature_warehouse.errors import DataError, NamespaceError, OvertakenError, RequestError
from feature_warehouse.mirror import sync
from feature_warehouse.mirror.namespace import read_markers
from feature_warehouse.mirror.preparation import Instant
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.mirror.wishes import read_wishes
from feature_warehouse.store.store import Store
from feature_warehouse.wire.marker import Marker, read_marker
from tests.support.results import assert_refused
from tests.support.runs import AS_OF, NAMESPACE, Runs
from tests.support.shop import NOW, Shop

#: Before and after the bad rows of the orders were known.
GOOD, BAD = "2026-01-09T12:00:00+00:00", "2026-01-09T18:00:00+00:00"

#: What upstream sent in the afternoon: for a customer who is there, and for one who is new; then what came after it.
WRONG = f"""
insert into orders_v1 by name
select
    id as customer_id, timestamptz '{GOOD}' as event_at, timestamptz '{BAD}' as known_at, -1 as orders_30d,
    -1 as spent, 'wrong' as plan
from (values (1), (7)) as t(id)
"""


class Way:
    """A shop whose orders got wrong rows, and the way back."""

    def __init__(self, shop: Shop) -> None:
        self.runs = Runs(shop.folder, shop.redis_url)
        self.server: Any = redis.Redis.from_url(shop.redis_url)
        self.store = Store(shop.redis_url)
        self.reader = FeatureClient(shop.redis_url, NAMESPACE)

    def sql(self, *statements: str) -> None:
        with duckdb.connect(str(self.runs.folder / "shop.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)

    def sync(self, **options: Any) -> dict[str, ViewSynced]:
        return {view.view: view for view in self.runs.sync(**options)}

    def back(self, as_of: str = GOOD, view: str = "orders.v1", **changed: Any) -> RolledBack:
        wanted = replace(self.runs.wanted(select=frozenset({view})), **changed)
        return rollback(wanted, self.store, as_of=datetime.fromisoformat(as_of), reason="wrong plans", terms=Terms())

    def release(self, view: str = "orders.v1") -> None:
        release(self.store, namespace=NAMESPACE, project="shop", target="dev", view=view)

    def marker(self, view: str = "orders") -> Marker:
        marker = read_marker(f"{view}:1", self.server.hget("shop_dev:#markers", f"{view}:1"))
        assert marker
        return marker

    def read(self, customer: int) -> dict[str, Any]:
        return self.reader.get_online_features("churn@1", [{"customer_id": customer}]).rows()[0]

    def raw(self) -> dict[bytes, bytes]:
        values = {key: self.server.hget(key, "orders:1") for key in self.server.keys("shop_dev:customer:*")}
        return {key: value for key, value in values.items() if value is not None}


@pytest.fixture
def way(shop: Shop) -> Iterator[Way]:
    made = Way(shop)
    with closing(made.store), closing(made.reader):
        made.runs.change(1)
        yield made


@pytest.fixture
def good(way: Way) -> dict[bytes, bytes]:
    """What was online as of GOOD; what is online now has the wrong rows too."""
    way.sync(instant=Instant(as_of=datetime.fromisoformat(GOOD), clock="fixed"))
    values = way.raw()
    way.sql(WRONG)
    way.sync()
    assert way.read(1)["plan"] == "wrong"
    assert way.read(7)["plan"] == "wrong"
    return values


def test_what_is_rolled_back_is_the_view_at_that_instant_and_stays_it(way: Way, good: dict[bytes, bytes]) -> None:
    done = way.back()
    assert (done.synced.written, done.synced.removed) == (1, 1)
    assert done.left.as_of == AS_OF
    assert way.raw() == good
    marker = way.marker()
    assert (marker.state, marker.clock, marker.rolled_back) == ("done", "fixed", True)
    assert marker.as_of == datetime.fromisoformat(GOOD)
    assert marker.kept
    assert (marker.kept.why, marker.kept.as_of) == ("wrong plans", marker.as_of)
    assert way.read(1) == {"orders_30d": 2, "plan": "gold", "visits_7d": 12}
    way.runs.assert_exact_but({"orders": datetime.fromisoformat(GOOD)})

    for number in range(3):  # as a schedule does it
        way.runs.change(2 + number)
        done_by = way.sync(full=number == 2)
        assert done_by["visits.v1"].written > 0
        assert (done_by["orders.v1"].written, done_by["orders.v1"].removed) == (0, 0)
        assert done_by["orders.v1"].published
        assert way.raw() == good
        assert way.marker().kept == marker.kept
        way.runs.assert_exact_but({"orders": datetime.fromisoformat(GOOD)})

    way.release()
    assert way.marker().held is None
    assert way.marker().rolled_back
    assert way.raw() == good
    assert way.sync()["orders.v1"].written == 2
    assert way.read(7)["plan"] == "wrong"
    assert not way.marker().rolled_back
    way.runs.assert_exact()


def test_a_rollback_is_mended_where_it_lies(way: Way, good: dict[bytes, bytes]) -> None:
    """At its own instant, not at that of the run."""
    way.back()
    way.server.hset("shop_dev:customer:1", "orders:1", b"by hand")
    way.server.hdel("shop_dev:customer:2", "orders:1")
    (found, *_) = way.runs.verify(way.store)
    assert found.differences == 2
    way.sync(full=True)
    assert way.raw() == good
    assert way.marker().kept


def test_a_rollback_that_dies_is_ended_by_the_next_sync(
    way: Way, good: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Marker, "to_bytes", _until_done(Marker.to_bytes))
        with pytest.raises(KeyboardInterrupt):
            way.back()
    marker = way.marker()
    assert (marker.state, marker.as_of) == ("open", AS_OF)
    assert marker.kept
    way.sync()
    assert way.raw() == good
    assert (way.marker().state, way.marker().as_of) == ("done", datetime.fromisoformat(GOOD))
    assert way.marker().kept


def _until_done(written: Any) -> Any:
    def to_bytes(marker: Marker) -> Any:
        if marker.state == "done":
            raise KeyboardInterrupt
        return written(marker)

    return to_bytes


def test_ttl_and_staleness_are_those_of_the_instant(way: Way) -> None:
    """A value that has expired since is served as it was then; one that had expired then is not there."""
    way.sync()
    then = "2025-12-20T00:00:00+00:00"  # customers 3 and 4 had not expired
    way.back(then)
    found = way.reader.get_online_features("churn@1", [{"customer_id": id_} for id_ in (1, 3, 4)])
    assert [row[0] for row in found.statuses] == ["missing", "present", "present"]
    assert found.views[0].marker.as_of == datetime.fromisoformat(then)
    assert not found.views[0].stale
    assert found.views[0].marker.kept
    way.back("2026-01-08T00:00:00+00:00")  # again, to another instant
    found = way.reader.get_online_features("churn@1", [{"customer_id": id_} for id_ in (1, 3, 4)])
    assert [row[0] for row in found.statuses] == ["present", "present", "missing"]


def test_a_sync_that_began_before_a_rollback_or_a_release_does_not_undo_it(
    way: Way, good: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def during(step: Callable[[], object]) -> None:
        def read(*args: Any) -> Any:
            found = read_wishes(*args)
            monkeypatch.setattr(sync, "read_wishes", read_wishes)
            step()
            return found

        monkeypatch.setattr(sync, "read_wishes", read)
        with pytest.raises(OvertakenError, match=r"another sync wrote orders\.v1"):
            way.sync()

    during(way.back)
    assert way.raw() == good
    during(way.release)
    assert way.raw() == good


def test_a_rollback_bears_a_sync_that_comes_in_between(
    way: Way, good: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [0]

    def read(*args: Any) -> Any:
        found = read_markers(*args)
        seen[0] += 1
        if seen[0] == 2:  # it has looked, and takes the lease now
            monkeypatch.setattr(sync, "read_markers", read_markers)
            way.sync()
        return found

    monkeypatch.setattr(sync, "read_markers", read)
    way.back()
    assert way.raw() == good


def test_what_is_held_is_neither_retired_nor_dropped(way: Way, good: dict[bytes, bytes]) -> None:
    way.back()
    with pytest.raises(RequestError, match=r"orders\.v1 was rolled back in 'shop_dev'"):
        list(sync.drop(way.store, namespace=NAMESPACE, project="shop", target="dev"))
    way.runs.retire("orders.v1")
    done = way.sync()
    assert not done["orders.v1"].published
    assert way.raw() == good
    assert [view.view for view in way.runs.verify(way.store) if view.differences] == []
    way.release()
    assert way.sync()["orders.v1"].removed == 3
    assert way.raw() == {}
    way.back(view="visits.v1")
    way.release("visits")
    list(sync.drop(way.store, namespace=NAMESPACE, project="shop", target="dev"))
    assert not way.server.exists("shop_dev:#markers")


def test_what_cannot_be_rolled_back_is_said_and_nothing_is_touched(way: Way) -> None:
    with pytest.raises(RequestError, match=r"nothing of orders\.v1 was ever online"):
        way.back()
    with pytest.raises(RequestError, match="nothing is online in 'shop_dev'"):
        way.release()
    way.sync()
    before, values = way.marker(), way.raw()
    ahead = (AS_OF + timedelta(seconds=1)).isoformat()
    for as_of, error, words in (
        (ahead, RequestError, "lies ahead"),
        ("2020-01-01T00:00:00+00:00", DataError, "is empty at 2020-01-01"),
    ):
        with pytest.raises(error, match=words) as told:
            way.back(as_of)
        assert "--allow" not in told.value.hint, "a rollback has no such option"
    with pytest.raises(NamespaceError, match="belongs to the project 'shop'"):
        way.back(target="prod")
    with pytest.raises(RequestError, match=r"nobody has rolled orders\.v1 back"):
        way.release()
    with pytest.raises(RequestError, match=r"there is no feature view 'order'") as refused:
        way.release("order")
    assert refused.value.hint == "did you mean 'orders.v1'?"
    assert (way.marker(), way.raw()) == (before, values)

    way.sql("delete from visits_v1")
    way.sync()
    with pytest.raises(RequestError, match=r"nobody has rolled visits\.v1 back in 'shop_dev': it is held since"):
        way.release("visits.v1")
    assert "available_at" in " ".join(limits(way.runs.declared["visits.v1"]))
    assert len(limits(way.runs.declared["orders.v1"])) == 1


def test_the_commands_say_what_they_did_and_everybody_sees_it(shop: Shop) -> None:
    shop.syncer("sync")
    shop.sql(WRONG)
    shop.syncer("sync")
    done = shop.try_syncer("rollback", "orders", "--as-of", GOOD, "--reason", "wrong plans")
    assert done.exit_code == 0, done.output
    assert "orders.v1 in shop_dev on 127.0.0.1" in done.stdout
    assert "is what it was at 2026-01-09T12:00:00Z: 3 rows, 1 written, 1 removed." in done.stdout
    assert "Warning: what orders.v1 was may not come back whole: its history is not proven to only grow" in done.stderr

    synced = shop.try_syncer("sync")
    assert synced.exit_code == 0
    assert "orders.v1 (rolled back)" in synced.stdout
    assert synced.stdout.splitlines()[-1].endswith(f"as of {NOW}; 1 view is rolled back.")
    assert "orders.v1: rolled back to 2026-01-09T12:00:00Z by " in synced.stderr
    status = shop.try_syncer("status", "--check")
    assert (status.exit_code, "orders.v1: rolled back to 2026-01-09T12:00:00Z by " in status.stdout) == (1, True)
    (orders, *_) = json.loads(shop.syncer("status", "--json"))["views"]
    assert (orders["state"], orders["held"]["why"], orders["online"]["rolled_back"]) == ("held", "wrong plans", True)
    verified = shop.syncer("verify")
    assert "0 differences" in verified
    assert "orders.v1: rolled back to" in verified
    assert "orders.v1 (rolled back)" in shop.syncer("plan")
    explained = shop.syncer("explain", "churn@1", "customer_id=1")
    assert "  held         rolled back to 2026-01-09T12:00:00Z by " in explained
    assert "  differs " not in explained
    assert_refused(shop.try_syncer("drop", "--yes"), "was rolled back in 'shop_dev'", "syncer release orders.v1")

    released = shop.syncer("release", "orders")
    assert "is released; it was rolled back to 2026-01-09T12:00:00Z by " in released
    assert_refused(shop.try_syncer("release", "orders"), "nobody has rolled orders back", "nothing to release")
    shop.syncer("sync")
    assert "held" not in shop.syncer("status")
    given = json.loads(shop.syncer("rollback", "orders.v1", "--as-of", GOOD, "--json", "--reason", "a\n\x1b[2J" * 999))
    assert given["view"]["held"]["as_of"] == GOOD
    why = given["view"]["held"]["why"]
    assert (why.isprintable(), len(why)) == (True, 500)
    shop.syncer("rollback", "orders.v1", "--as-of", GOOD)
    assert given["unproven"]
    assert json.loads(shop.syncer("release", "orders.v1", "--json"))["released"]["why"] == "rolled back"
    assert_refused(shop.try_syncer("rollback", "order", "--as-of", GOOD), "no feature view 'order'", "did you mean")


def test_a_real_clock_goes_on_after_a_release(way: Way) -> None:
    real = Instant(as_of=datetime.now(timezone.utc), clock="real")
    then = "now() - interval 1 minute"
    way.sql(
        f"insert into orders_v1 by name select * replace ({then} as event_at, {then} as known_at) from orders_v1 "
        "limit 1"
    )
    assert way.sync(instant=real)["orders.v1"].reasons == ()
    way.back(instant=real)
    assert way.marker().clock == "fixed"
    way.release()
    assert way.sync(instant=Instant(as_of=datetime.now(timezone.utc), clock="real"))["orders.v1"].published
    assert way.marker().clock == "real"
