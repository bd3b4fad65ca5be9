"""Models that are no SQL: told as such, with their file, before anything is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from feature_warehouse.errors import DefinitionError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.definition import ProjectDefinitions
from feature_warehouse.sql.text import Unclear, parse
from feature_warehouse.warehouse.syntax import syntax_error


def without_syntax_errors(
    project: ProjectDefinitions, views: Mapping[str, DeclaredView], files: Mapping[str, str]
) -> ProjectDefinitions:
    """The definitions without those that have a model which does not parse: these are problems. files: by node."""
    found: dict[str, str | None] = {}
    definitions, problems = dict(project.definitions), dict(project.problems)
    for id_, definition in project.definitions.items():
        for name, node in definition.nodes.items():
            if name not in found:
                texts = (node.sql, node.incremental) if not node.dialect else ()  # its parser is the warehouse's
                found[name] = next((e for text in texts if text and (e := _error(text))), None)
            if found[name]:
                problems[id_] = DefinitionError(
                    f"{views[id_].path}: {id_}: {files.get(name, name)} does not parse: {found[name]}",
                    f"see what `dbt build -s {name.rpartition('.')[2]}` says; target/compiled has the SQL",
                )
                del definitions[id_]
                break
    return replace(project, definitions=definitions, problems=problems)


def _error(sql: str) -> str | None:
    try:
        parse(sql)
    except Unclear:  # it may be that only we do not read it
        return syntax_error(sql)
    return None
