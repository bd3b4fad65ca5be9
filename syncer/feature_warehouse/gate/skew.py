"""Training-serving skew that the SQL of a feature shows before anything runs.

Judges definitions alone: how far a feature looks back, against what is declared and against how long its sources are
kept; the clock; chance; the time zone of the session. What may not be declared at all, `declarations` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from feature_warehouse.errors import DefinitionError
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.project.definition import ProjectDefinitions
from feature_warehouse.registry.feature import Retention, period_text
from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.facts import Facts
from feature_warehouse.sql.reach import Lookback, Reach
from feature_warehouse.sql.text import lower


@dataclass(frozen=True, slots=True)
class Skew:
    """problems: what makes training and serving differ; warnings: what hides whether they do."""

    problems: tuple[DefinitionError, ...] = ()
    warnings: tuple[DefinitionError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known beside the SQL. retentions: by the name of a node. session_zone: of dbt's connections, None where
    the profile leaves it to the machine. asked: by the name of a node, what it asks of the run that compiles it."""

    retentions: Mapping[str, Retention] = field(default_factory=dict)
    session_zone: str | None = None
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def find_skew(definitions: ProjectDefinitions, views: Mapping[str, DeclaredView], surroundings: Surroundings) -> Skew:
    """Of all views that have a definition, in their order; feature by feature."""
    problems: list[DefinitionError] = []
    warnings: list[DefinitionError] = []
    retentions = {lower(name): kept for name, kept in surroundings.retentions.items()}
    whole = definitions.read
    cut = _Cut(whole, retentions)
    for id_, definition in definitions.meant.items():
        view, declared = definition.view, views[id_]
        for feature in view.features:
            place = f"{declared.path}: {id_}, feature '{feature}'"
            facts = whole.facts(view, feature)
            reach = cut.facts(view, feature, facts).reach
            problems += _looks_back(place, feature, reach, declared.lookbacks, retentions)
            problems += _varies(place, facts, surroundings.session_zone)
            if view.available_at is None:
                problems += _looks_ahead(place, facts)
            warnings += _unknown(place, facts, surroundings.session_zone)
        for node in definition.nodes:
            warnings += _elsewhere(f"{declared.path}: {id_}", node, surroundings.asked.get(node, ()))
        for why in whole.as_text(view):
            hint = "clocks, chance, time zones and look-backs are not seen in it: look for them yourself"
            warnings.append(DefinitionError(f"{declared.path}: {id_}: {why}", hint))
    return Skew(tuple(problems), tuple(warnings))


class _Cut:
    """The same SQL, read no further than to models whose retention is declared: they keep what their sources drop.

    All names in small letters.
    """

    def __init__(self, whole: Definitions, retentions: Mapping[str, Retention]) -> None:
        self._whole, nodes = whole, whole.nodes
        self._keepers = {name: node for name, node in nodes.items() if name in retentions and node.sql is not None}
        ends = {name: replace(node, sql=None, incremental=None) for name, node in self._keepers.items()}
        self._nodes = {**nodes, **ends}
        self._definitions = Definitions(self._nodes)

    def facts(self, view: View, feature: str, facts: Facts) -> Facts:
        """``facts`` where nothing is cut off above the view; its own retention says nothing of what it reads."""
        if not self._keepers or self._keepers.keys().isdisjoint(self._whole.closure(view)):
            return facts
        if (name := lower(view.node)) in self._keepers:
            own = {**self._nodes, name: self._keepers[name]}
            return Definitions(own).facts(view, feature)
        return self._definitions.facts(view, feature)


# --- look-back --------------------------------------------------------------------------------------------------------


