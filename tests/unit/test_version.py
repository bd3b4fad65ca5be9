from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def version_in(name: str, pattern: str) -> str:
    found = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
    assert found, f"{name} has no version"
    return found[1]


def test_the_python_package_and_the_dbt_package_have_one_version() -> None:
    python = version_in("pyproject.toml", r'^version = "([^"]+)"')
    assert version_in("dbt_project.yml", r'^version: "([^"]+)"') == python
