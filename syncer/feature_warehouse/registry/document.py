"""The registry: which features are served, under which field numbers, and what will never be used again.

Knows ``registry/registry.json`` (reviewed like code), how a project's declarations enter it, and the same content as
the ``#registry`` document in Redis. Field numbers are given when a service first reads a feature; within a view version
the set only grows. Knows no dbt and no Redis; the reading client uses it too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from feature_warehouse.errors import NamespaceError, RegistryError, SyncerError
from feature_warehouse.registry.feature import (
    NAME,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    JoinKey,
    OnDemandFeature,
    ServiceView,
)
from feature_warehouse.registry.shape import Part, ShapeError, parse
from feature_warehouse.registry.signature import breaks

FORMAT = 1

_DOCUMENT = "the registry document '{}' in Redis"
_MEND_DOCUMENT = "delete the key {} and run `syncer sync`, or choose another namespace"

_T = TypeVar("_T")

#: Field 1 of every message is the event time. protobuf numbers up to 2^29 - 1; a reader marks messages with the last.
FIRST_NUMBER, LAST_NUMBER = 2, (1 << 29) - 2

#: What no version or format exceeds, and the longest duration, in seconds, whose multiples Python still holds.
_SIZE, _LONGEST = (1 << 31) - 1, timedelta.max // timedelta(seconds=2)

#: Stands before the names of features, which it must leave names.
_PREFIX = re.compile(r"([a-z][a-z0-9_]*)?")


@dataclass(frozen=True, slots=True, order=True)
class Fix:
    """Values of a served view version that were changed without a new one, on purpose.

    by, at: who accepted it, and at which instant; "" where nobody has written that down. rebuild: the models that keep
    rows of before, where it is not their SQL that says so.
    """

    on: date
    view: str
    features: tuple[str, ...]
    reason: str
    by: str = ""
    at: str = ""
    rebuild: tuple[str, ...] = ()

    @property
    def shown(self) -> Fix:
        """What of it stands in Redis: names of people do not."""
        return replace(self, by="", at="", rebuild=())


@dataclass(frozen=True, slots=True, order=True)
class Acknowledged:
    """What cannot be judged and is served all the same: a sentence of the gate, without its file, and the reason."""

    what: str
    on: date
    reason: str
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Unbuilt:
    """Features that are served although older rows of theirs are of an earlier definition, and the reason."""

    on: date
    view: str
    features: tuple[str, ...]
    reason: str
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """What is served: views with their numbered features only, services, and the ids that will not come back.

    ``acknowledged``, ``unbuilt`` and ``settings`` stand in the file alone, and readers of the document in Redis have no
    use for ``fixes`` either: a sync tells by them which ones are new.
    """

    project: str
    views: Mapping[str, FeatureView] = field(default_factory=dict)  # by view id
    services: Mapping[str, FeatureService] = field(default_factory=dict)  # by service id
    retired_views: frozenset[str] = frozenset()
    retired_services: frozenset[str] = frozenset()
    fixes: tuple[Fix, ...] = ()
    acknowledged: tuple[Acknowledged, ...] = ()
    unbuilt: tuple[Unbuilt, ...] = ()
    settings: Mapping[str, str] | None = None  # of the profile, that decide about values; None: not written down yet


# --- how declarations enter -------------------------------------------------------------------------------------------


def register(
    registry: Registry, views: Mapping[str, FeatureView], services: Mapping[str, FeatureService]
) -> tuple[Registry, list[str]]:
    """The registry with the project's ``views`` and ``services`` taken in, and the changes in words ([]: none).

    Raises RegistryError, naming every refusal, when a served feature or a used number would change its meaning; the
    registry given stays as it was.
    """
    refused = refusals(registry, views, services)
    if refused:
        raise RegistryError("; ".join(error.message for error in refused), f"{_REGISTER}: {refused[0].hint}")
    after = taken_in(registry, views, services)
    return after, changes(registry, after)


_NEW_VERSION = "leave the served version as it is and add a new version beside it (`versions: [{v: ...}]`)"
_NEW_SERVICE = (
    "leave what the service gave and asked for as it is; or declare a new version of the service beside it, in another "
    "exposure"
)
_NEXT_NUMBER = "give it the next version number"
_REGISTER = "`syncer register` takes what the main branch does not have yet; what it has stays"


def refusals(
    registry: Registry,
    views: Mapping[str, FeatureView],
    services: Mapping[str, FeatureService],
    renamed: Mapping[tuple[str, str], str] | None = None,
) -> list[RegistryError]:
    """Why the registry cannot take the project's declarations in; [] when it can.

    ``renamed``: the new names of features, by view id and old name, where somebody knows them.
    """
    return [*_refused_views(registry, views, services, renamed or {}), *_refused_services(registry, views, services)]


def taken_in(registry: Registry, views: Mapping[str, FeatureView], services: Mapping[str, FeatureService]) -> Registry:
    """The registry with declarations that it does not refuse."""
    kept: dict[str, FeatureView] = {}
    for id_, declared in sorted(views.items()):
        view = _numbered(declared, registry.views.get(id_), services.values())
        if view.features:
            kept[id_] = view
    return Registry(
        project=registry.project,
        views=kept,
        services=dict(sorted(services.items())),
        retired_views=registry.retired_views | (registry.views.keys() - kept.keys()),
        retired_services=registry.retired_services | (registry.services.keys() - services.keys()),
        fixes=registry.fixes,
        acknowledged=registry.acknowledged,
        unbuilt=registry.unbuilt,
        settings=registry.settings,
    )


def changes(before: Registry, after: Registry) -> list[str]:
    """What is another one in ``after``, in words."""
    return [*_view_changes(before, after), *_service_changes(before, after)]


def complete_part(registry: Registry, before: Registry, complete: Callable[[FeatureView], bool]) -> Registry:
    """``registry`` as far as readers may be shown it: what is not ``complete`` is as ``before`` had it, or not there.

    A service that reads more than there is so keeps what it had.
    """
    views = {
        id_: view if complete(view) else before.views[id_]
        for id_, view in registry.views.items()
        if complete(view) or id_ in before.views
    }
    features = {id_: {feature.name for feature in view.features} for id_, view in views.items()}
    services = {}
    for id_, service in registry.services.items():
        for candidate in (service, before.services.get(id_)):
            if candidate and all({*read.features} <= features.get(read.view, set()) for read in candidate.views):
                services[id_] = candidate
                break
    return replace(registry, views=views, services=services)


def missing(registry: Registry, published: Registry) -> list[str]:
    """What was published and is not in ``registry``, not even as retired, a phrase each; [] when it has all of it."""
    lost = [id_ for id_ in published.views if id_ not in registry.views and id_ not in registry.retired_views]
    for id_ in published.views.keys() & registry.views.keys():
        numbers = {(feature.name, feature.type): feature.number for feature in registry.views[id_].features}
        lost += [
            f"{id_}: {feature.name} {feature.type} as field {feature.number}"
            for feature in published.views[id_].features
            if numbers.get((feature.name, feature.type)) != feature.number
        ]
    lost += [f"the retirement of {id_}" for id_ in published.retired_views - registry.retired_views]
    services = registry.services.keys() | registry.retired_services
    lost += [f"the service {id_}" for id_ in published.services.keys() - services]
    lost += [f"the retirement of the service {id_}" for id_ in published.retired_services - registry.retired_services]
    return sorted(lost)


def contradictions(pinned: Registry, published: Registry, service: FeatureService) -> list[str]:
    """How what is published of a pinned ``service`` and its views is not the pinned, a phrase each; [] when one of the
    two only has more than the other, or nothing of it."""
    if pinned.project != published.project:
        return [f"it is of the project '{published.project}', not of '{pinned.project}'"]
    found = []
    for id_ in dict.fromkeys(read.view for read in service.views):
        ours, theirs = pinned.views[id_], published.views.get(id_)
        if theirs is None:
            continue
        if ours.entity != theirs.entity:
            found.append(f"{id_} has the entity {_entity_text(theirs.entity)}, not {_entity_text(ours.entity)}")
        known = {feature.name: feature for feature in theirs.features}
        names = {feature.number: feature.name for feature in theirs.features}
        for feature in ours.features:
            other = known.get(feature.name)
            if other is None and feature.number in names:
                found.append(f"{id_} has {names[feature.number]} as field {feature.number}, not {feature.name}")
            elif other not in (None, feature):
                now = f"{other.type} in field {other.number}" if other else ""
                found.append(f"{id_}: {feature.name} is {now}, not {feature.type} in field {feature.number}")
    shown = published.services.get(service.id)
    if shown is not None and not found and all(read.view in published.views for read in shown.views):
        sentence = next(breaks(service, pinned.views, shown, published.views), None)
        if sentence is not None and next(breaks(shown, published.views, service, pinned.views), None) is not None:
            found.append(f"{service.id} {sentence}")
    return found


def _view_changes(before: Registry, after: Registry) -> Iterable[str]:
    for id_, view in after.views.items():
        old, new = (_view_json(before.views[id_]) if id_ in before.views else {}), _view_json(view)
        numbered = {feature["name"]: feature["number"] for feature in old.pop("features", [])}
        for feature in new.pop("features"):
            if numbered.get(feature["name"]) != feature["number"]:
                yield f"{id_}: {feature['name']} is served as field {feature['number']}"
        for setting in sorted({*old, *new}):
            if old and old.get(setting) != new.get(setting):
                yield f"{id_}: {setting} {old.get(setting)} -> {new.get(setting)}"
    for id_ in sorted(before.views.keys() - after.views.keys()):
        yield f"{id_}: {'retired' if id_ in after.retired_views else 'gone; it was a draft'}"


def _service_changes(before: Registry, after: Registry) -> Iterable[str]:
    for id_, service in after.services.items():
        if id_ not in before.services:
            yield f"{id_}: new service"
        elif _service_json(service) != _service_json(before.services[id_]):
            yield f"{id_}: changed"
    for id_ in sorted(before.services.keys() - after.services.keys()):
        yield f"{id_}: {'retired' if id_ in after.retired_services else 'gone; it was a draft'}"


def _refused_views(
    registry: Registry,
    views: Mapping[str, FeatureView],
    services: Mapping[str, FeatureService],
    renamed: Mapping[tuple[str, str], str],
) -> Iterable[RegistryError]:
    read = {read.view for service in services.values() for read in service.views}
    for id_ in sorted(registry.retired_views & read):
        yield RegistryError(f"{id_} was retired, and version numbers are never used again", _NEXT_NUMBER)
    for id_, accepted in sorted(registry.views.items()):
        if id_ in views:  # else retired; a service that still read it would not have been declared validly
            for sentence in _view_breaks(accepted, views[id_], renamed):
                yield RegistryError(f"{id_}: {sentence}", _NEW_VERSION)


def _view_breaks(accepted: FeatureView, declared: FeatureView, renamed: Mapping[tuple[str, str], str]) -> Iterable[str]:
    if declared.entity != accepted.entity:
        before, after = _entity_text(accepted.entity), _entity_text(declared.entity)
        yield f"its entity or join keys changed ({before} -> {after})"
    types = {feature.name: feature.type for feature in declared.features}
    for feature in accepted.features:
        if feature.name not in types:
            now = renamed.get((accepted.id, feature.name))
            yield f"the served feature '{feature.name}' is gone" + (f"; it is called '{now}' now" if now else "")
        elif types[feature.name] != feature.type:
            yield f"the type of '{feature.name}' changed ({feature.type} -> {types[feature.name]})"


def _refused_services(
    registry: Registry, views: Mapping[str, FeatureView], services: Mapping[str, FeatureService]
) -> Iterable[RegistryError]:
    for id_ in sorted(registry.retired_services & services.keys()):
        yield RegistryError(f"the service {id_} was retired, and version numbers are never used again", _NEXT_NUMBER)
    for id_ in sorted(registry.services.keys() & services.keys()):
        for sentence in breaks(registry.services[id_], registry.views, services[id_], views):
            yield RegistryError(f"the service {id_} {sentence}", _NEW_SERVICE)


def _entity_text(entity: Entity) -> str:
    return f"{entity.name}: " + ", ".join(f"{key.name} {key.type}" for key in entity.join_keys)


def _numbered(declared: FeatureView, accepted: FeatureView | None, services: Iterable[FeatureService]) -> FeatureView:
    """The view with the features that are or ever were read by a service, each with its number."""
    numbers = {feature.name: feature.number or 0 for feature in accepted.features} if accepted else {}
    read = {name for service in services for r in service.views if r.view == declared.id for name in r.features}
    following = max(numbers.values(), default=FIRST_NUMBER - 1) + 1
    for feature in declared.features:  # in the order of the columns, so that every machine gives the same numbers
        if feature.name in read and feature.name not in numbers:
            numbers[feature.name] = following
            following += 1
    served = [Feature(f.name, f.type, numbers[f.name]) for f in declared.features if f.name in numbers]
    return replace(declared, features=tuple(sorted(served, key=lambda f: f.number or 0)))


# --- as a file and as a document --------------------------------------------------------------------------------------


def load_registry(path: Path, project: str) -> Registry:
    """The registry in ``path``; an empty one for ``project`` when there is no file. Raises RegistryError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Registry(project=project)
    return parse_registry(text, project, str(path))


