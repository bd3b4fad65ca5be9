"""The reading client on an event loop; ``client`` is the same without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from os import PathLike
from typing import TypeVar

from feature_warehouse.client.features import OnlineFeatures
from feature_warehouse.client.plan import OnStale
from feature_warehouse.client.reader import CHUNK_ROWS, NO_REQUEST, Reader, Request, Rows, chunks, listed, writer
from feature_warehouse.client.served import ServedLog
from feature_warehouse.store.timeouts import TIMEOUT_SECONDS
from feature_warehouse.wire.keyspace import check_namespace

_Client = TypeVar("_Client", bound="AsyncFeatureClient")


class AsyncFeatureClient:
    """Reads the features of one namespace; any number of tasks of one event loop may share it.

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
        deadline: float | None = None,
        on_stale: OnStale = "warn",
        replicas: bool = False,
        log: ServedLog | None = None,
        registry: str | PathLike[str] | None = None,
    ) -> None:
        """As ``FeatureClient``."""
        # The library behind it takes longer to load than all of ours: not before there is a client.
        from feature_warehouse.store.async_fetcher import AsyncFetcher

        self.namespace = check_namespace(namespace)
        self._fetcher = AsyncFetcher(url, timeout, deadline=deadline, replicas=replicas)
        self._reader = Reader(namespace, as_of, on_stale, self._fetcher.address, writer(url, timeout, log), registry)

    async def get_online_features(
        self, service: str, entity_rows: Rows, request: Request = NO_REQUEST
    ) -> OnlineFeatures:
        """As ``FeatureClient.get_online_features``."""
        return await self._fetcher.run(self._reader.read(service, listed(entity_rows), request))

    async def iter_online_features(
        self,
        service: str,
        entity_rows: Iterable[Mapping[str, object]],
        request: Request = NO_REQUEST,
        *,
        chunk_rows: int = CHUNK_ROWS,
    ) -> AsyncIterator[OnlineFeatures]:
        """As ``FeatureClient.iter_online_features``."""
        for chunk in chunks(entity_rows, chunk_rows):
            yield await self.get_online_features(service, chunk, request)

    async def close(self) -> None:
        if self._reader.served is not None:
            await asyncio.to_thread(self._reader.served.close)
        await self._fetcher.close()

    async def __aenter__(self: _Client) -> _Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
