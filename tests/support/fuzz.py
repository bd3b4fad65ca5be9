"""Mutants of the corpus against the gate; what CI runs a little of.

python -m tests.support.fuzz 100000 7    (mutants, seed)
"""

from __future__ import annotations

import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb

from feature_warehouse.sql.nodes import Node
from tests.support.corpus import KNOWN, TABLES, Side, connect, pairs, results
from tests.support.mutants import mutant

#: As long may two mutants run on one of the warehouses.
_SECONDS = 5

#: Random rows, and the same rows in reverse.
Warehouse = tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]


@dataclass(frozen=True)
class Fooled:
    """A mutant called a refactor although its data differs."""

    name: str
    feature: str
    old: dict[str, Node]
    new: dict[str, Node]


def sides() -> Iterator[tuple[str, Side]]:
    for pair in pairs():
        for side in (pair.old, pair.new):
            if not pair.data and all(node.incremental is None for node in side.models.values()):
                yield pair.name, side


#: Views over two others, so that what the corpus tries alone is read twice, grouped, filtered and joined.
COMPOSED = [
    row.strip()
    for row in """
    with a as (select * from x where user_id > 1) select l.user_id, l.event_at, count(r.f) as f from a l join a r on r.user_id = l.user_id where l.user_id > 2 group by l.user_id, l.event_at
    with a as (select user_id, max(event_at) as event_at, count(f) as f from x group by user_id) select p.user_id, p.event_at, q.f from a p join a q on q.user_id = p.user_id + 1 where p.user_id > 2 and q.user_id < 6
    with a as (select user_id, event_at, count(f) as f from x group by all), b as (select user_id, max(event_at) as event_at, sum(f) as f from a group by user_id) select b.user_id, b.event_at, c.f from b join b c on c.user_id = b.user_id where b.user_id > 2
    select x.user_id, x.event_at, y.f from x left join y on y.user_id = x.user_id and y.event_at <= x.event_at and y.user_id > 1
    select user_id, event_at, f from x where user_id in (select user_id from y group by user_id having count(*) > 1)
    select a.user_id, a.event_at, a.f from x a where not exists (select 1 from y b where b.user_id = a.user_id and b.event_at > a.event_at)
    select user_id, event_at, count(*) over (partition by user_id order by event_at) as f from x where user_id > 1 qualify rank() over (partition by user_id order by event_at) <= 3
    with u as (select user_id, event_at, 'x' as f from x union all select user_id, event_at, 'y' as f from y) select user_id, max(event_at) as event_at, count(*) filter (where f = 'x') as f from u group by user_id
    select x.user_id, x.event_at, (select count(*) from y where y.user_id = x.user_id) as f from x
    with w as (select *, row_number() over (partition by user_id order by event_at, f) as n from x) select a.user_id, a.event_at, b.f from w a left join w b on b.user_id = a.user_id and b.n = a.n + 1
    with w as (select *, row_number() over (partition by user_id order by event_at, f) as n from x order by n) select a.user_id, a.event_at, b.f from w a join w b on b.user_id = a.user_id and b.event_at > a.event_at
    select coalesce(x.user_id, y.user_id) as user_id, x.event_at, y.f from x full join y on y.user_id = x.user_id and y.event_at = x.event_at
    select x.user_id, x.event_at, y.f from x asof left join (select user_id, event_at, max(f) as f from y group by all) y on y.user_id = x.user_id and y.event_at <= x.event_at
    select x.user_id, x.event_at, x.f from x left join y on y.user_id = x.user_id where y.user_id is null
    select x.user_id, x.event_at, y.f from x left join y on y.user_id = x.user_id where y.f is not null
    select x.user_id, x.event_at, y.f from x left join y on y.user_id = x.user_id left join users u on u.user_id = y.user_id where u.age > 10 and y.user_id > 1
    with w as (select *, count(*) over (partition by user_id) as n from x) select user_id, event_at, n as f from w where user_id > 2
    with w as (select *, count(*) over (partition by user_id, f) as n, count(*) over (partition by user_id) as m from x) select user_id, event_at, n + m as f from w where user_id > 2 and n > 1
    select distinct a.user_id, a.event_at, b.f from x a join (select distinct user_id, f from y) b using (user_id) where b.user_id > 2
    """.strip().splitlines()
]  # fmt: skip


def composed(written: list[Side], dice: random.Random, count: int) -> Iterator[Side]:
    """Views of one model each, put below a view that reads them both."""
    simple = [side for side in written if len(side.models) == 1 and side.view.features.keys() == {"f"}]
    for number in range(count):
        x, y = dice.choice(simple), dice.choice(simple)
        models = {"x": x.models["view"], "y": y.models["view"], "view": Node(sql=COMPOSED[number % len(COMPOSED)])}
        yield replace(x, models=models, available_at=None)


