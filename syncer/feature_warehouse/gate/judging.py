"""The judgement of a change: what becomes of each served feature, and of the models that were trained on it.

Compares what was accepted with the definitions that the project has now. Views whose SQL is the same letter by letter
cost nothing; of the others ``sql.changes`` says what the change means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from feature_warehouse.gate.accepted import Accepted
from feature_warehouse.gate.rolling import believed_before
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.definition import Definition, ProjectDefinitions
from feature_warehouse.project.influence import changed
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import FeatureService
from feature_warehouse.sql.changes import Change, Definitions, diff, judge
from feature_warehouse.sql.nodes import Node
from feature_warehouse.warehouse.settings import changed_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Of one view version whose SQL or columns are not as accepted.

    changes: of the features that were served, in their order. diff: of the SQL, formatted; '' when no more than its
    layout has changed.
    """

    view: str
    changes: tuple[Change, ...]
    diff: str

    def of(self, *kinds: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind in kinds)

    @property
    def renamed(self) -> dict[tuple[str, str], str]:
        """The new names of served features, by view id and old name."""
        return {(self.view, change.feature): change.renamed for change in self.changes if change.renamed}


def judgements(accepted: Accepted, project: ProjectDefinitions, settings: Mapping[str, str] | None) -> list[Judgement]:
    """Of the views that are served and are not as accepted. ``settings``: of the profile, that decide about values.

    A view is judged as a call of `rolling_features` where it is one on both sides.
    """
    now, everywhere = project.definitions, other_settings(accepted.registry, settings)
    known = [id_ for id_ in accepted.definitions if id_ in now]
    others = {
        id_: accepted.definitions[id_] for id_ in known if everywhere or not _alike(accepted.definitions[id_], now[id_])
    }
    calls = {id_: was for id_, was in others.items() if id_ in project.rolled}
    rolled = believed_before(calls, now, project.render)
    others |= rolled
    now = {**now, **{id_: project.rolled[id_] for id_ in rolled}}
    before = _readers(others)
    found = []
    for id_, was in others.items():
        served = {feature.name for feature in accepted.registry.views[id_].features}
        changes = _judged(was, before[id_], now[id_], project.read, everywhere)
        found.append(
            Judgement(
                view=id_,
                changes=tuple(change for change in changes if change.feature in served),
                diff=diff(before[id_], was.view, project.read, now[id_].view),
            )
        )
    return found


def other_settings(registry: Registry, settings: Mapping[str, str] | None) -> tuple[str, ...]:
    """What of the profile's ``settings`` decides about values and is not as registered, a phrase each."""
    return tuple(changed_settings(registry.settings, settings))


def compared(was: Definition, now: Definition) -> tuple[Change, ...]:
    """What becomes of each feature of one view version from one definition to the other."""
    return tuple(_judged(was, Definitions(was.nodes), now, Definitions(now.nodes)))


#: How many features and causes a sentence names, and how many sentences a message has; `syncer diff` has them all.
_NAMED, _CAUSES, _SENTENCES = 12, 6, 10


def in_words(changes: Iterable[Change]) -> str:
    """'spent_7d, payments_7d: window 7 days -> 14 days in `spending`; largest: ...', shortened to what can be read."""
    features: dict[tuple[str, ...], list[str]] = {}
    for change in changes:
        features.setdefault((*change.reasons, *change.as_text), []).append(change.feature)
    said = [
        f"{_listed(names, _NAMED, 'features')}: {_listed(reasons, _CAUSES, 'causes')}"
        for reasons, names in features.items()
    ]
    if len(said) > _SENTENCES:
        said[_SENTENCES:] = [f"and {sum(map(len, list(features.values())[_SENTENCES:]))} features more (`syncer diff`)"]
    return "; ".join(said)


def _listed(said: Sequence[str], most: int, what: str) -> str:
    if len(said) <= most + 1:
        return ", ".join(said)
    return f"{', '.join(said[:most])} and {len(said) - most} {what} more"


def _alike(was: Definition, now: Definition) -> bool:
    """Whether nothing is to be judged: the same letter by letter, as far as it was written down."""
    return was == (now if was.influences is not None else replace(now, sync_delay=None, influences=None))


def _judged(
    was: Definition, before: Definitions, now: Definition, after: Definitions, everywhere: tuple[str, ...] = ()
) -> Iterator[Change]:
    beside = (*everywhere, *_beside(was, now))
    for change in judge(before, was.view, after, now.view):
        if beside and change.kind in ("refactor", "value change"):
            change = replace(change, kind="value change", reasons=(*beside, *change.reasons))
        yield change


def _beside(was: Definition, now: Definition) -> Iterator[str]:
    """What else than the SQL gives all features of a view other values. What nobody has written down is no change."""
    if was.ttl != now.ttl:
        yield f"ttl {_days(was.ttl)} -> {_days(now.ttl)}"
    if was.influences is not None and now.influences is not None:
        if was.sync_delay != now.sync_delay:
            yield f"sync_delay {_days(was.sync_delay)} -> {_days(now.sync_delay)}, by which training joins other rows"
        yield from changed(was.influences, now.influences)


def _days(ttl: timedelta | None) -> str:
    return "none" if ttl is None else str(ttl).removesuffix(", 0:00:00")


def _readers(definitions: Mapping[str, Definition]) -> dict[str, Definitions]:
    """Definitions that agree about their nodes are read together, so that each node is read once."""
    pools: list[dict[str, Node]] = []
    pool_of: dict[str, dict[str, Node]] = {}
    for id_, definition in definitions.items():
        agree = (p for p in pools if all(p.get(name, node) == node for name, node in definition.nodes.items()))
        pool = next(agree, None)
        if pool is None:
            pools.append(pool := {})
        pool.update(definition.nodes)
        pool_of[id_] = pool
    made = {id(pool): Definitions(pool) for pool in pools}
    return {id_: made[id(pool)] for id_, pool in pool_of.items()}


# --- who is concerned -------------------------------------------------------------------------------------------------


def retrain(
    view: str,
    features: Iterable[str],
    registries: Iterable[Registry],
    manifest: Mapping[str, Any],
    declared: DeclaredView,
) -> list[str]:
    """The services that read one of the ``features``, then the exposures below the view, each with its owner."""
    changed = set(features)
    services: dict[str, FeatureService] = {}
    for registry in registries:
        services |= registry.services
    found = [
        f"{id_} ({service.owner or 'no owner'})"
        for id_, service in sorted(services.items())
        if any(read.view == view and changed & set(read.features) for read in service.views)
    ]
    return found + sorted(_exposures_below(manifest, declared.unique_id))


def _exposures_below(manifest: Mapping[str, Any], unique_id: str) -> Iterator[str]:
    """Exposures that are no feature services and depend on a node, over however many models."""
    children: dict[str, list[str]] = {}
    for id_, node in {**manifest["nodes"], **manifest["exposures"]}.items():
        for above in node.get("depends_on", {}).get("nodes", ()):
            children.setdefault(above, []).append(id_)
    below = [unique_id]
    for id_ in below:
        below += [child for child in children.get(id_, ()) if child not in below]
    for id_ in below:
        exposure = manifest["exposures"].get(id_)
        if exposure and "feature_service" not in (exposure["config"].get("meta") or {}):
            owner = exposure["owner"].get("name") or exposure["owner"].get("email")
            yield f"the {exposure['type']} {exposure['name']} ({owner or 'no owner'})"
