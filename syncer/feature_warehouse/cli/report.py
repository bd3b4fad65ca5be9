"""`syncer report`: all that is known, as one HTML file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from feature_warehouse.cli.options import (
    FILE,
    json_option,
    judged_as_of_option,
    namespace_option,
    price_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import counted, print_json, shown
from feature_warehouse.cli.process import open_store
from feature_warehouse.errors import ProjectError
from feature_warehouse.project.project import ProjectOptions


@click.command("report")
@project_options
@url_option
@namespace_option
@judged_as_of_option
@click.option("-o", "--output", type=FILE, help="The file. Default: features.html in the project's target folder.")
@price_option
@json_option
def report_command(
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    output: Path | None,
    price_per_gb: float,
    as_json: bool,
) -> None:
    """Write a report of all features. Freshness, drift, cost, lineage and services, in one HTML file without network.

    \b
    Example:
      syncer report -o features.html
    """
    from feature_warehouse.cli.metrics import replace_file
    from feature_warehouse.monitoring.report import report
    from feature_warehouse.monitoring.scope import read_scope

    try:
        from feature_warehouse.monitoring.page import render  # Jinja comes with dbt
    except ImportError as error:
        raise ProjectError(f"the report needs Jinja: {error}", "pip install 'feature-warehouse[dbt,sync]'") from error
    scope = read_scope(project, namespace=namespace, as_of=as_of)
    found = report(scope, open_store(url), price_per_gb)
    path = output or scope.project.manifest_path.with_name("features.html")
    text = render(found)
    replace_file(path, text)
    if as_json:
        print_json(
            {"path": str(path), "bytes": len(text.encode()), "views": len(found.views), "features": len(found.features)}
        )
    else:
        views, features = counted(len(found.views), "feature view"), counted(len(found.features), "feature")
        click.echo(f"{views}, {features}: {shown(path)}")
