"""The reading client: features of a service for some entities, in one round trip; sync, and for asyncio.

Needs redis and protobuf alone. What is served and how it is encoded it learns from Redis; the revision that comes back
with every read says when to learn it anew. Everything but the I/O is in ``_Reader``, whose steps both clients take.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import get_args

from feature_warehouse.client.reading import OnlineFeatures, OnStale, ReadPlan, ServicePlan, ViewFeatures, find_service
from feature_warehouse.client.served import ServedLog, ServedWriter, served_rows
from feature_warehouse.errors import NamespaceError, RequestError, SyncerError
from feature_warehouse.registry import document as registry_module
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.store.connect import TIMEOUT_SECONDS
from feature_warehouse.store.fetch import AsyncFetcher, Fetch, Fetcher, Steps
from feature_warehouse.store.store import Store
from feature_warehouse.wire.decode import instant, microseconds
from feature_warehouse.wire.keyspace import check_namespace, registry_key, served_key
from feature_warehouse.wire.marker import Marker

_log = logging.getLogger(__name__)

#: Rows in one read of a batch.
CHUNK_ROWS = 2_000

Rows = Sequence[Mapping[str, object]]
Request = Mapping[str, object]

NO_REQUEST: Request = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Schema:
    """The registry that a namespace serves, and the plans of the services that were read since."""

    registry: Registry
    revision: bytes
    plans: dict[str, ServicePlan] = field(default_factory=dict)


class _Reader:
    """What both clients share: what to ask Redis for, and what to make of it."""

    def __init__(
        self, namespace: str, as_of: datetime | None, on_stale: OnStale, address: str, log: ServedWriter | None
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
        (*texts, revision), *_ = values = yield wanted.fetches
        if revision != schema.revision:
            schema = yield from self._load()
            plan = self._plan(schema, service)
            wanted = plan.plan(rows, request)
            (*texts, revision), *_ = values = yield wanted.fetches
        found = plan.assemble(wanted, values, plan.markers(texts), self._instant, self._on_stale)
        plan.compute(found, wanted)
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
                {**{name: rows[i][name] for name in names}, **{name: of[i] for name, of in wanted.request.items()}}
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
        revision = registry_module.revision(document).encode()
        schema = self._schema
        if schema is None or schema.revision != revision:
            schema = self._schema = _Schema(registry_module.from_document(document), revision)
        return schema

    def _plan(self, schema: _Schema, service: str) -> ServicePlan:
        plan = schema.plans.get(service)
        if plan is None:
            found = find_service(schema.registry.services, service)
            plan = schema.plans[service] = ServicePlan(schema.registry, found, self._namespace)
            for view in plan.views:
                self._warn(found.id, view)
        return plan

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


class FeatureClient:
    """Reads the features of one namespace; safe to share between threads.

    >>> client = FeatureClient("redis://localhost:6379/0", "feature_warehouse_dev")
    >>> client.get_online_features("departure_delay", [{"tailnum": "N14228", "origin": "EWR", ...}]).rows()
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        as_of: datetime | None = None,
        timeout: float = TIMEOUT_SECONDS,
        on_stale: OnStale = "warn",
        replicas: bool = False,
        log: ServedLog | None = None,
    ) -> None:
        """``as_of``: the instant that ttl and staleness are judged by; default: the real time, or that of the last sync
        where its clock was fixed. ``timeout``: seconds without progress. ``on_stale``: for a view that was not synced
        in 1.5 of its intervals: ``warn`` serves what is there, with the status stale, and logs it once; ``null`` gives
        None; ``raise`` a StaleError. ``replicas``: read from the replicas of a Sentinel service or a Cluster. ``log``:
        keep a sample of what is served for `syncer audit`; written behind the reads, and what is left by ``close``.
        """
        self.namespace = check_namespace(namespace)
        self._fetcher = Fetcher(url, timeout, replicas=replicas)
        self._reader = _Reader(namespace, as_of, on_stale, self._fetcher.address, _writer(url, timeout, log))

    def get_online_features(self, service: str, entity_rows: Rows, request: Request = NO_REQUEST) -> OnlineFeatures:
        """The latest features of ``service`` ('departure_delay', or one version: 'departure_delay@1') for each row.

        ``entity_rows``: one mapping per row with the join keys, under the names that the service gives them; other
        names are ignored. ``request``: request values of the service for all rows; a row's own go first. On-demand
        features are computed from them where DuckDB is installed. Raises RequestError (unknown service, missing or
        wrong key or request value, an expression that fails), NamespaceError (never synced), StaleError and StoreError.
        """
        return self._fetcher.run(self._reader.read(service, _listed(entity_rows), request))

    def iter_online_features(
        self,
        service: str,
        entity_rows: Iterable[Mapping[str, object]],
        request: Request = NO_REQUEST,
        *,
        chunk_rows: int = CHUNK_ROWS,
    ) -> Iterator[OnlineFeatures]:
        """The same for any number of rows, ``chunk_rows`` at a time: no more of them are in memory.

        Each chunk is a read of its own, so a long run may see a new registry or a new sync on its way.
        """
        for chunk in _chunks(entity_rows, chunk_rows):
            yield self.get_online_features(service, chunk, request)

    def close(self) -> None:
        if self._reader.served is not None:
            self._reader.served.close()
        self._fetcher.close()

    def __enter__(self) -> FeatureClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncFeatureClient:
    """The same for asyncio: any number of tasks of one event loop may share it.

    >>> async with AsyncFeatureClient("redis://localhost:6379/0", "feature_warehouse_dev") as client:
    ...     found = await client.get_online_features("departure_delay", [{"tailnum": "N14228", "origin": "EWR", ...}])
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        as_of: datetime | None = None,
        timeout: float = TIMEOUT_SECONDS,
        on_stale: OnStale = "warn",
        replicas: bool = False,
        log: ServedLog | None = None,
    ) -> None:
        """As ``FeatureClient``."""
        self.namespace = check_namespace(namespace)
        self._fetcher = AsyncFetcher(url, timeout, replicas=replicas)
        self._reader = _Reader(namespace, as_of, on_stale, self._fetcher.address, _writer(url, timeout, log))

    async def get_online_features(
        self, service: str, entity_rows: Rows, request: Request = NO_REQUEST
    ) -> OnlineFeatures:
        """As ``FeatureClient.get_online_features``."""
        return await self._fetcher.run(self._reader.read(service, _listed(entity_rows), request))

    async def iter_online_features(
        self,
        service: str,
        entity_rows: Iterable[Mapping[str, object]],
        request: Request = NO_REQUEST,
        *,
        chunk_rows: int = CHUNK_ROWS,
    ) -> AsyncIterator[OnlineFeatures]:
        """As ``FeatureClient.iter_online_features``."""
        for chunk in _chunks(entity_rows, chunk_rows):
            yield await self.get_online_features(service, chunk, request)

    async def close(self) -> None:
        if self._reader.served is not None:
            await asyncio.to_thread(self._reader.served.close)
        await self._fetcher.close()

    async def __aenter__(self) -> AsyncFeatureClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _writer(url: str, timeout: float, log: ServedLog | None) -> ServedWriter | None:
    return None if log is None else ServedWriter(partial(Store, url, timeout), log)


def _chunks(entity_rows: Iterable[Mapping[str, object]], chunk_rows: int) -> Iterator[Rows]:
    if chunk_rows < 1:  # which would read as the end of the rows
        raise RequestError(f"chunk_rows={chunk_rows!r} is no number of rows", "give 1 or more")
    rows = iter(entity_rows)
    while chunk := list(islice(rows, chunk_rows)):
        yield chunk


def _listed(entity_rows: Rows) -> Rows:
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
