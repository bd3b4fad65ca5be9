"""`syncer sync`, `syncer plan`, `syncer verify` and `syncer drop`."""

from __future__ import annotations

import functools
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click

from syncer.cli.options import json_option, namespace_option, project_options, url_option
from syncer.cli.output import print_json, print_table, utc
from syncer.cli.run import Run, mirror_command
from syncer.keyspace import check_namespace
from syncer.namespace import compact_limit
from syncer.project import load_project
from syncer.store import Store
from syncer.sync import Planned, Terms, ViewSynced, drop, plan, sync
from syncer.verify import verify
from syncer.warehouse import open_warehouse


def terms_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what a run may do; the command is called with the Terms that they make."""

    @click.option("--full", is_flag=True, help="Read Redis back, whatever is remembered of the last run.")
    @click.option("--allow-empty", is_flag=True, help="Take views without rows too: nothing of them stays online.")
    @click.option(
        "--allow-shrink",
        type=click.FloatRange(0, 1),
        default=Terms().allow_shrink,
        show_default=True,
        help="The share of a view's entities that may vanish at once.",
    )
    @click.option("--allow-eviction", is_flag=True, help="Write to a Redis that evicts keys when its memory is full.")
    @click.option("--max-rows-per-second", type=click.IntRange(1), help="Leave Redis time for its readers.")
    @click.option(
        "--wait-replicas",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="A view is done when so many replicas have it.",
    )
    @click.option(
        "--deadline",
        type=click.FloatRange(0),
        default=Terms().deadline,
        show_default=True,
        help="Seconds to go on trying after the connection was lost.",
    )
    @functools.wraps(command)
    def call(**options: Any) -> None:
        own = {name: options.pop(name) for name in Terms.__dataclass_fields__}
        command(terms=Terms(**own), **options)

    return call


@mirror_command("sync")
@terms_options
@json_option
def sync_command(run: Run, url: str, terms: Terms, as_json: bool) -> None:
    """Make Redis equal to the latest-value views. Sends only what differs; says what when it has.

    \b
    Example:
      syncer sync --select carrier_delays --url redis://127.0.0.1:6379/0
    """
    started = time.monotonic()
    store = Store(url)
    with _told_to_stop() as stopped:
        done = list(_synced(run, store, terms, stopped, quiet=as_json))
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "namespace": run.namespace,
                "as_of": run.instant.as_of.isoformat(),
                "seconds": round(seconds, 3),
                "views": [asdict(view) for view in done],
            }
        )
        return
    print_table(
        ("feature view", "rows", "removed", "bytes sent"),
        [(view.view, f"{view.rows:,}", f"{view.removed:,}", f"{view.bytes:,}") for view in done],
    )
    rows = sum(view.rows for view in done)
    as_of = utc(run.instant.as_of)
    click.echo(f"{rows:,} rows in {seconds:.2f} s: {run.namespace} on {store.address} is the warehouse as of {as_of}.")


@mirror_command("plan")
@terms_options
@json_option
def plan_command(run: Run, url: str, terms: Terms, as_json: bool) -> None:
    """Say what `syncer sync` would do now. Rows, bytes, seconds and memory per feature view; nothing is written.

    \b
    Example:
      syncer plan --select carrier_delays
    """
    store = Store(url)
    with _logged():
        found = plan(**_arguments(run, store, terms))
    limit = compact_limit(store)
    planned = [_estimate(each, terms, limit) for each in found]
    if as_json:
        print_json({"namespace": run.namespace, "as_of": run.instant.as_of.isoformat(), "views": planned})
        return
    print_table(
        ("feature view", "rows", "new", "changed", "removed", "bytes", "seconds", "memory"),
        [
            (
                f"{each['view']}{' (retired)' * each['retired']}",
                *(f"{each[name]:,}" for name in ("rows", "new", "changed", "removed", "bytes")),
                f"{each['seconds']:.1f}",
                f"{each['memory']:+,}",
            )
            for each in planned
        ],
    )
    changes = sum(each["new"] + each["changed"] + each["removed"] for each in planned)
    click.echo(f"{changes:,} changes to {run.namespace} on {store.address}; nothing was written.")
    _warn_of_long_values(found, limit)


@mirror_command("verify")
@click.option("--repair", is_flag=True, help="Then mend what differs: a sync that reads Redis back.")
@json_option
def verify_command(run: Run, url: str, repair: bool, as_json: bool) -> None:
    """Compare every online value with the warehouse. Both ways; exit code 1 when anything differs.

    \b
    Example:
      syncer verify --select carrier_delays
    """
    store = Store(url)
    found = list(
        verify(
            run.registry,
            run.declared,
            open_warehouse(run.project.database, run.project.settings),
            store,
            namespace=run.namespace,
            target=run.project.target,
            now=run.instant.as_of,
            select=run.select,
        )
    )
    differences = sum(view.differences for view in found)
    repaired: list[ViewSynced] = []
    if repair and differences:
        with _told_to_stop() as stopped:
            repaired = list(_synced(run, store, Terms(full=True), stopped, quiet=as_json))
    if as_json:
        views = [asdict(view) for view in found]
        print_json(
            {
                "namespace": run.namespace,
                "differences": differences,
                "views": views,
                "repaired": [asdict(view) for view in repaired],
            }
        )
    else:
        print_table(
            ("feature view", "rows", "missing", "different", "extra"),
            [(v.view, f"{v.rows:,}", f"{v.missing:,}", f"{v.different:,}", f"{v.extra:,}") for v in found],
        )
        for view in found:
            for example in view.examples:
                click.echo(f"{view.view}: {example}")
        rows = sum(view.rows for view in found)
        click.echo(f"{rows:,} rows compared, {differences:,} differences.")
        if repaired:
            written, removed = sum(view.written for view in repaired), sum(view.removed for view in repaired)
            click.echo(f"Mended: {written:,} written, {removed:,} removed.")
    if differences and not repair and not as_json:
        click.echo("Hint: run `syncer verify --repair`, or `syncer sync` where the warehouse has changed.", err=True)
    sys.exit(1 if differences and not repair else 0)


@click.command("drop")
@project_options
@url_option
@namespace_option
@click.option("--yes", is_flag=True, help="Do it; without, only say what would go.")
@json_option
def drop_command(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    url: str,
    namespace: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Take a namespace out of Redis. All that was synced into it, its markers and its registry.

    \b
    Example:
      syncer drop --namespace shop_preview_17 --yes
    """
    project = load_project(project_dir, profiles_dir, target)
    namespace = check_namespace(namespace or project.default_namespace)
    store = Store(url)
    with _told_to_stop() as stopped, _logged():
        done = drop(
            store,
            namespace=namespace,
            project=project.name,
            target=project.target,
            remember=project.folder / STATES,
            stopped=stopped,
            really=yes,
        )
        views = {view.view: view.removed for view in done}
    if as_json:
        print_json({"namespace": namespace, "dropped": yes, "removed": views})
        return
    for view, removed in views.items():
        click.echo(f"{view}: {removed:,} entities {'removed' if yes else 'would go'}")
    if yes:
        click.echo(f"{namespace} on {store.address} is empty.")
    else:
        click.echo(f"Nothing was removed from {namespace} on {store.address}: give --yes.")


