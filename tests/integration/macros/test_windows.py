"""Rolling features, joined at any instant, against an oracle that knows no SQL."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engines import NAMES, Engine, asked, database_of, type_on
from tests.support.pages import Page
from tests.support.projects import Project

#: The events' columns: name -> type
COLUMNS = {
    "k": "varchar",
    "region": "integer",
    "happened_at": "timestamptz",
    "loaded_at": "timestamptz",
    "amount": "bigint",
    "big": "bigint",
    "price": "decimal(18,4)",
    "weight": "double",
    "label": "varchar",
}

MINUTES = {"30m": 30, "2h": 120, "1d": 1440}
WINDOWS = {"30m": "30 minutes", "2h": "2 hours", "1d": "1 day"}


@dataclass(frozen=True)
class Feature:
    aggregate: str
    window: str
    data_type: str  # of the output
    column: str | None = None
    condition: str | None = None
    n: int | None = None
    cast: bool = False  # whether the call itself says the type

    @property
    def name(self) -> str:
        return "_".join(filter(None, [self.aggregate, self.column, self.window]))

    @property
    def call(self) -> dict[str, Any]:
        settings = {"column": self.column, "condition": self.condition, "n": self.n}
        settings["data_type"] = self.data_type if self.cast else None
        given = {name: value for name, value in settings.items() if value is not None}
        return {"name": self.name, "aggregate": self.aggregate, "window": WINDOWS[self.window]} | given


FEATURES = [
    *[Feature("count", window, "bigint") for window in WINDOWS],
    *[Feature("sum", window, "bigint", "amount") for window in WINDOWS],
    *[Feature("sum", window, "double", "weight") for window in WINDOWS],
    Feature("count", "2h", "integer", "label", cast=True),
    Feature("count", "30m", "bigint", "amount"),
    Feature("sum", "2h", "decimal(24,4)", "price", cast=True),
    Feature("sum", "2h", "hugeint", "big"),
    Feature("avg", "2h", "double", "amount"),
    Feature("avg", "2h", "double", "price"),
    Feature("avg", "30m", "double", "weight"),
    Feature("min", "2h", "bigint", "amount"),
    Feature("max", "2h", "bigint", "big"),
    Feature("min", "30m", "varchar", "label"),
    Feature("max", "1d", "decimal(18,4)", "price"),
    Feature("max", "30m", "timestamptz", "happened_at"),
    Feature("stddev", "2h", "double", "weight"),
    Feature("stddev", "30m", "double", "amount"),
    Feature("count_distinct", "2h", "bigint", "label"),
    Feature("count_distinct", "30m", "bigint", "label"),
    Feature("count_distinct", "30m", "bigint", "amount"),
    Feature("rate", "2h", "double", condition="amount > 0"),
    Feature("rate", "30m", "double", condition="label = 'x'' y' or price < 0"),
    Feature("last", "30m", "bigint", "amount"),
    Feature("last", "2h", "varchar", "label"),
    Feature("last_n", "2h", "bigint[]", "amount", n=3),
    Feature("last_n", "30m", "double[]", "weight", n=2),
    Feature("last_n", "1d", "varchar[]", "label", n=1),
]

#: The conditions of FEATURES, in Python
CONDITIONS = {
    "amount > 0": lambda event: event["amount"] is not None and event["amount"] > 0,
    "label = 'x'' y' or price < 0": lambda event: (
        event["label"] == "x' y" or (event["price"] is not None and event["price"] < 0)
    ),
}

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      materialized: table
      meta:
        feature_view: {{entity: customer, join_keys: [k, region], event_timestamp: event_at, available_at: known_at}}
    data_tests: [feature_warehouse.unique_history]
    columns:
{columns}
    versions: [{{v: 1}}]
"""

PUBLIC = """
{{{{ feature_warehouse.rolling_features(
    events=ref('events'), join_keys=['k', 'region'], event_timestamp='happened_at', available_at={available_at},
    features={features}
) }}}}
"""

PORTABLE = """
{{% set events = ref('events') %}}
{{{{ feature_warehouse.portable__rolling_select(
    events=events, join_keys=['k', 'region'], event_timestamp='happened_at', available_at='loaded_at',
    plan=feature_warehouse._rolling_plan({features}, ['k', 'region'], 'test'), changed_since=none
) if execute else 'select 1' }}}}
"""

