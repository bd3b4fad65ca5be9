"""What a run would do: the difference of each view version from what is online, and whether it may be published.

Here alone is decided what is held.

What is online is remembered from the last run, where that counts, or read back from Redis. Writes nothing to Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feature_warehouse.errors import DataError, SyncerError
from feature_warehouse.mirror.difference import Comparison, Difference, empty_spool
from feature_warehouse.mirror.feature_guards import Verdict, judge_features
from feature_warehouse.mirror.guards import shrinks
from feature_warehouse.mirror.namespace import fingerprint, is_witnessed, read_back
from feature_warehouse.mirror.state import StateFolder
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.mirror.wishes import Wish
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
    wish: Wish | None  # None: the view is retired
    server: str | None  # the state of Redis when it was asked what is online
    online: Spool
    difference: Difference
    read_back: str | None
    reasons: tuple[SyncerError, ...] = ()  # why it is held; (): it is published
    mends: bool = False  # though it is held: it was left half written, and ``wish`` is what lay there before
    verdicts: tuple[Verdict, ...] = ()  # of the guards of its features

    @property
    def latest(self) -> Latest | None:
        return self.wish.latest if self.wish else None

    @property
    def why(self) -> str:
        """The reasons in one text."""
        return "; ".join(reason.message for reason in self.reasons)

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
    revision: Callable[[], str | None] = lambda: None  # of the project whose models were read

    def plan(self, wanted: Mapping[str, tuple[Wish | None, Marker | None]]) -> list[Planned]:
        """The difference of each field, from its marker, and whether it is held.

        Raises StoppedError once ``stopped`` says so while Redis is read back.
        """
        return [self._plan(field, wish, marker) for field, (wish, marker) in wanted.items()]

    def _plan(self, field: str, wish: Wish | None, marker: Marker | None) -> Planned:
        planned = self._publication(field, wish, marker)
        if not planned.reasons or wish is None or marker is None or marker.kept:
            return planned
        if marker.state == "done" or marker.as_of is None:
            return planned
        # A run died in the middle of it. Readers would have rows of two syncs side by side for as long as it is held.
        if wish.whole:
            mending = self._publication(field, wish.whole, marker)
            return replace(mending, reasons=planned.reasons, verdicts=planned.verdicts, mends=True)
        half = DataError(
            f"{planned.view} was left half written by a run that died: some of its rows are newer than others",
            f"the next sync that may publish it ends that; until then `syncer rollback {planned.view} "
            f"--as-of {marker.as_of:%Y-%m-%dT%H:%M:%SZ}` serves what the last whole one did",
        )
        return replace(planned, reasons=(*planned.reasons, half))

    def _publication(self, field: str, wish: Wish | None, marker: Marker | None) -> Planned:
        entity = wish.view.entity.name if wish else marker.entity if marker else ""
        view, nothing = view_id(*split_field(field)), empty_spool(self.folder / f"{field}.gone")
        reason = _refused(view, wish, marker)
        if reason:
            return Planned(
                view=view,
                field=field,
                entity=entity,
                before=marker,
                wish=wish,
                server=None,
                online=nothing,
                difference=Difference(writes=nothing, removals=nothing, added=0),
                read_back=None,
                reasons=self._at_commit([reason]),
            )
        server = fingerprint(self.store)
        online, read_back = self._online(field, entity, marker, server)
        spool = wish.latest.spool if wish and wish.latest else nothing
        difference = self.comparison.difference(spool, online)
        reasons: list[SyncerError] = []
        verdicts: list[Verdict] = []
        if spool.rows:  # an empty view is retired, or --allow-empty says so
            shrunk = shrinks(view, difference.removals.rows, online.rows, self.terms)
            reasons += [shrunk] if shrunk else []
        if spool.rows and wish and wish.latest:
            verdicts = judge_features(
                wish.view, wish.guards, wish.latest.extents, spool, online, difference, marker, self.comparison
            )
            if not self.terms.allow_guarded:
                reasons += [each.refusal(view) for each in verdicts if each.holds]
        return Planned(
            view=view,
            field=field,
            entity=entity,
            before=marker,
            wish=wish,
            server=server,
            online=online,
            difference=difference,
            read_back=read_back,
            reasons=self._at_commit(reasons),
            verdicts=tuple(verdicts),
        )

    def _at_commit(self, reasons: Sequence[SyncerError]) -> tuple[SyncerError, ...]:
        """The same, with what the models were when it was so."""
        commit = self.revision() if reasons else None
        if commit is None:
            return tuple(reasons)
        return tuple(type(each)(f"{each.message} (models at commit {commit})", each.hint) for each in reasons)

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


def _refused(view: str, wish: Wish | None, marker: Marker | None) -> SyncerError | None:
    """Why a view is held whatever is online; None: that decides."""
    if wish is None and marker and marker.kept:
        return DataError(
            f"{view} is retired, and was rolled back: {marker.kept.why}", f"`syncer release {view}` lets it go"
        )
    return wish.refused if wish else None
