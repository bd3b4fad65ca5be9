"""What a sync did, or how fresh all is, as OpenMetrics text, for a collector that reads files.

Only gauges, so that the text is also valid in Prometheus' older text format, which node-exporter's textfile collector
reads. Source of the format: the OpenMetrics 1.0 specification, "Text Format".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from feature_warehouse.mirror.sync import ViewSynced
    from feature_warehouse.monitoring.freshness import Freshness
    from feature_warehouse.monitoring.status import Status
    from feature_warehouse.wire.cost import ViewCost

_View = TypeVar("_View")

#: Name, help, and the value of one view; None leaves the view out.
_OF_SYNCS: tuple[tuple[str, str, Callable[[ViewSynced], float | None]], ...] = (
    ("rows", "Entities online.", lambda view: view.rows),
    ("written_rows", "Entities whose values the last sync sent.", lambda view: view.written),
    ("removed_rows", "Entities that the last sync removed.", lambda view: view.removed),
    ("sent_bytes", "Bytes that the last sync sent, protocol included.", lambda view: view.bytes),
    ("held", "1 when the view is held, 0 when it is not.", lambda view: float(view.held is not None)),
    ("duration_seconds", "Seconds that the last sync took to send.", lambda view: view.seconds),
    (
        "newest_available_timestamp_seconds",
        "When the newest fact of the view's history became available.",
        lambda view: _epoch(view.newest_available_at),
    ),
)

#: The same of a status. Instants, not ages: an age would stand still where nobody asks for the status any more.
_OF_STATUS: tuple[tuple[str, str, Callable[[Freshness], float | None]], ...] = (
    ("stale", "1 when the view is stale, 0 when it is not.", lambda view: float(bool(view.reasons))),
    ("held", "1 when the view is held, 0 when it is not.", lambda view: float(view.held is not None)),
    (
        "held_since_timestamp_seconds",
        "Since when the view is held.",
        lambda view: _epoch(view.held.since) if view.held else None,
    ),
    (
        "expected_every_seconds",
        "How often the view is expected to be renewed; it is stale beyond 1.5 times that.",
        lambda view: view.view.expected_every.total_seconds() if view.view.expected_every else None,
    ),
    (
        "offline_newest_available_timestamp_seconds",
        "When the newest fact in the warehouse became available.",
        lambda view: _epoch(view.offline.newest_available_at) if view.offline else None,
    ),
    (
        "online_newest_available_timestamp_seconds",
        "When the newest fact became available, as of the last sync.",
        lambda view: _epoch(view.online.marker.newest_available_at) if view.online and view.online.marker else None,
    ),
    (
        "synced_timestamp_seconds",
        "The instant that the last complete sync of the view put online.",
        lambda view: _epoch(view.online.marker.as_of) if view.online and view.online.marker else None,
    ),
)

_OF_COSTS: tuple[tuple[str, str, Callable[[ViewCost], float | None]], ...] = (
    ("memory_bytes", "What the view takes of Redis's memory, computed from its layout.", lambda cost: cost.bytes),
)


def sync_metrics(namespace: str, as_of: datetime, views: Iterable[ViewSynced], ended: float) -> str:
    """The text after a sync that published or held each view; ``ended``: seconds since the epoch."""
    of_run = (
        ("as_of_timestamp_seconds", "The instant that is online.", as_of.timestamp()),
        ("last_success_timestamp_seconds", "When the last sync ended that published or held each view.", ended),
    )
    return _text(namespace, [*_of_views(_OF_SYNCS, {view.view: view for view in views}), *_of_namespace(of_run)])


def status_metrics(namespace: str, status: Status, asked: float) -> str:
    """The text of a status; ``asked``: seconds since the epoch."""
    of_all = (
        ("status_timestamp_seconds", "When this was written.", asked),
        ("offline_known", "1 when the warehouse could be read.", float(status.offline_unknown is None)),
        ("online_known", "1 when Redis could be asked.", float(status.online_unknown is None)),
    )
    views, costs = ({view.view.id: view for view in status.views}, {cost.view: cost for cost in status.costs})
    families = [*_of_views(_OF_STATUS, views), *_of_views(_OF_COSTS, costs), *_of_namespace(of_all)]
    return _text(namespace, families)


def replace_file(path: Path, text: str) -> None:
    """Puts a file in place whole: whoever collects it never reads half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


#: Name, help, and (view, value) of its samples; the view None: of the whole namespace.
_Family = tuple[str, str, list[tuple[str | None, float]]]


def _of_views(
    gauges: Iterable[tuple[str, str, Callable[[_View], float | None]]], views: dict[str, _View]
) -> Iterator[_Family]:
    for name, words, value in gauges:
        numbers = ((id_, value(view)) for id_, view in views.items())
        yield name, words, [(id_, number) for id_, number in numbers if number is not None]


def _of_namespace(gauges: Iterable[tuple[str, str, float]]) -> Iterator[_Family]:
    for name, words, number in gauges:
        yield name, words, [(None, number)]


def _text(namespace: str, families: Sequence[_Family]) -> str:
    lines: list[str] = []
    for name, words, samples in families:
        lines += _head(name, words)
        for view, number in samples:
            labels = f'namespace="{namespace}"' + (f',view="{view}"' if view else "")
            lines.append(f"feature_warehouse_{name}{{{labels}}} {number}")
    return "\n".join([*lines, "# EOF", ""])


def _head(name: str, words: str) -> list[str]:
    unit = name.rpartition("_")[2]
    units = [f"# UNIT feature_warehouse_{name} {unit}"] if unit in ("seconds", "bytes") else []
    return [f"# TYPE feature_warehouse_{name} gauge", *units, f"# HELP feature_warehouse_{name} {words}"]


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
