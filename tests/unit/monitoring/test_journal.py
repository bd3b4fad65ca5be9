"""What syncs write down of themselves."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from feature_warehouse.monitoring import journal


def test_the_newest_comes_first_and_namespaces_are_apart(tmp_path: Path) -> None:
    for number in range(3):
        journal.record(tmp_path, "shop_dev", {"number": number, "error": "ü\n"})
    journal.record(tmp_path, "preview", {"number": 9})
    assert [entry["number"] for entry in journal.read(tmp_path, "shop_dev")] == [2, 1, 0]
    assert journal.read(tmp_path, "shop_dev")[0]["error"] == "ü\n"
    assert journal.read(tmp_path, "other") == []


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    journal.record(tmp_path, "shop_dev", {"number": 1})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text() + '{"number": 2\n3\n')
    journal.record(tmp_path, "shop_dev", {"number": 4})
    assert journal.read(tmp_path, "shop_dev") == [{"number": 4}, {"number": 1}]


def test_it_stays_small(tmp_path: Path) -> None:
    for number in range(1_300):
        journal.record(tmp_path, "shop_dev", {"number": number, "error": "x" * 1_000})
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 1.1 * (1 << 20)
    assert [entry["number"] for entry in journal.read(tmp_path, "shop_dev")] == [
        *range(1_299, 1_299 - journal.KEPT, -1)
    ]


def test_what_cannot_be_written_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal.record(tmp_path / "away", "shop_dev", {})
    assert not (tmp_path / "away").exists(), "where nothing is remembered, nothing is written"
    (tmp_path / "shop_dev.syncs.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        journal.record(tmp_path, "shop_dev", {})
    assert "what was done is not written down" in caplog.text
