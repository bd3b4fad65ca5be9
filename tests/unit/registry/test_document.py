"""The registry: numbers that are given once, changes that are refused, and its two written forms."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import NamespaceError, RegistryError
from feature_warehouse.registry.document import (
    FIRST_NUMBER,
    Acknowledged,
    Fix,
    Registry,
    Unbuilt,
    from_document,
    from_json,
    load_registry,
    owner,
    register,
    revision,
    to_document,
    to_json,
    to_text,
)
from feature_warehouse.registry.feature import (
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    JoinKey,
    OnDemandFeature,
    ServiceView,
)
from feature_warehouse.registry.shape import Part
from tests.support.facts import CUSTOMER, ITEM, service, view

ORDERS = view("orders", "spent", "plan varchar", "basket double[]", "last_seen timestamptz")
VISITS = view("visits", "visits_7d bigint", "bounced boolean")
STOCK = view("stock", "in_stock integer", entity=ITEM)
VIEWS = {view.id: view for view in (ORDERS, VISITS, STOCK)}
CHURN = service("churn", "orders.v1 plan", "visits.v1 visits_7d")
SERVICES = {CHURN.id: CHURN}

EMPTY = Registry("shop")
SERVED, _ = register(EMPTY, VIEWS, SERVICES)


def numbers(registry: Registry) -> dict[tuple[str, str], int | None]:
    return {(id_, f.name): f.number for id_, view in registry.views.items() for f in view.features}


# --- decisions


def test_decisions_come_back_with_who_and_when(tmp_path: Path) -> None:
    who: dict[str, Any] = {
        "on": date(2026, 1, 2),
        "by": "Ada <ada@example.com>",
        "at": "2026-01-02T03:04:05.000006+00:00",
    }
    decided = replace(
        SERVED,
        fixes=(Fix(view="orders.v1", features=("plan",), reason="tax", rebuild=("fct",), **who),),
        acknowledged=(Acknowledged(what="orders.v1: `stg` reads main.raw", reason="IT", **who),),
        unbuilt=(Unbuilt(view="orders.v1", features=("plan",), reason="so be it", **who),),
    )
    path = tmp_path / "registry.json"
    path.write_text(to_text(decided))
    assert load_registry(path, "shop") == decided
    assert not {"fixes", "acknowledged", "unbuilt"} & to_json(decided).keys()  # they are nothing to readers of Redis


def test_decisions_of_an_older_release_are_read_and_written_as_they_were(tmp_path: Path) -> None:
    old = json.loads(to_text(SERVED)) | {
        "fixes": [{"on": "2026-01-02", "view": "orders.v1", "features": ["plan"], "reason": "tax"}],
        "acknowledged": [{"on": "2026-01-02", "what": "orders.v1: it is read by name", "reason": "IT"}],
    }
    text = json.dumps(old, indent=2, sort_keys=True) + "\n"
    path = tmp_path / "registry.json"
    path.write_text(text)
    read = load_registry(path, "shop")
    assert read.fixes == (Fix(date(2026, 1, 2), "orders.v1", ("plan",), "tax"),)
    assert to_text(read) == text


@pytest.mark.parametrize("entry", [{"at": "yesterday"}, {"at": "2026-01-02T03:04:05"}, {"by": 7}, {"rebuild": "fct"}])
def test_a_decision_that_cannot_be_read_is_said_with_its_place(tmp_path: Path, entry: dict[str, Any]) -> None:
    fix = {"on": "2026-01-02", "view": "orders.v1", "features": ["plan"], "reason": "tax", **entry}
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(json.loads(to_text(SERVED)) | {"fixes": [fix]}))
    with pytest.raises(RegistryError, match=re.escape(f"fixes[0].{next(iter(entry))}")):
        load_registry(path, "shop")


# --- numbers


def test_a_feature_gets_its_number_when_a_service_first_reads_it() -> None:
    assert numbers(SERVED) == {("orders.v1", "plan"): 2, ("visits.v1", "visits_7d"): 2}
    later, changes = register(SERVED, VIEWS, SERVICES | {"value@1": service("value", "orders.v1 spent basket")})
    assert numbers(later) == numbers(SERVED) | {("orders.v1", "spent"): 3, ("orders.v1", "basket"): 4}
    assert changes == [
        "orders.v1: spent is served as field 3",
        "orders.v1: basket is served as field 4",
        "value@1: new service",
    ]


def test_new_numbers_follow_the_order_of_the_columns_not_that_of_the_service() -> None:
    registry, _ = register(EMPTY, VIEWS, {"value@1": service("value", "orders.v1 last_seen basket spent")})
    assert [f.name for f in registry.views["orders.v1"].features] == ["spent", "basket", "last_seen"]
    assert [f.number for f in registry.views["orders.v1"].features] == [2, 3, 4]


def test_a_view_that_no_service_reads_is_not_in_the_registry() -> None:
    assert "stock.v1" not in SERVED.views


def test_a_feature_that_no_service_reads_any_more_keeps_its_number() -> None:
    without, changes = register(SERVED, VIEWS, {})
    assert numbers(without) == numbers(SERVED)
    assert changes == ["churn@1: retired"]
    again, _ = register(without, VIEWS, {"value@1": service("value", "orders.v1 spent")})
    assert numbers(again)["orders.v1", "spent"] == 3


def test_registering_twice_changes_nothing() -> None:
    assert register(SERVED, VIEWS, SERVICES) == (SERVED, [])


FEATURES = [(view.id, feature.name) for view in VIEWS.values() for feature in view.features]
Reads = dict[tuple[str, str], None]  # an ordered set


@st.composite
def projects(draw: st.DrawFn) -> list[dict[str, Reads]]:
    """What a project declares, commit after commit: services come, read more features, and go."""
    commits: list[dict[str, Reads]] = [{}]
    for _ in range(draw(st.integers(1, 8))):
        services = {name: dict(reads) for name, reads in commits[-1].items()}
        action = draw(st.sampled_from(["new", "extend", "retire"] if services else ["new"]))
        if action == "retire":
            del services[draw(st.sampled_from(sorted(services)))]
        else:
            name = f"s{len(commits)}" if action == "new" else draw(st.sampled_from(sorted(services)))
            keys = {VIEWS[id_].entity for id_, _ in services.get(name, {})}  # of which callers know no more
            readable = [feature for feature in FEATURES if not keys or VIEWS[feature[0]].entity in keys]
            added = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=4))
            services[name] = services.get(name, {}) | dict.fromkeys(added)
        commits.append(services)
    return commits


def declared(services: Mapping[str, Reads]) -> dict[str, FeatureService]:
    made = [service(name, *(f"{id_} {feature}" for id_, feature in reads)) for name, reads in services.items()]
    return {service.id: service for service in made}


@given(projects())
def test_a_number_is_never_changed_and_never_given_again(commits: list[dict[str, Reads]]) -> None:
    registry, given_numbers = EMPTY, dict[tuple[str, str], int | None]()
    for services in commits:
        registry, _ = register(registry, VIEWS, declared(services))
        now = numbers(registry)
        assert now.keys() >= given_numbers.keys()
        assert {feature: now[feature] for feature in given_numbers} == given_numbers
        for id_, served in registry.views.items():
            used = [feature.number for feature in served.features]
            assert used == list(range(FIRST_NUMBER, FIRST_NUMBER + len(used))), id_
        given_numbers = now


@given(projects(), st.randoms(use_true_random=False))
def test_the_same_declarations_give_the_same_file_in_any_order(
    commits: list[dict[str, Reads]], shuffled: random.Random
) -> None:
    def in_any_order(mapping: Mapping[str, FeatureView] | Mapping[str, FeatureService]) -> dict:
        items = list(mapping.items())
        shuffled.shuffle(items)
        return dict(items)

    one = other = EMPTY
    for services in commits:
        one, _ = register(one, VIEWS, declared(services))
        other, _ = register(other, in_any_order(VIEWS), in_any_order(declared(services)))
    assert to_text(one) == to_text(other)


def test_after_a_merge_registering_from_the_base_gives_one_file_whoever_was_first() -> None:
    """Both branches gave the number 3; the base's registry and both declarations give each its own."""
    mine = service("mine", "orders.v1 spent")
    yours = service("yours", "orders.v1 basket")
    in_branches = [register(SERVED, VIEWS, SERVICES | {branch.id: branch})[0] for branch in (mine, yours)]
    assert [max(number or 0 for number in numbers(registry).values()) for registry in in_branches] == [3, 3]
    merged = [
        register(SERVED, VIEWS, SERVICES | {first.id: first} | {second.id: second})[0]
        for first, second in ((mine, yours), (yours, mine))
    ]
    assert to_text(merged[0]) == to_text(merged[1])
    assert numbers(merged[0]) == numbers(SERVED) | {("orders.v1", "spent"): 3, ("orders.v1", "basket"): 4}