def pinned_registry(path: Path) -> Registry:
    """The registry in a file, whichever project's. Raises RegistryError when there is none, or it cannot be read."""
    try:
        return parse_registry(path.read_bytes(), None, str(path))
    except OSError as error:
        raise RegistryError(
            f"the registry {path} cannot be read: {error.strerror or error}", "give the path of a registry.json"
        ) from error


def parse_registry(text: bytes, project: str | None, where: str) -> Registry:
    """The registry in a file's text. Raises RegistryError when it is torn, of a later format, or another project's than
    ``project``; None: anybody's."""
    hint = "take the base branch's file and run `syncer register` again"
    registry = _parsed(text, where, RegistryError, hint, lambda file: _with_decisions(from_json(file), file))
    if project is not None and registry.project != project:
        raise RegistryError(
            f"{where} belongs to the project '{registry.project}', not to '{project}'",
            "if the project was renamed, write the new name into the file; else remove it",
        )
    for service in registry.services.values():
        for read in service.views:
            if read.view not in registry.views:
                raise RegistryError(f"{where} lacks {read.view}, which its service {service.id} reads", hint)
    return registry


def _with_decisions(registry: Registry, file: Part) -> Registry:
    """With what the file has and the document in Redis has not."""

    def listed(key: str) -> Iterator[Part]:
        found = file.get(key)
        return found.items() if found else iter(())

    given = file.get("settings")
    return replace(
        registry,
        fixes=_fixes(file),
        acknowledged=tuple(Acknowledged(what=one["what"].text(), **_decided(one)) for one in listed("acknowledged")),
        unbuilt=tuple(Unbuilt(**_of_features(one), **_decided(one)) for one in listed("unbuilt")),
        settings={name: value.text() for name, value in given.members()} if given else None,
    )


