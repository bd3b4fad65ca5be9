"""What is declared wrongly is found by `syncer check`: each problem once, all in one run, with file, model and column.

All wrong declarations live in one project, one file each, so that dbt parses them once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.support.results import assert_refused
from tests.support.shop import Shop, latest

COLUMNS = "id bigint, event_at timestamptz, known_at timestamptz, score double"
SETTINGS = "join_keys: [id], event_timestamp: event_at, available_at: known_at"
FEATURE_VIEW = f"entity: %s, {SETTINGS}"

#: What a service reads when that is not the point.
SCORE = "[{view: fine.v1, features: [score]}]"


def view(
    name: str,
    *,
    meta: str | None = None,
    columns: str = COLUMNS,
    contract: str = "{enforced: true}",
    versions: str = "[{v: 1}]",
) -> str:
    """The YAML of one feature view; ``columns`` as SQL writes them, ``meta`` what stands under feature_view."""
    pairs = [column.strip().split(" ", 1) for column in columns.split(", ")]
    lines = [f'      - {{name: {column}, data_type: "{type_}"}}' for column, type_ in pairs]
    return "\n".join(
        [
            f"  - name: {name}",
            f"    config: {{contract: {contract}, meta: {{feature_view: {{{meta or FEATURE_VIEW % name}}}}}}}",
            "    columns:",
            *lines,
            f"    versions: {versions}" if versions else "",
        ]
    )


def service(
    name: str,
    features: str = SCORE,
    *,
    depends_on: str = "fine",
    version: str = "1",
    more: str = "",
    exposure: str = "",
) -> str:
    refs = ", ".join(f"\"ref('{view}', v=1)\"" for view in depends_on.split())
    return f"""
  - name: {exposure or name}
    type: ml
    owner: {{name: Growth, email: growth@example.com}}
    depends_on: [{refs}]
    config: {{meta: {{feature_service: {{name: {name}, version: {version}, features: {features}{more}}}}}}}
"""


@dataclass(frozen=True)
class Wrong:
    """A file `models/<name>.yml`, and the one problem that it gives."""

    name: str
    message: str
    hint: str
    models: str = ""
    exposures: str = ""

    @property
    def yaml(self) -> str:
        parts = {"models:": self.models, "exposures:": self.exposures}
        return "\n".join(f"{head}\n{body}" for head, body in parts.items() if body)


def wrong_view(name: str, message: str, hint: str, **view_settings: str) -> Wrong:
    return Wrong(name, message, hint, models=view(name, **view_settings))


def wrong_setting(name: str, setting: str, message: str, hint: str) -> Wrong:
    return wrong_view(name, message, hint, meta=f"{FEATURE_VIEW % name}, {setting}")


def wrong_service(
    name: str, message: str, hint: str, features: str = SCORE, models: str = "", depends_on: str = "fine", **more: str
) -> Wrong:
    """A service over the project's own view `fine`, or over ``models``."""
    return Wrong(name, message, hint, models=models, exposures=service(name, features, depends_on=depends_on, **more))


def unsupported(name: str, data_type: str, hint: str) -> Wrong:
    return wrong_service(
        name,
        f"{name}.v1, column 'value': type '{data_type}' cannot be served",
        hint,
        f"[{{view: {name}.v1, features: [value]}}]",
        models=view(name, columns=f"{COLUMNS}, value {data_type}"),
        depends_on=name,
    )


