"""`syncer verify` and `syncer drop`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from feature_warehouse.cli.options import json_option, namespace_option, open_store, project_options, url_option
from feature_warehouse.cli.output import counted, print_json, print_table
from feature_warehouse.cli.run import STATES, Run, arguments, logged, mirror_command, told_to_stop
from feature_warehouse.mirror.planning import Terms
from feature_warehouse.mirror.sync import ViewSynced, drop, sync
from feature_warehouse.mirror.verify import verify
from feature_warehouse.project.project import load_project
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.wire.keyspace import check_namespace


@mirror_command("verify")
@click.option("--repair", is_flag=True, help="Then mend what differs: a sync that reads Redis back.")
@json_option
def verify_command(prepare: Callable[[], Run], url: str, repair: bool, as_json: bool) -> None:
    """Compare every online value with the warehouse. Both ways; exit code 1 when anything differs.

    \b
    Example:
      syncer verify --select carrier_delays
    """
    run, store = prepare(), open_store(url)
    found = list(
        verify(
            run.registry,
            run.declared,
            open_warehouse(run.project.database, run.project.settings),
            store,
            namespace=run.namespace,
            target=run.project.target,
            now=run.instant.as_of,
            select=run.select,
        )
    )
    differences = sum(view.differences for view in found)
    repaired: list[ViewSynced] = []
    if repair and differences:
        with told_to_stop() as stopped, logged():
            terms = Terms(full=True)
            repaired = list(sync(**arguments(run, store, terms, stopped.is_set), stopped=stopped.is_set))
    if as_json:
        views = [asdict(view) for view in found]
        print_json(
            {
                "namespace": run.namespace,
                "differences": differences,
                "views": views,
                "repaired": [asdict(view) for view in repaired],
            }
        )
    else:
        print_table(
            ("feature view", "rows", "missing", "different", "extra"),
            [(v.view, f"{v.rows:,}", f"{v.missing:,}", f"{v.different:,}", f"{v.extra:,}") for v in found],
        )
        for view in found:
            for example in view.examples:
                click.echo(f"{view.view}: {example}")
        rows = sum(view.rows for view in found)
        click.echo(f"{counted(rows, 'row')} compared, {counted(differences, 'difference')}.")
        if repaired:
            written, removed = sum(view.written for view in repaired), sum(view.removed for view in repaired)
            click.echo(f"Mended: {written:,} written, {removed:,} removed.")
    if differences and not repair and not as_json:
        click.echo("Hint: run `syncer verify --repair`, or `syncer sync` where the warehouse has changed.", err=True)
    sys.exit(1 if differences and not repair else 0)


@click.command("drop")
@project_options
@url_option
@namespace_option
@click.option("--yes", is_flag=True, help="Do it; without, only say what would go.")
@json_option
def drop_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    url: str,
    namespace: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Take a namespace out of Redis. All that was synced into it, its markers and its registry.

    \b
    Example:
      syncer drop --namespace shop_preview_17 --yes
    """
    project = load_project(project_dir, profiles_dir, target)
    namespace = check_namespace(namespace or project.default_namespace)
    store = open_store(url)
    with told_to_stop() as stopped, logged():
        done = drop(
            store,
            namespace=namespace,
            project=project.name,
            target=project.target,
            remember=project.folder / STATES,
            stopped=stopped.is_set,
            really=yes,
        )
        views = {view.view: view.removed for view in done}
    if as_json:
        print_json({"namespace": namespace, "dropped": yes, "removed": views})
        return
    for view, removed in views.items():
        click.echo(f"{view}: {removed:,} entities {'removed' if yes else 'would go'}")
    if yes:
        click.echo(f"{namespace} on {store.address} is empty.")
    else:
        click.echo(f"Nothing was removed from {namespace} on {store.address}: give --yes.")
