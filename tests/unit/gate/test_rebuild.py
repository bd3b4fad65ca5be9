"""What has to be built anew: one small project of hand-made nodes, changed, or as a warehouse says it was built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from feature_warehouse.gate.rebuild import Rebuild, kept_beside, rebuilds
from feature_warehouse.gate.standing import unaccepted
from feature_warehouse.project.builds import COLUMNS, Before, Build, Recorded, read_builds
from feature_warehouse.project.definition import SNAPSHOT, Definition
from feature_warehouse.project.influence import Influence
from feature_warehouse.registry.document import Fix, Registry, Unbuilt
from feature_warehouse.sql.changes import View
from feature_warehouse.sql.nodes import Node

RAW = Node(columns={"customer": "varchar", "amount": "double", "paid": "double", "t": "timestamptz"}, closed=True)
STG = "select * from source.shop.raw"
FCT = "select customer, amount, t from ref.stg"
ORDERS = "select customer, amount, t as event_at from ref.fct"

MATERIALIZED = {"stg": "view", "fct": "incremental", "daily": "incremental", "orders_v1": "table", "kept": "snapshot"}
MANIFEST = {
    "metadata": {"project_name": "shop"},
    "nodes": {
        f"model.shop.{name}": {
            "package_name": "shop",
            "name": name,
            "resource_type": "snapshot" if kind == "snapshot" else "model",
            "relation_name": f'"shop"."main"."{name}"',
            "config": {"materialized": kind, "unique_key": "t" if kind == "incremental" else None},
        }
        for name, kind in MATERIALIZED.items()
    },
    "sources": {
        "source.shop.shop.raw": {
            "package_name": "shop",
            "name": "raw",
            "source_name": "shop",
            "resource_type": "source",
            "relation_name": '"shop"."main"."raw"',
        }
    },
}


def incremental(first: str, reads: str = "stg", name: str = "fct") -> Node:
    later = f"select * from ({first}) as run where t > (select max(t) from ref.{name})"
    return Node(sql=first, incremental=later, unique_key=("t",), reads=(reads,))


def nodes(fct: str = FCT, orders: str = ORDERS, stg: str = STG) -> dict[str, Node]:
    return {
        "source.shop.raw": RAW,
        "stg": Node(sql=stg, reads=("source.shop.raw",)),
        "fct": incremental(fct),
        "orders_v1": Node(sql=orders, reads=("fct",)),
    }


def definition(of: dict[str, Node], *features: str) -> Definition:
    view = View(
        node="orders_v1",
        join_keys={"customer": "varchar"},
        event_timestamp="event_at",
        features=dict.fromkeys(features or ("amount",), ""),
    )
    return Definition(view=view, nodes=of)


WAS = nodes()
#: With a second column, which the view reads as a second feature.
WIDE = nodes(
    "select customer, amount, t, paid as net from ref.stg", "select customer, amount, net, t as event_at from ref.fct"
)


def changed(now: dict[str, Node], *features: str, was: dict[str, Node] = WAS) -> list[Rebuild]:
    return rebuilds("orders.v1", definition(now, *features), Before(was, now), features or ("amount",))


def said(found: Sequence[Rebuild]) -> list[tuple[str, str]]:
    return [(" ".join(one.features), one.command if one.certain else f"unknown: {one.command}") for one in found]


REFRESH = "dbt build --full-refresh --select fct+"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (nodes("select customer, amount * 1.19 as amount, t from ref.stg"), REFRESH),  # in the model itself
        (nodes(stg="select * replace (amount + 1 as amount) from source.shop.raw"), REFRESH),  # in a view above it
        (nodes(FCT + " where amount > 0"), REFRESH),  # which rows
        (
            {**WAS, "fct": replace(WAS["fct"], incremental=FCT)},
            REFRESH,
        ),  # later runs alone
        ({**WAS, "fct": replace(WAS["fct"], unique_key=("t", "customer"))}, REFRESH),  # how older rows are kept
        (nodes(orders=ORDERS.replace("amount,", "amount * 2 as amount,")), ""),  # below it: built anew by every run
        (nodes("select t, customer, (amount) as amount from ref.stg"), ""),  # a refactor
        (nodes(stg="select r.* from source.shop.raw as r"), ""),  # a refactor above
        ({**WAS, "fct": Node(sql=FCT + " where amount > 0", reads=("stg",))}, ""),  # no longer incremental
    ],
)
def test_a_change_asks_for_what_keeps_rows_of_before_it(now, expected) -> None:
    assert said(changed(now)) == ([("amount", expected)] if expected else [])


def test_a_new_column_is_null_in_the_rows_of_before_and_no_other_feature_is() -> None:
    [found] = changed(WIDE, "amount", "net")
    assert said([found]) == [("net", REFRESH)]
    assert found.message == "orders.v1: net: `fct` keeps rows from before this change, in each target"
    assert found.hint == f"build anew: `{REFRESH}`"


def test_a_filter_that_moves_up_is_no_change_and_one_that_is_nowhere_in_the_older_rows_is() -> None:
    filtered = "select * from source.shop.raw where amount > 0"
    moved = nodes(stg=filtered)
    assert changed(moved, was=nodes(FCT + " where amount > 0")) == []
    both = nodes(FCT + " where amount > 0", stg=filtered)  # each alone would do
    assert said(changed(both)) == [("amount", REFRESH)]


def test_of_a_chain_the_uppermost_is_named_and_of_two_branches_those_that_a_feature_reads() -> None:
    def chain(daily: str) -> dict[str, Node]:
        of = nodes(orders="select customer, amount, t as event_at from ref.daily")
        return {
            **of,
            "daily": incremental(daily, "fct", "daily"),
            "orders_v1": replace(of["orders_v1"], reads=("daily",)),
        }

    whole = "select customer, amount, t from ref.fct"
    was, now = chain(whole), chain(whole + " where amount < 9")
    now["fct"] = incremental(FCT + " where amount > 0")
    assert said(changed(now, was=was)) == [("amount", REFRESH)]
    assert said(changed(chain(whole + " where amount < 9"), was=was)) == [
        ("amount", "dbt build --full-refresh --select daily+")
    ]

    def branches(fct: str, daily: str) -> dict[str, Node]:
        joined = (
            "select f.customer, f.amount, d.paid, f.t as event_at from ref.fct as f left join ref.daily as d using (t)"
        )
        both = Node(sql=joined, reads=("daily", "fct"))
        return {**nodes(fct), "daily": incremental(daily, "stg", "daily"), "orders_v1": both}

    daily = "select paid, t from ref.stg"
    now = branches("select customer, -amount as amount, t from ref.stg", "select -paid as paid, t from ref.stg")
    assert sorted(said(changed(now, "amount", "paid", was=branches(FCT, daily)))) == [
        ("amount", REFRESH),
        ("paid", "dbt build --full-refresh --select daily+"),
    ]


def test_a_snapshot_cannot_be_built_anew_and_a_model_that_refuses_a_full_refresh_is_named() -> None:
    def kept(sql: str) -> dict[str, Node]:
        snapshot = Node(sql=sql, reads=("stg",), strategy="timestamp updated_at=t", opaque=SNAPSHOT)
        view = Node(sql="select customer, amount, dbt_valid_from as event_at from ref.kept", reads=("kept",))
        return {**WAS, "kept": snapshot, "orders_v1": view}

    [found] = changed(kept(FCT + " where amount > 0"), was=kept(FCT))
    assert (found.nodes, found.snapshots, found.command) == (("kept",), ("kept",), "")
    assert found.hint.startswith("what `kept` recorded cannot be built anew: serve the new meaning from a new snapshot")
    assert "--accept-unbuilt" in found.hint
    stubborn = {
        name: replace(node, strategy="append full_refresh=False") if name == "fct" else node
        for name, node in WAS.items()
    }
    now = {**stubborn, "stg": Node(sql=STG + " where amount > 0", reads=("source.shop.raw",))}
    [found] = changed(now, was=stubborn)
    assert "`fct` has `full_refresh: false`: take that out for this run" in found.hint


# -- as the warehouse says ---------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Log:
    """The record of builds, as dbt's hooks would write it."""

    def __init__(self, *builds: Build) -> None:
        self.builds = list(builds)

    def __call__(
        self, name: str, sql: str, how: str = "whole", *, later: bool = False, text: str = "", key: str = "t"
    ) -> Log:
        number = len(self.builds) + 1
        strategy = f'{{"unique_key": "{key}"}}' if MATERIALIZED[name] == "incremental" else "{}"
        build = Build(
            number=number,
            built_at=START + timedelta(hours=number),
            node=name,
            how=how,
            later=later,
            strategy=strategy,
            text=text or sql,
            sql=sql,
        )
        return Log(*self.builds, build)

    def all(self, of: dict[str, Node]) -> Log:
        """A first build."""
        log = self
        for name in ("stg", "fct", "orders_v1"):
            log = log(name, of[name].sql or "")
        return log

    def run(self, of: dict[str, Node]) -> Log:
        """A later run, of which only what is new is written down."""
        return self("fct", of["fct"].incremental or "", "part", later=True)("orders_v1", of["orders_v1"].sql or "")

    def behind(self, of: dict[str, Node], *features: str) -> list[tuple[str, str]]:
        recorded = Recorded(self.builds, of, MANIFEST)
        return said(rebuilds("orders.v1", definition(of, *features), recorded, features or ("amount",)))


