"""The git repository that a project is in: its commits, the base of a change, and files as a commit has them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from feature_warehouse.errors import ProjectError

#: Where the main branch is looked for: what the remote calls its own, then the usual names.
MAIN = ("origin/HEAD", "origin/main", "origin/master", "main", "master")

#: Seconds that git may take to say where a project stands.
_SECONDS = 2.0


def git(folder: Path, *arguments: str, timeout: float | None = None) -> str:
    """What a git command prints. Raises OSError without git, CalledProcessError when it fails, TimeoutExpired."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout)
    return done.stdout.strip()


def revision(folder: Path) -> str | None:
    """The commit that ``folder`` is at, '+' behind it where its files are not as committed; None: that is not known."""
    try:
        commit = git(folder, "rev-parse", "--short=12", "HEAD", timeout=_SECONDS)
        changed = git(folder, "status", "--porcelain", "--", ".", timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changed else commit


#: Who a CI job runs for, where git itself has nobody: GitHub, GitLab, Azure, Buildkite, Jenkins with its user plugin.
_WHO = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "BUILDKITE_BUILD_CREATOR", "BUILD_USER")


def author(folder: Path) -> str:
    """Who changes something here: 'Ada <ada@example.com>', as git knows it, else as the CI does; "" where neither does.

    Only what somebody has set counts; what git would make of the names of user and machine says nothing."""
    name, email = (
        os.environ.get(f"GIT_AUTHOR_{what.upper()}") or _said(folder, "config", f"user.{what}")
        for what in ("name", "email")
    )
    told = " ".join(filter(None, (name, email and f"<{email}>")))
    return told or next((who for key in _WHO if (who := os.environ.get(key))), "")


def in_repository(folder: Path) -> bool:
    return _said(folder, "rev-parse", "--is-inside-work-tree") == "true"


def merge_base(folder: Path, against: str | None) -> str | None:
    """The commit at which what is checked out left ``against``, by default the main branch; None before any commit.

    In the middle of a merge, of what the merge would make. Raises ProjectError when there is none to be found.
    """
    if not in_repository(folder):
        raise ProjectError(
            f"{folder} is in no git repository, so there is no {against or 'main branch'} to compare with",
            "leave out --against: then what registry/ holds is taken for what was accepted",
        )
    shallow = _said(folder, "rev-parse", "--is-shallow-repository") == "true"
    deepen = "fetch the history: `git fetch --unshallow origin`; in CI `fetch-depth: 0` (GitHub), GIT_DEPTH: 0 (GitLab)"
    if against is None and _commit(folder, "HEAD") is None:
        return None
    main = next((ref for ref in ([against] if against else MAIN) if _commit(folder, ref)), None)
    if main is None:
        what, hint = f"there is no main branch: none of {', '.join(MAIN)}", "name yours: --against develop"
        if against:
            what, hint = f"there is no commit '{against}'", "name the branch that changes are merged into: origin/main"
        raise ProjectError(
            f"{what} in this {'shallow clone' if shallow else 'repository'}",
            deepen if shallow else hint,
        )
    heads = ["HEAD", *(["MERGE_HEAD"] if _commit(folder, "MERGE_HEAD") else [])]
    base = _said(folder, "merge-base", main, *heads)
    if not base:
        raise ProjectError(
            f"{main} and HEAD have no common commit in this {'shallow clone' if shallow else 'repository'}",
            deepen if shallow else "name the branch that this one came from: --against develop",
        )
    return base


def files_at(folder: Path, commit: str, path: str) -> dict[str, bytes]:
    """The files below ``path``, which is relative to ``folder``, as ``commit`` has them, by that path; {}: none."""
    try:
        if not git(folder, "ls-tree", "-r", "--name-only", commit, "--", path):
            return {}
        command = ["git", "-C", str(folder), "archive", "--format=tar", commit, "--", path]
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ProjectError(
            f"git cannot read {path} of {commit}: {error}", f"see what `git archive {commit}` says"
        ) from error
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {
            member.name: file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))
        }


def _commit(folder: Path, ref: str) -> str | None:
    return _said(folder, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")


def _said(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None when it fails, or there is no git."""
    try:
        return git(folder, *arguments)
    except (OSError, subprocess.CalledProcessError):
        return None
