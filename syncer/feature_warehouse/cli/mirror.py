"""`syncer verify` and `syncer drop`."""

from __future__ import annotations

import sys
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.cli.options import (
    json_option,
    mirror_options,
    namespace_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import counted, hold_json, print_json, print_table, say_error, say_held, synced_json
from feature_warehouse.cli.process import logged, open_store, told_to_stop
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.project.project import ProjectOptions, load_project

if TYPE_CHECKING:
    from feature_warehouse.mirror.sync import ViewSynced
    from feature_warehouse.mirror.verify import ViewVerified


@click.command("verify")
@mirror_options
@click.option("--repair", is_flag=True, help="Then mend what differs: a sync that reads Redis back.")
@json_option
def verify_command(
    project: ProjectOptions,
    select: tuple[str, ...],
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    repair: bool,
    as_json: bool,
) -> None:
    """Compare every online value with the warehouse. Both ways; exit code 1 when anything differs.

    \b
    Example:
      syncer verify --select carrier_delays
    """
    from feature_warehouse.mirror.preparation import prepare
    from feature_warehouse.mirror.sync import sync
    from feature_warehouse.mirror.verify import verify
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.warehouse.arrow import leave_pandas_out

    leave_pandas_out()
    wanted = prepare(project, namespace=namespace, as_of=as_of, selection=select)
    store = open_store(url)
    found = list(verify(wanted, store))
    differences, equal = sum(view.differences for view in found), all(view.equal for view in found)
    repaired: list[ViewSynced] = []
    if repair and differences:
        with told_to_stop() as stopped, logged():
            repaired = list(sync(wanted, store, terms=Terms(full=True), stopped=stopped.is_set))
            Trail(store, wanted.namespace, wanted.remember).synced(
                repaired, as_of=wanted.instant.as_of, why=f"verify found {counted(differences, 'difference')}"
            )
    if as_json:
        views = [_verified_json(view) for view in found]
        print_json(
            {
                "namespace": wanted.namespace,
                "differences": differences,
                "views": views,
                "repaired": [synced_json(view) for view in repaired],
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
            if view.held:
                click.echo(f"{view.view}: {view.held}")
            if view.unknown:
                say_error(view.unknown)
        rows = sum(view.rows for view in found)
        click.echo(f"{counted(rows, 'row')} compared, {counted(differences, 'difference')}.")
        if repaired:
            written, removed = sum(view.written for view in repaired), sum(view.removed for view in repaired)
            click.echo(f"Mended: {written:,} written, {removed:,} removed.")
            for each in repaired:
                say_held(each.view, each.reasons)
    if differences and not repair and not as_json:
        click.echo("Hint: run `syncer verify --repair`, or `syncer sync` where the warehouse has changed.", err=True)
    mended = repair and differences and all(view.published for view in repaired) and not any(v.unknown for v in found)
    sys.exit(0 if equal or mended else 1)


def _verified_json(view: ViewVerified) -> dict[str, Any]:
    found = {field.name: getattr(view, field.name) for field in fields(view)}
    return {**found, "held": hold_json(view.held), "unknown": view.unknown and view.unknown.message}


@click.command("drop")
@project_options
@url_option
@namespace_option
@click.option("--yes", is_flag=True, help="Do it; without, only say what would go.")
@json_option
def drop_command(project: ProjectOptions, url: str, namespace: str | None, yes: bool, as_json: bool) -> None:
    """Take a namespace out of Redis. All that was synced into it, its markers and its registry.

    \b
    Example:
      syncer drop --namespace shop_preview_17 --yes
    """
    from feature_warehouse.mirror.preparation import STATES
    from feature_warehouse.mirror.sync import drop
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.wire.keyspace import check_namespace, registry_key
    from feature_warehouse.wire.trail import Touched

    owner, store = load_project(project), open_store(url)
    namespace = check_namespace(namespace or owner.default_namespace)
    with told_to_stop() as stopped, logged():
        there = store.get(registry_key(namespace)) is not None
        done = drop(
            store,
            namespace=namespace,
            project=owner.name,
            target=owner.target,
            remember=owner.folder / STATES,
            stopped=stopped.is_set,
            really=yes,
        )
        views = {view.view: view.removed for view in done}
        if yes and there:
            gone = [Touched(view=view, removed=count) for view, count in views.items()]
            Trail(store, namespace, owner.folder / STATES).record("drop", views=gone)
    if as_json:
        print_json({"namespace": namespace, "dropped": yes, "removed": views})
        return
    for view, removed in views.items():
        click.echo(f"{view}: {removed:,} entities {'removed' if yes else 'would go'}")
    if yes:
        click.echo(f"{namespace} on {store.address} is empty.")
    else:
        click.echo(f"Nothing was removed from {namespace} on {store.address}: give --yes.")
