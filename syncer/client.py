"""The reading client: features of a service for some entities, in one round trip.

Needs redis and protobuf alone. What is served and how it is encoded it learns from Redis; the revision that comes back
with every read says when to learn it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from syncer import registry as registry_module
from syncer.connect import TIMEOUT_SECONDS
from syncer.decode import Decoder
from syncer.errors import NamespaceError, RequestError
from syncer.fetch import Fetcher
from syncer.keyspace import check_namespace, field_name, markers_key, registry_key
from syncer.marker import REVISION, Marker, read_marker
from syncer.reading import OnlineFeatures, ReadPlan, assemble, check_markers, find_service, plan_read
from syncer.registry import Registry


@dataclass(frozen=True, slots=True)
class _Schema:
    """The registry that a namespace serves, with what decodes its messages."""

    registry: Registry
    revision: str
    decoders: Mapping[str, Decoder]


class FeatureClient:
    """Reads the features of one namespace; safe to share between threads.

    >>> client = FeatureClient("redis://localhost:6379/0", "feature_warehouse_dev")
    >>> client.get_online_features("departure_delay", [{"tailnum": "N14228", "origin": "EWR", ...}]).rows()
    """

    def __init__(
        self, url: str, namespace: str, *, now: datetime | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """``now``: the instant that ttl is judged by; default: the real time, or that of the last sync where its clock
        was fixed. ``timeout``: seconds.
        """
        if now is not None and now.tzinfo is None:
            raise ValueError(f"now={now!r} has no time zone; give datetime(..., tzinfo=timezone.utc)")
        self.namespace = check_namespace(namespace)
        self._now = now
        self._store = Fetcher(url, timeout)
        self._schema: _Schema | None = None

    def get_online_features(self, service: str, entity_rows: Sequence[Mapping[str, object]]) -> OnlineFeatures:
        """The latest features of ``service`` ('departure_delay', or one version: 'departure_delay@1') for each row.

        ``entity_rows``: one mapping per row with the join keys, under the names that the service gives them; other
        names are ignored. Raises RequestError (unknown service, missing or wrong key), NamespaceError (never synced)
        and StoreError.
        """
        if isinstance(entity_rows, Mapping):
            entity_rows = [entity_rows]
        remembered = self._schema
        schema = remembered or self._load()
        try:
            plan = self._plan(schema, service, entity_rows)
        except RequestError:
            if remembered is None:
                raise
            schema = self._load()  # what is asked for may have been published since
            plan = self._plan(schema, service, entity_rows)
        markers, revision, replies = self._fetch(plan)
        if revision != schema.revision:
            schema = self._load()
            plan = self._plan(schema, service, entity_rows)
            markers, _, replies = self._fetch(plan)
        check_markers(plan, markers, self.namespace)
        now = {view.id: self._instant(markers[field_name(view.name, view.version)]) for view in plan.views}
        return assemble(plan, replies, schema.decoders, now)

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> FeatureClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plan(self, schema: _Schema, service: str, entity_rows: Sequence[Mapping[str, object]]) -> ReadPlan:
        return plan_read(schema.registry, find_service(schema.registry.services, service), self.namespace, entity_rows)

    def _fetch(self, plan: ReadPlan) -> tuple[dict[str, Marker | None], str | None, list[list[bytes | None]]]:
        """(marker by field, revision of the registry, replies to the plan's fetches)."""
        fields = list(dict.fromkeys(field_name(view.name, view.version) for view in plan.views))
        (*texts, revision), *replies = self._store.read(
            [(markers_key(self.namespace), [*fields, REVISION]), *plan.fetches]
        )
        markers = {field: read_marker(field, text) for field, text in zip(fields, texts, strict=True)}
        return markers, revision.decode() if revision else None, replies

    def _instant(self, marker: Marker | None) -> datetime:
        if self._now is not None:
            return self._now
        fixed = marker.as_of if marker is not None and marker.clock == "fixed" else None
        return fixed or datetime.now(timezone.utc)

    def _load(self) -> _Schema:
        document = self._store.get(registry_key(self.namespace))
        if document is None:
            raise NamespaceError(
                f"nothing was ever published in the namespace '{self.namespace}' of {self._store.address}",
                "run `syncer sync`, or name the right namespace (<project>_<target> by default)",
            )
        revision = registry_module.revision(document)
        if self._schema is None or self._schema.revision != revision:
            registry = registry_module.from_document(document)
            decoders = {id_: Decoder(view) for id_, view in registry.views.items()}
            self._schema = _Schema(registry, revision, decoders)
        return self._schema
