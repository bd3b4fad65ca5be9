"""The feature views and services that a project declares, read from dbt's manifest as frozen facts.

A declaration that is wrong becomes a problem that names file, model and column; the others are read on, so that all
problems can be shown at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from feature_warehouse.errors import DefinitionError
from feature_warehouse.project.declared_service import read_service
from feature_warehouse.project.declared_view import (
    check_against,
    read_guards,
    read_lookbacks,
    read_retention,
    read_sync_delay,
    read_view,
)
from feature_warehouse.project.manifest import in_order, place_of, yaml_path
from feature_warehouse.project.settings import problems_of
from feature_warehouse.registry.feature import FeatureService, FeatureView, Retention
from feature_warehouse.registry.guards import Guards


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredView:
    """A feature view version with its places: in the project, in dbt's graph and in the warehouse."""

    view: FeatureView
    path: str
    unique_id: str
    relation: str  # quoted, as dbt writes it: "warehouse"."main"."carrier_delays_v2"
    latest_unique_id: str | None  # None: there is no latest-value view
    latest_relation: str | None
    append_only: bool = False  # `history: append_only`: rows are added and never changed
    append_only_test: bool = False  # and the test history_append_only watches it
    sync_delay: timedelta | None = None  # how much later than known a value is online; training joins by it
    settled: str | None = None  # the model of its settled history
    settled_relation: str | None = None  # None: there is no such model
    lookbacks: Mapping[str, timedelta | None] = field(default_factory=dict)  # declared, by feature; None: without end
    guards: Mapping[str, Guards] = field(default_factory=dict)  # by feature

    @property
    def latest_name(self) -> str:
        return f"latest_{self.view.name}_v{self.view.version}"

    @property
    def only_grows(self) -> bool:
        """Whether its history is proven to give the same rows for the same instant for ever."""
        return self.view.available_at is not None and self.append_only and self.append_only_test


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """All that the project declares; ``problems`` by file and name, those of views before those of services."""

    project: str
    views: Mapping[str, DeclaredView]  # by view id
    services: Mapping[str, FeatureService]  # by service id
    retentions: Mapping[str, Retention] = field(default_factory=dict)  # of sources, seeds, models; by unique id
    problems: tuple[DefinitionError, ...] = field(default=())

    @property
    def feature_views(self) -> dict[str, FeatureView]:
        """The facts alone, by view id."""
        return {id_: declared.view for id_, declared in self.views.items()}

    def raise_first(self) -> None:
        """Raises the first problem, if there is one."""
        if self.problems:
            raise self.problems[0]


def read_declarations(manifest: dict[str, Any]) -> Declarations:
    """The feature views and services of a manifest; what is declared wrongly is left out and becomes a problem."""
    problems: list[DefinitionError] = []
    views: dict[str, DeclaredView] = {}
    models = in_order(node for node in manifest["nodes"].values() if node["resource_type"] == "model")
    by_name = {node["name"]: node for node in models}
    watched = {
        node.get("attached_node")
        for node in manifest["nodes"].values()
        if (node.get("test_metadata") or {}).get("name") == "history_append_only"
    }
    for node in models:
        declared = node["config"].get("meta", {}).get("feature_view")
        if declared is None:
            continue
        try:
            view = read_view(node, declared, models)
            lookbacks = read_lookbacks(declared, view, place_of(node))
            guards = read_guards(node, view)
            check_against(view, views, yaml_path(node))
        except DefinitionError as problem:
            problems += problems_of(problem)
            continue
        newest = by_name.get(f"latest_{view.name}_v{view.version}")
        if newest is not None and node["unique_id"] not in newest["depends_on"]["nodes"]:
            newest = None
        settled = by_name.get(declared.get("settled"))
        views[view.id] = DeclaredView(
            view=view,
            path=yaml_path(node),
            unique_id=node["unique_id"],
            relation=node["relation_name"],
            latest_unique_id=newest["unique_id"] if newest else None,
            latest_relation=newest["relation_name"] if newest else None,
            append_only=declared.get("history") == "append_only",
            append_only_test=node["unique_id"] in watched,
            sync_delay=read_sync_delay(declared, place_of(node)),
            settled=declared.get("settled"),
            settled_relation=settled["relation_name"] if settled else None,
            lookbacks=lookbacks,
            guards=guards,
        )
    retentions: dict[str, Retention] = {}
    for node in in_order([*manifest["nodes"].values(), *manifest.get("sources", {}).values()]):
        try:
            if (kept := (node["config"].get("meta") or {}).get("retention")) is not None:
                retentions[node["unique_id"]] = read_retention(kept, place_of(node))
        except DefinitionError as problem:
            problems.append(problem)
    wrong = {
        f"{node['name']}.v{node['version']}" for node in models if node["config"].get("meta", {}).get("feature_view")
    }
    services: dict[str, FeatureService] = {}
    for exposure in in_order(manifest["exposures"].values()):
        declared = exposure["config"].get("meta", {}).get("feature_service")
        if declared is None:
            continue
        try:
            service = read_service(exposure, declared, views, wrong - views.keys())
            if service.id in services:
                raise DefinitionError(
                    f"{place_of(exposure)}: the service {service.id} is declared twice",
                    "give each exposure a name and version of its own",
                )
        except DefinitionError as problem:
            problems += (one for one in problems_of(problem) if one.message not in {told.message for told in problems})
            continue
        services[service.id] = service
    return Declarations(
        project=manifest["metadata"]["project_name"],
        views=views,
        services=services,
        retentions=retentions,
        problems=tuple(problems),
    )
