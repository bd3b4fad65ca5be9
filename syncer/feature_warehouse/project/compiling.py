"""What dbt compiles for us: pieces of Jinja, and the feature views with all above them, without a warehouse."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.constants import answered, refused_query
from feature_warehouse.project.dbt import calling_dbt, end_pools, invoke, own_words
from feature_warehouse.project.influences import DECIDING
from feature_warehouse.project.project import Project


def compile_sql(project: Project, jinja: str, *, introspect: bool = False) -> str:
    """The SQL that dbt makes of a piece of Jinja, without opening the warehouse unless it is to ``introspect``.

    Raises ProjectError in the macro's words. In a target folder of its own: what other dbt runs have cached there stays
    theirs.
    """
    with calling_dbt("compile the query", "see what `dbt compile` says"):
        own_folder = str(project.manifest_path.parent / "syncer")
        result = invoke(
            project,
            "compile",
            *([] if introspect else ["--no-introspect"]),
            *("--no-populate-cache", "--target-path", own_folder, "--inline", jinja),
        )
        if result.exception is not None:
            end_pools(result.exception)
            raise ProjectError(own_words(str(result.exception)))
    compiled: Any = result.result
    return str(compiled.results[0].node.compiled_code)


#: Where the clock stands while feature views are compiled for the gate, on every machine. No value hangs on it.
COMPILE_CLOCK = "2000-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A project as dbt parsed it just now: ``graph`` for dbt, ``manifest`` as it would be in manifest.json."""

    graph: Any
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What dbt made of a project without looking at a warehouse, by unique id.

    sql: of models and snapshots, as a first run or a full refresh would send it. later: of incremental models, as every
    later run would. failed: why some have none; what reads them has none either. variables: of dbt_project.yml;
    deciding: what that says of which macros dbt takes for its own.
    """

    manifest: dict[str, Any]
    sql: Mapping[str, str]
    variables: Mapping[str, Any] = field(default_factory=dict)
    deciding: Mapping[str, Any] = field(default_factory=dict)
    later: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, ProjectError] = field(default_factory=dict)


def parse_project(project: Project) -> Parsed:
    """The project as its files are now.

    With the gate's clock, in a target folder of its own, so that dbt's cache of what it parsed stays warm (see
    ``forget_parsed``). Raises ProjectError in dbt's words.
    """
    with _dbt_for_gate():
        graph = _gate_run(project, None, "parse")
        return Parsed(graph, graph.writable_manifest().to_dict(omit_none=False))


def compile_feature_views(project: Project, parsed: Parsed | None = None) -> Compiled:
    """What dbt makes of the feature views and all above them. Nothing is asked of a warehouse, and none is needed.

    A model that does not compile, or asks the warehouse while it does, is a failed one. Raises ProjectError, mostly in
    dbt's words, when dbt cannot begin.
    """
    parsed = parsed or parse_project(project)
    graph = parsed.graph
    with _dbt_for_gate():
        models = [node for node in graph.nodes.values() if node.resource_type == "model"]
        views = [node for node in models if (node.config.meta or {}).get("feature_view")]
        python = [node for node in models if node.language != "sql"]  # dbt cannot compile them by themselves
        selected = sorted({f"+{_selector(view)}" for view in views})
        _say_incremental(graph, "false")
        failed: dict[str, ProjectError] = {}
        sql = _compiled(project, graph, failed, selected, python, full_refresh=True)
        later = [node for node in models if node.config.materialized == "incremental" and node.unique_id in sql]
        for node in later:  # dbt holds them for done
            node.compiled, node.extra_ctes, node.extra_ctes_injected = False, [], False
        _say_incremental(graph, "execute")
        selected = [f"{one},config.materialized:incremental" for one in selected] if later else []
        later_sql = _compiled(project, graph, failed, selected, python)
        return Compiled(
            manifest=parsed.manifest,
            sql=sql,
            variables=project.variables,
            deciding=_deciding(project),
            later=later_sql,
            failed=failed,
        )


def _deciding(project: Project) -> dict[str, Any]:
    """As it is written in dbt_project.yml, so that it is the same in every target."""
    import yaml  # type: ignore[import-untyped]  # comes with dbt

    written = yaml.safe_load((project.folder / "dbt_project.yml").read_text(encoding="utf-8"))
    said = {**(written.get("flags") or {}), **written}
    return {name: said[name] for name in DECIDING if said.get(name) is not None}


def render_rolling_features(project: Project, parsed: Parsed, calls: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """What the project's `rolling_features` gives for each call, arguments by name; None where it refuses one.

    None of all where another package has a form of its own of the macro's SQL: what that means is not known.
    """
    forms = [macro for macro in parsed.graph.macros.values() if macro.name.endswith("__rolling_select")]
    if any(macro.package_name != "feature_warehouse" for macro in forms):
        return [None] * len(calls)
    try:
        return list(_rendered(project, parsed, calls)) if calls else []
    except ProjectError:
        if len(calls) == 1:
            return [None]
    return [one for call in calls for one in render_rolling_features(project, parsed, [call])]


def _rendered(project: Project, parsed: Parsed, calls: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    mark = "-- end of call --"
    # as a text in Jinja, where no sign of the arguments can end it
    written = "".join(f"\\x{ord(sign):02x}" if sign in "{}%#" else sign for sign in json.dumps(json.dumps(calls)))
    jinja = "{% for call in fromjson(" + written + ") %}{{ feature_warehouse.rolling_features(**call) }}"
    jinja += mark + "{% endfor %}"
    with _dbt_for_gate():
        done = _gate_run(project, parsed.graph, "compile", "--no-introspect", "--no-populate-cache", "--inline", jinja)
    return str(done.results[0].node.compiled_code).split(mark)[:-1]


def _selector(view: Any) -> str:
    """The view, with all others of its entity where there is one: dbt looks at the whole project for each selector."""
    declared = view.config.meta["feature_view"]
    entity = declared.get("entity") if isinstance(declared, dict) else None
    if isinstance(entity, str) and entity.isidentifier():
        return f"config.meta.feature_view.entity:{entity}"
    return f"fqn:{'.'.join(view.fqn)}"


def remembers_parsed(project: Project) -> bool:
    """Whether dbt has parsed the project for the gate before."""
    return _parse_state(project).exists()


def forget_parsed(project: Project) -> None:
    """The next ``parse_project`` reads all files anew.

    What dbt parses of the files that have changed does not always fit what it remembers of the others: after some
    edits of snapshots and their sources, dbt 1.11 has seen one snapshot twice, and one without its source.
    """
    _parse_state(project).unlink(missing_ok=True)


def _parse_state(project: Project) -> Path:
    return project.manifest_path.parent / "gate" / "partial_parse.msgpack"


@contextmanager
def _dbt_for_gate() -> Iterator[None]:
    here = Path.cwd()  # dbt changes it
    try:
        with calling_dbt("compile the feature views", "see what `dbt compile` says"):
            yield
    finally:
        os.chdir(here)


def _compiled(
    project: Project,
    graph: Any,
    failed: dict[str, ProjectError],
    selected: Sequence[str],
    without: Sequence[Any],
    *,
    full_refresh: bool = False,
) -> dict[str, str]:
    """The compiled SQL of what dbt selects, by unique id. Adds to ``failed`` those that have none."""
    if not selected:
        return {}
    command = ["compile", "--no-fail-fast", "--no-introspect", "--no-populate-cache", "--indirect-selection", "empty"]
    command += ["--full-refresh"] if full_refresh else []
    command += ["--select", *selected]
    command += ["--exclude", *(f"fqn:{'.'.join(node.fqn)}" for node in without)] if without else []
    with _to_the_end(), answered(project.output):
        done = _gate_run(project, graph, *command)
    bad = {result.node.unique_id: result.message for result in done.results if result.status in ("error", "skipped")}
    for id_, message in bad.items():
        if message:
            failed.setdefault(id_, _not_compiled(_cause(message, bad)))
    found = {result.node.unique_id: result.node.compiled_code or "" for result in done.results}
    return {id_: sql for id_, sql in found.items() if id_ not in bad}


@contextmanager
def _to_the_end() -> Iterator[None]:
    """dbt's `compile` stops at the first model that fails; here the others are wanted, too."""
    from dbt.task.compile import CompileTask

    task: Any = CompileTask
    stops = task.raise_on_first_error
    task.raise_on_first_error = lambda self: False
    try:
        yield
    finally:
        task.raise_on_first_error = stops


