"""Planning and assembling an online read; no I/O.

A ``ServicePlan`` is made once for each service that is read. It says which fields of which keys a read of some rows has
to fetch, each entity once however many rows and roles want it, and turns the values that came into ``OnlineFeatures``.
The sync and the async client share all of this.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from feature_warehouse.client.features import ComputedFeatures, OnlineFeatures, ServiceItem, ViewFeatures
from feature_warehouse.client.request import request_columns
from feature_warehouse.errors import DefinitionError, NamespaceError, RequestError, StaleError, StoreError, shown
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import STALE_FACTOR, Entity, FeatureService, FeatureView, ServiceView, stale_age
from feature_warehouse.registry.types import feature_type, key_type
from feature_warehouse.store.fetch import PART_KEYS, Fetch, Steps, Values
from feature_warehouse.wire.decode import BatchDecoder, Columns, microseconds
from feature_warehouse.wire.keyspace import entity_key, entity_keys, field_name, is_missing, markers_key
from feature_warehouse.wire.marker import REVISION, Marker, read_marker

if TYPE_CHECKING:
    from feature_warehouse.client.ondemand import OnDemand

#: What to make of the values of a view that was not synced in time: say so, withhold them, or raise an error.
OnStale = Literal["warn", "null", "raise"]

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Role:
    """One way in which rows name an entity, and what is read of it by that name."""

    entity: Entity
    names: tuple[str, ...]  # what the rows call its join keys
    fields: tuple[bytes, ...]
    items: tuple[int, ...]  # of the service


@dataclass(frozen=True, slots=True)
class _Keys:
    """What a read asks of one entity: all its keys, each once, and per role the key of each row.

    -1: the row names none; None: row i has key i.
    """

    keys: Sequence[bytes]
    fetches: range  # whose keys they are
    rows: Sequence[Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What one read fetches: the markers first, then entities; the markers once more where that takes several parts."""

    rows: int
    fetches: Sequence[Fetch]
    entities: Sequence[_Keys]
    request: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # {request value: one per row}


def _engine(service: FeatureService, views: Mapping[str, FeatureView]) -> OnDemand | None:
    """What computes the on-demand features; None where there are none, or no DuckDB to do it."""
    if not service.on_demand:
        return None
    try:
        from feature_warehouse.client.ondemand import OnDemand
    except ImportError:
        return None
    return OnDemand(service, views)


