"""The feature views and services that a project declares, read from dbt's manifest as frozen facts.

Knows what may stand under ``config.meta``. A declaration that is wrong becomes a problem that names file, model and
column; the others are read on, so that all problems can be shown at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from feature_warehouse.errors import DefinitionError, closest
from feature_warehouse.project.manifest import in_order, place_of, yaml_path
from feature_warehouse.registry.feature import (
    NAME,
    TIERS,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    JoinKey,
    OnDemandFeature,
    Retention,
    ServiceView,
    parse_duration,
    parse_period,
    view_id,
)
from feature_warehouse.registry.types import canonical, feature_type, key_type

#: What may stand under ``config.meta``, part by part. The macros have the same list, ``_known_settings``.
SETTINGS: Mapping[str, frozenset[str]] = {
    "feature_view": frozenset(
        (
            "entity",
            "join_keys",
            "event_timestamp",
            "available_at",
            "ttl",
            "deleted",
            "sync_delay",
            "history",
            "tier",
            "expected_every",
            "lookback",
        )
    ),
    "feature_service": frozenset(("name", "version", "features", "request", "on_demand")),
    "features": frozenset(("view", "features", "keys", "prefix")),
    "on_demand": frozenset(("name", "data_type", "expression")),
}

#: What every feature view declares, and the hint for who did not.
_REQUIRED = {
    "entity": "say what the features describe: `entity: carrier`",
    "join_keys": "list the columns that tell entities apart: `join_keys: [carrier]`",
    "event_timestamp": "name the column that says when a value became true: `event_timestamp: event_at`",
    "available_at": "name the column that says when a value could first be read, or waive it: `available_at: none`",
}

_ON_DEMAND = "`[{name: departure_hour, data_type: bigint, expression: ...}]`"

#: Field 1 of every message.
_RESERVED = "event_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredView:
    """A feature view version with its places: in the project, in dbt's graph and in the warehouse."""

    view: FeatureView
    path: str
    unique_id: str
    relation: str  # quoted, as dbt writes it: "warehouse"."main"."carrier_delays_v2"
    latest_unique_id: str | None  # None: there is no latest-value view
    latest_relation: str | None
    append_only: bool = False  # `history: append_only`: rows are added and never changed
    append_only_test: bool = False  # and the test history_append_only watches it
    lookbacks: Mapping[str, timedelta | None] = field(default_factory=dict)  # declared, by feature; None: without end

    @property
    def latest_name(self) -> str:
        return f"latest_{self.view.name}_v{self.view.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """All that the project declares; ``problems`` by file and name, those of views before those of services."""

    project: str
    views: Mapping[str, DeclaredView]  # by view id
    services: Mapping[str, FeatureService]  # by service id
    retentions: Mapping[str, Retention] = field(default_factory=dict)  # of sources, seeds, models; by unique id
    problems: tuple[DefinitionError, ...] = field(default=())

    @property
    def feature_views(self) -> dict[str, FeatureView]:
        """The facts alone, by view id."""
        return {id_: declared.view for id_, declared in self.views.items()}

    def raise_first(self) -> None:
        """Raises the first problem, if there is one."""
        if self.problems:
            raise self.problems[0]


def read_declarations(manifest: dict[str, Any]) -> Declarations:
    """The feature views and services of a manifest; what is declared wrongly is left out and becomes a problem."""
    problems: list[DefinitionError] = []
    views: dict[str, DeclaredView] = {}
    models = in_order(node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    latest = {node["name"]: node for node in models}
    watched = {
        node.get("attached_node")
        for node in manifest["nodes"].values()
        if (node.get("test_metadata") or {}).get("name") == "history_append_only"
    }
    for node in models:
        declared = node["config"].get("meta", {}).get("feature_view")
        if declared is None:
            continue
        try:
            view = _read_view(node, declared, models)
            lookbacks = _lookbacks(declared, view, place_of(node))
            _check_against(view, views, yaml_path(node))
        except DefinitionError as problem:
            problems.append(problem)
            continue
        newest = latest.get(f"latest_{view.name}_v{view.version}")
        if newest is not None and node["unique_id"] not in newest["depends_on"]["nodes"]:
            newest = None
        views[view.id] = DeclaredView(
            view=view,
            path=yaml_path(node),
            unique_id=node["unique_id"],
            relation=node["relation_name"],
            latest_unique_id=newest["unique_id"] if newest else None,
            latest_relation=newest["relation_name"] if newest else None,
            append_only=declared.get("history") == "append_only",
            append_only_test=node["unique_id"] in watched,
            lookbacks=lookbacks,
        )
    retentions: dict[str, Retention] = {}
    for node in in_order([*manifest["nodes"].values(), *manifest.get("sources", {}).values()]):
        try:
            if (kept := (node["config"].get("meta") or {}).get("retention")) is not None:
                retentions[node["unique_id"]] = _retention(kept, place_of(node))
        except DefinitionError as problem:
            problems.append(problem)
    wrong = {
        f"{node['name']}.v{node['version']}" for node in models if node["config"].get("meta", {}).get("feature_view")
    }
    services: dict[str, FeatureService] = {}
    for exposure in in_order(manifest["exposures"].values()):
        declared = exposure["config"].get("meta", {}).get("feature_service")
        if declared is None:
            continue
        try:
            service = _read_service(exposure, declared, views, wrong - views.keys())
            if service.id in services:
                raise DefinitionError(
                    f"{place_of(exposure)}: the service {service.id} is declared twice",
                    "give each exposure a name and version of its own",
                )
        except DefinitionError as problem:
            problems.append(problem)
            continue
        services[service.id] = service
    return Declarations(
        project=manifest["metadata"]["project_name"],
        views=views,
        services=services,
        retentions=retentions,
        problems=tuple(problems),
    )


# --- feature views ----------------------------------------------------------------------------------------------------


def _read_view(node: dict[str, Any], declared: object, models: Iterable[dict[str, Any]]) -> FeatureView:
    place = place_of(node)
    settings = _view_settings(declared, place)
    _check_join_keys(node, models)
    _check_name(node["name"], f"{place}: the feature view's name")
    if not isinstance(node["version"], int):
        has = "no version" if node["version"] is None else f"the version {node['version']!r}"
        raise DefinitionError(f"{place}: the feature view has {has}", "number its versions: `versions: [{v: 1}]`")
    if not node["config"].get("contract", {}).get("enforced"):
        raise DefinitionError(
            f"{place}: the contract is not enforced, so its types could change unseen",
            "add `contract: {enforced: true}` to the model's config",
        )
    types = _column_types(node, place)
    join_keys, deleted = settings["join_keys"], settings.get("deleted")
    available_at = None if settings["available_at"] == "none" else settings["available_at"]
    times = [settings["event_timestamp"], *([available_at] if available_at else [])]
    special = [*join_keys, *times, *([deleted] if deleted else [])]
    for name in special:
        if name not in types:
            raise DefinitionError(
                f"{place}: '{name}' is not among the columns ({', '.join(types)})",
                "add it to the model's columns, with its data_type",
            )
    for name, type_ in types.items():
        if (name in times and type_ != "timestamptz") or type_ == "timestamp":
            raise DefinitionError(
                f"{place}, column '{name}': type {type_} has no zone, so it names no instant",
                f"declare timestamptz and convert in the model: {name} at time zone 'UTC', or the zone of its clock",
            )
    if deleted and types[deleted] != "boolean":
        raise DefinitionError(
            f"{place}, column '{deleted}': it marks deleted rows and is {types[deleted]}", "make it boolean"
        )
    features = tuple(Feature(name, type_) for name, type_ in types.items() if name not in special)
    if not features:
        raise DefinitionError(f"{place}: there is no column left to be a feature", "add the features to the columns")
    for feature in features:
        if feature.name == _RESERVED:
            raise DefinitionError(f"{place}, column '{_RESERVED}': every message has a field of that name", "rename it")
    _check_camel([_RESERVED, *(feature.name for feature in features)], place)
    tier = settings.get("tier") or "daily"
    if tier not in TIERS:
        raise DefinitionError(f"{place}: tier is '{tier}'", f"write one of {', '.join(TIERS)}")
    expected = _duration(settings, "expected_every", place)
    _duration(settings, "sync_delay", place)  # the macros' own; a wrong one is better found here too
    _check_name(settings["entity"], f"{place}: the entity's name")
    return FeatureView(
        name=node["name"],
        version=node["version"],
        entity=Entity(settings["entity"], tuple(_join_key(name, types[name], place) for name in join_keys)),
        features=features,
        event_timestamp=settings["event_timestamp"],
        available_at=available_at,
        deleted=deleted,
        ttl=_duration(settings, "ttl", place),
        tier=tier,
        expected_every=expected if expected is not None else TIERS[tier],
        deprecation_date=date.fromisoformat(node["deprecation_date"][:10]) if node.get("deprecation_date") else None,
    )


def _view_settings(declared: object, place: str) -> dict[str, Any]:
    """What stands under ``feature_view``, complete and each setting of its kind."""
    if not isinstance(declared, dict):
        raise DefinitionError(f"{place}: config.meta.feature_view is {declared!r}, not a mapping", "write entity: ...")
    _check_settings(declared, "feature_view", f"{place}, config.meta.feature_view")
    for setting, hint in _REQUIRED.items():
        if not declared.get(setting):
            raise DefinitionError(f"{place}: config.meta.feature_view has no '{setting}'", hint)
    for setting in ("entity", "event_timestamp", "available_at", "deleted", "tier"):
        value = declared.get(setting)
        if value is not None and not isinstance(value, str):
            raise DefinitionError(f"{place}: {setting} is {value!r}", "write one name")
    if declared.get("history") not in (None, "append_only"):
        raise DefinitionError(
            f"{place}: history is {declared['history']!r}", "write `history: append_only`, or leave it out"
        )
    if not _is_names(declared["join_keys"]):
        raise DefinitionError(
            f"{place}: join_keys is {declared['join_keys']!r}", "write a list of column names: `join_keys: [carrier]`"
        )
    return declared


def _check_join_keys(node: dict[str, Any], models: Iterable[dict[str, Any]]) -> None:
    """Raises DefinitionError for lists that dbt has put end to end: a version's own, and after it its model's.

    dbt leaves no trace of where one ends. So what a version adds to the keys of another one is refused. The macros have
    the same rule, ``_join_keys``.
    """
    place, keys = place_of(node), node["config"]["meta"]["feature_view"]["join_keys"]
    once = "dbt puts the list of a model and that of its version end to end: give `join_keys` on the model, or in the "
    once += "config of each version, never in both"
    if len({*keys}) < len(keys):
        raise DefinitionError(f"{place}: join_keys is {keys!r}, where a column is repeated", f"name each once; {once}")
    for other in models:
        declared = other["config"].get("meta", {}).get("feature_view")
        others: Any = declared.get("join_keys") if isinstance(declared, dict) else None
        if other["name"] != node["name"] or other is node or not _is_names(others):
            continue
        if len(keys) > len(others) and keys[-len(others) :] == others:
            raise DefinitionError(
                f"{place}: join_keys is {keys!r}, which ends with those of "
                f"{view_id(other['name'], other['version'])}, {others!r}",
                f"{once}; if all of them are its keys, list them in another order",
            )


def _column_types(node: dict[str, Any], place: str) -> dict[str, str]:
    """Column -> canonical type, in the order of the columns."""
    types = {}
    for column in node["columns"].values():
        _check_name(column["name"], f"{place}: the column name")
        if not column.get("data_type"):
            raise DefinitionError(f"{place}, column '{column['name']}': it has no data_type", "declare its data_type")
        types[column["name"]] = canonical(column["data_type"])
    return types


def _join_key(name: str, type_: str, place: str) -> JoinKey:
    try:
        return JoinKey(name, key_type(type_))
    except DefinitionError as error:
        raise DefinitionError(f"{place}, column '{name}': {error.message}", error.hint) from None


def _duration(declared: dict[str, Any], setting: str, place: str) -> timedelta | None:
    if declared.get(setting) is None:
        return None
    try:
        return parse_duration(declared[setting])
    except ValueError as error:
        raise DefinitionError(
            f"{place}: {setting}: {error}", "write a whole number and a unit: '90 minutes', '7 days'"
        ) from None


#: What stands for a look-back without end.
_ENDLESS = "unbounded"


def _lookbacks(declared: dict[str, Any], view: FeatureView, place: str) -> dict[str, timedelta | None]:
    """Of one period, or of a mapping from features to periods."""
    given = declared.get("lookback")
    if given is None:
        return {}
    names = [feature.name for feature in view.features]
    by_feature = given if isinstance(given, dict) else dict.fromkeys(names, given)
    for name in by_feature:
        if name not in names:
            raise DefinitionError(f"{place}: lookback: there is no feature '{name}'", closest(name, names, "features"))
    return {name: None if text == _ENDLESS else _period(text, "lookback", place) for name, text in by_feature.items()}


def _retention(kept: object, place: str) -> Retention:
    if not isinstance(kept, dict):
        period = _period(kept, "retention", place)
        return Retention(period, period)
    for tier in kept:
        if tier not in ("offline", "online"):
            raise DefinitionError(
                f"{place}: retention of '{tier}'", "write `retention: {offline: 3 years, online: 90 days}`"
            )
    return Retention(**{tier: _period(text, f"retention, {tier}", place) for tier, text in kept.items()})


def _period(text: object, setting: str, place: str) -> timedelta:
    try:
        return parse_period(str(text))
    except ValueError as error:
        raise DefinitionError(
            f"{place}: {setting}: {error}", "write a whole number and a unit: '90 days', '18 months', '3 years'"
        ) from None


def _check_against(view: FeatureView, others: Mapping[str, DeclaredView], path: str) -> None:
    for other in others.values():
        if other.view.entity.name == view.entity.name and other.view.entity != view.entity:
            raise DefinitionError(
                f"{path}: {view.id} gives the entity '{view.entity.name}' the keys {_keys(view.entity)}, "
                f"but {other.view.id} ({other.path}) gives it {_keys(other.view.entity)}",
                "all views of one entity have the same join keys: names, order and types",
            )
        if other.view.name != view.name and _camel(other.view.name) == _camel(view.name):
            raise DefinitionError(
                f"{path}: the names {view.name} and {other.view.name} are the same in protobuf", "rename one of them"
            )


def _keys(entity: Entity) -> str:
    return "(" + ", ".join(f"{key.name} {key.type}" for key in entity.join_keys) + ")"


# --- services ---------------------------------------------------------------------------------------------------------


def _read_service(
    exposure: dict[str, Any], declared: object, views: Mapping[str, DeclaredView], wrong: set[str]
) -> FeatureService:
    place = place_of(exposure)
    if not isinstance(declared, dict):
        raise DefinitionError(f"{place}: config.meta.feature_service is {declared!r}, not a mapping", "write name: ...")
    _check_settings(declared, "feature_service", f"{place}, config.meta.feature_service")
    _check_name(declared.get("name"), f"{place}: the service's name")
    version = declared.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DefinitionError(f"{place}: the service's version is {version!r}", "write a whole number: `version: 1`")
    reads = declared.get("features")
    if not isinstance(reads, list) or not reads:
        raise DefinitionError(
            f"{place}: the service reads no features", "add `features: [{view: ..., features: [...]}]`"
        )
    on_demand = declared.get("on_demand") or []
    if not isinstance(on_demand, list):
        raise DefinitionError(f"{place}: on_demand is {on_demand!r}", f"write a list: {_ON_DEMAND}")
    service = FeatureService(
        name=declared["name"],
        version=version,
        views=tuple(_read_service_view(read, views, wrong, place) for read in reads),
        request=_read_request(declared.get("request") or {}, place),
        on_demand=tuple(_read_on_demand(item, place) for item in on_demand),
        owner=exposure.get("owner", {}).get("name") or exposure.get("owner", {}).get("email") or "",
    )
    _check_versions(service, views, place)
    _check_outputs(service, place)
    _check_request(service, views, place)
    named = {views[read.view].unique_id for read in service.views}
    depends = {node for node in exposure["depends_on"]["nodes"] if node in {v.unique_id for v in views.values()}}
    if named != depends:
        by_id = {declared_view.unique_id: declared_view.view.id for declared_view in views.values()}
        missing = ", ".join(sorted(by_id[node] for node in named - depends))
        spare = ", ".join(sorted(by_id[node] for node in depends - named))
        raise DefinitionError(
            f"{place}: depends_on and features disagree"
            + (f"; depends_on lacks {missing}" if missing else "")
            + (f"; no feature is read of {spare}" if spare else ""),
            "list one ref('<view>', v=<version>) in depends_on for each view under features",
        )
    return service


def _read_service_view(read: object, views: Mapping[str, DeclaredView], wrong: set[str], place: str) -> ServiceView:
    if not isinstance(read, dict) or not isinstance(read.get("view"), str):
        raise DefinitionError(f"{place}: {read!r} names no view", "write `{view: carrier_delays.v2, features: [...]}`")
    id_ = read["view"]
    _check_settings(read, "features", f"{place}, {id_}")
    if id_ in wrong:
        raise DefinitionError(
            f"{place}: {id_} is declared wrongly, so the service cannot be read", "mend the view first"
        )
    if id_ not in views:
        raise DefinitionError(f"{place}: there is no feature view '{id_}'", closest(id_, views, "declared views"))
    view = views[id_].view
    features: Any = read.get("features")
    if not _is_names(features):
        raise DefinitionError(f"{place}: no features are read of {id_}", "list them: `features: [delay_rate_7d]`")
    by_name = {feature.name: feature for feature in view.features}
    for name in features:
        if name not in by_name:
            raise DefinitionError(f"{place}: {id_} has no feature '{name}'", closest(name, by_name, "its features"))
        try:
            feature_type(by_name[name].type)
        except DefinitionError as error:
            raise DefinitionError(f"{views[id_].path}: {id_}, column '{name}': {error.message}", error.hint) from None
    keys = read.get("keys") or {}
    if not isinstance(keys, dict):
        raise DefinitionError(f"{place}: the keys of {id_} are {keys!r}", "map join keys to names: `{airport: origin}`")
    join_keys = {key.name for key in view.entity.join_keys}
    for key, name in keys.items():
        if key not in join_keys:
            raise DefinitionError(f"{place}: {id_} has no join key '{key}'", closest(key, join_keys, "its join keys"))
        _check_name(name, f"{place}: the name for the join key '{key}' of {id_}")
    prefix = read.get("prefix") or ""
    if not isinstance(prefix, str):
        raise DefinitionError(f"{place}: the prefix for {id_} is {prefix!r}", "write a text: `prefix: origin_`")
    return ServiceView(view=id_, features=tuple(features), keys=dict(keys), prefix=prefix)


def _read_request(request: object, place: str) -> dict[str, str]:
    if not isinstance(request, dict):
        raise DefinitionError(f"{place}: request is {request!r}", "map names to types: `{distance_miles: double}`")
    for name in request:
        _check_name(name, f"{place}: the request value's name")
    return {name: _typed(name, type_, place) for name, type_ in request.items()}


def _read_on_demand(item: object, place: str) -> OnDemandFeature:
    if isinstance(item, dict):
        _check_settings(item, "on_demand", f"{place}, on_demand")
    if not isinstance(item, dict) or item.keys() != SETTINGS["on_demand"]:
        raise DefinitionError(f"{place}: {item!r} is no on-demand feature", f"write a list: {_ON_DEMAND}")
    _check_name(item["name"], f"{place}: the on-demand feature's name")
    return OnDemandFeature(item["name"], _typed(item["name"], item["data_type"], place), str(item["expression"]))


def _typed(name: str, data_type: object, place: str) -> str:
    try:
        return feature_type(str(data_type)).name
    except DefinitionError as error:
        raise DefinitionError(f"{place}, '{name}': {error.message}", error.hint) from None


def _check_versions(service: FeatureService, views: Mapping[str, DeclaredView], place: str) -> None:
    read: dict[str, str] = {}
    for one in service.views:
        other = read.setdefault(views[one.view].view.name, one.view)
        if other != one.view:
            raise DefinitionError(
                f"{place}: it reads {other} and {one.view}, two versions of one feature view",
                "read all features of one version; a newer version can take in what the older one has",
            )


def _check_outputs(service: FeatureService, place: str) -> None:
    owners: dict[str, str] = {}
    outputs = [(read.prefix + name, read.view) for read in service.views for name in read.features]
    outputs += [(feature.name, "on_demand") for feature in service.on_demand]
    for output, owner in outputs:
        _check_name(output, f"{place}: the feature name")
        if output in owners:
            raise DefinitionError(
                f"{place}: two features are called '{output}', of {owners[output]} and of {owner}",
                "give one of the views a `prefix:`",
            )
        owners[output] = owner
    for name in service.request:
        if name in owners:
            raise DefinitionError(
                f"{place}: '{name}' is a request value and a feature, of {owners[name]}",
                "give one of them another name",
            )


def _check_request(service: FeatureService, views: Mapping[str, DeclaredView], place: str) -> None:
    types = {name: (type_, "request") for name, type_ in service.request.items()}
    for read in service.views:
        for key in views[read.view].view.entity.join_keys:
            name = read.keys.get(key.name, key.name)
            type_, owner = types.setdefault(name, (key.type, read.view))
            if type_ != key.type:
                raise DefinitionError(
                    f"{place}: '{name}' is a {type_} for {owner} and a {key.type} for {read.view}",
                    "read one of them under another name: keys: {<join key>: <name>}",
                )


# --- shared checks ----------------------------------------------------------------------------------------------------


def _check_settings(declared: dict[str, Any], part: str, place: str) -> None:
    known = SETTINGS[part]
    for setting in declared:
        if setting not in known:
            raise DefinitionError(f"{place}: unknown setting '{setting}'", closest(setting, known, "known settings"))


def _is_names(value: object) -> bool:
    """True for a list of texts that is not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(f"{what} is {name!r}", "use lower-case letters, digits and _, beginning with a letter")


def _check_camel(names: Iterable[str], place: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if _camel(name) in seen:
            raise DefinitionError(
                f"{place}: the names {seen[_camel(name)]} and {name} are the same in protobuf", "rename one of them"
            )
        seen[_camel(name)] = name


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
