"""Redis as the reading client sees it: fields of hashes, in one round trip.

Knows connections and the library's pipeline, also that of a Cluster; knows nothing of features.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import redis

from syncer.connect import locate
from syncer.failure import refused, translated, words_of


class Fetcher:
    """The Redis of a URL. Connects when first used; safe to share between threads."""

    def __init__(self, url: str, timeout: float) -> None:
        """``url``: in one of the forms of ``syncer.connect``; ``timeout``: seconds. Raises StoreError."""
        self._place = locate(url, timeout)
        self._connected: Any = None
        self._lock = threading.Lock()
        self.address = self._place.address

    @property
    def _client(self) -> Any:
        with self._lock, translated(self.address):
            if self._connected is None:
                self._connected = self._place.connect()
            return self._connected

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()

    def get(self, key: str) -> bytes | None:
        with translated(self.address, key):
            value: bytes | None = self._client.get(key)
            return value

    def read(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[list[bytes | None]]:
        """For each (key, fields) the fields' values; all in one round trip."""
        with translated(self.address), self._client.pipeline(transaction=False) as pipe:
            for key, fields in wanted:
                pipe.execute_command("HMGET", key, *fields)
            replies: list[Any] = pipe.execute(raise_on_error=False)
        for (key, _), reply in zip(wanted, replies, strict=True):
            if isinstance(reply, redis.ResponseError):
                raise refused(words_of(reply), self.address, key)
        return replies