JOIN = """
{{{{ feature_warehouse.point_in_time_join(
    spine=ref('labels'), spine_timestamp='asked_at', feature_views=[ref('{view}', v=1)]
) }}}}
"""

#: view -> (its SQL, whether availability counts)
VIEWS = {
    "rolling": (PUBLIC.format(available_at="'loaded_at'", features=[f.call for f in FEATURES]), True),
    "portable": (PORTABLE.format(features=[f.call for f in FEATURES]), True),
    "waived": (PUBLIC.format(available_at="none", features=[f.call for f in FEATURES]), False),
}
#: In PostgreSQL the public form is the portable one.
FORMS = {"duckdb": tuple(VIEWS), "postgres": ("rolling", "waived")}


def declared(columns: dict[str, str]) -> str:
    return "\n".join(f'      - {{name: {name}, data_type: "{type_}"}}' for name, type_ in columns.items())


@pytest.fixture(scope="module", params=NAMES)
def engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    keys, times = {"k": "varchar", "region": "integer"}, {"event_at": "timestamptz", "known_at": "timestamptz"}
    types = keys | {feature.name: feature.data_type for feature in FEATURES} | times
    columns = declared({name: type_on(request.param, type_) for name, type_ in types.items()})
    empty = ", ".join(f"null::{type_on(request.param, type_)} as {name}" for name, type_ in COLUMNS.items())
    files = {
        "models/events.sql": f"{{{{ config(materialized='table') }}}} select {empty} where false",
        "models/labels.sql": (
            "{{ config(materialized='table') }} select 'a' as k, 1::integer as region, now() as asked_at where false"
        ),
        "models/views.yml": "models:"
        + "".join(VIEW.format(name=name, columns=columns) for name in FORMS[request.param]),
    }
    for view in FORMS[request.param]:
        files[f"models/{view}_v1.sql"] = VIEWS[view][0]
        files[f"models/joined_{view}.sql"] = JOIN.format(view=view)
    made = Project(tmp_path_factory.mktemp("shop"), files, server=database_of(request, request.param))
    made.dbt("run")
    with asked(made) as asks:
        yield asks


# --- the oracle ------------------------------------------------------------------------------------------------------

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
Event = dict[str, Any]


def known_from(event: Event, available: bool) -> datetime:
    return event["loaded_at"] if available else event["happened_at"]


def usable(event: Event, available: bool) -> bool:
    return None not in (event["k"], event["region"], event["happened_at"], known_from(event, available))


def oracle(feature: Feature, known: list[Event], at: datetime, available: bool) -> Any:
    """The feature at ``at`` from the events of one entity that had happened and were known by then."""
    start = at - timedelta(minutes=MINUTES[feature.window])
    held = [event for event in known if event["happened_at"] > start]
    if feature.aggregate == "rate":
        met = [CONDITIONS[feature.condition or ""](event) for event in held]
        return Fraction(sum(met), len(met)) if met else None
    if feature.aggregate == "count" and feature.column is None:
        return len(held)
    column = feature.column or ""

    def age(event: Event) -> Any:
        value = event[column]
        rank = (value is not None, value if value is not None else 0)
        return (event["happened_at"], known_from(event, available), *rank)

    if feature.aggregate == "last":
        return max(held, key=age)[column] if held else None
    held = [event for event in held if event[column] is not None]
    if feature.aggregate == "last_n":
        return [event[column] for event in sorted(held, key=age, reverse=True)[: feature.n]]
    values = [event[column] for event in held]
    if feature.aggregate == "count":
        return len(values)
    if feature.aggregate == "count_distinct":
        return len(set(values))
    if feature.aggregate in ("min", "max"):
        return None if not values else min(values) if feature.aggregate == "min" else max(values)
    exact = [Fraction(value) for value in values]
    if feature.aggregate == "sum":
        return sum(exact, Fraction(0))
    if feature.aggregate == "avg":
        return sum(exact) / len(exact) if exact else None
    assert feature.aggregate == "stddev"
    if len(exact) < 2:
        return None
    mean = sum(exact) / len(exact)
    return math.sqrt(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))


def agrees(feature: Feature, found: Any, expected: Any, sizes: list[float]) -> bool:
    """Equal; a double may be off by what adding ``sizes``, the values' magnitudes, freshly may round away."""
    if found is None or expected is None:
        return found is expected
    if feature.data_type != "double":
        return type(found) is not float and found == expected
    slack = 1e-15 * (1 + len(sizes)) * max(sizes, default=0.0)
    return math.isclose(found, expected, rel_tol=1e-15 if feature.aggregate != "stddev" else 1e-12, abs_tol=slack)


