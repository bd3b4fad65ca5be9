"""Why this value: what a service gives one entity, from which row of which history, and why from no newer one.

Of now: what is online, as the reading client gives it, and the row that it was made from. Of an instant in the past:
what training has of it, and what was served next to it where that was logged. Beside both: who synced last, and the SQL
and the columns that a feature comes from, as they were accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from feature_warehouse.client.client import FeatureClient
from feature_warehouse.client.ondemand import OnDemand
from feature_warehouse.client.plan import find_service, request_keys
from feature_warehouse.client.request import request_columns
from feature_warehouse.client.served import read_row
from feature_warehouse.client.served import text as served_text
from feature_warehouse.errors import RequestError, StoreError, SyncerError, WarehouseError, closest
from feature_warehouse.gate.accepted import accepted_here, sql_path
from feature_warehouse.monitoring.audit import SERVED
from feature_warehouse.monitoring.chosen import Chosen, choose
from feature_warehouse.monitoring.scope import Scope, read_scope
from feature_warehouse.monitoring.trail import read_trail
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import FeatureService, FeatureView
from feature_warehouse.registry.shape import ShapeError
from feature_warehouse.sql.changes import Definitions
from feature_warehouse.store.store import Store
from feature_warehouse.training.spine import quoted
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.wire.keyspace import canonical_text, served_key
from feature_warehouse.wire.marker import Marker
from feature_warehouse.wire.trail import Entry

#: How far from the instant that is asked about the log in Redis is searched.
_AROUND = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """What is online of a view: the event time of the row that is stored, None: none is; and the marker's facts."""

    event_time: datetime | None
    as_of: datetime
    clock: str
    state: str
    token: str
    held: str | None  # since when, why and by whom the view is not what the newest sync would make it
    synced_by: Entry | None  # of the audit trail; None: it is not on record


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExplained:
    """One feature under the name that the service gives it. expected: what the history says should be there."""

    name: str
    value: Any
    status: str | None = None  # online
    served: str | None = None  # as text, at the instant of ``Explained.served_at``
    expected: Any = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemExplained:
    """One item of the service: a view in one role."""

    view: str
    keys: Mapping[str, str]  # {join key: its text}
    chosen: Chosen
    online: Online | None  # None: the past is asked about
    features: Sequence[FeatureExplained]
    model: str
    sql: str
    differs: str | None  # how what is online is not what the history says


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedExplained:
    """One on-demand feature. inputs: {name: value}; missing: request values that were not given."""

    name: str
    expression: str
    value: Any
    status: str | None
    served: str | None
    inputs: Mapping[str, Any]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The answer. as_of: the instant in the past that was asked about; None: now."""

    service: str
    as_of: datetime | None
    now: datetime
    items: Sequence[ItemExplained]
    computed: Sequence[ComputedExplained]
    served_at: datetime | None
    notes: Sequence[str] = field(default=())


def explain(
    service: str,
    given: Mapping[str, str],
    url: str,
    options: ProjectOptions,
    *,
    namespace: str | None = None,
    as_of: datetime | None = None,
    feature: str | None = None,
) -> Explained:
    """Why ``service`` gives what it gives for one entity row. ``given``: join keys and request values, as texts.

    ``as_of``: an instant in the past. ``feature``: only this one. Raises RequestError for what is not served or given
    wrongly, ProjectError, RegistryError, WarehouseError, and StoreError where what is online cannot be read.
    """
    scope = read_scope(options, namespace=namespace)
    registry = scope.registry()
    found = find_service(registry.services, service)
    _check_given(found, registry, given)
    return _Explaining(scope, registry, found, given, url, as_of, feature).explained()


def _check_given(service: FeatureService, registry: Registry, given: Mapping[str, str]) -> None:
    asked = (name for read in service.views for name in request_keys(read, registry.views[read.view]).values())
    keys = [*dict.fromkeys(asked)]
    for name in given:
        if name not in keys and name not in service.request:
            raise RequestError(
                f"{service.id} asks for no '{name}'", closest(name, [*keys, *service.request], "it asks for")
            )
    for name in keys:
        if name not in given:
            raise RequestError(f"{service.id}: '{name}' is missing", f"give {', '.join(keys)}")


class _Explaining:
    """One question, and what is known of it so far."""

    def __init__(
        self,
        scope: Scope,
        registry: Registry,
        service: FeatureService,
        given: Mapping[str, str],
        url: str,
        as_of: datetime | None,
        feature: str | None,
    ) -> None:
        self.scope, self.registry, self.service, self.given, self.url = scope, registry, service, given, url
        self.as_of, self.feature = as_of, feature
        self.notes: list[str] = []
        names = [read.prefix + name for read in service.views for name in read.features]
        names += [one.name for one in service.on_demand]
        if feature is not None and feature not in names:
            raise RequestError(f"{service.id} has no feature '{feature}'", closest(feature, names, "it has"))
        self.missing = tuple(name for name in service.request if name not in given)
        # What is not given is NULL for now, and what is computed from it is not told.
        self.row = {**given, **dict.fromkeys(self.missing)}

    def explained(self) -> Explained:
        return self._past(self.as_of) if self.as_of else self._now()

    # --- now ----------------------------------------------------------------------------------------------------------

    def _now(self) -> Explained:
        with FeatureClient(self.url, self.scope.namespace, as_of=None) as client:
            found = client.get_online_features(self.service.id, [self.row])
        synced = self._synced([view.marker for view in found.views])
        statuses = dict(zip(found.names, found.statuses[0], strict=True))
        values = found.rows()[0]
        items = []
        with self.scope.open_duckdb("explain") as warehouse:
            for position, view in enumerate(found.views):
                marker = view.marker
                assert marker.as_of is not None  # the client refuses what was never synced
                (event_time,) = view.event_times()
                online = Online(
                    event_time=event_time,
                    as_of=marker.as_of,
                    clock=marker.clock,
                    state=marker.state,
                    token=marker.token,
                    held=str(marker.held) if marker.held else None,
                    synced_by=synced.get(marker.token),
                )
                items.append(self._item(warehouse, position, marker.as_of, values, statuses, online, None, {}))
        computed = self._computed(values, statuses, {})
        return self._answer(items, computed, None)

    def _synced(self, markers: Sequence[Marker]) -> dict[str, Entry]:
        """The runs that left these markers, by token, as far as they are on record."""
        wanted, found = {marker.token for marker in markers}, dict[str, Entry]()
        store = Store(self.url)
        try:
            for read in read_trail(store, self.scope.namespace, kinds={"sync"}):
                for token in wanted.intersection(read.entry.tokens if read.entry else ()):
                    found.setdefault(token, read.entry)  # type: ignore[arg-type]  # it has tokens
                if found.keys() == wanted:
                    break
        except StoreError as error:
            self.notes.append(f"who synced is not known: {error.message}")
        finally:
            store.close()
        return found

    # --- then ---------------------------------------------------------------------------------------------------------

    def _past(self, at: datetime) -> Explained:
        with self.scope.open_duckdb("explain") as warehouse:
            served_at, served = self._served(warehouse, at)
            values: dict[str, Any] = {}
            items = [
                self._item(warehouse, position, at, values, {}, None, self._delay(read.view), served)
                for position, read in enumerate(self.service.views)
            ]
        computed = self._computed(self._compute(values), {}, served)
        return self._answer(items, computed, served_at)

    def _delay(self, view: str) -> timedelta | None:
        return self.scope.declarations.views[view].sync_delay

    def _compute(self, values: dict[str, Any]) -> dict[str, Any]:
        """``values`` with the on-demand features, as training computes them."""
        if not self.service.on_demand or self.missing:
            return values
        given = request_columns(self.service, [self.given], {})
        columns = {**{name: [value] for name, value in values.items()}, **given}
        engine = OnDemand(self.service, self.registry.views)
        try:
            computed = engine.compute(columns, 1)
        except RequestError as error:
            self.notes.append(error.message)
            return values
        return values | {name: column[0] for name, column in zip(engine.names, computed, strict=True)}

    def _served(self, warehouse: DuckDB, at: datetime) -> tuple[datetime | None, Mapping[str, str | None]]:
        """What was served of these keys next to an instant: in the audited table, or still in the log in Redis."""
        rows = [*self._audited(warehouse, at), *self._logged(at)]
        if not rows:
            return None, {}
        moment, features = min(rows, key=lambda row: abs(row[0] - at))
        return moment, features

    def _audited(self, warehouse: DuckDB, at: datetime) -> Iterator[tuple[datetime, Mapping[str, str | None]]]:
        wanted = " and ".join(
            f"try_cast(json_extract_string(given, '$.{name}') as {type_}) = cast('{_escaped(text)}' as {type_})"
            for name, (type_, text) in self._key_texts().items()
        )
        sql = (
            f"select epoch_us(served_at) as at, features from {quoted(self.scope.project.output.schema)}.{SERVED} "
            f"where service = '{self.service.id}' and {wanted} "
            f"order by abs(epoch_us(served_at) - epoch_us(timestamptz '{at.isoformat()}')), id limit 1"
        )
        try:
            found = warehouse.query(sql).read_all().to_pylist()
        except WarehouseError:  # nothing was ever drained
            return
        for row in found:
            yield (
                datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=row["at"]),
                json.loads(row["features"]),
            )

    def _logged(self, at: datetime) -> Iterator[tuple[datetime, Mapping[str, str | None]]]:
        store = Store(self.url)
        try:
            for rows in store.newest(served_key(self.scope.namespace, self.service.id), at - _AROUND, at + _AROUND):
                for _, entry in rows:
                    try:
                        row = read_row(entry)
                    except ShapeError:
                        continue  # `syncer audit` names it
                    if self._is_of_these_keys(row["given"]):
                        yield datetime.fromisoformat(row["at"].replace("Z", "+00:00")), row["features"]
        except StoreError as error:
            self.notes.append(f"what Redis has of the log of what was served cannot be read: {error.message}")
        finally:
            store.close()

    def _is_of_these_keys(self, given: Mapping[str, str | None]) -> bool:
        try:
            return all(
                (text := given.get(name)) is not None and canonical_text(text, type_) == wanted
                for name, (type_, wanted) in self._key_texts().items()
            )
        except RequestError:
            return False

    # --- both ---------------------------------------------------------------------------------------------------------

    def _key_texts(self) -> dict[str, tuple[str, str]]:
        """By the names that the service gives them: type and canonical text of each join key."""
        found: dict[str, tuple[str, str]] = {}
        for read in self.service.views:
            view = self.registry.views[read.view]
            types = {key.name: key.type for key in view.entity.join_keys}
            for key, name in request_keys(read, view).items():
                try:
                    found[name] = types[key], canonical_text(self.given[name], types[key])
                except RequestError as error:
                    raise RequestError(f"'{name}': {error.message}", error.hint) from None
        return found

    def _item(
        self,
        warehouse: DuckDB,
        position: int,
        at: datetime,
        values: dict[str, Any],
        statuses: Mapping[str, str],
        online: Online | None,
        delay: timedelta | None,
        served: Mapping[str, str | None],
    ) -> ItemExplained:
        """``values``: by the service's names, what is online; of the past, what is found out goes into it."""
        read = self.service.views[position]
        registered, texts = self.registry.views[read.view], self._key_texts()
        if read.view not in self.scope.declarations.views:
            raise RequestError(f"the project no longer declares {read.view}", "ask in the commit that serves it")
        declared = self.scope.declarations.views[read.view]
        keys = {key: texts[name][1] for key, name in request_keys(read, registered).items()}
        chosen = choose(warehouse, declared, registered, read.features, keys, at, delay)
        expected = {read.prefix + name: chosen.values.get(name) for name in read.features}
        if online is None:
            values |= expected
        sources = self._sources(registered, read.features) if self._is_wanted(read.prefix, read.features) else {}
        features = [
            FeatureExplained(
                name=read.prefix + name,
                value=values[read.prefix + name],
                status=statuses.get(read.prefix + name),
                served=served.get(read.prefix + name),
                expected=expected[read.prefix + name],
                sources=sources.get(name, ()),
            )
            for name in read.features
            if self.feature in (None, read.prefix + name)
        ]
        return ItemExplained(
            view=read.view,
            keys=keys,
            chosen=chosen,
            online=online,
            features=features,
            model=declared.path,
            sql=sql_path(read.view),
            differs=None if online is None else _difference(chosen, online, expected, values, statuses),
        )

    def _is_wanted(self, prefix: str, features: Sequence[str]) -> bool:
        return self.feature is None or self.feature in {prefix + name for name in features}

    def _sources(self, view: FeatureView, features: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """By feature, the columns that its values come from, by the SQL that was accepted; {} where nobody can tell."""
        try:
            definition = accepted_here(self.scope.project.folder, self.scope.project.name).definitions[view.id]
            read = Definitions(definition.nodes)
            return {
                name: tuple(f"{source}.{column}" for source, column in read.facts(definition.view, name).sources)
                for name in features
            }
        except (SyncerError, LookupError, ValueError, RecursionError):
            self.notes.append(f"the columns that {view.id} comes from cannot be told: see {sql_path(view.id)}")
            return {}

    def _computed(
        self, values: Mapping[str, Any], statuses: Mapping[str, str], served: Mapping[str, str | None]
    ) -> list[ComputedExplained]:
        if not self.service.on_demand:
            return []
        engine = OnDemand(self.service, self.registry.views)
        known = {**values, **{name: self.row[name] for name in self.service.request}}
        found = []
        for one, reads in zip(self.service.on_demand, engine.reads, strict=True):
            if self.feature in (None, one.name):
                missing = tuple(name for name in self.missing if name in reads)
                found.append(
                    ComputedExplained(
                        name=one.name,
                        expression=one.expression,
                        value=None if missing else values.get(one.name),
                        status=None if missing else statuses.get(one.name),
                        served=served.get(one.name),
                        inputs={name: known.get(name) for name in sorted(reads)},
                        missing=missing,
                    )
                )
        return found

    def _answer(
        self, items: Sequence[ItemExplained], computed: Sequence[ComputedExplained], served_at: datetime | None
    ) -> Explained:
        return Explained(
            service=self.service.id,
            as_of=self.as_of,
            now=self.scope.as_of,
            items=[item for item in items if item.features],
            computed=computed,
            served_at=served_at,
            notes=tuple(dict.fromkeys(self.notes)),
        )


def _difference(
    chosen: Chosen, online: Online, expected: Mapping[str, Any], values: Mapping[str, Any], statuses: Mapping[str, str]
) -> str | None:
    """How what is online is not what the history has at the instant mirrored; None: it is."""
    stored = online.event_time and served_text(online.event_time)
    wanted = chosen.event_time if chosen.has_value else None
    if stored != wanted:
        has = f"the row of {wanted}" if wanted else f"none ({chosen.outcome})"
        return f"the history has {has} as of {served_text(online.as_of)}"
    others = [
        name
        for name in expected
        if statuses[name] in ("present", "stale", "null")
        and not _same(values[name], expected[name])
        and not chosen.trouble
    ]
    return f"the history has other values of {', '.join(others)} in that row now" if others else None


def _same(one: Any, other: Any) -> bool:
    """Also of NaN, and not of 0.0 and -0.0."""
    return repr(one) == repr(other)


def _escaped(text: str) -> str:
    return text.replace("'", "''")
