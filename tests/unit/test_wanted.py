"""No test is left out in silence where nothing may lack."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import wanted

ROOT = Path(__file__).parents[2]


def test_what_lacks_is_skipped_and_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted.want("node", found=True)
    monkeypatch.setattr(wanted, "REQUIRED", frozenset({"feast"}))
    with pytest.raises(pytest.skip.Exception, match="without node: install Node"):
        wanted.want("node", found=False)
    monkeypatch.setattr(wanted, "REQUIRED", frozenset({"feast", "node"}))
    with pytest.raises(pytest.fail.Exception, match=r"without node: .*REQUIRED=feast node"):
        wanted.want("node", found=False)


def test_a_required_name_is_one_that_tests_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "REQUIRED", frozenset({"nodejs", "node"}))
    with pytest.raises(pytest.UsageError, match="REQUIRED has nodejs, which is none of browser, "):
        wanted.refuse_unknown()


def test_a_run_counts_in_words_what_it_skipped() -> None:
    assert wanted.counted([]) == "No test was skipped."
    assert wanted.counted(["Skipped: without node: install it"]) == "Skipped 1 test: 1 without node."
    reasons = ["Skipped: without node: a", "Skipped: without browser: b", "Skipped: without node: a"]
    assert wanted.counted(reasons) == "Skipped 3 tests: 1 without browser, 2 without node."


def test_ci_requires_all_that_tests_ask_for() -> None:
    found = re.search(r'^export REQUIRED="([a-z ]+)"$', (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert found
    assert found[1].split() == sorted(wanted.WANTED)


def test_nothing_else_skips_a_test() -> None:
    ways = re.compile(r"pytest\.skip\b|mark\.skip|importorskip|SkipTest")
    here = {Path(wanted.__file__), Path(__file__)}
    files = [file for file in (ROOT / "tests").rglob("*.py") if file not in here]
    assert [file.name for file in files if ways.search(file.read_text())] == []