# --- the comparison --------------------------------------------------------------------------------------------------


def fill(engine: Engine, events: list[Event]) -> None:
    engine.fill("events", list(COLUMNS), [[event[column] for column in COLUMNS] for event in events])


def build(engine: Engine, view: str) -> None:
    columns = ", ".join(["k", "region", *(feature.name for feature in FEATURES), "event_at", "known_at"])
    engine.execute(f"delete from {view}_v1")
    windows = engine.project.compiled(f"{view}_v1")
    engine.execute(f"insert into {view}_v1 ({columns}) select {columns} from ({windows}) as windows")


def assert_join_equals_oracle(engine: Engine, events: list[Event], spine: list[tuple[Any, Any, datetime]]) -> None:
    fill(engine, events)
    engine.fill("labels", ["k", "region", "asked_at"], spine)
    for view in FORMS[engine.name]:
        available = VIEWS[view][1]
        build(engine, view)
        once = f"select k, region, event_at from {view}_v1 group by k, region, event_at having count(*) > 1"
        assert engine.rows(once) == [], view
        early = f"select * from {view}_v1 where known_at is null or known_at > event_at"
        assert engine.rows(early) == [], view
        entities: dict[Any, list[Event]] = {}
        for event in events:
            if usable(event, available):
                entities.setdefault((event["k"], event["region"]), []).append(event)
        names, rows = engine.query(engine.project.compiled(f"joined_{view}"))
        assert len(rows) == len(spine)
        for values in rows:
            row = dict(zip(names, values, strict=True))
            at = row["asked_at"]
            known = [
                event
                for event in entities.get((row["k"], row["region"]), [])
                if event["happened_at"] <= at and known_from(event, available) <= at
            ]
            for feature in FEATURES:
                expected = oracle(feature, known, at, available) if known else None
                sizes = []
                if feature.data_type == "double" and feature.column:
                    start = at - timedelta(minutes=MINUTES[feature.window])
                    sizes = [abs(float(e[feature.column] or 0)) for e in known if e["happened_at"] > start]
                assert agrees(feature, row[feature.name], expected, sizes), (
                    view,
                    feature.name,
                    row["k"],
                    row["region"],
                    at,
                    row[feature.name],
                    expected,
                )
    if engine.name == "postgres":
        return
    # Both forms give the same rows, not only the same joins.
    rows_of = "select k, region, event_at, known_at from {}_v1"
    difference = engine.rows(
        f"({rows_of.format('rolling')} except all {rows_of.format('portable')}) union all"
        f" ({rows_of.format('portable')} except all {rows_of.format('rolling')})"
    )
    assert difference == []


KEYS = [("a", 1), ("a", 2), ("A", 1), ("b", 1)]
AMOUNTS = [None, 0, -1, 3, 2**53 + 1, -(2**53) - 1]
BIGS = [None, 2**63 - 1, -(2**63), 5]
PRICES = [None, Decimal("0.1000"), Decimal("-7.2500"), Decimal("99999999999999.9999")]
WEIGHTS = [None, 0.1, 0.2, 0.3, -0.3, 1e17, -1e17, 1e-9]
LABELS = [None, "x' y", "z", ""]

# Few keys and moments, so that ties, late events and the exact ends of windows are the rule.
moments = st.tuples(st.integers(0, 12), st.sampled_from([0, 0, 0, -1, 1])).map(
    lambda drawn: START + timedelta(minutes=15 * drawn[0], microseconds=drawn[1])
)


def with_key(drawn: dict[str, Any]) -> Event:
    k, region = drawn["key"]
    return {"k": k, "region": region} | drawn


drawn_events = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from([("a", 1), ("a", 1), ("a", 2), ("a", None), (None, 1)]),
            "happened_at": moments | moments | st.none(),
            "loaded_at": moments | moments | st.none(),
            "amount": st.sampled_from(AMOUNTS),
            "big": st.sampled_from(BIGS),
            "price": st.sampled_from(PRICES),
            "weight": st.sampled_from(WEIGHTS),
            "label": st.sampled_from(LABELS),
        }
    ).map(with_key),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=drawn_events)