FIXED = nodes("select customer, amount * 1.19 as amount, t from ref.stg")
ABOVE = nodes(stg="select * replace (amount + 1 as amount) from source.shop.raw")
BUILT = Log().all(WAS).run(WAS)
BEHIND, UNKNOWN = [("amount", REFRESH)], [("amount", f"unknown: {REFRESH}")]


@pytest.mark.parametrize(
    ("log", "now", "expected"),
    [
        (BUILT, WAS, []),
        (BUILT, FIXED, BEHIND),  # nothing ran since
        (BUILT.run(FIXED), FIXED, BEHIND),
        (BUILT.run(FIXED), WAS, BEHIND),  # and was taken back: rows of the fix stay, too
        (BUILT.run(FIXED)("fct", FIXED["fct"].sql or "")("orders_v1", ORDERS), FIXED, []),  # a full refresh
        (BUILT.run(FIXED)("fct", FIXED["fct"].sql or ""), FIXED, [("amount", "dbt build --select orders_v1+")]),
        (BUILT.run(FIXED)("fct", WAS["fct"].sql or "")("orders_v1", ORDERS), FIXED, BEHIND),  # by an old checkout
        (BUILT("fct", FIXED["fct"].sql or "", "part")("orders_v1", ORDERS), FIXED, BEHIND),  # one that failed
        (BUILT("stg", ABOVE["stg"].sql or ""), ABOVE, BEHIND),  # the view alone
        (BUILT("fct", FCT)("orders_v1", ORDERS), ABOVE, [("amount", REFRESH.replace("fct", "stg"))]),
        (BUILT("stg", ABOVE["stg"].sql or "")("fct", FCT)("orders_v1", ORDERS), ABOVE, []),
        (BUILT("fct", FCT)("stg", ABOVE["stg"].sql or "")("orders_v1", ORDERS), ABOVE, BEHIND),  # in the wrong order
        (BUILT, nodes("select t, customer, (amount) as amount from ref.stg"), []),  # a refactor
        (BUILT("fct", WAS["fct"].incremental or "", "part", later=True, key="u")("orders_v1", ORDERS), WAS, BEHIND),
        (Log(), WAS, UNKNOWN),
        (Log().run(WAS), WAS, UNKNOWN),  # of a time before there was a record
        (Log().run(WAS).run(FIXED), FIXED, BEHIND),
        (BUILT("fct", "", "part", later=True)("orders_v1", ORDERS), WAS, UNKNOWN),  # a microbatch model
        (BUILT("fct", 'select * from "prod"."main"."stg"')("orders_v1", ORDERS), WAS, UNKNOWN),  # with --defer
        (BUILT("fct", "", "begun", later=True, text=FCT)("orders_v1", ORDERS), WAS, []),  # died; the model was the same
        (BUILT("fct", "", "begun", later=True, text="draft")("orders_v1", ORDERS), WAS, UNKNOWN),  # died; nobody knows
    ],
)  # fmt: skip
def test_what_a_warehouse_says_of_its_builds(log, now, expected) -> None:
    assert log.behind(now) == expected


