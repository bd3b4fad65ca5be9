"""The reading client: features of a service for some entities, in one round trip.

Needs redis and protobuf alone. ``reader`` has all of it but the I/O, which ``async_client`` does on an event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from os import PathLike
from typing import TypeVar

from feature_warehouse.client.features import OnlineFeatures
from feature_warehouse.client.plan import OnStale
from feature_warehouse.client.reader import CHUNK_ROWS, NO_REQUEST, Reader, Request, Rows, chunks, listed, writer
from feature_warehouse.client.served import ServedLog
from feature_warehouse.store.timeouts import TIMEOUT_SECONDS
from feature_warehouse.wire.keyspace import check_namespace

_Client = TypeVar("_Client", bound="FeatureClient")


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
        deadline: float | None = None,
        on_stale: OnStale = "warn",
        replicas: bool = False,
        log: ServedLog | None = None,
        registry: str | PathLike[str] | None = None,
    ) -> None:
        """``as_of``: the instant that ttl and staleness are judged by; default: the real time, or that of the last sync
        where its clock was fixed. ``timeout``: seconds without progress. ``deadline``: seconds for a whole read,
        however much comes; None: any. ``on_stale``: for a view that was not synced in 1.5 of its intervals: ``warn``
        serves what is there, with the status stale, and logs it once; ``null`` gives None; ``raise`` a StaleError.
        ``replicas``: read from the replicas of a Sentinel service or a Cluster. ``log``: keep a sample of what is
        served for `syncer audit`; written behind the reads, and what is left by ``close``. ``registry``: the path of a
        registry.json by which everything is read, in place of the one in Redis; RegistryError when it cannot be, and
        NamespaceError from a read where the two contradict each other.
        """
        # The library behind it takes longer to load than all of ours: not before there is a client.
        from feature_warehouse.store.fetcher import Fetcher

        self.namespace = check_namespace(namespace)
        self._fetcher = Fetcher(url, timeout, deadline=deadline, replicas=replicas)
        self._reader = Reader(namespace, as_of, on_stale, self._fetcher.address, writer(url, timeout, log), registry)

    def get_online_features(self, service: str, entity_rows: Rows, request: Request = NO_REQUEST) -> OnlineFeatures:
        """The latest features of ``service`` ('departure_delay', or one version: 'departure_delay@1') for each row.

        ``entity_rows``: one mapping per row with the join keys, under the names that the service gives them; other
        names are ignored. ``request``: request values of the service for all rows; a row's own go first. On-demand
        features are computed from them where DuckDB is installed. Raises RequestError (unknown service, missing or
        wrong key or request value, an expression that fails), NamespaceError (never synced), StaleError and StoreError.
        """
        return self._fetcher.run(self._reader.read(service, listed(entity_rows), request))

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
        for chunk in chunks(entity_rows, chunk_rows):
            yield self.get_online_features(service, chunk, request)

    def close(self) -> None:
        if self._reader.served is not None:
            self._reader.served.close()
        self._fetcher.close()

    def __enter__(self: _Client) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