def test_every_drawn_window_equals_the_oracle(engine: Engine, events: list[Event]) -> None:
    steps = [START + timedelta(minutes=15 * i, microseconds=j) for i in range(24) for j in (-1, 0, 1)]
    assert_join_equals_oracle(engine, events, [(*key, at) for key in KEYS[:2] for at in steps])


@pytest.mark.parametrize("seed", range(5))
def test_every_dense_window_equals_the_oracle(engine: Engine, seed: int) -> None:
    """Hundreds of events on few moments; with each seed another share of them is late, and by more."""
    draw = random.Random(seed)
    steps = 40

    def moment() -> datetime:
        return START + timedelta(minutes=15 * draw.randrange(steps), microseconds=draw.choice([0, 0, 0, 0, -1, 1]))

    events = []
    for _ in range(300):
        happened = moment()
        kind = draw.random()
        if kind < 0.2 * seed:  # late, some beyond every short window
            loaded = happened + timedelta(minutes=draw.choice([1, 15, 29, 30, 31, 120, 180, 600]))
        else:  # on time, or announced
            loaded = happened - draw.choice([timedelta(0), timedelta(0), timedelta(minutes=45)])
        k, region = draw.choice(KEYS)
        event: Event = {"k": k, "region": region, "happened_at": happened, "loaded_at": loaded}
        event |= {"amount": draw.choice(AMOUNTS), "big": draw.choice(BIGS), "price": draw.choice(PRICES)}
        event |= {"weight": draw.choice(WEIGHTS), "label": draw.choice(LABELS)}
        if draw.random() < 0.03:
            event[draw.choice(["k", "region", "happened_at", "loaded_at"])] = None
        events += [event] * draw.choice([1, 1, 1, 2])
    spine = [
        (*draw.choice(KEYS), START + timedelta(minutes=15 * i, microseconds=j))
        for i in range(-2, steps + 100)
        for j in (-1, 0, 1)
        for _ in range(2)
    ]
    assert_join_equals_oracle(engine, events, spine)


def test_equal_values_have_no_deviation_and_an_emptied_window_no_residue(engine: Engine) -> None:
    events: list[Event] = [
        {
            "k": "a",
            "region": 1,
            "happened_at": START + timedelta(minutes=i),
            "loaded_at": START + timedelta(minutes=i),
            "amount": 1,
            "big": 1,
            "price": Decimal("0.1"),
            "weight": 0.1,
            "label": "x",
        }
        for i in range(100)
    ]
    fill(engine, events)
    build(engine, "rolling")
    assert engine.rows("select distinct stddev_weight_2h from rolling_v1 where count_2h > 1") == [(0.0,)]
    assert engine.rows("select distinct sum_weight_30m from rolling_v1 where count_30m = 0") == [(0.0,)]
    assert engine.rows("select distinct sum_weight_30m from rolling_v1 where count_30m = 1") == [(0.1,)]


# --- incremental -----------------------------------------------------------------------------------------------------

INCREMENTAL = """
{{{{ config(
    materialized='incremental', incremental_strategy='{strategy}', unique_key=['customer', 'event_at'],
    on_schema_change='fail'
) }}}}
{{{{ feature_warehouse.rolling_features(
    events=source('shop', 'events'), join_keys=['customer'], event_timestamp='ordered_at', available_at='loaded_at',
    features=[
        {{'name': 'orders_1d', 'aggregate': 'count', 'window': '1 day'}},
        {{'name': 'orders_3d', 'aggregate': 'count', 'window': '72 hours'}},
        {{'name': 'spent_3d', 'aggregate': 'sum', 'column': 'amount', 'window': '3 days', 'data_type': 'bigint'}},
        {{'name': 'weight_3d', 'aggregate': 'sum', 'column': 'weight', 'window': '3 days', 'data_type': 'double'}},
        {{'name': 'weight_avg_1d', 'aggregate': 'avg', 'column': 'weight', 'window': '1 day'}},
        {{'name': 'largest_3d', 'aggregate': 'max', 'column': 'amount', 'window': '3 days'}},
        {{'name': 'amounts_1d', 'aggregate': 'count_distinct', 'column': 'amount', 'window': '1 day'}},
        {{'name': 'recent_3d', 'aggregate': 'last_n', 'column': 'amount', 'n': 3, 'window': '3 days'}},
    ],
    changed_since="(select max(known_at) from " ~ this ~ ")" if is_incremental() else none
) }}}}
"""

