"""The command line: parse, call one function, print.

Results go to stdout (``--json`` for machines), talk and errors to stderr. Exit code 0: done; 1: it failed, or found
differences or problems; 2: the command line itself is wrong.
"""

from __future__ import annotations

import errno
import functools
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import click

from syncer.client import FeatureClient
from syncer.errors import RequestError, SyncerError
from syncer.keyspace import check_namespace
from syncer.manifest import Declarations, DeclaredView
from syncer.project import Project, load_declarations, load_project, select_models
from syncer.reading import PRESENT, OnlineFeatures
from syncer.registering import accepted_registry, check_project, register_project
from syncer.registry import Registry
from syncer.server import DEFAULT_PORT, EmbeddedServer, serve
from syncer.store import Store
from syncer.sync import Instant, sync
from syncer.training import get_historical_features
from syncer.verify import verify
from syncer.warehouse import open_warehouse

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_URL = "redis://127.0.0.1:6379/0"


class _Group(click.Group):
    """Turns our errors, and those of files, into two lines on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SyncerError as error:
            _say_error(error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # who reads our output went away; click ends quietly
            _say_error(
                SyncerError(
                    f"{error.filename or 'a file'}: {error.strerror or error}", "mend that file, then try again"
                )
            )
        ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="feature-warehouse", prog_name="syncer")
def main() -> None:
    """Serve dbt features from Redis: register what is served, mirror it, verify it, read it.

    \b
    Example, from a dbt project's folder:
      dbt build && syncer register && syncer sync && syncer verify
    """


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RequestError(f"'{text}' names no instant", "write date, time and zone: 2013-02-01T00:00:00Z")
    return moment.astimezone(timezone.utc)


def _instant_option(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    try:
        return None if text is None else _instant(text)
    except RequestError as error:
        raise click.BadParameter(f"{error.message}; {error.hint}") from None


_FOLDER = click.Path(file_okay=False, path_type=Path)
_project_dir = click.option("--project-dir", type=_FOLDER, envvar="DBT_PROJECT_DIR", help="The dbt project's folder.")
_profiles_dir = click.option("--profiles-dir", type=_FOLDER, help="The folder with profiles.yml; searched as dbt does.")
_target = click.option("-t", "--target", envvar="DBT_TARGET", help="The target of the profile.")
_select = click.option(
    "-s", "--select", multiple=True, help="Only these feature views, in dbt's selection syntax; repeatable."
)
_url = click.option(
    "--url", envvar="SYNCER_REDIS_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="Redis."
)
_namespace = click.option("--namespace", envvar="SYNCER_NAMESPACE", help="Default: <project>_<target>.")
_now = click.option(
    "--now",
    callback=_instant_option,
    help="The instant to serve, with its zone. Default: the project's, else real time.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)

    return decorate


_project_options = _options(_project_dir, _profiles_dir, _target)
_sync_options = _options(_project_options, _select, _url, _namespace, _now, _json)


@dataclass(frozen=True, slots=True)
class _Run:
    """What sync and verify work on."""

    project: Project
    registry: Registry
    declared: Mapping[str, DeclaredView]
    namespace: str
    instant: Instant
    select: frozenset[str] | None  # view ids


def _prepare(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    select: tuple[str, ...],
    namespace: str | None,
    now: datetime | None,
) -> _Run:
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    registry = accepted_registry(declarations, project.registry_path)
    given = now or _instant_of(project)
    return _Run(
        project=project,
        registry=registry,
        declared=declarations.views,
        namespace=check_namespace(namespace or project.default_namespace),
        instant=Instant(as_of=given or datetime.now(timezone.utc), clock="fixed" if given else "real"),
        select=_selected(registry, declarations, select_models(project, select, target), select) if select else None,
    )


def _instant_of(project: Project) -> datetime | None:
    """The project's own clock, the var feature_warehouse_now."""
    try:
        return None if project.now is None else _instant(str(project.now))
    except RequestError as error:
        raise RequestError(f"the var feature_warehouse_now: {error.message}", error.hint) from None


def _selected(
    registry: Registry, declarations: Declarations, models: set[str], select: tuple[str, ...]
) -> frozenset[str]:
    models_of = {id_: {view.unique_id, view.latest_unique_id} for id_, view in declarations.views.items()}
    chosen = {id_ for id_ in registry.views if models_of[id_] & models}
    if not chosen:
        words = " ".join(select)
        raise RequestError(
            f"--select {words} selects no feature view that a service reads",
            f"see what `dbt ls --select {words}` lists; served: {', '.join(registry.views)}",
        )
    return frozenset(chosen)


