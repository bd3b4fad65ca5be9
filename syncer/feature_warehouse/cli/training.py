"""`syncer training-set` and `syncer batch`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from feature_warehouse.cli.options import FILE, as_of_option, instant_option, json_option, project_options
from feature_warehouse.cli.output import counted, print_json, shown, utc
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.training.rebuild import Rebuilt

#: What a manifest says already.
_FIXED = ("service", "timestamp", "known_as_of")


@click.command(name="training-set")
@click.argument("service", required=False)
@click.option("--spine", help="The rows: a dbt model, a .csv or .parquet file, or SQL such as 'from departures'.")
@click.option("--timestamp", default="event_timestamp", show_default=True, help="The spine's time column.")
@click.option("-o", "--output", type=FILE, help="A Parquet file; its manifest is written beside it.")
@click.option("--known-as-of", callback=instant_option, help="As it would have come out at this instant.")
@click.option(
    "--rebuild", "manifest", type=FILE, help="Instead of SERVICE: compute that manifest's set again and compare."
)
@project_options
@json_option
@click.pass_context
def training_set(
    context: click.Context,
    service: str | None,
    spine: str | None,
    timestamp: str,
    output: Path | None,
    known_as_of: datetime | None,
    manifest: Path | None,
    project: ProjectOptions,
    as_json: bool,
) -> None:
    """Write a training set, or prove one. The features of SERVICE, as known at the time of each row of a spine.

    \b
    Example:
      syncer training-set departure_delay@2 --spine departures --timestamp scheduled_departure_at -o training.parquet
    """
    from feature_warehouse.training.historical import get_historical_features
    from feature_warehouse.training.provenance import manifest_path, read_manifest
    from feature_warehouse.training.rebuild import rebuild

    if manifest is not None:
        for name in _FIXED:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"the manifest of --rebuild says the {name.replace('_', '-')} already")
        rebuilt = rebuild(
            manifest,
            entity_rows=spine,
            output=output,
            **project.arguments(),
        )
        _print_rebuilt(rebuilt, output, as_json)
        sys.exit(1 if rebuilt.differences else 0)
    if service is None or spine is None or output is None:
        raise click.UsageError("a training set needs SERVICE, --spine and -o; or --rebuild and a manifest")
    features = get_historical_features(
        spine,
        service,
        timestamp=timestamp,
        known_as_of=known_as_of,
        **project.arguments(),
    )
    rows = features.to_parquet(output)
    written = read_manifest(manifest_path(output))
    if as_json:
        print_json({"rows": rows, "path": output, "manifest": written.as_json()})
    else:
        click.echo(
            f"{counted(rows, 'row')} written to {output}, and what they were made from to {manifest_path(output)}."
        )
        click.echo(written.content.hash)


@click.command()
@click.argument("service")
@click.option("-o", "--output", required=True, type=FILE, help="A Parquet file.")
@click.option(
    "--entities",
    help="The combinations of keys: a dbt model, a .csv or .parquet file, or SQL. Default: every entity with a value.",
)
@as_of_option("The instant")
@project_options
@json_option
def batch(
    service: str,
    output: Path,
    entities: str | None,
    as_of: datetime | None,
    project: ProjectOptions,
    as_json: bool,
) -> None:
    """Write the features of SERVICE for many entities. As a sync at one instant would serve them.

    \b
    Example:
      syncer batch departure_delay@2 --entities tonight.csv -o tonight.parquet
    """
    from feature_warehouse.training.batch import get_batch_features

    features = get_batch_features(service, entities=entities, as_of=as_of, **project.arguments())
    rows = features.to_parquet(output)
    if as_json:
        print_json({"rows": rows, "path": output, "as_of": features.as_of})
    else:
        click.echo(f"{counted(rows, 'row')} written to {output}, as of {utc(features.as_of)}.")


def _print_rebuilt(rebuilt: Rebuilt, output: Path | None, as_json: bool) -> None:
    content = rebuilt.now.content
    if as_json:
        print_json(
            {
                "same": not rebuilt.differences,
                "differences": rebuilt.differences,
                "changes": rebuilt.changes,
                "manifest": rebuilt.now.as_json(),
            }
        )
        return
    if rebuilt.differences:
        click.echo(f"Other content: {content.hash}, and was {rebuilt.before.content.hash}.")
    else:
        click.echo(f"Same content: {counted(content.rows, 'row')}, {content.hash}.")
    for difference in rebuilt.differences:
        click.echo(f"  {difference}")
    if rebuilt.changes:
        click.echo("Since it was made:" if rebuilt.differences else "Since it was made, without effect:")
    for change in rebuilt.changes:
        click.echo(f"  {change}")
    if output is not None:
        click.echo(f"Written to {shown(output)}.")
