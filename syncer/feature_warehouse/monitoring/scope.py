"""What monitoring looks at: a project, a namespace and an instant, prepared once from plain options."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from feature_warehouse.project.declarations import Declarations
from feature_warehouse.project.project import Project, ProjectOptions
from feature_warehouse.project.reading import read_project
from feature_warehouse.registry.document import Registry, load_registry
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.opening import open_duckdb, open_source
from feature_warehouse.warehouse.source import Source
from feature_warehouse.wire.keyspace import check_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """``as_of``: the instant to judge at. ``stands``: that is where the project's clock stands, so no age grows."""

    project: Project
    manifest: Mapping[str, Any]
    declarations: Declarations
    namespace: str
    as_of: datetime
    stands: bool

    def registry(self) -> Registry:
        """Raises RegistryError when it cannot be read."""
        return load_registry(self.project.registry_path, self.project.name)

    def open_source(self, patience: float | None = None) -> AbstractContextManager[Source]:
        """``patience``: seconds to wait while another process holds the file; None: as long as a sync does."""
        tables = (each.relation for each in self.declarations.views.values())
        return open_source(self.project.output, patience=patience, tables=tables)

    def open_duckdb(self, purpose: str, patience: float | None = None) -> AbstractContextManager[DuckDB]:
        """The same for a ``purpose`` that knows DuckDB alone. Raises WarehouseError for any other warehouse."""
        return open_duckdb(self.project.output, purpose, patience)


def read_scope(options: ProjectOptions, *, namespace: str | None = None, as_of: datetime | None = None) -> Scope:
    """``as_of``: where the project's clock stands unless given, else this moment.

    Raises ProjectError, and DefinitionError for the first declaration that is wrong.
    """
    read = read_project(options)
    read.declarations.raise_first()
    clock = read.project.clock()
    return Scope(
        project=read.project,
        manifest=read.manifest,
        declarations=read.declarations,
        namespace=check_namespace(namespace or read.project.default_namespace),
        as_of=as_of or clock or datetime.now(timezone.utc),
        stands=as_of is None and clock is not None,
    )
