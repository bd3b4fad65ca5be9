"""The registry as a run of the mirror needs it: it says exactly what the project declares.

What the project's SQL means, `gate` judges, before a change is merged; no sync waits for that.
"""

from __future__ import annotations

from pathlib import Path

from feature_warehouse.errors import RegistryError
from feature_warehouse.project.declarations import Declarations
from feature_warehouse.registry.document import Registry, load_registry, register

_REGISTER = "run `syncer register` and commit registry/"


def accepted_registry(declarations: Declarations, registry_path: Path) -> Registry:
    """The registry, when it says exactly what the project declares. Its SQL is not looked at.

    Raises DefinitionError for the first declaration that is wrong, RegistryError when the registry is behind or empty.
    """
    declarations.raise_first()
    accepted = load_registry(registry_path, declarations.project)
    _, behind = register(accepted, declarations.feature_views, declarations.services)
    if behind:
        more = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
        raise RegistryError(f"the registry is behind the project: {behind[0]}{more}", _REGISTER)
    if not accepted.views:
        raise RegistryError(
            "no feature is served", "declare a feature service (an exposure of `type: ml`), then run `syncer register`"
        )
    return accepted