@main.command()
@_project_options
@_json
def register(project_dir: Path | None, profiles_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Take what the project declares into its registry. Writes registry/registry.json and registry/features.proto.

    \b
    Example:
      dbt parse && syncer register
    """
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    done = register_project(declarations, project.registry_path, project.proto_path)
    if as_json:
        _print_json(
            {"changes": done.changes, "views": list(done.registry.views), "services": list(done.registry.services)}
        )
        return
    for change in done.changes:
        click.echo(change)
    if not done.changes:
        click.echo("The registry already says what the project declares.")
    else:
        click.echo(
            f"Written to {_shown(project.registry_path)} and {_shown(project.proto_path)}: review and commit them."
        )


@main.command()
@_project_options
@_json
def check(project_dir: Path | None, profiles_dir: Path | None, target: str | None, as_json: bool) -> None:
    """Compare what the project declares with its registry. For CI: exit code 1 when something is wrong.

    \b
    Example:
      dbt parse && syncer check
    """
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    problems = check_project(declarations, project.registry_path, project.proto_path)
    if as_json:
        _print_json({"problems": [{"message": problem.message, "hint": problem.hint} for problem in problems]})
    else:
        for problem in problems:
            _say_error(problem)
        if not problems:
            views, services = len(declarations.views), len(declarations.services)
            click.echo(f"The registry agrees: feature view versions {views}, service versions {services}.")
    sys.exit(1 if problems else 0)


@main.command(name="sync")
@_sync_options
def sync_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    select: tuple[str, ...],
    url: str,
    namespace: str | None,
    now: datetime | None,
    as_json: bool,
) -> None:
    """Make Redis equal to the latest-value views.

    \b
    Example:
      syncer sync --select carrier_delays --url redis://127.0.0.1:6379/0
    """
    run = _prepare(project_dir, profiles_dir, target, select, namespace, now)
    started = time.monotonic()
    store = Store(url)
    done = []
    for view in sync(
        run.registry,
        run.declared,
        open_warehouse(run.project.database, run.project.settings),
        store,
        namespace=run.namespace,
        target=run.project.target,
        instant=run.instant,
        select=run.select,
    ):
        done.append(view)
        if sys.stderr.isatty() and not as_json:
            click.echo(f"{view.view}: {view.rows:,} rows in {view.seconds:.2f} s", err=True)
    seconds = time.monotonic() - started
    if as_json:
        _print_json(
            {
                "namespace": run.namespace,
                "as_of": run.instant.as_of.isoformat(),
                "seconds": round(seconds, 3),
                "views": [asdict(view) for view in done],
            }
        )
        return
    _print_table(
        ("feature view", "rows", "removed", "bytes sent"),
        [(view.view, f"{view.rows:,}", f"{view.removed:,}", f"{view.bytes:,}") for view in done],
    )
    rows = sum(view.rows for view in done)
    as_of = _utc(run.instant.as_of)
    click.echo(f"{rows:,} rows in {seconds:.2f} s: {run.namespace} on {store.address} is the warehouse as of {as_of}.")


@main.command(name="verify")
@_sync_options
def verify_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    select: tuple[str, ...],
    url: str,
    namespace: str | None,
    now: datetime | None,
    as_json: bool,
) -> None:
    """Compare every online value with the warehouse. Both ways; exit code 1 when anything differs.

    \b
    Example:
      syncer verify --select carrier_delays
    """
    run = _prepare(project_dir, profiles_dir, target, select, namespace, now)
    found = list(
        verify(
            run.registry,
            run.declared,
            open_warehouse(run.project.database, run.project.settings),
            Store(url),
            namespace=run.namespace,
            target=run.project.target,
            now=run.instant.as_of,
            select=run.select,
        )
    )
    differences = sum(view.differences for view in found)
    if as_json:
        _print_json({"namespace": run.namespace, "differences": differences, "views": [asdict(view) for view in found]})
    else:
        _print_table(
            ("feature view", "rows", "missing", "different", "extra"),
            [(v.view, f"{v.rows:,}", f"{v.missing:,}", f"{v.different:,}", f"{v.extra:,}") for v in found],
        )
        for view in found:
            for example in view.examples:
                click.echo(f"{view.view}: {example}")
        rows = sum(view.rows for view in found)
        click.echo(f"{rows:,} rows compared, {differences:,} differences.")
    if differences and not as_json:
        click.echo("Hint: run `syncer sync` to mend the mirror.", err=True)
    sys.exit(1 if differences else 0)


@main.command()
@click.argument("service")
@click.argument("keys", nargs=-1, metavar="KEY=VALUE...")
@_project_options
@_url
@_namespace
@click.option(
    "--now",
    callback=_instant_option,
    help="The instant that ttl is judged by. Default: the sync's own, else real time.",
)
@_json
def get(
    service: str,
    keys: tuple[str, ...],
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    url: str,
    namespace: str | None,
    now: datetime | None,
    as_json: bool,
) -> None:
    """Read the online features of one entity row. SERVICE is the latest version; SERVICE@1 that one.

    \b
    Example:
      syncer get departure_delay@2 tailnum=N11184 carrier=EV origin=EWR dest=CLT
    """
    row = {}
    for key in keys:
        name, equals, value = key.partition("=")
        if not equals or not name:
            raise click.UsageError(f"'{key}' is no KEY=VALUE; write origin=EWR")
        row[name] = value
    namespace = namespace or load_project(project_dir, profiles_dir, target).default_namespace
    with FeatureClient(url, namespace, now=now) as client:
        found = client.get_online_features(service, [row])
    if as_json:
        values = {name: _strict_json(value) for name, value in found.rows()[0].items()}
        statuses = dict(zip(found.names, found.statuses[0], strict=True))
        _print_json(
            {
                "service": found.service,
                "features": values,
                "statuses": statuses,
                "not_computed": found.not_computed,
            }
        )
        return
    _print_features(found)


@main.command(name="training-set")
@click.argument("service")
@click.option("--spine", required=True, help="The rows: SQL such as 'from departures', or a .csv or .parquet file.")
@click.option("--timestamp", default="event_timestamp", show_default=True, help="The spine's time column.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A Parquet file.")
@click.option("--known-as-of", callback=_instant_option, help="As it would have come out at this instant.")
@_project_options
@_json
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
        _print_json({"rows": rows, "path": output})
    else:
        click.echo(f"{rows:,} rows written to {output}.")


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Of 127.0.0.1.")
@click.option("--dir", "directory", type=_FOLDER, help="Keep the data here. Default: it is gone when the server stops.")
@click.option("--password", envvar="SYNCER_REDIS_PASSWORD", show_envvar=True, help="What clients must send.")
@_json
def redis(port: int, directory: Path | None, password: str | None, as_json: bool) -> None:
    """Run a Redis server here until Ctrl-C. For trying out, and for machines without one.

    \b
    Example:
      syncer redis --port 6390 --dir redis-data
    """

    def ready(server: EmbeddedServer) -> None:
        if as_json:
            _print_json({"url": server.address, "directory": server.directory})
            return
        kept = f"data stays in {server.directory}" if server.directory else "data is gone when it stops"
        click.echo(f"Redis is ready at {server.address} ({kept}).")
        click.echo("Stop it with Ctrl-C.")

    serve(port, directory, password, ready=ready)
    if not as_json:
        click.echo("Redis has stopped.")


# --- printing ---------------------------------------------------------------------------------------------------------


def _print_features(found: OnlineFeatures) -> None:
    width = max(map(len, [*found.names, *found.not_computed]))
    click.echo(found.service)
    for name, value, status in zip(found.names, found.values[0], found.statuses[0], strict=True):
        click.echo(f"  {name:<{width}}  {_text(value) if status == PRESENT else f'({status})'}")
    for name in found.not_computed:
        click.echo(f"  {name:<{width}}  (on demand: computed from the request, not stored)")


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return _utc(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(_text(item) for item in value[:4])
        return f"[{shown}, ... {len(value)} in all]" if len(value) > 4 else f"[{shown}]"
    return str(value)


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first to the left, numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for first, *others in lines:
        cells = [f"{first:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))]
        click.echo("  ".join(cells).rstrip())


def _print_json(content: Mapping[str, object]) -> None:
    click.echo(json.dumps(content, default=_json_value, ensure_ascii=False, allow_nan=False))


def _strict_json(value: object) -> object:
    """A feature's value; numbers that JSON does not have become 'NaN', 'Infinity' and '-Infinity'."""
    if isinstance(value, list):
        return [_strict_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _say_error(error: SyncerError) -> None:
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def _shown(path: Path) -> str:
    """The path as the user would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