# --- what is refused


def changed(id_: str, **settings: Any) -> Mapping[str, FeatureView]:
    return VIEWS | {id_: replace(VIEWS[id_], **settings)}


def retyped(id_: str, feature: str, type_: str) -> Mapping[str, FeatureView]:
    features = (replace(f, type=type_) if f.name == feature else f for f in VIEWS[id_].features)
    return changed(id_, features=tuple(features))


def without(id_: str, feature: str) -> Mapping[str, FeatureView]:
    return changed(id_, features=tuple(f for f in VIEWS[id_].features if f.name != feature))


@pytest.mark.parametrize(
    ("views", "services", "message"),
    [
        (retyped("orders.v1", "plan", "bigint"), SERVICES, "orders.v1: the type of 'plan' changed (varchar -> bigint)"),
        (without("orders.v1", "plan"), {}, "orders.v1: the served feature 'plan' is gone"),
        (
            changed("orders.v1", entity=Entity("customer", (JoinKey("customer_id", "varchar"),))),
            SERVICES,
            "orders.v1: its entity or join keys changed "
            "(customer: customer_id bigint -> customer: customer_id varchar)",
        ),
        (
            changed("orders.v1", entity=Entity("buyer", CUSTOMER.join_keys)),
            SERVICES,
            "(customer: customer_id bigint -> buyer: customer_id bigint)",
        ),
    ],
)
def test_what_would_change_the_meaning_of_a_served_feature_is_refused(
    views: Mapping[str, FeatureView], services: Mapping[str, FeatureService], message: str
) -> None:
    with pytest.raises(RegistryError) as refused:
        register(SERVED, views, services)
    assert message in refused.value.message
    assert "add a new version beside it" in refused.value.hint


