"""How long the gate takes: 200 feature views of 20 features each, judged against SQL that is written otherwise.

    python -m benchmarks.gate [VIEWS] [FEATURES]

Each view reads two of twenty staging models, joins, groups and computes windows. The accepted side has other names,
another cut into CTEs and mirrored comparisons, so that no text is equal and each feature is compared by what it means;
one feature in twenty has really changed. Warm: the second and third run of one process.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from syncer.sql.changes import Definitions, View, judge
from syncer.sql.queries import Node
from syncer.sql.text import parse

COLUMNS = {
    "order_id": "bigint", "user_id": "bigint", "ordered_at": "timestamptz", "amount": "double", "quantity": "integer",
    "status": "varchar", "country": "varchar",
}  # fmt: skip


def sources(count: int) -> dict[str, Node]:
    return {f"raw_{i}": Node(columns=COLUMNS, closed=True) for i in range(count)}


def staging(number: int, old: bool) -> str:
    if old:
        kept = "amount > 0 and user_id is not null"
        return f"select user_id, ordered_at, amount, quantity, status from raw_{number} where {kept}"
    return f"""
    with source as (select * from raw_{number}), renamed as (
        select order_id, user_id, ordered_at, amount, quantity, status, lower(country) as country
        from source where not user_id is null and 0 < amount
    )
    select * from renamed"""


def view(number: int, features: int, old: bool) -> str:
    """Rolling sums over one staging model, beside totals of another."""
    one, two = number % 20, (number + 7) % 20
    columns, key = [], "o.user_id" if old else "user_id"
    for i in range(features):
        days = 1 + i + (0 if old or (i + number) % 20 else 1)
        if i % 4 == 0:
            columns.append(
                f"sum(amount) over (partition by {key} order by ordered_at range between interval {days} days preceding"
                f" and current row) as f{i}"
            )
        elif i % 4 == 1:
            test = f"amount >= {days} and amount <= 99" if old else f"amount between {days} and 99"
            columns.append(f"case when {test} then quantity else 0 end as f{i}")
        elif i % 4 == 2:
            columns.append(
                f"coalesce(total_{i}, 0) + {days} as f{i}" if old else f"{days} + ifnull(t.total_{i}, 0) as f{i}"
            )
        else:
            columns.append(f"quantity::double / nullif(total_{i - 1} - {days}, 0) as f{i}")
    totals = ", ".join(f"sum(quantity) filter (where amount > {i}) as total_{i}" for i in range(2, features, 4))
    select = ",\n        ".join(columns)
    if old:
        return f"""
    with t as (select user_id, {totals} from stg_{two} group by user_id)
    select o.user_id, o.ordered_at as event_at,
        {select}
    from stg_{one} o left join t on t.user_id = o.user_id
    where o.status in ('paid', 'sent')"""
    return f"""
    -- rolling sums beside totals
    with orders as (select * from stg_{one} where status = 'sent' or status = 'paid'),
    joined as (
        select orders.*, t.* exclude (user_id)
        from orders left join (select user_id as user_id, {totals} from stg_{two} group by all) as t using (user_id)
    )
    select user_id, ordered_at as event_at,
        {select.replace("t.total", "total")}
    from joined"""


def project(views: int, features: int, old: bool) -> tuple[dict[str, Node], list[View]]:
    nodes = sources(20) | {f"stg_{i}": Node(sql=staging(i, old)) for i in range(20)}
    made = []
    for number in range(views):
        nodes[f"view_{number}"] = Node(sql=view(number, features, old))
        made.append(
            View(
                node=f"view_{number}",
                join_keys={"user_id": "bigint"},
                event_timestamp="event_at",
                features={f"f{i}": "double" for i in range(features)},
            )
        )
    return nodes, made


def main(views: int = 200, features: int = 20) -> None:
    print(f"{views} feature views x {features} features, all rewritten")
    for name in ("cold", "warm, texts parsed anew", "warm"):
        if name != "warm":
            parse.cache_clear()
        start, cpu = time.perf_counter(), time.process_time()
        before, accepted = project(views, features, True)
        after, proposed = project(views, features, False)
        old, new = Definitions(before), Definitions(after)
        kinds = Counter(
            change.kind for one, two in zip(accepted, proposed, strict=True) for change in judge(old, one, new, two)
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        as_text = len(old.reader.as_text | new.reader.as_text)
        print(f"{name:24} {seconds:6.2f} s ({cpu:.2f} s of one core)   {dict(kinds)}   as text: {as_text}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
