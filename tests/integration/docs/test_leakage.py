"""What docs/guides/point-in-time.md says that leakage costs on the flights is what it costs."""

from __future__ import annotations

import duckdb
import pytest

from benchmarks.leakage import tables
from feature_warehouse.project.reading import read_project
from tests.support.demo import Demo
from tests.support.pages import Page


def test_the_cost_of_leakage_is_as_the_guide_says(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("guides/point-in-time.md")
    monkeypatch.chdir(demo.folder)
    read = read_project()
    with duckdb.connect(read.project.output.path, read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        labels, models = tables(connection, read.declarations)
    assert page.table("leakage") == labels
    assert page.table("leaky models") == models
