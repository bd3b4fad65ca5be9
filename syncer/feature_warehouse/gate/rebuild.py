"""What must be built anew: features whose rows in a warehouse are of another definition than the accepted one.

A change of an incremental model reaches the rows of later runs alone, and a snapshot has recorded what it recorded.
What stands in each relation below them, `sql.standing` says; here it becomes a sentence and a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from feature_warehouse.errors import RegistryError
from feature_warehouse.gate.accepted import Accepted
from feature_warehouse.gate.judging import Judgement
from feature_warehouse.project.builds import Before, keeps_rows
from feature_warehouse.project.definition import SNAPSHOT, Definition, ProjectDefinitions
from feature_warehouse.project.influence import changed_nodes
from feature_warehouse.registry.document import Registry
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.standing import History, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """Features of one view version that want other rows.

    nodes: what has to be built anew, nothing above which has to be. certain: that these rows are others is known; else
    nobody knows what they are. snapshots: those of the nodes that are some. command: for all of the other nodes; ""
    where there are none. unrefreshed: models that it leaves alone, since their config says so. target: where that is
    so; None: wherever the nodes were built before a change.
    """

    view: str
    features: tuple[str, ...]
    nodes: tuple[str, ...]
    certain: bool
    snapshots: tuple[str, ...] = ()
    command: str = ""
    unrefreshed: tuple[str, ...] = ()
    target: str | None = None

    @property
    def message(self) -> str:
        """'orders.v1: amount: `fct` has rows from before what is accepted now, in the target 'dev''."""
        features, names = f"{self.view}: {', '.join(self.features)}", ", ".join(f"`{name}`" for name in self.nodes)
        one = len(self.nodes) == 1
        if self.target is None:
            return f"{features}: {names} keep{'s' * one} rows from before this change, in each target"
        where = f"in the target '{self.target}'"
        if not self.certain:
            verb = "was" if one else "were"
            return f"{features}: whether {names} {verb} built with what is accepted is not known {where}"
        return f"{features}: {names} {'has' if one else 'have'} rows from before what is accepted now, {where}"

    @property
    def hint(self) -> str:
        return f"build anew: {self.remedy}" if self.command else self.remedy

    @property
    def remedy(self) -> str:
        """What to do: the command, and what it cannot do."""
        said = [f"`{self.command}`"] if self.command else []
        for name in self.unrefreshed:
            said.append(f"`{name}` has `full_refresh: false`: take that out for this run, or drop its table before it")
        if self.snapshots:
            names = ", ".join(f"`{name}`" for name in self.snapshots)
            said.append(
                f"what {names} recorded cannot be built anew: serve the new meaning from a new snapshot, in a new "
                "version of the view, or take the older rows as they are: `syncer register --accept-unbuilt "
                '"the reason"`'
            )
        return "; ".join(said)

    @property
    def warning(self) -> RegistryError:
        return RegistryError(self.message, self.hint)


def rebuilds(id_: str, definition: Definition, history: History, features: Iterable[str]) -> list[Rebuild]:
    """Of one view version, as it is accepted: what of its ``features`` does not stand in the warehouse."""
    if not any(keeps_rows(node) for node in definition.nodes.values()):
        return []
    standing = Standing(definition.view, definition.nodes, history)
    found: list[Rebuild] = []
    behind = standing.behind(features)
    for certain, names in behind.items():
        causes: dict[tuple[str, ...], list[str]] = {}
        for feature in names:
            causes.setdefault(standing.causes(feature, certain), []).append(feature)
        for nodes, some in causes.items():
            found.append(rebuild_of(id_, some, nodes, definition, certain))
    return found


def changed_rebuilds(
    base: Accepted, judged: Iterable[Judgement], registry: Registry, project: ProjectDefinitions
) -> list[Rebuild]:
    """What keeps rows of before a change, wherever it was built. ``registry``: with the change."""
    was = {name: node for one in base.definitions.values() for name, node in one.nodes.items()}
    changed = {(one.view, change.feature) for one in judged for change in one.of("value change")}
    found: list[Rebuild] = []
    for id_, view in registry.views.items():
        before, now = base.registry.views.get(id_), project.definitions.get(id_)
        known = {feature.name for feature in before.features} if before else set()
        others = [f.name for f in view.features if f.name not in known or (id_, f.name) in changed]
        if now is not None and others:
            found += rebuilds(id_, now, Before(was, now.nodes), others)
    return found


def kept_beside(was: Definition, now: Definition, settings: Iterable[str]) -> tuple[str, ...]:
    """The uppermost nodes that keep rows of before something else than SQL has changed. ``settings``: of the profile,
    that have."""
    if was.influences is None or now.influences is None:
        return ()
    touched = changed_nodes(was.influences, now.influences)
    everywhere = "" in touched or bool(list(settings))
    found = [
        name
        for name, node in now.nodes.items()
        if keeps_rows(node) and (everywhere or any(name in _below(now.nodes, one) for one in touched))
    ]
    return tuple(sorted(one for one in found if not any(one in _below(now.nodes, other)[1:] for other in found)))


def rebuild_of(
    view: str, features: Iterable[str], nodes: tuple[str, ...], definition: Definition, certain: bool
) -> Rebuild:
    """With the command that builds the ``nodes`` and all below them."""
    snapshots = tuple(name for name in nodes if definition.nodes[name].opaque == SNAPSHOT)
    models = [name for name in nodes if name not in snapshots]
    below = {name for node in models for name in _below(definition.nodes, node)}
    kept = [name for name in below if keeps_rows(definition.nodes[name])]
    select = " ".join(f"{name.rpartition('.')[2]}+" for name in models)
    return Rebuild(
        view=view,
        features=tuple(features),
        nodes=nodes,
        certain=certain,
        snapshots=snapshots,
        unrefreshed=tuple(
            sorted(name for name in kept if "full_refresh=False" in definition.nodes[name].strategy.split())
        ),
        command=f"dbt build {'--full-refresh ' * bool(kept)}--select {select}" if models else "",
    )


def _below(nodes: Mapping[str, Node], name: str) -> list[str]:
    """A node and all that read it, over however many."""
    found = [name]
    for each in found:
        found += [other for other, node in nodes.items() if each in (node.reads or ()) and other not in found]
    return found
