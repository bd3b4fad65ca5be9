"""`syncer plan`: what a sync would do, and what it would cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from feature_warehouse.cli.costs import costs_json, print_costs
from feature_warehouse.cli.options import json_option, open_store, price_option
from feature_warehouse.cli.output import counted, print_json, print_table
from feature_warehouse.cli.run import Run, arguments, logged, mirror_command, terms_options
from feature_warehouse.mirror.namespace import COMPACT_BYTES, SPREAD_BYTES, compact_limit, cost_of_length, server_memory
from feature_warehouse.mirror.planning import Planned, Terms
from feature_warehouse.mirror.sync import plan
from feature_warehouse.wire.cost import Size, costs


@mirror_command("plan")
@terms_options
@price_option
@json_option
def plan_command(prepare: Callable[[], Run], url: str, terms: Terms, price_per_gb: float, as_json: bool) -> None:
    """Say what `syncer sync` would do now. Rows, bytes, seconds and memory per feature view; nothing is written.

    \b
    Example:
      syncer plan --select carrier_delays
    """
    run, store = prepare(), open_store(url)
    with logged():
        found = plan(**arguments(run, store, terms))
    limit = compact_limit(store)
    planned = [_estimate(each, terms, limit) for each in found]
    whole = costs(run.registry, _sizes(found), server_memory(store))
    if as_json:
        print_json(
            {
                "namespace": run.namespace,
                "as_of": run.instant.as_of.isoformat(),
                "compact_limit": limit,
                "views": planned,
                "cost": costs_json(whole, price_per_gb),
            }
        )
        return
    print_table(
        ("feature view", "rows", "new", "changed", "removed", "bytes", "seconds", "memory"),
        [
            (
                f"{each['view']}{' (retired)' * each['retired']}",
                *(f"{each[name]:,}" for name in ("rows", "new", "changed", "removed", "bytes")),
                f"{each['seconds']:.1f}",
                f"{each['memory']:+,}",
            )
            for each in planned
        ],
    )
    changes = sum(each["new"] + each["changed"] + each["removed"] for each in planned)
    click.echo(f"{counted(changes, 'change')} to {run.namespace} on {store.address}; nothing was written.")
    click.echo()
    print_costs(whole, price_per_gb)
    if limit is None:
        click.echo("Whether Redis keeps these messages compact is unknown: it does not say (CONFIG).")
    if warning := cost_of_length({each.view: (each.rows, each.longest) for each in found}, limit):
        click.echo(f"Warning: {warning}.", err=True)


def _sizes(found: list[Planned]) -> dict[str, Size]:
    """What will be online of each view, by id."""
    spools = ((each.view, each.latest.spool) for each in found if each.latest)
    return {
        view: Size(rows=spool.rows, key_bytes=spool.key_bytes, message_bytes=spool.bytes - spool.key_bytes)
        for view, spool in spools
    }


#: Rows and bytes a second that a Redis takes on one core or less, for estimates.
_ROWS_PER_SECOND, _BYTES_PER_SECOND = 300_000, 60_000_000


def _estimate(planned: Planned, terms: Terms, limit: int | None) -> dict[str, Any]:
    """One view's record of `syncer plan`; seconds and memory are estimates."""
    todo = planned.difference
    changes = todo.writes.rows + todo.removals.rows
    rate = min(_ROWS_PER_SECOND, terms.max_rows_per_second or _ROWS_PER_SECOND)
    each = todo.writes.bytes / max(1, todo.writes.rows) + COMPACT_BYTES
    if limit is not None and todo.writes.longest > limit:
        each += SPREAD_BYTES - COMPACT_BYTES
    gone = planned.online.bytes / max(1, planned.online.rows) + COMPACT_BYTES
    return {
        "view": planned.view,
        "retired": planned.latest is None,
        "rows": planned.rows,
        "new": todo.added,
        "changed": todo.changed,
        "removed": todo.removals.rows,
        "bytes": todo.writes.bytes,
        "seconds": round(max(changes / rate, todo.writes.bytes / _BYTES_PER_SECOND), 3),
        "memory": round(todo.added * each - todo.removals.rows * gone),
        "read_back": planned.read_back,
    }
