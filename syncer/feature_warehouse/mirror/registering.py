"""The registry as a run of the mirror needs it: it says exactly what the project declares.

What the project's SQL means, `gate` judges, before a change is merged; no sync waits for that.
"""

from __future__ import annotations

from feature_warehouse.errors import RegistryError
from feature_warehouse.project.declarations import Declarations
from feature_warehouse.project.project import Project
from feature_warehouse.registry.document import Registry, load_registry, register
from feature_warehouse.warehouse.settings import changed_settings, deciding_settings

_REGISTER = "run `syncer register` and commit registry/"


def accepted_registry(declarations: Declarations, project: Project) -> Registry:
    """The registry, when it says what the project declares and how its target computes. Its SQL is not looked at.

    Raises DefinitionError for the first declaration that is wrong, RegistryError when the registry is behind or empty.
    """
    declarations.raise_first()
    accepted = load_registry(project.registry_path, declarations.project)
    _, behind = register(accepted, declarations.feature_views, declarations.services)
    if behind:
        more = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
        raise RegistryError(f"the registry is behind the project: {behind[0]}{more}", _REGISTER)
    others = changed_settings(accepted.settings or {}, deciding_settings(project.settings))
    if others and accepted.settings is not None:
        raise RegistryError(
            f"the target '{project.target}' computes by other settings than those registered: {', '.join(others)}",
            "give its output in profiles.yml the same settings; where they are meant to change, `syncer register`",
        )
    if not accepted.views:
        raise RegistryError(
            "no feature is served", "declare a feature service (an exposure of `type: ml`), then run `syncer register`"
        )
    return accepted