WRONG = [
    # the view as a whole
    wrong_view("no_version", "no_version: the feature view has no version", "`versions: [{v: 1}]`", versions=""),
    wrong_view("text_version", "the feature view has the version 'one'", "number its versions", versions="[{v: one}]"),
    wrong_view(
        "no_contract", "the contract is not enforced", "`contract: {enforced: true}`", contract="{enforced: false}"
    ),
    wrong_view(
        "not_a_mapping",
        "config.meta.feature_view is 'customer', not a mapping",
        "entity:",
        meta="}, feature_view: customer, x: {",
    ),
    wrong_view(
        "no_features",
        "there is no column left to be a feature",
        "add the features",
        columns="id bigint, event_at timestamptz, known_at timestamptz",
    ),
    # required settings
    wrong_view("no_entity", "config.meta.feature_view has no 'entity'", "`entity: carrier`", meta=SETTINGS),
    wrong_view(
        "no_keys",
        "has no 'join_keys'",
        "`join_keys: [carrier]`",
        meta="entity: a, event_timestamp: event_at, available_at: known_at",
    ),
    wrong_view(
        "no_event_time",
        "has no 'event_timestamp'",
        "`event_timestamp: event_at`",
        meta="entity: b, join_keys: [id], available_at: known_at",
    ),
    wrong_view(
        "no_available_at",
        "has no 'available_at'",
        "waive it: `available_at: none`",
        meta="entity: c, join_keys: [id], event_timestamp: event_at",
    ),
    # settings of the wrong kind
    wrong_setting("unknown_setting", "teir: daily", "unknown setting 'teir'", "did you mean 'tier'?"),
    wrong_setting("strange_setting", "frobnicate: 1", "unknown setting 'frobnicate'", "known settings: available_at"),
    wrong_setting("bad_history", "history: immutable", "history is 'immutable'", "write `history: append_only`"),
    wrong_setting("bad_tier", "tier: weekly", "tier is 'weekly'", "static, daily, hourly, near_real_time"),
    wrong_setting("bad_ttl", "ttl: 7", "ttl: '7' is not a duration", "'90 minutes', '7 days'"),
    wrong_setting(
        "bad_interval", "expected_every: fortnightly", "expected_every: 'fortnightly' is not a duration", "'7 days'"
    ),
    wrong_setting("bad_delay", "sync_delay: 1 month", "sync_delay: '1 month' is not a duration", "'7 days'"),
    wrong_setting("bad_lookback", "lookback: 7", "lookback: '7' is not a duration", "'18 months', '3 years'"),
    wrong_setting(
        "lookback_of_nothing",
        "lookback: {scor: 7 days}",
        "lookback: there is no feature 'scor'",
        "did you mean 'score'?",
    ),
    wrong_view(
        "bad_retention",
        "retention, online: 'short' is not a duration",
        "'90 days', '18 months', '3 years'",
        meta=f"{FEATURE_VIEW % 'bad_retention'}}}, retention: {{offline: 3 years, online: short",
    ),
    wrong_view(
        "unknown_retention",
        "retention of 'cold'",
        "write `retention: {offline: 3 years, online: 90 days}`",
        meta=f"{FEATURE_VIEW % 'unknown_retention'}}}, retention: {{cold: 3 years",
    ),
    wrong_view(
        "keys_as_text",
        "join_keys is 'id'",
        "a list of column names",
        meta="entity: d, join_keys: id, event_timestamp: event_at, available_at: none",
    ),
    wrong_view(
        "bad_entity", "the entity's name is 'My Entity'", "lower-case letters", meta=f"entity: My Entity, {SETTINGS}"
    ),
    # columns
    wrong_view(
        "no_key_column",
        "'id' is not among the columns (event_at, known_at, score)",
        "add it to the model's columns",
        columns="event_at timestamptz, known_at timestamptz, score double",
    ),
    wrong_view(
        "near_column",
        "'idd' is not among the columns (id, event_at, known_at, score)",
        "did you mean 'id'? Else add it to the model's columns",
        meta=(FEATURE_VIEW % "near_column").replace("[id]", "[idd]"),
    ),
    wrong_view(
        "from_feast",
        "unknown setting 'created_timestamp_column'",
        "write `available_at`",
        meta="entity: from_feast, join_keys: [id], event_timestamp: event_at, created_timestamp_column: known_at",
    ),
    wrong_view(
        "no_time_column",
        "'event_at' is not among the columns",
        "add it",
        columns="id bigint, known_at timestamptz, score double",
    ),
    wrong_view(
        "upper_case", "the column name is 'Score'", "lower-case letters", columns=COLUMNS.replace("score", "Score")
    ),
    wrong_view(
        "naive_event_time",
        "column 'event_at': type timestamp has no zone",
        "event_at at time zone 'UTC'",
        columns=COLUMNS.replace("event_at timestamptz", "event_at timestamp"),
    ),
    wrong_view(
        "day_as_event_time",
        "column 'event_at': type date has no zone",
        "declare timestamptz",
        columns=COLUMNS.replace("event_at timestamptz", "event_at date"),
    ),
    wrong_view(
        "naive_availability",
        "column 'known_at': type timestamp has no zone",
        "known_at at time zone 'UTC'",
        columns=COLUMNS.replace("known_at timestamptz", "known_at timestamp"),
    ),
    wrong_view(
        "naive_feature",
        "column 'seen_at': type timestamp has no zone",
        "seen_at at time zone 'UTC'",
        columns=f"{COLUMNS}, seen_at datetime",
    ),
    wrong_view(
        "float_key",
        "column 'id': type 'double' cannot be a join key",
        "cast it to bigint or varchar",
        columns=COLUMNS.replace("id bigint", "id double"),
    ),
    wrong_view(
        "list_key",
        "column 'id': type 'bigint[]' cannot be a join key",
        "a join key is an integer",
        columns=COLUMNS.replace("id bigint", "id bigint[]"),
    ),
    wrong_setting("text_tombstone", "deleted: score", "column 'score': it marks deleted rows and is double", "boolean"),
    wrong_view(
        "reserved_name",
        "column 'event_time': every message has a field of that name",
        "rename it",
        columns=f"{COLUMNS}, event_time bigint",
    ),
    wrong_view(
        "camel_columns",
        "the names delay_7d and delay7d are the same in protobuf",
        "rename one",
        columns=f"{COLUMNS}, delay_7d bigint, delay7d bigint",
    ),
    # two views
    Wrong(
        "camel_views",
        "the names deals_7d and deals7d are the same in protobuf",
        "rename one of them",
        models="\n".join([view("deals7d"), view("deals_7d")]),
    ),
    Wrong(
        "other_keys",
        "gives the entity 'guest' the keys (id integer), but guest_one.v1 (models/other_keys.yml) gives it (id bigint)",
        "names, order and types",
        models="\n".join(
            [
                view("guest_one", meta=f"entity: guest, {SETTINGS}"),
                view("guest_two", meta=f"entity: guest, {SETTINGS}", columns=COLUMNS.replace("bigint", "integer")),
            ]
        ),
    ),
    # types that no service can read
    unsupported("struct_feature", "struct(a integer)", "cast it in the model"),
    unsupported("time_feature", "time", "cast it in the model"),
    unsupported("interval_feature", "interval", "cast it in the model"),
    unsupported("text_list", "varchar[]", "lists hold integers up to 64 bits, float or double"),
    unsupported("nanoseconds", "timestamp_ns", "a naive time is no instant"),
    # services
    wrong_service(
        "no_such_view",
        "there is no feature view 'fin.v1'",
        "did you mean 'fine.v1'?",
        "[{view: fin.v1, features: [score]}]",
    ),
    wrong_service(
        "view_without_version",
        "there is no feature view 'fine'",
        "did you mean 'fine.v1'?",
        "[{view: fine, features: [score]}]",
    ),
    wrong_service(
        "no_such_feature",
        "fine.v1 has no feature 'scor'",
        "did you mean 'score'?",
        "[{view: fine.v1, features: [scor]}]",
    ),
    wrong_service(
        "key_as_feature",
        "fine.v1 has no feature 'id'",
        "its features: amount, place, score, span",
        "[{view: fine.v1, features: [id]}]",
    ),
    wrong_service(
        "of_wrong_view",
        "bad_ttl.v1 is declared wrongly, so the service cannot be read",
        "mend the view first",
        "[{view: bad_ttl.v1, features: [score]}]",
        depends_on="bad_ttl",
    ),
    wrong_service("reads_nothing", "the service reads no features", "add `features:", "[]"),
    wrong_service("reads_no_feature", "no features are read of fine.v1", "list them", "[{view: fine.v1}]"),
    wrong_service(
        "unknown_read_setting",
        "fine.v1: unknown setting 'prefx'",
        "did you mean 'prefix'?",
        "[{view: fine.v1, features: [score], prefx: a_}]",
    ),
    wrong_service(
        "unknown_service_setting", "unknown setting 'on_demnd'", "did you mean 'on_demand'?", more=", on_demnd: []"
    ),
    wrong_service(
        "strange_role",
        "fine.v1 has no join key 'identity'",
        "its join keys: id",
        "[{view: fine.v1, features: [score], keys: {identity: a}}]",
    ),
    wrong_service(
        "twice",
        "two features are called 'score', of fine.v1 and of fine.v1",
        "`prefix:`",
        "[{view: fine.v1, features: [score]}, {view: fine.v1, features: [score], keys: {id: other}}]",
    ),
    wrong_service(
        "twice_on_demand",
        "two features are called 'score', of fine.v1 and of on_demand",
        "`prefix:`",
        more=", on_demand: [{name: score, data_type: bigint, expression: '1'}]",
    ),
    wrong_service(
        "bad_prefix",
        "the feature name is '1st_score'",
        "lower-case letters",
        "[{view: fine.v1, features: [score], prefix: 1st_}]",
    ),
    wrong_service("text_version_service", "the service's version is 'one'", "`version: 1`", version="one"),
    wrong_service("zero_version", "the service's version is 0", "`version: 1`", version="0"),
    wrong_service("truth_version", "the service's version is True", "`version: 1`", version="true"),
    wrong_service(
        "struct_request",
        "'place': type 'struct(a integer)' cannot be served",
        "cast it",
        more=", request: {place: 'struct(a integer)'}",
    ),
    wrong_service(
        "half_on_demand", "{'name': 'x'} is no on-demand feature", "expression: ...", more=", on_demand: [{name: x}]"
    ),
    wrong_service(
        "depends_on_too_little",
        "depends_on and features disagree; depends_on lacks fine.v1",
        "ref('<view>', v=<version>)",
        depends_on="",
    ),
    wrong_service(
        "depends_on_too_much",
        "depends_on and features disagree; no feature is read of also_fine.v1",
        "ref('<view>', v=<version>)",
        depends_on="fine also_fine",
    ),
    wrong_service(
        "two_kinds_of_id",
        "'id' is a bigint for fine.v1 and a varchar for named.v1",
        "keys: {<join key>: <name>}",
        "[{view: fine.v1, features: [score]}, {view: named.v1, features: [rank]}]",
        depends_on="fine named",
    ),
    wrong_service(
        "mixed",
        "it reads mixed.v1 and mixed.v2, two versions of one feature view",
        "read all features of one version",
        "[{view: mixed.v1, features: [score]}, {view: mixed.v2, features: [score], prefix: new_}]",
        models=view("mixed", versions="[{v: 1}, {v: 2}]"),
        depends_on="mixed",
    ),
    Wrong(
        "same_service",
        "the service same@1 is declared twice",
        "a name and version of its own",
        exposures="".join(service("same", depends_on="fine", exposure=f"same_{i}") for i in (1, 2)),
    ),
]

