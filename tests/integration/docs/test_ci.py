"""The CI jobs of the guide, read off the page and run as written, in a clone of a git repository made from the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.clone import Clone
from tests.support.pages import Page

GUIDE = Page("guides/ci.md")

#: What sets the machine up; here it is.
SET_UP = ("pip install -r requirements.txt", "dbt deps")


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A checkout of a branch; its remote has the demo as main."""
    folder = tmp_path_factory.mktemp("ci")
    origin = Clone(folder / "origin")
    (origin.folder / ".gitignore").write_text("target/\nlogs/\n*.duckdb*\n")
    git(origin.folder, "init", "--quiet", "--initial-branch=main")
    git(origin.folder, "add", "--all")
    git(origin.folder, "commit", "--quiet", "-m", "the demo")
    git(folder, "clone", "--quiet", str(origin.folder), "checkout")
    git(folder / "checkout", "switch", "--quiet", "-c", "change")
    origin.folder = folder / "checkout"
    return origin


def run(
    repository: Clone, commands: list[str], programs: Path = Path(sys.executable).parent, **environment: str
) -> subprocess.CompletedProcess[str]:
    """As CI does: the whole job in one shell that stops at the first command that fails."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(commands)],
        cwd=repository.folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def stand_in(folder: Path, program: str, found: str) -> Path:
    """A program that notes what it is asked and, asked what is there, finds that; the file with its notes."""
    notes, file = folder / f"{program}.txt", folder / "programs" / program
    file.parent.mkdir(exist_ok=True)
    writes = "*' --method '*|*' --request '*"
    file.write_text(f'#!/bin/sh\necho "$@" >> {notes}\ncase " $* " in {writes}) ;; *) {found or ":"} ;; esac\n')
    file.chmod(0o755)
    return notes


def test_the_github_job_refuses_a_silent_change_and_says_where(repository: Clone, tmp_path: Path) -> None:
    [job] = yaml.safe_load(GUIDE.block("github"))["jobs"].values()
    assert job["steps"][0]["with"]["fetch-depth"] == 0
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert tuple(commands[:2]) == SET_UP
    repository.replace(
        "models/features/carrier_delays_v2.sql",
        "between days.day - 6 and days.day",
        "between days.day - 13 and days.day",
    )
    git(repository.folder, "commit", "--quiet", "-am", "two weeks")
    summary = tmp_path / "summary.md"
    [comment] = [step for step in job["steps"] if "env" in step]
    pull_request = {"COMMENTS": "repos/shop/features/issues", "NUMBER": "7", "GITHUB_BASE_REF": "main"}
    assert comment["env"].keys() == {"GH_TOKEN", *pull_request} - {"GITHUB_BASE_REF"}
    posted = stand_in(tmp_path, "gh", found="")
    programs = tmp_path / "programs"
    (programs / "syncer").symlink_to(Path(sys.executable).parent / "syncer")
    done = run(repository, commands[2:], programs, **pull_request, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1, done.stderr
    assert (
        posted.read_text()
        .splitlines()[-1]
        .endswith("--method POST repos/shop/features/issues/7/comments --field body=@features.md")
    )
    assert (repository.folder / "features.md").read_text() == summary.read_text()
    posted.unlink()
    stand_in(tmp_path, "gh", found="echo 41; echo 42")  # a comment of ours is there
    assert run(repository, [comment["run"]], programs, **pull_request).returncode == 0
    assert (
        posted.read_text()
        .splitlines()[-1]
        .endswith("--method PATCH repos/shop/features/issues/comments/41 --field body=@features.md")
    )
    assert summary.read_text().split("<details>")[0] == MARKDOWN
    taken_away = [line for line in summary.read_text().splitlines() if line.startswith("-  ")]
    assert [line.split("BETWEEN ")[-1] for line in taken_away] == ["days.day - 6 AND days.day"]
    assert "Error: carrier_delays.v2: delay_rate_7d" in done.stderr
    [error] = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    place, _, message = error.removeprefix("::error ").partition("::")
    sql = (repository.folder / "models/features/carrier_delays_v2.sql").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(sql) if "delay_rate_7d" in text)
    assert place == f"file=models/features/carrier_delays_v2.sql,line={line}"
    assert message.startswith(
        "carrier_delays.v2: delay_rate_7d, flights_7d, cancelled_flights_7d would get other values"
    )
    assert "%0Aleave carrier_delays.v2 as it is and add version 3 beside it" in message
    git(repository.folder, "reset", "--quiet", "--hard", "origin/main")


MARKDOWN = """\
### Features, compared with `origin/main`

3 value changes.

**To train anew:** departure_delay@2 (Flight operations), departure_delay@3 (Flight operations).

