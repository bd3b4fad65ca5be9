"""Lineage: column of a source -> feature -> field in Redis -> feature service -> model, for a whole project.

A graph of steps, made from definitions and declarations; how it is drawn, `cli` knows. Columns come from the compiled
SQL, through all models in between; a feature has one edge from each column that it is computed from ("value") or that
decides which rows it has ("rows").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from feature_warehouse.errors import DefinitionError, RequestError, closest
from feature_warehouse.gate.rolling import read_meaning
from feature_warehouse.project.compiling import compile_feature_views, parse_project
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.definition import ProjectDefinitions
from feature_warehouse.project.project import ProjectOptions, load_project
from feature_warehouse.registry.document import Registry, load_registry
from feature_warehouse.registry.feature import FeatureService, FeatureView, period_text
from feature_warehouse.sql.clauses import names_read
from feature_warehouse.sql.facts import Facts
from feature_warehouse.wire.keyspace import SEPARATOR, field_name, key_prefix

Kind = Literal["column", "feature", "field", "on_demand", "service", "model"]


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of a value. about: what else is known of it, by name."""

    id: str
    kind: Kind
    about: Mapping[str, object] = field(default_factory=dict)


class Lineage:
    """Steps, each after those above it, and the edges between them."""

    def __init__(self, steps: Mapping[str, Step], edges: Mapping[tuple[str, str], str]) -> None:
        """steps: by id. edges: (above, below) -> 'value' or 'rows' from a column to a feature, '' further on."""
        self.steps = steps
        self.edges = edges
        self._below: dict[str, list[str]] = {}
        self._above: dict[str, list[str]] = {}
        for above, below in edges:
            self._below.setdefault(above, []).append(below)
            self._above.setdefault(below, []).append(above)

    def below(self, id_: str) -> list[Step]:
        return [self.steps[below] for below in self._below.get(id_, ())]

    def above(self, id_: str, how: str = "") -> list[Step]:
        return [self.steps[above] for above in self._above.get(id_, ()) if self.edges[above, id_] == how]

    def around(self, ids: Iterable[str]) -> Lineage:
        """What leads to these steps, and where they lead."""
        kept = dict.fromkeys(ids)
        for neighbours in (self._below, self._above):
            found = list(dict.fromkeys(ids))
            seen = set(found)
            for id_ in found:
                new = [other for other in neighbours.get(id_, ()) if other not in seen]
                found += new
                seen.update(new)
            kept.update(dict.fromkeys(found))
        return Lineage(
            {id_: step for id_, step in self.steps.items() if id_ in kept},
            {pair: how for pair, how in self.edges.items() if kept.keys() >= {*pair}},
        )

    def named(self, name: str) -> list[str]:
        """The ids that a name means: a feature's or a service's own, or all features of a view. Raises RequestError."""
        known: dict[str, list[str]] = {}
        for id_, step in self.steps.items():
            if step.kind in ("feature", "service"):
                known.setdefault(id_, []).append(id_)
            if step.kind == "feature":
                known.setdefault(id_.rpartition(".")[0], []).append(id_)
        if name not in known:
            raise RequestError(
                f"there is no feature, feature view or service '{name}'",
                closest(
                    name, known, "write carrier_delays.v2.delay_rate_7d, carrier_delays.v2 or departure_delay@2; known"
                ),
            )
        return known[name]

    def column(self, name: str) -> str:
        """The id of a column, 'raw_flights.arr_delay' of a seed, 'raw.flights.arr_delay' of a source. Raises
        RequestError."""
        known = [id_ for id_, step in self.steps.items() if step.kind == "column"]
        for id_ in (name.lower(), f"source.{name.lower()}"):
            if id_ in known:
                return id_
        raise RequestError(f"no feature comes from a column '{name}'", closest(name, known, "columns that are read"))


@dataclass(frozen=True, slots=True)
class ProjectLineage:
    """The lineage of a project, and why some views are not in it."""

    lineage: Lineage
    problems: tuple[DefinitionError, ...]


def project_lineage(options: ProjectOptions, namespace: str | None = None) -> ProjectLineage:
    """From the project's files as they are now, compiled without a warehouse. Raises ProjectError and RegistryError."""
    project = load_project(options)
    parsed = parse_project(project)
    compiled = compile_feature_views(project, parsed)
    declarations = read_declarations(compiled.manifest)
    definitions = read_meaning(project, parsed, compiled, declarations.views)
    registry = load_registry(project.registry_path, declarations.project)
    lineage = read_lineage(
        declarations, definitions, compiled.manifest, registry, namespace or project.default_namespace
    )
    return ProjectLineage(lineage, (*declarations.problems, *definitions.problems.values()))


