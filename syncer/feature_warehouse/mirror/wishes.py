"""Wishes: what each feature view version should hold online, read from the warehouse; or why it cannot be taken.

A view that cannot be taken is a wish too, one that will be held: it keeps no other view from being read. A view that
a person has rolled back is wished for as of the instant of that rollback, until it is released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from feature_warehouse.errors import DataError, NotBuiltError, SyncerError, WarehouseError, WarehouseUnavailableError
from feature_warehouse.mirror.guards import unbuilt_problem
from feature_warehouse.mirror.preparation import Instant, Wanted
from feature_warehouse.mirror.terms import Terms
from feature_warehouse.project.declarations import DeclaredView
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.guards import Guards
from feature_warehouse.warehouse.latest import Latest, spool_latest
from feature_warehouse.warehouse.source import Source
from feature_warehouse.wire.encode import Encoder
from feature_warehouse.wire.keyspace import field_name
from feature_warehouse.wire.marker import Hold, Marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one view version should hold online."""

    view: FeatureView
    instant: Instant
    latest: Latest | None = None  # None: it cannot be taken
    refused: SyncerError | None = None  # why not
    kept: Hold | None = None  # the hold of a person, to which the instant belongs
    whole: Wish | None = None  # what the last complete run left, where a later one died in the middle; None: who knows
    guards: Mapping[str, Guards] = field(default_factory=dict)  # by feature


def read_wishes(
    wanted: Wanted,
    markers: Mapping[str, Marker],
    folder: Path,
    terms: Terms,
    stopped: Callable[[], bool] = lambda: False,
    published: Registry | None = None,
) -> dict[str, Wish]:
    """By field, the wish of each of the chosen views, spooled to ``folder``. ``published``: what readers are shown.

    Raises WarehouseError when the warehouse as a whole cannot be read.
    """
    found: dict[str, Wish] = {}
    with wanted.open_source(stopped) as source:
        unbuilt = list(wanted.unbuilt(source))
        for view in wanted.views:
            name = field_name(view.name, view.version)
            marker = markers.get(name)
            kept = marker.kept if marker else None
            found[name] = _read(wanted, source, view, kept, folder, terms)
            if not kept and not found[name].refused:
                refused = unbuilt_problem(view.id, unbuilt, published, terms)
                found[name] = replace(found[name], refused=refused)
            if marker and not kept:
                found[name] = replace(found[name], whole=_whole(wanted, source, view, marker, folder))
    return found


def _whole(wanted: Wanted, source: Source, view: FeatureView, marker: Marker, folder: Path) -> Wish | None:
    """What lay there before a run died in the middle of a view, if its history is known to say the same still."""
    known = wanted.declared[view.id].only_grows and view.id not in wanted.failed
    if marker.state == "done" or marker.as_of is None or not known:
        return None
    instant, apart = Instant(as_of=marker.as_of, clock=marker.clock), folder / "whole"
    apart.mkdir(exist_ok=True)
    try:
        latest = spool_latest(source, wanted.declared[view.id], Encoder(wanted.namespace, view), instant.as_of, apart)
    except WarehouseUnavailableError:
        raise
    except (DataError, WarehouseError):
        source.recover()
        return None
    return Wish(view=view, instant=instant, latest=latest)


def _read(wanted: Wanted, source: Source, view: FeatureView, kept: Hold | None, folder: Path, terms: Terms) -> Wish:
    if kept and kept.as_of:
        instant = Instant(as_of=kept.as_of, clock="fixed")
    else:
        instant = wanted.instant
        failed = wanted.failed.get(view.id)
        if failed and not terms.allow_failed:
            refused = DataError(failed, "mend it and run dbt again; or take the view as it is with --allow-failed")
            return Wish(view=view, instant=instant, refused=refused)
    try:
        encoder = Encoder(wanted.namespace, view)
        declared = wanted.declared[view.id]
        latest = spool_latest(source, declared, encoder, instant.as_of, folder)
        if latest.spool.rows == 0 and not terms.allow_empty:
            raise DataError(
                f"the latest-value view of {view.id} is empty at {instant.as_of.isoformat()}",
                "give an instant at which it had rows: its history begins later, or its ttl had ended"
                if kept
                else "serving nothing is rarely meant: look at its history, its ttl and the clock (--as-of); or give "
                "--allow-empty",
            )
    except WarehouseUnavailableError:
        raise
    except (DataError, WarehouseError) as error:
        source.recover()
        return Wish(view=view, instant=instant, refused=error, kept=kept)
    if kept:  # somebody has judged these values
        return Wish(view=view, instant=instant, latest=latest, kept=kept)
    drifted = None if terms.allow_guarded else _drifted(wanted, source, declared)
    return Wish(view=view, instant=instant, latest=latest, refused=drifted, guards=declared.guards)


def _drifted(wanted: Wanted, source: Source, declared: DeclaredView) -> SyncerError | None:
    """What to say when a feature whose drift is to hold its view has drifted, by the newest period of its profile."""
    watched = {name for name, guards in declared.guards.items() if guards.hold_on_drift}
    for profile in wanted.drift_profiles if watched else ():
        of_view = f"from {profile} where source_type = 'feature_view' and source = '{declared.view.id}'"
        query = (
            f"select feature, cast(psi as double precision) as psi {of_view} "
            f"and period_start = (select max(period_start) {of_view}) and verdict = 'act'"
        )
        try:
            rows = [row for batch in source.batches(query, of=profile) for row in batch.to_pylist()]
        except WarehouseUnavailableError:
            raise
        except NotBuiltError:  # yet: no alarm
            source.recover()
            continue
        except WarehouseError as error:  # nobody knows whether there is one
            source.recover()
            return error
        for row in rows:
            if row["feature"] in watched:
                return DataError(
                    f"{declared.view.id}: {row['feature']} has drifted, PSI {row['psi']:.2f}, and its guard is "
                    "hold_on_drift",
                    "see `syncer drift`; if the values are right, publish them once with --allow-guarded",
                )
    return None
