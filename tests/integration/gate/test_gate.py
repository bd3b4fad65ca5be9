"""The gate: what a change of a served feature view leads to, in a project with a history in git.

Each test makes one edit of one prepared project and sees the sentence. The project's main branch has what was accepted.
"""

from __future__ import annotations

import copy
import json
import shutil
from datetime import date, datetime
from pathlib import Path

import pytest

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.compiling import Parsed, parse_project, remembers_parsed
from feature_warehouse.project.project import Project
from feature_warehouse.registry.document import load_registry
from tests.support.repository import SERVICES, SQL, VIEW, Repository, refused, registered
from tests.support.shop import latest

SPENDING = "models/spending_v1.sql"
TO_RETRAIN = "To train anew: churn@1 (Growth), value@1 (Sales), the dashboard weekly_report (Finance)."


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return registered(tmp_path_factory.mktemp("gate"))


@pytest.fixture
def shop(prepared: Repository, tmp_path: Path) -> Repository:
    return prepared.branch(tmp_path / "shop")


def agrees(shop: Repository) -> bool:
    return "The registry agrees: feature view versions 1, service versions 2; judged: " in shop.syncer("check")


# --- what passes


def test_a_refactor_passes_and_register_takes_its_sql_in(shop: Repository) -> None:
    shop.replace(SPENDING, "with paid as", "with positive as")
    shop.replace(SPENDING, "from paid\n", "from positive\n")
    shop.replace(SPENDING, "where amount > 0", "where not 0 >= amount -- refunds are no payments")
    assert agrees(shop)
    assert shop.syncer("register").splitlines() == [
        "spending.v1: SQL accepted anew, of the same values",
        "Written to registry/: review and commit it.",
    ]
    assert "refunds are no payments" in (shop.folder / "registry/sql/spending.v1.sql").read_text()
    assert agrees(shop)


def test_what_nobody_reads_may_be_added_changed_and_removed(shop: Repository) -> None:
    shop.replace(SPENDING, "max(amount)", "min(amount)")
    shop.replace(SPENDING, "as largest", "as smallest,\n    1.0::double as one")
    shop.replace("models/spending.yml", "{name: largest,", "{name: one, data_type: double}\n      - {name: smallest,")
    assert agrees(shop)


def test_sql_that_is_not_known_concerns_its_own_view_alone(shop: Repository) -> None:
    shop.write("models/asking_v1.sql", "{% set found = run_query('select count(*) from payments') %}" + SQL)
    shop.write("models/asking.yml", VIEW.replace("name: spending", "name: asking"))
    warned = (
        "models/asking.yml: asking.v1: models/asking_v1.sql asks the warehouse while it is compiled, so its SQL is not "
        "the same everywhere"
    )
    checked = shop.try_syncer("check")
    assert checked.exit_code == 0
    assert f"Warning: {warned}" in checked.stderr.splitlines()
    shop.syncer("register")
    shop.replace(SPENDING, "7 days", "8 days")
    assert any("window 7 days -> 8 days" in line for line in refused(shop.try_syncer("check")))
    shop.replace(SPENDING, "-- what", "{% set found = run_query('select count(*) from payments') %} -- what")
    said = refused(shop.try_syncer("register"))
    assert said[0].startswith("Error: models/spending.yml: spending.v1: models/spending_v1.sql asks the warehouse")


def test_a_feature_that_a_service_begins_to_read_gets_the_next_number(shop: Repository) -> None:
    shop.replace("models/services.yml", "payments_7d]", "payments_7d, largest]")
    assert refused(shop.try_syncer("check"))[::2] == [
        "Error: the registry is behind the project: spending.v1: largest is served as field 4",
        "Error: the registry is behind the project: churn@1: changed",
    ]
    shop.syncer("register")
    assert agrees(shop)


# --- what is refused


WINDOW = "spending.v1: spent_7d, payments_7d would get other values: window 7 days -> 14 days in `spending_v1`"
HINT = (
    "Hint: leave spending.v1 as it is and add version 2 beside it; if it mends a fault, "
    '`syncer register --accept-fix "the reason"`'
)