def read_lineage(
    declarations: Declarations,
    definitions: ProjectDefinitions,
    manifest: Mapping[str, Any],
    registry: Registry,
    namespace: str,
) -> Lineage:
    """registry: for the field numbers; manifest: for the exposures, of which services are one kind."""
    steps: dict[str, Step] = {}
    edges: dict[tuple[str, str], str] = {}

    def add(step: Step, *above: str, how: str = "") -> None:
        steps.setdefault(step.id, step)
        edges.update({(id_, step.id): how for id_ in above if (id_, step.id) not in edges})

    facts = _facts(definitions)
    exposures = _Exposures(manifest)
    for id_, declared in declarations.views.items():
        view = declared.view
        for feature in view.features:
            known = facts.get((id_, feature.name))
            step = Step(f"{id_}.{feature.name}", "feature", {"type": feature.type, **(_about(known) if known else {})})
            for how, columns in (("value", known.sources), ("rows", known.row_sources)) if known else ():
                for source, column in columns:
                    name = f"{source}.{column}"
                    steps.setdefault(name, Step(name, "column", {"source": source}))
                    add(step, name, how=how)
            add(step)
            for trained in exposures.below(declared.unique_id):
                add(trained, step.id)
    for service in declarations.services.values():
        _add_service(add, service, declarations.feature_views, registry, namespace)
        if model := exposures.of(service):
            add(model, service.id)
    order = sorted(steps.values(), key=lambda step: _KINDS.index(step.kind))
    return Lineage({step.id: step for step in order}, edges)


_KINDS: tuple[Kind, ...] = ("column", "feature", "field", "on_demand", "service", "model")


def _facts(definitions: ProjectDefinitions) -> dict[tuple[str, str], Facts]:
    return {
        (id_, feature): definitions.read.facts(one.view, feature)
        for id_, one in definitions.meant.items()
        for feature in one.view.features
    }


def _about(facts: Facts) -> dict[str, object]:
    found = facts.lookback
    return {
        "look_back": found.kind if found.kind != "bounded" else period_text(found.span) if found.span else None,
        "because": list(found.where),
        "open_ties": list(facts.open_ties),
    }


def _add_service(
    add: Any, service: FeatureService, views: Mapping[str, FeatureView], registry: Registry, namespace: str
) -> None:
    fields: dict[str, str] = {}  # the name that an on-demand expression uses -> the step
    for read in service.views:
        view = views[read.view]
        served = registry.views.get(read.view)
        numbers = {feature.name: feature.number for feature in served.features} if served else {}
        key = key_prefix(namespace, view.entity.name) + SEPARATOR.join(f"<{key.name}>" for key in view.entity.join_keys)
        for name in read.features:
            about = {"key": key, "field": field_name(view.name, view.version), "number": numbers.get(name)}
            step = Step(f"{key} {about['field']} {name}", "field", about)
            fields[read.prefix + name] = step.id
            add(step, f"{read.view}.{name}")
            add(Step(service.id, "service", {"owner": service.owner}), step.id)
    for feature in service.on_demand:
        step = Step(f"{service.id}.{feature.name}", "on_demand", {"expression": feature.expression})
        names = names_read(f"select {feature.expression} as on_demand_value").columns.get(
            "on_demand_value", frozenset()
        )
        add(step, *(fields[name] for name in sorted(names & fields.keys())))
        add(Step(service.id, "service", {"owner": service.owner}), step.id)


class _Exposures:
    """What stands below nodes in dbt's graph: models that were trained on them, reports."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._exposures: Mapping[str, Any] = manifest["exposures"]
        self._children: dict[str, list[str]] = {}
        for id_, node in {**manifest["nodes"], **manifest["exposures"]}.items():
            for above in node.get("depends_on", {}).get("nodes", ()):
                self._children.setdefault(above, []).append(id_)
        self._of = {
            f"{declared['name']}@{declared['version']}": self._step(exposure)
            for exposure in self._exposures.values()
            if (declared := _service_of(exposure)) is not None
        }

    def of(self, service: FeatureService) -> Step | None:
        """The exposure that declares a service."""
        return self._of.get(service.id)

    def below(self, unique_id: str) -> list[Step]:
        """Of other exposures, those that depend on a node, over however many models."""
        found = [unique_id]
        for id_ in found:
            found += [child for child in self._children.get(id_, ()) if child not in found]
        exposures = [self._exposures[id_] for id_ in found if id_ in self._exposures]
        return [self._step(exposure) for exposure in exposures if _service_of(exposure) is None]

    @staticmethod
    def _step(exposure: Mapping[str, Any]) -> Step:
        owner = exposure.get("owner") or {}
        about = {"type": exposure["type"], "owner": owner.get("name"), "email": owner.get("email")}
        return Step(exposure["name"], "model", about)


def _service_of(exposure: Mapping[str, Any]) -> Mapping[str, Any] | None:
    declared = (exposure["config"].get("meta") or {}).get("feature_service")
    complete = isinstance(declared, dict) and declared.keys() >= {"name", "version"}
    return declared if complete else None
