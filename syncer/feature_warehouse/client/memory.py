"""The reading client over rows in memory: for the tests of a service, which need no Redis, no dbt and no sync.

Everything but the fetching is the real client's: the registry, the checks of names, keys, types and request values, the
messages, the statuses, the on-demand expressions. What a service reads here, it reads from Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from os import PathLike
from pathlib import Path
from typing import Any

from feature_warehouse.client.async_client import AsyncFeatureClient
from feature_warehouse.client.client import FeatureClient
from feature_warehouse.client.plan import OnStale
from feature_warehouse.client.reader import Reader
from feature_warehouse.client.request import request_value
from feature_warehouse.errors import RequestError, closest, shown
from feature_warehouse.registry.document import Registry, pinned_registry, revision, to_document
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.types import feature_type
from feature_warehouse.store.async_fetcher import AsyncFetcher
from feature_warehouse.store.fetch import Fetch, Values
from feature_warehouse.store.fetcher import NO_DEADLINE, Fetcher
from feature_warehouse.store.timeouts import Deadline
from feature_warehouse.wire.keyspace import check_namespace, entity_key, field_name, markers_key, registry_key
from feature_warehouse.wire.marker import REVISION, Marker
from feature_warehouse.wire.message import MessageWriter

Row = Mapping[str, object]

#: What a fetcher is called with and never speaks to.
_NO_SERVER = "redis://memory"


class _MemoryFetcher(Fetcher):
    def __init__(self, memory: _Memory) -> None:
        super().__init__(_NO_SERVER)
        self._memory = memory

    def fetch(self, wanted: Sequence[Fetch], deadline: Deadline = NO_DEADLINE) -> list[Values]:
        return self._memory.values(wanted)


class _AsyncMemoryFetcher(AsyncFetcher):
    def __init__(self, memory: _Memory) -> None:
        super().__init__(_NO_SERVER)
        self._memory = memory

    async def fetch(self, wanted: Sequence[Fetch]) -> list[Values]:
        await asyncio.sleep(0)  # as with a server, other tasks have their turn
        return self._memory.values(wanted)


class _InMemory:
    """What both clients take beside reads: rows to serve."""

    _fetched_by: type[Any]

    def __init__(
        self,
        registry: str | PathLike[str],
        *,
        namespace: str = "testing",
        as_of: datetime | None = None,
        on_stale: OnStale = "warn",
    ) -> None:
        """``registry``: the path of a registry.json. ``as_of``, ``on_stale``: as for ``FeatureClient``.

        Every view of it is there, synced just now and without rows. Raises RegistryError when it cannot be read.
        """
        self.namespace = check_namespace(namespace)
        self._memory = _Memory(pinned_registry(Path(registry)), namespace, as_of)
        self._fetcher = self._fetched_by(self._memory)
        self._reader = Reader(namespace, as_of, on_stale, self._fetcher.address, None)

    def put(self, view: str, rows: Row | Iterable[Row], *, synced_at: datetime | None = None) -> None:
        """Serves ``rows`` of a view ('orders.v2'; 'orders': its newest version) from now on.

        Each has the join keys by their own names and any of the features, in Python's types or as texts: those that are
        not named are NULL. It replaces what was there of its entity. Its event time, under the view's name for it, is
        that of the client's clock where it is not named. ``synced_at``: when the view was synced last; None: just now.
        Raises RequestError, naming row and column, for what a sync would never have written; no row is then put.
        """
        self._memory.put(view, [rows] if isinstance(rows, Mapping) else rows, synced_at)

    def clear(self) -> None:
        """Forgets all rows."""
        self._memory.clear()


class InMemoryFeatureClient(_InMemory, FeatureClient):
    """A ``FeatureClient`` of rows that a test puts in.

    >>> client = InMemoryFeatureClient("registry/registry.json")
    >>> client.put("route_history", {"origin": "EWR", "dest": "CLT", "flights_28d": 337})
    >>> client.get_online_features("departure_delay", [{"origin": "EWR", "dest": "CLT", ...}]).rows()
    """

    _fetched_by = _MemoryFetcher


class InMemoryAsyncFeatureClient(_InMemory, AsyncFeatureClient):
    """The same for a service on an event loop: an ``AsyncFeatureClient``."""

    _fetched_by = _AsyncMemoryFetcher


class _Memory:
    """What Redis would hold of one namespace."""

    def __init__(self, registry: Registry, namespace: str, as_of: datetime | None) -> None:
        self._namespace, self._as_of = namespace, as_of
        self._views = registry.views
        self._fields = {field_name(view.name, view.version).encode(): view for view in registry.views.values()}
        self._document = to_document(registry, "testing")
        self._messages: dict[bytes, dict[bytes, bytes]] = {}  # by key and field
        self._synced: dict[str, datetime] = {}  # by view id, where not just now

    def put(self, view: str, rows: Iterable[Row], synced_at: datetime | None) -> None:
        declared = self._declared(view)
        writer, field = MessageWriter(declared), field_name(declared.name, declared.version).encode()
        written = [_written(self._namespace, declared, writer, row, self._now(), at) for at, row in enumerate(rows)]
        for key, message in written:
            self._messages.setdefault(key, {})[field] = message
        self._synced.pop(declared.id, None)
        if synced_at is not None:
            self._synced[declared.id] = synced_at

    def clear(self) -> None:
        self._messages.clear()
        self._synced.clear()

    def values(self, wanted: Sequence[Fetch]) -> list[Values]:
        """As the server answers HMGET and GET."""
        return [self._answer(fetch) for fetch in wanted]

    def _answer(self, fetch: Fetch) -> Values:
        if not fetch.fields:
            document = registry_key(self._namespace).encode()
            return [self._document if key == document else None for key in fetch.keys]
        if list(fetch.keys) == [markers_key(self._namespace).encode()]:
            return [self._marker(field) for field in fetch.fields]
        return [self._messages.get(key, {}).get(field) for key in fetch.keys for field in fetch.fields]

    def _marker(self, field: bytes) -> bytes:
        if field == REVISION.encode():
            return revision(self._document).encode()
        view = self._fields[field]
        return Marker(
            entity=view.entity.name,
            state="done",
            as_of=self._synced.get(view.id) or self._now(),
            complete_through=view.highest_number,
        ).to_bytes()

    def _now(self) -> datetime:
        return self._as_of or datetime.now(timezone.utc)

    def _declared(self, wanted: str) -> FeatureView:
        """'orders.v2', or the newest version of 'orders'. Raises RequestError."""
        named = [view for view in self._views.values() if wanted in (view.id, view.name)]
        if not named:
            raise RequestError(f"there is no feature view '{wanted}'", closest(wanted, self._views, "there are"))
        return max(named, key=lambda view: view.version)


def _written(
    namespace: str, view: FeatureView, writer: MessageWriter, row: Row, now: datetime, position: int
) -> tuple[bytes, bytes]:
    """The key and the message of a row. Raises RequestError, naming view and row."""
    if not isinstance(row, Mapping):
        raise RequestError(
            f"{view.id}, row {position}: {shown(row)} ({type(row).__name__}) is no mapping", "give {column: value}"
        )
    columns = [*(key.name for key in view.entity.join_keys), view.event_timestamp, *(f.name for f in view.features)]
    try:
        for name in row:
            if name not in columns:
                raise RequestError(f"there is no column '{name}'", closest(name, columns, "there are"))
        key = entity_key(namespace, view.entity, row)
        values = {feature.name: _value(feature.name, row, feature.type) for feature in view.numbered}
        event_time = _value(view.event_timestamp, row, "timestamptz") or now
    except RequestError as error:
        raise RequestError(f"{view.id}, row {position}: {error.message}", error.hint) from None
    return key.encode(), writer.write(event_time, values)


def _value(name: str, row: Row, type_: str) -> Any:
    try:
        return request_value(row.get(name), feature_type(type_))
    except RequestError as error:
        raise RequestError(f"'{name}': {error.message}", error.hint) from None
