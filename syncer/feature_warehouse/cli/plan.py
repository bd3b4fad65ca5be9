"""`syncer plan`: what a sync would do, and what it would cost."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime

import click

from feature_warehouse.cli.costs import costs_json, print_costs
from feature_warehouse.cli.options import json_option, mirror_options, price_option, terms_options
from feature_warehouse.cli.output import counted, print_json, print_table, say_held
from feature_warehouse.cli.process import logged, open_store
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.wire.cost import costs, raising


@click.command("plan")
@mirror_options
@terms_options
@price_option
@json_option
def plan_command(
    project: ProjectOptions,
    select: tuple[str, ...],
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    terms: Terms,
    price_per_gb: float,
    as_json: bool,
) -> None:
    """Say what `syncer sync` would do now. Rows, bytes, seconds and memory per feature view; nothing is written.

    Exit code 1 when a view would be held.

    \b
    Example:
      syncer plan --select carrier_delays
    """
    from feature_warehouse.gate.unbuilt import unbuilt_features
    from feature_warehouse.mirror.estimate import estimate, planned_sizes
    from feature_warehouse.mirror.namespace import compact_limit, cost_of_length, server_memory
    from feature_warehouse.mirror.preparation import prepare
    from feature_warehouse.mirror.sync import plan
    from feature_warehouse.warehouse.arrow import leave_pandas_out

    leave_pandas_out()
    wanted = prepare(project, namespace=namespace, as_of=as_of, selection=select, unbuilt=unbuilt_features)
    store = open_store(url)
    with logged():
        found = plan(wanted, store, terms=terms)
    limit = compact_limit(store)
    held = [each for each in found if each.reasons]
    estimates = [estimate(each, terms, limit) for each in found]
    sizes, memory = planned_sizes(found), server_memory(store)
    whole, more = costs(wanted.registry, sizes, memory), raising(wanted.registry, sizes, memory)
    if as_json:
        print_json(
            {
                "namespace": wanted.namespace,
                "as_of": wanted.instant.as_of.isoformat(),
                "compact_limit": limit,
                "views": [asdict(each) for each in estimates],
                "cost": costs_json(whole, more, price_per_gb),
            }
        )
        sys.exit(1 if held else 0)
    print_table(
        ("feature view", "rows", "new", "changed", "removed", "bytes", "seconds", "memory"),
        [
            (
                each.view
                + (" (held)" if each.held else " (rolled back)" if each.rolled_back else " (retired)" * each.retired),
                *(f"{count:,}" for count in (each.rows, each.new, each.changed, each.removed, each.bytes)),
                f"{each.seconds:.1f}",
                f"{each.memory:+,}",
            )
            for each in estimates
        ],
    )
    for each in estimates:
        for verdict in each.guards:
            click.echo(f"{each.view}: {verdict}")
    changes = sum(each.changes for each in estimates)
    click.echo(f"{counted(changes, 'change')} to {wanted.namespace} on {store.address}; nothing was written.")
    click.echo()
    print_costs(whole, more, price_per_gb)
    if limit is None:
        click.echo("Whether Redis keeps these messages compact is unknown: it does not say (CONFIG).")
    if warning := cost_of_length({each.view: (each.rows, each.longest) for each in found}, limit):
        click.echo(f"Warning: {warning}.", err=True)
    for view in held:
        say_held(view.view, view.reasons)
    sys.exit(1 if held else 0)
