"""Whether a text is SQL at all, by DuckDB's own parser; nothing is run, and no relation need be there."""

from __future__ import annotations

import re

import duckdb

_LINE = re.compile(r"LINE \d+: (.*)")


def syntax_error(sql: str) -> str | None:
    """What DuckDB's parser finds wrong, and in which line, in words; None where it reads the text."""
    try:
        duckdb.extract_statements(sql)
    except duckdb.Error as error:
        first, *others = str(error).splitlines()
        line = next((found[1] for other in others if (found := _LINE.match(other))), "")
        told = first.removeprefix("Parser Error: ")
        return f"{told}, in `{line.strip()}`" if line else told
    return None
