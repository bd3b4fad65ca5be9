"""The point-in-time join and the latest values against an oracle that knows no SQL."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engines import NAMES, Engine, asked, database_of, type_on
from tests.support.projects import Project

#: column -> type
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

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      materialized: table
      indexes: {indexes}
      meta: {{feature_view: {{entity: customer, join_keys: [k, region], event_timestamp: event_at, {meta}}}}}
    columns:
{columns}
    versions: [{{v: 1}}]
"""

#: What PostgreSQL's form of the join looks rows up in.
INDEXES = {"duckdb": "[]", "postgres": "[{columns: [k, region, event_at, known_at]}]"}

INDEXED = "select indexname from pg_indexes where schemaname = 'main' and tablename = 'visits_v1'"

#: An instant for which another one is put into compiled SQL.
LATER = "2026-01-01T00:00:00.123456Z"

#: name -> (metadata, ttl, sync delay, availability counts, tombstones count)
VIEWS: dict[str, tuple[str, timedelta | None, timedelta, bool, bool]] = {
    "orders": ("available_at: known_at, ttl: 60 minutes", timedelta(minutes=60), timedelta(0), True, False),
    "visits": ("available_at: known_at", None, timedelta(0), True, False),
    "accounts": (
        "available_at: known_at, deleted: gone, ttl: 45 minutes",
        timedelta(minutes=45),
        timedelta(0),
        True,
        True,
    ),
    "waived": ("available_at: none, ttl: 90 minutes", timedelta(minutes=90), timedelta(0), False, False),
    "delayed": (
        "available_at: known_at, ttl: 60 minutes, sync_delay: 30 minutes",
        timedelta(minutes=60),
        timedelta(minutes=30),
        True,
        False,
    ),
}

ITEM = "{{'view': ref('{name}', v=1), 'prefix': '{name}_', 'features': ['amount', 'price', 'recent', 'score']}}"

JOIN = """
{{{{ feature_warehouse.point_in_time_join(
    spine=ref('labels'), spine_timestamp='asked_at', feature_views=[{views}], allow_equal={equal}
) }}}}
"""

PORTABLE = """
{{% set views, labels = [{views}], ref('labels') %}}
{{% set reads = feature_warehouse._feature_reads(views, none, 'test') if execute else [] %}}
{{{{ feature_warehouse.portable__point_in_time_select(
    spine=labels, spine_columns=['label_id', 'k', 'region', 'asked_at', 'note'], spine_timestamp='asked_at',
    reads=reads, on_demand=none, allow_equal={equal}, known_as_of=none
) if execute else 'select 1' }}}}
"""

#: DuckDB's form as _planned_reads may plan it: with late rows joined by themselves, and without what no label can get.
PLANNED = """
{{% set views, labels = [{views}], ref('labels') %}}
{{% set reads = [] %}}
{{% for read in (feature_warehouse._feature_reads(views, none, 'test') if execute else []) %}}
    {{% do reads.append(dict(
        read, split={split} and read.view.available_at is not none, few=true, brief=read.view.ttl_seconds is not none
    )) %}}
{{% endfor %}}
{{{{ feature_warehouse.duckdb__point_in_time_select(
    spine=labels, spine_columns=['label_id', 'k', 'region', 'asked_at', 'note'], spine_timestamp='asked_at',
    reads=reads, on_demand=none, allow_equal={equal}, known_as_of=none
) if execute else 'select 1' }}}}
"""

#: The forms of the join as they may be planned, which DuckDB alone has; `split` is pruned, too.
FORMS = {"duckdb": ("split", "pruned"), "postgres": ()}


