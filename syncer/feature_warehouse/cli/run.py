"""What the commands of the mirror work on: a project, its registry, the chosen views and one instant."""

from __future__ import annotations

import functools
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import click

from feature_warehouse.cli.options import namespace_option, now_option, project_options, select_option, url_option
from feature_warehouse.errors import RequestError
from feature_warehouse.mirror.planning import Terms
from feature_warehouse.mirror.registering import accepted_registry
from feature_warehouse.mirror.sync import Instant
from feature_warehouse.project.declarations import Declarations, DeclaredView
from feature_warehouse.project.project import Project, load_declarations, load_project, select_models
from feature_warehouse.registry.document import Registry
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.duckdb import open_warehouse
from feature_warehouse.wire.encode import leave_pandas_out
from feature_warehouse.wire.keyspace import check_namespace

#: The folder of the project that remembers what its syncs left online.
STATES = ".syncer"


@dataclass(frozen=True, slots=True)
class Run:
    """What sync and verify work on."""

    project: Project
    registry: Registry
    declared: Mapping[str, DeclaredView]
    namespace: str
    instant: Instant
    select: frozenset[str] | None  # view ids


@dataclass(slots=True, kw_only=True)
class Preparation:
    """What the shared options name; called, it makes the Run of it, as the project is then."""

    project_dir: Path | None
    profiles_dir: Path | None
    target: str | None
    selection: tuple[str, ...]
    namespace: str | None
    now: datetime | None
    _selected: tuple[object, frozenset[str]] | None = field(default=None, init=False)

    def project(self) -> Project:
        return load_project(self.project_dir, self.profiles_dir, self.target)

    def __call__(self) -> Run:
        project = self.project()
        declarations = load_declarations(project)
        registry = accepted_registry(declarations, project.registry_path)
        given = self.now or project.clock()
        return Run(
            project=project,
            registry=registry,
            declared=declarations.views,
            namespace=check_namespace(self.namespace or project.default_namespace),
            instant=Instant(as_of=given or datetime.now(timezone.utc), clock="fixed" if given else "real"),
            select=self._select(project, registry, declarations) if self.selection else None,
        )

    def _select(self, project: Project, registry: Registry, declarations: Declarations) -> frozenset[str]:
        """The view ids of the selection; dbt is asked again only when the manifest has changed."""
        stamp = project.manifest_stamp()
        if self._selected is None or self._selected[0] != stamp:
            models = select_models(project, self.selection, self.target)
            self._selected = stamp, _selected(registry, declarations, models, self.selection)
        return self._selected[1]


def mirror_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command on the mirror: it is called with ``prepare``, which makes the Run that the shared options name, and
    with its own options."""

    def decorate(command: Callable[..., None]) -> click.Command:
        @click.command(name)
        @project_options
        @select_option
        @url_option
        @namespace_option
        @now_option
        @functools.wraps(command)
        def call(
            project_dir: Path | None,
            profiles_dir: Path | None,
            target: str | None,
            select: tuple[str, ...],
            namespace: str | None,
            now: datetime | None,
            **own: Any,
        ) -> None:
            if not own.get("run_models"):  # dbt's Python models may be written with pandas
                leave_pandas_out()
            preparation = Preparation(
                project_dir=project_dir,
                profiles_dir=profiles_dir,
                target=target,
                selection=select,
                namespace=namespace,
                now=now,
            )
            command(prepare=preparation, **own)

        return call

    return decorate


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
        help="Seconds to go on trying while Redis fails over or loads, or after the connection was lost.",
    )
    @functools.wraps(command)
    def call(**options: Any) -> None:
        own = {name: options.pop(name) for name in Terms.__dataclass_fields__}
        command(terms=Terms(**own), **options)

    return call


def arguments(run: Run, store: Store, terms: Terms, stopped: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """What ``sync`` and ``plan`` are called with."""
    return {
        "registry": run.registry,
        "declared": run.declared,
        "open_warehouse": open_warehouse(run.project.database, run.project.settings, stopped),
        "store": store,
        "namespace": run.namespace,
        "target": run.project.target,
        "instant": run.instant,
        "select": run.select,
        "remember": run.project.folder / STATES,
        "terms": terms,
    }


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """Set by SIGTERM or SIGINT. The first one asks for an end between two transactions, the second ends."""
    asked = Event()
    previous: dict[signal.Signals, Any] = {}

    def ask(_: int, __: FrameType | None) -> None:
        asked.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        for each in (signal.SIGTERM, signal.SIGINT):
            previous[each] = signal.signal(each, ask)
    except ValueError:
        pass  # signals belong to the main thread
    try:
        yield asked
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextmanager
def logged() -> Iterator[None]:
    """What the library says in passing, as lines on stderr."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(f"Warning: {record.getMessage()}", err=True)

    handler = Lines(logging.WARNING)
    logging.getLogger("feature_warehouse").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("feature_warehouse").removeHandler(handler)
