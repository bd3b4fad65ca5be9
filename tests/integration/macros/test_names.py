"""Whatever keys, times, features and views are called: every macro and generic test gives the same rows.

One project is built twice, with plain names and with those that SQL would take for something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.projects import Project, messages
from tests.support.shop import CLOCK, Shop, latest

PLAIN = {
    "view": "readings",
    "key": "sensor",
    "key_2": "place",
    "event": "event_at",
    "known": "known_at",
    "deleted": "is_deleted",
    "number": "amount",
    "text": "label",
    "time": "asked_at",
    "spine_key": "probe",
    "more": "note",
    "role": "other_",
}

#: Keywords, blanks, quotes of both kinds, capitals.
STRANGE = {
    "view": "select",
    "key": "order",
    "key_2": "Group By",
    "event": "from",
    "known": "known at",
    "deleted": "it's gone",
    "number": "table",
    "text": 'say "when"',
    "time": "end",
    "spine_key": "where?",
    "more": "O'Brien's \"Note\"",
    "role": "Left ",
}

ROWS = """
    values
        (1, 10, timestamptz '2026-01-01 01:00:00+00', timestamptz '2026-01-01 02:00:00+00', false, 5, 'a'),
        (1, 10, timestamptz '2026-01-02 01:00:00+00', timestamptz '2026-01-04 02:00:00+00', false, 7, 'b'),
        (1, 10, timestamptz '2026-01-03 01:00:00+00', timestamptz '2026-01-03 02:00:00+00', false, null, 'b'),
        (2, 10, timestamptz '2026-01-02 03:00:00+00', timestamptz '2026-01-02 03:00:00+00', false, 9, null),
        (2, 10, timestamptz '2026-01-03 03:00:00+00', timestamptz '2026-01-03 03:00:00+00', true, null, null),
        (null, 10, timestamptz '2026-01-02 05:00:00+00', timestamptz '2026-01-02 05:00:00+00', false, 1, 'z')
"""

SPINE = """
    values
        (1, 10, timestamptz '2026-01-01 12:00:00+00', 5::bigint, 'x'),
        (1, 10, timestamptz '2026-01-03 12:00:00+00', 1::bigint, 'y'),
        (2, 10, timestamptz '2026-01-02 12:00:00+00', 2::bigint, null),
        (2, 10, timestamptz '2026-01-09 12:00:00+00', 3::bigint, 'y')
