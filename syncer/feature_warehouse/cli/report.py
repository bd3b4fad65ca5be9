"""`syncer report`: all that is known, as one HTML file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.metrics import replace_file
from feature_warehouse.cli.options import (
    json_option,
    judged_at_option,
    namespace_option,
    open_store,
    price_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import counted, print_json, shown
from feature_warehouse.cli.run import STATES
from feature_warehouse.cli.status import PATIENCE, status_of
from feature_warehouse.errors import ProjectError
from feature_warehouse.monitoring.journal import read
from feature_warehouse.monitoring.report import collect
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.project import Project, compile_feature_views, load_project, load_project_manifest
from feature_warehouse.registry.document import Registry, load_registry
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.wire.keyspace import check_namespace

if TYPE_CHECKING:
    from feature_warehouse.gate.lineage import Lineage


@click.command("report")
@project_options
@url_option
@namespace_option
@judged_at_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file. Default: features.html in the project's target folder.",
)
@price_option
@json_option
def report_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    url: str,
    namespace: str | None,
    now: datetime | None,
    output: Path | None,
    price_per_gb: float,
    as_json: bool,
) -> None:
    """Write a report of all features. Freshness, drift, cost, lineage and services, in one HTML file without network.

    \b
    Example:
      syncer report -o features.html
    """
    try:
        from feature_warehouse.monitoring.page import render  # Jinja comes with dbt, and takes its time
    except ImportError as error:
        raise ProjectError(f"the report needs Jinja: {error}", "pip install 'feature-warehouse[dbt,sync]'") from error
    project = load_project(project_dir, profiles_dir, target)
    manifest = load_project_manifest(project)
    declarations = read_declarations(manifest)
    declarations.raise_first()
    namespace = check_namespace(namespace or project.default_namespace)
    registry, store = load_registry(project.registry_path, project.name), open_store(url)
    lineage, trouble = _lineage(project, target, declarations, registry, namespace)
    found = collect(
        manifest,
        declarations,
        registry,
        status_of(project, declarations, registry, store, namespace, now),
        open_warehouse(project.database, project.settings, patience=PATIENCE),
        target=project.target,
        namespace=namespace,
        address=store.address,
        per_gb=price_per_gb,
        syncs=read(project.folder / STATES, namespace),
        lineage=lineage,
        trouble=trouble,
    )
    path = output or project.manifest_path.with_name("features.html")
    text = render(found)
    replace_file(path, text)
    if as_json:
        print_json(
            {"path": str(path), "bytes": len(text.encode()), "views": len(found.views), "features": len(found.features)}
        )
    else:
        views, features = counted(len(found.views), "feature view"), counted(len(found.features), "feature")
        click.echo(f"{views}, {features}: {shown(path)}")


def _lineage(
    project: Project, target: str | None, declarations: Declarations, registry: Registry, namespace: str
) -> tuple[Lineage | None, list[str]]:
    """Columns to models, from what dbt compiles; and what of it cannot be known, in sentences."""
    from feature_warehouse.gate.lineage import read_lineage
    from feature_warehouse.project.definition import (
        read_definitions,  # sqlglot takes longer to import than most commands run
    )

    try:
        compiled = compile_feature_views(project, target)
    except ProjectError as error:
        return None, [error.message]
    found = read_definitions(compiled, declarations.views)
    lineage = read_lineage(declarations, found, compiled.manifest, registry, namespace)
    return lineage, [problem.message for problem in found.problems.values()]
