"""What may be declared: the macros refuse, in dbt alone, what `syncer` refuses, and say which setting was meant."""

from __future__ import annotations

import json

import pytest

from feature_warehouse.errors import closest
from feature_warehouse.project.feast import SETTINGS as FEAST
from feature_warehouse.project.settings import SETTINGS
from tests.support.projects import Project

ROWS = """
select 'a' as customer, 7 as item, timestamptz '2026-01-01 10:00:00+00' as event_at, 3::bigint as amount,
    false as is_deleted
"""

VIEW = """
  - name: {name}
    latest_version: 1
    config:
      contract: {{enforced: true}}
      materialized: table
      meta: {{feature_view: {meta}}}
    columns:
      - {{name: customer, data_type: varchar}}
      - {{name: item, data_type: integer}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: amount, data_type: bigint}}
      - {{name: is_deleted, data_type: boolean}}
    versions: {versions}
"""

CUSTOMER = "entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: none"
ITEM = "entity: item, event_timestamp: event_at, available_at: none"
ONCE = "dbt puts the list of a model and that of its version end to end: give `join_keys` on the model, or in the"

#: view -> (its metadata, what the macro says)
WRONG_SETTINGS = {
    "no_end": (
        f"{{{CUSTOMER}, tll: 30 days}}",
        "config.meta.feature_view has the unknown setting 'tll'. Did you mean 'ttl'?",
    ),
    "undead": (
        f"{{{CUSTOMER}, delete: is_deleted}}",
        "config.meta.feature_view has the unknown setting 'delete'. Did you mean 'deleted'?",
    ),
    "no_delay": (
        f"{{{CUSTOMER}, sync_dely: 1 hour}}",
        "config.meta.feature_view has the unknown setting 'sync_dely'. Did you mean 'sync_delay'?",
    ),
    "strange": (
        f"{{{CUSTOMER}, frobnicate: 1}}",
        "config.meta.feature_view has the unknown setting 'frobnicate'. Use available_at, deleted, entity,",
    ),
    "from_feast": (
        f"{{{CUSTOMER}, ttl_days: 30}}",
        "config.meta.feature_view has the unknown setting 'ttl_days'. write `ttl` with its unit: `ttl: 30 days`",
    ),
    "no_mapping": (
        "customer",
        "config.meta.feature_view is 'customer', not a mapping. Its settings are available_at, deleted,",
    ),
    "keys_as_text": (f"{{{ITEM}, join_keys: item}}", "`join_keys` is 'item'. Write a list of columns"),
    "keys_repeated": (
        f"{{{ITEM}, join_keys: [item, item]}}",
        "`join_keys` is [item, item], where a column is repeated.",
    ),
}

SERVICE = """
  - name: {name}_v1
    type: ml
    owner: {{name: growth, email: growth@example.com}}
    depends_on: ["ref('orders', v=1)"]
    config: {{meta: {{feature_service: {{name: {name}, version: 1, {meta}}}}}}}
"""

READ = "features: [{view: orders.v1, features: [amount]}]"

#: service -> (its metadata, what the macro says)
WRONG_SERVICES = {
    "typo": (
        f"{READ}, reqest: {{}}",
        "typo.v1: config.meta.feature_service has the unknown setting 'reqest'. Did you mean 'request'?",
    ),
    "in_read": (
        "features: [{view: orders.v1, features: [amount], prefx: a_}]",
        "in_read.v1: item 1 of `features` has the unknown setting 'prefx'. Did you mean 'prefix'?",
    ),
    "in_on_demand": (
        f"{READ}, on_demand: [{{name: twice, type: bigint, expression: 2 * amount}}]",
        "in_on_demand.v1: item 1 of `on_demand` has the unknown setting 'type'. Did you mean 'data_type'?",
    ),
}

#: view -> (its join keys, what its second version says beside them, what the macro says of both)
OWN_KEYS = {
    "added": (
        "[customer]",
        "entity: item, join_keys: [item]",
        "`join_keys` is [item, customer], which ends with those of",
    ),
    "repeated": (
        "[customer]",
        "join_keys: [customer]",
        "`join_keys` is [customer, customer], where a column is repeated.",
    ),
}

