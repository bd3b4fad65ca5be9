"""docs/wire-format.md says what the code does: its examples, read from the page, drive both directions."""

from __future__ import annotations

import datetime  # in the reprs on the page too
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from feature_warehouse.client.features import EXPIRED, MISSING, NULL, PRESENT, STALE
from feature_warehouse.client.served import ServedRow, ServedView
from feature_warehouse.registry.document import Registry, from_document, owner, revision, to_document, to_json
from feature_warehouse.registry.feature import (
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    JoinKey,
    OnDemandFeature,
    ServiceView,
)
from feature_warehouse.registry.types import _SCALARS, LIST_MESSAGES, canonical, feature_type
from feature_warehouse.warehouse.duckdb import DIALECT
from feature_warehouse.wire.commands import Encoded
from feature_warehouse.wire.decode import Decoder, proto_text
from feature_warehouse.wire.encode import Encoder, served_columns
from feature_warehouse.wire.keyspace import key_text, split_key
from feature_warehouse.wire.marker import REVISION, Hold, Marker, read_marker
from feature_warehouse.wire.trail import read_entry

PAGE = (Path(__file__).parents[3] / "docs" / "wire-format.md").read_text(encoding="utf-8")

CARRIER_DELAYS = FeatureView(
    name="carrier_delays",
    version=2,
    entity=Entity("carrier", (JoinKey("carrier", "varchar"),)),
    features=(
        Feature("delay_rate_7d", "double", 2),
        Feature("flights_7d", "bigint", 3),
        Feature("worst_airport", "varchar", 4),
        Feature("refunds", "decimal(9,2)", 5),
        Feature("delays", "float[]", 16),
    ),
)

REGISTRY = Registry(
    project="demo",
    views={
        "carrier_delays.v2": replace(
            CARRIER_DELAYS,
            available_at="known_at",
            ttl=datetime.timedelta(days=7),
            expected_every=datetime.timedelta(days=1),
        )
    },
    services={
        "codeshare@3": FeatureService(
            name="codeshare",
            version=3,
            views=tuple(
                ServiceView(view="carrier_delays.v2", features=("delays",), keys={"carrier": role}, prefix=f"{role}_")
                for role in ("seller", "flyer")
            ),
            request={"distance_miles": "double"},
        ),
        "departure_delay@1": FeatureService(
            name="departure_delay",
            version=1,
            views=(ServiceView(view="carrier_delays.v2", features=("delay_rate_7d", "flights_7d")),),
            on_demand=(OnDemandFeature("punctuality", "double", "1 - delay_rate_7d"),),
            owner="Flight operations",
        ),
    },
    retired_views=frozenset({"carrier_delays.v1"}),
)

MARKERS = {
    "carrier_delays:1": Marker(
        entity="carrier",
        state="open",
        token="0f2b9b1c5a7d4e83",
        held=Hold(
            since=datetime.datetime(2013, 1, 31, 23, 0, 9, tzinfo=datetime.timezone.utc),
            why="the latest-value view of carrier_delays.v1 is empty",
            by="features@etl-1",
        ),
    ),
    "carrier_delays:2": Marker(
        entity="carrier",
        state="done",
        token="95fabe77755873d5",
        as_of=datetime.datetime(2013, 1, 31, 23, 0, 0, 250_000, datetime.timezone.utc),
        clock="fixed",
        newest_available_at=datetime.datetime(2013, 1, 31, 11, tzinfo=datetime.timezone.utc),
        rows=16,
        key_bytes=512,
        message_bytes=656,
        complete_through=16,
        published_at=datetime.datetime(2013, 1, 31, 23, 0, 9, tzinfo=datetime.timezone.utc),
    ),
}


