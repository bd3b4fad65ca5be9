"""Whether a latest-value view is what `latest_values` compiles to: what is served is then what training joins.

Most are that one line, which is seen from the text alone. Of any other text, what dbt compiles of it is compared with
what it compiles of the macro. Hooks and configs of it are judged like those of the models above (`influences`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from feature_warehouse.errors import DefinitionError, ProjectError
from feature_warehouse.project.compiling import compile_sql
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.project import Project
from feature_warehouse.sql.text import words_of

#: What may stand around the call without changing what it makes: comments, and a config, which is judged by itself.
_AROUND = re.compile(
    r"""\{\#.*?\#\}|/\*.*?\*/|--[^\n]*|\{\{-?\s*config\((?:[^(){}'"]|'[^']*'|"[^"]*")*\)\s*-?\}\}""", re.DOTALL
)

_CALL = re.compile(
    r"""\{\{-?\s*(?P<package>feature_warehouse\.)?latest_values\(\s*(?:relation\s*=\s*)?
        ref\(\s*(?:(?P<one>['"])\w+(?P=one)\s*,\s*)?(?P<two>['"])(?P<name>\w+)(?P=two)\s*,\s*(?:v|version)\s*=\s*(?P<version>\d+)\s*\)
        \s*,?\s*\)\s*-?\}\}""",
    re.VERBOSE,
)


#: Between two pieces of Jinja that dbt compiles in one go.
_APART = "\n-- and what the macro makes\n"


def latest_problem(project: Project, declared: DeclaredView, node: Mapping[str, Any]) -> DefinitionError | None:
    """Why rows of the latest-value view would be others than training joins; None where they are the same.

    ``node``: the latest-value view's own, in dbt's manifest.
    """
    view, config, path = declared.view, node["config"], node["original_file_path"]
    line = f"{{{{ feature_warehouse.latest_values(ref('{view.name}', v={view.version})) }}}}"
    if config.get("materialized") != "view":
        return DefinitionError(
            f"{path}: the latest-value view of {view.id} is materialized as {config.get('materialized')}, so that it "
            "would stand still at the instant of its last build",
            "make it a view: `config: {materialized: view}`; what takes long belongs into the history, as a table",
        )
    if is_the_line(node["raw_code"], node["package_name"], view.name, view.version):
        return None
    if _compiles_to(project, node["raw_code"], line):
        return None
    return DefinitionError(
        f"{path} is not what latest_values compiles to, so {view.id} would serve other values than training joins",
        f"leave it at its one line, {line}, and compute in {view.name} what is to be served",
    )


def is_the_line(text: str, package: str, name: str, version: int) -> bool:
    """Whether a text of ``package`` is that line; a macro without its package's name is the project's own, if it has
    one."""
    found = _CALL.fullmatch(_AROUND.sub("", text).strip())
    if found is None or not (found["package"] or package == "feature_warehouse"):
        return False
    return (found["name"], int(found["version"])) == (name, version)


def _compiles_to(project: Project, text: str, line: str) -> bool:
    """Whether dbt makes the same words of both; not where the project has no such macro, or they do not compile."""
    try:
        made, _, meant = compile_sql(project, text + _APART + line).partition(_APART)
    except ProjectError:
        return False
    return words_of(made, project.output.dialect) == words_of(meant, project.output.dialect)