LATEST = "{{{{ feature_warehouse.latest_values(ref('{name}', v={version})) }}}}"
JOIN = """
{{{{ feature_warehouse.point_in_time_join(
    spine=ref('spine'), spine_timestamp='asked_at', feature_views=[ref('orders', v=1)], service='{service}.v1'
) }}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    views = {name: VIEW.format(name=name, meta=meta, versions="[{v: 1}]") for name, (meta, _) in WRONG_SETTINGS.items()}
    views["orders"] = VIEW.format(name="orders", meta=f"{{{CUSTOMER}}}", versions="[{v: 1}]")
    files = {f"models/{name}_v1.sql": ROWS for name in views}
    files |= {f"models/latest_{name}.sql": LATEST.format(name=name, version=1) for name in views}
    for name, (keys, own, _) in OWN_KEYS.items():
        versions = f"[{{v: 1}}, {{v: 2, config: {{meta: {{feature_view: {{{own}}}}}}}}}]"
        views[name] = VIEW.format(
            name=name, meta=f"{{{CUSTOMER.replace('[customer]', keys)}, ttl: 30 days}}", versions=versions
        )
        files |= {f"models/{name}_v{version}.sql": ROWS for version in (1, 2)}
        files |= {f"models/latest_{name}_{v}.sql": LATEST.format(name=name, version=v) for v in (1, 2)}
    # the same keys as `added`, said in one place
    each = (
        "[{v: 1, config: {meta: {feature_view: {join_keys: [customer]}}}}, "
        "{v: 2, config: {meta: {feature_view: {entity: item, join_keys: [customer, item], ttl: 5 days}}}}]"
    )
    apart = CUSTOMER.replace("join_keys: [customer], ", "")
    views["apart"] = VIEW.format(name="apart", meta=f"{{{apart}, ttl: 30 days}}", versions=each)
    files |= {f"models/apart_v{version}.sql": ROWS for version in (1, 2)}
    files |= {f"models/latest_apart_{version}.sql": LATEST.format(name="apart", version=version) for version in (1, 2)}
    services = {name: SERVICE.format(name=name, meta=meta) for name, (meta, _) in WRONG_SERVICES.items()}
    files |= {f"models/of_{name}.sql": JOIN.format(service=name) for name in services}
    files["models/of_nobody.sql"] = JOIN.format(service="in_raed")
    files["models/spine.sql"] = "select 'a' as customer, timestamptz '2026-01-02 10:00:00+00' as asked_at"
    files["models/views.yml"] = "models:" + "".join(views.values())
    files["models/services.yml"] = "exposures:" + "".join(services.values())
    return Project(tmp_path_factory.mktemp("shop"), files)


@pytest.fixture(scope="module")
def said(project: Project) -> dict[str, str]:
    """What `dbt run` says of each model."""
    return {run.node.name: run.message for run in project.try_dbt("run").result.results}


@pytest.mark.parametrize(("view", "words"), [(view, words) for view, (_, words) in WRONG_SETTINGS.items()])
def test_a_setting_of_a_feature_view_that_nobody_would_read_is_refused(
    said: dict[str, str], view: str, words: str
) -> None:
    assert f"latest_values: feature view {view}.v1 (models/{view}_v1.sql): {words}" in said[f"latest_{view}"]
    assert said["latest_orders"] == "OK"


@pytest.mark.parametrize(("service", "words"), [(service, words) for service, (_, words) in WRONG_SERVICES.items()])
def test_a_setting_of_a_service_that_nobody_would_read_is_refused(
    said: dict[str, str], service: str, words: str
) -> None:
    assert f"point_in_time_join: feature service {words}" in said[f"of_{service}"]


def test_a_service_that_is_not_found_may_be_one_that_is_mistyped(said: dict[str, str]) -> None:
    assert "has the unknown setting" in said["of_nobody"]


@pytest.mark.parametrize(("view", "words"), [(view, words) for view, (_, _, words) in OWN_KEYS.items()])
def test_lists_that_dbt_has_put_end_to_end_are_refused(said: dict[str, str], view: str, words: str) -> None:
    assert said[f"latest_{view}_1"] == "OK"
    assert words in said[f"latest_{view}_2"]
    assert ONCE in said[f"latest_{view}_2"]


def test_versions_may_have_join_keys_and_a_ttl_of_their_own(project: Project, said: dict[str, str]) -> None:
    assert (said["latest_apart_1"], said["latest_apart_2"]) == ("OK", "OK")
    assert "interval '720 hours'" in project.compiled("latest_apart_1")
    assert "interval '120 hours'" in project.compiled("latest_apart_2")


# --- one list, one nearest word


def compiled(project: Project, jinja: str) -> str:
    return str(project.dbt("compile", "--inline", jinja).result.results[0].node.compiled_code)


def test_macros_and_python_know_the_same_settings(project: Project) -> None:
    known = json.loads(compiled(project, "{{ feature_warehouse._known_settings() | tojson }}"))
    assert {part: frozenset(names) for part, names in known.items()} == SETTINGS
    assert all(len(names) == len(set(names)) for names in known.values())
    feast = json.loads(compiled(project, "{{ feature_warehouse._feast_words() | tojson }}"))
    assert feast == FEAST
    assert all(SETTINGS[part].isdisjoint(words) for part, words in FEAST.items())


def typos(word: str) -> set[str]:
    """The word with one letter less, twice, or after its neighbour."""
    found = {word[:i] + word[i + 1 :] for i in range(len(word))} | {
        word[:i] + word[i] + word[i:] for i in range(len(word))
    }
    return found | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}


def test_macros_and_python_mean_the_same_word(project: Project) -> None:
    known = sorted(SETTINGS["feature_view"])
    words = [*sorted({typo for word in known for typo in typos(word)} - {*known}), "frobnicate", "x", ""]
    jinja = "{% for word in " + json.dumps(words) + " %}{{ feature_warehouse._closest(word, " + json.dumps(known)
    hints = compiled(project, jinja + ") }}\n{% endfor %}").splitlines()
    assert len(hints) == len(words) > 150
    for word, hint in zip(words, hints, strict=True):
        assert hint.lower().startswith(closest(word, known, "use").replace(":", "")), word
