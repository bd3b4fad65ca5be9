"""What a run would do: the difference of each view version from what is online, and the guards that look at it.

What is online is remembered from the last run, where that counts, or read back from Redis. Writes nothing to Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from feature_warehouse.mirror.difference import Comparison, Difference, empty_spool
from feature_warehouse.mirror.guards import check_shrink
from feature_warehouse.mirror.namespace import fingerprint, is_witnessed, read_back
from feature_warehouse.mirror.state import StateFolder
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.registry.feature import view_id
from feature_warehouse.store.store import Store
from feature_warehouse.warehouse.latest import Latest
from feature_warehouse.warehouse.spool import Spool
from feature_warehouse.wire.keyspace import split_field
from feature_warehouse.wire.marker import Marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a run would do to one view version, and what it has to know for it."""

    view: str  # its id
    field: str
    entity: str
    before: Marker | None
    latest: Latest | None  # None: the view is retired
    server: str | None  # the state of Redis when it was asked what is online
    online: Spool
    difference: Difference
    read_back: str | None

    @property
    def rows(self) -> int:
        return self.latest.spool.rows if self.latest else 0

    @property
    def longest(self) -> int:
        """The longest message, in bytes."""
        return self.latest.spool.longest if self.latest else 0


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans for one namespace."""

    store: Store
    namespace: str
    terms: Terms
    folder: Path  # for spools
    comparison: Comparison
    states: StateFolder | None
    stopped: Callable[[], bool] = lambda: False

    def plan(self, wanted: Mapping[str, tuple[Latest | None, Marker | None]]) -> list[Planned]:
        """The difference of each field, from its marker. Raises DataError when a guard refuses one of them.

        Raises StoppedError once ``stopped`` says so while Redis is read back.
        """
        found = []
        for field, (latest, marker) in wanted.items():
            entity = latest.view.entity.name if latest else marker.entity if marker else ""
            server = fingerprint(self.store)
            online, reason = self._online(field, entity, marker, server)
            spool = latest.spool if latest else empty_spool(self.folder / f"{field}.gone")
            found.append(
                Planned(
                    view=view_id(*split_field(field)),
                    field=field,
                    entity=entity,
                    latest=latest,
                    before=marker,
                    server=server,
                    online=online,
                    difference=self.comparison.difference(spool, online),
                    read_back=reason,
                )
            )
        for each in found:
            if each.rows:  # an empty view is retired, or --allow-empty says so
                check_shrink(each.view, each.difference.removals.rows, each.online.rows, self.terms)
        return found

    def _online(self, field: str, entity: str, marker: Marker | None, server: str | None) -> tuple[Spool, str | None]:
        """What is online of a field; and why Redis had to be asked, None when it is remembered."""
        reason = "nothing is remembered here"
        if self.terms.full:
            reason = "asked for"
        elif marker is None:
            reason = "it has no marker"
        elif server is None:
            reason = "Redis does not say whether it has evicted keys (INFO)"
        elif not is_witnessed(self.store, self.namespace, field, marker):
            reason = "a part of the Cluster was lost or restored since, or the last run did not end"
        elif self.states:
            remembered = self.states.load(view_id(*split_field(field)), marker.token, server, self.folder)
            if isinstance(remembered, Spool):
                return remembered, None
            reason = remembered
        path = self.folder / f"{field}.online"
        return read_back(self.store, self.namespace, entity, field, path, self.stopped), reason