@pytest.fixture(scope="module", params=NAMES)
def engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    types = {name: type_on(request.param, type_) for name, type_ in COLUMNS.items()}
    history = "select " + ", ".join(f"null::{type_} as {name}" for name, type_ in types.items()) + " where false"
    views = ", ".join(ITEM.format(name=name) for name in VIEWS)
    columns = "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, type_ in types.items())
    files = {f"models/{name}_v1.sql": history for name in VIEWS}
    files |= {
        f"models/latest_{name}_v1.sql": f"{{{{ feature_warehouse.latest_values(ref('{name}', v=1)) }}}}"
        for name in VIEWS
    }
    files |= {
        f"models/{name}_at.sql": f"{{{{ feature_warehouse.latest_values(ref('{name}', v=1), at='{LATER}') }}}}"
        for name in VIEWS
    }
    files["models/views.yml"] = "models:" + "".join(
        VIEW.format(name=name, meta=view[0], columns=columns, indexes=INDEXES[request.param])
        for name, view in VIEWS.items()
    )
    files["models/labels.sql"] = (
        "{{ config(materialized='table') }} select 1::bigint as label_id, 'a' as k, 1::integer as region, "
        "timestamptz '2026-01-01' as asked_at, 'x' as note where false"
    )
    for equal in (True, False):
        files[f"models/own_{equal}.sql"] = JOIN.format(form="point_in_time_join", views=views, equal=str(equal).lower())
        files[f"models/portable_{equal}.sql"] = PORTABLE.format(views=views, equal=str(equal).lower())
        for form in FORMS[request.param]:
            split = str(form == "split").lower()
            files[f"models/{form}_{equal}.sql"] = PLANNED.format(views=views, equal=str(equal).lower(), split=split)
    made = Project(tmp_path_factory.mktemp("shop"), files, server=database_of(request, request.param))
    made.dbt("run")
    with asked(made) as asks:
        yield asks


# --- the oracle ------------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

#: The ends of DuckDB's calendar; the oracle sees them as the ends of Python's.
ENDS = {datetime.max.replace(tzinfo=timezone.utc): "infinity", datetime.min.replace(tzinfo=timezone.utc): "-infinity"}


def known_row(
    history: list[dict[str, Any]], key: tuple[Any, Any], at: datetime | None, view: str, *, strict: bool
) -> dict[str, Any] | None:
    """The one history row that counts for ``key`` at ``at``, found by looking at every row."""
    _, ttl, delay, uses_availability, uses_tombstones = VIEWS[view]
    if at is None or None in key:
        return None
    best = None
    for row in history:
        event, known = row["event_at"], row["known_at"] if uses_availability else row["event_at"]
        if (row["k"], row["region"]) != key or event is None or known is None:
            continue
        counts_from = max(event, known)
        counts_from = counts_from if counts_from in ENDS else counts_from + delay
        counts = counts_from < at or (counts_from == at and not strict)
        if counts and (best is None or (event, known) > best[0]):
            best = ((event, known), row)
    if best is None or (ttl is not None and best[0][0] < at - ttl):
        return None
    return None if uses_tombstones and best[1]["gone"] else best[1]


# Few keys and moments, so that ties, late facts and the exact ends of a ttl are the rule.
moments = st.tuples(st.integers(0, 16), st.sampled_from([0, 0, 0, 0, -1, 1])).map(
    lambda drawn: START + timedelta(minutes=15 * drawn[0], microseconds=drawn[1])
)
keys = st.sampled_from([("a", 1), ("a", 1), ("a", 1), ("a", 2), ("A", 1), ("a", None), (None, 1)])
rows = st.fixed_dictionaries(
    {
        "key": keys,
        "event_at": moments | moments | st.none(),
        "known_at": moments | moments | st.none(),
        "amount": st.none() | st.sampled_from([0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
        "gone": st.sampled_from([None, False, True]),
    }
)
histories = st.lists(rows, max_size=40, unique_by=lambda row: (row["key"], row["event_at"], row["known_at"]))
labels = st.lists(st.tuples(keys, moments | moments | st.none()), max_size=40)


def fill(engine: Engine, history: list[dict[str, Any]], spine: list[tuple[Any, Any]], zero: float) -> list[Any]:
    """Loads the same history into every view; returns the rows as loaded, each with values of its own."""
    loaded = [
        {
            "k": row["key"][0],
            "region": row["key"][1],
            "event_at": row["event_at"],
            "known_at": row["known_at"],
            "amount": row["amount"],
            "price": i / 4 if row["amount"] is not None else None,
            "recent": [float(i), zero] if i % 3 else None,
            "score": [-0.0, 0.0, math.nan, -math.inf, i / 3, None][i % 6],
            "gone": row["gone"],
        }
        for i, row in enumerate(history)
    ]
    for view in VIEWS:
        engine.fill(f"{view}_v1", list(COLUMNS), [[written(v) for v in r.values()] for r in view_rows(loaded, view)])
    asked = [(i // 2, *key, at, "n") for i, (key, at) in enumerate(spine)]
    engine.fill("labels", ["label_id", "k", "region", "asked_at", "note"], asked)
    return loaded


def written(value: Any) -> Any:
    return ENDS.get(value, value) if isinstance(value, datetime) else value


def view_rows(loaded: list[dict[str, Any]], view: str) -> list[dict[str, Any]]:
    """The rows that ``view`` holds: without availability a history is unique on key and event time."""
    if VIEWS[view][3]:
        return loaded
    return list({(r["k"], r["region"], r["event_at"]): r for r in loaded}.values())


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, Any], list[dict[str, Any]]]:
    found: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["k"], row["region"]), []).append(row)
    return found


