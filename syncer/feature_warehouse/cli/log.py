"""`syncer log`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import json_option, namespace_option, project_options, since_option, url_option
from feature_warehouse.cli.output import counted, print_json, utc
from feature_warehouse.cli.process import open_store
from feature_warehouse.project.project import ProjectOptions, load_project

if TYPE_CHECKING:
    from feature_warehouse.wire.trail import Entry, Touched


@click.command()
@since_option("Only what was done from this instant or day (UTC) on.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many, the newest.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["sync", "registration", "hold", "release", "rollback", "drop"]),
    metavar="KIND",
    help="Only sync, registration, hold, release, rollback or drop.",
)
@click.option(
    "--view", "views", multiple=True, metavar="VIEW", help="Only what touched this one: orders, or orders.v1."
)
@project_options
@url_option
@namespace_option
@json_option
def log(
    since: datetime | None,
    limit: int,
    kinds: tuple[str, ...],
    views: tuple[str, ...],
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Say who did what to a namespace. Syncs, registrations, holds, rollbacks and drops, the newest first.

    \b
    Example:
      syncer log --view carrier_delays --since 2026-03-01
    """
    from feature_warehouse.monitoring.trail import read_trail
    from feature_warehouse.wire.keyspace import check_namespace

    namespace = check_namespace(namespace or load_project(project).default_namespace)
    found: list[tuple[str, Entry]] = []
    skipped: list[str] = []
    for each in read_trail(open_store(url), namespace, since=since, kinds=kinds, views=views):
        if each.entry is None:
            skipped.append(each.trouble)
        else:
            found.append((each.id, each.entry))
        if len(found) == limit:
            break
    for sentence in skipped:
        click.echo(f"Warning: {sentence}", err=True)
    if as_json:
        entries = [{"id": id_, **entry.to_json()} for id_, entry in found]
        print_json({"namespace": namespace, "entries": entries, "skipped": skipped})
        return
    for _, entry in found:
        click.echo(f"{utc(entry.at)}  {entry.kind}  {who(entry)}")
        for line in _lines(entry):
            click.echo(f"  {line}")
    if not found:
        click.echo(f"Nothing{' like that' if since or kinds or views else ''} is on record of {namespace}.")


def who(entry: Entry) -> str:
    """'ada on web-1 at 3f2c1a9b0d4e'"""
    at = f" at {entry.revision}" if entry.revision else ""
    return f"{entry.user or 'somebody'} on {entry.host or 'some machine'}{at}"


def _lines(entry: Entry) -> list[str]:
    """What was done, in some lines."""
    lines = [*map(_touched, entry.views), *entry.what]
    if entry.kind == "sync" and not entry.views and not entry.error:
        lines.append("nothing differed")
    if entry.as_of:
        took = f", in {entry.seconds:.2f} s" if entry.seconds is not None else ""
        lines.append(f"as of {utc(entry.as_of)}{took}")
    lines += [f"why: {entry.why}"] if entry.why else []
    lines += [f"failed: {entry.error}"] if entry.error else []
    return lines


def _touched(one: Touched) -> str:
    counts = [f"{count:,} {word}" for word in ("written", "removed") if (count := getattr(one, word))]
    online = f" of {counted(one.rows, 'row')}" if one.rows is not None and counts else ""
    return f"{one.view}{': ' if counts else ''}{', '.join(counts)}{online}"