def test_other_values_are_refused_with_reason_models_and_the_difference_of_sql(shop: Repository) -> None:
    before = {path: path.read_bytes() for path in (shop.folder / "registry").rglob("*.*")}
    shop.replace(SPENDING, "interval 7 days", "interval 14 days")
    for command in ("check", "register"):
        result = shop.try_syncer(command)
        assert refused(result) == [f"Error: {WINDOW}", HINT, TO_RETRAIN]
        added = [line for line in result.stderr.splitlines() if line.startswith("+ ")]
        assert added == ["+  range BETWEEN INTERVAL '14' DAYS preceding AND CURRENT ROW"]
    said = json.loads(shop.try_syncer("check", "--json").stdout)
    (problem,) = said["problems"]
    assert problem["message"] == WINDOW
    assert problem["retrain"] == ["churn@1 (Growth)", "value@1 (Sales)", "the dashboard weekly_report (Finance)"]
    assert {path: path.read_bytes() for path in (shop.folder / "registry").rglob("*.*")} == before


@pytest.mark.parametrize(
    ("path", "old", "new", "sentence"),
    [
        (
            "models/stg_payments.sql",
            "}}",
            "}} where amount < 1000",
            "spent_7d, payments_7d would get other values: filter added in `stg_payments`: amount < 1000",
        ),
        (
            SPENDING,
            "count(*)",
            "count(distinct amount)",
            "payments_7d would get other values: `payments_7d`: count(*) -> count(distinct amount) in `spending_v1`",
        ),
        (
            "models/spending.yml",
            "ttl: 30 days",
            "ttl: 10 days",
            "spent_7d, payments_7d would get other values: ttl 30 days -> 10 days",
        ),
        (
            SPENDING,
            "from paid\n",
            "from paid tablesample 10%\n",
            "spent_7d, payments_7d would get other values: the SQL of `spending_v1` changed, `spending_v1` is compared",
        ),
        ("models/spending.yml", "payments_7d, data_type: bigint", "payments_7d, data_type: integer", "the type of"),
        (
            "seeds/seeds.yml",
            "amount: double",
            "amount: integer",
            "spent_7d, payments_7d would get other values: type of amount double -> integer in the seed `payments`",
        ),
    ],
)
def test_each_change_of_values_says_what_and_where(
    shop: Repository, path: str, old: str, new: str, sentence: str
) -> None:
    shop.replace(path, old, new)
    said = refused(shop.try_syncer("check"))
    assert any(line.startswith(f"Error: spending.v1: {sentence}") for line in said), said


def test_a_macro_is_judged_by_what_it_compiles_to(shop: Repository) -> None:
    shop.write("macros/least.sql", "{% macro least_amount() %}0{% endmacro %}")
    shop.replace(SPENDING, "amount > 0", "amount > {{ least_amount() }}")
    assert agrees(shop)
    shop.write("macros/least.sql", "{% macro least_amount() %}5{% endmacro %}")
    assert "filter amount > 0 -> amount > 5 in `paid` of `spending_v1`" in refused(shop.try_syncer("check"))[0]


def test_a_served_feature_that_is_renamed_is_gone_and_told_under_its_new_name(shop: Repository) -> None:
    shop.replace(SPENDING, "as payments_7d", "as paid_7d")
    shop.replace("models/spending.yml", "{name: payments_7d,", "{name: paid_7d,")
    shop.replace("models/services.yml", "[spent_7d, payments_7d]", "[spent_7d]")
    assert refused(shop.try_syncer("check"))[::2] == [
        "Error: spending.v1: the served feature 'payments_7d' is gone; it is called 'paid_7d' now",
        "Error: the service churn@1 no longer gives 'payments_7d' (payments_7d of spending.v1), which a model reads",
    ]


def test_a_served_view_cannot_leave_while_services_read_it(shop: Repository) -> None:
    shop.remove("models/spending.yml", SPENDING, "models/latest_spending_v1.sql", "models/totals.sql")
    said = refused(shop.try_syncer("check"))
    assert "depends on" in said[0]
    assert "spending" in said[0]


def exposure(name: str, version: int, service: str) -> str:
    """The YAML of one more service."""
    return f"""
exposures:
  - name: {name}_v{version}
    type: ml
    owner: {{name: Growth, email: growth@example.com}}
    depends_on: ["ref('spending', v=1)"]
    config: {{meta: {{feature_service: {{name: {name}, version: {version}, {service}}}}}}}
"""


