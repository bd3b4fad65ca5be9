"""Problems as annotations of a pull request: workflow commands of GitHub Actions.

    ::error file=models/orders.yml,line=12::message

The line is a guess: the first one of the file that has the feature or column of which the message speaks.
"""

from __future__ import annotations

import re
from pathlib import Path

from feature_warehouse.errors import SyncerError
from feature_warehouse.gate.proposal import Proposal
from feature_warehouse.project.git import git

_FILE = re.compile(r"(\S+\.(?:sql|ya?ml)): ")
_VIEW = re.compile(r"(\w+\.v\d+): (\w+)?")
_NAME = re.compile(r"'(\w+)'")


def annotation(problem: SyncerError, kind: str, proposal: Proposal) -> str:
    """kind: 'error' or 'warning'."""
    place = _place(problem.message, proposal)
    text = f"{problem.message}\n{problem.hint}" if problem.hint else problem.message
    return f"::{kind} {place}::{_escaped(text)}" if place else f"::{kind}::{_escaped(text)}"


def _place(message: str, proposal: Proposal) -> str:
    if found := _FILE.match(message):
        path, names = found[1], _NAME.findall(message)
    elif (found := _VIEW.match(message)) and found[1] in proposal.declarations.views:
        node = proposal.manifest["nodes"][proposal.declarations.views[found[1]].unique_id]
        path, names = node["original_file_path"], [found[2]] if found[2] else []
    else:
        return ""
    file = proposal.project.folder / path
    if not file.exists():
        return ""
    lines = file.read_text(encoding="utf-8").splitlines()
    named = (n for name in names for n, line in enumerate(lines, 1) if re.search(rf"\b{re.escape(name)}\b", line))
    return f"file={_escaped(_from_root(proposal.project.folder) + path, ':,')},line={next(named, 1)}"


def _from_root(folder: Path) -> str:
    """What stands before a path of the project in a path of its repository: 'analytics/', or ''."""
    try:
        return git(folder, "rev-parse", "--show-prefix")
    except (OSError, ValueError):
        return ""


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)
