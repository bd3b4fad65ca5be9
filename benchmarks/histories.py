"""Labels and histories for the measurements of the point-in-time join, and the two ways to join them as SQL.

A history is a table history_<n> of one feature view: generated users, events at any microsecond of 90 days, and for a
share of the rows an availability up to ten days after the event. Labels are asked at any moment of the same 90 days.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb

from tests.support.projects import Project

ENTITIES = 100_000

FEATURES = {"ratio": "double", "weight": "double", "count": "bigint", "label": "varchar"}

VIEW = """
  - name: view_{n}
    config:
      contract: {{enforced: true}}
      materialized: table
      meta: {{feature_view: {{entity: user, join_keys: [user_id], event_timestamp: event_at, available_at: known_at}}}}
    columns:
      - {{name: user_id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: timestamptz}}
{features}
    versions: [{{v: 1}}]
"""

HISTORY = """
create or replace table history_{n} as
select
    (hash(i, {n}) % {entities})::bigint as user_id,
    timestamptz '2026-01-01 00:00:00+00' + to_microseconds((hash(i, {n}, 1) % 7776000000000)::bigint) as event_at,
    case
        when hash(i, {n}, 2) % 1000 < {late} * 1000 then event_at + to_seconds(1 + (hash(i, {n}, 3) % 864000)::bigint)
        else event_at
    end as known_at,
    hash(i, {n}, 4) / 1e19 as ratio_{n},
    hash(i, {n}, 5) / 1e19 as weight_{n},
    (hash(i, {n}, 6) % 1000)::bigint as count_{n},
    'abc' || i as label_{n}
from range({rows}) as t(i)
"""

LABELS = """
create or replace table labels as
select
    i as label_id,
    (hash(i) % {entities})::bigint as user_id,
    timestamptz '2026-01-01 00:00:00+00' + to_microseconds((hash(i, 99) % 7776000000000)::bigint) as asked_at
from range({labels}) as t(i)
"""

JOIN = """
{{{{ feature_warehouse.point_in_time_join(
    spine="labels", spine_timestamp="asked_at",
    spine_columns={{"label_id": "BIGINT", "user_id": "BIGINT", "asked_at": "TIMESTAMPTZ"}},
    feature_views=[{views}]
) }}}}
"""


def make_history(
    connection: duckdb.DuckDBPyConnection, n: int, *, rows: int, late: float, entities: int = ENTITIES
) -> None:
    """The table history_<n>. ``late``: the share of rows that become known after their event, 0 to 1."""
    connection.execute(HISTORY.format(n=n, rows=rows, late=late, entities=entities))


def make_labels(connection: duckdb.DuckDBPyConnection, labels: int, *, entities: int = ENTITIES) -> None:
    """The table labels: label_id, user_id, asked_at."""
    connection.execute(LABELS.format(labels=labels, entities=entities))


def feature_views(views: Sequence[int]) -> dict[str, str]:
    """The files of a dbt project whose model view_<n>.v1 is the table history_<n>."""
    files = {f"models/view_{n}_v1.sql": f"select * from history_{n}" for n in views}
    files["models/views.yml"] = "models:" + "".join(VIEW.format(n=n, features=_columns(n)) for n in views)
    return files


def by_macro(views: Sequence[int]) -> str:
    """The SQL of point_in_time_join, rendered by dbt, over history_<n> for each n of ``views``."""
    refs = ", ".join(f'ref("view_{n}", v=1)' for n in views)
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), feature_views(views) | {"models/training.sql": JOIN.format(views=refs)})
        project.dbt("compile", "--no-introspect", "--no-populate-cache")
        sql = project.compiled("training")
    for n in views:
        sql = sql.replace(f'"shop"."main"."view_{n}_v1"', f"history_{n}")
    return sql


def by_hand(views: Sequence[int]) -> str:
    """The ASOF joins that one writes first. They look at event time alone, so they leak where facts come late."""
    features = ", ".join(f"history_{n}.{name}_{n}" for n in views for name in FEATURES)
    joins = " ".join(
        f"asof left join history_{n} on labels.user_id = history_{n}.user_id and asked_at >= history_{n}.event_at"
        for n in views
    )
    return f"select labels.*, {features} from labels {joins}"


def _columns(n: int) -> str:
    return "\n".join(f"      - {{name: {name}_{n}, data_type: {type_}}}" for name, type_ in FEATURES.items())