def test_what_callers_of_a_published_service_would_trip_over_is_refused_and_a_draft_is_free(shop: Repository) -> None:
    reads = "features: [{view: spending.v1, features: [spent_7d]}], "
    share = "request: {amount: double}, on_demand: [{name: share, data_type: double, expression: amount / spent_7d}]"
    shop.git("checkout", "--quiet", "main")
    shop.write("models/worth.yml", exposure("worth", 1, reads + share))
    shop.syncer("register")
    shop.commit("Serve what a payment is worth")
    shop.git("checkout", "--quiet", "-b", "another")
    services = "models/services.yml"
    shop.replace(services, "[spent_7d, payments_7d]}]", "[payments_7d, spent_7d]}], request: {due: date}")
    shop.replace(services, "[spent_7d]}]", "[spent_7d], keys: {customer_id: payer}}]")
    shop.replace("models/worth.yml", "amount / spent_7d", "amount / (1 + spent_7d)")
    said = [
        "Error: the service churn@1 gives 'payments_7d' before 'spent_7d', and gave it after: models may take them in "
        "their order",
        "Error: the service churn@1 requests the value 'due' (date), which its callers do not give",
        "Error: the service value@1 gives 'spent_7d' as spent_7d of spending.v1 by payer, and gave it as spent_7d of "
        "spending.v1",
        "Error: the service value@1 asks for the key 'payer' (customer_id of spending.v1), which its callers do not "
        "give",
        "Error: worth@1: the on-demand feature 'share' was amount / spent_7d and is amount / (1 + spent_7d), so models "
        "would be served other values than they were trained on",
    ]
    result = refused(shop.try_syncer("check"))
    assert result[::2] == said
    assert "declare a new version of the service beside it" in result[1]
    assert refused(shop.try_syncer("register"))[::2] == said

    shop.git("checkout", "--quiet", ".")
    shop.replace("models/worth.yml", "amount / spent_7d", "(amount) / spent_7d")
    shop.write("models/worth_v2.yml", exposure("worth", 2, reads + share))
    shop.syncer("register")
    shop.write("models/worth_v2.yml", exposure("worth", 2, reads + "request: {due: date}"))
    assert shop.syncer("register").splitlines()[0] == "worth@2: changed"
    assert (
        shop.syncer("check")
        .splitlines()[-1]
        .startswith("The registry agrees: feature view versions 1, service versions 4; judged: ")
    )


# --- fixes


def test_a_fix_is_recorded_and_covers_what_it_was_given_for_and_no_more(
    shop: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "ada@example.com")
    shop.replace(SPENDING, "interval 7 days", "interval 14 days")
    assert shop.syncer("register", "--accept-fix", "the week was meant to be two").splitlines() == [
        "spending.v1: SQL accepted anew, with other values",
        "spending.v1: fix of spent_7d, payments_7d accepted: the week was meant to be two",
        TO_RETRAIN,
        "Written to registry/: review and commit it.",
    ]
    written = json.loads((shop.folder / "registry/registry.json").read_text())
    (fix,) = written["fixes"]
    assert date.fromisoformat(fix.pop("on")) >= date(2026, 11, 1)
    assert datetime.fromisoformat(fix.pop("at")).tzinfo is not None
    assert fix == {
        "by": "Ada <ada@example.com>",
        "view": "spending.v1",
        "features": ["spent_7d", "payments_7d"],
        "reason": "the week was meant to be two",
    }
    assert agrees(shop)
    assert shop.syncer("register") == "The registry already says what the project declares.\n"

    shop.replace(SPENDING, "interval 14 days", "interval 21 days")
    assert "window 7 days -> 21 days" in refused(shop.try_syncer("check"))[0]
    assert "window 7 days -> 21 days" in refused(shop.try_syncer("register"))[0]

    shop.replace(SPENDING, "interval 21 days", "interval 7 days")  # as it was: nothing is left to be accepted
    said = shop.syncer("register").splitlines()
    assert "spending.v1: SQL accepted anew, as before the change" in said
    assert "fixes" not in json.loads((shop.folder / "registry/registry.json").read_text())
    shop.git("diff", "--exit-code", "registry")


