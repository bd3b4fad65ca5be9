"""How the relations of a warehouse were built: by which SQL, one after the other, as dbt's hooks wrote it down.

A run of an incremental model or a snapshot keeps the rows of earlier runs, so what stands there may be of several
definitions. Knows the table that ``macros/history/_record_builds.sql`` writes, and the accepted definitions of before a
change; says of which texts the rows may be. Judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feature_warehouse.project.definition import SNAPSHOT, naming
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.standing import NOW, Made, Moment

#: Where dbt's hooks write, in the schema of the target.
TABLE = "feature_warehouse_builds"

COLUMNS = ("number", "built_at", "node", "how", "later", "strategy", "text", "sql")

#: What an incremental model's or snapshot's config says about the rows that stand there (`_keeping_settings`).
_KEEPING = (
    "check_cols",
    "dbt_valid_to_current",
    "hard_deletes",
    "incremental_predicates",
    "incremental_strategy",
    "invalidate_hard_deletes",
    "merge_exclude_columns",
    "merge_update_columns",
    "strategy",
    "unique_key",
    "updated_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One row of the table; ``node`` by its name in definitions, ``sql`` with such names, "" where it is not known.

    how: 'whole' when all rows are of this SQL, 'part' when older ones may stand beside; 'begun' of a run that did not
    end. later: it is the SQL of a later run. text: a digest of the model as it is written.
    """

    number: int
    built_at: datetime
    node: str
    how: str
    later: bool
    strategy: str
    text: str
    sql: str


def keeps_rows(node: Node) -> bool:
    """Whether a run of it leaves rows of earlier runs."""
    return node.incremental is not None or node.opaque == SNAPSHOT


class Recorded:
    """What the warehouse says."""

    def __init__(self, builds: Iterable[Build], accepted: Mapping[str, Node], manifest: Mapping[str, Any]) -> None:
        self._builds: dict[str, list[Build]] = {}
        for build in sorted(builds, key=lambda one: one.number):
            self._builds.setdefault(build.node, []).append(build)
        self._accepted = accepted
        names, _ = naming(manifest)
        nodes = manifest["nodes"]
        self._configs = {name: nodes[id_]["config"] for id_, name in names.items() if id_ in nodes}

    def whole_since(self, name: str, instant: datetime) -> bool:
        """Whether all rows of a relation were made after an instant."""
        return any(one.how == "whole" and one.built_at > instant for one in self._builds.get(name, ()))

    def made(self, name: str, at: Moment) -> Sequence[Made] | None:
        node = self._accepted[name]
        builds = [one for one in self._builds.get(name, ()) if one.number <= at]
        whole = max((place for place, one in enumerate(builds) if one.how == "whole"), default=None)
        found = [made for one in builds[whole or 0 :] for made in self._of(one, at)]
        if whole is None and keeps_rows(node):
            # of a time before there was a record, and maybe as accepted
            found += [Made(None, False, True, at), Made(node.sql, False, True, at)]
        return list(dict.fromkeys(found)) or None

    def _of(self, build: Build, at: Moment) -> Iterable[Made]:
        config = self._configs.get(build.node, {})
        moment = at if config.get("materialized") == "view" else build.number
        if not build.how.startswith("begun"):
            return [Made(build.sql or None, build.later, self._alike(build, config), moment)]
        # The run died. Where the model was written as in another run, it was the same SQL.
        same = [one for one in self._builds[build.node] if one.text == build.text and not one.how.startswith("begun")]
        return [Made(one.sql or None, one.later, self._alike(one, config), moment) for one in same] or [
            Made(None, False, True, moment)
        ]

    def _alike(self, build: Build, config: Mapping[str, Any]) -> bool:
        """Whether rows would be kept today as they were then; a first run of a model keeps none."""
        if not build.later and config.get("materialized") != "snapshot":
            return True
        now = {key: str(config[key]) for key in _KEEPING if config.get(key) not in (None, [], {})}
        return bool(json.loads(build.strategy) == now)


class Before:
    """What would stand there if all had been built before a change: by what was accepted then (``was``)."""

    def __init__(self, was: Mapping[str, Node], now: Mapping[str, Node]) -> None:
        self._was, self._now = was, now

    def made(self, name: str, at: Moment) -> Sequence[Made] | None:
        was, now = self._was.get(name), self._now.get(name)
        if was is None or was.sql is None or (at == NOW and not (now and keeps_rows(now))):
            return None  # built anew, or for the first time
        found = [Made(was.sql, False, True, 0)]
        if was.incremental is not None:
            alike = now is not None and (was.strategy, was.unique_key) == (now.strategy, now.unique_key)
            found.append(Made(was.incremental, True, alike, 0))
        return found


def read_builds(rows: Iterable[Sequence[Any]], manifest: Mapping[str, Any]) -> list[Build]:
    """The rows of the table, in the order of ``COLUMNS``, of nodes that the project still has."""
    names, named = naming(manifest)
    return [_build(row, names, named) for row in rows if row[COLUMNS.index("node")] in names]


def _build(row: Sequence[Any], names: Mapping[str, str], named: Callable[[str], str]) -> Build:
    number, built_at, node, how, later, strategy, text, sql = row
    return Build(
        number=int(number),
        built_at=datetime.fromisoformat(built_at),
        node=names[node],
        how=how,
        later=bool(later),
        strategy=strategy or "{}",
        text=text,
        sql=named(sql.strip()) if sql else "",
    )