def _fixes(content: Part) -> tuple[Fix, ...]:
    found = content.get("fixes")
    return tuple(
        Fix(**_of_features(one), **_decided(one), rebuild=_names(one, "rebuild"))
        for one in (found.items() if found else ())
    )


def _of_features(entry: Part) -> dict[str, Any]:
    return {"view": entry["view"].text(), "features": _names(entry, "features")}


def _names(entry: Part, key: str) -> tuple[str, ...]:
    found = entry.get(key)
    return tuple(name.text() for name in found.items()) if found else ()


def _decided(entry: Part) -> dict[str, Any]:
    """Why, when and by whom. An older release wrote down the day and the reason alone."""
    by, at = entry.get("by"), entry.get("at")
    return {
        "on": entry["on"].date(),
        "reason": entry["reason"].text(),
        "by": "" if by is None else by.text(),
        "at": "" if at is None else at.instant().isoformat(),
    }


def to_text(registry: Registry) -> str:
    """registry.json: sorted and indented, so that it reads and merges well."""
    content = to_json(registry)
    for key in ("fixes", "acknowledged", "unbuilt"):
        if decisions := getattr(registry, key):
            content[key] = [_decision_json(one) for one in sorted(decisions)]
    if registry.settings is not None:
        content["settings"] = dict(registry.settings)
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _decision_json(decision: Fix | Acknowledged | Unbuilt) -> dict[str, Any]:
    content = {key: value for key, value in asdict(decision).items() if value not in ("", ())}
    return content | {"on": decision.on.isoformat()}


