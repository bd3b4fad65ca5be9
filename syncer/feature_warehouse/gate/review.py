"""A proposal beside what was accepted: what is refused, what is said of it, and what `register` would write.

Decides nothing and writes nothing: `gate` asks, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

from feature_warehouse.errors import DefinitionError, RegistryError, SyncerError, ValueChangeError, WarehouseError
from feature_warehouse.gate.accepted import Accepted, accepted_here, sql_path
from feature_warehouse.gate.judging import Judgement, in_words, judgements, other_settings, retrain
from feature_warehouse.gate.latest import latest_problem
from feature_warehouse.gate.ondemand import changed_expressions, service_problems
from feature_warehouse.gate.proposal import Proposal
from feature_warehouse.gate.rebuild import Rebuild, changed_rebuilds, kept_beside
from feature_warehouse.gate.standing import keeps, standing_rebuilds, unaccepted
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.definition import to_text as definition_text
from feature_warehouse.registry.document import Fix, Registry, changes, refusals, taken_in, to_text
from feature_warehouse.sql.changes import Change
from feature_warehouse.sql.relations import read_by_name
from feature_warehouse.warehouse.builds import RECORDING
from feature_warehouse.warehouse.opening import open_source
from feature_warehouse.wire.decode import proto_text


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Served features of which no change can be seen, and why that was acknowledged."""

    features: tuple[str, ...]  # orders.v1.amount
    what: str
    reason: str


