"""`syncer drift`: which features have drifted, and whom that concerns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import click

from feature_warehouse.cli.options import json_option, judged_at_option, project_options
from feature_warehouse.cli.output import counted, print_json, print_table, say_error, utc
from feature_warehouse.errors import RequestError, WebhookError
from feature_warehouse.monitoring.drift import FeatureDrift, Profile, find_consumers, find_profiles, read_drift
from feature_warehouse.monitoring.webhook import post
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.project import Project, load_project, load_project_manifest, select_models
from feature_warehouse.warehouse.duckdb import open_warehouse

#: So many features are named in one message; a message of hundreds is read by nobody.
_NAMED = 20


@click.command("drift")
@project_options
@click.option("-s", "--select", multiple=True, help="Only these profiles or feature views, as dbt selects; repeatable.")
@judged_at_option
@click.option("--check", is_flag=True, help="Exit code 1 when a feature is to be acted on, or a profile is stale.")
@click.option(
    "--webhook",
    envvar="SYNCER_WEBHOOK_URL",
    show_envvar=True,
    metavar="URL",
    help="Post what is to be looked at or acted on, as Slack takes it. The URL is a secret: better in the environment.",
)
@json_option
def drift_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    select: tuple[str, ...],
    now: datetime | None,
    check: bool,
    webhook: str | None,
    as_json: bool,
) -> None:
    """Say which features have drifted. The newest period of each drift profile; exit code 2 when the webhook fails.

    \b
    Example:
      syncer drift --check
    """
    project = load_project(project_dir, profiles_dir, target)
    manifest = load_project_manifest(project)
    read_declarations(manifest).raise_first()
    profiles = _selected(project, find_profiles(manifest), select, target)
    with open_warehouse(project.database, project.settings) as warehouse:
        found = read_drift(profiles, find_consumers(manifest), warehouse)
    at = now or project.clock() or datetime.now(timezone.utc)
    empty = sorted({profile.name for profile in profiles} - {each.profile for each in found})
    stale = sorted({each.profile for each in found if each.is_stale(at)})
    lines = _lines(found, stale, empty)
    if as_json:
        print_json(
            {"now": at.isoformat(), "stale": stale, "empty": empty, "features": [asdict(each) for each in found]}
        )
    else:
        _print(found, lines, at)
    if webhook and lines:
        try:
            post(webhook, {"text": _message(project, lines, at)})
        except WebhookError as error:
            say_error(error)
            sys.exit(2)
    sys.exit(1 if check and (stale or empty or any(each.verdict == "act" for each in found)) else 0)


def _selected(
    project: Project, profiles: tuple[Profile, ...], select: tuple[str, ...], target: str | None
) -> tuple[Profile, ...]:
    if not profiles:
        raise RequestError(
            "the project has no drift profile",
            "make one: a model of feature_warehouse.drift_profile (docs/guides/drift.md)",
        )
    if not select:
        return profiles
    models = select_models(project, select, target)
    chosen = tuple(each for each in profiles if each.unique_id in models or each.reads & models)
    if not chosen:
        names = ", ".join(each.name for each in profiles)
        raise RequestError(f"--select {' '.join(select)} selects no drift profile", f"there are {names}")
    return chosen


def _flagged(found: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    """What is to be acted on, then what is to be looked at, each by how far it has moved."""
    flagged = [each for each in found if each.verdict in ("look", "act")]
    return sorted(flagged, key=lambda each: (each.verdict != "act", -(each.psi or 0)))


def _lines(found: Sequence[FeatureDrift], stale: list[str], empty: list[str]) -> list[str]:
    """What somebody has to know, a line each."""
    lines = [
        f"{each.verdict}: {each.id}, PSI {each.psi:.2f} in the {each.period} from {utc(each.period_start)}"
        + "".join(f"; {word}: {', '.join(names)}" for word, names in _concerned(each) if names)
        for each in _flagged(found)
    ]
    newest = {each.profile: each.period_end for each in found}
    lines += [f"stale: the newest period of {name} ended at {utc(newest[name])}" for name in stale]
    return lines + [f"empty: {name} has no period yet" for name in empty]


def _concerned(each: FeatureDrift) -> list[tuple[str, list[str]]]:
    owners = {
        f"{who.owner} <{who.email}>" if who.owner and who.email else who.owner or who.email for who in each.consumers
    }
    return [
        ("services", [who.service for who in each.consumers]),
        ("models", [who.model for who in each.consumers]),
        ("owners", sorted(owners - {""})),
    ]


def _print(found: Sequence[FeatureDrift], lines: list[str], at: datetime) -> None:
    flagged = _flagged(found)
    if flagged:
        print_table(
            ("feature", "verdict", "PSI", "look", "act", "rows", "NULL", "period", "from", "services"),
            [
                (
                    each.id,
                    str(each.verdict),
                    f"{each.psi:.2f}",
                    f"{each.look:g}",
                    f"{each.act:g}",
                    f"{each.row_count:,}",
                    f"{each.null_share:.1%}",
                    each.period,
                    utc(each.period_start),
                    ", ".join(who.service for who in each.consumers) or "-",
                )
                for each in flagged
            ],
        )
    for line in lines[len(flagged) :]:
        click.echo(f"{line}.")
    counts = Counter(each.verdict or "without a verdict" for each in found)
    order = ("act", "look", "stable", "without a verdict")
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])
    click.echo(f"As of {utc(at)}, {counted(len(found), 'feature')}{': ' if words else ''}{words}.")


def _message(project: Project, lines: list[str], at: datetime) -> str:
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    text = "\n".join([f"Feature drift in {project.default_namespace}, as of {utc(at)}:", *lines[:_NAMED], *more])
    # Slack's three special characters
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