INCREMENTAL_ROWS = """
select
    customer, orders_1d, orders_3d, spent_3d, weight_3d, weight_avg_1d, largest_3d, amounts_1d, recent_3d, event_at,
    known_at
from {}
order by all
"""


def test_a_days_run_equals_a_full_refresh_row_for_row(tmp_path: Path) -> None:
    strategies = {"replaced": "delete+insert", "merged": "merge"}
    files = {f"models/{model}.sql": INCREMENTAL.format(strategy=name) for model, name in strategies.items()}
    files["models/shop.yml"] = "sources: [{name: shop, schema: main, tables: [{name: events}]}]"
    shop = Project(tmp_path, files)
    draw = random.Random(7)
    with duckdb.connect(str(shop.database)) as connection:
        connection.execute(
            "create table events (customer varchar, ordered_at timestamptz, loaded_at timestamptz, amount bigint,"
            " weight double)"
        )
    shop.dbt("run")  # before the first event, too
    newest = START
    for day in range(7):
        midnight = START + timedelta(days=day)
        events = []
        # Each day's customers are its own, but for one who orders daily; d never orders again.
        for customer in ["daily", draw.choice("abc")] + (["d"] if day == 0 else []):
            for _ in range(6):
                # Loaded on this day, partly at one instant; ordered then, or up to five days ago, or announced.
                loaded = midnight + timedelta(minutes=draw.choice([0, 0, 1, 600, 1439]))
                ordered = loaded - timedelta(minutes=draw.choice([0, 0, 0, -60, 90, 1440, 3000, 4320, 7200]))
                events.append((customer, ordered, loaded, draw.choice([1, 2, 50]), draw.choice([0.1, 1e6])))
        if day:  # available at the very instant up to which the last run had read
            events.append((f"tied {day}", newest, newest, 1, 0.1))
        newest = max(event[2] for event in events)
        with duckdb.connect(str(shop.database)) as connection:
            connection.executemany("insert into events values (?, ?, ?, ?, ?)", events)
            before = {
                m: connection.execute(f"select count(*) from {m} where customer = 'd'").fetchall() for m in strategies
            }
        shop.dbt("run")
        with duckdb.connect(str(shop.database)) as connection:
            built = {model: connection.execute(INCREMENTAL_ROWS.format(model)).fetchall() for model in strategies}
            after = {
                m: connection.execute(f"select count(*) from {m} where customer = 'd'").fetchall() for m in strategies
            }
            assert day == 0 or before == after
        if day in (1, 3, 6):
            shop.dbt("run", "--full-refresh")
            with duckdb.connect(str(shop.database)) as connection:
                for model in strategies:
                    fresh = connection.execute(INCREMENTAL_ROWS.format(model)).fetchall()
                    assert len(fresh) > 10
                    assert built[model] == fresh, (model, day)
                    written = connection.execute(f"select event_at from {model}").fetchall()
                    assert written == sorted(written), "the rows that a later run replaces lie together"


# --- types and refusals ----------------------------------------------------------------------------------------------

EVENT = """
select 'a' as customer, 1 as event_at, timestamptz '2026-03-01' as ordered_at, timestamp '2026-03-01' as naive_at,
    timestamptz '2026-03-01' as loaded_at, 5::integer as amount, 0.5::decimal(4,1) as price, 0.1::double as weight
"""


def call(features: str, more: str = "") -> str:
    """A call over the one event, with the feature's missing settings filled in."""
    defaults = {"join_keys": "['customer']", "event_timestamp": "'ordered_at'", "available_at": "'loaded_at'"}
    given = [f"{name}={value}" for name, value in defaults.items() if f"{name}=" not in more]
    return f"{{{{ feature_warehouse.rolling_features(ref('stg'), features={features}, {', '.join([*given, more])}) }}}}"


def one(settings: str) -> str:
    return f"[{{'name': 'x', {settings}}}]"


COUNT = one("'aggregate': 'count', 'window': '7 days'")

#: What an adapter gets for which nobody wrote a form, and one that descends from PostgreSQL's; here it is DuckDB.
FORM = """
-- depends_on: {{{{ ref('stg') }}}}
{{{{ feature_warehouse.{of}__rolling_select(
    events=ref('stg'), join_keys=['customer'], event_timestamp='ordered_at', available_at='loaded_at', plan={{}},
    changed_since=none
) if execute else 'select 1' }}}}
"""