class Review:
    """``base``: what was accepted before the change; ``here``: what the working tree has of it."""

    def __init__(self, proposal: Proposal, base: Accepted) -> None:
        self.proposal, self.base = proposal, base
        self.unreadable: RegistryError | None = None
        project, self._views = proposal.declarations.project, proposal.declarations.feature_views
        try:
            self.here = accepted_here(proposal.project.folder, project)
        except RegistryError as error:  # a merge has left it so: what it recorded beside the base's is lost
            self.unreadable = error
            self.here = Accepted(registry=Registry(project=project), definitions={})
        proposed = proposal.definitions, proposal.settings
        self._judged = judgements(base, *proposed)
        self._since = self._judged if self.here == base else judgements(self.here, *proposed)
        registry = taken_in(base.registry, self._views, proposal.declarations.services)
        fixes = tuple(sorted({*base.registry.fixes, *self._kept_fixes()}))
        settings = base.registry.settings if proposal.settings is None else proposal.settings
        self.registry = replace(registry, fixes=fixes, settings=settings)
        unbuilt = sorted({*base.registry.unbuilt, *self.here.registry.unbuilt})
        self.registry = replace(self.registry, unbuilt=tuple(one for one in unbuilt if one.view in registry.views))
        kept = {*base.registry.acknowledged, *self.here.registry.acknowledged}
        still = {what_of(one) for one in self.unjudged()}
        acknowledged = tuple(sorted(one for one in kept if one.what in still))
        self.registry = replace(self.registry, acknowledged=acknowledged)

    def _kept_fixes(self) -> Iterator[Fix]:
        """The fixes of this change that were accepted before, and still mend something."""
        changed = {(one.view, change.feature) for one in self._judged for change in one.of("value change")}
        for fix in set(self.here.registry.fixes) - set(self.base.registry.fixes):
            if any((fix.view, feature) in changed for feature in fix.features):
                yield fix

    @property
    def judged(self) -> list[str]:
        return [judgement.view for judgement in self._judged]

    def value_changes(self) -> list[Judgement]:
        """What nobody has accepted: with the features alone whose values change."""
        again = {(one.view, change.feature) for one in self._since for change in one.of("value change")}
        accepted = {(fix.view, feature) for fix in self._kept_fixes() for feature in fix.features} - again
        found = []
        for one in self._judged:
            changed = tuple(c for c in one.of("value change") if (one.view, c.feature) not in accepted)
            if changed:
                found.append(replace(one, changes=changed))
        return found

    def refused_values(self, judgement: Judgement) -> ValueChangeError:
        """The sentence about a value change that nobody has accepted."""
        what = in_words(judgement.changes).replace(": ", " would get other values: ", 1)
        view = self._views[judgement.view]
        features = [change.feature for change in judgement.changes]
        return ValueChangeError(
            f"{judgement.view}: {what}",
            f"leave {judgement.view} as it is and add version {self._next_version(view.name)} beside it; if it mends a "
            'fault, `syncer register --accept-fix "the reason"`',
            judgement.diff,
            self.retrain(judgement.view, features),
        )

    def _next_version(self, name: str) -> int:
        known = [*self._views, *self.base.registry.views, *self.base.registry.retired_views]
        return 1 + max(int(id_.rpartition(".v")[2]) for id_ in known if id_.rpartition(".v")[0] == name)

    def retrain(self, view: str, features: Iterable[str]) -> list[str]:
        registries = (self.base.registry, self.registry)
        return retrain(view, features, registries, self.proposal.manifest, self.proposal.declarations.views[view])

    # -- what keeps rows of before -------------------------------------------------------------------------------------

    def rebuilds(self) -> list[Rebuild]:
        """What keeps rows of before this change, wherever it was built; without what somebody has accepted so."""
        found = changed_rebuilds(self.base, self._judged, self.registry, self.proposal.definitions)
        return list(unaccepted(self.registry, found))

    def rebuilt_beside(self, id_: str) -> tuple[str, ...]:
        """What has to be built anew for what has changed beside the SQL of a view."""
        was, now = self.base.definitions[id_], self.proposal.definitions.definitions[id_]
        return kept_beside(was, now, other_settings(self.base.registry, self.proposal.settings))

    def standing(self) -> list[Rebuild]:
        """What has to be built anew in the warehouse of the target, where that is at hand: nobody waits for it."""
        proposal, project = self.proposal, self.proposal.project
        definitions = proposal.definitions.definitions
        kept = (id_ in definitions and keeps(definitions[id_]) for id_ in self.registry.views)
        if project.output.adapter not in RECORDING or not any(kept):
            return []
        try:
            with open_source(project.output, patience=0.0) as source:
                return standing_rebuilds(project, proposal.manifest, self.registry, definitions, source)
        except WarehouseError:
            return []

    def all_rebuilds(self) -> Iterator[Rebuild]:
        """Both, each feature once: what this change asks for everywhere says more than what stands in one target."""
        found = self.rebuilds()
        yield from found
        told = {(one.view, feature) for one in found for feature in one.features}
        for one in self.standing():
            features = tuple(feature for feature in one.features if (one.view, feature) not in told)
            if features and one.certain:
                yield replace(one, features=features)

    def refused(self) -> list[SyncerError]:
        """What no reason can make good: breaks of what readers rely on by name, and SQL that is not known."""
        renamed = {key: name for one in self._judged for key, name in one.renamed.items()}
        found = refusals(self.base.registry, self._views, self.proposal.declarations.services, renamed)
        unknown = self.proposal.definitions.problems
        return [
            *found,
            *(unknown[id_] for id_ in self.registry.views if id_ in unknown),
        ]

    def unknown_drafts(self) -> list[DefinitionError]:
        """SQL that is not known, of views that nobody is served from."""
        unknown = self.proposal.definitions.problems
        return [problem for id_, problem in unknown.items() if id_ not in self.registry.views]

    def refused_expressions(self) -> Iterator[SyncerError]:
        """On-demand features that cannot be served as declared, or are not what models were trained with."""
        services = self.proposal.declarations.services
        yield from service_problems(services, self._views)
        yield from changed_expressions(self.base.registry.services, services, self._views)

    def without_latest(self) -> Iterator[DefinitionError]:
        """The served views that nothing could be synced from."""
        for declared in self._served():
            if declared.latest_relation is None:
                yield DefinitionError(
                    f"{declared.path}: {declared.view.id} is served but has no latest-value view",
                    f"create models/{declared.latest_name}.sql with one line: {{{{ feature_warehouse.latest_values("
                    f"ref('{declared.view.name}', v={declared.view.version})) }}}}",
                )

    def wrong_latest(self) -> Iterator[DefinitionError]:
        """The served views whose latest values would be others than those of their history."""
        for declared in self._served():
            if declared.latest_unique_id is not None:
                node = self.proposal.manifest["nodes"][declared.latest_unique_id]
                if problem := latest_problem(self.proposal.project, declared, node):
                    yield problem

    @cached_property
    def by_name(self) -> list[DefinitionError]:
        """The served views above which something is read that dbt does not know of."""
        found = []
        for declared in self._served():
            definition = self.proposal.definitions.definitions.get(declared.view.id)
            for node, name in read_by_name(definition.nodes) if definition else ():
                found.append(
                    DefinitionError(
                        f"{declared.path}: {declared.view.id}: `{node}` reads {name} by its name, so that no change of "
                        "it could be judged",
                        "read it by ref() or source(): a table that others make is a source",
                    )
                )
        return found

    def unjudged(self) -> list[DefinitionError]:
        """All that hides whether a served value changes."""
        return [*self.by_name, *self.proposal.skew.warnings]

    def unacknowledged(self, found: Iterable[DefinitionError]) -> list[DefinitionError]:
        told = {one.what for one in self.registry.acknowledged}
        return [one for one in found if what_of(one) not in told]

    def acknowledged_unjudged(self) -> Iterator[Unjudged]:
        """What is served although something above it is read by its name."""
        reasons = {one.what: one.reason for one in self.registry.acknowledged}
        for problem in self.by_name:
            if (what := what_of(problem)) in reasons:
                view = self.registry.views[what.partition(":")[0]]
                features = tuple(f"{view.id}.{feature.name}" for feature in view.features)
                yield Unjudged(features, what, reasons[what])

    def count_judged(self) -> int:
        """How many served features are judged."""
        served = sum(len(view.features) for view in self.registry.views.values())
        return served - len({feature for one in self.acknowledged_unjudged() for feature in one.features})

    def _served(self) -> Iterator[DeclaredView]:
        return (self.proposal.declarations.views[id_] for id_ in self.registry.views)

    def deprecated(self, today: date) -> tuple[list[SyncerError], list[SyncerError]]:
        """The deprecated versions that services read: from their date on, and before it."""
        late: list[SyncerError] = []
        early: list[SyncerError] = []
        for id_, view in self._views.items():
            readers = self._readers(id_)
            if view.deprecation_date is None or not readers:
                continue
            is_late = view.deprecation_date <= today
            sentence = (
                f"{id_} {'was' if is_late else 'will be'} given up on {view.deprecation_date}, and "
                f"{', '.join(readers)} {'reads' if len(readers) == 1 else 'read'} it"
            )
            (late if is_late else early).append(
                RegistryError(
                    sentence, "train the model on a newer version of the view, in a new version of the service"
                )
            )
        return late, early

    def _readers(self, view: str) -> list[str]:
        services = self.proposal.declarations.services
        return [id_ for id_, service in sorted(services.items()) if any(read.view == view for read in service.views)]

    def unread(self) -> Iterator[str]:
        """The versions that are kept online for nobody."""
        for id_ in self.registry.views:
            if not self._readers(id_):
                yield f"No service reads {id_}; its rows stay online until the version leaves the project."

    def unrecorded(self) -> Iterator[str]:
        """The views whose accepted definition is from before there was more than SQL in it, in one sentence."""
        views = [
            id_
            for id_, was in self.base.definitions.items()
            if id_ in self.registry.views and was.influences is None and not self._recorded_here(id_)
        ]
        if views:
            yield (
                f"What else than their SQL decides about the rows of {', '.join(views)} is not written down yet; "
                "`syncer register` does that, and from then on it is judged."
            )

    def _recorded_here(self, id_: str) -> bool:
        return id_ in self.here.definitions and self.here.definitions[id_].influences is not None

    def other_releases(self) -> Iterator[RegistryError]:
        """The releases of dbt that built what was accepted, where others build now: their macros are not judged."""
        found: dict[str, None] = {}
        for id_, was in self.base.definitions.items():
            now = self.proposal.definitions.definitions.get(id_)
            built, builds = (
                {one.name: one.value for one in side.influences or () if one.kind == "release"} if side else {}
                for side in (was, now)
            )
            found |= {
                f"{name} {release} -> {builds[name]}": None
                for name, release in built.items()
                if builds.get(name, release) != release
            }
        for change in found:
            yield RegistryError(
                f"{change}: how the models are built may have changed, which is not judged",
                "compare the rows (`syncer check --data`), then take it in: `syncer register`",
            )

    def behind(self) -> list[str]:
        """What ``register`` would write, in words."""
        found = changes(self.here.registry, self.registry)
        found += [
            f"{sql_path(id_)} {'is missing' if id_ not in self.here.definitions else 'has other SQL'}"
            for id_ in self.registry.views
            if id_ not in self.here.definitions or any(self._since_of(id_, "value change", "schema break"))
        ]
        proto = self.proposal.project.folder / "registry" / "features.proto"
        written = proto.read_text(encoding="utf-8") if proto.exists() else ""
        if not found and written != proto_text(self.registry.views.values()):
            found.append("registry/features.proto does not say what the registry says")
        return found

    def _since_of(self, view: str, *kinds: str) -> Iterator[Change]:
        return (change for one in self._since if one.view == view for change in one.of(*kinds))

    def new_sql(self) -> Iterator[str]:
        """What becomes of the accepted SQL, in words."""
        for id_ in self.registry.views:
            was = self.here.definitions.get(id_)
            if was is None:
                yield f"{id_}: SQL accepted"
            elif was != self.proposal.definitions.definitions[id_]:
                since, before = (
                    any(one.view == id_ and one.of("value change", "schema break") for one in judged)
                    for judged in (self._since, self._judged)
                )
                again = since and not before and id_ in self.base.definitions
                yield (
                    f"{id_}: SQL accepted anew, "
                    + ("as before the change" if again else "with other values" if since else "of the same values")
                )

    def files(self, registry: Registry) -> dict[str, str]:
        """The registry's files, by their path from the project's folder."""
        definitions = self.proposal.definitions.definitions
        return {
            "registry/registry.json": to_text(registry),
            "registry/features.proto": proto_text(registry.views.values()),
            **{sql_path(id_): definition_text(id_, definitions[id_]) for id_ in registry.views},
        }


def what_of(problem: DefinitionError) -> str:
    """The sentence without its file, which may move."""
    return problem.message.partition(": ")[2]