#: A model between a source and a view: as it is, with other values, with columns more or less, or in another order.
STAGED = [
    row.strip()
    for row in """
    select * from {0}
    select *, user_id + 1 as next_id from {0}
    select * replace (user_id + 1 as user_id) from {0}
    select * exclude (user_id), user_id + 1 as user_id from {0}
    select user_id - 1 as user_id, * exclude (user_id) from {0}
    select s.* from {0} s where s.user_id > 1
    select s.*, s::varchar as line from {0} s
    """.strip().splitlines()
]


def staged(written: list[Side], dice: random.Random, count: int) -> Iterator[Side]:
    """Views of one model each, over a model of one of their sources."""
    simple = [side for side in written if len(side.models) == 1]
    while count:
        side = dice.choice(simple)
        text = side.models[side.node].sql or ""
        found = [name for name, columns in TABLES.items() if re.search(rf"\b{name}\b", text) and "user_id" in columns]
        if found:
            table, count = dice.choice(found), count - 1
            view = Node(sql=re.sub(rf"\b(from|join) {table}\b", r"\1 stg", text))
            yield replace(side, models={"stg": Node(sql=dice.choice(STAGED).format(table)), side.node: view})


def fuzz(mutants: int, seed: int) -> tuple[Counter[str], list[Fooled]]:
    """Counts of what became of the mutants, and those that fooled the gate.

    Mutants that run are mutated again, and each is held against all texts of its family that have its fingerprint.
    """
    dice = random.Random(seed)
    warehouses = [(connect(rows, seed + rows), connect(rows, seed + rows, backwards=True)) for rows in (12, 40, 150)]
    written = list(sides())
    alone = [side for _, side in written]
    more = [*composed(alone, dice, len(written)), *staged(alone, dice, len(written))]
    families = [[side] for side in (*alone, *more)]
    known_how = [dice.choice(list(KNOWN)) for _ in families]  # how well the sources of each family are known
    names = [name for name, _ in written] + ["composed or staged"] * len(more)
    twins: dict[tuple[int, str, str], Side] = {}
    for number, [side] in enumerate(families):
        for feature, fingerprint in fingerprints(side, known_how[number]).items():
            twins[number, feature, fingerprint] = side
    counts: Counter[str] = Counter()
    fooled = []
    for _ in range(mutants):
        number = dice.randrange(len(families))
        side = dice.choice(families[number])
        target = dice.choice(list(side.models))
        text = side.models[target].sql
        assert text is not None
        changed = mutant(text, dice)
        if changed == text:
            continue
        other = replace(side, models=side.models | {target: Node(sql=changed)})
        known = False
        for feature, fingerprint in fingerprints(other, known_how[number]).items():
            twin = twins.setdefault((number, feature, fingerprint), other)
            if twin is not other and twin.models != other.models:
                known = True
                counts["refactor of another"] += 1
                found = differ(warehouses, twin, other, feature)
                counts["and run on data"] += found is not None
                facts = other.definitions().facts(other.view, feature)
                if found and (facts.nondeterministic or facts.unknown):
                    counts["differ, and are named as nondeterministic"] += 1
                elif found:
                    fooled.append(Fooled(f"{names[number]}, {known_how[number]}", feature, twin.models, other.models))
        counts["mutants"] += 1
        if not known and len(families[number]) < 12 and runs(warehouses[0][0], other):
            families[number].append(other)
    return counts, fooled


def fingerprints(side: Side, sources: str) -> dict[str, str]:
    definitions = side.definitions(sources)
    return {feature: definitions.fingerprint(side.view, feature) for feature in side.view.features}


def runs(con: duckdb.DuckDBPyConnection, side: Side) -> bool:
    try:
        results(con, side)
    except duckdb.Error:
        return False
    return True


def differ(warehouses: list[Warehouse], one: Side, two: Side, feature: str) -> bool | None:
    """Whether the feature's rows differ; None where one of the two does not run."""
    ran = None
    for con, backwards in warehouses:
        timers = [threading.Timer(_SECONDS, one.interrupt) for one in (con, backwards)]  # some multiply their rows
        for timer in timers:
            timer.start()
        try:
            before, after = results(con, one, 12)[feature], results(con, two, 12)[feature]
            if before != after:
                if all(results(backwards, side, 12)[feature] == found for side, found in ((one, before), (two, after))):
                    return True
                continue  # it hangs on the order in which rows arrive, so that it differs from itself
        except duckdb.Error:
            continue
        finally:
            for timer in timers:
                timer.cancel()
        ran = False
    return ran


if __name__ == "__main__":
    counts, fooled = fuzz(int(sys.argv[1]), int(sys.argv[2]))
    for one in fooled:
        print(
            f"{one.name}.{one.feature}",
            *(n.sql for n in one.old.values()),
            "---",
            *(n.sql for n in one.new.values()),
            "",
            sep="\n",
        )
    print(dict(counts), f"{len(fooled)} fooled the gate")
