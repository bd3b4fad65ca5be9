"""`syncer explain`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.cli.log import who
from feature_warehouse.cli.options import (
    as_of_option,
    json_option,
    key_values,
    namespace_option,
    project_options,
    url_option,
)
from feature_warehouse.cli.output import print_json, strict_json, utc, value_text
from feature_warehouse.project.project import ProjectOptions

if TYPE_CHECKING:
    from feature_warehouse.monitoring.chosen import Chosen
    from feature_warehouse.monitoring.explain import ComputedExplained, Explained, ItemExplained, Online


@click.command()
@click.argument("service")
@click.argument("keys", nargs=-1, metavar="KEY=VALUE...")
@click.option("--feature", metavar="FEATURE", help="Only this one, with the columns that it comes from.")
@as_of_option("The instant in the past that is asked about", "what is online now")
@project_options
@url_option
@namespace_option
@json_option
def explain(
    service: str,
    keys: tuple[str, ...],
    feature: str | None,
    as_of: datetime | None,
    project: ProjectOptions,
    url: str,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Say why a service gives a value. From which row of which history, why from no newer one, synced by whom.

    SERVICE and KEY are those of `syncer get`. With --as-of: what training has of that instant, and what was served.

    \b
    Example:
      syncer explain departure_delay@2 tailnum=N11184 carrier=EV origin=EWR dest=CLT --feature delay_rate_7d
    """
    from feature_warehouse.monitoring.explain import explain as find_out

    found = find_out(service, key_values(keys), url, project, namespace=namespace, as_of=as_of, feature=feature)
    for note in found.notes:
        click.echo(f"Warning: {note}", err=True)
    if as_json:
        print_json(_json(found))
        return
    for line in _lines(found, detailed=feature is not None):
        click.echo(line)


def _json(found: Explained) -> dict[str, Any]:
    told: dict[str, Any] = asdict(found)
    for item, explained in zip(told["items"], found.items, strict=True):
        item["chosen"]["values"] = {name: strict_json(value) for name, value in explained.chosen.values.items()}
        if explained.online and explained.online.synced_by:
            item["online"]["synced_by"] = explained.online.synced_by.to_json()
        for one in item["features"]:
            one |= {name: strict_json(one[name]) for name in ("value", "expected")}
    for one in told["computed"]:
        one |= {"value": strict_json(one["value"])}
        one["inputs"] = {name: strict_json(value) for name, value in one["inputs"].items()}
    return told


def _lines(found: Explained, *, detailed: bool) -> Iterator[str]:
    asked = "what is online" if found.as_of is None else f"what training has as of {utc(found.as_of)}"
    yield f"{found.service}: {asked}"
    if found.served_at:
        yield f"in brackets what was served at {utc(found.served_at)}"
    elif found.as_of is not None:
        yield "what was served then is not on record"
    for item in found.items:
        yield ""
        yield f"{item.view} of {', '.join(f'{key}={text}' for key, text in item.keys.items())}"
        width = max(len(one.name) for one in item.features)
        for one in item.features:
            yield f"  {one.name:<{width}}  {_value(one.value, one.status, one.served, found)}"
        yield from _facts(item, found)
        if detailed:
            for one in item.features:
                yield f"  comes from   {', '.join(one.sources) or 'no column of a source or seed'}"
    for computed in found.computed:
        yield ""
        yield from _computed(computed, found)


def _value(value: Any, status: str | None, served: str | None, found: Explained) -> str:
    from feature_warehouse.client.served import text

    shown = "NULL" if value is None else value_text(value)
    if status not in (None, "present"):
        shown += f" ({status})"
    if found.served_at:
        shown += f"  [{'NULL' if served is None else served}]{'' if served == text(value) else '  other'}"
    return shown


def _facts(item: ItemExplained, found: Explained) -> Iterator[str]:
    """The lines below the values of a view: its row, newer ones, the sync, the SQL."""
    chosen = item.chosen
    if item.online:
        stored = item.online.event_time
        yield f"  online       {f'the row of {utc(stored)}' if stored else 'nothing'}"
    yield f"  history      {_row(chosen)}"
    if chosen.ties > 1:
        yield f"  ties         {chosen.ties} rows have these two times: any of them may be taken"
    if chosen.trouble:
        yield f"  not served   {chosen.trouble}"
    for newer in chosen.newer:
        yield f"  not newer    the row of {newer.event_time}: {newer.why}"
    if chosen.newer_rows > len(chosen.newer):
        yield f"  not newer    {chosen.newer_rows - len(chosen.newer):,} more"
    if not chosen.newer:
        yield "  not newer    there is no newer row"
    if item.differs:
        yield f"  differs      {item.differs}: a sync is due, or the history was rebuilt"
    if item.online:
        yield f"  synced       {_synced(item.online)}"
        if item.online.held:
            yield f"  held         {item.online.held}"
    yield f"  SQL          {item.model}; accepted: {item.sql}"


def _row(chosen: Chosen) -> str:
    at = f"as of {utc(chosen.at)}"
    if chosen.event_time is None:
        return f"no row {at}"
    known = "" if chosen.known_at == chosen.event_time else f", known from {chosen.known_at}"
    row = f"the row of {chosen.event_time}{known}"
    if chosen.outcome == "deleted":
        return f"deleted by {row}, {at}"
    if chosen.outcome == "expired":
        return f"{row} was past its ttl {at} (to {chosen.expires_at})"
    until = f", expires {chosen.expires_at}" if chosen.expires_at else ""
    return f"{row}{until}"


def _synced(online: Online) -> str:
    by = f"by {who(online.synced_by)}, " if online.synced_by else ""
    state = "" if online.state == "done" else "; a run is writing, or died"
    return f"as of {utc(online.as_of)} {by}run {online.token}{state}"


def _computed(one: ComputedExplained, found: Explained) -> Iterator[str]:
    value = f"not computed: give {', '.join(one.missing)}" if one.missing else ""
    yield f"{one.name}  {value or _value(one.value, one.status, one.served, found)}"
    yield f"  computed as  {' '.join(one.expression.split())}"
    given = (f"{name} = {'NULL' if value is None else value_text(value)}" for name, value in one.inputs.items())
    yield f"  with         {', '.join(given)}"
