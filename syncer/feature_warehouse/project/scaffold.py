"""The files of a new feature view over a model that is there: its SQL, its YAML, its latest-value view, and a service.

Pure text from facts: the warehouse has told what columns the model has, and who asks what they do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from feature_warehouse.errors import DefinitionError, UnsupportedTypeError, closest
from feature_warehouse.project.settings import check_name
from feature_warehouse.registry.feature import NAME
from feature_warehouse.registry.types import feature_type, key_type

#: A zone by its name, as the tz database has them.
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]*")

#: The names that a view gives its times, and the one that no feature may have.
_TAKEN = {"event_at", "known_at", "event_time"}

#: What loaders call the column in which they say when a row came, and what people do.
_AVAILABLE = (
    "available_at known_at loaded_at _loaded_at ingested_at _ingested_at received_at inserted_at _fivetran_synced "
    "_airbyte_extracted_at _airbyte_emitted_at _sdc_received_at _dlt_load_time"
).split()

#: Types of a moment, and what makes an instant of each; ``{zone}``: of the clock that wrote it.
_INSTANTS = {
    "timestamptz": "{column}",
    "timestamp": "{column} at time zone '{zone}'",
    "date": "cast({column} as timestamp) at time zone '{zone}'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is said of a new feature view; None and (): to be found out."""

    name: str
    model: str  # whose rows it is made of, as ``ref`` takes it
    entity: str | None = None
    join_keys: tuple[str, ...] = ()
    event_timestamp: str | None = None
    available_at: str | None = None  # 'none': waived
    features: tuple[str, ...] = ()  # (): all other columns that can be served
    time_zone: str = "UTC"  # of naive timestamps
    tier: str = "daily"
    service: str | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """A feature view about to be written."""

    wish: Wish
    entity: str
    types: Mapping[str, str]  # of the model's columns, canonical
    join_keys: tuple[str, ...]
    event_timestamp: str
    available_at: str | None
    features: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)  # {column: why it cannot be a feature}

    @property
    def columns(self) -> dict[str, tuple[str, str]]:
        """{column of the view: (its SQL, its canonical type)}, in their order."""
        found = {key: (key, self.types[key]) for key in self.join_keys}
        found |= {name: self._converted(name) for name in self.features}
        found["event_at"] = self._converted(self.event_timestamp)
        if self.available_at:
            found["known_at"] = self._converted(self.available_at)
        return found

    @property
    def naive(self) -> dict[str, str]:
        """{column: the SQL that makes an instant of it}."""
        return {name: sql for name, (sql, type_) in self.columns.items() if " at time zone " in sql}

    def _converted(self, column: str) -> tuple[str, str]:
        type_ = self.types[column]
        if type_ == "date" and column in self.features:
            return column, type_
        name = column if NAME.fullmatch(column) else '"' + column.replace('"', '""') + '"'
        form = _INSTANTS.get(type_)
        return (name, type_) if form is None else (form.format(column=name, zone=self.wish.time_zone), "timestamptz")


def scaffold(wish: Wish, types: Mapping[str, str]) -> Scaffold:
    """The view that ``wish`` means, over a model with columns of these canonical types.

    Raises DefinitionError for what is wrong with it, and for what it leaves open and nobody can know.
    """
    check_name(wish.name, "the feature view's name")
    if not _ZONE.fullmatch(wish.time_zone):
        raise DefinitionError(f"'{wish.time_zone}' is no time zone", "give its name: --time-zone Europe/Berlin")
    for column in (*wish.join_keys, wish.event_timestamp, wish.available_at, *wish.features):
        if column not in (None, "none") and column not in types:
            raise DefinitionError(f"{wish.model} has no column '{column}'", closest(column, types, "its columns"))
    available = _available(wish, types)
    event = _event(wish, types, available)
    for column in filter(None, (event, available)):
        if types[column] not in _INSTANTS:
            raise DefinitionError(
                f"{wish.model}: '{column}' is {types[column]}, and no time",
                f"name one of {_listed(_times(types))}, or make an instant of it in the model",
            )
    keys = _keys(wish, types, {event, available})
    entity = wish.entity or _entity(keys, wish.name)
    check_name(entity, "the entity's name")
    others = wish.features or tuple(name for name in types if name not in {*keys, event, available})
    left_out = {name: why for name in others if (why := _unserved(name, types[name]))}
    if wish.features and left_out:
        name, why = next(iter(left_out.items()))
        raise DefinitionError(f"{wish.model}: '{name}' can be no feature: {why}", "cast or rename it in the model")
    features = tuple(name for name in others if name not in left_out)
    if not features:
        raise DefinitionError(
            f"{wish.model} has no column that could be a feature",
            "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "add one to the model",
        )
    return Scaffold(
        wish=wish,
        entity=entity,
        types=types,
        join_keys=keys,
        event_timestamp=event,
        available_at=available,
        features=features,
        left_out=left_out,
    )


def files(view: Scaffold, folder: PurePosixPath, type_name: Callable[[str], str]) -> dict[PurePosixPath, str]:
    """{path: its text} of the new files, below the folder of models. ``type_name``: what the engine calls a type."""
    name = view.wish.name
    made = {
        folder / "features" / f"{name}_v1.sql": _sql(view),
        folder / "features" / f"{name}.yml": _yaml(_properties(view, type_name)),
        folder / "latest" / f"latest_{name}_v1.sql": f'{{{{ feature_warehouse.latest_values(ref("{name}", v=1)) }}}}\n',
    }
    if view.wish.service:
        made[folder / "services" / f"{view.wish.service}_v1.yml"] = _yaml(_service(view, view.wish.service))
    return made