def _looks_back(
    place: str,
    feature: str,
    reach: Reach,
    declared: Mapping[str, timedelta | None],
    retentions: Mapping[str, Retention],
) -> Iterator[DefinitionError]:
    found, says = reach[""], declared.get(feature)
    if says is not None and found.kind != "unknown" and (found.kind == "unbounded" or found.span > says):
        yield DefinitionError(
            f"{place}: it looks back {_span(found)}, and its declared lookback is {period_text(says)}",
            "declare what the SQL does, or change the SQL; `lookback: unbounded` for one without end",
        )
    for source, reached in reach.items():
        if source not in retentions:
            continue
        if reached.kind == "unknown" and says is not None:
            reached = Lookback(span=says)
        tiers = {"offline": retentions[source].offline, "online": retentions[source].online}
        short = {
            tier: kept for tier, kept in tiers.items() if kept and (reached.kind != "bounded" or reached.span > kept)
        }
        if short and reached.kind == "unknown":
            yield DefinitionError(
                f"{place}: its SQL does not tell how far it looks back into {source}, which is kept for {_kept(short)} "
                f"({'; '.join(reached.where)})",
                f"declare it in config.meta.feature_view: `lookback: {{{feature}: 7 days}}`",
            )
        elif short:
            yield DefinitionError(
                f"{place}: it looks back {_span(reached)} into {source}, which is kept for {_kept(short)}",
                f"shorten the window, keep {source} longer, or read an incremental model that keeps its rows and "
                "declares a `retention` of its own",
            )


def _looks_ahead(place: str, facts: Facts) -> Iterator[DefinitionError]:
    """Of a value that is said to be known at its event time."""
    if facts.ahead:
        yield DefinitionError(
            f"{place}: it looks ahead of its event time: {_listed(facts.ahead)}",
            "end the window at the event time, or declare as `available_at` the time from which the value is known",
        )


def _span(found: Lookback) -> str:
    if found.kind == "bounded":
        return period_text(found.span)
    return f"without end ({'; '.join(found.where)})"


def _kept(tiers: Mapping[str, timedelta]) -> str:
    """'90 days online', '1 year offline and 90 days online', and '90 days' in both."""
    if len(set(tiers.values())) == 1 and len(tiers) == 2:
        return period_text(next(iter(tiers.values())))
    return " and ".join(f"{period_text(kept)} {tier}" for tier, kept in tiers.items())


# --- what varies with the run -----------------------------------------------------------------------------------------


def _varies(place: str, facts: Facts, session_zone: str | None) -> Iterator[DefinitionError]:
    if facts.current_time:
        yield DefinitionError(
            f"{place}: its value hangs on when it is computed: {_listed(facts.current_time)}",
            "compute it from the row's own times, or on demand; to leave out rows that lie ahead, filter with "
            "`{{ feature_warehouse.current_instant() }}`",
        )
    if facts.nondeterministic:
        yield DefinitionError(
            f"{place}: the same data may give it another value: {_listed(facts.nondeterministic)}",
            "say which row is meant, with an `order by` that leaves no ties",
        )
    if facts.session_zone and not _is_utc(session_zone):
        yield DefinitionError(
            f"{place}: its value hangs on the session's time zone, which {_which(session_zone)}: "
            f"{_listed(facts.session_zone)}",
            "name the zone in the SQL, `<time> at time zone 'UTC'`, or set `settings: {TimeZone: UTC}` in the profile; "
            "the syncer reads in UTC",
        )


def _is_utc(session_zone: str | None) -> bool:
    return str(session_zone).upper() in ("UTC", "ETC/UTC")


def _which(session_zone: str | None) -> str:
    return f"is {session_zone}" if session_zone else "the profile leaves to the machine"


def _elsewhere(place: str, node: str, asked: Iterable[str]) -> Iterator[DefinitionError]:
    for what in asked:
        yield DefinitionError(
            f"{place}: `{node}` asks {what} while it is compiled, so that its SQL may be another one elsewhere, and is "
            "judged as it is here",
            "ask a variable of dbt_project.yml, which is the same everywhere; or look at each target yourself "
            '(`syncer check --target`) and say so: `syncer register --accept-unjudged "the reason"`',
        )


def _unknown(place: str, facts: Facts, session_zone: str | None) -> Iterator[DefinitionError]:
    if facts.open_zone and not _is_utc(session_zone):
        yield DefinitionError(
            f"{place}: its value may hang on the session's time zone, which {_which(session_zone)}: "
            f"{_listed(facts.open_zone)}",
            "declare the column's type where it comes from; name the zone of a time without one, `<time> at time zone "
            "'UTC'`, or set `settings: {TimeZone: UTC}` in the profile",
        )
    if facts.unknown:
        yield DefinitionError(
            f"{place}: whether the same data always gives it the same value is not known: {_listed(facts.unknown)}",
            "see that this function is neither random nor reads a clock or a table",
        )


def _listed(found: Iterable[str]) -> str:
    return ", ".join(found)
