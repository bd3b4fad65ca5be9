"""The one line of a latest-value view is known from its text, without a call of dbt for each view."""

from __future__ import annotations

import pytest

from feature_warehouse.gate.latest import is_the_line

OURS, THEIRS = "feature_warehouse", "shop"


@pytest.mark.parametrize(
    ("text", "package", "found"),
    [
        ("{{ feature_warehouse.latest_values(ref('orders', v=2)) }}", THEIRS, True),
        ('{{ feature_warehouse.latest_values(ref("orders", version=2)) }}', THEIRS, True),
        ("{{- feature_warehouse.latest_values(relation=ref('shop', 'orders', v=2),) -}}", THEIRS, True),
        (
            "-- newest\n{{ config(tags=['online']) }}\n{{ feature_warehouse.latest_values(ref('orders', v=2)) }}",
            THEIRS,
            True,
        ),
        ("{{ latest_values(ref('orders', v=2)) }}", OURS, True),
        ("{{ latest_values(ref('orders', v=2)) }}", THEIRS, False),
        ("{{ feature_warehouse.latest_values(ref('orders', v=1)) }}", THEIRS, False),
        ("{{ feature_warehouse.latest_values(ref('others', v=2)) }}", THEIRS, False),
        ("select * from ({{ feature_warehouse.latest_values(ref('orders', v=2)) }})", THEIRS, False),
        ("{{ feature_warehouse.latest_values(ref('orders', v=2), at='2026-01-01') }}", THEIRS, False),
    ],
)
def test_the_line_is_known_from_its_text(text: str, package: str, found: bool) -> None:
    assert is_the_line(text, package, "orders", 2) is found
