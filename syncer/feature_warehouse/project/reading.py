"""Reading a project, always in one order: profile, project, manifest, declarations; the registry comes after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.manifest import check_fresh, check_target, load_manifest
from feature_warehouse.project.project import ANYWHERE, Project, ProjectOptions, load_project


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredProject:
    """A project, dbt's manifest of it, and what that declares, right or wrong."""

    project: Project
    manifest: Mapping[str, Any]
    declarations: Declarations


def read_project(options: ProjectOptions = ANYWHERE) -> DeclaredProject:
    """The project as its manifest has it. Raises ProjectError when that is missing, stale or another target's.

    A manifest from elsewhere, ``options.artifacts``, cannot be stale: no file of the project is looked at.
    """
    project = load_project(options)
    manifest = load_manifest(project.manifest_path)
    if options.artifacts is None:
        check_fresh(manifest, project.folder, project.source_paths, project.parsed_path)
    check_target(manifest, project.target, project.output.catalog, project.output.schema)
    return DeclaredProject(project=project, manifest=manifest, declarations=read_declarations(manifest))
