"""Freshness: how old a feature view's data and its mirror are, and whether that is too old; no I/O.

Two ages, for they fail apart from one another:

1. of the data: since its newest fact became available. A rolling window writes rows ahead in event time, so event times
   say nothing here. Measured in the warehouse and, as of the last sync, online.
2. of the sync: since the instant whose latest values Redis holds.

Each is stale beyond 1.5 times what the view's tier, or its ``expected_every``, says. The data of a static view does not
age: its last dbt run takes the place. A source that is quiet and a feed that broke look alike from here, so where dbt
has built a view lately and its newest fact is old all the same, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from feature_warehouse.project.run_results import ModelRun
from feature_warehouse.registry.feature import STALE_FACTOR, FeatureView, is_stale
from feature_warehouse.wire.marker import Hold, Marker

State = Literal["fresh", "held", "stale", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """The warehouse's half: its newest fact that is not later than now (None: it has none)."""

    newest_available_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """The half of Redis: what the last sync left there (None: nothing was ever synced)."""

    marker: Marker | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """One feature view version at one instant. An age is None where nothing is known to measure it from."""

    view: FeatureView
    served: bool  # a service reads it, so it should be online
    built: ModelRun | None  # in dbt's last run
    built_age: timedelta | None
    offline: Offline | None  # None: unknown
    offline_age: timedelta | None  # of the data
    online: Online | None  # None: unknown, or the view is not served
    online_age: timedelta | None  # of the data, as of the last sync
    sync_age: timedelta | None
    reasons: tuple[str, ...]  # why it is stale, a sentence each
    unknown: tuple[str, ...]  # what could not be judged, a sentence each
    quiet: bool  # stale data, though dbt has built the view within its time

    @property
    def held(self) -> Hold | None:
        """Why it is not what the newest sync would make it."""
        return self.online.marker.held if self.online and self.online.marker else None

    @property
    def state(self) -> State:
        if self.held:
            return "held"
        return "stale" if self.reasons else "unknown" if self.unknown else "fresh"


def judge(
    view: FeatureView,
    *,
    served: bool,
    built: ModelRun | None,
    offline: Offline | None,
    online: Online | None,
    as_of: datetime,
    real_now: datetime,
) -> Freshness:
    """``offline`` and ``online``: None where that half could not be looked at. ``real_now``: what dbt's runs are
    measured by; other than ``as_of`` where the project's clock stands.
    """
    every, newest = view.expected_every, offline.newest_available_at if offline else None
    expected = f"expected every {age_text(every)}" if every is not None else "static"
    built_age = None if built is None else real_now - built.ended_at
    marker = online.marker if online and served else None
    synced_at, mirrored = (marker.as_of, marker.newest_available_at) if marker else (None, None)
    reasons: list[str] = []
    unknown: list[str] = []

    quiet = False
    if offline is None:
        unknown.append("its history cannot be read")
        if view.tier != "static" and mirrored is not None and is_stale(mirrored, every, as_of):
            reasons.append(f"the newest fact online is {age_text(as_of - mirrored)} old ({expected})")
    elif newest is None:
        reasons.append("the warehouse has no fact of it that is available")
    elif view.tier == "static":
        if built and not built.succeeded:
            reasons.append("its last dbt run failed")
        elif built and is_stale(built.ended_at, every, real_now):
            reasons.append(f"last built {age_text(real_now - built.ended_at)} ago ({expected})")
    elif is_stale(newest, every, as_of):
        quiet = built is not None and built.succeeded and not is_stale(built.ended_at, every, real_now)
        suspect = _suspect(built, built_age, quiet)
        reasons.append(f"the newest fact is {age_text(as_of - newest)} old ({expected}): {suspect}")

    if served and online is None:
        unknown.append("Redis cannot be asked what is online")
    elif served and synced_at is None:
        reasons.append("never completely synced")
    elif synced_at is not None and is_stale(synced_at, every, as_of):
        reasons.append(
            f"last synced {age_text(as_of - synced_at)} ago ({expected}): see whether its scheduler still runs"
        )

    return Freshness(
        view=view,
        served=served,
        built=built,
        built_age=built_age,
        offline=offline,
        offline_age=as_of - newest if newest else None,
        online=online if served else None,
        online_age=as_of - mirrored if mirrored else None,
        sync_age=as_of - synced_at if synced_at else None,
        reasons=tuple(reasons),
        unknown=tuple(unknown),
        quiet=quiet,
    )


def _suspect(built: ModelRun | None, age: timedelta | None, quiet: bool) -> str:
    """Who may be behind data that is too old."""
    if built is None or age is None:
        return "dbt's last command did not build it"
    if not built.succeeded:
        return f"its dbt run failed {age_text(age)} ago"
    if quiet:
        return f"dbt built it {age_text(age)} ago, so its source is quiet, or broken"
    return f"dbt built it {age_text(age)} ago"


def limit(view: FeatureView) -> timedelta | None:
    """The age beyond which the view is stale; None: never."""
    return None if view.expected_every is None else STALE_FACTOR * view.expected_every


def age_text(age: timedelta) -> str:
    """Two units at most: '45 s', '12 min', '3 h', '2 d 3 h'; '0 s' for what lies ahead."""
    seconds = max(0, int(age.total_seconds()))
    units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")]
    parts: list[tuple[int, str]] = []
    for size, name in units:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count) or "0 s"
