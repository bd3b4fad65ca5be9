"""Markers as bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from feature_warehouse.errors import NamespaceError
from feature_warehouse.wire.marker import Hold, Marker, read_marker

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

HELD = replace(
    DONE,
    published_at=datetime(2013, 2, 1, 5, tzinfo=timezone.utc),
    rolled_back=True,
    held=Hold(since=datetime(2013, 2, 1, 5, tzinfo=timezone.utc), why="wrong rates", by="ann@ops-1", as_of=DONE.as_of),
)

#: As 0.1.0 writes it.
OLD = (
    b'{"as_of": "2013-01-31T23:00:00.250000+00:00", "clock": "fixed", "complete_through": 5, "entity": "carrier", '
    b'"key_bytes": 512, "message_bytes": 656, "newest_available_at": "2013-01-31T11:00:00+00:00", "rows": 16, '
    b'"state": "done", "token": "95fabe77755873d5"}'
)


@pytest.mark.parametrize("marker", [DONE, HELD, Marker(entity="carrier")])
def test_a_marker_comes_back_as_it_was(marker: Marker) -> None:
    assert read_marker("carrier_delays:2", marker.to_bytes()) == marker


def test_a_marker_of_the_first_version_is_read() -> None:
    assert read_marker("carrier_delays:2", OLD) == DONE


def test_a_guard_s_hold_ends_by_itself_and_a_person_s_does_not() -> None:
    assert HELD.held
    assert HELD.kept == HELD.held
    assert replace(HELD, held=replace(HELD.held, as_of=None)).kept is None
    assert DONE.kept is None


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
        *(
            HELD.to_bytes().replace(*change)
            for change in (
                (b'"wrong rates"', b"null"),
                (b'"wrong rates"', b'"\\ud800"'),
                (b'"since": "2013-02-01T05:00:00+00:00"', b'"since": "2013-02-01T05:00:00"'),
                (b'"rolled_back": true', b'"rolled_back": 1'),
                (b'"published_at": "2013', b'"published_at": "13'),
                (b'"by": "ann@ops-1", ', b""),
            )
        ),
    ],
)
def test_a_text_that_is_none_is_refused_with_the_field_s_name(text: bytes) -> None:
    with pytest.raises(NamespaceError, match="the marker 'carrier_delays:2' in 'a:#markers' cannot be read"):
        read_marker("carrier_delays:2", text, "a:#markers")


def test_why_a_view_is_held_is_one_line_that_a_terminal_can_show() -> None:
    text = HELD.to_bytes().replace(b"wrong rates", b"wrong\\nrates \\u001b[2J").replace(b"ann@ops-1", b"ann\\u0007")
    found = read_marker("carrier_delays:2", text)
    assert found
    assert found.held
    assert (found.held.why, found.held.by) == ("wrong rates ?[2J", "ann?")


@pytest.mark.parametrize("field", ["carrier_delays", "carrier_delays:x", "Carrier:1", ":1", "a:1:2", "a:-1"])
def test_a_field_of_no_view_is_refused(field: str) -> None:
    with pytest.raises(NamespaceError, match="is no <feature view>:<version>"):
        read_marker(field, DONE.to_bytes())