def test_every_refusal_is_named_at_once() -> None:
    with pytest.raises(RegistryError) as refused:
        register(SERVED, retyped("orders.v1", "plan", "bigint"), {"churn@1": service("churn", "orders.v1 plan")})
    assert refused.value.message.count("; ") == 1


def test_what_callers_of_a_service_would_trip_over_is_refused() -> None:
    with pytest.raises(RegistryError) as refused:
        register(SERVED, VIEWS, {"churn@1": service("churn", "orders.v1 plan")})
    assert refused.value.message == (
        "the service churn@1 no longer gives 'visits_7d' (visits_7d of visits.v1), which a model reads"
    )
    assert "declare a new version of the service beside it" in refused.value.hint


@pytest.mark.parametrize(
    ("views", "change"),
    [
        (retyped("orders.v1", "spent", "float"), []),  # no service reads it
        (without("orders.v1", "spent"), []),
        (changed("orders.v1", features=(Feature("new", "double"), *ORDERS.features)), []),
        (changed("orders.v1", ttl=timedelta(days=7)), ["orders.v1: ttl_seconds None -> 604800"]),
        (changed("orders.v1", tier="hourly"), ["orders.v1: tier daily -> hourly"]),
    ],
)
def test_what_leaves_the_meaning_as_it_was_is_taken_in(views: Mapping[str, FeatureView], change: list[str]) -> None:
    registry, changes = register(SERVED, views, SERVICES)
    assert changes == change
    assert numbers(registry) == numbers(SERVED)


