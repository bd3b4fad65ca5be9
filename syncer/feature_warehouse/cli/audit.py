"""`syncer audit`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import json_option, namespace_option, project_options, since_option, url_option
from feature_warehouse.cli.output import counted, print_json, say_error, strict_json, utc
from feature_warehouse.errors import SyncerError
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.monitoring.audit import Audit


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@since_option("Compare what was served from this instant or day (UTC) on.")
@project_options
@url_option
@namespace_option
@json_option
def audit(
    services: tuple[str, ...],
    since: datetime | None,
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Compare what was served with what training knows. Drains the served log into the warehouse first.

    Exit code 1: a value was skewed, or its mirror too old. 2: the audit could not be made.

    \b
    Example:
      syncer audit departure_delay@2
    """
    from feature_warehouse.monitoring.audit import audit_served

    try:
        found = audit_served(services, url, project, since=since, namespace=namespace)
    except SyncerError as error:
        say_error(error)
        sys.exit(2)
    for sentence in found.skipped:
        click.echo(f"Warning: {sentence}", err=True)
    if as_json:
        features = [{key: strict_json(value) for key, value in asdict(each).items()} for each in found.features]
        print_json({"passed": found.passed, "drained": found.drained, "skipped": found.skipped, "features": features})
    else:
        _print(found, since)
    sys.exit(0 if found.passed else 1)


def _print(found: Audit, since: datetime | None) -> None:
    click.echo(f"{counted(found.drained, 'row')} drained.")
    if not found.features:
        when = "yet" if since is None else f"since {utc(since)}"
        click.echo(f"Nothing was logged {when}: FeatureClient(..., log=ServedLog(sample=0.01)).")
        return
    width = max(len(feature.feature) for feature in found.features)
    service = ""
    for feature in found.features:
        if feature.service != service:
            service = feature.service
            click.echo(
                f"{service:<{width + 2}}{'rows':>10}{'match':>9}{'lag':>9}{'stale':>9}{'skew':>9}  largest difference"
            )
        rates = "".join(
            f"{count / feature.rows if feature.rows else 0:>9.2%}"
            for count in (feature.match, feature.lag, feature.stale, feature.skew)
        )
        largest = "" if feature.max_difference is None else f"  {feature.max_difference:.6g}"
        click.echo(f"  {feature.feature:<{width}}{feature.rows:>10,}{rates}{largest}")
    for feature in found.features:
        if feature.skew or feature.stale:
            click.echo(
                f"{feature.service}, row {feature.example}: {feature.feature} was served as {feature.served}; "
                f"training has {feature.expected}, the mirror should have had {feature.mirrored}"
            )