#: What no problem may come from, though it is unusual.
FINE = "models:\n" + "\n".join(
    [
        view("fine", columns=f"{COLUMNS}, amount bigint, place struct(a integer), span interval"),
        view("also_fine", meta=f"{FEATURE_VIEW % 'also_fine'}, tier: static, ttl: 90 minutes, lookback: 3 days"),
        view(
            "named",
            columns="id varchar, event_time timestamptz, rank bigint",
            meta="entity: named, join_keys: [id], event_timestamp: event_time, available_at: none",
        ),
    ]
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    files = {"models/fine.yml": FINE, **latest("fine")}
    for wrong in WRONG:
        files[f"models/{wrong.name}.yml"] = wrong.yaml
    made = Shop(tmp_path_factory.mktemp("broken"), files)
    for text in [FINE, *(wrong.models for wrong in WRONG)]:
        for name in [line.removeprefix("  - name: ") for line in text.splitlines() if line.startswith("  - name: ")]:
            version = {"no_version": "", "text_version": "_vone"}.get(name, "_v1")
            made.write(f"models/{name}{version}.sql", "select 1 as id")
    made.write("models/mixed_v2.sql", "select 1 as id")
    made.dbt("parse")
    return made


@pytest.fixture(scope="module")
def problems(broken: Shop) -> list[dict[str, str]]:
    checked = broken.try_syncer("check", "--json")
    assert checked.exit_code == 1
    found: list[dict[str, str]] = json.loads(checked.stdout)["problems"]
    return found


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_each_wrong_declaration_is_one_problem(wrong: Wrong, problems: list[dict[str, str]]) -> None:
    (problem,) = [problem for problem in problems if problem["message"].startswith(f"models/{wrong.name}.yml: ")]
    assert wrong.message in problem["message"]
    assert wrong.hint in problem["hint"]


def test_there_are_no_other_problems(problems: list[dict[str, str]]) -> None:
    assert len(problems) == len(WRONG), [problem["message"] for problem in problems]


def test_without_json_every_problem_is_an_error_with_its_hint(broken: Shop) -> None:
    checked = broken.try_syncer("check")
    assert checked.exit_code == 1
    assert checked.stdout == ""
    starts = [line.partition(":")[0] for line in checked.stderr.splitlines()]
    assert starts == ["Error", "Hint"] * len(WRONG)


def test_register_says_all_of_it_and_writes_nothing(broken: Shop, problems: list[dict[str, str]]) -> None:
    refused = broken.try_syncer("register")
    assert refused.exit_code == 1
    told = [line.removeprefix("Error: ") for line in refused.stderr.splitlines() if line.startswith("Error: ")]
    assert told == [problem["message"] for problem in problems]
    assert not (broken.folder / "registry").exists()


def test_served_but_without_latest_value_view_is_found_with_the_line_to_write(shop: Shop) -> None:
    shop.remove("models/latest_visits_v1.sql")
    shop.dbt("parse")
    checked = shop.try_syncer("check")
    assert_refused(
        checked,
        "models/visits.yml: visits.v1 is served but has no latest-value view",
        "create models/latest_visits_v1.sql with one line: {{ feature_warehouse.latest_values(ref('visits', v=1)) }}",
    )
