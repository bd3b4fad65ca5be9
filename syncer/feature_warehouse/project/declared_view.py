"""A feature view as a model's YAML declares it, checked and made a fact."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from feature_warehouse.errors import DefinitionError, closest
from feature_warehouse.project.manifest import place_of
from feature_warehouse.project.settings import camel, check_camel, check_name, check_settings, is_names, read_each
from feature_warehouse.registry.feature import (
    TIERS,
    Entity,
    Feature,
    FeatureView,
    JoinKey,
    Retention,
    parse_duration,
    parse_period,
    view_id,
)
from feature_warehouse.registry.guards import Guards
from feature_warehouse.registry.types import INTEGER_RANGES, canonical, key_type

if TYPE_CHECKING:
    from feature_warehouse.project.declarations import DeclaredView

#: What every feature view declares, and the hint for who did not.
_REQUIRED = {
    "entity": "say what the features describe: `entity: carrier`",
    "join_keys": "list the columns that tell entities apart: `join_keys: [carrier]`",
    "event_timestamp": "name the column that says when a value became true: `event_timestamp: event_at`",
    "available_at": "name the column that says when a value could first be read, or waive it: `available_at: none`",
}

#: Field 1 of every message.
_RESERVED = "event_time"


def read_view(node: dict[str, Any], declared: object, models: Iterable[dict[str, Any]]) -> FeatureView:
    place = place_of(node)
    settings = _view_settings(declared, place)
    _check_join_keys(node, models)
    check_name(node["name"], f"{place}: the feature view's name")
    if not isinstance(node["version"], int):
        has = "no version" if node["version"] is None else f"the version {node['version']!r}"
        raise DefinitionError(f"{place}: the feature view has {has}", "number its versions: `versions: [{v: 1}]`")
    if not node["config"].get("contract", {}).get("enforced"):
        raise DefinitionError(
            f"{place}: the contract is not enforced, so its types could change unseen",
            "add `contract: {enforced: true}` to the model's config",
        )
    join_keys, deleted = settings["join_keys"], settings.get("deleted")
    available_at = None if settings["available_at"] == "none" else settings["available_at"]
    times = [settings["event_timestamp"], *([available_at] if available_at else [])]
    special = [*join_keys, *times, *([deleted] if deleted else [])]
    columns = list(node["columns"].values())
    _check_names(special, [column["name"] for column in columns], place)

    def read(column: dict[str, Any]) -> tuple[str, str]:
        name, type_ = _column_type(column, place)
        if (name in times and type_ != "timestamptz") or type_ == "timestamp":
            raise DefinitionError(
                f"{place}, column '{name}': type {type_} has no zone, so it names no instant",
                f"declare timestamptz and convert in the model: {name} at time zone 'UTC', or the zone of its clock",
            )
        if name == deleted and type_ != "boolean":
            raise DefinitionError(f"{place}, column '{name}': it marks deleted rows and is {type_}", "make it boolean")
        if name in join_keys:
            _join_key(name, type_, place)
        return name, type_

    types = dict(read_each(columns, read))
    features = tuple(Feature(name, type_) for name, type_ in types.items() if name not in special)
    if not features:
        raise DefinitionError(f"{place}: there is no column left to be a feature", "add the features to the columns")
    for feature in features:
        if feature.name == _RESERVED:
            raise DefinitionError(f"{place}, column '{_RESERVED}': every message has a field of that name", "rename it")
    check_camel([_RESERVED, *(feature.name for feature in features)], place)
    tier = settings.get("tier") or "daily"
    if tier not in TIERS:
        raise DefinitionError(f"{place}: tier is '{tier}'", f"write one of {', '.join(TIERS)}")
    expected = _duration(settings, "expected_every", place)
    read_sync_delay(settings, place)  # a wrong one is no fact, and is found with the others
    check_name(settings["entity"], f"{place}: the entity's name")
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
    check_settings(declared, "feature_view", f"{place}, config.meta.feature_view")
    for setting, hint in _REQUIRED.items():
        if not declared.get(setting):
            raise DefinitionError(f"{place}: config.meta.feature_view has no '{setting}'", hint)
    for setting in ("entity", "event_timestamp", "available_at", "deleted", "tier", "settled"):
        value = declared.get(setting)
        if value is not None and not isinstance(value, str):
            raise DefinitionError(f"{place}: {setting} is {value!r}", "write one name")
    if declared.get("history") not in (None, "append_only"):
        raise DefinitionError(
            f"{place}: history is {declared['history']!r}", "write `history: append_only`, or leave it out"
        )
    if not is_names(declared["join_keys"]):
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
        if other["name"] != node["name"] or other is node or not is_names(others):
            continue
        if len(keys) > len(others) and keys[-len(others) :] == others:
            raise DefinitionError(
                f"{place}: join_keys is {keys!r}, which ends with those of "
                f"{view_id(other['name'], other['version'])}, {others!r}",
                f"{once}; if all of them are its keys, list them in another order",
            )


def _check_names(special: Iterable[str], columns: Sequence[str], place: str) -> None:
    """Raises DefinitionError for a setting that names no column."""
    missing = [name for name in dict.fromkeys(special) if name not in columns]
    if missing:
        add = "add it to the model's columns, with its data_type"
        near = closest(missing[0], columns, "")
        raise DefinitionError(
            f"{place}: {_quoted(missing)} {'is' if len(missing) == 1 else 'are'} not among the columns "
            f"({', '.join(columns)})",
            f"{near} Else {add}" if near.endswith("?") else add,
        )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _column_type(column: dict[str, Any], place: str) -> tuple[str, str]:
    """Its name and canonical type."""
    check_name(column["name"], f"{place}: the column name")
    if not column.get("data_type"):
        raise DefinitionError(f"{place}, column '{column['name']}': it has no data_type", "declare its data_type")
    return column["name"], canonical(column["data_type"])


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


def read_sync_delay(declared: dict[str, Any], place: str) -> timedelta | None:
    """How much later than known a view's values are online."""
    return _duration(declared, "sync_delay", place)


