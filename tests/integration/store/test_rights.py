"""The access rights on docs/wire-format.md: enough for who has them, and not one too many."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from feature_warehouse import FeatureClient, ServedLog
from feature_warehouse.errors import StoreError, StoreRefusedError
from feature_warehouse.mirror import sync
from feature_warehouse.monitoring.trail import Trail, read_trail
from feature_warehouse.store.store import Store
from tests.support.pages import Page
from tests.support.runs import NAMESPACE, Runs
from tests.support.shop import Shop

RULES = {rule.split()[2]: rule.split() for rule in Page("wire-format.md").block("rights").splitlines()}

LOG = f"{NAMESPACE}:#served:churn@2"

#: Without these a run that is alone ends well all the same; each has a test of its own below.
LIVES_WITHOUT = {"+info", "+wait", "+unwatch", "+xadd"}


class Users:
    """The users of the page, in the namespace of the shop."""

    def __init__(self, admin: Any, shop: Shop) -> None:
        self._admin = admin
        self._numbers = itertools.count()
        self._url = shop.redis_url
        self.runs = Runs(shop.folder, self.url("writer"))

    def url(self, name: str) -> str:
        return self._url.replace("//", f"//{name}:secret@")

    def allow(self, name: str, without: str | None = None) -> None:
        self._admin.execute_command("ACL", "DELUSER", name)
        rule = (word.replace("demo_dev", NAMESPACE) for word in RULES[name] if word != without)
        self._admin.execute_command(*rule)

    def write(self) -> None:
        """All that a writer does to a namespace: what differs, the proof of it, its end and its beginning."""
        self.runs.change(next(self._numbers))
        self.runs.sync(remember=False)
        with closing(Store(self.url("writer"))) as store:
            self.runs.verify(store)
            list(sync.drop(store, namespace=NAMESPACE, project="shop", target="dev"))
            Trail(store, NAMESPACE, None).record("drop")
        self.runs.sync(remember=False)

    def log(self) -> None:
        with FeatureClient(self.url("logger"), NAMESPACE, log=ServedLog()) as client:
            client.get_online_features("churn@2", [{"customer_id": 1, "amount": 51.0}])

    def drain(self) -> None:
        with closing(Store(self.url("auditor"))) as store:
            list(store.entries(LOG, "0-0"))
            list(read_trail(store, NAMESPACE))

    def read(self) -> object:
        with FeatureClient(self.url("reader"), NAMESPACE) as client:
            return client.get_online_features("churn@1", [{"customer_id": 1}]).rows()[0]["plan"]


@pytest.fixture
def users(shop: Shop, server: Any) -> Iterator[Users]:
    made = Users(server, shop)
    try:
        for name in RULES:
            made.allow(name)
        yield made
    finally:
        for name in RULES:
            server.execute_command("ACL", "DELUSER", name)


def test_the_listed_rights_are_enough(users: Users, server: Any, caplog: pytest.LogCaptureFixture) -> None:
    users.runs.sync()
    users.write()
    assert users.read() == "gold"
    assert (caplog.messages, server.xlen(f"{NAMESPACE}:#trail:changes")) == ([], 1)


def test_a_reader_without_one_of_its_rights_is_refused(users: Users) -> None:
    users.runs.sync()
    for word in rights("reader"):
        users.allow("reader", without=word)
        with pytest.raises(StoreRefusedError, match="NOPERM") as refused:
            users.read()
        assert "docs/wire-format.md lists the commands" in refused.value.hint, word


def test_who_logs_and_who_audits_have_what_they_need_and_no_more(users: Users, shop: Shop, server: Any) -> None:
    users.runs.sync()
    users.log()
    for name, does in (("logger", users.log), ("auditor", users.drain)):
        for word in rights(name):
            users.allow(name, without=word)
            refused = refusal(does)
            if word != "+xadd":  # the read goes on, and nothing is logged
                assert refused, f"{word} is one right too many"
                assert "NOPERM" in refused.message, word
        users.allow(name)
    assert server.xlen(LOG) == 1
    shop.redis_url = users.url("auditor")
    assert "1 row drained." in shop.syncer("audit", "churn@2")


def test_a_writer_without_one_of_its_rights_is_refused(users: Users, server: Any) -> None:
    for word in rights("writer"):
        if word in LIVES_WITHOUT:
            continue
        users.allow("writer")
        server.flushall()  # also the lease of the one before, which it could not give back
        users.runs.sync(remember=False)
        users.allow("writer", without=word)
        refused = refusal(users.write)
        assert refused, f"{word} is one right too many"
        assert "NOPERM" in refused.message, word
        assert "docs/wire-format.md lists the commands" in refused.hint, word


def refusal(step: Callable[[], object]) -> StoreRefusedError | None:
    try:
        step()
    except StoreRefusedError as error:
        return error
    return None


def test_a_writer_that_may_not_ask_reads_back_each_time(users: Users) -> None:
    users.allow("writer", without="+info")
    users.runs.sync()
    assert {view.read_back for view in users.runs.sync()} == {"Redis does not say whether it has evicted keys (INFO)"}


def test_a_writer_that_may_not_append_says_what_is_not_on_record(
    users: Users, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    users.allow("writer", without="+xadd")
    users.write()
    (said,) = caplog.messages
    assert said.startswith("the audit trail in Redis lacks this drop: ")
    assert "docs/wire-format.md lists the commands" in said
    assert not server.exists(f"{NAMESPACE}:#trail:changes")


def test_waiting_for_replicas_takes_a_right_of_its_own(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "REPLICA_SECONDS", 0.01)
    for without, message in ((None, "0 of 1 replicas"), ("+wait", "NOPERM")):
        users.allow("writer", without=without)
        with pytest.raises(StoreError, match=message):
            users.runs.sync(wait_replicas=1)


def test_a_run_that_finds_another_one_at_work_needs_unwatch(users: Users, server: Any) -> None:
    users.allow("writer", without="+unwatch")
    users.runs.sync()
    server.hset(f"{NAMESPACE}:#lease:orders:1", "other", b'{"host": "elsewhere", "pid": 1, "since": ""}')
    with pytest.raises(StoreRefusedError, match="NOPERM"):
        users.runs.sync()


def test_neither_sees_the_keys_of_others_and_a_reader_writes_nothing(users: Users, server: Any) -> None:
    server.set(f"{NAMESPACE}2:#registry", b"theirs")
    theirs = f"{NAMESPACE}2:#registry"
    refusal = pytest.raises(StoreRefusedError, match=f"the key {theirs}: NOPERM")
    with closing(Store(users.url("writer"))) as store, refusal:
        store.get(theirs)
    with redis.Redis.from_url(users.url("reader")) as reader, pytest.raises(redis.exceptions.NoPermissionError):
        reader.hset(f"{NAMESPACE}:customer:1", "orders:1", b"ours")


def rights(name: str) -> list[str]:
    words = [word for word in RULES[name] if word.startswith("+")]
    assert len(words) > 1
    return words
