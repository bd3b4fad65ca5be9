"""What may stand under ``config.meta``, and the checks that its parts share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from feature_warehouse.errors import DefinitionError, WronglyDeclaredError, closest
from feature_warehouse.project import feast
from feature_warehouse.registry.feature import NAME

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
            "settled",
        )
    ),
    "feature_service": frozenset(("name", "version", "features", "request", "on_demand")),
    "features": frozenset(("view", "features", "keys", "prefix")),
    "on_demand": frozenset(("name", "data_type", "expression")),
}


def check_settings(declared: dict[str, Any], part: str, place: str) -> None:
    known = SETTINGS[part]
    for setting in declared:
        if setting not in known:
            hint = feast.SETTINGS[part].get(setting) or closest(setting, known, "known settings")
            raise DefinitionError(f"{place}: unknown setting '{setting}'", hint)


_Part = TypeVar("_Part")
_Read = TypeVar("_Read")


def read_each(parts: Iterable[_Part], read: Callable[[_Part], _Read]) -> list[_Read]:
    """What is read of each part. Raises WronglyDeclaredError with what is wrong of all of them."""
    done: list[_Read] = []
    problems: list[DefinitionError] = []
    for part in parts:
        try:
            done.append(read(part))
        except DefinitionError as problem:
            problems += problems_of(problem)
    if problems:
        raise WronglyDeclaredError(problems)
    return done


def problems_of(problem: DefinitionError) -> tuple[DefinitionError, ...]:
    return problem.problems if isinstance(problem, WronglyDeclaredError) else (problem,)


def is_names(value: object) -> bool:
    """True for a list of texts that is not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(f"{what} is {name!r}", "use lower-case letters, digits and _, beginning with a letter")


def check_camel(names: Iterable[str], place: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if camel(name) in seen:
            raise DefinitionError(
                f"{place}: the names {seen[camel(name)]} and {name} are the same in protobuf", "rename one of them"
            )
        seen[camel(name)] = name


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
