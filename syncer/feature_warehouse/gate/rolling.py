"""Which views are judged as a call of ``rolling_features`` instead of by their SQL.

Those whose SQL, of every run, is what the macro gives today for the arguments that stand in it, word for word: so both
sides of a comparison are made by one macro, and differ by its arguments alone. All others are judged as SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from feature_warehouse.project.compiling import Compiled, Parsed, render_rolling_features
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.definition import Definition, ProjectDefinitions, Render, read_definitions
from feature_warehouse.project.project import Project
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.rolling import (
    EVENTS,
    IN_TIME_ORDER,
    OF,
    SINCE,
    Declaration,
    declaration,
    events,
    filled,
    is_instant,
    is_relation,
    later_runs,
    remembered,
    rolled,
)
from feature_warehouse.sql.text import Unclear, lower


def read_meaning(
    project: Project, parsed: Parsed, compiled: Compiled, views: Mapping[str, DeclaredView]
) -> ProjectDefinitions:
    """The definitions of the ``views`` of a project, and which of them are calls of the macro."""
    found = read_definitions(compiled, views)
    render = partial(render_rolling_features, project, parsed)
    return replace(found, rolled=believed(found.definitions, render), render=render)


def believed(definitions: Mapping[str, Definition], render: Render) -> dict[str, Definition]:
    """Those of the ``definitions`` that are calls of the macro, as the rows and aggregates that they mean."""
    said = {id_: declared for id_, one in definitions.items() if (declared := _declared(one)) is not None}
    return _believed(definitions, said, render)


def believed_before(
    accepted: Mapping[str, Definition], now: Mapping[str, Definition], render: Render
) -> dict[str, Definition]:
    """The same of accepted ``definitions``, which may be older than the arguments in their SQL: then they may be a call
    like the one ``now``."""
    said: dict[str, Declaration] = {}
    for id_, one in accepted.items():
        declared = _declared(one)
        if declared is None and id_ in now and (proposed := _declared(now[id_])) is not None:
            declared = remembered(_sql(one), proposed)
        if declared is not None:
            said[id_] = declared
    return _believed(accepted, said, render)


def _sql(definition: Definition) -> str:
    return definition.nodes[definition.view.node].sql or ""


def _declared(definition: Definition) -> Declaration | None:
    return declaration(_sql(definition))


def _believed(
    definitions: Mapping[str, Definition], said: Mapping[str, Declaration], render: Render
) -> dict[str, Definition]:
    calls = {id_: [declared.call(), declared.call(later=True)] for id_, declared in said.items()}
    given = iter(render([call for both in calls.values() for call in both]) if calls else ())
    found = {}
    for id_, declared in said.items():
        first, later = next(given), next(given)
        one = _as_events(definitions[id_], declared, first, later) if first and later else None
        if one is not None:
            found[id_] = one
    return found


def _as_events(definition: Definition, declared: Declaration, first: str, later: str) -> Definition | None:
    """The definition as events and aggregates over them; None where it is not what the macro gives."""
    view = definition.view
    node = definition.nodes[view.node]
    rendered = filled(first, node.sql or "") or filled(first + IN_TIME_ORDER, node.sql or "")
    known = {lower(feature.name) for feature in declared.features}
    if (
        rendered is None
        or node.opaque
        or node.dialect
        or sorted(map(lower, view.join_keys)) != sorted(map(lower, declared.join_keys))
        or (view.event_timestamp, view.deleted) != ("event_at", None)
        or view.available_at not in ("known_at", None)
        or not known.issuperset(map(lower, view.features))
    ):
        return None
    runs = ""
    if node.incremental is not None:
        forms = (first, first + IN_TIME_ORDER, later)
        again = next(filter(None, (filled(form, node.incremental) for form in forms)), None)
        if again is None or again[EVENTS] != rendered[EVENTS] or (SINCE in again and not is_instant(again[SINCE])):
            return None
        runs = later_runs(node.strategy, node.unique_key, again.get(SINCE, ""))
    try:
        if not is_relation(rendered[EVENTS]):
            return None
        rows = Node(sql=events(declared, rendered[EVENTS]), reads=node.reads)
    except Unclear:
        return None
    name = OF + view.node
    over = rolled(declared, ttl=definition.ttl, later=runs)
    by_name = {lower(feature): one for feature, one in over.items()}
    return replace(
        definition,
        view=replace(view, node=name, rolled={feature: by_name[lower(feature)] for feature in view.features}),
        nodes={**definition.nodes, name: rows},
    )