def to_json(registry: Registry) -> dict[str, Any]:
    """The registry as JSON values, ``format`` 1 (docs/wire-format.md, "Registry document")."""
    entities = {view.entity.name: view.entity for view in registry.views.values()}
    return {
        "format": FORMAT,
        "project": registry.project,
        "entities": {
            name: [{"name": key.name, "type": key.type} for key in entity.join_keys]
            for name, entity in sorted(entities.items())
        },
        "views": {id_: _view_json(view) for id_, view in registry.views.items()},
        "services": {id_: _service_json(service) for id_, service in registry.services.items()},
        "retired": {"views": sorted(registry.retired_views), "services": sorted(registry.retired_services)},
    }


def from_json(document: Part) -> Registry:
    """The inverse of ``to_json``, whatever else the document says. Raises ShapeError for a broken one.

    Types are read as texts: what is of one that only a newer version knows fails those who read it, and nobody else.
    """
    entities = {name: _entity_from(name, keys) for name, keys in document["entities"].members(NAME)}
    return Registry(
        project=document["project"].text(),
        views={id_: _view_from(entities, id_, view) for id_, view in document["views"].members()},
        services={id_: _service_from(id_, service) for id_, service in document["services"].members()},
        retired_views=frozenset(id_.text() for id_ in document["retired"]["views"].items()),
        retired_services=frozenset(id_.text() for id_ in document["retired"]["services"].items()),
    )