#: model -> (its SQL, what the error says)
REFUSED = {
    "no_form": (
        FORM.format(of="default"),
        "it has no form for the adapter duckdb, only for duckdb and postgres. To add one, write the macro"
        " duckdb__rolling_select in your project, and prove it by the project in integration_tests/",
    ),
    "form_of_another": (FORM.format(of="postgres"), "it has no form for the adapter duckdb"),
    "no_list": (call("{'name': 'x'}"), "`features` must be a list of features, got '{'name': 'x'}'. Write features=["),
    "no_features": (
        call("[]"),
        "`features` must be a list of features, got '[]'. Write features=[{'name': 'orders_7d'",
    ),
    "nameless": (call("[{'aggregate': 'count'}]"), "item 1 of `features` has no name, got"),
    "text_keys": (call(COUNT, "join_keys='customer'"), "`join_keys` must be a list of columns, got 'customer'. Write"),
    "no_keys": (call(COUNT, "join_keys=[]"), "`join_keys` must be a list of columns, got '[]'"),
    "time_as_key": (
        call(COUNT, "join_keys=['event_at']"),
        "the join key 'event_at' has the name of the time column that",
    ),
    "no_time": (call(COUNT, "event_timestamp=none"), "`event_timestamp` must be the name of a column, got 'None'"),
    "listed_availability": (
        call(COUNT, "available_at=['l']"),
        "`available_at` must be the name of a column, or none to",
    ),
    "strange_aggregate": (
        call(one("'aggregate': 'median', 'window': '7 days'")),
        "feature 'x': `aggregate` is 'median'. Write one of count, sum, avg, min, max, stddev, count_distinct, rate,",
    ),
    "no_aggregate": (call(one("'window': '7 days'")), "feature 'x': `aggregate` is 'None'. Write one of count"),
    "no_column": (
        call(one("'aggregate': 'sum', 'window': '7 days'")),
        "feature 'x': `column` is missing. The aggregate sum needs column",
    ),
    "no_condition": (
        call(one("'aggregate': 'rate', 'window': '7 days'")),
        "feature 'x': `condition` is missing. The aggregate rate needs condition",
    ),
    "no_n": (
        call(one("'aggregate': 'last_n', 'column': 'amount', 'window': '7 days'")),
        "feature 'x': `n` is missing. The aggregate last_n needs column and n",
    ),
    "strange_n": (
        call(one("'aggregate': 'last_n', 'column': 'amount', 'n': 'five', 'window': '7 days'")),
        "feature 'x': `n` is 'five'. Write how many values to keep, a whole number from 1 on",
    ),
    "condition_of_count": (
        call(one("'aggregate': 'count', 'condition': 'amount > 1', 'window': '7 days'")),
        "feature 'x': the aggregate count takes no `condition`, got 'amount > 1'. It takes column, if only",
    ),
    "strange_setting": (
        call(one("'aggregate': 'count', 'windows': '7 days'")),
        "feature 'x' has the unknown setting 'windows'. Did you mean 'window'?",
    ),
    "no_window": (call(one("'aggregate': 'count'")), "feature 'x': `window` is 'None'. Write how far back it looks"),
    "empty_window": (
        call(one("'aggregate': 'count', 'window': '0 days'")),
        "feature 'x': `window` is '0 days'. Write how far back it looks",
    ),
    "strange_window": (
        call(one("'aggregate': 'count', 'window': '1 month'")),
        "feature 'x', `window`: '1 month' is not a duration. Write a whole number and a unit",
    ),
    "twice": (call(f"{COUNT} + {COUNT.replace('x', 'X')}"), "feature 'X' has the name of another feature"),
    "key_as_feature": (
        call(COUNT.replace("'x'", "'customer'")),
        "feature 'customer' has the name of a join key. Give it another name",
    ),
    "time_as_feature": (
        call(COUNT.replace("'x'", "'known_at'")),
        "feature 'known_at' has the name of the availability that the macro gives",
    ),
    "naive": (
        "{{ config(materialized='table') }}" + call(COUNT, "event_timestamp='naive_at'"),
        "rolling_features: the column naive_at has no zone, so it names no instant. Convert it in a model before this"
        " one: naive_at at time zone 'UTC'",
    ),
}

