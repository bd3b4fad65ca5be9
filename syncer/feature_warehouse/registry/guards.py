"""Guards of a feature: what its values may not do from one sync to the next, as its column declares it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """Each is None where it is not declared; docs/guides/guards.md defines them."""

    max_null_jump: float | None = None  # by how much the share of NULLs may grow: 0 to 1
    range: tuple[int | float, int | float] | None = None  # smallest and largest value, both allowed
    max_changed_share: float | None = None  # of the entities that stay, how many may get another value: 0 to 1
    hold_on_drift: bool = False  # whether a drift verdict of `act` holds the view

    @property
    def compares(self) -> bool:
        """Whether what is online has to be looked at."""
        return self.max_null_jump is not None or self.max_changed_share is not None
