"""What the sync and the async client share: all of a read but its I/O.

A read is a row of steps: it yields what it wants to have fetched, and is sent the values. What is served and how it is
encoded it learns from Redis; the revision that comes back with every read says when to learn it anew.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from feature_warehouse.client.features import OnlineFeatures, ViewFeatures
from feature_warehouse.client.plan import OnStale, ReadPlan, ServicePlan, find_service
from feature_warehouse.client.served import ServedLog, ServedWriter, Stream, served_rows
from feature_warehouse.errors import DefinitionError, NamespaceError, RequestError, SyncerError
from feature_warehouse.registry.document import Registry, contradictions, from_document, pinned_registry, revision
from feature_warehouse.registry.feature import FeatureService, FeatureView
from feature_warehouse.store.fetch import Fetch, Steps
from feature_warehouse.wire.decode import instant, microseconds
from feature_warehouse.wire.keyspace import is_missing, registry_key, served_key
from feature_warehouse.wire.marker import Marker

_log = logging.getLogger(__name__)

#: Rows in one read of a batch.
CHUNK_ROWS = 2_000

Rows = Sequence[Mapping[str, object]]
Request = Mapping[str, object]

NO_REQUEST: Request = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Schema:
    """The registry that a namespace serves, and the plans of the services that were read since.

    ``registry``: what is read by; where one is pinned, it is that, and ``published`` what the namespace shows.
    """

    registry: Registry
    published: Registry
    revision: bytes
    plans: dict[str, ServicePlan] = field(default_factory=dict)


class Reader:
    """What both clients share: what to ask Redis for, and what to make of it."""

    def __init__(
        self,
        namespace: str,
        as_of: datetime | None,
        on_stale: OnStale,
        address: str,
        log: ServedWriter | None,
        registry: str | PathLike[str] | None = None,
    ) -> None:
        if as_of is not None and as_of.tzinfo is None:
            raise ValueError(f"as_of={as_of!r} has no time zone; give datetime(..., tzinfo=timezone.utc)")
        if on_stale not in get_args(OnStale):
            raise ValueError(f"on_stale={on_stale!r} is none of {', '.join(get_args(OnStale))}")
        self._namespace = namespace
        self._as_of = None if as_of is None else microseconds(as_of)
        self._on_stale = on_stale
        self._address = address
        self.served = log
        self._pinned = None if registry is None else pinned_registry(Path(registry))
        self._schema: _Schema | None = None
        self._warned: set[tuple[str, str]] = set()
        self._told: dict[str, datetime] = {}  # view id -> its as_of when the log last heard that it is stale

    def read(self, service: str, rows: Rows, request: Request) -> Steps[OnlineFeatures]:
        remembered = self._schema
        schema = remembered or (yield from self._load())
        try:
            plan = self._plan(schema, service)
            wanted = plan.plan(rows, request)
        except SyncerError:  # of the request, or of a registry that was published in between and mended since
            if remembered is None:
                raise
            schema = yield from self._load()  # what is asked for may have been published since
            plan = self._plan(schema, service)
            wanted = plan.plan(rows, request)
        (*texts, shown), *_ = values = yield wanted.fetches
        if shown != schema.revision:
            schema = yield from self._load()
            plan = self._plan(schema, service)
            wanted = plan.plan(rows, request)
            (*texts, _), *_ = values = yield wanted.fetches
        markers = plan.markers(texts)
        found = plan.assemble(wanted, values, markers, self._instant, self._on_stale)
        found.changing = plan.changing(wanted, values, markers)
        yield from plan.compute(found, wanted)
        for view in found.views:
            if view.stale:
                self._tell(view)
        if self.served is not None:
            self._log(self.served, plan, wanted, rows, found)
        return found

    def _log(
        self, writer: ServedWriter, plan: ServicePlan, wanted: ReadPlan, rows: Rows, found: OnlineFeatures
    ) -> None:
        """Leaves a sample of what was served to the writer."""
        chosen = writer.sampled(len(rows))
        if chosen:
            names = plan.request_names
            given = [
                {name: None if is_missing(value := rows[i][name]) else value for name in names}
                | {name: of[i] for name, of in wanted.request.items()}
                for i in chosen
            ]
            at = instant(max(self._instant(view.marker) for view in found.views))
            writer.add(served_key(self._namespace, found.service), served_rows(found, chosen, given, at), len(chosen))

    def _load(self) -> Steps[_Schema]:
        ((document,),) = yield [Fetch([registry_key(self._namespace).encode()])]
        if document is None:
            raise NamespaceError(
                f"nothing was ever published in the namespace '{self._namespace}' of {self._address}",
                "run `syncer sync`, or name the right namespace (<project>_<target> by default)",
            )
        found = revision(document).encode()
        schema = self._schema
        if schema is None or schema.revision != found:
            published = from_document(document, registry_key(self._namespace))
            schema = self._schema = _Schema(self._pinned or published, published, found)
        return schema

    def _plan(self, schema: _Schema, service: str) -> ServicePlan:
        plan = schema.plans.get(service)
        if plan is None:
            found = find_service(schema.registry.services, service)
            self._check_pinned(schema, found)
            try:
                plan = schema.plans[service] = ServicePlan(schema.registry, found, self._namespace)
            except DefinitionError as error:
                raise type(error)(
                    f"{found.id} cannot be read by '{registry_key(self._namespace)}': {error.message}",
                    "where a later feature-warehouse published it, upgrade this one",
                ) from error
            for view in plan.views:
                self._warn(found.id, view)
        return plan

    def _check_pinned(self, schema: _Schema, service: FeatureService) -> None:
        """Raises NamespaceError where the namespace shows a service other than the pinned registry has it."""
        others = contradictions(schema.registry, schema.published, service) if self._pinned else []
        if others:
            raise NamespaceError(
                f"the registry in '{self._namespace}' contradicts the pinned one: {'; '.join(others)}",
                "pin the registry of the commit that syncs into this namespace, or read another namespace",
            )

    def _warn(self, service: str, view: FeatureView) -> None:
        """Once per client that a service reads a version which is to go."""
        if view.deprecation_date is not None and (service, view.id) not in self._warned:
            self._warned.add((service, view.id))
            warnings.warn(
                f"{service} reads {view.id}, which is deprecated from {view.deprecation_date} on: move to a version of "
                "the service that reads a newer one",
                FutureWarning,
                stacklevel=6,  # the caller of get_online_features
            )

    def _instant(self, marker: Marker) -> int:
        """What ttl and staleness of a view are judged by, in microseconds."""
        if self._as_of is not None:
            return self._as_of
        if marker.clock == "fixed" and marker.as_of is not None:
            return microseconds(marker.as_of)
        return time.time_ns() // 1_000

    def _tell(self, found: ViewFeatures) -> None:
        """Once per sync that is overdue, and not with every read."""
        view, as_of = found.item.view, found.marker.as_of
        if as_of is not None and self._told.get(view.id) != as_of:
            self._told[view.id] = as_of
            _log.warning(
                "%s in '%s' is stale: last synced at %s, expected every %s",
                view.id,
                self._namespace,
                as_of.isoformat(),
                view.expected_every,
            )


def writer(url: str, timeout: float, log: ServedLog | None) -> ServedWriter | None:
    """What writes the rows that are served to the Redis of ``url``; None: nobody asked for it."""

    def connect() -> Stream:
        from feature_warehouse.store.store import Store

        return Store(url, timeout)

    return None if log is None else ServedWriter(connect, log)


def chunks(entity_rows: Iterable[Mapping[str, object]], chunk_rows: int) -> Iterator[Rows]:
    if chunk_rows < 1:  # which would read as the end of the rows
        raise RequestError(f"chunk_rows={chunk_rows!r} is no number of rows", "give 1 or more")
    rows = iter(entity_rows)
    while chunk := list(islice(rows, chunk_rows)):
        yield chunk


def listed(entity_rows: Rows) -> Rows:
    """The rows as a list; one mapping is one row."""
    if isinstance(entity_rows, Mapping):
        return [entity_rows]
    if isinstance(entity_rows, list | tuple):
        return entity_rows
    try:
        return list(entity_rows)
    except TypeError:
        raise RequestError(
            f"entity_rows is {entity_rows!r} ({type(entity_rows).__name__})",
            "give a list with one mapping per row: [{'origin': 'EWR', ...}]",
        ) from None