"""

ALL = ("key", "key_2", "event", "known", "deleted", "number", "text")
NOW = "2026-01-05T00:00:00Z"


def sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def files(n: dict[str, str]) -> dict[str, str]:
    """The project's files. In YAML and in Jinja a JSON text is a text."""
    q = {word: json.dumps(name) for word, name in n.items()}
    view, latest = n["view"], f"ref({q['view']}, v=1)"
    columns = "\n".join(
        f"      - {{name: {q[word]}, data_type: {type_}, quote: true}}"
        for word, type_ in zip(
            ALL, ("integer", "integer", "timestamptz", "timestamptz", "boolean", "integer", "varchar"), strict=True
        )
    )
    read = (
        f"{{'view': {latest}, 'features': [{q['number']}, {q['text']}], "
        f"'keys': {{{q['key']}: {q['spine_key']}}}, 'prefix': {q['role']}}}"
    )
    rolling = [
        {"name": n["number"], "aggregate": "sum", "column": n["number"], "window": "1 day", "data_type": "bigint"},
        {"name": n["text"], "aggregate": "last", "column": sql(n["text"]), "window": "1 day"},
        {"name": f"{n['text']} {n['number']}", "aggregate": "stddev", "column": sql(n["number"]), "window": "2 days"},
        {"name": n["deleted"], "aggregate": "rate", "condition": sql(n["deleted"]), "window": "1 day"},
        {"name": n["more"], "aggregate": "count_distinct", "column": sql(n["text"]), "window": "1 day"},
        {"name": n["role"], "aggregate": "last_n", "column": sql(n["number"]), "n": 2, "window": "1 day"},
        {"name": n["time"], "aggregate": "max", "column": n["number"], "window": "1 day"},
    ]
    called = (
        f"events={latest}, join_keys=[{q['key']}, {q['key_2']}], event_timestamp={q['event']}, "
        f"available_at={q['known']}"
    )
    portable = (
        f"{called}, plan=feature_warehouse._rolling_plan({json.dumps(rolling)}, [{q['key']}, {q['key_2']}], 'test')"
        ", changed_since=none"
    )
    spine = (
        f"{{{{ config(materialized='table') }}}} select * from ({SPINE}) "
        f"as t({', '.join(sql(n[word]) for word in ('spine_key', 'key_2', 'time', 'more'))}, other)"
    )
    arguments = f"spine: ref('spine'), spine_timestamp: {q['time']}, feature_views: [{{view: {json.dumps(latest)}, "
    arguments += (
        f"features: [{q['number']}, {q['text']}], keys: {{{q['key']}: {q['spine_key']}}}, prefix: {q['role']}}}]"
    )
    period = "start='2026-01-01T00:00:00Z', end='2026-01-03T00:00:00Z'"
    tests = f"""
      - feature_warehouse.unique_history
      - feature_warehouse.available_by_now
      - feature_warehouse.feature_freshness
      - feature_warehouse.zoned_timestamps
      - feature_warehouse.history_append_only: {{arguments: {{fingerprints: ref('fingerprints')}}}}
      - feature_warehouse.feature_coverage:
          arguments: {{minimum: 0.5, minimum_by_feature: {{{q["text"]}: 0.9}}}}
          config: {{severity: warn}}
"""
    join = (
        "{{{{ feature_warehouse.point_in_time_join(spine={spine}, spine_timestamp={time}, feature_views=[{read}]) }}}}"
    )
    return {
        "dbt_packages/.keep": "",
        f"models/{view}_v1.sql": f"select * from ({ROWS}) as t({', '.join(sql(n[word]) for word in ALL)})",
        "models/views.yml": f"""
models:
  - name: {q["view"]}
    config:
      materialized: table
      meta:
        feature_view:
          {{entity: probe, join_keys: [{q["key"]}, {q["key_2"]}], event_timestamp: {q["event"]},
            available_at: {q["known"]}, deleted: {q["deleted"]}, ttl: 3 days, sync_delay: 1 hour, tier: daily}}
    columns:
{columns}
    versions: [{{v: 1}}]
    data_tests: {tests}
  - name: joined
    data_tests:
      - feature_warehouse.same_rows_as_spine: {{arguments: {{spine: ref('spine')}}}}
      - feature_warehouse.no_future_features: {{arguments: {{{arguments}}}}}
      - feature_warehouse.label_maturity:
          {{arguments: {{spine_timestamp: {q["time"]}, minimum_age: 1 day}}, config: {{severity: warn}}}}
      - feature_warehouse.feature_coverage: {{arguments: {{minimum: 0.1}}, config: {{severity: warn}}}}
  - name: profile
    data_tests: [feature_warehouse.feature_drift]
""",
        "models/services.yml": f"""
exposures:
  - name: served_v1
    type: ml
    owner: {{name: growth, email: growth@example.com}}
    depends_on: [{json.dumps(latest)}]
    config: {{meta: {{feature_service: {{name: served, version: 1,
      features: [{{view: {view}.v1, features: [{q["number"]}], keys: {{{q["key"]}: {q["spine_key"]}}}}}],
      request: {{{q["more"]}: bigint}},
      on_demand: [{{name: {q["text"]}, data_type: bigint, expression: {json.dumps("1 + " + sql(n["number"]))}}}]}}}}}}
""",
        "models/spine.sql": spine,
        "models/latest.sql": f"{{{{ feature_warehouse.latest_values({latest}) }}}}",
        "models/joined.sql": join.format(spine="ref('spine')", time=q["time"], read=read),
        "models/joined_text.sql": join.format(
            spine="'(select * from ' ~ ref('spine') ~ ')'", time=q["time"], read=read
        ),
        "models/served.sql": (
            "{{ feature_warehouse.point_in_time_join(spine=ref('spine'), service='served.v1', "
            f"spine_timestamp={q['time']}, feature_views=[{latest}]) }}}}"
        ),
        "models/changes.sql": (
            f"{{{{ feature_warehouse.feature_changes(feature_views=[{read}], {period.replace('01-03', '01-09')}) }}}}"
        ),
        "models/windows.sql": f"{{{{ feature_warehouse.rolling_features({called}, features={json.dumps(rolling)}) }}}}",
        "models/portable_windows.sql": (
            f"{{% set found = {latest} %}}"
            f"{{{{ feature_warehouse.portable__rolling_select({portable}) if execute else 'select 1' }}}}"
        ),
        "models/fingerprints.sql": f"{{{{ feature_warehouse.history_fingerprints({latest}) }}}}",
        "models/reference.sql": f"{{{{ feature_warehouse.drift_reference({latest}, {period}) }}}}",
        "models/profile.sql": (
            f"{{{{ feature_warehouse.drift_profile({latest}, reference=ref('reference'), minimum_rows=1) }}}}"
        ),
        "models/joined_reference.sql": (
            f"{{{{ feature_warehouse.drift_reference(ref('joined'), timestamp={q['time']}, {period}) }}}}"
        ),
    }


