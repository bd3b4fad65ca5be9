"""The same feature twice: a new feature that means what a feature of another view means already.

Versions of one view are alike by design, and a key, a time or a constant is no feature worth sharing: none is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from feature_warehouse.project.definition import ProjectDefinitions
from feature_warehouse.registry.document import Registry
from feature_warehouse.sql.algebra import uses
from feature_warehouse.sql.text import canonical_type


@dataclass(frozen=True, slots=True)
class Alike:
    """``feature`` and ``known`` as orders.v1.amount; readers: the services that read the known one, with owners."""

    feature: str
    known: str
    readers: tuple[str, ...]

    def __str__(self) -> str:
        readers = ", ".join(self.readers) or "no service reads it"
        return f"{self.feature} means what {self.known} means already ({readers})"


def alike_features(before: Registry, after: Registry, project: ProjectDefinitions) -> Iterator[Alike]:
    """Of each feature that is served for the first time, the one that means the same, if there is one."""
    served = {id_: {feature.name for feature in view.features} for id_, view in before.views.items()}
    new = [
        (id_, feature.name)
        for id_, view in after.views.items()
        for feature in view.features
        if feature.name not in served.get(id_, ()) and id_ in project.meant
    ]
    known = _Known(project, set(new))
    for id_, name in new:
        found = known.alike(id_, name)
        if found is not None:
            yield Alike(f"{id_}.{name}", ".".join(found), tuple(_readers(after, *found)))


def _readers(registry: Registry, view: str, feature: str) -> Iterator[str]:
    for id_, service in sorted(registry.services.items()):
        if any(read.view == view and feature in read.features for read in service.views):
            yield f"{id_}, {service.owner or 'no owner'}"


class _Known:
    """The features of a project by what they mean; a view is looked at when one that could be alike is asked for."""

    def __init__(self, project: ProjectDefinitions, new: set[tuple[str, str]]) -> None:
        self._meant, self._read, self._left = project.meant, project.read, new
        self._meanings: dict[str, dict[str, list[str]]] = {}  # by view id: names of features, by what they mean
        self._alike: dict[str, list[str]] = {}
        self._sources: dict[str, frozenset[str]] = {}

    def alike(self, id_: str, name: str) -> tuple[str, str] | None:
        """The view and the name of another feature; of two new ones that mean the same, the later one has the other."""
        self._left.discard((id_, name))
        meaning = next((each for each, names in self._meaning(id_).items() if name in names), None)
        if meaning is not None:
            for other in self._comparable(id_):
                for feature in self._meaning(other).get(meaning, ()):
                    if (other, feature) not in self._left:
                        return other, feature
        return None

    def _comparable(self, id_: str) -> list[str]:
        """The views that could hold the same rows: keys of the same types, one ttl, a source in common."""
        if id_ not in self._alike:
            kind, sources = self._kind(id_), self._source(id_)
            others = [other for other in sorted(self._meant) if _name(other) != _name(id_)]
            self._alike[id_] = [one for one in others if self._kind(one) == kind and sources & self._source(one)]
        return self._alike[id_]

    def _kind(self, id_: str) -> tuple[object, ...]:
        definition = self._meant[id_]
        return (*map(canonical_type, definition.view.join_keys.values()), definition.ttl)

    def _source(self, id_: str) -> frozenset[str]:
        if id_ not in self._sources:
            nodes = self._meant[id_].nodes
            self._sources[id_] = frozenset(name for name, node in nodes.items() if node.sql is None or not node.reads)
        return self._sources[id_]

    def _meaning(self, id_: str) -> dict[str, list[str]]:
        """Without what is no more than a key, a time or a constant."""
        if id_ not in self._meanings:
            view, read = self._meant[id_].view, self._read
            found = self._meanings[id_] = {}
            for name in view.features:
                *others, value = read.columns(view, name)
                if name in view.rolled or (value not in others and uses(value)):
                    found.setdefault(read.fingerprint(view, name), []).append(name)
        return self._meanings[id_]


def _name(id_: str) -> str:
    return id_.rpartition(".v")[0]
