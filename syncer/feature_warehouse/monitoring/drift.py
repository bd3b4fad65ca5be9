"""Drift: what the newest period of each drift profile says of its features, and whom that concerns.

Reads the tables that the macro drift_profile makes (docs/reference/drift.md) and computes nothing of its own, so that
dbt's test, the command and a report say the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from feature_warehouse.errors import RequestError
from feature_warehouse.monitoring.scope import Scope
from feature_warehouse.project.catalog import read_consumers
from feature_warehouse.project.manifest import in_order
from feature_warehouse.project.running import select_models
from feature_warehouse.registry.feature import STALE_FACTOR
from feature_warehouse.warehouse.duckdb import DuckDB

PERIODS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: The newest period of a profile, a row per feature; instants as numbers: Arrow needs no time zone for them.
_NEWEST = """
select
    source, source_type, feature, period, epoch_us(period_start) as period_start, epoch_us(period_end) as period_end,
    row_count, reference_rows, null_share, psi, psi_noise, look, act, verdict
from {relation}
qualify period_start = max(period_start) over ()
order by feature
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A dbt model of drift_profile."""

    name: str
    unique_id: str
    relation: str
    reads: frozenset[str]  # unique ids of the models that it is made from


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Who reads a feature: a service, the ML model behind it (its exposure), and whose that is."""

    service: str  # departure_delay@2
    model: str
    owner: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """One feature in the newest period of one profile. ``verdict``: stable, look or act; None: too few rows to say."""

    profile: str
    source: str
    source_type: str  # feature_view, service or model
    feature: str
    period: str
    period_start: datetime
    period_end: datetime
    row_count: int
    reference_rows: int
    null_share: float
    psi: float | None
    psi_noise: float | None
    look: float
    act: float
    verdict: str | None
    consumers: tuple[Consumer, ...]

    @property
    def id(self) -> str:
        return f"{self.source}.{self.feature}"

    def is_stale(self, as_of: datetime) -> bool:
        """True when more than 1.5 periods have gone by since this one: the profile is not made any more, or finds no
        rows."""
        return as_of - self.period_end > STALE_FACTOR * PERIODS[self.period]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the drift profiles of a project say as of an instant. stale, empty: profiles, by name."""

    as_of: datetime
    features: tuple[FeatureDrift, ...]
    stale: tuple[str, ...]
    empty: tuple[str, ...]  # without a period

    @property
    def calm(self) -> bool:
        """Nothing is to be acted on, and every profile is made."""
        return not (self.stale or self.empty or any(each.verdict == "act" for each in self.features))


def drift(scope: Scope, selection: Sequence[str] = ()) -> Drift:
    """The newest period of the project's drift profiles; ``selection``: of these profiles, or of those that read these
    models, in dbt's syntax.

    Raises RequestError when there is no such profile, and WarehouseError.
    """
    profiles = _selected(scope, find_profiles(scope.manifest), selection)
    with scope.open_duckdb("drift") as warehouse:
        features = read_drift(profiles, find_consumers(scope.manifest), warehouse)
    return Drift(
        as_of=scope.as_of,
        features=features,
        stale=tuple(sorted({each.profile for each in features if each.is_stale(scope.as_of)})),
        empty=tuple(sorted({profile.name for profile in profiles} - {each.profile for each in features})),
    )


def _selected(scope: Scope, profiles: tuple[Profile, ...], selection: Sequence[str]) -> tuple[Profile, ...]:
    if not profiles:
        raise RequestError(
            "the project has no drift profile",
            "make one: a model of feature_warehouse.drift_profile (docs/guides/drift.md)",
        )
    if not selection:
        return profiles
    models = select_models(scope.project, selection)
    chosen = tuple(each for each in profiles if each.unique_id in models or each.reads & models)
    if not chosen:
        names = ", ".join(each.name for each in profiles)
        raise RequestError(f"--select {' '.join(selection)} selects no drift profile", f"there are {names}")
    return chosen


def find_profiles(manifest: Mapping[str, Any]) -> tuple[Profile, ...]:
    """The drift profiles of a project, by file and name."""
    return tuple(
        Profile(
            name=node["name"],
            unique_id=node["unique_id"],
            relation=node["relation_name"],
            reads=frozenset(node["depends_on"]["nodes"]),
        )
        for node in in_order(manifest["nodes"].values())
        if node["resource_type"] == "model" and node["config"].get("meta", {}).get("drift") == "profile"
    )


def find_consumers(manifest: Mapping[str, Any]) -> dict[tuple[str, str, str], tuple[Consumer, ...]]:
    """(source type, source, feature) of a profile -> who reads that feature."""
    found: defaultdict[tuple[str, str, str], list[Consumer]] = defaultdict(list)
    readers = read_consumers(manifest)
    for exposure in in_order(manifest["exposures"].values()):
        declared = exposure["config"].get("meta", {}).get("feature_service")
        if not declared:
            continue
        service = f"{declared['name']}@{declared['version']}"
        reader = readers[service]
        consumer = Consumer(service=service, model=reader.name, owner=reader.owner, email=reader.email)
        own = f"{declared['name']}.v{declared['version']}"
        names = [feature["name"] for feature in declared.get("on_demand") or []]
        for read in declared["features"]:
            for feature in read["features"]:
                names.append((read.get("prefix") or "") + feature)
                if consumer not in found["feature_view", read["view"], feature]:
                    found["feature_view", read["view"], feature].append(consumer)
        for name in names:
            found["service", own, name].append(consumer)
    return {key: tuple(consumers) for key, consumers in found.items()}


def read_drift(
    profiles: Iterable[Profile],
    consumers: Mapping[tuple[str, str, str], tuple[Consumer, ...]],
    warehouse: DuckDB,
) -> tuple[FeatureDrift, ...]:
    """Every feature in the newest period of each profile, in their order. Raises WarehouseError."""
    return tuple(
        FeatureDrift(
            profile=profile.name,
            period_start=_EPOCH + timedelta(microseconds=row.pop("period_start")),
            period_end=_EPOCH + timedelta(microseconds=row.pop("period_end")),
            consumers=consumers.get((row["source_type"], row["source"], row["feature"]), ()),
            **row,
        )
        for profile in profiles
        for row in warehouse.query(_NEWEST.format(relation=profile.relation), f"the drift profile {profile.name}")
        .read_all()
        .to_pylist()
    )
