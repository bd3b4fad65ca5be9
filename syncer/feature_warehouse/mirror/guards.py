"""Guards: what keeps a view from being published, unless the terms of the run allow it. Each names what it saw.

Rows that cannot be served at all (two of one key, a NULL in a key) are refused where they are read, in `warehouse`. One
guard stops the whole run: a clock that goes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from feature_warehouse.errors import DataError
from feature_warehouse.mirror.preparation import Instant
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import view_id
from feature_warehouse.wire.keyspace import split_field
from feature_warehouse.wire.marker import Marker

logger = logging.getLogger(__name__)


def check_clock(instant: Instant, markers: Mapping[str, Marker], terms: Terms) -> None:
    """Raises DataError for a real clock that is behind that of the last sync: older values would go online."""
    later = {
        marker.as_of: field
        for field, marker in markers.items()
        if marker.clock == instant.clock == "real" and marker.as_of is not None and marker.as_of > instant.as_of
    }
    if later and not terms.allow_older:
        as_of = max(later)
        raise DataError(
            f"{view_id(*split_field(later[as_of]))} was synced as of {as_of:%Y-%m-%dT%H:%M:%SZ}, and it is "
            f"{instant.as_of:%Y-%m-%dT%H:%M:%SZ} by the clock of this machine: older values would go online",
            "set the clock right; if it is, and that of the last sync was not, give --allow-older",
        )


class Unbuilt(Protocol):
    """Features of one view that do not stand in the warehouse as accepted. certain: that is known."""

    @property
    def view(self) -> str: ...
    @property
    def features(self) -> Collection[str]: ...
    @property
    def certain(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str: ...


def unbuilt_problem(
    view: str, unbuilt: Iterable[Unbuilt], published: Registry | None, terms: Terms
) -> DataError | None:
    """What to say of a feature that is not online yet, and would go there with rows from before it. Of one that is, its
    values are what they were, and a warning says so."""
    online = published.views[view].features if published and view in published.views else ()
    for one in unbuilt:
        if one.view != view or not one.certain:
            continue
        new = sorted(set(one.features) - {feature.name for feature in online})
        if new and not terms.allow_unbuilt:
            its = "its" if len(new) == 1 else "their"
            return DataError(
                f"{', '.join(new)} would go online without {its} history: {one.message}",
                f"{one.hint}; or give --allow-unbuilt",
            )
        logger.warning("%s; %s", one.message, one.hint)
    return None


def shrinks(view: str, removed: int, online: int, terms: Terms) -> DataError | None:
    """What to say when so many of the ``online`` entities of a view would go that something else is wrong."""
    if removed <= terms.allow_shrink * online:
        return None
    return DataError(
        f"{view} would lose {removed:,} of its {online:,} entities ({removed / online:.0%}): "
        f"more than {terms.allow_shrink:.0%} vanish at once",
        f"if that is meant, give --allow-shrink {math.ceil(100 * removed / online) / 100:g}",
    )
