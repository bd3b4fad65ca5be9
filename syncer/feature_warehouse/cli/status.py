"""`syncer status`: how fresh every feature view is, and what it costs."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.cli.costs import costs_json, print_costs
from feature_warehouse.cli.options import (
    json_option,
    judged_as_of_option,
    metrics_option,
    namespace_option,
    price_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import hold_json, print_json, print_table, rebuild_json, say_error, utc
from feature_warehouse.cli.process import open_store
from feature_warehouse.errors import SyncerError
from feature_warehouse.monitoring.freshness import age_text
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.registry.feature import view_id
from feature_warehouse.wire.keyspace import split_field

if TYPE_CHECKING:
    from feature_warehouse.monitoring.freshness import Freshness
    from feature_warehouse.monitoring.status import Status


@click.command("status")
@project_options
@url_option
@namespace_option
@judged_as_of_option
@click.option("--check", is_flag=True, help="Exit code 1 when anything is stale or held, or cannot be judged.")
@metrics_option
@price_option
@json_option
def status_command(
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    check: bool,
    metrics: Path | None,
    price_per_gb: float,
    as_json: bool,
) -> None:
    """Say how fresh every feature view is, and what it costs. The ages of its data and of its mirror; Redis's memory.

    \b
    Example:
      syncer status --check
    """
    from feature_warehouse.cli.metrics import replace_file, status_metrics
    from feature_warehouse.monitoring.scope import read_scope
    from feature_warehouse.monitoring.status import status

    scope = read_scope(project, namespace=namespace, as_of=as_of)
    store = open_store(url)
    found = status(scope, store)
    if metrics:
        replace_file(metrics, status_metrics(scope.namespace, found, time.time()))
    if as_json:
        print_json(_json(scope.namespace, found, price_per_gb))
    else:
        _print(found)
        _say(found, f"{scope.namespace} on {store.address}")
        if found.costs:
            click.echo()
            print_costs(found.costs, found.raising, price_per_gb)
    sys.exit(1 if check and not found.healthy else 0)


def _print(found: Status) -> None:
    print_table(
        ("feature view", "expected", "built", "newest fact", "online", "synced", "state"),
        [
            (
                view.view.id,
                age_text(view.view.expected_every) if view.view.expected_every else view.view.tier,
                _age(view.built_age, False),
                _age(view.offline_age, view.offline is not None),
                *((_age(view.online_age, True), _age(view.sync_age, True)) if view.online else ("-", "-")),
                view.state,
            )
            for view in found.views
        ],
    )


def _age(age: timedelta | None, known: bool) -> str:
    return age_text(age) if age is not None else "none" if known else "?"


def _say(found: Status, place: str) -> None:
    for view in found.views:
        if view.held:
            click.echo(f"{view.view.id}: {view.held}.")
        for reason in view.reasons:
            click.echo(f"{view.view.id}: {reason}.")
    for one in found.rebuild:
        click.echo(f"{one.message}; {one.hint}.")
    for field in found.retired:
        click.echo(f"{view_id(*split_field(field))}: retired, and still online; `syncer sync` takes it out.")
    stale = len(found.stale)
    verb = "is" if stale == 1 else "are"
    none = "is known to be" if found.offline_unknown or found.online_unknown else "is"
    words = f"{stale} of {len(found.views)} feature views {verb} stale" if stale else f"no feature view {none} stale"
    if held := len(found.held):
        words = f"{held} of {len(found.views)} feature views {'is' if held == 1 else 'are'} held, and {words}"
    clock = ", where the project's clock stands" if found.stands else ""
    click.echo(f"As of {utc(found.as_of)}{clock}, {words} ({place}).")
    for what, error in (("the warehouse", found.offline_unknown), ("Redis", found.online_unknown)):
        if error:
            say_error(SyncerError(f"the half of {what} is unknown: {error.message}", error.hint))


def _json(namespace: str, found: Status, per_gb: float) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "as_of": found.as_of.isoformat(),
        "clock_stands": found.stands,
        "healthy": found.healthy,
        "offline_unknown": found.offline_unknown and found.offline_unknown.message,
        "online_unknown": found.online_unknown and found.online_unknown.message,
        "retired": [view_id(*split_field(field)) for field in found.retired],
        "rebuild": rebuild_json(found.rebuild),
        "views": [_view_json(view) for view in found.views],
        "cost": costs_json(found.costs, found.raising, per_gb),
    }


def _view_json(view: Freshness) -> dict[str, Any]:
    marker = view.online.marker if view.online else None
    return {
        "view": view.view.id,
        "state": view.state,
        "held": hold_json(view.held),
        "reasons": view.reasons,
        "quiet": view.quiet,
        "tier": view.view.tier,
        "expected_every_seconds": _seconds(view.view.expected_every),
        "served": view.served,
        "built_at": view.built and view.built.ended_at,
        "built": view.built and view.built.succeeded,
        "offline": view.offline
        and {"newest_available_at": view.offline.newest_available_at, "age_seconds": _seconds(view.offline_age)},
        "online": view.online
        and {
            "newest_available_at": marker and marker.newest_available_at,
            "age_seconds": _seconds(view.online_age),
            "synced_at": marker and marker.as_of,
            "sync_age_seconds": _seconds(view.sync_age),
            "published_at": marker and marker.published_at,
            "rolled_back": marker and marker.rolled_back,
            "rows": marker and marker.rows,
        },
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
