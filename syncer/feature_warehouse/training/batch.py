"""Batch scoring: the features of a service for many entities at one instant, as they would be read online.

What a sync at that instant would put into Redis are the latest-value views at it, so those are read here too, with
nothing but an entity's keys to find a row by. No time is compared, and ``sync_delay`` plays no part: training has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_warehouse.errors import DataError, RequestError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.registry.feature import FeatureService
from feature_warehouse.registry.types import canonical
from feature_warehouse.training.elsewhere import brought
from feature_warehouse.training.formats import FeatureTable
from feature_warehouse.training.request import Request, load_request
from feature_warehouse.training.spine import TABLE, Spine, place_spine, quoted, read_spine
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.local import open_local
from feature_warehouse.warehouse.source import latest_relation


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFeatures(FeatureTable):
    """Features that are ready to be computed: one row per entity, its columns first, then the features."""

    _request: Request
    _service: FeatureService
    _entities: Spine | None  # None: all of them
    as_of: datetime

    @contextmanager
    def _batches(self) -> Iterator[pa.RecordBatchReader]:
        request = self._request
        with self._opened() as (warehouse, given, latest):
            for view, relation in latest.items():
                _check_unique(warehouse, request.declarations.views[view], relation)
            if given is None:
                given = Spine("model", None, _all_entities(request, latest))
            entities = place_spine(warehouse, given, request.reads, request.views, self._service)
            joins = " ".join(self._joins(latest))
            sql = f"select entities.*, {', '.join(self._features())} from {TABLE} as entities {joins}"
            yield warehouse.query(entities.in_order(self._with_on_demand(sql, entities.columns)))

    @contextmanager
    def _opened(self) -> Iterator[tuple[DuckDB, Spine | None, dict[str, str]]]:
        """A DuckDB with the rows of the entities, if any were given, and {view: where its latest values are in it}."""
        request, given = self._request, self._entities
        views = {view: request.declarations.views[view] for view in request.wanted()}
        if request.is_duckdb:
            with request.open_duckdb("a batch") as warehouse:
                warehouse.stand_at(self.as_of)
                yield warehouse, given, {view: latest_relation(declared) for view, declared in views.items()}
            return
        with request.open_source(latest=True) as source, open_local() as local:
            if given is not None:
                given = brought(given, source, local)
            latest = {}
            for number, (view, features) in enumerate(request.wanted().items()):
                declared = views[view]
                latest[view] = f"latest_{number}"
                types = {key.name: key.type for key in declared.view.entity.join_keys}
                types |= {each.name: canonical(each.type) for each in declared.view.features if each.name in features}
                query = f"select {source.dialect.select_list(types)} from {source.latest(declared, self.as_of)}"
                local.fetch(source, query, latest[view], types, view)
            yield local, given, latest

    def _features(self) -> Iterator[str]:
        for i, read in enumerate(self._request.reads):
            yield from (f"view_{i}.{quoted(name)} as {quoted(read.prefix + name)}" for name in read.features)

    def _joins(self, latest: Mapping[str, str]) -> Iterator[str]:
        for i, read in enumerate(self._request.reads):
            same = (
                f"entities.{quoted(name)} = view_{i}.{quoted(key)}" for key, name in self._request.keys(read).items()
            )
            yield f"left join {latest[read.view]} as view_{i} on {' and '.join(same)}"

    def _with_on_demand(self, sql: str, columns: dict[str, str]) -> str:
        """On-demand features too, by the SQL that training computes them by, where the rows have all request values."""
        given = self._service.request.keys() <= {name.lower() for name in columns}
        return self._request.with_on_demand(sql, "batch") if given else sql


def get_batch_features(
    service: str,
    *,
    entities: Any = None,
    as_of: datetime | None = None,
    project_dir: str | Path | None = None,
    profiles_dir: str | Path | None = None,
    target: str | None = None,
) -> BatchFeatures:
    """The features of ``service`` at one instant, the values that a sync at that instant serves online.

    ``entities``: one row for each combination of join keys, as in ``get_historical_features`` but without a time; other
    columns are kept. Default: every entity that has a value, where one feature view of the service has all its keys.
    ``as_of``: default: the project's own clock, else this moment. On-demand features are computed where the rows have
    all request values, else they are left out.

    Raises RequestError when combinations have to be given, when rows and features do not fit, or ``as_of`` has no zone;
    ProjectError; WarehouseError; DataError for two latest values of one entity.

    >>> get_batch_features("departure_delay", entities="from tonights_departures").to_parquet("scores.parquet")
    """
    request = load_request(service, ProjectOptions.given(project_dir, profiles_dir, target))
    assert request.service is not None  # it was named
    if as_of is not None and as_of.tzinfo is None:
        raise RequestError(f"as_of={as_of!r} names no instant", "give it a time zone")
    spine = None if entities is None else read_spine(entities, request.read.manifest)
    if spine is None:
        _all_entities(request, dict.fromkeys(request.wanted(), ""))  # whether somebody can tell
    return BatchFeatures(
        _request=request,
        _service=request.service,
        _entities=spine,
        as_of=as_of or request.project.clock() or datetime.now(timezone.utc),
    )


def _all_entities(request: Request, latest: Mapping[str, str]) -> str:
    """SQL for the keys of every entity, from those views that are found by all the keys of the service."""
    names = list(dict.fromkeys(name for read in request.reads for name in request.keys(read).values()))
    found = []
    for read in request.reads:
        key_of = {name: key for key, name in request.keys(read).items()}
        if key_of.keys() == set(names):
            listed = ", ".join(f"{quoted(key_of[name])} as {quoted(name)}" for name in names)
            found.append(f"select {listed} from {latest[read.view]}")
    if not found:
        raise RequestError(
            f"{request.features} is read by {', '.join(names)}, and no feature view says which of them go together",
            f"give the combinations: entities='select distinct {', '.join(names)} from ...' (--entities)",
        )
    return " union ".join(found)


def _check_unique(warehouse: DuckDB, declared: DeclaredView, relation: str) -> None:
    keys = ", ".join(quoted(key.name) for key in declared.view.entity.join_keys)
    repeated = f"select {keys} from {relation} group by all having count(*) > 1 limit 1"
    for row in warehouse.query(repeated).read_all().to_pylist():
        raise DataError(
            f"the latest-value view of {declared.view.id} has two rows of one key, for instance {row}",
            f"make {declared.latest_name} with feature_warehouse.latest_values: one row per entity",
        )
