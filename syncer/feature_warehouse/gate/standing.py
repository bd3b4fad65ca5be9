"""What stands in one target's warehouse beside what was accepted: features with rows of another definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from feature_warehouse.gate.rebuild import Rebuild, rebuild_of, rebuilds
from feature_warehouse.project.builds import Recorded, keeps_rows, read_builds
from feature_warehouse.project.definition import Definition
from feature_warehouse.project.project import Project
from feature_warehouse.registry.document import Registry
from feature_warehouse.warehouse.builds import RECORDING, recorded_builds
from feature_warehouse.warehouse.source import Source


def standing_rebuilds(
    project: Project,
    manifest: Mapping[str, Any],
    registry: Registry,
    definitions: Mapping[str, Definition],
    source: Source,
) -> list[Rebuild]:
    """What has to be built anew in the target of the project; without what somebody has accepted as it stands.

    ``definitions``: of the views that are served, as accepted. Raises WarehouseError.
    """
    served = {id_: definitions[id_] for id_ in registry.views if id_ in definitions and keeps(definitions[id_])}
    if not served or source.dialect.adapter not in RECORDING:
        return []
    rows = recorded_builds(source, project.output.catalog, project.output.schema)
    builds = read_builds(rows or (), manifest)
    found: list[Rebuild] = []
    for id_, definition in served.items():
        features = [feature.name for feature in registry.views[id_].features]
        recorded = Recorded(builds, definition.nodes, manifest)
        found += rebuilds(id_, definition, recorded, features)
        found += _beside(registry, id_, definition, recorded, certain=rows is not None)
    return [replace(one, target=project.target) for one in unaccepted(registry, _each_once(found))]


def keeps(definition: Definition) -> bool:
    """Whether something at or above a view keeps rows of earlier runs."""
    return any(keeps_rows(node) for node in definition.nodes.values())


def unaccepted(registry: Registry, found: Iterable[Rebuild]) -> Iterator[Rebuild]:
    """Without the features whose older rows somebody has taken as they are, as long as no fix came after that."""
    for one in found:
        features = tuple(feature for feature in one.features if not _accepted(registry, one.view, feature))
        if features:
            yield replace(one, features=features)


def _accepted(registry: Registry, view: str, feature: str) -> bool:
    accepted, fixed = (
        max(((each.on, each.at) for each in decisions if each.view == view and feature in each.features), default=None)
        for decisions in (registry.unbuilt, registry.fixes)
    )
    return accepted is not None and (fixed is None or fixed <= accepted)


def _beside(
    registry: Registry, id_: str, definition: Definition, recorded: Recorded, *, certain: bool
) -> Iterator[Rebuild]:
    """Fixes of what decides beside the SQL: which rows it made, no text tells, so the instant decides."""
    served = {feature.name for feature in registry.views[id_].features}
    for fix in registry.fixes:
        if fix.view == id_ and fix.rebuild and fix.at:
            at = datetime.fromisoformat(fix.at)
            nodes = [node for node in fix.rebuild if node in definition.nodes and not recorded.whole_since(node, at)]
            features = [feature for feature in fix.features if feature in served]
            if nodes and features:
                yield rebuild_of(id_, features, tuple(nodes), definition, certain)


def _each_once(found: Iterable[Rebuild]) -> Iterator[Rebuild]:
    told: set[tuple[str, str, tuple[str, ...]]] = set()
    for one in found:
        features = tuple(each for each in one.features if (one.view, each, one.nodes) not in told)
        told |= {(one.view, each, one.nodes) for each in features}
        if features:
            yield replace(one, features=features)