def block(name: str) -> str:
    """The fenced block under the page's mark `<!-- test: name -->`."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"no block '{name}'"
    return found[1]


def table(start: str) -> list[list[str]]:
    """The rows of the Markdown table that begins with the line ``start``, without backticks."""
    found = re.search(rf"^{re.escape(start)}\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, f"no table '{start}'"
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in found[1].splitlines()]


KEYS = [re.split(r" {2,}", line, maxsplit=2) for line in block("keys").splitlines()[2:]]
VALUES = table("| type | SQL | bytes | Python |")


def encoded(view: FeatureView, row: str, parameters: list[str] | None = None) -> Encoded:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create table v as {row}", parameters or [])
        batch = (
            connection.sql(f"select {DIALECT.select_list(served_columns(view))} from v")
            .to_arrow_reader()
            .read_next_batch()
        )
    return Encoder("demo_dev", view).encode(batch)


def test_the_examples_are_found():
    assert (len(KEYS), len(VALUES)) == (15, 31)


@pytest.mark.parametrize(("types", "values", "text"), [(*row, "")[:3] for row in KEYS])
def test_a_key_has_the_text_on_the_page(types, values, text):
    types, values = types.split(","), json.loads(values)
    assert key_text(values, types) == text
    assert len(split_key(text)) == len(values)

    entity = Entity("thing", tuple(JoinKey(f"k{i}", type_) for i, type_ in enumerate(types)))
    view = FeatureView(name="v", version=1, entity=entity, features=())
    columns = "".join(f"cast(? as {key.type}) as {key.name}, " for key in entity.join_keys)
    rows = encoded(view, f"select {columns} timestamptz '2013-01-31 12:00:00+00' as event_at", [str(v) for v in values])
    assert rows.keys == pa.array([f"demo_dev:thing:{text}".encode()], pa.large_binary())


@pytest.mark.parametrize(("type_", "sql", "hexadecimal", "python"), VALUES)
def test_a_value_has_the_bytes_on_the_page(type_, sql, hexadecimal, python):
    view = FeatureView(name="v", version=1, entity=CARRIER_DELAYS.entity, features=(Feature("value", type_, 2),))
    time = "timestamptz '1970-01-01 00:00:00+00'"
    message = encoded(view, f"select 'UA' as carrier, {time} as event_at, cast({sql} as {type_}) as value").messages[0]
    assert message.as_py().hex() == "090000000000000000" + hexadecimal
    assert repr(Decoder(view).decode(message.as_py())[1]["value"]) == python


def test_the_table_of_types_is_the_codes():
    on_the_page = {
        name: proto
        for names, proto, _ in table("| type | protobuf | on the wire |")
        for name in re.split("`?, `?", names)
    }
    assert on_the_page.pop("<number>[]") == on_the_page.pop("<number>[n]") == "list message"
    assert on_the_page.pop("decimal(p,s)") == feature_type("decimal").proto
    assert on_the_page == {name: proto for name, (proto, _) in _SCALARS.items()}
    assert dict(table("| elements | message |")) == LIST_MESSAGES
    assert [canonical(alias) for alias in ("int8", "text", "numeric")] == ["bigint", "varchar", "decimal(18,3)"]


def test_the_schema_is_the_codes():
    assert proto_text([CARRIER_DELAYS]) == block("proto")


def test_the_whole_row_has_the_bytes_on_the_page():
    rows = encoded(CARRIER_DELAYS, block("row"))
    message = bytes.fromhex("".join(line[:44] for line in block("message").splitlines()))
    assert len(message) == 40
    assert rows.messages.to_pylist() == [message]
    event_time, values = Decoder(CARRIER_DELAYS).decode(message)
    assert event_time.isoformat() == "2013-01-31T12:00:00+00:00"
    assert {name: str(value) for name, value in values.items()} == {
        "delay_rate_7d": "0.25",
        "flights_7d": "300",
        "worst_airport": "None",
        "refunds": "0.00",
        "delays": "[1.5, -2.0]",
    }
    before, after = block("command").strip().replace(r"\r\n", "\r\n").encode().split(b"<message>")
    assert bytes(rows.commands()) == before + message + after


def members(start: str, after: str) -> set[str]:
    """The members that the table after the line ``after`` describes."""
    rows = re.search(rf"^{re.escape(after)}$.*?{re.escape(start)}\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", PAGE, re.M | re.S)
    assert rows
    return {name for row in rows[1].splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_document_is_what_a_sync_publishes():
    document = to_document(REGISTRY, "dev")
    assert document.decode() == json.dumps(json.loads(block("document")), sort_keys=True, separators=(",", ":"))
    assert from_document(block("document").encode()) == REGISTRY
    assert owner(document) == ("demo", "dev")
    assert f"`{revision(document)}`" in PAGE


def test_the_tables_of_the_document_are_complete():
    content = to_json(REGISTRY)
    assert members("| member | type | meaning |", "## Registry document") == content.keys() | {
        "owner",
        "dropped",
        "fixes",
    }
    view, service = content["views"]["carrier_delays.v2"], content["services"]["departure_delay@1"]
    assert members("| member | type | meaning |", "Of a view:") == view.keys() | {"deprecation_date"}
    assert members("| member | type | meaning |", "Of a service:") == service.keys()
    assert members("| member | type | meaning |", "## Markers") == {field.name for field in fields(Marker)}


def test_a_served_row_is_what_a_client_writes():
    at, stored, as_of = (
        datetime.datetime(2013, month, day, hour, minute, tzinfo=datetime.timezone.utc)
        for month, day, hour, minute in ((2, 1, 15, 30), (1, 31, 12, 0), (2, 1, 15, 0))
    )
    written = ServedRow(
        at=at,
        given={"carrier": "UA"},
        features={"delay_rate_7d": 0.25, "flights_7d": None, "punctuality": 0.75},
        views=[ServedView(stored, as_of)],
    )
    assert json.loads(written.to_bytes()) == json.loads(block("served"))


def test_the_entry_of_the_audit_trail_is_what_is_written_and_read() -> None:
    entry = read_entry(block("trail").encode())
    assert json.loads(entry.to_bytes()) == json.loads(block("trail"))
    assert (entry.kind, entry.views[0].rows) == ("sync", 16)


def test_the_markers_are_what_a_sync_writes():
    on_the_page = dict(re.split(r" {2,}", line, maxsplit=1) for line in block("markers").splitlines())
    assert on_the_page.pop(REVISION) == revision(to_document(REGISTRY, "dev"))
    assert on_the_page == {field: marker.to_bytes().decode() for field, marker in MARKERS.items()}
    for field, text in on_the_page.items():
        assert read_marker(field, text.encode()) == MARKERS[field]


def test_what_later_versions_add_is_skipped():
    document = json.loads(block("document"))
    document["views"]["carrier_delays.v2"]["colour"] = document["colour"] = "red"
    assert from_document(json.dumps(document).encode()) == REGISTRY
    marker = MARKERS["carrier_delays:2"]
    assert (
        read_marker("carrier_delays:2", json.dumps({**json.loads(marker.to_bytes()), "colour": "red"}).encode())
        == marker
    )


def test_the_table_of_statuses_is_the_codes():
    assert [row[0] for row in table("| status | when | value |")] == [MISSING, EXPIRED, NULL, STALE, PRESENT]