def test_a_fault_in_what_dbt_remembers_is_not_believed(shop: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_or_mistake(project: Project) -> Parsed:
        if remembers_parsed(project):
            raise ProjectError("dbt found two snapshots with the name plans")
        return parse_project(project)

    assert agrees(shop)
    monkeypatch.setattr("feature_warehouse.gate.proposal.parse_project", parse_or_mistake)
    assert agrees(shop)
    assert shop.try_syncer("check").exit_code == 0


def test_a_fault_in_a_project_that_is_parsed_anew_is_one(shop: Repository) -> None:
    shop.write("snapshots/twice.yml", "snapshots: [{name: plans, relation: \"ref('stg_payments')\"}]")
    for _ in range(2):
        assert "Snapshots must be configured" in refused(shop.try_syncer("check"))[0]


def test_there_must_be_something_to_accept(shop: Repository) -> None:
    said = refused(shop.try_syncer("register", "--accept-fix", " "))
    assert said[0] == "Error: the reason of --accept-fix is empty"
    said = refused(shop.try_syncer("register", "--accept-fix", "just so"))
    assert said[0] == "Error: there is nothing to accept: no served feature gets other values"


def test_no_reason_makes_a_break_good(shop: Repository) -> None:
    shop.replace("models/spending.yml", "payments_7d, data_type: bigint", "payments_7d, data_type: integer")
    assert (
        "the type of 'payments_7d' changed (bigint -> integer)"
        in refused(shop.try_syncer("register", "--accept-fix", "narrower"))[0]
    )


# --- versions


def with_version_2(shop: Repository) -> None:
    """A second version, with a service of its own."""
    sql = (shop.folder / SPENDING).read_text()
    shop.write("models/spending_v2.sql", sql.replace("interval 7 days", "interval 14 days"))
    shop.write("models/latest_spending_v2.sql", latest("spending", 2)["models/latest_spending_v2.sql"])
    shop.replace("models/spending.yml", "versions: [{v: 1}]", "versions: [{v: 1}, {v: 2}]")
    service = SERVICES.partition("  - name: value_v1")[0].partition("exposures:")[2]
    service = service.replace("churn_v1", "churn_v2").replace("v=1", "v=2").replace("version: 1", "version: 2")
    shop.write("models/churn_v2.yml", "exposures:" + service.replace("spending.v1", "spending.v2"))


def test_a_version_that_the_base_does_not_have_is_a_draft(shop: Repository) -> None:
    with_version_2(shop)
    assert shop.syncer("register").splitlines()[:3] == [
        "spending.v2: spent_7d is served as field 2",
        "spending.v2: payments_7d is served as field 3",
        "churn@2: new service",
    ]
    shop.commit("Add version 2")
    shop.replace("models/spending_v2.sql", "interval 14 days", "interval 28 days")
    assert refused(shop.try_syncer("check")) == [
        "Error: the registry is behind the project: registry/sql/spending.v2.sql has other SQL",
        "Hint: run `syncer register` and commit registry/",
    ]
    shop.syncer("register")
    shop.syncer("check")
    shop.replace("models/churn_v2.yml", "[spent_7d, payments_7d]", "[payments_7d]")  # and its numbers are given anew
    assert "spending.v2: payments_7d is served as field 2" in shop.syncer("register")
    shop.git("checkout", "--quiet", ".")
    shop.git("checkout", "--quiet", "main")
    shop.git("merge", "--quiet", "change")  # now it is no draft any more
    shop.replace("models/spending_v2.sql", "interval 14 days", "interval 28 days")
    assert "spending.v2: spent_7d, payments_7d would get other values" in refused(shop.try_syncer("check"))[0]


def test_a_version_that_no_service_reads_is_listed_and_one_that_is_gone_never_comes_back(shop: Repository) -> None:
    shop.remove("models/services.yml")
    shop.syncer("register")
    assert "No service reads spending.v1" in shop.syncer("check")
    shop.commit("Serve nobody")
    shop.git("branch", "--force", "main")
    for path in ("models/spending.yml", SPENDING, "models/latest_spending_v1.sql", "models/totals.sql"):
        shop.remove(path)
    assert shop.syncer("register").splitlines()[0] == "spending.v1: retired"
    assert not (shop.folder / "registry/sql/spending.v1.sql").exists()
    shop.commit("Retire")
    shop.git("branch", "--force", "main")
    shop.git("checkout", "--quiet", "HEAD~2", "--", "models")
    assert "spending.v1 was retired, and version numbers are never used again" in refused(shop.try_syncer("check"))[0]


@pytest.mark.parametrize(
    ("day", "ends", "sentence"),
    [
        ("2026-01-11", 0, "Warning: spending.v1 will be given up on 2026-01-11, and churn@1, value@1 read it"),
        ("2026-01-10", 1, "Error: spending.v1 was given up on 2026-01-10, and churn@1, value@1 read it"),
    ],
)
def test_a_deprecated_version_that_is_read_is_a_warning_and_then_an_error(
    shop: Repository, day: str, ends: int, sentence: str
) -> None:
    shop.replace("models/spending.yml", "[{v: 1}]", f"[{{v: 1, deprecation_date: {day}}}]")
    shop.syncer("register")  # readers are told the date too
    checked = shop.try_syncer("check")
    assert checked.exit_code == ends
    assert checked.stderr.splitlines()[0] == sentence


# --- the base


def test_the_base_is_where_the_branch_left_main_or_what_is_named(shop: Repository) -> None:
    shop.replace(SPENDING, "interval 7 days", "interval 14 days")
    shop.syncer("register", "--accept-fix", "two weeks")
    shop.commit("Two weeks")
    shop.git("tag", "later")
    shop.git("checkout", "--quiet", "main")
    shop.git("commit", "--quiet", "--allow-empty", "--message", "Go on")
    shop.git("checkout", "--quiet", "change")
    assert agrees(shop)
    shop.replace(SPENDING, "interval 14 days", "interval 7 days")
    assert "window 14 days -> 7 days" in refused(shop.try_syncer("check", "--against", "later"))[0]
    assert "registry/sql/spending.v1.sql has other SQL" in refused(shop.try_syncer("check"))[0]


def test_a_base_from_before_the_gate_has_no_sql_to_compare_with(shop: Repository) -> None:
    shop.git("rm", "--quiet", "-r", "registry/sql")
    shop.commit("As an older release left it")
    shop.git("branch", "--force", "main")
    assert "registry/sql/spending.v1.sql is missing" in refused(shop.try_syncer("check"))[0]
    assert "spending.v1: SQL accepted" in shop.syncer("register")
    assert agrees(shop)


def test_without_a_base_a_sentence_says_what_to_do(shop: Repository, tmp_path: Path) -> None:
    said = refused(shop.try_syncer("check", "--against", "nowhere"))
    assert said == [
        "Error: there is no commit 'nowhere' in this repository",
        "Hint: name the branch that changes are merged into: origin/main",
    ]
    clone = tmp_path / "clone"
    shop.git("checkout", "--quiet", "main")
    shop.git("clone", "--quiet", "--depth", "1", "--branch", "change", f"file://{shop.folder}", str(clone))
    shutil.copytree(shop.folder / "dbt_packages", clone / "dbt_packages", symlinks=True)
    shutil.copytree(shop.folder / "target", clone / "target")
    shallow = copy.copy(shop)
    shallow.folder = clone
    assert refused(shallow.try_syncer("check")) == [
        "Error: there is no main branch: none of origin/HEAD, origin/main, origin/master, main, master in this shallow"
        " clone",
        "Hint: fetch the history: `git fetch --unshallow origin`; in CI `fetch-depth: 0` (GitHub), "
        "GIT_DEPTH: 0 (GitLab)",
    ]
    shutil.rmtree(shop.folder / ".git")  # what registry/ holds is the base then, drafts and all
    shop.replace(SPENDING, "interval 7 days", "interval 14 days")
    assert WINDOW in refused(shop.try_syncer("check"))[0]
    said = refused(shop.try_syncer("check", "--against", "main"))
    assert said == [
        f"Error: {shop.folder} is in no git repository, so there is no main to compare with",
        "Hint: leave out --against: then what registry/ holds is taken for what was accepted",
    ]


def test_a_conflict_in_the_registry_is_resolved_by_registering_again(shop: Repository) -> None:
    """Two branches gave the number 4 to different features; main's stays, though its column comes later."""
    shop.replace("models/services.yml", "payments_7d]", "payments_7d, largest]")
    shop.syncer("register")
    shop.commit("Read the largest")
    shop.git("checkout", "--quiet", "main")
    shop.replace(SPENDING, "as largest", "as largest,\n    customer_id * 2 as twice")
    largest = "{name: largest, data_type: double}"
    shop.replace("models/spending.yml", largest, largest + "\n      - {name: twice, data_type: bigint}")
    shop.replace(
        "models/services.yml",
        "[{view: spending.v1, features: [spent_7d]}]",
        "[{view: spending.v1, features: [spent_7d, twice]}]",
    )
    shop.syncer("register")
    shop.commit("Read twice")
    shop.git("checkout", "--quiet", "change")
    shop.git("merge", "main")
    assert "<<<<<<<" in (shop.folder / "registry/registry.json").read_text()
    assert "registry.json cannot be read" in refused(shop.try_syncer("check"))[0]
    shop.syncer("register")
    shop.commit("Merge main")
    registry = load_registry(shop.folder / "registry/registry.json", "shop")
    assert {f.name: f.number for f in registry.views["spending.v1"].features} == {
        "spent_7d": 2, "payments_7d": 3, "twice": 4, "largest": 5,
    }  # fmt: skip
    merged = {path.name: path.read_bytes() for path in (shop.folder / "registry").rglob("*.*")}
    shop.git("checkout", "--quiet", "main", "--", "registry")  # or begin with the base's files: it comes to the same
    shop.syncer("register")
    assert {path.name: path.read_bytes() for path in (shop.folder / "registry").rglob("*.*")} == merged
    assert agrees(shop)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "registry/sql/spending.v1.sql is not what `syncer register` writes: it is empty"),
        ("<<<<<<< HEAD\n", "registry/sql/spending.v1.sql is not what `syncer register` writes: it is empty"),
        ("--- view spending_v1\n", "registry/sql/spending.v1.sql is not what `syncer register` writes: "
         "there is no spending_v1"),
    ],
)  # fmt: skip
def test_accepted_sql_that_is_torn_is_named_and_written_anew(shop: Repository, text: str, sentence: str) -> None:
    shop.write("registry/sql/spending.v1.sql", text)
    assert refused(shop.try_syncer("check"))[0] == f"Error: {sentence}"
    shop.syncer("register")
    shop.git("diff", "--exit-code", "registry")


