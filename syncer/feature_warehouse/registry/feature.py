"""The frozen facts: entity, feature, feature view, feature service; durations; when a value is expired or stale.

Facts are made by ``manifest`` (from dbt) or ``registry`` (from the accepted decisions) and validated there; whoever
holds one trusts it. Nothing here reads a file, a clock or a socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

from feature_warehouse.errors import RequestError

#: How often each tier is expected to be refreshed; ``expected_every`` overrides. Static views are judged by their run.
TIERS: dict[str, timedelta | None] = {
    "static": None,
    "daily": timedelta(days=1),
    "hourly": timedelta(hours=1),
    "near_real_time": timedelta(minutes=1),
}

#: Stale beyond this multiple of the expected interval.
STALE_FACTOR = 1.5

#: Names of entities, views, features, services and namespaces. Anything else would need escaping in Redis, in protobuf
#: or in SQL.
NAME = re.compile(r"[a-z][a-z0-9_]*")

_DURATION = re.compile(r"\s*([0-9]+)\s+(second|minute|hour|day|week)s?\s*")
_SHORT_DURATION = re.compile(r"\s*([0-9]+)\s*([smhdw])\s*")
_SHORT_UNITS = {unit[0]: unit for unit in ("second", "minute", "hour", "day", "week")}


@dataclass(frozen=True, slots=True)
class JoinKey:
    """One column of an entity's key; ``type`` is a canonical key type (see ``types``)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Entity:
    """What features describe; ``join_keys`` in the order that the key text follows."""

    name: str
    join_keys: tuple[JoinKey, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """One typed column; ``number`` is its protobuf field (2 or more), None while no service reads it."""

    name: str
    type: str
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """One version of one feature view."""

    name: str
    version: int
    entity: Entity
    features: tuple[Feature, ...]
    event_timestamp: str = "event_at"
    available_at: str | None = None  # None: availability is waived, the event time takes its place
    deleted: str | None = None
    ttl: timedelta | None = None
    tier: str = "daily"
    expected_every: timedelta | None = None
    deprecation_date: date | None = None

    @property
    def id(self) -> str:
        return view_id(self.name, self.version)

    @property
    def highest_number(self) -> int:
        """The highest field number that a message can carry; 1, the event time's, when no feature is numbered."""
        return max((feature.number or 1 for feature in self.features), default=1)

    @property
    def numbered(self) -> tuple[Feature, ...]:
        """The features that are materialised online, by field number."""
        return tuple(sorted((f for f in self.features if f.number is not None), key=lambda f: f.number or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """What one service reads of one view, in one role."""

    view: str  # a view id: carrier_delays.v2
    features: tuple[str, ...]
    keys: dict[str, str] = field(default_factory=dict)  # join key -> name in the request; absent: the same name
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class OnDemandFeature:
    """A SQL expression over request values and features, evaluated at prediction time."""

    name: str
    type: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureService:
    """One version of the bundle of features that one model reads."""

    name: str
    version: int
    views: tuple[ServiceView, ...]
    request: dict[str, str] = field(default_factory=dict)  # name -> canonical type
    on_demand: tuple[OnDemandFeature, ...] = ()
    owner: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


def view_id(name: str, version: int) -> str:
    return f"{name}.v{version}"


def parse_duration(text: str, *, short: bool = False) -> timedelta:
    """'7 days' -> 7 x 24 hours. Units: second, minute, hour, day, week, with or without s. Raises ValueError.

    ``short``: takes '30s', '5m', '1h', '7d' and '2w' as well. That is for what is typed: what is written down, in YAML,
    is read by others, to whom '1m' may be a month; macros/metadata/_seconds.sql keeps the same rule.
    """
    lowered = str(text).lower()
    match = _DURATION.fullmatch(lowered) or (_SHORT_DURATION.fullmatch(lowered) if short else None)
    if not match:
        raise ValueError(f"'{text}' is not a duration")
    unit = _SHORT_UNITS.get(match[2], match[2])
    try:
        return timedelta(**{unit + "s": int(match[1])})
    except OverflowError:
        raise ValueError(f"'{text}' is longer than a duration can be") from None


#: Units of periods, longest first. A month and a year are the longest that there are: whoever looks back so far, and
#: whoever keeps rows so long, means the same by it.
_PERIODS = {
    "year": timedelta(days=366),
    "month": timedelta(days=31),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}

_PERIOD = re.compile(r"\s*([0-9]+)\s+(month|year)s?\s*")


def parse_instant(text: str) -> datetime:
    """'2013-02-01T00:00:00Z' in UTC. Raises RequestError for a text without date, time and zone."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):  # the latter: in UTC it is before the year 1, or after 9999
        pass
    raise RequestError(f"'{text}' names no instant", "write date, time and zone: 2013-02-01T00:00:00Z")


def parse_period(text: str) -> timedelta:
    """A duration, or '3 years', '18 months': of 366 and 31 days. Raises ValueError."""
    match = _PERIOD.fullmatch(str(text).lower())
    if match is None:
        return parse_duration(text)
    try:
        return int(match[1]) * _PERIODS[match[2]]
    except OverflowError:
        raise ValueError(f"'{text}' is longer than a duration can be") from None


def period_text(period: timedelta) -> str:
    """In the longest unit that divides it: '3 years', '90 days', '36 hours'."""
    unit = next((unit for unit, length in _PERIODS.items() if period and not period % length), "second")
    number = period / _PERIODS[unit]
    return f"{number:.15g} {unit}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the rows of a source, seed or model are kept: where training reads them, and where serving does."""

    offline: timedelta | None = None
    online: timedelta | None = None


def is_expired(event_time: datetime, ttl: timedelta | None, now: datetime) -> bool:
    """True when a value is older than its ttl; one exactly as old still counts, as in the point-in-time join."""
    return ttl is not None and now - event_time > ttl


def is_stale(synced_at: datetime, expected_every: timedelta | None, now: datetime) -> bool:
    """True when the last mirror is older than 1.5 expected intervals; never for views without an interval."""
    return expected_every is not None and now - synced_at > stale_age(expected_every)


def stale_age(expected_every: timedelta) -> timedelta:
    """The age of the last mirror beyond which it is stale."""
    return STALE_FACTOR * expected_every
