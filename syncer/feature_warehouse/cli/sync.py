"""`syncer sync`: one run, or one after the other."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.cli.options import (
    FILE,
    duration_option,
    json_option,
    mirror_options,
    terms_options,
)
from feature_warehouse.cli.output import (
    counted,
    file_error,
    print_json,
    print_table,
    say_error,
    say_held,
    synced_json,
    utc,
)
from feature_warehouse.cli.process import logged, open_store, told_to_stop
from feature_warehouse.errors import SyncerError
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.project.project import ProjectOptions, load_project

if TYPE_CHECKING:
    from feature_warehouse.mirror.preparation import Wanted
    from feature_warehouse.mirror.sync import ViewSynced
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one run did."""

    namespace: str
    address: str
    as_of: datetime
    seconds: float
    views: list[ViewSynced]

    @property
    def unpublished(self) -> list[ViewSynced]:
        """The views that are held; of one that was rolled back, only where its own instant could not be mirrored."""
        return [view for view in self.views if not view.published]


@click.command("sync")
@mirror_options
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
@click.option("--metrics", type=FILE, help="Write what each sync did into this file, as OpenMetrics.")
@json_option
def sync_command(
    project: ProjectOptions,
    select: tuple[str, ...],
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    terms: Terms,
    every: timedelta | None,
    run_models: tuple[str, ...],
    metrics: Path | None,
    as_json: bool,
) -> None:
    """Make Redis equal to the latest-value views. Sends only what differs; exit code 1 when a view is held.

    \b
    Example:
      syncer sync --select carrier_delays --every 30s
    """
    from feature_warehouse.cli.metrics import replace_file, sync_metrics
    from feature_warehouse.gate.unbuilt import unbuilt_features
    from feature_warehouse.mirror.namespace import compact_limit, cost_of_length
    from feature_warehouse.mirror.preparation import prepare
    from feature_warehouse.mirror.watch import watch
    from feature_warehouse.monitoring.trail import Trail
    from feature_warehouse.project.running import ModelRuns
    from feature_warehouse.warehouse.arrow import leave_pandas_out

    if every and as_of:
        raise click.UsageError("--as-of stands still and --every goes on: give one of the two")
    if not run_models:  # dbt's Python models may be written with pandas
        leave_pandas_out()
    store, models = open_store(url), ModelRuns(run_models) if run_models else None
    wanted: Wanted | None = None
    trail: Trail | None = None
    warned = False

    def prepared() -> Wanted:
        nonlocal wanted
        wanted = prepare(
            project, namespace=namespace, as_of=as_of, selection=select, before=wanted, unbuilt=unbuilt_features
        )
        return wanted

    def cycle() -> Summary:
        nonlocal trail, warned
        try:
            if models:
                models.run(load_project(project))
            wanted = prepared()
            trail = trail or Trail(store, wanted.namespace, wanted.remember)
            summary = _synced(wanted, store, terms, stopped, trail)
            if metrics:
                replace_file(metrics, sync_metrics(summary.namespace, summary.as_of, summary.views, time.time()))
            longest = {view.view: (view.rows, view.longest) for view in summary.views}
            warning = cost_of_length(longest, compact_limit(store))
            if warning and not warned:
                warned = True
                click.echo(f"Warning: {warning}.", err=True)
            return summary
        except OSError as error:
            raise file_error(error) from error

    with told_to_stop() as stopped, logged():
        if every is None:
            summary = cycle()
            _print_summary(summary, as_json)
            if summary.unpublished:
                sys.exit(1)
            return
        prepared()  # a wrong command line or project ends the watch before it begins
        for result in watch(cycle, every, stopped):
            _print_cycle(result, as_json)


def _synced(wanted: Wanted, store: Store, terms: Terms, stopped: Event, trail: Trail) -> Summary:
    from feature_warehouse.cli.progress import Progress
    from feature_warehouse.mirror.sync import ViewSynced, sync

    def published(changes: list[str]) -> None:
        trail.record("registration", what=changes)

    started, as_of, views = time.monotonic(), wanted.instant.as_of, list[ViewSynced]()
    try:
        with Progress(sys.stderr) as progress:
            views.extend(
                sync(wanted, store, terms=terms, progress=progress.show, stopped=stopped.is_set, published=published)
            )
    except SyncerError as error:
        trail.synced(views, as_of=as_of, seconds=time.monotonic() - started, error=error)
        raise
    seconds = time.monotonic() - started
    trail.synced(views, as_of=as_of, seconds=seconds)
    trail.held(views)
    return Summary(namespace=wanted.namespace, address=store.address, as_of=as_of, seconds=seconds, views=views)


def _print_summary(done: Summary, as_json: bool) -> None:
    if as_json:
        print_json(_json(done))
        return
    print_table(
        ("feature view", "rows", "written", "removed", "bytes sent"),
        [
            (
                f"{v.view}{' (held)' if v.reasons else ' (rolled back)' * bool(v.held)}",
                *(f"{count:,}" for count in (v.rows, v.written, v.removed, v.bytes)),
            )
            for v in done.views
        ],
    )
    rows = sum(view.rows for view in done.views)
    place = f"{done.namespace} on {done.address}"
    others = [
        f"{counted(len(views), 'view')} {'is' if len(views) == 1 else 'are'} {what}"
        for views, what in (
            (done.unpublished, "held"),
            ([v for v in done.views if v.published and v.held], "rolled back"),
        )
        if views
    ]
    but = f"; {' and '.join(others)}" if others else ""
    click.echo(
        f"{counted(rows, 'row')} in {done.seconds:.2f} s: {place} is the warehouse as of {utc(done.as_of)}{but}."
    )
    _say_held(done)


def _say_held(done: Summary) -> None:
    for view in done.views:
        say_held(view.view, view.reasons)
        if view.held and not view.held.ends_by_itself:
            click.echo(f"{view.view}: {view.held}", err=True)


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
        held = f", {counted(len(result.unpublished), 'view')} held" if result.unpublished else ""
        click.echo(f"{utc(result.as_of)}  {done}{held}")
        _say_held(result)


def _json(done: Summary) -> dict[str, Any]:
    return {
        "namespace": done.namespace,
        "as_of": done.as_of.isoformat(),
        "seconds": round(done.seconds, 3),
        "held": [view.view for view in done.unpublished],
        "views": [synced_json(view) for view in done.views],
    }
