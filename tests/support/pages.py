"""What a test reads off a page of the documentation: blocks and tables under a mark `<!-- test: name -->`."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


class Page:
    """One page, by its path below docs/."""

    def __init__(self, path: str) -> None:
        self.text = (DOCS / path).read_text(encoding="utf-8")

    def block(self, name: str) -> str:
        """The fenced block under the mark `<!-- test: name -->`."""
        return self._after(f"test: {name}", r"```\w*\n(.*?)```")

    def table(self, name: str) -> tuple[list[str], list[list[str]]]:
        """(header, rows) of the table under the mark `<!-- test: name -->`; cells without their blanks."""
        lines = self._after(f"test: {name}", r"((?:\|[^\n]*\n)+)").splitlines()
        header, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
        return header, rows

    def files(self) -> dict[str, str]:
        """{path: text} of the fenced blocks under marks `<!-- file: path -->`."""
        return dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", self.text, re.DOTALL))

    def _after(self, mark: str, pattern: str) -> str:
        found = re.search(rf"<!-- {re.escape(mark)} -->\n{pattern}", self.text, re.DOTALL)
        assert found, f"no '{mark}'"
        return found[1]