def to_document(registry: Registry, target: str) -> bytes:
    """What stands under ``#registry`` in Redis: the registry, its fixes, and who owns the namespace."""
    owner = {"owner": {"project": registry.project, "target": target}}
    fixes = [_decision_json(fix.shown) for fix in sorted(registry.fixes)]
    content = to_json(registry) | ({"fixes": fixes} if fixes else {}) | owner
    return _written(content)


def vacated(document: bytes, key: str = "#registry") -> bytes:
    """What stands in the place of ``document`` while its namespace is emptied: the same owner, nothing served.

    ``dropped`` lists the services that there were. Raises NamespaceError as ``from_document`` does.
    """
    registry, (project, target) = from_document(document, key), owner(document, key)
    nothing = to_json(replace(registry, views={}, services={}))
    content = {
        **nothing,
        "owner": {"project": project, "target": target},
        "dropped": sorted(services_ever(document, key)),
    }
    return _written(content)


def services_ever(document: bytes, key: str = "#registry") -> set[str]:
    """The ids of the services of a document, and of those that stood in its place before it was emptied."""

    def read(content: Part) -> set[str]:
        dropped = content.get("dropped")
        return {*from_json(content).services, *(each.text() for each in (dropped.items() if dropped else ()))}

    return _parsed(document, _DOCUMENT.format(key), NamespaceError, _MEND_DOCUMENT.format(key), read)


def fixes_shown(document: bytes, key: str = "#registry") -> set[Fix]:
    """The fixes that a document tells of. Raises NamespaceError when it cannot be read."""
    return {*_parsed(document, _DOCUMENT.format(key), NamespaceError, _MEND_DOCUMENT.format(key), _fixes)}


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def revision(document: bytes) -> str:
    """A short name for the content of a document; the markers carry it, so that a reader sees when it changed."""
    return hashlib.sha256(document).hexdigest()[:16]


def from_document(document: bytes, key: str = "#registry") -> Registry:
    """The registry in the document under ``key``. Raises NamespaceError when it cannot be read."""
    return _parsed(document, _DOCUMENT.format(key), NamespaceError, _MEND_DOCUMENT.format(key), from_json)


def owner(document: bytes, key: str = "#registry") -> tuple[str, str]:
    """(project, target) that the document under ``key`` belongs to. Raises NamespaceError when it cannot be read."""
    return _parsed(
        document,
        _DOCUMENT.format(key),
        NamespaceError,
        _MEND_DOCUMENT.format(key),
        lambda content: (content["owner"]["project"].text(), content["owner"]["target"].text()),
    )


