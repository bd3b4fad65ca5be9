"""The proposal: what a project says now, parsed and compiled from its files, before anything of it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.gate.rolling import read_meaning
from feature_warehouse.gate.skew import Skew, Surroundings, find_skew
from feature_warehouse.gate.syntax import without_syntax_errors
from feature_warehouse.project.asking import asked_of_the_run
from feature_warehouse.project.compiling import compile_feature_views, forget_parsed, parse_project, remembers_parsed
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.definition import ProjectDefinitions, node_names
from feature_warehouse.project.project import Project, ProjectOptions, load_project
from feature_warehouse.warehouse.settings import settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a project says now. ``manifest``: dbt's, from which the rest was read; ``settings``: of the profile, that
    decide about values."""

    project: Project
    manifest: Mapping[str, Any]
    declarations: Declarations
    definitions: ProjectDefinitions
    skew: Skew
    settings: Mapping[str, str] | None


def load_proposal(options: ProjectOptions) -> Proposal:
    """What the files of the project say, parsed and compiled just now.

    Nothing is compiled where a declaration is wrong. No fault is believed that dbt finds in what it remembers of an
    earlier parse. Raises ProjectError, mostly in dbt's words.
    """
    project = load_project(options)
    remembered = remembers_parsed(project)
    try:
        proposal = _loaded(project)
    except ProjectError:
        if not remembered:
            raise
    else:
        if not remembered or not (proposal.declarations.problems or proposal.definitions.problems):
            return proposal
    forget_parsed(project)
    return _loaded(project)


def _loaded(project: Project) -> Proposal:
    parsed = parse_project(project)
    declarations = read_declarations(parsed.manifest)
    definitions, skew = ProjectDefinitions(definitions={}, problems={}), Skew()
    if not declarations.problems:
        compiled = compile_feature_views(project, parsed)
        names = node_names(compiled)
        files = {
            name: parsed.manifest["nodes"].get(id_, {}).get("original_file_path", name) for id_, name in names.items()
        }
        read = read_meaning(project, parsed, compiled, declarations.views)
        definitions = without_syntax_errors(read, declarations.views, files)
        surroundings = Surroundings(
            retentions={names[id_]: kept for id_, kept in declarations.retentions.items()},
            session_zone=project.session_zone,
            asked={names[id_]: asked for id_, asked in asked_of_the_run(parsed.manifest).items() if id_ in names},
        )
        skew = find_skew(definitions, declarations.views, surroundings)
    return Proposal(
        project=project,
        manifest=parsed.manifest,
        declarations=declarations,
        definitions=definitions,
        skew=skew,
        settings=settings_of(project.output),
    )
