"""The audit trail: who did what to a namespace, one entry of a Redis stream for each deed.

    <namespace>:#trail:syncs      what runs did, many a day
    <namespace>:#trail:changes    what people decided: registrations, holds, releases, rollbacks, drops

Two streams, because each is bounded: syncs by the minute must not push out last month's rollback. Knows the form of an
entry (docs/wire-format.md, "Audit trail"); who wrote it is whoever reached Redis, so all of it is checked when read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_warehouse.errors import one_line
from feature_warehouse.registry.feature import NAME
from feature_warehouse.registry.shape import Part, ShapeError, parse

#: About how many entries each stream keeps, and for how many days after the last one.
KEPT_ENTRIES = {"syncs": 2_000, "changes": 10_000}
KEPT_DAYS = 400

#: Of a text that somebody wrote, and of an entry.
LONGEST_TEXT, LONGEST_ENTRY = 500, 1 << 20

_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """One feature view version, and what a deed did to its entities; None where it counts none."""

    view: str  # its id
    rows: int | None = None
    written: int | None = None
    removed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One deed. ``user`` and ``host``: as the machine calls them; ``revision``: of the project in git."""

    at: datetime
    kind: str  # sync, registration, hold, release, rollback, drop; a later version may know more
    user: str | None = None
    host: str | None = None
    revision: str | None = None
    as_of: datetime | None = None  # the instant that was served
    seconds: float | None = None
    tokens: tuple[str, ...] = ()  # of the markers that a run left
    views: tuple[Touched, ...] = ()  # that are others now
    what: tuple[str, ...] = ()  # in words
    why: str | None = None
    error: str | None = None  # None: it was done

    def to_json(self) -> dict[str, Any]:
        """JSON values; what is not there is left out."""
        found = {
            "at": self.at.isoformat(),
            "kind": self.kind,
            "as_of": self.as_of and self.as_of.isoformat(),
            "views": [
                {name: value for name in Touched.__slots__ if (value := getattr(each, name)) is not None}
                for each in self.views
            ],
            "tokens": list(self.tokens),
            "what": list(self.what),
            **{name: getattr(self, name) for name in ("user", "host", "revision", "seconds", "why", "error")},
        }
        return {name: value for name, value in found.items() if value not in (None, [])}

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def stream_of(kind: str) -> str:
    """Which of the two streams has the deeds of a kind."""
    return "syncs" if kind == "sync" else "changes"


def plain(text: str | None) -> str | None:
    """``text`` on one line, with nothing in it that a terminal or UTF-8 would stumble over; not too long."""
    if text is None:
        return None
    line = one_line(text)
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def read_entry(entry: bytes) -> Entry:
    """The deed that an entry tells of; members that are not known are skipped. Raises ShapeError."""
    if len(entry) > LONGEST_ENTRY:
        raise ShapeError(f"it has {len(entry):,} bytes, and {LONGEST_ENTRY:,} are the most")
    facts = parse(entry)
    texts = {name: _optional(facts, name, _line) for name in ("user", "host", "revision", "why", "error")}
    return Entry(
        at=facts["at"].instant(),
        kind=facts["kind"].text(NAME),
        as_of=_optional(facts, "as_of", Part.instant),
        seconds=_optional(facts, "seconds", _seconds),
        tokens=tuple(_line(each) for each in _items(facts, "tokens")),
        views=tuple(_touched(each) for each in _items(facts, "views")),
        what=tuple(_line(each) for each in _items(facts, "what")),
        **texts,
    )


def _touched(part: Part) -> Touched:
    counts = {name: _optional(part, name, _count) for name in ("rows", "written", "removed")}
    return Touched(view=_line(part["view"]), **counts)


def _items(facts: Part, name: str) -> list[Part]:
    found = facts.get(name)
    return [] if found is None else list(found.items())


def _optional(facts: Part, name: str, read: Any) -> Any:
    found = facts.get(name)
    return None if found is None or found.is_null else read(found)


def _line(part: Part) -> str:
    text = part.text()
    if not text.isprintable() or len(text) > 2 * LONGEST_TEXT:
        raise ShapeError(f"{part.place} is {text!a:.60}, which is no line of at most {2 * LONGEST_TEXT} characters")
    return text


def _count(part: Part) -> int:
    return part.integer(0, _MOST)


def _seconds(part: Part) -> float:
    value = part.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise ShapeError(f"{part.place} is {value!r:.60}, not a number of seconds from 0 to 1e9")
    return float(value)
