"""`syncer rollback` and `syncer release`: the way back."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime

import click

from feature_warehouse.cli.options import (
    instant_option,
    json_option,
    namespace_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import counted, hold_json, print_json, synced_json, utc
from feature_warehouse.cli.process import logged, open_store, told_to_stop
from feature_warehouse.project.project import ProjectOptions, load_project


@click.command("rollback")
@click.argument("view")
@click.option(
    "--as-of", callback=instant_option, required=True, help="Serve the values of this instant again, with its zone."
)
@click.option("--reason", default="rolled back", show_default=True, help="Why, for all who see the hold.")
@project_options
@url_option
@namespace_option
@json_option
def rollback_command(
    view: str,
    as_of: datetime,
    reason: str,
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Serve the values of an earlier instant again. What was known then of VIEW; held so until `syncer release`.

    \b
    Example:
      syncer rollback carrier_delays --as-of 2013-01-30T12:00:00Z --reason "wrong delays since noon"
    """
    from feature_warehouse.care.rollback import chosen, limits, rollback
    from feature_warehouse.cli.progress import Progress
    from feature_warehouse.mirror.preparation import prepare
    from feature_warehouse.mirror.terms import Terms
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.warehouse.arrow import leave_pandas_out
    from feature_warehouse.wire.trail import Touched

    leave_pandas_out()
    every, store = prepare(project, namespace=namespace), open_store(url)
    id_ = chosen(view, every.registry.views)
    wanted, unproven = replace(every, select=frozenset({id_})), limits(every.declared[id_])
    for sentence in unproven:
        click.echo(f"Warning: what {id_} was may not come back whole: {sentence}.", err=True)
    with told_to_stop() as stopped, logged(), Progress(sys.stderr) as progress:
        done = rollback(
            wanted,
            store,
            as_of=as_of,
            reason=reason,
            terms=Terms(),
            progress=progress.show,
            stopped=stopped.is_set,
        )
    synced = done.synced
    with logged():
        Trail(store, wanted.namespace, wanted.remember).record(
            "rollback",
            as_of=as_of,
            seconds=synced.seconds,
            tokens=[synced.token],
            views=[Touched(view=id_, rows=synced.rows, written=synced.written, removed=synced.removed)],
            what=[
                f"from {utc(done.left.as_of)} back to {utc(as_of)}" if done.left.as_of else f"to {utc(as_of)}",
                *unproven,
            ],
            why=reason,
        )
    if as_json:
        print_json(
            {
                "namespace": wanted.namespace,
                "as_of": as_of,
                "was_as_of": done.left.as_of,
                "unproven": unproven,
                "view": synced_json(synced),
            }
        )
        return
    done_words = f"{counted(synced.rows, 'row')}, {synced.written:,} written, {synced.removed:,} removed"
    click.echo(f"{id_} in {wanted.namespace} on {store.address} is what it was at {utc(as_of)}: {done_words}.")
    if not synced.written and not synced.removed:
        click.echo("Nothing was another value then.")
    click.echo(f"It is held there until `syncer release {id_}`; other views go on.")


@click.command("release")
@click.argument("view")
@project_options
@url_option
@namespace_option
@json_option
def release_command(view: str, project: ProjectOptions, url: str, namespace: str | None, as_json: bool) -> None:
    """Let a view that was rolled back go on. The next sync publishes VIEW again.

    \b
    Example:
      syncer release carrier_delays
    """
    from feature_warehouse.care.rollback import release
    from feature_warehouse.mirror.preparation import STATES
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.wire.keyspace import check_namespace
    from feature_warehouse.wire.trail import Touched

    owner, store = load_project(project), open_store(url)
    namespace = check_namespace(namespace or owner.default_namespace)
    id_, hold = release(store, namespace=namespace, project=owner.name, target=owner.target, view=view)
    with logged():
        released = [Touched(view=id_)]
        Trail(store, namespace, owner.folder / STATES).record("release", views=released, what=[f"it was {hold}"])
    if as_json:
        print_json({"namespace": namespace, "view": id_, "released": hold_json(hold)})
        return
    click.echo(f"{id_} in {namespace} on {store.address} is released; it was {hold}.")
    click.echo("The next `syncer sync` publishes it.")