def test_a_new_column_is_behind_until_a_full_refresh() -> None:
    run = BUILT.run(WIDE)
    assert run.behind(WIDE, "amount", "net") == [("net", REFRESH)]
    done = run("fct", WIDE["fct"].sql or "")("orders_v1", WIDE["orders_v1"].sql or "")
    assert done.behind(WIDE, "amount", "net") == []


def test_the_clock_of_a_run_is_no_part_of_what_it_built() -> None:
    def at(now: str) -> dict[str, Node]:
        clock = f"coalesce(cast(getvariable('feature_warehouse_now') as timestamptz), {now})"
        return nodes(FCT + f" where t <= {clock}")

    accepted = at("cast('2000-01-01T00:00:00Z' as timestamp with time zone)")
    for now in ("current_timestamp", "cast('2026-01-01T00:00:00Z' as timestamp with time zone)"):
        assert Log().all(at(now)).run(at(now)).behind(accepted) == []


def test_long_chains_and_many_ways_end() -> None:
    chain = {
        "source.shop.raw": RAW,
        "fct": incremental("select customer, amount, t from source.shop.raw", "source.shop.raw"),
    }
    above = "fct"
    for number in range(300):
        chain[f"step_{number}"] = Node(sql=f"select customer, amount, t from ref.{above}", reads=(above,))
        above = f"step_{number}"
    chain["orders_v1"] = Node(sql=f"select customer, amount, t as event_at from ref.{above}", reads=(above,))
    now = {**chain, "fct": incremental("select customer, -amount as amount, t from source.shop.raw", "source.shop.raw")}
    assert said(changed(now, was=chain)) == BEHIND
    log = BUILT
    for number in range(70):  # more texts than are put together
        log = log.run(nodes(f"select customer, amount * {number} as amount, t from ref.stg"))
    assert log.behind(WAS) == BEHIND


