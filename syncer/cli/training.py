"""`syncer training-set`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from syncer.cli.options import instant_option, json_option, project_options
from syncer.cli.output import print_json
from syncer.training import get_historical_features


@click.command(name="training-set")
@click.argument("service")
@click.option("--spine", required=True, help="The rows: SQL such as 'from departures', or a .csv or .parquet file.")
@click.option("--timestamp", default="event_timestamp", show_default=True, help="The spine's time column.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A Parquet file.")
@click.option("--known-as-of", callback=instant_option, help="As it would have come out at this instant.")
@project_options
@json_option
def training_set(
    service: str,
    spine: str,
    timestamp: str,
    output: Path,
    known_as_of: datetime | None,
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Write a training set. The features of SERVICE, as known at the time of each row of a spine.

    \b
    Example:
      syncer training-set departure_delay@2 --spine labels.csv --timestamp asked_at -o training.parquet
    """
    features = get_historical_features(
        spine,
        service,
        timestamp=timestamp,
        known_as_of=known_as_of,
        project_dir=project_dir,
        profiles_dir=profiles_dir,
        target=target,
    )
    rows = features.to_parquet(output)
    if as_json:
        print_json({"rows": rows, "path": output})
    else:
        click.echo(f"{rows:,} rows written to {output}.")