def features(row: dict[str, Any] | None) -> tuple[Any, ...]:
    """What the join gives of a row, as ``shown``."""
    if row is None:
        return (None, None, None, None)
    price = None if row["price"] is None else f"{row['price']:.4f}"
    return (row["amount"], price, shown(row["recent"]), shown(row["score"]))


def shown(value: Any) -> Any:
    """A value as one that equals nothing but itself: -0.0 is not 0.0, NaN is NaN."""
    return repr(value) if isinstance(value, float | list) else str(value) if isinstance(value, Decimal) else value


def assert_join_equals_oracle(
    engine: Engine, history: list[Any], spine: list[Any], loops: bool, planned: str = "split"
) -> None:
    """The forms of the join, one of FORMS among them, with and without the label's own instant.

    ``loops``: DuckDB has two ASOF joins of its own, loops for a few spine rows and sorting for more. The loops lose the
    sign of a zero in a list.
    """
    loaded = fill(engine, history, spine, zero=0.0 if loops else -0.0)
    if engine.name == "duckdb":
        engine.execute(f"set asof_loop_join_threshold = {64 if loops else 0}")
    histories = {view: by_key(view_rows(loaded, view)) for view in VIEWS}
    for equal in (True, False):
        expected = []
        for i, (key, at) in enumerate(spine):
            row: list[Any] = [i // 2, *key, at, "n"]
            for view in VIEWS:
                row += features(known_row(histories[view].get(key, []), key, at, view, strict=not equal))
            expected.append(tuple(row))
        expected.sort(key=repr)
        for form in ("own", "portable", *({planned} & set(FORMS[engine.name]))):
            found = engine.rows(engine.project.compiled(f"{form}_{equal}"))
            assert sorted((tuple(map(shown, row)) for row in found), key=repr) == expected, form


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, spine=labels, loops=st.booleans())
def test_every_row_equals_the_oracle(engine: Engine, history: list[Any], spine: list[Any], loops: bool) -> None:
    assert_join_equals_oracle(engine, history, spine, loops)


def thousands_of_cases(draw: random.Random) -> tuple[list[Any], list[Any]]:
    """1,000 histories of an entity each, from empty to dense on few moments: all ties and edges occur; and a spine."""

    def moment(steps: int) -> datetime | None:
        step, jitter, odd = draw.randrange(steps), draw.choice([0, 0, 0, 0, -1, 1]), draw.random()
        if odd < 0.03:
            return draw.choice([None, *ENDS])
        return START + timedelta(minutes=15 * step, microseconds=jitter)

    history: dict[Any, Any] = {}
    spine = []
    for case in range(1000):
        key, steps = (f"entity {case}", draw.choice([1, 1, 1, 1, None])), draw.choice([1, 17])
        for _ in range(draw.choice([0, 1, 2, 3, 5, 8, 40])):
            event_at, known_at = moment(steps), moment(steps)
            values = {"amount": draw.choice([None, 0, 2**53 + 1]), "gone": draw.choice([None, False, False, True])}
            history[key, event_at, known_at] = {"key": key, "event_at": event_at, "known_at": known_at, **values}
        spine += [(key, at) for at in (moment(steps) for _ in range(draw.choice([1, 2, 5]))) if at not in ENDS]
    return list(history.values()), spine


