"""What a change makes of what is served, as a whole: each feature's class, who trains anew, online bytes.

For whoever reviews it. What of it is refused, `gate` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from feature_warehouse.gate.accepted import accepted_before, accepted_here
from feature_warehouse.gate.alike import Alike, alike_features
from feature_warehouse.gate.judging import judgements, retrain
from feature_warehouse.gate.proposal import Proposal
from feature_warehouse.gate.rebuild import Rebuild, changed_rebuilds
from feature_warehouse.gate.standing import unaccepted
from feature_warehouse.registry.document import Fix, Registry, changes, taken_in
from feature_warehouse.wire.cost import Memory, Size, costs, message_bytes
from feature_warehouse.wire.keyspace import key_prefix


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """kind: a change class, or 'new' and 'gone' with the whole view. reasons: in words."""

    view: str
    feature: str
    kind: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """features: that are not as they were, view by view. others: other changes of what is served, a phrase each.
    retrain: services and exposures, with their owners. rebuild: what keeps rows of before the change. alike: new
    features that mean what others mean already. diffs: of the SQL, by view. bytes: in Redis for each entity of a type,
    before and after, by an estimate."""

    features: tuple[FeatureChange, ...]
    others: tuple[str, ...]
    retrain: tuple[str, ...]
    rebuild: tuple[Rebuild, ...]
    alike: tuple[Alike, ...]
    diffs: Mapping[str, str]
    bytes: Mapping[str, tuple[int, int]]


def compare(proposal: Proposal, base: str) -> Comparison:
    """``base``: the branch or commit that the change is merged into. Raises as ``register_project`` does."""
    declarations, definitions = proposal.declarations, proposal.definitions
    declarations.raise_first()
    folder, views = proposal.project.folder, declarations.feature_views
    accepted = accepted_before(folder, declarations.project, base)
    here, before = accepted_here(folder, declarations.project).registry, accepted.registry
    after = taken_in(before, views, declarations.services)
    judged = judgements(accepted, definitions, proposal.settings)
    features = [
        FeatureChange(
            one.view, change.feature, change.kind, _reasons(one.view, change, set(here.fixes) - set(before.fixes))
        )
        for one in judged
        for change in one.changes
    ]
    told = {(change.view, change.feature) for change in features}
    for id_ in sorted(before.views.keys() | after.views.keys()):
        old, new = (
            {f.name: f.number for f in r.views[id_].features} if id_ in r.views else {} for r in (before, after)
        )
        features += [
            FeatureChange(id_, name, "additive" if old else "new", (f"served as field {number}",))
            for name, number in new.items()
            if name not in old
        ]
        features += [FeatureChange(id_, name, "gone") for name in old if name not in new and (id_, name) not in told]
    again = [
        one
        for judgement in judged
        if (changed := judgement.of("value change", "schema break"))
        for one in retrain(
            judgement.view,
            [change.feature for change in changed],
            (before, after),
            proposal.manifest,
            declarations.views[judgement.view],
        )
    ]
    others = [phrase for phrase in changes(before, after) if " is served as field " not in phrase]
    others += [f"{problem.message}: not compared" for problem in definitions.problems.values()]
    return Comparison(
        features=tuple(sorted(features, key=lambda change: change.view)),
        others=tuple(others),
        retrain=tuple(dict.fromkeys(again)),
        rebuild=tuple(
            unaccepted(replace(after, unbuilt=here.unbuilt), changed_rebuilds(accepted, judged, after, definitions))
        ),
        alike=tuple(alike_features(before, after, definitions)),
        diffs={one.view: one.diff for one in judged if one.diff},
        bytes=_bytes(before, after, proposal.project.default_namespace),
    )


def _reasons(view: str, change: Any, fixes: set[Fix]) -> tuple[str, ...]:
    accepted = [fix.reason for fix in sorted(fixes) if fix.view == view and change.feature in fix.features]
    return (*change.reasons, *change.as_text, *(f"accepted as a fix: {reason}" for reason in accepted))


#: Of one part of a key, where it is not known how long the entities' are.
_KEY_PART = 10


def _bytes(before: Registry, after: Registry, namespace: str) -> dict[str, tuple[int, int]]:
    found: dict[str, list[int]] = {}
    for side, registry in enumerate((before, after)):
        sizes = {
            id_: Size(
                rows=1,
                key_bytes=len(key_prefix(namespace, view.entity.name)) + _KEY_PART * len(view.entity.join_keys),
                message_bytes=message_bytes(view.numbered),
            )
            for id_, view in registry.views.items()
        }
        for cost in costs(registry, sizes, Memory()):
            entity = registry.views[cost.view].entity.name
            found.setdefault(entity, [0, 0])[side] += cost.bytes
    return {entity: (one, two) for entity, (one, two) in sorted(found.items())}