class ServicePlan:
    """How one service is read from one namespace, as a registry declares it."""

    def __init__(self, registry: Registry, service: FeatureService, namespace: str) -> None:
        """Raises DefinitionError for a service that reads what the registry lacks, or what this version cannot read."""
        _check(service, registry.views)
        self.service = service
        self.views = tuple(registry.views[item.view] for item in service.views)
        self.namespace = namespace
        fields = [field_name(view.name, view.version) for view in self.views]
        versions = dict(zip(fields, self.views, strict=True))
        self.fields, self._versions = tuple(versions), tuple(versions.values())  # each once, of all roles
        self._seen: tuple[Sequence[bytes | None], Sequence[Marker]] = ([], [])
        self._markers = Fetch([markers_key(namespace).encode()], tuple(f.encode() for f in (*self.fields, REVISION)))
        self._entities = _roles(service, self.views)
        self._items = _items(service, self.views)
        self._engine = _engine(service, registry.views)
        self._not_computed = () if self._engine else tuple(feature.name for feature in service.on_demand)

    def plan(
        self, entity_rows: Sequence[Mapping[str, object]], request: Mapping[str, object] = MappingProxyType({})
    ) -> ReadPlan:
        """What to fetch for N rows. ``request``: request values for all rows; those in the rows go first.

        Raises RequestError, naming service and row, for missing or wrong keys and request values.
        """
        fetches, entities = [self._markers], []
        for roles in self._entities:
            made = [self._keys(role, entity_rows) for role in roles]
            entities.append(_place(roles, made, fetches))
        if sum(len(fetch.keys) for fetch in fetches) > PART_KEYS:
            fetches.append(self._markers)
        given = request_columns(self.service, entity_rows, request) if self._engine else {}
        return ReadPlan(len(entity_rows), fetches, entities, given)

    def compute(self, found: OnlineFeatures, plan: ReadPlan) -> Steps[None]:
        """Adds the on-demand features. Raises RequestError, naming feature and row, where an expression fails."""
        engine = self._engine
        if engine is not None:
            columns = {**found.to_dict(), **plan.request}
            values = yield engine.computation(columns, plan.rows)
            types = tuple(feature.type for feature in self.service.on_demand)
            found.computed = ComputedFeatures(engine.names, types, values, plan.rows, engine.reads, found.views)

    def _keys(self, role: _Role, rows: Sequence[Mapping[str, object]]) -> list[bytes | None]:
        try:
            return entity_keys(self.namespace, role.entity, role.names, rows)
        except (RequestError, LookupError, TypeError, ValueError) as error:
            for position, row in enumerate(rows):
                self._check_row(position, row)
            raise RequestError(f"{self.service.id}: the rows cannot be read: {shown(error)}", _A_MAPPING) from error

    def _check_row(self, position: int, row: object) -> None:
        """Raises RequestError for what is wrong with one row."""
        where = f"{self.service.id}, row {position}"
        if not isinstance(row, Mapping):
            raise RequestError(f"{where}: {shown(row)} ({type(row).__name__}) is no mapping", _A_MAPPING)
        for item, view in zip(self.service.views, self.views, strict=True):
            names = request_keys(item, view)
            for name in names.values():
                if name not in row:
                    raise RequestError(
                        f"{where}: '{name}' is missing (it finds {view.id})", f"give {', '.join(self.request_names)}"
                    )
            if not any(is_missing(row[name]) for name in names.values()):
                try:
                    entity_key(self.namespace, view.entity, {key: row[name] for key, name in names.items()})
                except RequestError as error:
                    raise RequestError(f"{where}: {error.message}", error.hint) from None

    @property
    def request_names(self) -> list[str]:
        """What an entity row has to name, in the order of the service's views."""
        items = zip(self.service.views, self.views, strict=True)
        return list(dict.fromkeys(name for item, view in items for name in request_keys(item, view).values()))

    def markers(self, texts: Sequence[bytes | None]) -> Sequence[Marker]:
        """The markers of ``fields``, from what Redis holds; the same texts are read once.

        Raises NamespaceError when a view was never synced, or not with all the features that the service reads.
        """
        seen, markers = self._seen
        if seen != texts:
            markers = [
                self._checked(view, read_marker(field, text, markers_key(self.namespace)))
                for field, text, view in zip(self.fields, texts, self._versions, strict=True)
            ]
            self._seen = texts, markers
        return markers

    def changing(self, plan: ReadPlan, values: Sequence[Values], markers: Sequence[Marker]) -> tuple[str, ...]:
        """The ids of views that a sync was writing while a read went on, as far as its markers tell."""
        last = self._markers is plan.fetches[-1]
        first, second = values[0], values[-1] if last else values[0]
        states = zip(self._versions, markers, first, second, strict=False)
        return tuple(view.id for view, marker, was, now in states if marker.state == "open" or was != now)

    def _checked(self, view: FeatureView, marker: Marker | None) -> Marker:
        if marker is None or marker.as_of is None:
            raise NamespaceError(
                f"{self.service.id}: {view.id} was never completely synced into '{self.namespace}'", "run `syncer sync`"
            )
        read = {name for item in self.service.views if item.view == view.id for name in item.features}
        for feature in view.numbered:
            if feature.name in read and (feature.number or 0) > marker.complete_through:
                raise NamespaceError(
                    f"{self.service.id}: '{feature.name}' of {view.id} is registered, but not yet synced into "
                    f"'{self.namespace}'",
                    "run `syncer sync`",
                )
        return marker

    def assemble(
        self,
        plan: ReadPlan,
        values: Sequence[Values],
        markers: Sequence[Marker],
        now: Callable[[Marker], int],
        on_stale: OnStale,
    ) -> OnlineFeatures:
        """The features of a read. ``values``: of the plan's fetches; ``markers``: of ``fields``.

        ``now``: the instant that ttl and staleness of a view are judged by, in microseconds since the epoch. Raises
        StoreError for a message that cannot be read, naming its key, and StaleError.
        """
        states = {field: (marker, now(marker)) for field, marker in zip(self.fields, markers, strict=True)}
        found: dict[int, ViewFeatures] = {}
        for roles, asked in zip(self._entities, plan.entities, strict=True):
            stored: dict[str, _Stored] = {}
            for role, rows in zip(roles, asked.rows, strict=True):
                for position in role.items:
                    item = self._items[position]
                    marker, instant = states[item.field]
                    kept = stored.get(item.field)
                    if kept is None:
                        messages = _messages(item.field_bytes, asked, plan.fetches, values)
                        kept = stored[item.field] = self._decode(item, messages, asked.keys, instant)
                    stale = self._is_stale(item, marker, instant, on_stale)
                    columns = kept.columns
                    if item.columns is not None:
                        columns = Columns(columns.event_times, [columns.features[i] for i in item.columns])
                    at = _through(rows, kept.stored)
                    valid = at if kept.valid is kept.stored else _through(rows, kept.valid)
                    withheld = stale and on_stale == "null"
                    found[position] = ViewFeatures(item, marker, stale, withheld, plan.rows, columns, at, valid)
        views = [found[position] for position in range(len(self._items))]
        return OnlineFeatures(self.service.id, views, plan.rows, self._not_computed)

    def _decode(self, item: ServiceItem, messages: Values, keys: Sequence[bytes], now: int) -> _Stored:
        places: list[int] | None = None
        there: Sequence[Any] = messages
        if None in messages:
            there = [message for message in messages if message is not None]
            keys = [key for key, message in zip(keys, messages, strict=True) if message is not None]
            count = iter(range(len(there)))
            places = [-1 if message is None else next(count) for message in messages]
        try:
            columns = item.decoder.decode(there, keys)
        except StoreError as error:
            raise StoreError(f"{self.service.id}: {error.message}", error.hint) from error
        times, ttl = columns.event_times, item.ttl
        if ttl is None or not times or now - min(times) <= ttl:
            return _Stored(columns, places, places)
        rows = range(len(times)) if places is None else places
        return _Stored(columns, places, [-1 if at < 0 or now - times[at] > ttl else at for at in rows])

    def _is_stale(self, item: ServiceItem, marker: Marker, now: int, on_stale: OnStale) -> bool:
        as_of = marker.as_of
        assert as_of is not None  # _checked
        if item.stale_age is None or now - microseconds(as_of) <= item.stale_age:
            return False
        if on_stale == "raise":
            raise StaleError(
                f"{self.service.id}: {item.view.id} was last synced at {as_of:%Y-%m-%dT%H:%M:%SZ}, which is longer ago "
                f"than {STALE_FACTOR} times {item.view.expected_every}",
                "see why `syncer sync` does not run; FeatureClient(on_stale='warn') serves what is there",
            )
        return True


