"""What is to be online: prepared once for a sync, a plan or a verification, from plain options.

The registry has to say exactly what the project declares. What its SQL means, the gate judges, before a change is
merged; no sync waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feature_warehouse.errors import RegistryError, RequestError
from feature_warehouse.project.catalog import drift_tables, read_relations
from feature_warehouse.project.declarations import Declarations, DeclaredView
from feature_warehouse.project.git import revision
from feature_warehouse.project.latest import LatestSql, latest_sql
from feature_warehouse.project.profile import Output
from feature_warehouse.project.project import Project, ProjectOptions
from feature_warehouse.project.reading import DeclaredProject, read_project
from feature_warehouse.project.run_results import read_failures
from feature_warehouse.project.running import select_models
from feature_warehouse.registry.document import Registry, load_registry, register
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.warehouse.opening import open_source
from feature_warehouse.warehouse.settings import changed_settings, settings_of
from feature_warehouse.warehouse.source import Source
from feature_warehouse.wire.keyspace import check_namespace

if TYPE_CHECKING:
    from feature_warehouse.mirror.guards import Unbuilt

#: The folder of the project that remembers what its syncs left online.
STATES = ".syncer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """The "now" of a run; ``clock`` is fixed when it was given instead of read off a clock."""

    as_of: datetime
    clock: Literal["real", "fixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be online in a namespace as of an instant, and the output of the profile that it is read from.

    declared: where each view is in the warehouse, by view id. select: only these view ids. unbuilt: which features do
    not stand in the warehouse as accepted. remember: the folder of states. failed: by view id, what of it failed in
    dbt's last run. manifest_stamp: of the manifest that the selection was made with. drift_profiles: where the tables
    of drift are, quoted. latest: the SQL of the latest values, where the views in the warehouse do not ask the session
    for the instant.
    """

    registry: Registry
    declared: Mapping[str, DeclaredView]
    output: Output
    target: str
    namespace: str
    instant: Instant
    select: Collection[str] | None = None
    unbuilt: Callable[[Source], Iterable[Unbuilt]] = lambda source: ()
    remember: Path | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    drift_profiles: tuple[str, ...] = ()
    manifest_stamp: object = None
    latest: LatestSql | None = None

    @property
    def views(self) -> list[FeatureView]:
        return [view for id_, view in self.registry.views.items() if self.select is None or id_ in self.select]

    def revision(self) -> str | None:
        """The commit that the models are at; None: that is not known."""
        return revision(self.remember.parent) if self.remember else None

    def open_source(self, stopped: Callable[[], bool] = lambda: False) -> AbstractContextManager[Source]:
        tables = [*(self.declared[view.id].relation for view in self.views), *self.drift_profiles]
        return open_source(self.output, stopped, latest=self.latest, tables=tables)


def prepare(
    options: ProjectOptions,
    *,
    namespace: str | None = None,
    as_of: datetime | None = None,
    selection: tuple[str, ...] = (),
    before: Wanted | None = None,
    unbuilt: Callable[[DeclaredProject, Registry, Source], Iterable[Unbuilt]] = lambda read, registry, source: (),
) -> Wanted:
    """What the project wants online now. ``selection``: in dbt's syntax. ``before``: what it wanted when the same was
    asked earlier; dbt is not asked again for the selection while the manifest is the same. ``unbuilt``: who knows
    which features do not stand in the warehouse as accepted.

    Raises ProjectError, DefinitionError and RegistryError when the project, its declarations and its registry do not
    agree, and RequestError when the selection chooses nothing.
    """
    read = read_project(options)
    project, declarations = read.project, read.declarations
    registry = _accepted_registry(declarations, project)
    given, stamp = as_of or project.clock(), project.manifest_stamp()
    select: Collection[str] | None = None
    if selection and before is not None and before.manifest_stamp == stamp:
        select = before.select
    elif selection:
        select = _selected(registry, declarations, select_models(project, selection), selection)
    return Wanted(
        registry=registry,
        declared=declarations.views,
        output=project.output,
        target=project.target,
        namespace=check_namespace(namespace or project.default_namespace),
        instant=Instant(as_of=given or datetime.now(timezone.utc), clock="fixed" if given else "real"),
        select=select,
        unbuilt=lambda source: unbuilt(read, registry, source),
        remember=project.folder / STATES,
        failed=read_failures(project.runs_path, read.manifest, declarations.views),
        drift_profiles=_drift_profiles(read.manifest, declarations.views.values()),
        manifest_stamp=stamp,
        latest=_latest(read, registry),
    )


def _latest(read: DeclaredProject, registry: Registry) -> LatestSql | None:
    if read.project.output.adapter == "duckdb":
        return None
    declared = read.declarations.views
    return latest_sql(read.project, read.manifest, [declared[id_] for id_ in registry.views])


def _drift_profiles(manifest: Mapping[str, Any], views: Iterable[DeclaredView]) -> tuple[str, ...]:
    """Looked for only where a feature asks for it: a manifest may be large."""
    if not any(guards.hold_on_drift for view in views for guards in view.guards.values()):
        return ()
    return tuple(dict.fromkeys(profile for profile, _ in drift_tables(read_relations(manifest))))


def _accepted_registry(declarations: Declarations, project: Project) -> Registry:
    """The registry, when it says what the project declares and how its target computes. Its SQL is not looked at.

    Raises DefinitionError for the first declaration that is wrong, RegistryError when the registry is behind or empty.
    """
    declarations.raise_first()
    accepted = load_registry(project.registry_path, declarations.project)
    _, behind = register(accepted, declarations.feature_views, declarations.services)
    if behind:
        more = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
        raise RegistryError(
            f"the registry is behind the project: {behind[0]}{more}", "run `syncer register` and commit registry/"
        )
    others = changed_settings(accepted.settings, settings_of(project.output))
    if others:
        raise RegistryError(
            f"the target '{project.target}' computes by other settings than those registered: {', '.join(others)}",
            "give its output in profiles.yml the same settings; where they are meant to change, `syncer register`",
        )
    if not accepted.views:
        raise RegistryError(
            "no feature is served", "declare a feature service (an exposure of `type: ml`), then run `syncer register`"
        )
    return accepted


def _selected(
    registry: Registry, declarations: Declarations, models: set[str], selection: tuple[str, ...]
) -> frozenset[str]:
    models_of = {id_: {view.unique_id, view.latest_unique_id} for id_, view in declarations.views.items()}
    chosen = {id_ for id_ in registry.views if models_of[id_] & models}
    if not chosen:
        words = " ".join(selection)
        raise RequestError(
            f"--select {words} selects no feature view that a service reads",
            f"see what `dbt ls --select {words}` lists; served: {', '.join(registry.views)}",
        )
    return frozenset(chosen)