#: The folder of the project that remembers what its syncs left online.
STATES = ".syncer"


def _arguments(run: Run, store: Store, terms: Terms) -> dict[str, Any]:
    return {
        "registry": run.registry,
        "declared": run.declared,
        "open_warehouse": open_warehouse(run.project.database, run.project.settings),
        "store": store,
        "namespace": run.namespace,
        "target": run.project.target,
        "instant": run.instant,
        "select": run.select,
        "remember": run.project.folder / STATES,
        "terms": terms,
    }


def _synced(run: Run, store: Store, terms: Terms, stopped: Callable[[], bool], *, quiet: bool) -> Iterator[ViewSynced]:
    talk = sys.stderr.isatty() and not quiet
    with _logged():
        for view in sync(**_arguments(run, store, terms), stopped=stopped):
            if talk:
                click.echo(f"{view.view}: {view.written:,} of {view.rows:,} rows in {view.seconds:.2f} s", err=True)
            yield view


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come. The first one asks for an end between two transactions, the second ends."""
    asked: list[int] = []
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        for each in (signal.SIGTERM, signal.SIGINT):
            previous[each] = signal.signal(each, ask)
    except ValueError:
        pass  # signals belong to the main thread
    try:
        yield lambda: bool(asked)
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextmanager
def _logged() -> Iterator[None]:
    """What the library says in passing, as lines on stderr."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(f"Warning: {record.getMessage()}", err=True)

    handler = Lines(logging.WARNING)
    logging.getLogger("syncer").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("syncer").removeHandler(handler)


#: Rows and bytes a second that a Redis takes on one core or less, for estimates.
_ROWS_PER_SECOND, _BYTES_PER_SECOND = 300_000, 60_000_000

#: Bytes of memory that an entity takes in Redis beyond its key and message: in one compact block, and above its limit.
_COMPACT, _SPREAD = 90, 280


def _estimate(planned: Planned, terms: Terms, limit: int | None) -> dict[str, Any]:
    """One view's record of `syncer plan`; seconds and memory are estimates."""
    todo = planned.difference
    changes = todo.writes.rows + todo.removals.rows
    rate = min(_ROWS_PER_SECOND, terms.max_rows_per_second or _ROWS_PER_SECOND)
    each = todo.writes.bytes / max(1, todo.writes.rows) + _COMPACT
    if limit is not None and todo.writes.longest > limit:
        each += _SPREAD - _COMPACT
    gone = planned.online.bytes / max(1, planned.online.rows) + _COMPACT
    return {
        "view": planned.view,
        "retired": planned.latest is None,
        "rows": planned.rows,
        "new": todo.added,
        "changed": todo.changed,
        "removed": todo.removals.rows,
        "bytes": todo.writes.bytes,
        "seconds": round(max(changes / rate, todo.writes.bytes / _BYTES_PER_SECOND), 3),
        "memory": round(todo.added * each - todo.removals.rows * gone),
        "read_back": planned.read_back,
    }


def _warn_of_long_values(found: list[Planned], limit: int | None) -> None:
    longest = max((each.latest.spool.longest for each in found if each.latest), default=0)
    if limit is not None and longest > limit:
        click.echo(
            f"Warning: messages have up to {longest} bytes, and Redis keeps a hash compact only up to {limit}: "
            f"each such entity takes about {_SPREAD - _COMPACT} bytes more. Raise hash-max-listpack-value "
            "(before Redis 7.0: hash-max-ziplist-value).",
            err=True,
        )