@pytest.mark.parametrize("seed", range(6))
def test_every_row_of_thousands_of_cases_equals_the_oracle(engine: Engine, seed: int) -> None:
    history, spine = thousands_of_cases(random.Random(seed))
    assert_join_equals_oracle(engine, history, spine, loops=False, planned="split" if seed % 2 else "pruned")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, now=moments)
def test_latest_values_are_what_the_join_gives_now(engine: Engine, history: list[Any], now: datetime) -> None:
    loaded = fill(engine, history, [], zero=-0.0)
    if engine.name == "duckdb":
        engine.execute(f"set variable feature_warehouse_now = '{now.isoformat()}'")
    for view in VIEWS:
        if view == "delayed":
            continue  # the delay is the way to Redis: training alone knows it
        latest = [f"({engine.project.compiled(f'{view}_at').replace(LATER, now.isoformat())}) as latest"]
        latest += [f"latest_{view}_v1"] if engine.name == "duckdb" else []
        entities = {(r["k"], r["region"]) for r in loaded}
        rows_known = {key: known_row(view_rows(loaded, view), key, now, view, strict=False) for key in entities}
        expected = [(*key, *features(row)) for key, row in rows_known.items() if row is not None]
        for relation in latest:
            query = f"select k, region, amount, price::varchar, recent, score from {relation}"
            found = [tuple(map(shown, row)) for row in engine.rows(query)]
            assert sorted(found, key=repr) == sorted(expected, key=repr), view


def test_postgres_looks_up_rows_where_every_history_has_an_index(engine: Engine) -> None:
    if engine.name == "postgres":
        assert engine.project.compiled("own_True").count("lateral") == len(VIEWS)
        engine.execute("drop index " + ", ".join(f'"{name}"' for (name,) in engine.rows(INDEXED)))
        engine.project.dbt("compile", "--select", "own_True", "--target-path", "unindexed")
        (compiled,) = (engine.project.folder / "unindexed" / "compiled").rglob("own_True.sql")
        assert "__spine_row" in compiled.read_text()


def test_what_pays_is_counted_where_dbt_runs(engine: Engine) -> None:
    """Two labels of one of 10 entities, asked within 15 minutes, over 600 rows of a day, a tenth of them late."""
    if engine.name != "duckdb":
        return
    history = [
        {
            "key": (f"entity {i % 10}", 1),
            "event_at": START + timedelta(minutes=2 * i),
            "known_at": START + timedelta(minutes=2 * i + (90 if i % 100 < 10 else 0)),
            "amount": i,
            "gone": False,
        }
        for i in range(600)
    ]
    fill(engine, history, [(("entity 3", 1), START + timedelta(hours=5, minutes=m)) for m in (0, 15)], zero=0.0)

    def rows_of(sql: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(map(shown, row)) for row in engine.rows(sql)), key=repr)

    expected = rows_of(engine.project.compiled("portable_True"))

    def run(*more: str) -> tuple[list[int], list[Any]]:
        """How many of the five views are split, pruned by entity and pruned by time, and the rows."""
        engine.project.dbt("run", "--select", "own_True", *more)
        sql = engine.project.compiled("own_True")
        parts = [r"asof left join\s+late_", r"semi join asked_", r"select min\("]
        return [len(re.findall(part, sql)) for part in parts], rows_of(sql)

    assert run() == ([4, 5, 4], expected)
    assert run("--vars", "{feature_warehouse_join: split}") == ([4, 0, 0], expected)
    assert run("--vars", "{feature_warehouse_join: plain}") == ([0, 0, 0], expected)
    refused = engine.project.try_dbt("run", "--select", "own_True", "--vars", "{feature_warehouse_join: fastest}")
    (result,) = refused.result.results
    assert "the variable feature_warehouse_join is 'fastest'. Write counted" in result.message
