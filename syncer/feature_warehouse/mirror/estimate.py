"""What a planned run would take: changes, bytes, seconds and memory, view by view; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from feature_warehouse.mirror.namespace import COMPACT_BYTES, SPREAD_BYTES
from feature_warehouse.mirror.planning import Planned
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.wire.cost import Size

#: Rows and bytes a second that a Redis takes on one core or less.
_ROWS_PER_SECOND, _BYTES_PER_SECOND = 300_000, 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One view version. bytes: that would be sent; seconds: of sending; memory: bytes that Redis would take more."""

    view: str
    retired: bool
    rows: int
    new: int
    changed: int
    removed: int
    bytes: int
    seconds: float
    memory: int
    read_back: str | None
    rolled_back: bool = False  # so it is about the instant of the rollback
    held: tuple[str, ...] = ()  # why nothing of this would be done
    guards: tuple[str, ...] = ()  # what each guard of its features sees

    @property
    def changes(self) -> int:
        return 0 if self.held else self.new + self.changed + self.removed


def estimate(planned: Planned, terms: Terms, compact_limit: int | None) -> Estimate:
    """``compact_limit``: bytes up to which Redis keeps a message compact; None: it does not say."""
    todo = planned.difference
    changes = todo.writes.rows + todo.removals.rows
    rate = min(_ROWS_PER_SECOND, terms.max_rows_per_second or _ROWS_PER_SECOND)
    each = todo.writes.bytes / max(1, todo.writes.rows) + COMPACT_BYTES
    if compact_limit is not None and todo.writes.longest > compact_limit:
        each += SPREAD_BYTES - COMPACT_BYTES
    gone = planned.online.bytes / max(1, planned.online.rows) + COMPACT_BYTES
    return Estimate(
        view=planned.view,
        retired=planned.wish is None,
        rows=planned.rows,
        new=todo.added,
        changed=todo.changed,
        removed=todo.removals.rows,
        bytes=todo.writes.bytes,
        seconds=round(max(changes / rate, todo.writes.bytes / _BYTES_PER_SECOND), 3),
        memory=round(todo.added * each - todo.removals.rows * gone),
        read_back=planned.read_back,
        rolled_back=planned.wish is not None and planned.wish.kept is not None,
        held=tuple(reason.message for reason in planned.reasons),
        guards=tuple(map(str, planned.verdicts)),
    )


def planned_sizes(found: Iterable[Planned]) -> dict[str, Size]:
    """What will be online of each view, by id."""
    spools = ((each.view, each.latest.spool) for each in found if each.latest)
    return {
        view: Size(rows=spool.rows, key_bytes=spool.key_bytes, message_bytes=spool.bytes - spool.key_bytes)
        for view, spool in spools
    }
