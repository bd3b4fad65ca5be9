"""Markers as bytes."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from feature_warehouse.errors import NamespaceError
from feature_warehouse.wire.marker import Marker, read_marker

DONE = Marker(
    entity="carrier",
    state="done",
    token="95fabe77755873d5",
    as_of=datetime(2013, 1, 31, 23, 0, 0, 250_000, tzinfo=timezone.utc),
    clock="fixed",
    newest_available_at=datetime(2013, 1, 31, 11, tzinfo=timezone.utc),
    rows=16,
    key_bytes=512,
    message_bytes=656,
    complete_through=5,
)


@pytest.mark.parametrize("marker", [DONE, Marker(entity="carrier")])
def test_a_marker_comes_back_as_it_was(marker: Marker) -> None:
    assert read_marker("carrier_delays:2", marker.to_bytes()) == marker


def test_no_marker_is_none() -> None:
    assert read_marker("carrier_delays:2", None) is None


def test_what_a_later_version_adds_is_skipped() -> None:
    later = json.loads(DONE.to_bytes()) | {"lease": "7", "evicted": 3}
    assert read_marker("carrier_delays:2", json.dumps(later).encode()) == DONE


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"as_of": null}',
        b"[" * 100_000,
        *(
            DONE.to_bytes().replace(*change)
            for change in (
                (b"2013-01", b"x"),
                (b"+00:00", b""),
                (b"fixed", b"solar"),
                (b"done", b"held"),
                (b'"carrier"', b'"*"'),
                (b"95fabe77755873d5", b"\\ud800"),
                (b"16", b"null"),
                (b"16", b"-16"),
                (b"16", b"1e300"),
                (b"512", b"true"),
            )
        ),
    ],
)
def test_a_text_that_is_none_is_refused_with_the_field_s_name(text: bytes) -> None:
    with pytest.raises(NamespaceError, match="the marker 'carrier_delays:2' in 'a:#markers' cannot be read"):
        read_marker("carrier_delays:2", text, "a:#markers")


@pytest.mark.parametrize("field", ["carrier_delays", "carrier_delays:x", "Carrier:1", ":1", "a:1:2", "a:-1"])
def test_a_field_of_no_view_is_refused(field: str) -> None:
    with pytest.raises(NamespaceError, match="is no <feature view>:<version>"):
        read_marker(field, DONE.to_bytes())
