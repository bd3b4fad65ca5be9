"""What a sync did as OpenMetrics text, for a collector that reads files.

Only gauges, so that the text is also valid in Prometheus' older text format, which node-exporter's textfile collector
reads. Source of the format: the OpenMetrics 1.0 specification, "Text Format".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from syncer.sync import ViewSynced

#: Name, help, and the value of one view; None leaves the view out.
_OF_VIEWS: tuple[tuple[str, str, Callable[[ViewSynced], float | None]], ...] = (
    ("rows", "Entities online.", lambda view: view.rows),
    ("written_rows", "Entities whose values the last sync sent.", lambda view: view.written),
    ("removed_rows", "Entities that the last sync removed.", lambda view: view.removed),
    ("sent_bytes", "Bytes that the last sync sent, protocol included.", lambda view: view.bytes),
    ("duration_seconds", "Seconds that the last sync took to send.", lambda view: view.seconds),
    (
        "newest_available_timestamp_seconds",
        "When the newest fact of the view's history became available.",
        lambda view: view.newest_available_at.timestamp() if view.newest_available_at else None,
    ),
)

_OF_RUNS = (
    ("as_of_timestamp_seconds", "The instant that is online."),
    ("last_success_timestamp_seconds", "When the last sync that succeeded ended."),
)


def openmetrics(namespace: str, as_of: datetime, views: Iterable[ViewSynced], ended: float) -> str:
    """The text after a sync that succeeded; ``ended``: seconds since the epoch."""
    found = [*views]
    lines: list[str] = []
    for name, words, value in _OF_VIEWS:
        lines += _head(name, words)
        for view in found:
            if (number := value(view)) is not None:
                lines.append(f'feature_warehouse_{name}{{namespace="{namespace}",view="{view.view}"}} {number}')
    for (name, words), number in zip(_OF_RUNS, (as_of.timestamp(), ended), strict=True):
        lines += [*_head(name, words), f'feature_warehouse_{name}{{namespace="{namespace}"}} {number}']
    return "\n".join([*lines, "# EOF", ""])


def _head(name: str, words: str) -> list[str]:
    unit = name.rpartition("_")[2]
    units = [f"# UNIT feature_warehouse_{name} {unit}"] if unit in ("seconds", "bytes") else []
    return [f"# TYPE feature_warehouse_{name} gauge", *units, f"# HELP feature_warehouse_{name} {words}"]
