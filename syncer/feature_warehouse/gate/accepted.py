"""What was accepted: registry.json and the SQL in registry/sql, of the working tree or of a commit.

What the working tree has is as good as its last ``register``, and may be torn by a merge. What counts is what the
commit has at which a change began: only that can have been trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from feature_warehouse.project.definition import Definition, from_text
from feature_warehouse.project.git import files_at, in_repository, merge_base
from feature_warehouse.registry.document import Registry, parse_registry

FOLDER = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """registry: empty where there is no file; definitions: by view id, of those views that have one."""

    registry: Registry
    definitions: Mapping[str, Definition]


def sql_path(id_: str) -> str:
    """Where the accepted SQL of a view version stands, from the project's folder."""
    return f"{FOLDER}/sql/{id_}.sql"


def accepted_here(folder: Path, project: str) -> Accepted:
    """What the working tree of the project in ``folder`` has. Raises RegistryError for files that cannot be read."""
    paths = [folder / FOLDER / "registry.json", *sorted((folder / FOLDER / "sql").glob("*.sql"))]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.exists()}
    return _accepted(files, project, "")


def accepted_before(folder: Path, project: str, against: str | None) -> Accepted:
    """What counted before the change that is checked out.

    That is what the merge base with ``against`` has, by default with the main branch; outside of a git repository, when
    no ``against`` is given, what the working tree has. Raises ProjectError without a base, RegistryError as above.
    """
    if against is None and not in_repository(folder):
        return accepted_here(folder, project)
    commit = merge_base(folder, against)
    files = files_at(folder, commit, FOLDER) if commit else {}
    return _accepted(files, project, f"{commit}:")


def _accepted(files: Mapping[str, bytes], project: str, prefix: str) -> Accepted:
    text = files.get(f"{FOLDER}/registry.json")
    registry = parse_registry(text, project, f"{prefix}{FOLDER}/registry.json") if text else Registry(project=project)
    definitions = {
        id_: from_text(files[path].decode("utf-8", "replace"), f"{prefix}{path}")
        for id_ in registry.views
        if (path := sql_path(id_)) in files
    }
    return Accepted(registry=registry, definitions=definitions)
