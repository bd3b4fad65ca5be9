"""`syncer get`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from feature_warehouse.cli.options import (
    as_of_option,
    json_option,
    key_values,
    namespace_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import print_json, strict_json, value_text
from feature_warehouse.project.project import ProjectOptions, load_project

if TYPE_CHECKING:
    from feature_warehouse.client.features import OnlineFeatures


@click.command()
@click.argument("service")
@click.argument("keys", nargs=-1, metavar="KEY=VALUE...")
@project_options
@url_option
@namespace_option
@as_of_option("The instant that ttl is judged by", "the sync's own, else real time")
@json_option
def get(
    service: str,
    keys: tuple[str, ...],
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """Read the online features of one entity row. SERVICE is the latest version; SERVICE@1 that one.

    KEY is a join key, or a request value of the service's on-demand features.

    \b
    Example:
      syncer get departure_delay@2 tailnum=N11184 carrier=EV origin=EWR dest=CLT
    """
    from feature_warehouse.client.client import FeatureClient

    row = key_values(keys)
    namespace = namespace or load_project(project).default_namespace
    with FeatureClient(url, namespace, as_of=as_of) as client:
        found = client.get_online_features(service, [row])
    if as_json:
        values = {name: strict_json(value) for name, value in found.rows()[0].items()}
        statuses = dict(zip(found.names, found.statuses[0], strict=True))
        print_json(
            {
                "service": found.service,
                "features": values,
                "statuses": statuses,
                "not_computed": found.not_computed,
            }
        )
        return
    _print_features(found)


def _print_features(found: OnlineFeatures) -> None:
    width = max(map(len, [*found.names, *found.not_computed]))
    click.echo(found.service)
    for name, value, status in zip(found.names, found.values[0], found.statuses[0], strict=True):
        shown = [] if value is None else [value_text(value)]
        click.echo("  ".join([f"  {name:<{width}}", *shown, *([] if status == "present" else [f"({status})"])]))
    for name in found.not_computed:
        click.echo(f"  {name:<{width}}  (not computed: `pip install 'feature-warehouse[online]'`)")
