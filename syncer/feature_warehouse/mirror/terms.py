"""The terms of a run: what it may do, and how fast. Each holds for that run alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    full: bool = False  # read Redis back, whatever is remembered
    allow_empty: bool = False
    allow_shrink: float = 0.5  # the largest share of a view's entities that may vanish at once
    allow_failed: bool = False  # take views of which dbt's last run failed a model or a test
    allow_guarded: bool = False  # take values that a guard of their feature refuses
    allow_eviction: bool = False
    allow_unbuilt: bool = False  # serve new features over rows from before them
    allow_older: bool = False  # take a real clock that is behind the one of the last sync
    max_rows_per_second: int | None = None
    wait_replicas: int = 0
    deadline: float = 60.0  # seconds to go on trying after the connection was lost


#: Of a run that was told nothing else.
USUAL = Terms()