| feature view | features | change | why |
|---|---|---|---|
| carrier_delays.v2 | delay_rate_7d, flights_7d, cancelled_flights_7d | **value change** | join of `outcomes_by_day` \
days.day - 6 &lt;= outcomes_by_day.day -> days.day - 13 &lt;= outcomes_by_day.day in `final` of `carrier_delays_v2` |

Bytes in Redis: as before.

"""


def test_the_gitlab_job_passes_what_is_only_written_otherwise(repository: Clone, tmp_path: Path) -> None:
    """The shell is real; what it asks of `syncer` is noted, and then asked here, where dbt is loaded already."""
    [job] = yaml.safe_load(GUIDE.block("gitlab")).values()
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert tuple(job["before_script"]) == SET_UP
    repository.replace(
        "models/features/carrier_delays_v2.sql",
        "outcomes_by_day.day between days.day - 6 and days.day",
        "days.day - 6 <= outcomes_by_day.day and outcomes_by_day.day <= days.day",
    )
    git(repository.folder, "commit", "--quiet", "-am", "the same in other words")
    git(repository.folder, "update-ref", "-d", "refs/remotes/origin/main")  # the job fetches it
    asked = stand_in(tmp_path, "syncer", found="echo said")
    request = {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_API_V4_URL": "https://x/api/v4", "CI_PROJECT_ID": "3"}
    request |= {"CI_MERGE_REQUEST_IID": "7", "NOTES_TOKEN": "t0k3n"}
    url = "https://x/api/v4/projects/3/merge_requests/7/notes"
    (tmp_path / "programs" / "python").symlink_to(sys.executable)
    for there, sends in (
        ('[{"id": 40, "body": "hello"}]', f"--request POST {url}"),
        ('[{"id": 40, "body": "hello"}, {"id": 41, "body": "### Features, compared with"}]', f"--request PUT {url}/41"),
    ):
        sent = stand_in(tmp_path, "curl", found=f"echo '{there}'")
        asked.unlink(missing_ok=True)
        done = run(repository, job["script"], tmp_path / "programs", **request)
        assert done.returncode == 0, done.stderr
        assert sent.read_text().splitlines()[-1].endswith(f"--data-urlencode body@features.md {sends}")
    [artifact] = job["artifacts"]["paths"]
    assert (repository.folder / artifact).read_text() == "said\n"
    diff, check = asked.read_text().splitlines()
    assert repository.try_syncer(*check.split()).exit_code == 0
    said = repository.syncer(*diff.split())
    assert "\n3 refactors.\n" in said
    assert "train anew" not in said
    assert "| carrier_delays.v2 | delay_rate_7d, flights_7d, cancelled_flights_7d | refactor |  |" in said
    git(repository.folder, "reset", "--quiet", "--hard", "origin/main")


def test_what_is_added_what_is_accepted_and_what_it_takes_in_redis(repository: Clone) -> None:
    repository.replace(
        "models/features/carrier_delays_v2.sql",
        "between days.day - 6 and days.day",
        "between days.day - 13 and days.day",
    )
    last = "{view: route_history.v1, features: [flights_28d, mean_arrival_delay_minutes_28d]}"
    more = [
        last,
        "{view: origin_weather.v1, features: [humidity_percent], keys: {airport: origin}}",
        "{view: plane_profile.v1, features: [engine_type]}",
    ]
    repository.replace("models/services.yml", last, "\n            - ".join(more))
    repository.syncer("register", "--accept-fix", "seven days were too few")
    said = repository.syncer("diff", "origin/main").split("<details>")[0]
    assert "\n3 value changes, 2 additive, 1 other change.\n" in said
    assert "in `final` of `carrier_delays_v2`<br>accepted as a fix: seven days were too few |\n" in said
    assert ADDED in said
    git(repository.folder, "reset", "--quiet", "--hard", "origin/main")


#: A double adds 9 bytes to a message, a text some 13; what Redis asks of its allocator is rounded up.
ADDED = """
| origin_weather.v1 | humidity_percent | additive | served as field 8 |
| plane_profile.v1 | engine_type | additive | served as field 6 |

- departure_delay@1: changed

| entity | bytes in Redis each, before | after | |
|---|---:|---:|---:|
| airport | 720 | 736 | +16 |
| plane | 216 | 232 | +16 |
"""


def test_exit_codes(repository: Clone) -> None:
    """2 is for the command line alone; a branch that is not there is an error."""
    assert repository.try_syncer("check", "--agianst", "main").exit_code == 2
    assert repository.try_syncer("diff").exit_code == 2
    missing = repository.try_syncer("diff", "nowhere")
    assert missing.exit_code == 1
    assert "nowhere" in missing.stderr
