"""Generic tests with arguments: what each lets pass, which rows it returns, which arguments it refuses."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from tests.support.engines import NAMES, asked, database_of
from tests.support.projects import Project

# 20 rows that live, of which 19 have a `mostly`; and one that says that its entity has gone
HISTORY = """
select
    cast(i as bigint) as customer,
    timestamptz '2026-01-01 00:00:00+00' as event_at,
    cast(i as bigint) as always,
    cast(nullif(i, 7) as bigint) as mostly,
    false as gone
from generate_series(0, 19) as t(i)
union all
select 20, timestamptz '2026-01-02 00:00:00+00', null, null, true
"""

HISTORY_YAML = """
models:
  - name: {name}
    config:
      contract: {{enforced: true}}
      materialized: table
      meta:
        feature_view:
          {{entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: none, deleted: gone}}
    columns:
      - {{name: customer, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: always, data_type: bigint}}
      - {{name: mostly, data_type: bigint}}
      - {{name: gone, data_type: boolean}}
    versions: [{{v: 1}}]
    data_tests:
"""

LABELS = """
{{ config(materialized='table') }}
select *
from
    (
        values
            (1, timestamptz '2026-01-03 00:00:00+00', true, timestamp '2026-01-01'),
            (2, timestamptz '2026-01-03 00:00:00.000001+00', null, null),
            (3, null, null, null)
    ) as t(customer, asked_at, churned, naive)
"""

#: A feed whose newest fact is exactly at the limit; without customer 1 it is a moment beyond it. What becomes known
#: after now is no news.
FEED = """
select *
from
    (
        values
            (1, timestamptz '{now}' - interval '{limit}'),
            (2, timestamptz '{now}' - interval '{limit}' - interval '1 microsecond'),
            (3, timestamptz '{now}' + interval '1 microsecond')
    ) as t(customer, known_at)
"""

FEED_YAML = """
models:
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta:
        feature_view: {{entity: customer, join_keys: [customer], event_timestamp: known_at, available_at: none, {tier}}}
    columns:
      - {{name: customer, data_type: integer}}
      - {{name: known_at, data_type: timestamptz}}
    versions: [{{v: 1}}]
    data_tests:
"""

#: feed -> (what it declares, the age beyond which it is stale)
FEEDS = {
    "by_default": ("tier: daily", "36 hours"),
    "hourly": ("tier: hourly", "90 minutes"),
    "near_real_time": ("tier: near_real_time", "90 seconds"),
    "declared": ("tier: hourly, expected_every: 2 days", "72 hours"),
    "static": ("tier: static", "3650 days"),
    "nonsense": ("tier: weekly", "1 day"),
}

NOW = "2026-01-10T00:00:00Z"
AT_NOW = datetime(2026, 1, 10, tzinfo=timezone.utc)


def beyond(**duration: int) -> tuple[str, str]:
    """What freshness returns of a fact that is a moment older than that: when it became available, and now."""
    return (AT_NOW - timedelta(microseconds=1, **duration)).isoformat(), AT_NOW.isoformat()


#: Model, test, its arguments, its `where`.
Case = tuple[str, str, str, str]

#: case -> the rows that it returns
JUDGED: dict[Case, list[tuple[Any, ...]]] = {
    # 19 of 20 is 0.95, not a hair less; the row of the deleted customer has no features to miss
    ("history", "feature_coverage", "minimum: 0.95", ""): [],
    ("history", "feature_coverage", "minimum: 0.9501", ""): [("mostly", 0.95, 0.9501, 20)],
    ("history", "feature_coverage", "minimum: 1", "customer <> 7"): [],
    ("history", "feature_coverage", "minimum: 1, features: [always]", ""): [],
    ("history", "feature_coverage", "minimum: 1, minimum_by_feature: {mostly: 0.9}", ""): [],
    ("history", "feature_coverage", "minimum_by_feature: {mostly: 0.96}", ""): [("mostly", 0.95, 0.96, 20)],
    ("nothing", "feature_coverage", "minimum: 0", ""): [("always", 0, 0, 0), ("mostly", 0, 0, 0)],
    ("labels", "feature_coverage", "minimum: 0.5", ""): [("churned", 1 / 3, 0.5, 3), ("naive", 1 / 3, 0.5, 3)],
    ("labels", "feature_coverage", "minimum: 1", "customer = 1"): [],
    ("labels", "label_maturity", "spine_timestamp: asked_at, minimum_age: 7 days", ""): [(2,)],
    ("labels", "label_maturity", "spine_timestamp: asked_at, minimum_age: 6 days", ""): [],
    ("labels", "label_maturity", "spine_timestamp: asked_at, minimum_age: 8 days", "customer <> 1"): [(2,)],
    # a project may give every test a `where`: those without arguments find their model too
    ("labels", "zoned_timestamps", "", "customer <> 1"): [("naive", "TIMESTAMP", "naive at time zone 'UTC'")],
    ("history", "unique_history", "", "customer <> 1"): [],
    ("by_default", "feature_freshness", "", ""): [],
    ("by_default", "feature_freshness", "", "customer <> 1"): [(*beyond(hours=36), 86400)],
    ("hourly", "feature_freshness", "", ""): [],
    ("hourly", "feature_freshness", "", "customer <> 1"): [(*beyond(minutes=90), 3600)],
    ("near_real_time", "feature_freshness", "", ""): [],
    ("near_real_time", "feature_freshness", "", "customer <> 1"): [(*beyond(seconds=90), 60)],
    ("declared", "feature_freshness", "", ""): [],
    ("declared", "feature_freshness", "", "customer <> 1"): [(*beyond(hours=72), 172800)],
    ("static", "feature_freshness", "", "customer <> 1"): [],
    ("static", "feature_freshness", "", "customer = 3"): [(None, AT_NOW.isoformat(), None)],
}

#: case -> what the error says
REFUSED: dict[Case, str] = {
    ("history", "feature_coverage", "", ""): "`minimum` is missing. Write the least share of values",
    ("history", "feature_coverage", "features: [always]", ""): "`minimum` is missing",
    ("history", "feature_coverage", "minimum: 95", ""): "the minimum of 'always' is '95'. Write a share",
    ("history", "feature_coverage", "minimum: half", ""): "the minimum of 'always' is 'half'",
    ("history", "feature_coverage", "minimum: -0.1", ""): "the minimum of 'always' is '-0.1'",
    ("history", "feature_coverage", "minimum: 1, features: [gone]", ""): "has no feature 'gone'; it has always, mostly",
    ("labels", "feature_coverage", "minimum_by_feature: {age: 1}", ""): "\" has no column 'age'; it has customer",
    ("labels", "label_maturity", "spine_timestamp: asked_at, minimum_age: soon", ""): "'soon' is not a duration",
    ("labels", "label_maturity", "spine_timestamp: at, minimum_age: 1 day", ""): "`spine_timestamp` is 'at', but",
    ("labels", "label_maturity", "spine_timestamp: naive, minimum_age: 1 day", ""): "which has no zone",
    ("labels", "label_maturity", "spine_timestamp: naive, minimum_age: 1 day", "true"): "which has no zone",
    ("nonsense", "feature_freshness", "", ""): "has the tier 'weekly'. Write one of static, daily, hourly",
}

CASES = [*JUDGED, *REFUSED]


def declared(model: str) -> str:
    """The YAML of a model's tests, each named by its place in CASES."""
    return "".join(
        f"""
      - feature_warehouse.{test}:
          name: case_{number}
          arguments: {{{arguments}}}
          config: {{{f'where: "{where}"' if where else ""}}}"""
        for number, (name, test, arguments, where) in enumerate(CASES)
        if name == model
    )


