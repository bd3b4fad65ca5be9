"""One thing that decides about a view's rows beside its SQL, and what of such things has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Influence:
    """kind: config, hook, elsewhere (a hook of a node that is not above the view), macro, run, read, place, variable or
    release. of: the node's name, or what reads; "": of the project. value: as JSON; of texts, a digest."""

    kind: str
    of: str
    name: str
    value: str

    @property
    def place(self) -> str:
        """'config sql_header of `stg_orders`'."""
        if self.kind == "config":
            return f"config {self.name} of `{self.of}`"
        if self.kind in ("hook", "elsewhere"):
            return f"the {self.name} of `{self.of}`"
        if self.kind == "macro":
            return f"the macro {self.name}, which " + (f"`{self.of}` runs" if self.of else "stands in for dbt's own")
        if self.kind == "read":
            return f"`{self.name}`, which {self.of} reads"
        if self.kind == "place":
            return f"the place of `{self.of}`"
        return f"{self.name} of the project" if self.kind == "run" else f"the variable {self.name}"


def changed(before: Iterable[Influence], now: Iterable[Influence]) -> list[str]:
    """What is another one now, a phrase each: 'config sql_header of `stg_orders`: none -> "..."'."""
    found = []
    for old, new in _changes(before, now):
        one = new or old
        if one is None:
            continue
        if one.kind in ("config", "place", "variable"):
            found.append(f"{one.place}: {old.value if old else 'none'} -> {new.value if new else 'none'}")
        else:
            found.append(f"{one.place} {'changed' if old and new else 'came' if new else 'is gone'}")
    return found


def changed_nodes(before: Iterable[Influence], now: Iterable[Influence]) -> set[str]:
    """The nodes of which something is another one now; "": of the whole project, or of what is not above the view."""
    found = [one for pair in _changes(before, now) for one in pair if one is not None]
    return {"" if one.kind in ("elsewhere", "run", "read") else one.of for one in found}


def _changes(
    before: Iterable[Influence], now: Iterable[Influence]
) -> Iterator[tuple[Influence | None, Influence | None]]:
    was, is_ = ({(one.kind, one.of, one.name): one for one in side} for side in (before, now))
    for key in sorted(was.keys() | is_.keys()):
        old, new = was.get(key), is_.get(key)
        kind, _, name = key
        if old == new or ((kind, name) == ("config", "contract") and _same_types(old, new)):
            continue
        if kind == "place" and (old is None or new is None):
            continue  # whether a source is read says the SQL
        if kind != "release":  # what dbt's own macros make, no words of ours can judge
            yield old, new


def _same_types(before: Influence | None, now: Influence | None) -> bool:
    """Whether two contracts give the columns that both have the same types. dbt holds the SQL to its contract, so that
    to enforce one, or to end that, changes nothing."""
    if before is None or now is None:
        return True
    was, is_ = json.loads(before.value), json.loads(now.value)
    return all(was[column] == is_[column] for column in was.keys() & is_.keys())


def as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def digest(text: str) -> str:
    """Of a text's words, whatever stands between them."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]
