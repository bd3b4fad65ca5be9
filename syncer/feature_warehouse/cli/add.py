"""`syncer add`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.cli.options import project_options
from feature_warehouse.cli.output import counted, shown
from feature_warehouse.errors import ProjectError
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.registry.feature import TIERS

if TYPE_CHECKING:
    from feature_warehouse.project.scaffold import Scaffold
    from feature_warehouse.warehouse.source import Source


@click.group()
def add() -> None:
    """Write the files of something new. Files that are there stay as they are.

    \b
    Example:
      syncer add view customer_orders --from stg_orders --service next_order
    """


@add.command("view")
@click.argument("name")
@click.option("--from", "model", required=True, metavar="MODEL", help="The model, seed or snapshot with the events.")
@click.option("--entity", help="What the features describe. Default: by the join key.")
@click.option(
    "--join-key", "join_keys", multiple=True, metavar="COLUMN", help="What tells entities apart. Default: the one *_id."
)
@click.option("--event-timestamp", metavar="COLUMN", help="When a value became true. Default: the one other time.")
@click.option("--available-at", metavar="COLUMN", help="When it could first be read; none: at once. Default: by name.")
@click.option(
    "--feature", "features", multiple=True, metavar="COLUMN", help="Default: all the rest that can be served."
)
@click.option("--time-zone", default="UTC", show_default=True, help="Of timestamps that have none.")
@click.option(
    "--tier", type=click.Choice(sorted(TIERS)), default="daily", show_default=True, help="How often it comes."
)
@click.option("--service", metavar="SERVICE", help="Write a feature service too, which reads all of it.")
@click.option("--owner", metavar="'NAME <EMAIL>'", help="Of the service. Default: as git knows you.")
@project_options
def add_view(project: ProjectOptions, name: str, model: str, **said: Any) -> None:
    """Write a feature view over a model that was built: SQL, YAML with the warehouse's types, latest-value view.

    What the columns do not tell, it asks for by the option that says it.

    \b
    Example:
      syncer add view customer_orders --from stg_orders --event-timestamp ordered_at --service next_order
    """
    from feature_warehouse.project.git import author
    from feature_warehouse.project.manifest import find_relation, load_manifest
    from feature_warehouse.project.project import load_project
    from feature_warehouse.project.scaffold import Wish, files, scaffold
    from feature_warehouse.warehouse.opening import open_source

    found = load_project(project)
    manifest = load_manifest(found.manifest_path)
    relation = find_relation(manifest, model)
    _check_new(manifest, name, said["service"])
    said["owner"] = said["owner"] or author(found.folder)
    if said["service"] and not said["owner"]:
        raise ProjectError(
            "dbt wants an owner of each exposure, and git knows none", "give --owner 'Ada <ada@example.com>'"
        )
    with open_source(found.output) as source:
        view = scaffold(Wish(name=name, model=model, **said), source.describe(relation, of=model))
        repeated = _repeated(source, relation, view)
    models = PurePosixPath(found.source_paths[0].relative_to(found.folder).as_posix())
    written = files(view, models, source.dialect.type_name)
    _write(found.folder, written)
    for path in written:
        click.echo(f"Written: {shown(found.folder / path)}")
    _say(view, repeated)


def _check_new(manifest: dict[str, Any], name: str, service: str | None) -> None:
    """Raises ProjectError where dbt would meet two of one name."""
    nodes = (
        node["name"] for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed", "snapshot")
    )
    if name in nodes:
        raise ProjectError(f"the project has a model called '{name}' already", "name the feature view otherwise")
    if service and f"{service}_v1" in (exposure["name"] for exposure in manifest["exposures"].values()):
        raise ProjectError(
            f"the project has a service '{service}' already",
            "leave --service out, and add the features to a new version",
        )


def _write(folder: Path, files: dict[PurePosixPath, str]) -> None:
    """All of them, or none where one is there."""
    there = [path for path in files if (folder / path).exists()]
    if there:
        raise ProjectError(
            f"{shown(folder / there[0])} is there already, so nothing was written",
            "take another name, or edit that file",
        )
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _repeated(source: Source, relation: str, view: Scaffold) -> int:
    """How many rows have the keys and times of another one, which no history may."""
    times = [view.event_timestamp, *([view.available_at] if view.available_at else [])]
    columns = ", ".join(map(source.dialect.quoted, dict.fromkeys([*view.join_keys, *times])))
    groups = f"select count(*) as n from {relation} group by {columns}"
    query = f"select cast(coalesce(sum(n - 1), 0) as bigint) as n from ({groups}) as groups"
    return sum(row["n"] for batch in source.batches(query, of=view.wish.model) for row in batch.to_pylist())


def _say(view: Scaffold, repeated: int) -> None:
    """What was decided, on stderr, and what comes next."""
    keys = ", ".join(view.join_keys)
    known = view.available_at or "at once (available_at: none)"
    click.echo(f"Entity {view.entity} by {keys}; true from {view.event_timestamp}, known from {known}.", err=True)
    for name, sql in view.naive.items():
        click.echo(f"Warning: {name} is made of a time without a zone, read as {view.wish.time_zone}: {sql}", err=True)
    for name, why in view.left_out.items():
        click.echo(f"Left out: {name}: {why}", err=True)
    if repeated:
        times = " and ".join(filter(None, [keys, view.event_timestamp, view.available_at]))
        click.echo(
            f"Warning: {counted(repeated, 'row')} of {view.wish.model} with the {times} of another: unique_history "
            "will fail until the view keeps one of them.",
            err=True,
        )
    click.echo(
        f"Next: describe the columns, then `dbt build --select {view.wish.name} latest_{view.wish.name}_v1`, "
        "`syncer register`, `syncer sync`.",
        err=True,
    )
