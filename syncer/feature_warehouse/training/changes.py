"""Feature changes: every new value of some features between two instants, by the macro ``feature_changes``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from feature_warehouse.errors import RequestError
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.training.formats import FeatureTable
from feature_warehouse.training.request import Request, load_request
from feature_warehouse.training.spine import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChanges(FeatureTable):
    """The changes of some features between two instants, ready to be computed; sorted by their instants."""

    _request: Request
    _start: datetime
    _end: datetime

    @contextmanager
    def _batches(self) -> Iterator[pa.RecordBatchReader]:
        arguments = [f"start={self._start.isoformat()!r}", f"end={self._end.isoformat()!r}"]
        sql = self._request.compile("feature_changes", arguments)
        keys = map(
            quoted, dict.fromkeys(name for read in self._request.reads for name in self._request.keys(read).values())
        )
        with self._request.open_duckdb("a list of changes") as warehouse:
            yield warehouse.query(f"from ({sql}) order by {', '.join(['changed_at', 'feature_view', *keys])}")


def get_feature_changes(
    features: str | Sequence[str],
    start: datetime,
    end: datetime,
    *,
    project_dir: str | Path | None = None,
    profiles_dir: str | Path | None = None,
    target: str | None = None,
) -> FeatureChanges:
    """Every change of ``features`` from ``start`` on and before ``end``; see the macro ``feature_changes``.

    Raises RequestError for a time without a zone, and like ``get_historical_features``.
    """
    for moment in (start, end):
        if moment.tzinfo is None:
            raise RequestError(f"{moment!r} names no instant", "give it a time zone")
    request = load_request(features, ProjectOptions.given(project_dir, profiles_dir, target))
    return FeatureChanges(_request=request, _start=start, _end=end)
