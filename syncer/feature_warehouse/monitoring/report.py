"""The report: all that is known of features, views, services and syncs, put together for one page; no HTML here.

Reads what other parts have written, and computes nothing anew: freshness and cost are those of ``status``, drift that
of the drift tables, which the tests read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from feature_warehouse.errors import ProjectError, WarehouseError
from feature_warehouse.gate.lineage import Lineage, read_lineage
from feature_warehouse.gate.rolling import read_meaning
from feature_warehouse.mirror.preparation import STATES
from feature_warehouse.monitoring import journal
from feature_warehouse.monitoring.freshness import Freshness
from feature_warehouse.monitoring.profiles import Profile, read_profiles
from feature_warehouse.monitoring.scope import Scope
from feature_warehouse.monitoring.status import PATIENCE, Status, status
from feature_warehouse.project.catalog import Consumer, Relation, drift_tables, read_consumers, read_relations, upstream
from feature_warehouse.project.compiling import compile_feature_views, parse_project
from feature_warehouse.project.declarations import Declarations, DeclaredView
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import Feature, FeatureService, FeatureView
from feature_warehouse.store.store import Store
from feature_warehouse.wire.cost import FeatureCost, ViewCost, price

#: From worst to best; what has no verdict yet comes last.
VERDICTS = ("act", "look", "stable")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePage:
    """One feature of one view version; ``number`` None: it is not online."""

    name: str
    type: str
    number: int | None
    description: str
    profile: Profile | None
    cost: FeatureCost | None
    columns: Mapping[str, Sequence[str]]  # that it is computed from, by source; {} where the SQL was not read
    row_columns: Mapping[str, Sequence[str]]  # that decide which rows there are
    asked: tuple[tuple[str, Profile], ...] = ()  # (service id, its profile of this feature, under the name it gives it)

    @property
    def verdict(self) -> str | None:
        return self.profile.newest.verdict if self.profile else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPage:
    """One feature view version. ``versions``: all of its versions that are declared, oldest first."""

    view: FeatureView
    relation: Relation
    freshness: Freshness
    cost: ViewCost | None
    features: tuple[FeaturePage, ...]
    services: tuple[str, ...]  # ids
    versions: tuple[FeatureView, ...]
    upstream: tuple[tuple[Relation, ...], ...]

    @property
    def drifting(self) -> tuple[FeaturePage, ...]:
        """To be acted on or looked at in the newest period, the worst first."""
        found = [feature for feature in self.features if feature.verdict in VERDICTS[:2]]
        return tuple(sorted(found, key=_worst))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePage:
    """One feature service. ``asked``: the drift of the table that a profile of the service reads, its served log or its
    training set, by the name that a feature has there."""

    service: FeatureService
    consumer: Consumer
    asked: Mapping[str, Profile]

    @property
    def drifting(self) -> tuple[Profile, ...]:
        """To be acted on or looked at in the newest period, the worst first."""
        found = [profile for profile in self.asked.values() if profile.newest.verdict in VERDICTS[:2]]
        return tuple(sorted(found, key=_badness))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything, at the instant that ``status`` was asked for."""

    project: str
    target: str
    namespace: str
    address: str
    made_at: datetime
    status: Status
    per_gb: float
    views: tuple[ViewPage, ...]
    services: tuple[ServicePage, ...]
    syncs: Sequence[Mapping[str, Any]]  # of the journal, the newest first
    trouble: tuple[str, ...]  # what could not be read, in sentences

    @property
    def features(self) -> list[tuple[ViewPage, FeaturePage]]:
        return [(view, feature) for view in self.views for feature in view.features]

    @property
    def drifting(self) -> list[tuple[ViewPage, FeaturePage]]:
        """The worst first."""
        found = [(view, feature) for view in self.views for feature in view.drifting]
        return sorted(found, key=lambda pair: _worst(pair[1]))

    @property
    def unread(self) -> list[tuple[ViewPage, FeatureCost]]:
        """What is online and read by no service."""
        return [(view, feature) for view in self.views if view.cost for feature in view.cost.unread]

    @property
    def memory(self) -> int:
        return sum(cost.bytes for cost in self.status.costs)

    def price(self, size: float) -> float:
        """USD a month."""
        return price(size, self.per_gb)


