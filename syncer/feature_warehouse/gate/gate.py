"""The gate between what a project says now and what models were trained on: ``register`` and ``check``.

``register`` writes ``registry/``: registry.json, features.proto and the accepted SQL of each served view version, all
reviewed like code. It builds them anew from what counted before the change (`accepted`), so that the same project gives
the same files, whatever a merge has left of them. ``check`` writes nothing and finds all that ``register`` would do,
refuse or complain of; CI runs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from feature_warehouse.errors import (
    RefusedError,
    RegistryError,
    SyncerError,
)
from feature_warehouse.gate.accepted import accepted_before, sql_path
from feature_warehouse.gate.alike import Alike, alike_features
from feature_warehouse.gate.proof import Proof, prove
from feature_warehouse.gate.proposal import Proposal
from feature_warehouse.gate.rebuild import Rebuild
from feature_warehouse.gate.review import Review, Unjudged, what_of
from feature_warehouse.project.definition import Definition
from feature_warehouse.project.git import author
from feature_warehouse.registry.document import Acknowledged, Fix, Registry, Unbuilt, changes
from feature_warehouse.warehouse.opening import open_duckdb

_REGISTER = "run `syncer register` and commit registry/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What ``register`` wrote; ``changes`` in words, [] when the registry already said the same.

    ``retrain``: the services and exposures whose features got other values, by an accepted fix. ``rebuild``: what keeps
    rows of before the change. ``alike``: new features that mean what others mean already. ``by``: who accepted
    something; "" where that is not known.
    """

    registry: Registry
    changes: tuple[str, ...]
    retrain: tuple[str, ...] = ()
    rebuild: tuple[Rebuild, ...] = ()
    alike: tuple[Alike, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What ``check`` found: what must be mended, what will have to be one day, and what is good to know.

    ``rebuild``: what keeps rows of before the change, and what has to be built anew in the warehouse that is at hand.
    ``judged``: how many served features; ``unjudged``: those of which it is known that they are not, with the reason.
    ``other_sql``: of the served views whose SQL is not as accepted, the accepted definition and the project's.
    """

    problems: tuple[SyncerError, ...]
    warnings: tuple[SyncerError, ...] = ()
    notes: tuple[str, ...] = ()
    rebuild: tuple[Rebuild, ...] = ()
    judged: int = 0
    unjudged: tuple[Unjudged, ...] = ()
    other_sql: Mapping[str, tuple[Definition, Definition]] = field(default_factory=dict)


def register_project(
    proposal: Proposal,
    *,
    against: str | None = None,
    accept_fix: str | None = None,
    accept_unjudged: str | None = None,
    accept_unbuilt: str | None = None,
) -> Registered:
    """Takes what the project says into its registry and writes it, judged against what counted before the change.

    The reasons are recorded, each with who gave it and when. ``accept_fix``: why served features get other values under
    an old version all the same. ``accept_unjudged``: why what cannot be judged is served as it is. ``accept_unbuilt``:
    why older rows may stay as they are. Raises RefusedError with all declarations that are wrong, else with all changes
    that are refused; all files are then as before.
    """
    if proposal.declarations.problems:
        raise RefusedError(proposal.declarations.problems)
    review = Review(proposal, accepted_before(proposal.project.folder, proposal.declarations.project, against))
    changed = review.value_changes()
    problems = [*review.refused(), *review.refused_expressions(), *review.wrong_latest(), *proposal.skew.problems]
    if accept_fix is None:
        problems += map(review.refused_values, changed)
    if accept_unjudged is None:
        problems += review.unacknowledged(review.by_name)
    if problems:
        raise RefusedError(problems)
    rebuild = review.rebuilds()
    new, told, kept = list[Fix](), list[Acknowledged](), list[Unbuilt]()
    who = {"by": author(proposal.project.folder), **_moment()}
    if accept_fix is not None:
        _check_reason("--accept-fix", accept_fix)
        new = [
            Fix(
                view=one.view,
                features=tuple(change.feature for change in one.changes),
                reason=accept_fix,
                rebuild=review.rebuilt_beside(one.view),
                **who,
            )
            for one in changed
        ]
        if not new:
            raise RegistryError(
                "there is nothing to accept: no served feature gets other values", "leave out the reason"
            )
    if accept_unjudged is not None:
        _check_reason("--accept-unjudged", accept_unjudged)
        told = [
            Acknowledged(what=what_of(one), reason=accept_unjudged, **who)
            for one in review.unacknowledged(review.unjudged())
        ]
        if not told:
            raise RegistryError("there is nothing to accept: all is judged, or acknowledged", "leave out the reason")
    if accept_unbuilt is not None:
        _check_reason("--accept-unbuilt", accept_unbuilt)
        kept = [
            Unbuilt(view=view, features=features, reason=accept_unbuilt, **who)
            for view, features in _by_view([*rebuild, *review.standing()]).items()
        ]
        if not kept:
            raise RegistryError(
                "there is nothing to accept: no rows of before the change are kept, as far as can be seen from here",
                "name the target whose warehouse has them: --target",
            )
        rebuild = []
    registry = replace(
        review.registry,
        fixes=tuple(sorted([*review.registry.fixes, *new])),
        acknowledged=tuple(sorted({*review.registry.acknowledged, *told})),
        unbuilt=tuple(sorted({*review.registry.unbuilt, *kept})),
    )
    files = review.files(registry)
    for path, text in files.items():
        _write(proposal.project.folder / path, text)
    for left in (proposal.project.folder / "registry" / "sql").glob("*.sql"):
        if sql_path(left.stem) not in files:
            left.unlink()
    return Registered(
        registry=registry,
        changes=(
            *changes(review.here.registry, registry),
            *review.new_sql(),
            *map(_said, new),
            *(f"{one.what}: acknowledged: {one.reason}" for one in told),
            *(f"{one.view}: {', '.join(one.features)}: older rows stay: {one.reason}" for one in kept),
        ),
        retrain=tuple(dict.fromkeys(one for fix in new for one in review.retrain(fix.view, fix.features))),
        rebuild=tuple(rebuild),
        alike=tuple(alike_features(review.base.registry, registry, proposal.definitions)),
        by=str(who["by"]),
    )


def check_project(proposal: Proposal, *, against: str | None = None) -> Checked:
    """All that is wrong: declarations; then refused changes, versions past their date, files behind the project."""
    declarations = proposal.declarations
    if declarations.problems:
        return Checked(problems=declarations.problems)  # what is declared wrongly is not in the registry
    base = accepted_before(proposal.project.folder, declarations.project, against)
    try:
        review = Review(proposal, base)
    except RegistryError as problem:
        return Checked(problems=(problem,))
    late, warnings = review.deprecated((proposal.project.clock() or datetime.now(timezone.utc)).date())
    changed = review.value_changes()
    problems = [*review.refused(), *review.without_latest(), *map(review.refused_values, changed), *late]
    problems += [*review.refused_expressions(), *review.wrong_latest(), *proposal.skew.problems]
    problems += review.unacknowledged(review.by_name)
    if review.unreadable is not None:
        problems.append(review.unreadable)
    elif not problems:
        problems += (
            RegistryError(f"the registry is behind the project: {change}", _REGISTER) for change in review.behind()
        )
    warnings += [*review.unknown_drafts(), *review.other_releases(), *review.unacknowledged(proposal.skew.warnings)]
    return Checked(
        problems=tuple(problems),
        warnings=tuple(warnings),
        notes=(*review.unread(), *review.unrecorded()),
        rebuild=tuple(review.all_rebuilds()),
        judged=review.count_judged(),
        unjudged=tuple(review.acknowledged_unjudged()),
        other_sql={id_: (base.definitions[id_], proposal.definitions.definitions[id_]) for id_ in review.judged},
    )


def prove_by_data(proposal: Proposal, checked: Checked) -> list[Proof]:
    """The served views whose SQL is not as accepted, computed both ways where the project's clock stands, else at this
    moment. Raises WarehouseError."""
    if not checked.other_sql:
        return []
    project = proposal.project
    with open_duckdb(project.output, "the proof by data (--data)") as warehouse:
        warehouse.stand_at(project.clock() or datetime.now(timezone.utc))
        relations = proposal.definitions.relations
        return [prove(warehouse, id_, was, new, relations) for id_, (was, new) in checked.other_sql.items()]


def _moment() -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    return {"on": now.date(), "at": now.isoformat(timespec="microseconds")}


def _by_view(found: Iterable[Rebuild]) -> dict[str, tuple[str, ...]]:
    features: dict[str, dict[str, None]] = {}
    for one in found:
        features.setdefault(one.view, {}).update(dict.fromkeys(one.features))
    return {view: tuple(names) for view, names in sorted(features.items())}


def _check_reason(option: str, reason: str) -> None:
    if not reason.strip():
        raise RegistryError(f"the reason of {option} is empty", f'`{option} "why that is right"`')


def _said(fix: Fix) -> str:
    return f"{fix.view}: fix of {', '.join(fix.features)} accepted: {fix.reason}"


def _write(path: Path, text: str) -> None:
    """Replaces the file as a whole, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