def _available(wish: Wish, types: Mapping[str, str]) -> str | None:
    if wish.available_at is not None:
        return None if wish.available_at == "none" else wish.available_at
    named = [name for name in types if name.lower() in _AVAILABLE and name != wish.event_timestamp]
    if len(named) == 1 and types[named[0]] in _INSTANTS:
        return named[0]
    raise DefinitionError(
        f"which column of {wish.model} says when a row could first be read is not to be seen",
        f"give it: --available-at, one of {_listed(_times(types))}; or 'none', where rows are there at once",
    )


def _event(wish: Wish, types: Mapping[str, str], available: str | None) -> str:
    if wish.event_timestamp is not None:
        return wish.event_timestamp
    times = [name for name in _times(types) if name != available]
    if len(times) == 1:
        return times[0]
    raise DefinitionError(
        f"which column of {wish.model} says when its values became true is not to be seen",
        f"give it: --event-timestamp, one of {_listed(times)}",
    )


def _keys(wish: Wish, types: Mapping[str, str], times: set[str | None]) -> tuple[str, ...]:
    if wish.join_keys:
        found = wish.join_keys
    else:
        likely = [f"{wish.entity}_id", wish.entity] if wish.entity else []
        named = [name for name in likely if name in types] or [name for name in types if name.endswith("_id")]
        if len(named) != 1:
            raise DefinitionError(
                f"which columns of {wish.model} tell entities apart is not to be seen",
                f"give them: --join-key, once for each, of {_listed(name for name in types if name not in times)}",
            )
        found = (named[0],)
    for name in found:
        check_name(name, f"{wish.model}: the join key")
        try:
            key_type(types[name])
        except UnsupportedTypeError as error:
            raise DefinitionError(f"{wish.model}: '{name}' can be no join key: {error.message}", error.hint) from None
    return found


def _entity(keys: Sequence[str], view: str) -> str:
    """'customer' for customer_id; the view's own name where the keys do not say."""
    return keys[0].removesuffix("_id") if len(keys) == 1 else view


def _times(types: Mapping[str, str]) -> list[str]:
    return [name for name, type_ in types.items() if type_ in _INSTANTS]


def _unserved(name: str, type_: str) -> str | None:
    if not NAME.fullmatch(name):
        return "names of features have lower-case letters, digits and _"
    if name in _TAKEN:
        return "the view's own times have that name"
    if type_ == "numeric":
        return "numeric without precision and scale may have any; cast it in the model"
    try:
        feature_type("timestamptz" if type_ == "timestamp" else type_)
    except UnsupportedTypeError as error:
        return f"{error.message}; {error.hint}"
    return None


def _sql(view: Scaffold) -> str:
    keys = ", ".join(view.join_keys)
    selected = ",\n    ".join(sql if sql == name else f"{sql} as {name}" for name, (sql, _) in view.columns.items())
    return (
        f"-- the history of {view.entity}: a row per {keys} and time; a new value is a new row\n"
        f"select\n    {selected}\nfrom {{{{ {_ref(view.wish.model)} }}}}\n"
    )


def _ref(model: str) -> str:
    """'orders.v2', as the syncer names it, as dbt does."""
    name, _, version = model.partition(".v")
    return f'ref("{name}", v={version})' if version else f'ref("{name}")'


def _properties(view: Scaffold, type_name: Callable[[str], str]) -> dict[str, Any]:
    special = {*view.join_keys, "event_at", "known_at"}
    columns = [
        {"name": name, "data_type": type_name(type_)}
        | ({"constraints": [{"type": "not_null"}]} if name in special else {})
        for name, (_, type_) in view.columns.items()
    ]
    declared = {
        "entity": view.entity,
        "join_keys": list(view.join_keys),
        "event_timestamp": "event_at",
        "available_at": "known_at" if view.available_at else "none",
        "tier": view.wish.tier,
    }
    tests = ["unique_history", *(["available_by_now"] if view.available_at else []), "zoned_timestamps"]
    model = {
        "name": view.wish.name,
        "latest_version": 1,
        "config": {"materialized": "table", "contract": {"enforced": True}, "meta": {"feature_view": declared}},
        "data_tests": [f"feature_warehouse.{test}" for test in tests],
        "columns": columns,
        "versions": [{"v": 1}],
    }
    return {"models": [model]}


def _service(view: Scaffold, service: str) -> dict[str, Any]:
    check_name(service, "the feature service's name")
    name, _, email = view.wish.owner.partition(" <")
    owner = {"name": name, "email": email.removesuffix(">")} if email else {"name": view.wish.owner}
    read = {"view": f"{view.wish.name}.v1", "features": list(view.features)}
    exposure = {
        "name": f"{service}_v1",
        "type": "ml",
        "owner": owner,
        "depends_on": [f"ref('{view.wish.name}', v=1)"],
        "config": {"meta": {"feature_service": {"name": service, "version": 1, "features": [read]}}},
    }
    return {"exposures": [exposure]}


def _yaml(content: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=118, allow_unicode=True)
    return text


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
