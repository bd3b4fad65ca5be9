"""The options that commands share, under dbt's own names where dbt has them.

An option `--allow-x` holds for one run; what `--accept-x "reason"` takes is recorded with its reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click

from feature_warehouse.errors import RequestError
from feature_warehouse.mirror.terms import USUAL, Terms
from feature_warehouse.project.project import ProjectOptions
from feature_warehouse.registry.feature import parse_duration, parse_instant
from feature_warehouse.wire.cost import PRICE_PER_GB

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_URL = "redis://127.0.0.1:6379/0"

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def instant_option(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_instant(text)
    except RequestError as error:
        raise click.BadParameter(f"{error.message}; {error.hint}") from None


def duration_option(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | None:
    try:
        duration = None if text is None else parse_duration(text, short=True)
    except ValueError as error:
        raise click.BadParameter(f"{error}; write 30s, 5m, 1h, or '30 seconds'") from None
    if duration is not None and not duration:
        raise click.BadParameter("there must be time between two syncs: 1s is the least")
    return duration


def as_of_option(use: str, default: str = "the project's, else real time") -> Callable[[_Command], _Command]:
    """`--as-of`, the instant of a command; ``use``: what for."""
    return click.option("--as-of", callback=instant_option, help=f"{use}, with its zone. Default: {default}.")


def since_option(help: str) -> Callable[[_Command], _Command]:
    """`--since`, an instant, or a day in UTC."""
    return click.option("--since", callback=_since, help=help)


def _since(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return instant_option(context, parameter, text)
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def key_values(pairs: tuple[str, ...]) -> dict[str, str]:
    """The arguments KEY=VALUE of a command that is about one entity."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"'{pair}' is no KEY=VALUE; write the key, = and its value: origin=EWR")
        if name in found:
            raise click.UsageError(f"'{name}' is given twice: {found[name]} and {value}; give it once")
        found[name] = value
    return found


def options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)

    return decorate


def project_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which project; the command is called with the ProjectOptions that they make, as ``project``."""

    @click.option("--project-dir", type=FOLDER, envvar="DBT_PROJECT_DIR", help="The dbt project's folder.")
    @click.option("--profiles-dir", type=FOLDER, help="The folder with profiles.yml; searched as dbt does.")
    @click.option("-t", "--target", envvar="DBT_TARGET", help="The target of the profile.")
    @functools.wraps(command)
    def call(project_dir: Path | None, profiles_dir: Path | None, target: str | None, **own: Any) -> None:
        command(project=ProjectOptions(project_dir=project_dir, profiles_dir=profiles_dir, target=target), **own)

    return call


def terms_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a run may do; the command is called with the Terms that they make."""

    @click.option("--full", is_flag=True, help="Read Redis back, whatever is remembered of the last run.")
    @click.option("--allow-empty", is_flag=True, help="Take views without rows too: nothing of them stays online.")
    @click.option(
        "--allow-shrink",
        type=click.FloatRange(0, 1),
        default=USUAL.allow_shrink,
        show_default=True,
        help="The share of a view's entities that may vanish at once.",
    )
    @click.option("--allow-failed", is_flag=True, help="Take views of which dbt's last run failed a model or a test.")
    @click.option("--allow-guarded", is_flag=True, help="Take values that a guard of their feature refuses.")
    @click.option("--allow-eviction", is_flag=True, help="Write to a Redis that evicts keys when its memory is full.")
    @click.option("--allow-unbuilt", is_flag=True, help="Serve new features over rows that were built before them.")
    @click.option("--allow-older", is_flag=True, help="Take a clock that is behind the one of the last sync.")
    @click.option("--max-rows-per-second", type=click.IntRange(1), help="Leave Redis time for its readers.")
    @click.option(
        "--wait-replicas",
        type=click.IntRange(0),
        default=USUAL.wait_replicas,
        show_default=True,
        help="A view is done when so many replicas have it.",
    )
    @click.option(
        "--deadline",
        type=click.FloatRange(0),
        default=USUAL.deadline,
        show_default=True,
        help="Seconds to go on trying while Redis fails over or loads, or after the connection was lost.",
    )
    @functools.wraps(command)
    def call(**options: Any) -> None:
        own = {name: options.pop(name) for name in Terms.__dataclass_fields__}
        command(terms=Terms(**own), **options)

    return call


select_option = click.option(
    "-s", "--select", multiple=True, help="Only these feature views, in dbt's selection syntax; repeatable."
)
url_option = click.option(
    "--url", envvar="SYNCER_REDIS_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="Redis."
)
namespace_option = click.option("--namespace", envvar="SYNCER_NAMESPACE", help="Default: <project>_<target>.")
served_as_of_option = as_of_option("The instant to serve")
judged_as_of_option = as_of_option("The instant to judge at")
against_option = click.option(
    "--against", metavar="REF", help="What the change is merged into, in git. Default: the main branch."
)
price_option = click.option(
    "--price-per-gb",
    type=click.FloatRange(0),
    default=PRICE_PER_GB,
    show_default=True,
    envvar="SYNCER_PRICE_PER_GB",
    help="USD for a gigabyte of Redis in a month.",
)
metrics_option = click.option("--metrics", type=FILE, help="Write it into this file too, as OpenMetrics.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


#: What is to be online where: of sync, plan and verify.
def artifacts_option(command: Callable[..., None]) -> Callable[..., None]:
    """For commands that need no more of dbt than its manifest."""

    @click.option(
        "--target-path",
        type=FOLDER,
        help="Take dbt's manifest.json from this folder as it is, where dbt ran elsewhere: no model is looked at.",
    )
    @functools.wraps(command)
    def call(project: ProjectOptions, target_path: Path | None, **own: Any) -> None:
        command(project=replace(project, artifacts=target_path), **own)

    return call


mirror_options = options(
    project_options, artifacts_option, select_option, url_option, namespace_option, served_as_of_option
)
