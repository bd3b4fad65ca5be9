"""What is online costs: the part that `syncer plan` and `syncer status` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from feature_warehouse.cli.output import print_table
from feature_warehouse.wire.cost import COMPACT_VALUE_BYTES, GB, Raising, ViewCost, price

#: How many of the dearest features are named.
MOST = 3


def print_costs(costs: Sequence[ViewCost], raising: Raising, per_gb: float) -> None:
    """A table of views, a sentence of all, what a setting of Redis would save, what takes most, and the features that
    nobody reads."""
    print_table(
        ("feature view", "features", "entities", "bytes each", "memory", "USD/month"),
        [
            (
                cost.view,
                f"{len(cost.features):,}",
                f"{cost.rows:,}",
                f"{cost.bytes_per_entity:,.0f}",
                amount(cost.bytes),
                money(price(cost.bytes, per_gb)),
            )
            for cost in costs
        ],
    )
    whole = sum(cost.bytes for cost in costs)
    click.echo(
        f"Redis takes about {amount(whole)}: {money(price(whole, per_gb))} USD a month at {per_gb:g} USD per GB."
    )
    if raising.bytes:
        now = "if it is 64, as shipped," if raising.limit is None else f"in place of {raising.limit}"
        click.echo(
            f"With hash-max-listpack-value {COMPACT_VALUE_BYTES} {now} it would take about {amount(raising.bytes)} "
            f"less, {money(price(raising.bytes, per_gb))} USD a month (docs/decisions/0006-memory-on-a-stock-redis.md)."
        )
    features = [
        (cost.bytes_of(feature), f"{feature.name} of {cost.view}") for cost in costs for feature in cost.features
    ]
    most = (f"{name} {amount(size)}" for size, name in sorted(features, reverse=True)[:MOST])
    click.echo(f"The dearest features: {', '.join(most)}.")
    for cost in costs:
        for feature in cost.unread:
            size = cost.bytes_of(feature)
            click.echo(
                f"{cost.view}: no service reads {feature.name}, which takes {amount(size)}, "
                f"{money(price(size, per_gb))} USD a month; leave it out of the view's next version."
            )


def costs_json(costs: Sequence[ViewCost], raising: Raising, per_gb: float) -> dict[str, Any]:
    """``features`` of each view: bytes of an entity, bytes of all, USD a month, the services that read it. ``raising``:
    what a higher hash-max-listpack-value would save; its ``limit`` is null where the server does not say."""
    whole = sum(cost.bytes for cost in costs)
    return {
        "memory": whole,
        "usd_per_month": price(whole, per_gb),
        "usd_per_gb": per_gb,
        "raising": {
            "limit": raising.limit,
            "raised": COMPACT_VALUE_BYTES,
            "memory": raising.bytes,
            "usd_per_month": price(raising.bytes, per_gb),
        },
        "views": [
            {
                "view": cost.view,
                "rows": cost.rows,
                "bytes_per_entity": round(cost.bytes_per_entity, 1),
                "memory": cost.bytes,
                "usd_per_month": price(cost.bytes, per_gb),
                "features": [
                    {
                        "name": feature.name,
                        "bytes_per_entity": round(feature.bytes_per_entity, 1),
                        "memory": cost.bytes_of(feature),
                        "usd_per_month": price(cost.bytes_of(feature), per_gb),
                        "services": feature.services,
                    }
                    for feature in cost.features
                ],
            }
            for cost in costs
        ],
    }


def amount(size: float) -> str:
    """Bytes in the unit that a price is in, or the next ones below it."""
    for unit, scale in (("GB", GB), ("MB", 1_000_000), ("kB", 1_000)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,.0f} B"


def money(sum_: float) -> str:
    """USD, to the cent."""
    return f"{sum_:,.2f}" if sum_ >= 0.005 or not sum_ else "<0.01"