MODELS = (
    "latest", "joined", "joined_text", "served", "changes", "windows", "portable_windows", "fingerprints", "reference",
    "profile", "joined_reference",
)  # fmt: skip


class Built:
    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        self.names = names
        self.project = Project(folder, files(names), more=f"vars: {{feature_warehouse_now: '{NOW}'}}")
        self.runs = []
        for run in self.project.try_dbt("build").result.results:
            if run.node.resource_type in ("model", "test"):
                name = run.node.name if run.node.resource_type == "model" else run.node.test_metadata.name
                self.runs.append((PLAIN["view"] if name == names["view"] else name, run))

    def rows(self, table: str) -> list[Any]:
        """The rows, their texts and columns in plain words."""
        back = {name: PLAIN[word] for word, name in self.names.items()}
        back |= {self.names["role"] + self.names[word]: PLAIN["role"] + PLAIN[word] for word in ("number", "text")}
        with duckdb.connect(str(self.project.database), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            found = connection.execute(f"from {table} order by all")
            columns = [column[0] for column in found.description]
            hidden = {"column_names", "fingerprint", "reference_id", "recorded_at"}  # names and clocks went into these
            return sorted(
                [
                    repr(back.get(value, value) if isinstance(value, str) else value).replace(
                        f"{self.names['view']}.v1", "view.v1"
                    )
                    for column, value in zip(columns, row, strict=True)
                    if column not in hidden
                ]
                for row in found.fetchall()
            )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Built]:
    return Built(tmp_path_factory.mktemp("plain"), PLAIN), Built(tmp_path_factory.mktemp("strange"), STRANGE)


def test_every_model_is_built_and_every_test_says_the_same(both: tuple[Built, Built]) -> None:
    plain, strange = (sorted((name, str(run.status), run.failures or 0) for name, run in built.runs) for built in both)
    assert plain == strange, [run.message for _, run in both[1].runs if run.status == "error"]
    assert {status for _, status, _ in plain} == {"success", "pass", "warn"}
    assert {name for name, _, _ in plain} >= {
        "unique_history", "available_by_now", "feature_freshness", "zoned_timestamps", "history_append_only",
        "feature_coverage", "same_rows_as_spine", "no_future_features", "label_maturity", "feature_drift",
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_names_change_no_row(both: tuple[Built, Built], model: str) -> None:
    plain, strange = both
    assert plain.rows(model) == strange.rows(model) != []


def test_a_record_takes_no_column_with_a_comma(tmp_path: Path) -> None:
    project = Project(tmp_path, files(PLAIN | {"number": "a,b"}), more=f"vars: {{feature_warehouse_now: '{NOW}'}}")
    failed = project.try_dbt("run", "--select", "+fingerprints")
    assert "readings.v1 has the column 'a,b', and the record lists columns by commas. Rename it." in messages(failed)


SERVED = """
models:
  - name: select
    config:
      materialized: table
      contract: {enforced: true}
      meta: {feature_view: {entity: group, join_keys: [order], event_timestamp: from, available_at: end, deleted: not}}
    columns:
      - {name: order, data_type: varchar, quote: true}
      - {name: table, data_type: bigint, quote: true}
      - {name: user, data_type: varchar, quote: true}
      - {name: from, data_type: timestamptz, quote: true}
      - {name: end, data_type: timestamptz, quote: true}
      - {name: not, data_type: boolean, quote: true}
    versions: [{v: 1}]
exposures:
  - name: where_v1
    type: ml
    owner: {name: Growth}
    depends_on: ["ref('select', v=1)"]
    config: {meta: {feature_service: {name: where, version: 1, features: [{view: select.v1, features: [table, user]}]}}}
"""


def test_what_is_called_like_keywords_is_served(tmp_path: Path, redis_url: str) -> None:
    """These are names that `register` takes; it refuses blanks, quotes and capitals."""
    row = """select 'a' as "order", 7::bigint as "table", 'u' as "user", timestamptz '2026-01-01 00:00:00+00' as "from",
        timestamptz '2026-01-02 00:00:00+00' as "end", false as "not" """
    shop = Shop(tmp_path, {"models/select_v1.sql": row, "models/select.yml": SERVED, **latest("select")}, more=CLOCK)
    shop.redis_url = redis_url
    shop.dbt("build")
    shop.syncer("register")
    shop.syncer("sync")
    assert "1 row compared, 0 differences." in shop.syncer("verify")
    found = shop.json("get", "where", "order=a")
    assert "7" in str(found)
    assert "'u'" in str(found)
    shop.replace("models/select_v1.sql", "7::bigint", "8::bigint")
    assert shop.try_syncer("check").exit_code == 1