#: What stands for a look-back without end.
_ENDLESS = "unbounded"


def read_lookbacks(declared: dict[str, Any], view: FeatureView, place: str) -> dict[str, timedelta | None]:
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


def read_guards(node: dict[str, Any], view: FeatureView) -> dict[str, Guards]:
    """By feature, the guards in the ``config.meta`` of its column."""
    features = {feature.name: feature.type for feature in view.features}
    found = {}
    for column in node["columns"].values():
        name, meta = column["name"], {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
        if "guards" not in meta:
            continue
        place = f"{place_of(node)}, column '{name}', config.meta.guards"
        if name not in features:
            raise DefinitionError(f"{place}: it is no feature", "guards watch the values of features: move them there")
        found[name] = _guards(meta["guards"], features[name], place)
    return found


def _guards(declared: object, type_: str, place: str) -> Guards:
    if not isinstance(declared, dict) or not declared:
        raise DefinitionError(f"{place} is {declared!r}, not a mapping", "write `guards: {max_null_jump: 0.2}`")
    known = [each.name for each in fields(Guards)]
    for setting in declared:
        if setting not in known:
            raise DefinitionError(f"{place}: unknown setting '{setting}'", closest(setting, known, "known settings"))
    given: dict[str, Any] = {
        setting: [*map(_number, value)] if isinstance(value, list) else _number(value)
        for setting, value in declared.items()
    }
    for setting in ("max_null_jump", "max_changed_share"):
        share = given.get(setting)
        if share is not None and not (_is_number(share) and 0 <= share <= 1):
            raise DefinitionError(f"{place}: {setting} is {share!r}", "write a share between 0 and 1: 0.2 is 20 %")
    if not isinstance(given.get("hold_on_drift", False), bool):
        raise DefinitionError(f"{place}: hold_on_drift is {given['hold_on_drift']!r}", "write true or false")
    ends = given.get("range")
    if ends is not None:
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) and ends[0] <= ends[1]):
            raise DefinitionError(
                f"{place}: range is {ends!r}",
                "write the smallest and the largest value: `range: [0, 1e6]`, `[0, .inf]` where there is none",
            )
        if type_ not in INTEGER_RANGES and type_ not in ("float", "double") and not type_.startswith("decimal"):
            raise DefinitionError(
                f"{place}: range is judged on numbers, and this is {type_}",
                "leave it out; what a date or a text may be is a dbt test of the model",
            )
        ends = (ends[0], ends[1])
    return Guards(**{**given, "range": ends})


def _number(value: Any) -> Any:
    """A number that YAML 1.1 takes for a text, because it has no point: 1e6."""
    if not isinstance(value, str) or not _POINTLESS.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


#: Digits and an exponent.
_POINTLESS = re.compile(r"[-+]?[0-9]{1,15}[eE][-+]?[0-9]{1,2}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def read_retention(kept: object, place: str) -> Retention:
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


def check_against(view: FeatureView, others: Mapping[str, DeclaredView], path: str) -> None:
    for other in others.values():
        if other.view.entity.name == view.entity.name and other.view.entity != view.entity:
            raise DefinitionError(
                f"{path}: {view.id} gives the entity '{view.entity.name}' the keys {_keys(view.entity)}, "
                f"but {other.view.id} ({other.path}) gives it {_keys(other.view.entity)}",
                "all views of one entity have the same join keys: names, order and types",
            )
        if other.view.name != view.name and camel(other.view.name) == camel(view.name):
            raise DefinitionError(
                f"{path}: the names {view.name} and {other.view.name} are the same in protobuf", "rename one of them"
            )


def _keys(entity: Entity) -> str:
    return "(" + ", ".join(f"{key.name} {key.type}" for key in entity.join_keys) + ")"
