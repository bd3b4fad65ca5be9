"""How long the gate takes: 200 feature views of 20 features each, judged against SQL that is written otherwise.

    python -m benchmarks.gate [VIEWS] [FEATURES]

Each view reads two of twenty staging models, joins, groups and computes windows. The accepted side has other names,
another cut into CTEs and mirrored comparisons, so that no text is equal and each feature is compared by what it means;
one feature in twenty has really changed.

First the judgement alone, warm: the second and third run of one process; and that of chains of models with joins. Then
`syncer check` as a command, on a dbt project of these views: cold, warm with nothing changed, and warm with every view
rewritten; and where its time goes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from feature_warehouse.gate.accepted import accepted_here
from feature_warehouse.gate.judging import judgements
from feature_warehouse.project.compiling import compile_feature_views, parse_project
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.definition import read_definitions
from feature_warehouse.project.project import ProjectOptions, load_project
from feature_warehouse.sql.changes import Definitions, View, judge
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import _parsed

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


def chain(models: int, join: str, old: bool) -> tuple[dict[str, Node], View]:
    """Models, each of which joins one more source to the one before."""
    nodes = sources(models + 1) | {"chain_0": Node(sql="select user_id, ordered_at, amount as x_0 from raw_0")}
    for i in range(1, models + 1):
        on = "b.user_id = a.user_id" if old else "a.user_id = b.user_id"
        sql = f"select a.*, b.amount as x_{i} from chain_{i - 1} a {join} raw_{i} b on {on}"
        nodes[f"chain_{i}"] = Node(sql=sql)
    last = f"select user_id, ordered_at as event_at, x_{models} + x_0 as f from chain_{models}"
    nodes["chain"] = Node(sql=last)
    view = View(node="chain", join_keys={"user_id": ""}, event_timestamp="event_at", features={"f": "double"})
    return nodes, view


def chains(lengths: tuple[int, ...] = (25, 50, 100)) -> None:
    print("chains of models, each with one join more; judged, rewritten, with their facts")
    for join in ("join", "left join"):
        for models in lengths:
            cpu = time.process_time()
            (before, view), (after, _) = (chain(models, join, old) for old in (True, False))
            old, new = Definitions(before), Definitions(after)
            [change] = judge(old, view, new, view)
            new.facts(view, "f")
            print(f"{models:4} x {join:10} {time.process_time() - cpu:6.2f} s of one core   {change.kind}")


PROJECT = {
    "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, threads: 2}}}\n",
    "models/sources.yml": "sources: [{name: raw, schema: main, tables: ["
    + ", ".join(
        f"{{name: raw_{i}, columns: [{', '.join(f'{{name: {c}, data_type: {t}}}' for c, t in COLUMNS.items())}]}}"
        for i in range(20)
    )
    + "]}]\n",
}

VIEW = """
models:
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta:
        feature_view: {{entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: none}}
    columns:
      - {{name: user_id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
{columns}
    versions: [{{v: 1}}]
exposures:
  - name: model_{name}
    type: ml
    owner: {{name: Growth, email: growth@example.com}}
    depends_on: ["ref('{name}', v=1)"]
    config:
      meta:
        feature_service:
          {{name: model_{name}, version: 1, features: [{{view: {name}.v1, features: [{features}]}}]}}
"""


def with_references(sql: str) -> str:
    sql = re.sub(r"\b(raw_\d+)", r"{{ source('raw', '\1') }}", sql)
    return re.sub(
        r"\b(?:from|join) (stg_\d+)", lambda found: found[0].replace(found[1], f"{{{{ ref('{found[1]}') }}}}"), sql
    )


def write_project(folder: Path, views: int, features: int, old: bool) -> None:
    files = dict(PROJECT)
    for number in range(20):
        files[f"models/stg_{number}.sql"] = with_references(staging(number, old))
    for number in range(views):
        name, names = f"view_{number}", [f"f{i}" for i in range(features)]
        columns = "\n".join(f"      - {{name: {feature}, data_type: double}}" for feature in names)
        # without an alias the staging model's own name qualifies its columns, and would be that of a relation
        files[f"models/{name}_v1.sql"] = with_references(view(number, features, old))
        files[f"models/{name}.yml"] = VIEW.format(name=name, columns=columns, features=", ".join(names))
        files[f"models/latest_{name}_v1.sql"] = f"{{{{ feature_warehouse.latest_values(ref('{name}', v=1)) }}}}"
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    package = folder / "dbt_packages" / "feature_warehouse"
    if not package.exists():  # what `dbt deps` does for a local package
        package.parent.mkdir()
        package.symlink_to(Path(__file__).parents[1])


_T = TypeVar("_T")


def timed(what: str, action: Callable[[], _T]) -> _T:
    start, cpu = time.perf_counter(), time.process_time()
    result = action()
    print(f"  {what:32} {time.perf_counter() - start:6.2f} s ({time.process_time() - cpu:.2f} s of one core)")
    return result


def command(folder: Path, *arguments: str) -> None:
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", "feature_warehouse", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    said = (done.stdout + done.stderr).strip().splitlines()
    refused = sum("would get other values" in line for line in said)
    spent = f"{seconds:6.2f} s ({cpu:.2f} s of one core)"
    print(f"syncer {' '.join(arguments):12} {spent}   exit code {done.returncode}, {refused} views refused")


def commands(views: int, features: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_project(folder, views, features, old=True)
        print("the whole command; cold, with nothing changed, with every view rewritten, and so again")
        command(folder, "register")
        command(folder, "check")
        write_project(folder, views, features, old=False)
        command(folder, "check")  # dbt parses what has changed
        command(folder, "check")
        print("of which, in one process, beside the import of dbt and sqlglot")
        project = load_project(ProjectOptions(project_dir=folder, profiles_dir=folder))
        parsed = timed("dbt's parse", lambda: parse_project(project))
        compiled = timed("dbt's compile", lambda: compile_feature_views(project, parsed))
        declared = timed("declarations", lambda: read_declarations(compiled.manifest))
        assert not declared.problems, declared.problems[0]
        definitions = timed("definitions", lambda: read_definitions(compiled, declared.views))
        accepted = timed("accepted SQL", lambda: accepted_here(folder, "shop"))
        judged = timed("judgement", lambda: judgements(accepted, definitions, {}))
        kinds = Counter(change.kind for one in judged for change in one.changes)
        texts = sum(bool(change.as_text) for one in judged for change in one.changes)
        print(f"  {dict(kinds)}, {texts} compared as text")


def main(views: int = 200, features: int = 20) -> None:
    print(f"{views} feature views x {features} features, all rewritten; the judgement alone")
    for name in ("cold", "warm, texts parsed anew", "warm"):
        if name != "warm":
            _parsed.cache_clear()
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
    chains()
    commands(views, features)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
