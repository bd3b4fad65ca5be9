"""The options that commands share, under dbt's own names where dbt has them."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from feature_warehouse.errors import RequestError
from feature_warehouse.project.project import parse_instant
from feature_warehouse.registry.feature import parse_duration
from feature_warehouse.store.store import Store
from feature_warehouse.wire.cost import PRICE_PER_GB

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_URL = "redis://127.0.0.1:6379/0"


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


FOLDER = click.Path(file_okay=False, path_type=Path)
_project_dir = click.option("--project-dir", type=FOLDER, envvar="DBT_PROJECT_DIR", help="The dbt project's folder.")
_profiles_dir = click.option("--profiles-dir", type=FOLDER, help="The folder with profiles.yml; searched as dbt does.")
_target = click.option("-t", "--target", envvar="DBT_TARGET", help="The target of the profile.")
select_option = click.option(
    "-s", "--select", multiple=True, help="Only these feature views, in dbt's selection syntax; repeatable."
)
url_option = click.option(
    "--url", envvar="SYNCER_REDIS_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="Redis."
)
namespace_option = click.option("--namespace", envvar="SYNCER_NAMESPACE", help="Default: <project>_<target>.")
now_option = click.option(
    "--now",
    callback=instant_option,
    help="The instant to serve, with its zone. Default: the project's, else real time.",
)
judged_at_option = click.option(
    "--now",
    callback=instant_option,
    help="The instant to judge at, with its zone. Default: the project's, else real time.",
)
price_option = click.option(
    "--price-per-gb",
    type=click.FloatRange(0),
    default=PRICE_PER_GB,
    show_default=True,
    envvar="SYNCER_PRICE_PER_GB",
    help="USD for a gigabyte of Redis in a month.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)

    return decorate


project_options = options(_project_dir, _profiles_dir, _target)


def open_store(url: str) -> Store:
    """A store that is closed when the command ends."""
    return click.get_current_context().with_resource(closing(Store(url)))


@contextmanager
def uncollected() -> Iterator[None]:
    """For commands that judge a project: dbt's graph and all that is read of its SQL live to the end, and to search
    them for garbage again and again takes a quarter of the whole time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
