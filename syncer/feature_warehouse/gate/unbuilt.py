"""What of a project's served features does not stand in its warehouse as accepted, as each sync asks.

Light where nothing above them keeps rows of earlier runs: then no SQL is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from feature_warehouse.project.manifest import keeps_rows_above
from feature_warehouse.project.reading import DeclaredProject
from feature_warehouse.registry.document import Registry
from feature_warehouse.warehouse.source import Source

if TYPE_CHECKING:
    from feature_warehouse.gate.rebuild import Rebuild


def unbuilt_features(read: DeclaredProject, registry: Registry, source: Source) -> Sequence[Rebuild]:
    """What has to be built anew in the target of the project. Raises WarehouseError, and RegistryError for accepted SQL
    that cannot be read."""
    views = read.declarations.views
    if not keeps_rows_above(read.manifest, (views[id_].unique_id for id_ in registry.views if id_ in views)):
        return ()
    from feature_warehouse.gate.accepted import accepted_here
    from feature_warehouse.gate.standing import standing_rebuilds

    accepted = accepted_here(read.project.folder, read.project.name)
    return standing_rebuilds(read.project, read.manifest, registry, accepted.definitions, source)
