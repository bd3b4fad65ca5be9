"""What docs/guides/point-in-time.md says that leakage costs on the flights is what it costs."""

from __future__ import annotations

import duckdb
import pytest

from benchmarks.leakage import tables
from feature_warehouse.project.project import load_declarations, load_project
from tests.support.demo import Demo
from tests.support.pages import Page


def test_the_cost_of_leakage_is_as_the_guide_says(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("guides/point-in-time.md")
    monkeypatch.chdir(demo.folder)
    project = load_project(None, None, None)
    with duckdb.connect(str(project.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        labels, models = tables(connection, load_declarations(project))
    assert page.table("leakage") == labels
    assert page.table("leaky models") == models
