"""Entries of the audit trail: written by us, read from anybody."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timezone

import pytest

from feature_warehouse.registry.shape import ShapeError
from feature_warehouse.wire.trail import LONGEST_ENTRY, LONGEST_TEXT, Entry, Touched, plain, read_entry, stream_of
from tests.support import hostile

AT = datetime(2026, 1, 10, 3, 4, 5, 678901, tzinfo=timezone.utc)

FULL = Entry(
    at=AT,
    kind="sync",
    user="ada",
    host="ci-7",
    revision="3f2c1a9b0d4e+",
    as_of=AT,
    seconds=1.25,
    tokens=("95fabe77755873d5",),
    views=(Touched(view="orders.v1", rows=3, written=2, removed=0), Touched(view="visits.v1")),
    what=("orders.v1: plan is served as field 3",),
    why="Zürich was counted twice",
    error="no room",
)


def test_an_entry_is_read_as_it_was_written() -> None:
    assert read_entry(FULL.to_bytes()) == FULL


def test_what_is_not_there_is_left_out() -> None:
    assert Entry(at=AT, kind="drop").to_bytes() == b'{"at":"2026-01-10T03:04:05.678901+00:00","kind":"drop"}'
    assert read_entry(b'{"at":"2026-01-10T03:04:05Z","kind":"x","user":null,"of":"a later version"}') == Entry(
        at=AT.replace(microsecond=0), kind="x"
    )


def test_syncs_have_a_stream_of_their_own() -> None:
    assert [stream_of(kind) for kind in ("sync", "registration", "hold", "drop", "another")] == ["syncs"] + [
        "changes"
    ] * 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, None),
        ("", ""),
        (" two\n lines\t", "two lines"),
        ("\x1b[31mred\u202e", "?[31mred?"),
        ("\ud800", "?"),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
        ("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 1) + "…"),
    ],
)
def test_what_is_written_down_is_one_plain_line(text: str | None, line: str | None) -> None:
    assert plain(text) == line


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (b"", "Expecting value"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"at": 5}', "at is 5, not a text"),
        (b'{"at": "2026-01-10T00:00:00", "kind": "sync"}', "no time zone"),
        (b'{"at": "2026-01-10T00:00:00Z"}', "has no 'kind'"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "\\u001b[2J"}', "kind is"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "user": "\\u001b[2J"}', "user is '\\x1b[2J'"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "why": "' + b"x" * 2_000 + b'"}', "why is"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "seconds": 1e300}', "seconds is 1e+300"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "seconds": true}', "seconds is True"),
        (b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "views": {}}', "views is {}"),
        (
            b'{"at": "2026-01-10T00:00:00Z", "kind": "sync", "views": [{"view": "a", "rows": -1}]}',
            "views[0].rows is -1",
        ),
        (b"x" * (LONGEST_ENTRY + 1), "1,048,576 are the most"),
    ],
)
def test_anything_else_is_refused_by_its_place(entry: bytes, complaint: str) -> None:
    with pytest.raises(ShapeError) as refused:
        read_entry(entry)
    assert complaint in str(refused.value)
    assert len(str(refused.value)) < 400


def test_hostile_entries() -> None:
    refused = 0
    for entry in itertools.islice(hostile.texts(FULL.to_bytes(), random.Random(14)), 1_000):
        try:
            assert all(line.isprintable() for line in str(read_entry(entry).to_json()).splitlines())
        except ShapeError:
            refused += 1
    assert 500 < refused < 1_000
