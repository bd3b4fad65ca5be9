"""The hashes of docs/reference/content-hash.md: the page's examples, and its definitions again in plain Python."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
import struct
from decimal import Context, Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.errors import DataError
from feature_warehouse.training.content import ContentHash, content_hash, content_of
from feature_warehouse.training.row_hash import RowHash, rows_hash
from tests.support.pages import Page

PAGE = Page("reference/content-hash.md")

# --- the page, in plain Python ----------------------------------------------------------------------------------------


def unscaled(value: Decimal, scale: int) -> int:
    return int(value.scaleb(scale, Context(prec=60)))


#: Each type by a name of the test's own: (name on the page, one value as bytes).
SCALARS: dict[str, tuple[str, Any]] = {
    "boolean": ("boolean", lambda value: b"\1" if value else b"\0"),
    **{
        f"{sign}int{bits}": (
            f"{sign}int{bits}",
            lambda value, n=bits // 8, s=not sign: value.to_bytes(n, "little", signed=s),
        )
        for bits in (8, 16, 32, 64)
        for sign in ("", "u")
    },
    "float32": ("float32", lambda value: b"\0\0\xc0\x7f" if math.isnan(value) else struct.pack("<f", value)),
    "float64": ("float64", lambda value: b"\0\0\0\0\0\0\xf8\x7f" if math.isnan(value) else struct.pack("<d", value)),
    "decimal9": ("decimal(9,2)", lambda value: unscaled(value, 2).to_bytes(16, "little", signed=True)),
    "decimal50": ("decimal(50,3)", lambda value: unscaled(value, 3).to_bytes(32, "little", signed=True)),
    "text": ("text", str.encode),
    "binary": ("binary", bytes),
    "date": ("date", lambda value: value.to_bytes(4, "little", signed=True)),
    "instant": ("instant(us)", lambda value: value.to_bytes(8, "little", signed=True)),
    "timestamp": ("timestamp(ns)", lambda value: value.to_bytes(8, "little", signed=True)),
    "seconds": ("timestamp(ms)", lambda value: (value * 1000).to_bytes(8, "little", signed=True)),
    "time": ("time(us)", lambda value: value.to_bytes(8, "little", signed=True)),
    "null": ("null", None),
}

Type = Any  # the name of a scalar, ("list", type) or ("struct", {name: type})


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def named(type_: Type) -> str:
    if isinstance(type_, str):
        return SCALARS[type_][0]
    kind, inner = type_
    if kind == "list":
        return f"list({named(inner)})"
    return "struct(" + ", ".join(f"{json.dumps(name)} {named(field)}" for name, field in inner.items()) + ")"


def slow_column(type_: Type, values: list[Any]) -> bytes:
    presence = b"".join(b"\0" if value is None else b"\1" for value in values)
    there = [value for value in values if value is not None]
    lengths = data = b""
    within: list[bytes] = []
    if isinstance(type_, tuple) and type_[0] == "list":
        lengths = b"".join(len(value).to_bytes(8, "little") for value in there)
        within = [slow_column(type_[1], [element for value in there for element in value])]
    elif isinstance(type_, tuple):
        within = [slow_column(inner, [value[name] for value in there]) for name, inner in type_[1].items()]
    else:
        pieces = [SCALARS[type_][1](value) for value in there]
        data = b"".join(pieces)
        if type_ in ("text", "binary"):
            lengths = b"".join(len(piece).to_bytes(8, "little") for piece in pieces)
    return sha256(sha256(presence) + sha256(lengths) + sha256(data) + b"".join(within))


def slow_hash(rows: int, columns: dict[str, tuple[Type, list[Any]]]) -> str:
    lines = ["feature_warehouse content 1", f"rows {rows}"]
    for name, (type_, values) in columns.items():
        lines.append(f"{slow_column(type_, values).hex()} {named(type_)} {json.dumps(name)}")
    return "sha256:" + sha256("\n".join(lines).encode()).hex()


def slow_value(type_: Type, value: Any) -> bytes:
    if value is None:
        return b"\0"
    if isinstance(type_, tuple) and type_[0] == "list":
        return b"\1" + len(value).to_bytes(8, "little") + b"".join(slow_value(type_[1], one) for one in value)
    if isinstance(type_, tuple):
        return b"\1" + b"".join(slow_value(field, value[name]) for name, field in type_[1].items())
    data: bytes = SCALARS[type_][1](value)
    return b"\1" + (len(data).to_bytes(8, "little") if type_ in ("text", "binary") else b"") + data


def slow_rows_hash(rows: int, columns: dict[str, tuple[Type, list[Any]]]) -> str:
    hashes = [
        sha256(b"".join(slow_value(type_, values[row]) for type_, values in columns.values())) for row in range(rows)
    ]
    total = sum(int.from_bytes(one, "little") for one in hashes) % 2**256
    lines = ["feature_warehouse rows 1", f"rows {rows}", f"sum {total:064x}"]
    lines += [f"{named(type_)} {json.dumps(name)}" for name, (type_, _) in columns.items()]
    return "rows-sha256:" + sha256("\n".join(lines).encode()).hex()


# --- what is drawn ----------------------------------------------------------------------------------------------------


def integers(bits: int, sign: str = "") -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1) if sign else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


#: Values of each scalar, and the Arrow types in which they may come.
VALUES: dict[str, tuple[st.SearchStrategy[Any], list[pa.DataType]]] = {
    "boolean": (st.booleans(), [pa.bool_()]),
    **{
        f"{sign}int{bits}": (integers(bits, sign), [getattr(pa, f"{sign}int{bits}")()])
        for bits in (8, 16, 32, 64)
        for sign in ("", "u")
    },
    "float32": (st.floats(width=32), [pa.float32()]),
    "float64": (st.floats() | st.sampled_from([0.0, -0.0, math.nan, -math.nan]), [pa.float64()]),
    "decimal9": (st.decimals(-9_999_999, 9_999_999, places=2), [pa.decimal128(9, 2), pa.decimal256(9, 2)]),
    "decimal50": (st.decimals(-(10**40), 10**40, places=3), [pa.decimal256(50, 3)]),
    "text": (
        st.text(max_size=20),
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ),
    "binary": (st.binary(max_size=20), [pa.binary(), pa.large_binary(), pa.binary_view()]),
    "date": (integers(32), [pa.date32()]),
    "instant": (integers(64), [pa.timestamp("us", "UTC"), pa.timestamp("us", "America/New_York")]),
    "timestamp": (integers(64), [pa.timestamp("ns")]),
    "seconds": (integers(50), [pa.timestamp("s")]),
    "time": (st.integers(0, 86_399_999_999), [pa.time64("us")]),
    "null": (st.nothing(), [pa.null()]),
}

types = st.just("null") | st.recursive(
    st.sampled_from(sorted(VALUES.keys() - {"null"})),  # of which there are no lists and structs
    lambda inner: (
        st.tuples(st.just("list"), inner)
        | st.tuples(st.just("struct"), st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3))
    ),
    max_leaves=4,
)


@st.composite
def arrow_types(draw: st.DrawFn, type_: Type, *, within: bool = False) -> pa.DataType:
    """One of the Arrow types in which values of ``type_`` may come."""
    if isinstance(type_, str):
        return draw(st.sampled_from(VALUES[type_][1]).filter(lambda form: not (within and "view" in str(form))))
    kind, inner = type_
    if kind == "list":
        return draw(st.sampled_from([pa.list_, pa.large_list]))(draw(arrow_types(inner, within=True)))
    return pa.struct([(name, draw(arrow_types(field, within=True))) for name, field in inner.items()])


def values(type_: Type) -> st.SearchStrategy[Any]:
    if isinstance(type_, str):
        return st.none() | VALUES[type_][0]
    kind, inner = type_
    if kind == "list":
        return st.none() | st.lists(values(inner), max_size=4)
    return st.none() | st.fixed_dictionaries({name: values(field) for name, field in inner.items()})


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, dict[str, tuple[Type, list[Any]]]]:
    """A table, and its columns as Python values with their types."""
    rows = draw(st.integers(0, 12))
    drawn = draw(st.dictionaries(st.text(max_size=4), types, min_size=1, max_size=4))
    columns = {
        name: (type_, draw(st.lists(values(type_), min_size=rows, max_size=rows))) for name, type_ in drawn.items()
    }
    arrays = [pa.array(column, draw(arrow_types(type_))) for type_, column in columns.values()]
    return pa.table(arrays, names=list(columns)), columns


# --- claims -----------------------------------------------------------------------------------------------------------


@given(drawn=tables(), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_any_table_cut_anywhere_has_the_hash_of_the_page(drawn: Any, cuts: list[int]) -> None:
    table, columns = drawn
    content = ContentHash(table.schema)
    edges = sorted({0, table.num_rows, *(min(cut, table.num_rows) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        for batch in table.slice(start, end - start).to_batches():
            content.update(batch)
    assert content.content().hash == slow_hash(table.num_rows, columns)


@given(drawn=tables(), cuts=st.lists(st.integers(0, 12), max_size=4), draw=st.randoms(use_true_random=False))
def test_any_table_in_any_order_has_the_hash_of_rows_of_the_page(drawn: Any, cuts: list[int], draw: Any) -> None:
    table, columns = drawn
    found = RowHash(table.schema)
    edges = sorted({0, table.num_rows, *(min(cut, table.num_rows) for cut in cuts)})
    parts = [table.slice(start, end - start) for start, end in itertools.pairwise(edges)]
    draw.shuffle(parts)
    for part in parts:
        for batch in part.to_batches():
            found.update(batch)
    assert found.hash == slow_rows_hash(table.num_rows, columns)


def test_the_hash_of_rows_counts_duplicates_and_keeps_values_apart() -> None:
    tables = [
        pa.table({"x": values, "y": others}, pa.schema([("x", pa.string()), ("y", pa.string())]))
        for values, others in [
            (["a", "b"], ["c", None]),
            (["a", "b", "b"], ["c", None, None]),
            (["ac", "b"], ["", None]),
            (["a", "b"], [None, "c"]),
            (["a", "b"], ["c", ""]),
            ([], []),
        ]
    ]
    assert len({rows_hash(table) for table in tables}) == len(tables)
    assert rows_hash(tables[0]) == rows_hash(tables[0].take([1, 0])) != content_hash(tables[0])


def test_many_rows_are_added_across_slices() -> None:
    """More rows than are encoded at a time, in one batch."""
    table = pa.table({"n": range(70_000), "t": [None if n % 7 == 0 else str(n) for n in range(70_000)]})
    columns = {"n": ("int64", table["n"].to_pylist()), "t": ("text", table["t"].to_pylist())}
    assert rows_hash(table) == slow_rows_hash(table.num_rows, columns)


@given(drawn=tables())
def test_a_parquet_file_has_the_hash_of_what_was_written(drawn: Any) -> None:
    table, _ = drawn
    file = io.BytesIO()
    try:
        pq.write_table(table, file, row_group_size=5, compression="zstd")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # Parquet has no such type, or no such moment
        return
    assert content_hash(pq.read_table(file)) == content_hash(table)


def test_the_page_has_the_examples_right() -> None:
    _, rows = PAGE.table("columns")
    assert len(rows) > 25
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for sql_type, shown, name, hash_ in ([cell.strip("`") for cell in row] for row in rows):
            listed = re.split(r", (?![^\[{]*[\]}])", shown)  # not within a list or a struct
            query = f"select x::{sql_type} from (values {', '.join(f'({value})' for value in listed)}) as t(x)"
            (found,) = content_of(connection.sql(query).to_arrow_table()).columns
            assert (found.type, f"{found.hash[:8]}...{found.hash[-8:]}") == (name, hash_), shown


def test_the_page_has_the_table_right() -> None:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        table = connection.sql(PAGE.block("table")).to_arrow_table()
    text = PAGE.block("text").removesuffix("\n")
    lines = [f"{column.hash} {column.type} {json.dumps(column.name)}" for column in content_of(table).columns]
    assert text.splitlines()[2:] == lines
    assert content_hash(table) == PAGE.block("hash").strip() == "sha256:" + sha256(text.encode()).hex()


def test_the_page_has_the_hash_of_rows_right() -> None:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        table = connection.sql(PAGE.block("table")).to_arrow_table()
    text = PAGE.block("rows text").removesuffix("\n")
    assert rows_hash(table) == PAGE.block("rows hash").strip() == "rows-sha256:" + sha256(text.encode()).hex()
    assert rows_hash(table.take([1, 0])) == rows_hash(table)


MAP = pa.map_(pa.string(), pa.int32())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([[("a", 1)], None, []], MAP), pa.array([[{"key": "a", "value": 1}], None, []])),
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2)), pa.array([[1.0, 2.0], None])),
        (pa.array([b"ab", None], pa.binary(2)), pa.array([b"ab", None])),
        (pa.array([0, None], pa.date64()), pa.array([0, None], pa.date32())),
        (pa.array([Decimal("1.5")], pa.decimal32(5, 1)), pa.array([Decimal("1.5")], pa.decimal128(5, 1))),
        (pa.array([5], pa.time32("s")), pa.array([5000], pa.time32("ms"))),
        (pa.array([5], pa.duration("s")), pa.array([5000], pa.duration("ms"))),
    ],
    ids=lambda array: str(array.type),
)
def test_what_is_written_differently_and_means_the_same_has_one_hash(one: pa.Array, other: pa.Array) -> None:
    if pa.types.is_map(one.type):
        other = other.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.int32())])))
    assert content_hash(pa.table({"x": one})) == content_hash(pa.table({"x": other}))
    assert content_hash(pa.table({"x": one}).slice(1)) == content_hash(pa.table({"x": other}).slice(1))


@pytest.mark.parametrize(
    "type_",
    [pa.month_day_nano_interval(), pa.float16(), pa.list_(pa.binary_view()), pa.struct({"x": pa.null()})],
    ids=str,
)
def test_a_type_without_a_hash_is_refused_by_name(type_: pa.DataType) -> None:
    with pytest.raises(
        DataError, match=r"the column 'gap' is of the type (month_day_nano_interval|halffloat|binary_view|null)"
    ):
        ContentHash(pa.schema([("id", pa.int64()), ("gap", type_)]))
    with pytest.raises(DataError, match="the column 'gap' is of the type"):
        RowHash(pa.schema([("id", pa.int64()), ("gap", type_)]))
