"""What a sync says of itself: the metrics a collector reads, and the line a person sees."""

from __future__ import annotations

import io
import re
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from syncer.cli.metrics import openmetrics
from syncer.cli.progress import Progress
from syncer.sync import ViewSynced

AS_OF = datetime(2026, 1, 10, tzinfo=timezone.utc)

#: The lines of the OpenMetrics text format that gauges need, after the ABNF of the specification (1.0, "Text Format").
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(
    rf'({NAME})\{{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\}} (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)'
)
METADATA = re.compile(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)")


def parsed(text: str) -> dict[str, dict[str, float]]:
    """{metric: {labels: value}}; asserts what the specification asks of the order and of the metadata."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    found: dict[str, dict[str, float]] = {}
    family, kinds = "", list[str]()
    for line in lines[:-2]:
        if metadata := METADATA.fullmatch(line):
            kind, name, value = metadata.groups()
            if name != family:
                assert name not in found, "a family's lines stand together"
                family, kinds = name, []
                found[name] = {}
            assert kind not in kinds
            assert not found[name], "metadata come before samples"
            assert kind != "UNIT" or name.endswith(f"_{value}")
            assert kind != "TYPE" or value == "gauge"
            kinds.append(kind)
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == family
            assert sample[2] not in found[family], "no sample comes twice"
            found[family][sample[2]] = float(sample[3])
    return found


def synced(view: str, **facts: Any) -> ViewSynced:
    usual = {"rows": 0, "written": 0, "removed": 0, "bytes": 0, "seconds": 0.0, "read_back": None}
    return ViewSynced(view=view, **{**usual, **facts})


def test_metrics_say_per_view_what_was_done_and_when() -> None:
    views = [
        synced("a.v1", rows=1_000_000, written=7, removed=2, bytes=431, seconds=1.5e-05, newest_available_at=AS_OF),
        synced("b.v2"),
    ]
    found = parsed(openmetrics("shop_dev", AS_OF, views, 1768003201.25))
    a, b = 'namespace="shop_dev",view="a.v1"', 'namespace="shop_dev",view="b.v2"'
    assert found == {
        "feature_warehouse_rows": {a: 1_000_000, b: 0},
        "feature_warehouse_written_rows": {a: 7, b: 0},
        "feature_warehouse_removed_rows": {a: 2, b: 0},
        "feature_warehouse_sent_bytes": {a: 431, b: 0},
        "feature_warehouse_duration_seconds": {a: 1.5e-05, b: 0},
        "feature_warehouse_newest_available_timestamp_seconds": {a: AS_OF.timestamp()},
        "feature_warehouse_as_of_timestamp_seconds": {'namespace="shop_dev"': AS_OF.timestamp()},
        "feature_warehouse_last_success_timestamp_seconds": {'namespace="shop_dev"': 1768003201.25},
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> list[str]:
    moments = iter([0.0, 0.5, 1.0, 1.1, 2.0, 3.0, 3.2])
    with Progress(stream, clock=lambda: next(moments)) as progress:
        for view, rows in (("a.v1", 0), ("a.v1", 50), ("a.v1", 100), ("a.v1", 110), ("a.v1", 200), ("b.v1", 9)):
            changes = SimpleNamespace(writes=SimpleNamespace(rows=300), removals=SimpleNamespace(rows=100))
            progress.show(SimpleNamespace(view=view, difference=changes), rows, rows * 10_000)  # type: ignore[arg-type]
    return [line.rstrip() for line in stream.getvalue().split("\r")]


def test_progress_is_a_line_of_long_work_on_a_terminal_and_is_wiped() -> None:
    assert shown(Terminal()) == [
        "",
        "a.v1: 100 of 400 changes, 1.0 MB, 100 rows/s, 3 s left",
        "a.v1: 200 of 400 changes, 2.0 MB, 100 rows/s, 2 s left",
        "",
        "",
    ]
    assert shown(io.StringIO()) == [""]


def test_nothing_of_a_metric_is_undocumented() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "syncing.md").read_text()
    for name in parsed(openmetrics("n", AS_OF, [], 0.0)):
        assert f"`{name}`" in guide
