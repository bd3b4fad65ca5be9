"""`syncer sync`: one run, or one after the other."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import click

from feature_warehouse.cli.metrics import replace_file, sync_metrics
from feature_warehouse.cli.options import duration_option, json_option, open_store
from feature_warehouse.cli.output import counted, file_error, print_json, print_table, say_error, utc
from feature_warehouse.cli.progress import Progress
from feature_warehouse.cli.run import (
    STATES,
    Preparation,
    Run,
    arguments,
    logged,
    mirror_command,
    terms_options,
    told_to_stop,
)
from feature_warehouse.errors import SyncerError
from feature_warehouse.mirror.namespace import compact_limit, cost_of_length
from feature_warehouse.mirror.planning import Terms
from feature_warehouse.mirror.sync import ViewSynced, sync
from feature_warehouse.mirror.watch import watch
from feature_warehouse.monitoring import journal
from feature_warehouse.project.project import ModelRuns
from feature_warehouse.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one run did."""

    namespace: str
    address: str
    as_of: datetime
    seconds: float
    views: list[ViewSynced]


@mirror_command("sync")
@terms_options
@click.option(
    "--every",
    callback=duration_option,
    metavar="DURATION",
    help="Go on: sync again at this pace (30s, 5m, 1h), until SIGTERM or Ctrl-C.",
)
@click.option(
    "--run",
    "run_models",
    multiple=True,
    metavar="SELECTION",
    help="Run these dbt models before each sync, in dbt's selection syntax; repeatable.",
)
@click.option(
    "--metrics",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what each sync did into this file, as OpenMetrics.",
)
@json_option
def sync_command(
    prepare: Preparation,
    url: str,
    terms: Terms,
    every: timedelta | None,
    run_models: tuple[str, ...],
    metrics: Path | None,
    as_json: bool,
) -> None:
    """Make Redis equal to the latest-value views. Sends only what differs; says what when it has.

    \b
    Example:
      syncer sync --select carrier_delays --every 30s
    """
    if every and prepare.now:
        raise click.UsageError("--now stands still and --every goes on: give one of the two")
    warned: list[str] = []
    store, models = open_store(url), ModelRuns(run_models, prepare.target) if run_models else None

    def cycle() -> Summary:
        try:
            if models:
                models.run(prepare.project())
            summary = _synced(prepare(), store, terms, stopped)
            if metrics:
                replace_file(metrics, sync_metrics(summary.namespace, summary.as_of, summary.views, time.time()))
            longest = {view.view: (view.rows, view.longest) for view in summary.views}
            warning = cost_of_length(longest, compact_limit(store))
            if warning and not warned:
                warned.append(warning)
                click.echo(f"Warning: {warning}.", err=True)
            return summary
        except OSError as error:
            raise file_error(error) from error

    with told_to_stop() as stopped, logged():
        if every is None:
            _print_summary(cycle(), as_json)
            return
        prepare()  # a wrong command line or project ends the watch before it begins
        for result in watch(cycle, every, stopped):
            _print_cycle(result, as_json)


def _synced(run: Run, store: Store, terms: Terms, stopped: Event) -> Summary:
    started = time.monotonic()
    try:
        with Progress(sys.stderr) as progress:
            engine = sync(
                **arguments(run, store, terms, stopped.is_set), stopped=stopped.is_set, progress=progress.show
            )
            views = list(engine)
    except SyncerError as error:
        _write_down(run, {"error": error.message})
        raise
    seconds = time.monotonic() - started
    changes = [
        {"view": each.view, "rows": each.rows, "written": each.written, "removed": each.removed} for each in views
    ]
    _write_down(run, {"seconds": round(seconds, 3), "views": changes})
    return Summary(
        namespace=run.namespace, address=store.address, as_of=run.instant.as_of, seconds=seconds, views=views
    )


def _write_down(run: Run, entry: dict[str, Any]) -> None:
    times = {"ended_at": datetime.now(timezone.utc).isoformat(), "as_of": run.instant.as_of.isoformat()}
    journal.record(run.project.folder / STATES, run.namespace, {**times, **entry})


def _print_summary(done: Summary, as_json: bool) -> None:
    if as_json:
        print_json(_json(done))
        return
    print_table(
        ("feature view", "rows", "written", "removed", "bytes sent"),
        [(v.view, f"{v.rows:,}", f"{v.written:,}", f"{v.removed:,}", f"{v.bytes:,}") for v in done.views],
    )
    rows = sum(view.rows for view in done.views)
    place = f"{done.namespace} on {done.address}"
    click.echo(f"{counted(rows, 'row')} in {done.seconds:.2f} s: {place} is the warehouse as of {utc(done.as_of)}.")


def _print_cycle(result: Summary | SyncerError, as_json: bool) -> None:
    """One line; of an error two, on stderr."""
    if isinstance(result, SyncerError):
        if as_json:
            print_json({"at": datetime.now(timezone.utc), "error": result.message, "hint": result.hint})
        else:
            say_error(result)
    elif as_json:
        print_json(_json(result))
    else:
        rows, written, removed = (
            sum(getattr(view, name) for view in result.views) for name in ("rows", "written", "removed")
        )
        done = f"{counted(rows, 'row')}, {written:,} written, {removed:,} removed in {result.seconds:.2f} s"
        click.echo(f"{utc(result.as_of)}  {done}")


def _json(done: Summary) -> dict[str, Any]:
    return {
        "namespace": done.namespace,
        "as_of": done.as_of.isoformat(),
        "seconds": round(done.seconds, 3),
        "views": [asdict(view) for view in done.views],
    }
