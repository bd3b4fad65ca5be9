"""What a sync says of itself: the metrics a collector reads, and the line a person sees."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feature_warehouse.cli.metrics import status_metrics, sync_metrics
from feature_warehouse.cli.progress import Progress
from feature_warehouse.errors import DataError
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.monitoring.status import Status
from feature_warehouse.wire.cost import Raising
from feature_warehouse.wire.marker import Hold
from tests.support.metrics import parsed

AS_OF = datetime(2026, 1, 10, tzinfo=timezone.utc)


def synced(view: str, **facts: Any) -> ViewSynced:
    usual = {"rows": 0, "written": 0, "removed": 0, "bytes": 0, "seconds": 0.0, "read_back": None}
    return ViewSynced(view=view, **{**usual, **facts})


def test_metrics_say_per_view_what_was_done_and_when() -> None:
    views = [
        synced("a.v1", rows=1_000_000, written=7, removed=2, bytes=431, seconds=1.5e-05, newest_available_at=AS_OF),
        synced("b.v2", held=Hold(since=AS_OF, why="it is empty"), reasons=(DataError("it is empty"),)),
    ]
    found = parsed(sync_metrics("shop_dev", AS_OF, views, 1768003201.25))
    a, b = 'namespace="shop_dev",view="a.v1"', 'namespace="shop_dev",view="b.v2"'
    assert found == {
        "feature_warehouse_rows": {a: 1_000_000, b: 0},
        "feature_warehouse_written_rows": {a: 7, b: 0},
        "feature_warehouse_removed_rows": {a: 2, b: 0},
        "feature_warehouse_sent_bytes": {a: 431, b: 0},
        "feature_warehouse_held": {a: 0, b: 1},
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


@pytest.mark.parametrize(
    ("guide", "text"),
    [
        ("syncing.md", sync_metrics("n", AS_OF, [], 0.0)),
        (
            "monitoring.md",
            status_metrics(
                "n",
                Status(
                    as_of=AS_OF,
                    stands=False,
                    views=(),
                    markers={},
                    costs=(),
                    raising=Raising(limit=64, bytes=0),
                    retired=(),
                    offline_unknown=None,
                    online_unknown=None,
                ),
                0.0,
            ),
        ),
    ],
)
def test_nothing_of_a_metric_is_undocumented(guide: str, text: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / guide).read_text()
    for name in parsed(text):
        assert f"`{name}`" in page
