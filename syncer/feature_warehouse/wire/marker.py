"""The marker: what Redis itself says about the last sync of one feature view version.

The hash ``<namespace>:#markers`` holds one field per view version and the field ``#registry`` with the revision of the
registry document, so that one read tells a reader both whether its view was synced and whether its schema still holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from feature_warehouse.errors import NamespaceError, one_line
from feature_warehouse.registry.feature import NAME
from feature_warehouse.registry.shape import Part, ShapeError, parse
from feature_warehouse.wire.keyspace import split_field

#: The field of the markers hash that holds the revision of the registry document.
REVISION = "#registry"

_TIMES = ("as_of", "newest_available_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why a view version is not what the newest sync would make it. Its last good values stay online, whole."""

    since: datetime
    why: str  # in sentences, without a full stop at the end
    by: str = ""  # who, as user@host
    as_of: datetime | None = None  # a person's: the instant whose values are served; None: of a guard

    def __post_init__(self) -> None:
        for name in ("why", "by"):  # what people and databases say ends up on terminals
            object.__setattr__(self, name, one_line(getattr(self, name)))

    @property
    def ends_by_itself(self) -> bool:
        """With the next good sync; what a person has rolled back, a person releases."""
        return self.as_of is None

    def __str__(self) -> str:
        """Since when and why, and who did it where a person did: 'held since 2013-01-31T23:00:09Z: it is empty'."""
        since = f"since {_utc(self.since)}"
        if self.as_of is None:
            return f"held {since}: {self.why}"
        return f"rolled back to {_utc(self.as_of)} by {self.by}, {since}: {self.why}"


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """``open`` while a run writes (the other facts are then those of the last complete run), ``done`` after it."""

    entity: str  # whose keys hold the field, also when the registry has forgotten the view
    state: Literal["open", "done"] = "open"
    token: str = ""  # of the run that wrote this marker
    as_of: datetime | None = None  # the instant whose latest values Redis holds; None: no run was ever complete
    clock: Literal["real", "fixed"] = "real"  # fixed: as_of was given, and stands for "now" when reading
    newest_available_at: datetime | None = None  # of the history, not later than as_of
    rows: int = 0
    key_bytes: int = 0  # of the keys of all rows
    message_bytes: int = 0  # of their messages
    complete_through: int = 0  # the highest field number that every row carries
    published_at: datetime | None = None  # when that run ended, by its clock; None: written by an older version
    rolled_back: bool = False  # what is online was put there by a rollback
    held: Hold | None = None

    @property
    def kept(self) -> Hold | None:
        """The hold that only a release ends."""
        return self.held if self.held and not self.held.ends_by_itself else None

    @property
    def sign(self) -> bytes:
        """What it leaves in each part of a Cluster: b'done:95fabe77755873d5'."""
        return f"{self.state}:{self.token}".encode()

    def to_bytes(self) -> bytes:
        """JSON; instants in ISO 8601 with their offset."""
        return json.dumps(asdict(self), sort_keys=True, default=datetime.isoformat).encode()


def read_marker(field: str, text: bytes | None, key: str = "#markers") -> Marker | None:
    """The marker in ``field`` of the hash ``key``; None when there is none. Raises NamespaceError for another text.

    What a later version of ours has added is skipped.
    """
    if text is None:
        return None
    try:
        split_field(field)
        return _marker(parse(text))
    except ShapeError as error:
        raise NamespaceError(
            f"the marker '{field}' in '{key}' cannot be read: {error}",
            f"where a later feature-warehouse wrote it, upgrade this one; else remove it with `redis-cli HDEL {key} "
            f"{field}`, then run `syncer sync`",
        ) from error


def _marker(facts: Part) -> Marker:
    """Raises ShapeError. What the first version did not write yet may be missing."""
    usual = Marker(entity=facts["entity"].text(NAME))
    return replace(
        usual,
        **{
            name: read(found)
            for name, read in _READ.items()
            if (found := facts[name] if name in _TIMES else facts.get(name)) is not None
        },
    )


def _instant(part: Part) -> datetime | None:
    return None if part.is_null else part.instant()


def _count(part: Part) -> int:
    return part.integer(0, (1 << 63) - 1)


def _hold(part: Part) -> Hold | None:
    if part.is_null:
        return None
    return Hold(
        since=part["since"].instant(), why=part["why"].text(), by=part["by"].text(), as_of=_instant(part["as_of"])
    )


_READ: dict[str, Callable[[Part], Any]] = {
    "state": lambda part: part.one_of("open", "done"),
    "token": Part.text,
    "as_of": _instant,
    "clock": lambda part: part.one_of("real", "fixed"),
    "newest_available_at": _instant,
    "rows": _count,
    "key_bytes": _count,
    "message_bytes": _count,
    "complete_through": _count,
    "published_at": _instant,
    "rolled_back": Part.boolean,
    "held": _hold,
}
