"""Who changes something: as git knows it, else as the CI does."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_warehouse.project.git import author


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no repository, of a user who has told neither git nor the CI anything."""
    for key in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER"):
        monkeypatch.delenv(key, raising=False)
    for key in ("BUILD_REQUESTEDFOR", "BUILDKITE_BUILD_CREATOR"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path


def test_nobody_is_known_where_nobody_is_said(nobody: Path) -> None:
    assert author(nobody) == ""


@pytest.mark.parametrize(
    ("config", "environment", "expected"),
    [
        ("[user]\nname = Ada\nemail = ada@example.com\n", {}, "Ada <ada@example.com>"),
        ("[user]\nname = Ada\n", {}, "Ada"),
        ("[user]\nemail = ada@example.com\n", {}, "<ada@example.com>"),
        ("[user]\nname = Ada\n", {"GIT_AUTHOR_NAME": "Grace", "GITHUB_ACTOR": "grace-on-github"}, "Grace"),
        ("", {"GITHUB_ACTOR": "ada-on-github"}, "ada-on-github"),
        ("", {"GITLAB_USER_LOGIN": "ada-on-gitlab"}, "ada-on-gitlab"),
    ],
)
def test_git_goes_before_the_ci(nobody, monkeypatch, config, environment, expected) -> None:
    (nobody / "gitconfig").write_text(config)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert author(nobody) == expected