@dataclass(slots=True)
class _Stored:
    """A view's messages for the keys of an entity; per key its message, -1: none, as in ``ViewFeatures``."""

    columns: Columns
    stored: Sequence[int] | None
    valid: Sequence[int] | None


def _check(service: FeatureService, views: Mapping[str, FeatureView]) -> None:
    """Raises DefinitionError for what a registry that was declared never has, and UnsupportedTypeError for types."""
    for item in service.views:
        if item.view not in views:
            raise DefinitionError(f"it reads {item.view}, which is not among the views")
        view = views[item.view]
        if missing := set(item.features) - {feature.name for feature in view.features}:
            raise DefinitionError(f"it reads {', '.join(sorted(missing))}, which {view.id} has not")
        for key in view.entity.join_keys:
            if key_type(key.type) != key.type:
                raise DefinitionError(f"the join key '{key.name}' is of the type {key.type}, which has another name")
    for type_ in (*service.request.values(), *(feature.type for feature in service.on_demand)):
        feature_type(type_)


def _items(service: FeatureService, views: Sequence[FeatureView]) -> list[ServiceItem]:
    read: dict[str, dict[str, None]] = {}
    for each in service.views:
        read.setdefault(each.view, {}).update(dict.fromkeys(each.features))
    decoders = {view.id: BatchDecoder(view, list(read[view.id])) for view in views}
    found = []
    for each, view in zip(service.views, views, strict=True):
        types = {feature.name: feature.type for feature in view.features}
        all_read = list(read[view.id])
        at = {name: position for position, name in enumerate(all_read)}
        every = view.expected_every
        found.append(
            ServiceItem(
                view=view,
                field=field_name(view.name, view.version),
                field_bytes=field_name(view.name, view.version).encode(),
                names=tuple(each.prefix + name for name in each.features),
                types=tuple(types[name] for name in each.features),
                decoder=decoders[view.id],
                columns=None if list(each.features) == all_read else tuple(at[name] for name in each.features),
                ttl=None if view.ttl is None else view.ttl // _MICROSECOND,
                stale_age=None if every is None else stale_age(every) // _MICROSECOND,
            )
        )
    return found


