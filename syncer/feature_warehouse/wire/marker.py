"""The marker: what Redis itself says about the last sync of one feature view version.

The hash ``<namespace>:#markers`` holds one field per view version and the field ``#registry`` with the revision of the
registry document, so that one read tells a reader both whether its view was synced and whether its schema still holds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Literal

from feature_warehouse.errors import NamespaceError

#: The field of the markers hash that holds the revision of the registry document.
REVISION = "#registry"

_TIMES = ("as_of", "newest_available_at")


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

    @property
    def sign(self) -> bytes:
        """What it leaves in each part of a Cluster: b'done:95fabe77755873d5'."""
        return f"{self.state}:{self.token}".encode()

    def to_bytes(self) -> bytes:
        """JSON; instants in ISO 8601 with their offset."""
        return json.dumps(asdict(self), sort_keys=True, default=datetime.isoformat).encode()


_NAMES = [field.name for field in fields(Marker)]


def read_marker(field: str, text: bytes | None) -> Marker | None:
    """The marker in ``field`` of ``#markers``; None when there is none. Raises NamespaceError for another text.

    What a later version of ours has added is skipped.
    """
    if text is None:
        return None
    try:
        facts = json.loads(text)
        known = {name: facts[name] for name in _NAMES if name in facts}
        times = {name: known[name] and datetime.fromisoformat(known[name]) for name in _TIMES}
        return Marker(**{**known, **times})
    except (ValueError, TypeError, KeyError) as error:
        raise NamespaceError(
            f"the marker '{field}' in Redis cannot be read: {type(error).__name__}: {error}",
            f"remove it with `redis-cli HDEL <namespace>:#markers {field}`, then run `syncer sync`",
        ) from error