def test_rows_become_builds_by_names_of_nodes() -> None:
    row = dict.fromkeys(COLUMNS, "") | {
        "number": 7, "built_at": "2026-01-01T00:00:00+00:00", "node": "model.shop.fct", "how": "part", "later": True,
        "strategy": '{"unique_key": "t"}', "sql": ' select amount from "shop"."main"."stg" where t > 1 ',
    }  # fmt: skip
    gone = row | {"node": "model.shop.gone"}
    [build] = read_builds([tuple(row.values()), tuple(gone.values())], MANIFEST)
    assert (build.node, build.sql) == ("fct", "select amount from ref.stg where t > 1")


# -- what was accepted -------------------------------------------------------------------------------------------------


def test_older_rows_that_somebody_takes_as_they_are_are_not_told_of_until_the_next_fix() -> None:
    [found] = rebuilds("orders.v1", definition(FIXED), Recorded(BUILT.builds, FIXED, MANIFEST), ["amount"])
    day = START.date()
    taken = Unbuilt(on=day, view="orders.v1", features=("amount",), reason="so be it", at="2026-01-01T01:00:00+00:00")
    fix = Fix(on=day, view="orders.v1", features=("amount",), reason="tax", at="2026-01-01T01:00:00+00:00")
    later = replace(fix, at="2026-01-01T02:00:00+00:00")
    registry = Registry(project="shop", fixes=(fix,), unbuilt=(taken,))
    assert list(unaccepted(registry, [found])) == []
    assert list(unaccepted(replace(registry, fixes=(fix, later)), [found])) == [found]
    assert list(unaccepted(replace(registry, unbuilt=()), [found])) == [found]


def test_what_changed_beside_the_sql_asks_for_the_uppermost_that_keep_rows() -> None:
    hook = Influence("hook", "stg", "post-hook", "1")
    one, two = (replace(definition(WAS), influences=(replace(hook, value=value),)) for value in "12")
    assert kept_beside(one, two, ()) == ("fct",)
    assert kept_beside(one, one, ()) == ()
    assert kept_beside(one, one, ["TimeZone UTC -> CET"]) == ("fct",)
    below = replace(hook, of="latest_orders_v1")
    assert (
        kept_beside(replace(one, influences=(below,)), replace(one, influences=(replace(below, value="2"),)), ()) == ()
    )
    assert kept_beside(replace(one, influences=None), two, ()) == ()