def _roles(service: FeatureService, views: Sequence[FeatureView]) -> list[list[_Role]]:
    """The roles of each entity."""
    items: dict[Entity, dict[tuple[str, ...], list[int]]] = {}
    for position, (item, view) in enumerate(zip(service.views, views, strict=True)):
        names = tuple(request_keys(item, view).values())
        items.setdefault(view.entity, {}).setdefault(names, []).append(position)
    fields = [field_name(view.name, view.version).encode() for view in views]
    return [
        [_Role(entity, names, tuple(dict.fromkeys(fields[i] for i in of)), tuple(of)) for names, of in roles.items()]
        for entity, roles in items.items()
    ]


def _place(roles: Sequence[_Role], made: Sequence[Sequence[bytes | None]], fetches: list[Fetch]) -> _Keys:
    """Adds what to fetch for one entity. ``made``: per role the key of each row."""
    first = len(fetches)
    if len(roles) == 1:
        (keys,) = made
        wanted: dict[Any, Any] = dict.fromkeys(keys)
        if len(wanted) == len(keys) and None not in wanted:
            fetches.append(Fetch(keys, roles[0].fields))  # type: ignore[arg-type]  # none of them is None
            return _Keys(keys, range(first, first + 1), [None])  # type: ignore[arg-type]
        wanted.pop(None, None)
        fetches.append(Fetch(list(wanted), roles[0].fields))
    else:
        wanted = {}
        for number, each in enumerate(made):
            for key in each:
                wanted[key] = wanted.get(key, 0) | 1 << number
        wanted.pop(None, None)
        by_fields: dict[tuple[bytes, ...], list[bytes]] = {}
        for key, numbers in wanted.items():
            every = (field for number, role in enumerate(roles) if numbers >> number & 1 for field in role.fields)
            by_fields.setdefault(tuple(dict.fromkeys(every)), []).append(key)
        fetches += [Fetch(keys, fields) for fields, keys in by_fields.items()]
    place = {key: at for at, key in enumerate(wanted)}
    return _Keys(list(wanted), range(first, len(fetches)), [[place.get(key, -1) for key in each] for each in made])


def _messages(field: bytes, asked: _Keys, fetches: Sequence[Fetch], values: Sequence[Values]) -> Values:
    """What each key has in ``field``; None where nothing is, or nobody asks."""
    if len(asked.fetches) == 1:
        (number,) = asked.fetches
        fields = fetches[number].fields
        return values[number][fields.index(field) :: len(fields)]
    found: dict[bytes, bytes | None] = {}
    for number in asked.fetches:
        fields = fetches[number].fields
        if field in fields:
            found.update(zip(fetches[number].keys, values[number][fields.index(field) :: len(fields)], strict=True))
    return [found.get(key) for key in asked.keys]


def _through(rows: Sequence[int] | None, keys: Sequence[int] | None) -> Sequence[int] | None:
    """Row to key to message: row to message."""
    if rows is None or keys is None:
        return keys if rows is None else rows
    padded = [*keys, -1]
    return [padded[at] for at in rows]


def request_keys(item: ServiceView, view: FeatureView) -> dict[str, str]:
    """{join key: what a row of the request calls it}."""
    return {key.name: item.keys.get(key.name, key.name) for key in view.entity.join_keys}


def find_service(services: Mapping[str, FeatureService], wanted: str) -> FeatureService:
    """'departure_delay@1' -> that version of ``services``; 'departure_delay' -> the latest. Raises RequestError."""
    if not isinstance(wanted, str):
        raise RequestError(f"{wanted!r} ({type(wanted).__name__}) names no feature service", "give its name, a text")
    named = [service for service in services.values() if wanted in (service.id, service.name)]
    if not named:
        close = difflib.get_close_matches(wanted, services, n=1)
        raise RequestError(
            f"there is no feature service '{wanted}'",
            f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(services)) or 'none'}",
        )
    return max(named, key=lambda service: service.version)


_A_MAPPING = (
    "give one mapping per row: [{'origin': 'EWR', ...}]; of a pandas frame, frame.to_dict('records'), of an Arrow "
    "table, table.to_pylist()"
)
