"""Register and check: a project's declarations against its registry files.

``register`` writes ``registry/registry.json`` and ``registry/features.proto``, both reviewed like code. ``check``
writes nothing and finds all that ``register`` would do, refuse or complain of; CI runs it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from syncer.declarations import Declarations
from syncer.decode import proto_text
from syncer.errors import DefinitionError, RegistryError, SyncerError
from syncer.registry import Registry, load_registry, register, to_text

_REGISTER = "run `syncer register` and commit registry/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What ``register`` wrote; ``changes`` in words, [] when the registry already said the same."""

    registry: Registry
    changes: tuple[str, ...]


def accepted_registry(declarations: Declarations, registry_path: Path) -> Registry:
    """The registry, when it says exactly what the project declares.

    Raises DefinitionError for the first declaration that is wrong, RegistryError when the registry is behind or empty.
    """
    declarations.raise_first()
    accepted = load_registry(registry_path, declarations.project)
    _, changes = register(accepted, declarations.feature_views, declarations.services)
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise RegistryError(f"the registry is behind the project: {changes[0]}{more}", _REGISTER)
    if not accepted.views:
        raise RegistryError(
            "no feature is served", "declare a feature service (an exposure of `type: ml`), then run `syncer register`"
        )
    return accepted


def register_project(declarations: Declarations, registry_path: Path, proto_path: Path) -> Registered:
    """Takes the declarations into the registry and writes both files.

    Raises DefinitionError for the first declaration that is wrong and RegistryError for a change that is refused; both
    files are then as before.
    """
    declarations.raise_first()
    registry, changes = register(
        load_registry(registry_path, declarations.project),
        declarations.feature_views,
        declarations.services,
    )
    for path, text in ((registry_path, to_text(registry)), (proto_path, proto_text(registry.views.values()))):
        _write(path, text)
    return Registered(registry=registry, changes=tuple(changes))


def check_project(declarations: Declarations, registry_path: Path, proto_path: Path) -> list[SyncerError]:
    """All that is wrong, in order: declarations, latest-value views, refused changes, files behind the project."""
    problems: list[SyncerError] = [*declarations.problems]
    try:
        accepted = load_registry(registry_path, declarations.project)
        registry, changes = register(accepted, declarations.feature_views, declarations.services)
    except RegistryError as problem:
        return [*problems, problem]
    for id_ in registry.views:
        declared = declarations.views[id_]
        if declared.latest_relation is None:
            problems.append(
                DefinitionError(
                    f"{declared.path}: {id_} is served but has no latest-value view",
                    f"create models/{declared.latest_name}.sql with one line: {{{{ feature_warehouse.latest_values("
                    f"ref('{declared.view.name}', v={declared.view.version})) }}}}",
                )
            )
    if declarations.problems:
        return problems  # what is declared wrongly is not in `registry`: its absence is no change
    problems += (RegistryError(f"the registry is behind the project: {change}", _REGISTER) for change in changes)
    if not changes and not (
        proto_path.exists() and proto_path.read_text(encoding="utf-8") == proto_text(accepted.views.values())
    ):
        problems.append(RegistryError(f"{proto_path} does not say what the registry says", _REGISTER))
    return problems


def _write(path: Path, text: str) -> None:
    """Replaces the file as a whole, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