@pytest.fixture(scope="module", params=NAMES)
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    made = Project(
        tmp_path_factory.mktemp("shop"),
        {
            "models/history_v1.sql": HISTORY,
            "models/history.yml": HISTORY_YAML.format(name="history") + declared("history"),
            "models/nothing_v1.sql": f"select * from ({HISTORY}) as history where false",
            "models/nothing.yml": HISTORY_YAML.format(name="nothing") + declared("nothing"),
            "models/labels.sql": LABELS,
            "models/labels.yml": "models:\n  - name: labels\n    data_tests:" + declared("labels"),
            **{f"models/{name}_v1.sql": FEED.format(now=NOW, limit=limit) for name, (_, limit) in FEEDS.items()},
            **{
                f"models/{name}.yml": FEED_YAML.format(name=name, tier=tier) + declared(name)
                for name, (tier, _) in FEEDS.items()
            },
        },
        more=f"vars: {{feature_warehouse_now: '{NOW}'}}",
        server=database_of(request, request.param),
    )
    made.dbt("compile", "--select", *(f"case_{number}" for number in range(len(JUDGED))))  # nothing is built yet
    made.dbt("run")
    return made


@pytest.fixture(scope="module")
def outcomes(project: Project) -> dict[str, Any]:
    """test -> (what dbt said, the rows that it kept)."""
    found: dict[str, Any] = {}
    results = project.try_dbt("test", "--store-failures").result.results
    with asked(project) as engine:
        for run in results:
            rows = engine.rows(f"select * from {run.node.relation_name}") if run.status != "error" else []
            found[run.node.name] = (
                run.message or "",
                [tuple(_plain(value) for value in row) for row in rows],
            )
    return found


def _plain(value: object) -> object:
    """What compares well: floats for decimals, texts for instants, DuckDB's name of a type."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    if value == "timestamp without time zone":
        return "TIMESTAMP"
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("case", JUDGED, ids=" ".join)
def test_it_returns_the_rows_at_fault(case: Case, outcomes: dict[str, Any]) -> None:
    said, rows = outcomes[f"case_{CASES.index(case)}"]
    width = len(JUDGED[case][0]) if JUDGED[case] else 0
    assert sorted(row[:width] for row in rows) == [pytest.approx(row) for row in JUDGED[case]], said


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_a_wrong_argument_is_refused_in_words(case: Case, outcomes: dict[str, Any]) -> None:
    said, _ = outcomes[f"case_{CASES.index(case)}"]
    assert f"{case[1]}: " in said
    assert REFUSED[case] in said
