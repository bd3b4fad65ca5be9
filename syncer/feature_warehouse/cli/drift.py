"""`syncer drift`: which features have drifted, and whom that concerns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import json_option, judged_as_of_option, project_options
from feature_warehouse.cli.output import counted, print_json, print_table, say_error, utc
from feature_warehouse.errors import WebhookError
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.monitoring.drift import Drift, FeatureDrift

#: So many features are named in one message; a message of hundreds is read by nobody.
_NAMED = 20


@click.command("drift")
@project_options
@click.option("-s", "--select", multiple=True, help="Only these profiles or feature views, as dbt selects; repeatable.")
@judged_as_of_option
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
    project: ProjectOptions,
    select: tuple[str, ...],
    as_of: datetime | None,
    check: bool,
    webhook: str | None,
    as_json: bool,
) -> None:
    """Say which features have drifted. The newest period of each drift profile; exit code 2 when the webhook fails.

    \b
    Example:
      syncer drift --check
    """
    from feature_warehouse.monitoring.drift import drift
    from feature_warehouse.monitoring.scope import read_scope
    from feature_warehouse.monitoring.webhook import post

    scope = read_scope(project, as_of=as_of)
    found = drift(scope, select)
    lines = _lines(found)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found, lines)
    if webhook and lines:
        try:
            post(webhook, {"text": _message(scope.namespace, lines, found.as_of)})
        except WebhookError as error:
            say_error(error)
            sys.exit(2)
    sys.exit(1 if check and not found.calm else 0)


def _flagged(found: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    """What is to be acted on, then what is to be looked at, each by how far it has moved."""
    flagged = [each for each in found if each.verdict in ("look", "act")]
    return sorted(flagged, key=lambda each: (each.verdict != "act", -(each.psi or 0)))


def _lines(found: Drift) -> list[str]:
    """What somebody has to know, a line each."""
    lines = [
        f"{each.verdict}: {each.id}, PSI {each.psi:.2f} in the {each.period} from {utc(each.period_start)}"
        + "".join(f"; {word}: {', '.join(names)}" for word, names in _concerned(each) if names)
        for each in _flagged(found.features)
    ]
    newest = {each.profile: each.period_end for each in found.features}
    lines += [f"stale: the newest period of {name} ended at {utc(newest[name])}" for name in found.stale]
    return lines + [f"empty: {name} has no period yet" for name in found.empty]


def _concerned(each: FeatureDrift) -> list[tuple[str, list[str]]]:
    owners = {
        f"{who.owner} <{who.email}>" if who.owner and who.email else who.owner or who.email for who in each.consumers
    }
    return [
        ("services", [who.service for who in each.consumers]),
        ("models", [who.model for who in each.consumers]),
        ("owners", sorted(owners - {""})),
    ]


def _print(found: Drift, lines: list[str]) -> None:
    flagged = _flagged(found.features)
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
    counts = Counter(each.verdict or "without a verdict" for each in found.features)
    order = ("act", "look", "stable", "without a verdict")
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])
    click.echo(f"As of {utc(found.as_of)}, {counted(len(found.features), 'feature')}{': ' if words else ''}{words}.")


def _message(namespace: str, lines: list[str], as_of: datetime) -> str:
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    text = "\n".join([f"Feature drift in {namespace}, as of {utc(as_of)}:", *lines[:_NAMED], *more])
    # Slack's three special characters
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