UNDECLARED = """[
    {'name': 'amounts', 'aggregate': 'sum', 'column': 'amount', 'window': '1 day'},
    {'name': 'prices', 'aggregate': 'sum', 'column': 'price', 'window': '1 day'},
    {'name': 'weights', 'aggregate': 'sum', 'column': '2 * weight', 'window': '1 day'}
]"""

UNIT_TEST = """
models:
  - name: declared
    config: {contract: {enforced: true}}
    columns:
      - {name: customer, data_type: varchar}
      - {name: amounts, data_type: bigint}
      - {name: prices, data_type: "decimal(18,1)"}
      - {name: weights, data_type: double}
      - {name: event_at, data_type: timestamptz}
      - {name: known_at, data_type: timestamptz}
unit_tests:
  - name: a_days_orders_leave_after_a_day
    model: declared
    given:
      - input: ref('stg')
        rows:
          - {customer: a, ordered_at: "2026-03-01T10:00:00Z", loaded_at: "2026-03-01T11:00:00Z", amount: 5, price: 1.5}
    expect:
      rows:
        - {customer: a, amounts: 5, prices: 1.5, event_at: "2026-03-01T11:00:00Z", known_at: "2026-03-01T11:00:00Z"}
        - {customer: a, amounts: 0, prices: 0.0, event_at: "2026-03-02T10:00:00Z", known_at: "2026-03-01T11:00:00Z"}
"""


@pytest.fixture(scope="module")
def wrong_calls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    files = {f"models/wrong/{model}.sql": sql for model, (sql, _) in REFUSED.items()}
    files |= {
        "models/stg.sql": EVENT,
        "models/undeclared.sql": call(UNDECLARED),
        "models/declared.sql": call(UNDECLARED),
        "models/declared.yml": UNIT_TEST,
    }
    project = Project(tmp_path_factory.mktemp("wrong"), files)
    project.dbt("build", "--exclude", "wrong.*")
    refused = project.try_dbt("run", "--select", "wrong.*")
    return project, {run.node.name: run.message for run in refused.result.results}


@pytest.mark.parametrize(("model", "words"), [(model, words) for model, (_, words) in REFUSED.items()])
def test_a_wrong_call_is_refused_in_words(wrong_calls: tuple[Project, dict[str, str]], model: str, words: str) -> None:
    said = " ".join(wrong_calls[1][model].split())
    assert "rolling_features: " in said
    assert words in said


def test_a_sum_has_the_declared_type_else_the_databases(wrong_calls: tuple[Project, dict[str, str]]) -> None:
    with duckdb.connect(str(wrong_calls[0].database)) as connection:
        columns = "typeof(amounts), typeof(prices), typeof(weights), amounts, prices, weights"
        found = {
            model: connection.execute(f"select {columns} from {model} order by event_at").fetchall()
            for model in ("declared", "undeclared")
        }
    values = [(5, Decimal("0.5"), 0.2), (0, Decimal("0.0"), 0.0)]
    assert found["declared"] == [("BIGINT", "DECIMAL(18,1)", "DOUBLE", *row) for row in values]
    assert found["undeclared"] == [("HUGEINT", "DECIMAL(38,1)", "DOUBLE", *row) for row in values]


# --- docs/reference/windows.md ----------------------------------------------------------------------------------------


def test_the_page_shows_what_comes_out(tmp_path: Path) -> None:
    page = Page("reference/windows.md")
    columns, events = page.table("events")
    rows = ", ".join("(" + ", ".join(f"'{cell}'" for cell in row) + ")" for row in events)
    stg = f"""
        select customer, ordered_at::timestamptz ordered_at, loaded_at::timestamptz loaded_at, amount::bigint amount
        from (values {rows}) as orders({", ".join(columns)})
    """
    shop = Project(tmp_path, page.files() | {"models/stg_orders.sql": stg})
    shop.dbt("build")
    shop.dbt("run")  # the incremental one, again
    header, expected = page.table("history")
    with duckdb.connect(str(shop.database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        described = connection.execute("from orders_v1 order by event_at")
        assert [column[0] for column in described.description] == header[:-1]
        found = [
            [f"{v:%Y-%m-%d %H:%M}" if isinstance(v, datetime) else str(v) for v in r] for r in described.fetchall()
        ]
        daily = connection.execute("select distinct orders_1d from orders_daily_v1 order by all").fetchall()
    assert found == [row[:-1] for row in expected]
    assert daily == [(0,), (1,), (2,)]
