"""`syncer sync` and `syncer verify`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import click

from syncer.cli.options import json_option
from syncer.cli.output import print_json, print_table, utc
from syncer.cli.run import Run, mirror_command
from syncer.store import Store
from syncer.sync import sync
from syncer.verify import verify
from syncer.warehouse import open_warehouse


@mirror_command("sync")
@json_option
def sync_command(run: Run, url: str, as_json: bool) -> None:
    """Make Redis equal to the latest-value views.

    \b
    Example:
      syncer sync --select carrier_delays --url redis://127.0.0.1:6379/0
    """
    started = time.monotonic()
    store = Store(url)
    done = []
    for view in sync(
        run.registry,
        run.declared,
        open_warehouse(run.project.database, run.project.settings),
        store,
        namespace=run.namespace,
        target=run.project.target,
        instant=run.instant,
        select=run.select,
    ):
        done.append(view)
        if sys.stderr.isatty() and not as_json:
            click.echo(f"{view.view}: {view.rows:,} rows in {view.seconds:.2f} s", err=True)
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "namespace": run.namespace,
                "as_of": run.instant.as_of.isoformat(),
                "seconds": round(seconds, 3),
                "views": [asdict(view) for view in done],
            }
        )
        return
    print_table(
        ("feature view", "rows", "removed", "bytes sent"),
        [(view.view, f"{view.rows:,}", f"{view.removed:,}", f"{view.bytes:,}") for view in done],
    )
    rows = sum(view.rows for view in done)
    as_of = utc(run.instant.as_of)
    click.echo(f"{rows:,} rows in {seconds:.2f} s: {run.namespace} on {store.address} is the warehouse as of {as_of}.")


@mirror_command("verify")
@json_option
def verify_command(run: Run, url: str, as_json: bool) -> None:
    """Compare every online value with the warehouse. Both ways; exit code 1 when anything differs.

    \b
    Example:
      syncer verify --select carrier_delays
    """
    found = list(
        verify(
            run.registry,
            run.declared,
            open_warehouse(run.project.database, run.project.settings),
            Store(url),
            namespace=run.namespace,
            target=run.project.target,
            now=run.instant.as_of,
            select=run.select,
        )
    )
    differences = sum(view.differences for view in found)
    if as_json:
        print_json({"namespace": run.namespace, "differences": differences, "views": [asdict(view) for view in found]})
    else:
        print_table(
            ("feature view", "rows", "missing", "different", "extra"),
            [(v.view, f"{v.rows:,}", f"{v.missing:,}", f"{v.different:,}", f"{v.extra:,}") for v in found],
        )
        for view in found:
            for example in view.examples:
                click.echo(f"{view.view}: {example}")
        rows = sum(view.rows for view in found)
        click.echo(f"{rows:,} rows compared, {differences:,} differences.")
    if differences and not as_json:
        click.echo("Hint: run `syncer sync` to mend the mirror.", err=True)
    sys.exit(1 if differences else 0)