def _say_incremental(graph: Any, answer: str) -> None:
    """What ``is_incremental`` says from now on; dbt's own looks whether the table is there."""
    for macro in graph.macros.values():
        if macro.name == "is_incremental":
            macro.macro_sql = f"{{% macro is_incremental() %}}{{{{ return({answer}) }}}}{{% endmacro %}}"


def _gate_run(project: Project, graph: Any, *command: str) -> Any:
    own_folder = str(project.manifest_path.parent / "gate")
    clock = json.dumps({"feature_warehouse_now": COMPILE_CLOCK})
    done = invoke(project, *command, "--target-path", own_folder, "--vars", clock, graph=graph)
    if done.exception is not None:
        end_pools(done.exception)
        raise _not_compiled(str(done.exception))
    return done.result


def _not_compiled(report: str) -> ProjectError:
    """What dbt says of a model, in a sentence."""
    place = _PLACE.search(report)
    query = refused_query(report)
    if place and (query or "connection never acquired" in report):
        return ProjectError(
            f"{place[1]} asks the warehouse while it is compiled, so its SQL is not the same everywhere",
            "write down in the model what it asks for: names of columns, values, dates"
            + (f"; it asks `{query}`" if query else ""),
        )
    return ProjectError(
        f"{place[1]}: {own_words(report)}" if place else own_words(report),
        "mend the model" if place else "see what `dbt compile` says",
    )


#: The file in dbt's heading: 'Compilation Error in model orders_v1 (models/orders_v1.sql)'.
_PLACE = re.compile(r" in (?:model|snapshot) \S+ \((\S+)\)")

#: The same of a model that reads one that failed: '... caused by compilation error in referenced ephemeral model ...'.
_INLINED = re.compile(r"in referenced ephemeral model (model\.\w+\.\S+)")


def _cause(report: str, reports: Mapping[str, str]) -> str:
    """Why a model failed: dbt's report of the ephemeral one that ``report`` blames, else ``report`` itself."""
    while (inlined := _INLINED.search(report)) and (own := reports.get(inlined[1])):
        report = own
    return report
