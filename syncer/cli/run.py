"""What the commands of the mirror work on: a project, its registry, the chosen views and one instant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from syncer.cli.options import namespace_option, now_option, project_options, select_option, url_option
from syncer.encode import leave_pandas_out
from syncer.errors import RequestError
from syncer.keyspace import check_namespace
from syncer.manifest import Declarations, DeclaredView
from syncer.project import Project, load_declarations, load_project, select_models
from syncer.registering import accepted_registry
from syncer.registry import Registry
from syncer.sync import Instant


@dataclass(frozen=True, slots=True)
class Run:
    """What sync and verify work on."""

    project: Project
    registry: Registry
    declared: Mapping[str, DeclaredView]
    namespace: str
    instant: Instant
    select: frozenset[str] | None  # view ids


def mirror_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command on the mirror: it is called with the Run that the shared options name, then with its own options."""

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
            leave_pandas_out()
            command(run=_prepare(project_dir, profiles_dir, target, select, namespace, now), **own)

        return call

    return decorate


def _prepare(
    project_dir: Path | None,
    profiles_dir: Path | None,
    target: str | None,
    select: tuple[str, ...],
    namespace: str | None,
    now: datetime | None,
) -> Run:
    project = load_project(project_dir, profiles_dir, target)
    declarations = load_declarations(project)
    registry = accepted_registry(declarations, project.registry_path)
    given = now or project.clock()
    return Run(
        project=project,
        registry=registry,
        declared=declarations.views,
        namespace=check_namespace(namespace or project.default_namespace),
        instant=Instant(as_of=given or datetime.now(timezone.utc), clock="fixed" if given else "real"),
        select=_selected(registry, declarations, select_models(project, select, target), select) if select else None,
    )


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
