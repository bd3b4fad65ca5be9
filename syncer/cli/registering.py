"""`syncer register` and `syncer check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from syncer.cli.options import json_option, project_options
from syncer.cli.output import print_json, say_error, shown
from syncer.project import load_declarations, load_project
from syncer.registering import check_project, register_project


@click.command()
@project_options
@json_option
def register(project_dir: Path | None, profiles_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Take what the project declares into its registry. Writes registry/registry.json and registry/features.proto.

    \b
    Example:
      dbt parse && syncer register
    """
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    done = register_project(declarations, project.registry_path, project.proto_path)
    if as_json:
        print_json(
            {"changes": done.changes, "views": list(done.registry.views), "services": list(done.registry.services)}
        )
        return
    for change in done.changes:
        click.echo(change)
    if not done.changes:
        click.echo("The registry already says what the project declares.")
    else:
        click.echo(
            f"Written to {shown(project.registry_path)} and {shown(project.proto_path)}: review and commit them."
        )


@click.command()
@project_options
@json_option
def check(project_dir: Path | None, profiles_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Compare what the project declares with its registry. For CI: exit code 1 when something is wrong.

    \b
    Example:
      dbt parse && syncer check
    """
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    problems = check_project(declarations, project.registry_path, project.proto_path)
    if as_json:
        print_json({"problems": [{"message": problem.message, "hint": problem.hint} for problem in problems]})
    else:
        for problem in problems:
            say_error(problem)
        if not problems:
            views, services = len(declarations.views), len(declarations.services)
            click.echo(f"The registry agrees: feature view versions {views}, service versions {services}.")
    sys.exit(1 if problems else 0)
