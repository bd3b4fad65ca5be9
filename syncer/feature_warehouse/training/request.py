"""What is asked for: a project, and the features wanted of it, for training sets and batches alike."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType

from feature_warehouse.client.plan import find_service
from feature_warehouse.errors import ProjectError, RequestError
from feature_warehouse.project.compiling import compile_feature_views, compile_sql
from feature_warehouse.project.declarations import Declarations
from feature_warehouse.project.latest import latest_sql
from feature_warehouse.project.project import ANYWHERE, Project, ProjectOptions
from feature_warehouse.project.reading import DeclaredProject, read_project
from feature_warehouse.registry.feature import FeatureService, FeatureView, ServiceView
from feature_warehouse.training.spine import outputs
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.opening import open_duckdb, open_source
from feature_warehouse.warehouse.source import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A project, and features of it: a service's, or all of some feature views."""

    read: DeclaredProject
    service: FeatureService | None
    reads: tuple[ServiceView, ...]

    @property
    def project(self) -> Project:
        return self.read.project

    @property
    def declarations(self) -> Declarations:
        return self.read.declarations

    @property
    def features(self) -> str | tuple[str, ...]:
        """What was asked for, exactly: the service's id, or the views'."""
        return self.service.id if self.service else tuple(read.view for read in self.reads)

    @property
    def views(self) -> Mapping[str, FeatureView]:
        return self.declarations.feature_views

    def keys(self, read: ServiceView) -> dict[str, str]:
        """{join key: what the rows call it}."""
        return {key.name: read.keys.get(key.name, key.name) for key in self.views[read.view].entity.join_keys}

    def wanted(self) -> dict[str, list[str]]:
        """{view: the features that are read of it}, each once, whatever the roles."""
        found: dict[str, dict[str, None]] = {}
        for read in self.reads:
            found.setdefault(read.view, {}).update(dict.fromkeys(read.features))
        return {view: list(features) for view, features in found.items()}

    def types(self) -> dict[str, str]:
        """{name of a stored feature in the result: its declared type}."""
        return {
            read.prefix + feature.name: feature.type
            for read in self.reads
            for feature in self.views[read.view].features
            if feature.name in read.features
        }

    def compile(
        self, macro: str, arguments: Sequence[str], models: Iterable[str] = (), *, introspect: bool = False
    ) -> str:
        """The SQL of a macro of ours for these features; ``arguments`` are its others, in Jinja.

        ``models``: others that it may read, by name.
        """
        named = "".join(f"{{% do ref({model!r}) %}}" for model in models)
        return compile_sql(self.project, f"{named}{{{{ {self.call(macro, arguments)} }}}}", introspect=introspect)

    def with_on_demand(self, rows: str, purpose: str) -> str:
        """A query of DuckDB that adds the on-demand features of the service to those of ``rows``."""
        service = self.service
        if service is None or not service.on_demand:
            return rows
        of_service = f"feature_warehouse._on_demand('{service.name}.v{service.version}', '{purpose}')"
        macro = f"{{{{ feature_warehouse._select_on_demand({of_service}) if execute }}}}"
        return f"with final as ({rows}) {compile_sql(self.project, macro)}"

    def call(self, macro: str, arguments: Sequence[str]) -> str:
        """The same as a piece of Jinja."""
        refs = ", ".join(_ref(self.declarations, view) for view in self.wanted())
        given = [f"feature_views=[{refs}]", *arguments]
        if self.service is not None:
            given.append(f"service={f'{self.service.name}.v{self.service.version}'!r}")
        return f"feature_warehouse.{macro}({', '.join(given)})"

    def settled(self, warehouse: DuckDB) -> dict[str, str]:
        """{view: the model of its settled history} of those views that are read and whose settled history is there."""
        found = {}
        for view in self.wanted():
            declared = self.declarations.views[view]
            if declared.settled is None or not self.project.variables.get("feature_warehouse_settled", True):
                continue
            if declared.settled_relation is not None and warehouse.has(declared.settled_relation):
                found[view] = declared.settled
            else:
                _log.warning(
                    "%s is joined without its settled history: %s is not in the warehouse", view, declared.settled
                )
        return found

    def definitions(self) -> dict[str, str | None]:
        """What each view that is read means, as the registry keeps it; None where its SQL cannot be known."""
        from feature_warehouse.project.definition import read_definitions, to_text  # with sqlglot, for a manifest alone

        views = {view: self.declarations.views[view] for view in self.wanted()}
        try:
            found = read_definitions(compile_feature_views(self.project), views).definitions
        except ProjectError:
            found = {}
        return {view: to_text(view, found[view]) if view in found else None for view in views}

    @property
    def is_duckdb(self) -> bool:
        return self.project.output.adapter == "duckdb"

    def open_duckdb(
        self, purpose: str, snapshots: Mapping[str, int] = MappingProxyType({})
    ) -> AbstractContextManager[DuckDB]:
        """``snapshots``: of DuckLakes, where not the newest is to be read. Raises WarehouseError where the project's
        warehouse is another one."""
        return open_duckdb(self.project.output, purpose, snapshots=snapshots)

    def open_source(self, *, latest: bool = False) -> AbstractContextManager[Source]:
        """``latest``: to read latest values of the views that are wanted."""
        views = [self.declarations.views[view] for view in self.wanted()]
        sql = latest_sql(self.project, self.read.manifest, views) if latest else None
        return open_source(self.project.output, latest=sql, tables=(each.relation for each in views))


def load_request(features: str | Sequence[str], options: ProjectOptions = ANYWHERE) -> Request:
    """The project that ``options`` name, and ``features`` of it; raises as ``request_of`` does, and ProjectError."""
    return request_of(read_project(options), features)


def request_of(read: DeclaredProject, features: str | Sequence[str]) -> Request:
    """``features``: a service ('departure_delay@2', or the latest: 'departure_delay'), or a list of feature views.

    Raises RequestError for what is not declared, DefinitionError for what is declared wrongly.
    """
    declarations, service = read.declarations, None
    if isinstance(features, str):
        declarations.raise_first()
        service = find_service(declarations.services, features)
        reads = service.views
    else:
        reads = tuple(_all_features(declarations, id_) for id_ in features)
    if not reads:
        raise RequestError(
            "no feature views are asked for", "name a service, or a list of views: ['carrier_delays.v2']"
        )
    outputs(reads)
    return Request(read=read, service=service, reads=reads)


def _all_features(declarations: Declarations, id_: str) -> ServiceView:
    if id_ not in declarations.views:
        declared = ", ".join(sorted(declarations.views)) or "none"
        raise RequestError(f"there is no feature view '{id_}'", f"declared: {declared}")
    return ServiceView(view=id_, features=tuple(feature.name for feature in declarations.views[id_].view.features))


def _ref(declarations: Declarations, id_: str) -> str:
    declared = declarations.views[id_]
    package = declared.unique_id.split(".")[1]
    return f"ref({package!r}, {declared.view.name!r}, v={declared.view.version})"