# --- what was published


def test_a_sync_refuses_a_registry_that_lacks_what_was_published(shop: Repository, redis_url: str) -> None:
    shop.redis_url = redis_url
    with_version_2(shop)
    shop.dbt("build")
    shop.syncer("register")
    shop.syncer("sync")
    shop.git("stash", "--include-untracked", "--quiet")  # an older commit is rolled out
    shop.dbt("build")
    for command in ("sync", "plan"):
        assert refused(shop.try_syncer(command)) == [
            "Error: the registry does not contain the one that 'shop_dev' shows, which has spending.v2 and 1 more",
            "Hint: sync from the commit that published it, or a later one; a preview of your own goes with "
            "`syncer drop`",
        ]
    shop.git("stash", "pop", "--quiet")
    shop.replace("models/churn_v2.yml", "[spent_7d, payments_7d]", "[payments_7d]")  # a draft that was shown to readers
    shop.dbt("build")
    shop.syncer("register")
    assert "which has spending.v2: payments_7d bigint as field 3" in refused(shop.try_syncer("sync"))[0]


# --- by data


def test_the_data_shows_how_much_a_change_matters(shop: Repository) -> None:
    shop.dbt("build")
    assert "No served view has other SQL" in shop.syncer("check", "--data")
    shop.replace(SPENDING, "with paid as (", "with paid as ( -- who paid")
    assert "spending.v1 on the warehouse: 3 rows, all as before." in shop.syncer("check", "--data")
    shop.replace(SPENDING, "interval 7 days", "interval 1 days")
    shop.replace("models/stg_payments.sql", "ref('payments') }}", "ref('payments') }} where customer_id = 1")
    checked = shop.try_syncer("check", "--data")
    assert checked.exit_code == 1
    assert checked.stdout.splitlines() == [
        "spending.v1 on the warehouse: 3 rows before, 2 now; 1 gone, 0 new.",
        "  spent_7d: other values in 1 row, by up to 10.5",
        "  payments_7d: other values in 1 row, by up to 1",
    ]
    (proof,) = json.loads(shop.try_syncer("check", "--data", "--json").stdout)["data"]
    assert (proof["view"], proof["gone"], proof["features"][0]) == (
        "spending.v1", 1, {"feature": "spent_7d", "rows": 1, "largest": 10.5},
    )  # fmt: skip