def _parsed(text: bytes, what: str, error: type[SyncerError], hint: str, read: Callable[[Part], _T]) -> _T:
    """What ``read`` makes of a JSON text. Raises ``error`` when it cannot, and for another format than ours."""
    try:
        content = parse(text)
        format_ = content["format"].integer(1, _SIZE)
        if format_ != FORMAT:
            raise error(
                f"{what} has format {format_}, and this version knows format {FORMAT}",
                "upgrade feature-warehouse here to the version that wrote it",
            )
        return read(content)
    except ShapeError as problem:
        raise error(f"{what} cannot be read: {problem}", hint) from problem


def _view_json(view: FeatureView) -> dict[str, Any]:
    return {
        "name": view.name,
        "version": view.version,
        "entity": view.entity.name,
        "event_timestamp": view.event_timestamp,
        "available_at": view.available_at,
        "ttl_seconds": _seconds(view.ttl),
        "tier": view.tier,
        "expected_every_seconds": _seconds(view.expected_every),
        "features": [{"name": f.name, "type": f.type, "number": f.number} for f in view.features],
        **({"deprecation_date": view.deprecation_date.isoformat()} if view.deprecation_date else {}),
    }


def _entity_from(name: str, keys: Part) -> Entity:
    found = tuple(JoinKey(key["name"].text(NAME), key["type"].text()) for key in keys.items())
    if not found:
        raise ShapeError(f"{keys.place} has no join key")
    return Entity(name, found)


def _view_from(entities: Mapping[str, Entity], id_: str, view: Part) -> FeatureView:
    available_at, deprecation_date = view["available_at"], view.get("deprecation_date")
    entity = view["entity"].text()
    if entity not in entities:
        raise ShapeError(f"{view.place}.entity is '{entity}', which is not among the entities")
    found = FeatureView(
        name=view["name"].text(NAME),
        version=view["version"].integer(0, _SIZE),
        entity=entities[entity],
        features=tuple(
            Feature(f["name"].text(NAME), f["type"].text(), f["number"].integer(FIRST_NUMBER, LAST_NUMBER))
            for f in view["features"].items()
        ),
        event_timestamp=view["event_timestamp"].text(),
        available_at=None if available_at.is_null else available_at.text(),
        ttl=_duration(view["ttl_seconds"]),
        tier=view["tier"].text(),
        expected_every=_duration(view["expected_every_seconds"]),
        deprecation_date=None if deprecation_date is None or deprecation_date.is_null else deprecation_date.date(),
    )
    _check_id(found.id, id_, view)
    for what, counts in (
        ("feature", Counter(feature.name for feature in found.features)),
        ("field number", Counter(feature.number for feature in found.features)),
    ):
        if twice := next((each for each, count in counts.items() if count > 1), None):
            raise ShapeError(f"{view.place}.features has the {what} {twice} twice")
    return found


def _service_json(service: FeatureService) -> dict[str, Any]:
    return {
        "name": service.name,
        "version": service.version,
        "owner": service.owner,
        "views": [
            {"view": r.view, "features": list(r.features), "keys": dict(sorted(r.keys.items())), "prefix": r.prefix}
            for r in service.views
        ],
        "request": dict(sorted(service.request.items())),
        "on_demand": [{"name": f.name, "type": f.type, "expression": f.expression} for f in service.on_demand],
    }


def _service_from(id_: str, service: Part) -> FeatureService:
    found = FeatureService(
        name=service["name"].text(NAME),
        version=service["version"].integer(0, _SIZE),
        owner=service["owner"].text(),
        views=tuple(
            ServiceView(
                view=read["view"].text(),
                features=tuple(feature.text(NAME) for feature in read["features"].items()),
                keys={key: name.text(NAME) for key, name in read["keys"].members(NAME)},
                prefix=read["prefix"].text(_PREFIX),
            )
            for read in service["views"].items()
        ),
        request={name: type_.text() for name, type_ in service["request"].members(NAME)},
        on_demand=tuple(
            OnDemandFeature(each["name"].text(NAME), each["type"].text(), each["expression"].text())
            for each in service["on_demand"].items()
        ),
    )
    _check_id(found.id, id_, service)
    return found


def _check_id(made: str, id_: str, part: Part) -> None:
    if made != id_:
        raise ShapeError(f"{part.place} says of itself that it is '{made}'")


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _duration(seconds: Part) -> timedelta | None:
    return None if seconds.is_null else timedelta(seconds=seconds.integer(0, _LONGEST))
