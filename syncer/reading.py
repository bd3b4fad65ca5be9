"""Planning and assembling an online read; no I/O.

A plan says which fields of which keys to fetch, each entity once however many rows and views want it. Assembling turns
the replies into values with a status each. The sync and the async client share all of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from syncer.decode import Decoder
from syncer.errors import NamespaceError, RequestError, closest
from syncer.feature import FeatureService, FeatureView, is_expired
from syncer.keyspace import entity_key, field_name
from syncer.marker import Marker
from syncer.registry import Registry

#: Each value's status.
PRESENT, NULL, MISSING, EXPIRED = "present", "null", "missing", "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineFeatures:
    """What a read gave: N rows in the order of the request, one value and one status per feature.

    A status is ``present``; ``null`` (the newest row has no value), ``missing`` (the entity is not online) or
    ``expired`` (older than its ttl): these three come with the value None.
    """

    service: str  # its id, with the version that answered: departure_delay@2
    names: tuple[str, ...]
    values: tuple[tuple[object, ...], ...]  # N rows x len(names)
    statuses: tuple[tuple[str, ...], ...]  # likewise
    not_computed: tuple[str, ...] = ()  # on-demand features, which this client leaves to its caller

    def rows(self) -> list[dict[str, object]]:
        """One {feature: value} per row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.values]

    def to_dict(self) -> dict[str, list[object]]:
        """{feature: [value of each row]}."""
        return {name: [row[i] for row in self.values] for i, name in enumerate(self.names)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """``fetches``: (key, fields), to be answered in this order.

    ``places``: per row and view, (fetch, field in it), or None where the row names no entity.
    """

    service: FeatureService
    views: tuple[FeatureView, ...]  # per view of the service
    fetches: tuple[tuple[str, tuple[str, ...]], ...]
    places: tuple[tuple[tuple[int, int] | None, ...], ...]


def find_service(services: Mapping[str, FeatureService], wanted: str) -> FeatureService:
    """'departure_delay@1' -> that version of ``services``; 'departure_delay' -> the latest. Raises RequestError."""
    named = [service for service in services.values() if wanted in (service.id, service.name)]
    if not named:
        raise RequestError(f"there is no feature service '{wanted}'", closest(wanted, services, "there are"))
    return max(named, key=lambda service: service.version)


def plan_read(
    registry: Registry, service: FeatureService, namespace: str, entity_rows: Sequence[Mapping[str, object]]
) -> ReadPlan:
    """What to fetch for ``entity_rows``. Raises RequestError, naming service and row, for missing or wrong keys."""
    views = tuple(registry.views[read.view] for read in service.views)
    wanted: dict[str, dict[str, int]] = {}  # key -> field -> place in its fetch
    found: list[list[tuple[str, int] | None]] = []
    for position, row in enumerate(entity_rows):
        placed: list[tuple[str, int] | None] = []
        for read, view in zip(service.views, views, strict=True):
            names = {key.name: read.keys.get(key.name, key.name) for key in view.entity.join_keys}
            for name in names.values():
                if name not in row:
                    raise RequestError(
                        f"{service.id}, row {position}: '{name}' is missing (it finds {view.id})",
                        f"give {', '.join(request_names(registry, service))}",
                    )
            if any(row[name] is None for name in names.values()):
                placed.append(None)  # a NULL key matches nothing, as in training
                continue
            try:
                key = entity_key(namespace, view.entity, {key: row[name] for key, name in names.items()})
            except RequestError as error:
                raise RequestError(f"{service.id}, row {position}: {error.message}", error.hint) from None
            fields = wanted.setdefault(key, {})
            placed.append((key, fields.setdefault(field_name(view.name, view.version), len(fields))))
        found.append(placed)
    order = {key: i for i, key in enumerate(wanted)}
    return ReadPlan(
        service=service,
        views=views,
        fetches=tuple((key, tuple(fields)) for key, fields in wanted.items()),
        places=tuple(tuple(at and (order[at[0]], at[1]) for at in placed) for placed in found),
    )


def request_names(registry: Registry, service: FeatureService) -> list[str]:
    """What an entity row of ``service`` has to name, in the order of its views."""
    names = (
        read.keys.get(key.name, key.name)
        for read in service.views
        for key in registry.views[read.view].entity.join_keys
    )
    return list(dict.fromkeys(names))


def check_markers(plan: ReadPlan, markers: Mapping[str, Marker | None], namespace: str) -> None:
    """Raises NamespaceError when a view of the plan was never synced, or not with all the features asked for."""
    for read, view in zip(plan.service.views, plan.views, strict=True):
        marker = markers.get(field_name(view.name, view.version))
        if marker is None or marker.as_of is None:
            raise NamespaceError(
                f"{plan.service.id}: {view.id} was never completely synced into '{namespace}'", "run `syncer sync`"
            )
        for feature in view.numbered:
            if feature.name in read.features and (feature.number or 0) > marker.complete_through:
                raise NamespaceError(
                    f"{plan.service.id}: '{feature.name}' of {view.id} is registered, but not yet synced into "
                    f"'{namespace}'",
                    "run `syncer sync`",
                )


def assemble(
    plan: ReadPlan,
    replies: Sequence[Sequence[bytes | None]],
    decoders: Mapping[str, Decoder],
    now: Mapping[str, datetime],
) -> OnlineFeatures:
    """The values of a read. ``replies``: per fetch, per field; ``decoders`` and ``now``: by view id."""
    decoded: dict[tuple[tuple[int, int] | None, str], tuple[dict[str, object], str]] = {}
    values: list[tuple[object, ...]] = []
    statuses: list[tuple[str, ...]] = []
    for placed in plan.places:
        row_values: list[object] = []
        row_statuses: list[str] = []
        for read, view, at in zip(plan.service.views, plan.views, placed, strict=True):
            if (at, view.id) not in decoded:
                message = None if at is None else replies[at[0]][at[1]]
                decoded[at, view.id] = _decode(message, view, decoders[view.id], now[view.id])
            features, status = decoded[at, view.id]
            for name in read.features:
                value = features.get(name)
                row_values.append(value)
                row_statuses.append(NULL if status == PRESENT and value is None else status)
        values.append(tuple(row_values))
        statuses.append(tuple(row_statuses))
    return OnlineFeatures(
        service=plan.service.id,
        names=tuple(_names(plan.service)),
        values=tuple(values),
        statuses=tuple(statuses),
        not_computed=tuple(feature.name for feature in plan.service.on_demand),
    )


def _decode(message: bytes | None, view: FeatureView, decoder: Decoder, now: datetime) -> tuple[dict[str, object], str]:
    if message is None:
        return {}, MISSING
    event_time, features = decoder.decode(message)
    return ({}, EXPIRED) if is_expired(event_time, view.ttl, now) else (features, PRESENT)


def _names(service: FeatureService) -> Iterator[str]:
    for read in service.views:
        for name in read.features:
            yield read.prefix + name