# --- what has left


def test_a_version_that_left_is_remembered_and_never_used_again() -> None:
    retired, changes = register(SERVED, {"stock.v1": STOCK}, {})
    assert changes == ["orders.v1: retired", "visits.v1: retired", "churn@1: retired"]
    assert retired.views == {}
    assert retired.retired_views == {"orders.v1", "visits.v1"}
    assert retired.retired_services == {"churn@1"}
    assert register(retired, {"stock.v1": STOCK}, {}) == (retired, [])
    with pytest.raises(RegistryError) as refused:
        register(retired, VIEWS, SERVICES)
    assert refused.value.message == (
        "orders.v1 was retired, and version numbers are never used again; "
        "visits.v1 was retired, and version numbers are never used again; "
        "the service churn@1 was retired, and version numbers are never used again"
    )


def test_a_retired_view_may_live_on_in_the_warehouse_unserved() -> None:
    retired, _ = register(SERVED, {}, {})
    assert register(retired, VIEWS, {}) == (retired, [])


def test_a_new_version_stands_beside_the_retired_one() -> None:
    retired, _ = register(SERVED, {}, {})
    second = view("orders", "plan integer", version=2)
    registry, _ = register(retired, {second.id: second}, {"churn@2": service("churn", "orders.v2 plan", version=2)})
    assert numbers(registry) == {("orders.v2", "plan"): 2}


# --- its written forms

RICH, _ = register(
    Registry("shop", retired_views=frozenset({"old.v1"}), retired_services=frozenset({"old@1"})),
    changed("orders.v1", ttl=timedelta(days=30), available_at="known_at", expected_every=timedelta(hours=6)),
    {
        "churn@1": replace(
            CHURN,
            owner="Größe",
            request={"amount": "double"},
            on_demand=(OnDemandFeature("share", "double", "amount / 2"),),
        ),
        "move@1": FeatureService(
            name="move",
            version=1,
            views=(
                ServiceView(view="stock.v1", features=("in_stock",), keys={"warehouse": "source"}, prefix="source_"),
                ServiceView(view="stock.v1", features=("in_stock",), keys={"warehouse": "target"}, prefix="target_"),
            ),
        ),
    },
)


@pytest.mark.parametrize("registry", [EMPTY, SERVED, RICH], ids=["empty", "served", "rich"])
def test_the_file_and_the_document_say_all_of_it(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(to_text(registry))
    assert load_registry(path, "shop") == registry
    assert from_json(Part(to_json(registry), "")) == registry
    assert from_document(to_document(registry, "prod")) == registry
    assert owner(to_document(registry, "prod")) == ("shop", "prod")


def test_a_file_whose_services_read_what_it_lacks_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    torn = json.loads(to_text(SERVED))
    del torn["views"]["visits.v1"]
    path.write_text(json.dumps(torn))
    with pytest.raises(RegistryError, match=r"registry\.json lacks visits\.v1, which its service churn@1 reads"):
        load_registry(path, "shop")


def test_without_a_file_the_registry_is_empty(tmp_path: Path) -> None:
    assert load_registry(tmp_path / "registry.json", "shop") == EMPTY


def test_the_file_is_written_for_reviewers() -> None:
    text = to_text(RICH)
    assert text.endswith("}\n")
    assert "Größe" in text
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_a_revision_changes_with_the_content_alone() -> None:
    document = to_document(SERVED, "dev")
    assert revision(document) == revision(to_document(from_document(document), "dev"))
    others = [to_document(SERVED, "prod"), to_document(RICH, "dev"), to_document(EMPTY, "dev")]
    assert len({revision(other) for other in [document, *others]}) == 4


@pytest.mark.parametrize("read", [from_document, owner])
@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"7", b"null", b"{}", b'{"format": 1}', b"\xff"])
def test_a_document_that_is_none_is_refused(read: Callable[[bytes, str], object], document: bytes) -> None:
    with pytest.raises(NamespaceError, match="the registry document 'a:#registry' in Redis cannot be read"):
        read(document, "a:#registry")
