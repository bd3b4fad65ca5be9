"""A namespace as a sync would leave it, written straight into a Redis: for tests that are about reading alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from types import TracebackType
from typing import Any

import redis

from feature_warehouse.registry.document import Registry, register, revision, to_document
from feature_warehouse.registry.feature import FeatureService, FeatureView
from feature_warehouse.wire.decode import message_class, microseconds
from feature_warehouse.wire.keyspace import entity_key, field_name, markers_key, registry_key
from feature_warehouse.wire.marker import REVISION, Marker

NAMESPACE = "shop_dev"

_LISTS = (list, tuple)


class Served:
    """What Redis holds for readers; ``now`` is when everything was synced last."""

    def __init__(self, url: str, views: Sequence[FeatureView], services: Sequence[FeatureService]) -> None:
        self.url = url
        self.now = datetime.now(timezone.utc)
        self.server: Any = redis.Redis.from_url(url)
        self.registry = Registry("shop")
        self.publish(views, services)
        for view in self.registry.views.values():
            self.mark(view)

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()

    def publish(self, views: Sequence[FeatureView], services: Sequence[FeatureService]) -> None:
        declared = {view.id: view for view in views}
        self.registry, _ = register(self.registry, declared, {service.id: service for service in services})
        document = to_document(self.registry, "dev")
        with self.server.pipeline() as pipe:
            pipe.set(registry_key(NAMESPACE), document)
            pipe.hset(markers_key(NAMESPACE), REVISION, revision(document))
            pipe.execute()

    def mark(self, view: FeatureView, **facts: Any) -> None:
        """The marker of a view: synced now, whole, unless ``facts`` say else."""
        known = {"state": "done", "token": "0" * 16, "as_of": self.now, "complete_through": view.highest_number}
        marker = Marker(entity=view.entity.name, **{**known, **facts})
        self.server.hset(markers_key(NAMESPACE), field_name(view.name, view.version), marker.to_bytes())

    def put(self, id_: str, keys: dict[str, Any], *, age: timedelta = timedelta(), **features: Any) -> None:
        """One row; ``age``: of its event time, when everything was synced."""
        view = self.registry.views[id_]
        field = field_name(view.name, view.version)
        self.server.hset(entity_key(NAMESPACE, view.entity, keys), field, message(view, self.now - age, **features))


def message(view: FeatureView, event_time: datetime, **features: Any) -> bytes:
    made: Any = message_class(view)(event_time=microseconds(event_time))
    for name, value in features.items():
        if isinstance(value, _LISTS):
            getattr(made, name).SetInParent()
            getattr(made, name).values.extend(value)
        elif value is not None:
            setattr(made, name, value)
    return bytes(made.SerializeToString())


def deprecated(view: FeatureView, day: date) -> FeatureView:
    return replace(view, deprecation_date=day)