def report(scope: Scope, store: Store, per_gb: float) -> Report:
    """The report of a project; what cannot be read of warehouse, Redis or SQL is named in it and left out.

    ``per_gb``: USD for a gigabyte of Redis in a month. Raises as ``status`` does.
    """
    registry, declarations, found = scope.registry(), scope.declarations, status(scope, store)
    lineage, trouble = _lineage(scope, registry)
    relations = read_relations(scope.manifest)
    profiles: list[Profile] = []
    unknown = [error.message for error in (found.offline_unknown, found.online_unknown) if error]
    if tables := list(drift_tables(relations)):
        try:
            with scope.open_duckdb("drift", PATIENCE) as warehouse:
                profiles, unread = read_profiles(warehouse, tables)
                unknown += unread
        except WarehouseError as error:
            unknown.append(error.message)
    of = {(profile.source_type, profile.source, profile.feature): profile for profile in profiles}
    consumers = read_consumers(scope.manifest)
    freshness = {each.view.id: each for each in found.views}
    views = (
        _view_page(each, relations, declarations, registry, freshness[id_], found, of, lineage)
        for id_, each in sorted(declarations.views.items())
    )
    return Report(
        project=declarations.project,
        target=scope.project.target,
        namespace=scope.namespace,
        address=store.address,
        made_at=datetime.now(timezone.utc),
        status=found,
        per_gb=per_gb,
        views=tuple(views),
        services=tuple(
            ServicePage(
                service=service,
                consumer=consumers[id_],
                asked={name: each for (kind, source, name), each in of.items() if (kind, source) == _asked_of(service)},
            )
            for id_, service in sorted(declarations.services.items())
        ),
        syncs=journal.syncs(scope.project.folder / STATES, scope.namespace),
        trouble=tuple(dict.fromkeys([*unknown, *trouble])),
    )


def _lineage(scope: Scope, registry: Registry) -> tuple[Lineage | None, list[str]]:
    """Columns to models, from what dbt compiles; and what of it cannot be known, in sentences."""
    try:
        parsed = parse_project(scope.project)
        compiled = compile_feature_views(scope.project, parsed)
    except ProjectError as error:
        return None, [error.message]
    found = read_meaning(scope.project, parsed, compiled, scope.declarations.views)
    lineage = read_lineage(scope.declarations, found, compiled.manifest, registry, scope.namespace)
    return lineage, [problem.message for problem in found.problems.values()]


def _view_page(
    declared: DeclaredView,
    relations: Mapping[str, Relation],
    declarations: Declarations,
    registry: Registry,
    freshness: Freshness,
    status: Status,
    profiles: Mapping[tuple[str, str, str], Profile],
    lineage: Lineage | None,
) -> ViewPage:
    view, relation = declared.view, relations[declared.unique_id]
    cost = next((each for each in status.costs if each.view == view.id), None)
    costs = {feature.name: feature for feature in cost.features} if cost else {}
    registered = registry.views.get(view.id)
    numbers = {feature.name: feature.number for feature in registered.features} if registered else {}
    versions = (each.view for each in declarations.views.values() if each.view.name == view.name)

    def page(feature: Feature) -> FeaturePage:
        return FeaturePage(
            name=feature.name,
            type=feature.type,
            number=numbers.get(feature.name),
            description=relation.columns.get(feature.name, ""),
            profile=profiles.get(("feature_view", view.id, feature.name)),
            cost=costs.get(feature.name),
            columns=_columns(lineage, f"{view.id}.{feature.name}", "value"),
            row_columns=_columns(lineage, f"{view.id}.{feature.name}", "rows"),
            asked=tuple(asked(feature)),
        )

    def asked(feature: Feature) -> Iterator[tuple[str, Profile]]:
        for id_, service in declarations.services.items():
            for read in service.views:
                found = profiles.get((*_asked_of(service), read.prefix + feature.name))
                if found and read.view == view.id and feature.name in read.features:
                    yield id_, found

    return ViewPage(
        view=view,
        relation=relation,
        freshness=freshness,
        cost=cost,
        features=tuple(page(feature) for feature in view.features),
        services=tuple(
            id_ for id_, service in declarations.services.items() if any(read.view == view.id for read in service.views)
        ),
        versions=tuple(sorted(versions, key=lambda each: each.version)),
        upstream=tuple(tuple(layer) for layer in upstream(relations, declared.unique_id)),
    )


def _columns(lineage: Lineage | None, feature: str, how: str) -> dict[str, list[str]]:
    """By source, the columns that a feature has its value or its rows from."""
    found: dict[str, list[str]] = {}
    for step in lineage.above(feature, how) if lineage else ():
        source = str(step.about["source"])
        found.setdefault(source, []).append(step.id.removeprefix(f"{source}."))
    return found


def _asked_of(service: FeatureService) -> tuple[str, str]:
    """What the profiles of a service have as their source: its type and its name there."""
    return "service", f"{service.name}.v{service.version}"


def _worst(feature: FeaturePage) -> tuple[int, float]:
    return _badness(feature.profile) if feature.profile else (len(VERDICTS), 0.0)


def _badness(profile: Profile) -> tuple[int, float]:
    newest = profile.newest
    return VERDICTS.index(newest.verdict) if newest.verdict in VERDICTS else len(VERDICTS), -(newest.psi or 0.0)
