"""The schedules of the guide: the cron lines and the GitHub Actions job run as written, the others say the same."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbt.clients.yaml_helper import load_yaml_text

from tests.support.pages import Page
from tests.support.shop import NOW, Shop

PAGE = Page("guides/scheduling.md")

#: What every schedule runs, in this order.
COMMANDS = ["dbt build", "syncer check", "syncer sync", "syncer verify", "syncer status --check"]


@pytest.fixture
def scheduled(shop: Shop) -> Shop:
    """A shop whose clock stands where nothing is stale, with its environment where the guide has it."""
    shop.replace("dbt_project.yml", NOW, "2026-01-09T10:00:00Z")
    (shop.folder / ".venv").symlink_to(sys.prefix)
    return shop


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """With nothing of this process's environment."""
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


class Crontab:
    """The guide's crontab for a shop: cron's own shell, its poor environment, and what stands in the table."""

    def __init__(self, shop: Shop) -> None:
        table = PAGE.block("cron").replace("/srv/shop", str(shop.folder))
        self.environment = {"HOME": str(shop.folder), "SHELL": "/bin/sh", "LOGNAME": "shop"}
        self.environment |= dict(re.findall(r"^(\w+)=(.*)$", table, re.MULTILINE))
        self.environment["SYNCER_REDIS_URL"] = shop.redis_url
        self.lines = re.findall(r"^(?:[\d*/]+ ){5} *(.+)$", table, re.MULTILINE)
        assert "%" not in table, "cron makes a new line of it"

    def mail(self, line: int) -> str:
        """What a line prints, which is what cron mails."""
        return run(["/bin/sh", "-c", self.lines[line]], Path("/"), self.environment).stdout


def test_the_cron_lines_run_as_written_and_print_only_what_is_wrong(scheduled: Shop) -> None:
    crontab = Crontab(scheduled)
    assert "the manifest is older than the project" in crontab.mail(1), "nothing was built since the clock was set"
    assert crontab.mail(0) == ""
    log = (scheduled.folder / "target" / "features.log").read_text()
    for said in ("Done. PASS=", "The registry agrees", "7 rows in ", "7 rows compared, 0 differences."):
        assert said in log
    assert crontab.mail(1) == ""

    # Another model fails, and so does a test of one view: all others are published, and somebody hears of it.
    scheduled.write("models/others.sql", "select nothing as n")
    scheduled.replace(
        "models/visits.yml",
        "- {name: visits_7d, data_type: bigint}",
        "- {name: visits_7d, data_type: bigint, data_tests: [not_null]}",
    )
    scheduled.replace("models/visits_v1.sql", "12)", "null)")
    scheduled.replace("models/stock_v1.sql", "40,", "41,")
    scheduled.syncer("register", "--accept-fix", "the rows of this shop stand in its SQL")
    mailed = crontab.mail(0)
    assert "Held: visits.v1: in dbt's last run the test not_null_visits_v1_visits_7d of visits failed" in mailed
    assert re.search(r"^stock\.v1 +2 +1 +0 ", mailed, re.MULTILINE), mailed

    scheduled.remove("registry/registry.json")
    mailed = crontab.mail(0)
    assert "the registry is behind the project: orders.v1: orders_30d is served as field 2" in mailed
    assert "rows compared" not in mailed, "nothing after it has run"
    crontab.environment["SYNCER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert "the half of Redis is unknown" in crontab.mail(1)


def test_the_job_of_github_actions_runs_as_written(scheduled: Shop) -> None:
    workflow: Any = load_yaml_text(PAGE.block("actions").replace("\non:", "\n'on':"))
    (job,) = workflow["jobs"].values()
    secrets = {"${{ secrets.SYNCER_REDIS_URL }}": scheduled.redis_url}
    environment = {name: secrets[value] for name, value in job["env"].items()}
    environment["PATH"] = f"{scheduled.folder}/.venv/bin{os.pathsep}{os.defpath}"
    done, failed, outcomes = [], False, dict[str, str]()
    for step in job["steps"]:
        condition = step.get("if", "success()")
        wanted = not failed if condition == "success()" else condition == "always()"
        if found := re.fullmatch(r"steps\.(\w+)\.outcome == '(\w+)'", condition):
            wanted = not failed and outcomes[found[1]] == found[2]
        if "run" in step and wanted:
            # the shell of a step, after GitHub's documentation of `defaults.run.shell`
            result = run(["bash", "-e", "-c", step["run"]], scheduled.folder, environment)
            done.append((step["run"], result.returncode, result.stdout))
            outcomes[step.get("id", "")] = "failure" if result.returncode else "success"
            failed = failed or (result.returncode != 0 and not step.get("continue-on-error"))
    assert [(command, code) for command, code, _ in done] == [
        (command, 0) for command in (*COMMANDS, "syncer report -o features.html")
    ], done
    (uploaded,) = (step["with"]["path"] for step in job["steps"] if "path" in step.get("with", {}))
    assert "7 rows compared, 0 differences." in done[3][2]
    assert (scheduled.folder / uploaded).read_text().startswith("<!doctype html>")
    assert workflow["on"]["schedule"] == [{"cron": "5 * * * *"}]


def test_the_snippets_run_the_same_commands_in_the_same_order() -> None:
    for name in ("airflow", "dagster"):
        code = PAGE.block(name)
        assigned = {ast.unparse(node.targets[0]): node for node in ast.parse(code).body if isinstance(node, ast.Assign)}
        found = ast.literal_eval(assigned["COMMANDS"].value)
        assert [*(found.values() if isinstance(found, dict) else found)] == COMMANDS, name

    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(PAGE.block("systemd"))
    assert unit["Service"]["type"] == "oneshot"
    started = re.findall(r"^ExecStart=-?/srv/shop/\.venv/bin/(.*)$", PAGE.block("systemd"), re.MULTILINE)
    assert started == COMMANDS

    job: Any = load_yaml_text(PAGE.block("kubernetes"))
    assert (job["kind"], job["spec"]["concurrencyPolicy"]) == ("CronJob", "Forbid")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    built, *others = container["args"][0].split("\n")[:-1]
    assert built == f"{COMMANDS[0]} || built=$?"
    assert others == [*COMMANDS[1:], "exit ${built:-0}"]
    assert container["command"] == ["sh", "-ec"], "it stops at the first that fails"

    table = re.findall(r"^\| `((?:dbt|syncer) [^`]+)` \|", PAGE.text, re.MULTILINE)
    assert table == COMMANDS
