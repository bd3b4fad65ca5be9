"""What the README shows is what one gets: the demo's transcript, and the path to a first feature view."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from syncer.cli import main
from tests.support.demo import Demo
from tests.support.pages import Page
from tests.support.projects import Project

README = Page("../README.md")


def pattern(transcript: str) -> str:
    """What a real run matches: seconds differ from run to run, and a line `...` stands for lines left out."""
    seconds = re.sub(r"\d+\\\.\d\d\\ s\b", r"\\d+\\.\\d\\d\\ s", re.escape(transcript.strip()))
    return seconds.replace(r"\.\.\." + "\\\n", r"(?:.*\n)+?")


def test_the_demo_prints_the_transcript(demo: Demo) -> None:
    printed = demo.printed.replace(str(demo.port), "6390").strip()
    assert re.fullmatch(pattern(README.block("demo")), printed), printed
    assert (demo.folder / "departure_delay.parquet").exists()
    report = demo.folder / printed.rpartition(" ")[2]
    assert report.stat().st_size < 3_000_000
    assert 'id="feature/plane_profile.v1/manufacturer"' in report.read_text()


def test_the_first_feature_view_works_as_written(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = (
        "select 'anna' as customer, timestamptz '2026-01-01 10:00:00+00' as ordered_at, "
        "timestamptz '2026-01-01 11:00:00+00' as loaded_at, 12.5::double as amount"
    )
    labels = "select 'anna' as customer, timestamptz '2026-01-01 12:00:00+00' as asked_at, true as churned"
    more = "vars: {feature_warehouse_now: '2026-01-02T00:00:00Z'}"
    project = Project(
        tmp_path / "shop", {"models/stg_orders.sql": orders, "models/labels.sql": labels, **README.files()}, more=more
    )
    project.dbt("build")
    monkeypatch.chdir(project.folder)
    for command in (["register"], ["check"], ["sync", "--url", redis_url], ["verify", "--url", redis_url]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    names: dict[str, object] = {}
    exec(README.block("read").replace("redis://127.0.0.1:6379/0", redis_url), names)
    assert names["rows"] == [{"amount": 12.5}]
