"""The command line as its users and their programs meet it: help, what is printed where, JSON, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
from click.testing import CliRunner, _NamedTextIOWrapper

from feature_warehouse.cli import progress
from feature_warehouse.cli.main import main
from feature_warehouse.mirror.terms import Terms
from tests.support.cli_reference import COMMANDS
from tests.support.imports import SYNCER, run_without
from tests.support.shop import Shop, inside

#: Groups of commands among them.
EVERY = [[], *([name] for name in sorted(main.commands)), *(name.split() for name in COMMANDS if " " in name)]

#: One call of each command that reads the shop.
CALLS = {
    "register": ["register"],
    "check": ["check"],
    "sync": ["sync"],
    "verify": ["verify"],
    "get": ["get", "churn@1", "customer_id=1"],
}


@pytest.fixture
def synced(shop: Shop) -> Shop:
    shop.syncer("sync")
    return shop


# --- help


@pytest.mark.parametrize("command", EVERY, ids=lambda command: " ".join(command))
def test_every_command_explains_itself_and_ends_in_an_example(command: list[str], shop: Shop) -> None:
    short, long = shop.syncer(*command, "-h"), shop.syncer(*command, "--help")
    assert short == long
    text, options = long.split("\nOptions:\n")
    assert text.startswith(f"Usage: {' '.join(['syncer', *command])} ")
    *_, heading, example = text.rstrip().splitlines()
    assert heading.startswith("  Example")
    assert re.match(r"    (syncer|dbt) ", example)
    assert "-h, --help" in options


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_is_a_command_line_that_it_takes(command: str) -> None:
    text = COMMANDS[command].help or ""
    example = text.rstrip().splitlines()[-1]
    ours = next(part for part in example.split("&&") if part.split()[0] == "syncer")
    words = shlex.split(ours)[1:]
    named = len(command.split())
    assert words[:named] == command.split()
    COMMANDS[command].make_context(command, words[named:])  # reads the command line, runs nothing


def test_the_list_of_commands_shows_whole_sentences(shop: Shop) -> None:
    listed = shop.syncer("--help").split("Commands:\n")[1].rstrip().splitlines()
    assert [line.split()[0] for line in listed] == sorted(main.commands)
    assert not [line for line in listed if line.endswith("...")]


def test_without_a_command_the_help_is_shown(shop: Shop) -> None:
    result = shop.try_syncer()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_the_installed_command_tells_its_version() -> None:
    syncer = Path(sys.executable).parent / "syncer"
    done = subprocess.run([syncer, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"syncer, version {version('feature-warehouse')}\n"


def parameters(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_options_are_called_alike_everywhere() -> None:
    project = {"--project-dir", "--profiles-dir", "-t", "--target", "--json"}
    for command in ("register", "check", "sync", "verify", "get"):
        assert project <= parameters(main.commands[command]), command
    for command in ("sync", "verify", "get"):
        assert {"--url", "--namespace", "--as-of"} <= parameters(main.commands[command]), command
    for command in ("sync", "verify"):
        assert {"-s", "--select"} <= parameters(main.commands[command]), command


def test_allow_is_for_one_run_and_accept_has_a_reason() -> None:
    given = [each for command in COMMANDS.values() for each in command.params if isinstance(each, click.Option)]
    accepting = {name: option for option in given for name in option.opts if name.startswith("--accept-")}
    assert {name: option.metavar for name, option in accepting.items()} == {
        "--accept-fix": "REASON",
        "--accept-unbuilt": "REASON",
        "--accept-unjudged": "REASON",
    }
    allowing = {name for option in given for name in option.opts if name.startswith("--allow-")}
    assert {name[2:].replace("-", "_") for name in allowing} < {*Terms.__dataclass_fields__}  # of a run; kept nowhere


def test_get_reads_without_sqlglot_and_dbt(synced: Shop) -> None:
    folder = str(synced.folder)
    arguments = ("get", "churn@1", "customer_id=1", "--url", synced.redis_url, "--project-dir", folder)
    libraries = {"dbt", "numpy", "pandas", "pyarrow", "sqlglot"}
    done = run_without(libraries, SYNCER.format(arguments), DBT_PROFILES_DIR=folder)
    assert done.stdout.startswith("churn@1\n"), done.stderr


# --- what is printed


def test_register_says_what_it_took_in_and_where(shop: Shop) -> None:
    shop.remove("registry/registry.json")
    assert shop.syncer("register").splitlines() == [
        "orders.v1: orders_30d is served as field 2",
        "orders.v1: spent is served as field 3",
        "orders.v1: plan is served as field 4",
        "orders.v1: basket is served as field 5",
        "stock.v1: in_stock is served as field 2",
        "stock.v1: counted_on is served as field 3",
        "visits.v1: visits_7d is served as field 2",
        "churn@1: new service",
        "churn@2: new service",
        "transfer@1: new service",
        "orders.v1: SQL accepted",
        "stock.v1: SQL accepted",
        "visits.v1: SQL accepted",
        "Written to registry/: review and commit it.",
    ]
    assert shop.syncer("register") == "The registry already says what the project declares.\n"


def test_register_and_check_agree(shop: Shop) -> None:
    agrees = "The registry agrees: feature view versions 3, service versions 3; judged: 7 features.\n"
    assert shop.syncer("check") == agrees
    shop.write("registry/features.proto", "// edited by hand\n")
    found = shop.try_syncer("check")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.splitlines() == [
        "Error: the registry is behind the project: registry/features.proto does not say what the registry says",
        "Hint: run `syncer register` and commit registry/",
    ]
    shop.syncer("register")
    shop.syncer("check")


def test_sync_and_verify_print_a_table_and_a_sentence(shop: Shop) -> None:
    printed = re.sub(r"\d+\.\d\d s", "0.01 s", shop.syncer("sync"))
    assert re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:6379", printed).splitlines() == [
        "feature view  rows  written  removed  bytes sent",
        "orders.v1        3        3        0         271",
        "stock.v1         2        2        0         154",
        "visits.v1        2        2        0         144",
        "7 rows in 0.01 s: shop_dev on 127.0.0.1:6379/0 is the warehouse as of 2026-01-10T00:00:00Z.",
    ]
    assert shop.syncer("verify").splitlines() == [
        "feature view  rows  missing  different  extra",
        "orders.v1        3        0          0      0",
        "stock.v1         2        0          0      0",
        "visits.v1        2        0          0      0",
        "7 rows compared, 0 differences.",
    ]


def test_get_shows_values_or_why_there_is_none(synced: Shop) -> None:
    assert synced.syncer("get", "churn", "customer_id=1", "amount=51").splitlines() == [
        "churn@2",
        "  visits_7d     12",
        "  orders_30d    2",
        "  spent         25.50",
        "  plan          gold",
        "  basket        [1.5, 2]",
        "  amount_share  2",
    ]
    assert synced.syncer("get", "churn@1", "customer_id=2").splitlines() == [
        "churn@1",
        "  orders_30d  7",
        "  plan        (null)",
        "  visits_7d   (missing)",
    ]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_results_go_to_stdout_and_nothing_else_does(call: list[str], synced: Shop) -> None:
    result = synced.try_syncer(*call)
    assert result.exit_code == 0
    assert result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_the_output_is_plain_text(call: list[str], environment: dict[str, str], synced: Shop) -> None:
    assert "\x1b" not in synced.try_syncer(*call, **environment).output


def test_on_a_terminal_sync_tells_its_progress_on_stderr(
    shop: Shop, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert shop.try_syncer("sync").stderr == ""
    server.delete("shop_dev:customer:1", "shop_dev:customer:2", "shop_dev:customer:3")
    monkeypatch.setattr(_NamedTextIOWrapper, "isatty", lambda _: True)
    result = shop.try_syncer("sync", "--full")
    assert re.search(r"\rorders.v1: \d of 3 changes, 0.0 MB, [\d,]+ rows/s, 0 s left", result.stderr)
    assert "changes" not in result.stdout


# --- for programs


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_json_is_one_line_of_json(call: list[str], synced: Shop) -> None:
    result = synced.try_syncer(*call, "--json")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    json.loads(result.stdout, parse_constant=pytest.fail)  # NaN and Infinity are no JSON


def test_json_of_each_command(synced: Shop) -> None:
    views, services = ["orders.v1", "stock.v1", "visits.v1"], ["churn@1", "churn@2", "transfer@1"]
    nothing: dict[str, Any] = {key: [] for key in ("changes", "retrain", "rebuild", "alike")}
    assert synced.json("register") == {**nothing, "views": views, "services": services}
    assert synced.json("check") == {
        "problems": [],
        "warnings": [],
        "rebuild": [],
        "notes": [],
        "judged": 7,
        "not_judged": [],
    }
    sync = synced.json("sync")
    assert {key: sync[key] for key in ("namespace", "as_of")} == {
        "namespace": "shop_dev",
        "as_of": "2026-01-10T00:00:00+00:00",
    }
    assert sync["seconds"] > 0
    assert [view["view"] for view in sync["views"]] == views
    facts = {"view", "rows", "written", "removed", "bytes", "seconds", "read_back", "newest_available_at", "longest"}
    assert sync["views"][0].keys() == facts | {"token", "held", "reasons", "was_held"}
    assert synced.json("verify") == {
        "namespace": "shop_dev",
        "differences": 0,
        "repaired": [],
        "views": [
            {
                "view": view,
                "rows": rows,
                "missing": 0,
                "different": 0,
                "extra": 0,
                "examples": [],
                "held": None,
                "unknown": None,
            }
            for view, rows in zip(views, (3, 2, 2), strict=True)
        ],
    }
    stored = {"visits_7d": 12, "orders_30d": 2, "spent": "25.50", "plan": "gold", "basket": [1.5, 2.0]}
    assert synced.json("get", "churn@2", "customer_id=1", "amount=51") == {
        "service": "churn@2",
        "features": {**stored, "amount_share": 2.0},
        "statuses": dict.fromkeys((*stored, "amount_share"), "present"),
        "not_computed": [],
    }


def test_json_of_a_comparison_that_fails_is_still_json(shop: Shop) -> None:
    result = shop.try_syncer("verify", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert json.loads(result.stdout)["differences"] == 7


# --- where it runs


def test_a_project_is_found_from_the_folders_below_it(shop: Shop) -> None:
    shop.write("notebooks/deep/x.txt", "")
    profiles = {"DBT_PROFILES_DIR": str(shop.folder)}
    with inside(shop.folder / "notebooks" / "deep"):
        result = CliRunner(env=profiles).invoke(main, ["check"])
    assert (result.exit_code, result.output) == (
        0,
        "The registry agrees: feature view versions 3, service versions 3; judged: 7 features.\n",
    )


def test_a_project_is_found_by_options_and_by_dbt_s_variables(shop: Shop, tmp_path: Path) -> None:
    shop.replace("profiles.yml", "path: shop.duckdb", f"path: {shop.database}")
    folder = str(shop.folder)
    options = ["--project-dir", folder, "--profiles-dir", folder, "--target", "dev", "--url", shop.redis_url]
    variables = {"DBT_PROJECT_DIR": folder, "DBT_PROFILES_DIR": folder, "SYNCER_REDIS_URL": shop.redis_url}
    with inside(tmp_path):
        for arguments, environment in ((options, {}), ([], variables)):
            result = CliRunner(env=environment).invoke(main, ["sync", *arguments])
            assert result.exit_code == 0, result.output
            assert "7 rows in " in result.output


def test_reading_by_namespace_needs_no_project(synced: Shop, tmp_path: Path) -> None:
    with inside(tmp_path):
        by_option = ["get", "churn@1", "customer_id=1", "--namespace", "shop_dev", "--json"]
        result = CliRunner(env={"SYNCER_REDIS_URL": synced.redis_url}).invoke(main, by_option)
    assert json.loads(result.stdout)["features"]["plan"] == "gold"


def test_a_reader_that_goes_away_ends_the_command_quietly(shop: Shop) -> None:
    """`syncer check --json | head -0`"""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command: Any = [sys.executable, "-m", "feature_warehouse", "check", "--json"]
    with os.fdopen(write_end, "w") as closed:
        done = subprocess.run(command, cwd=shop.folder, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_a_plain_sync_imports_neither_dbt_nor_pandas(shop: Shop) -> None:
    """Each of the two takes longer than the sync itself. DuckDB 1.5 imports pandas of its own accord."""
    heavy = {"dbt", "sqlglot"} if duckdb.__version__.startswith("1.") else {"dbt", "pandas", "sqlglot"}
    code = (
        "import sys; from feature_warehouse.cli.main import main; main(['sync'], standalone_mode=False); "
        f"print(*{heavy!r} & set(sys.modules))"
    )
    environment = {**os.environ, "SYNCER_REDIS_URL": shop.redis_url}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shop.folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
