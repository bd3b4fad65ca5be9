"""The one table: a column's declared type, its form in protobuf, its kind in Python.

Knows the text that people write as ``data_type`` in dbt (DuckDB's names and aliases) and which of those types can be
served. Knows no library: the columnar side (Arrow) is in ``encode``, the Python side in ``decode`` and ``keyspace``.
The table is published in docs/wire-format.md, "Types".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from feature_warehouse.errors import UnsupportedTypeError

#: protobuf's scalar types in use. sint64 and sint32 are zigzag varints, so that small negative numbers stay small.
Proto = Literal["double", "float", "sint64", "uint64", "bool", "string", "bytes", "sint32", "sfixed64"]

#: What a decoder makes of protobuf's own value: nothing more ("plain"), or a richer Python object.
Kind = Literal["plain", "decimal", "integer", "date", "timestamp"]


@dataclass(frozen=True, slots=True)
class FeatureType:
    """One type that can be served; ``proto`` is that of the value, or of each element of a list."""

    name: str  # canonical: decimal(18,3), double[768]
    proto: Proto
    kind: Kind = "plain"
    is_list: bool = False


#: decimals come as "decimal(p,s)", lists as "<number>[]" or "<number>[n]"; both are made from this table.
_SCALARS: dict[str, tuple[Proto, Kind]] = {
    "boolean": ("bool", "plain"),
    "tinyint": ("sint64", "plain"),
    "smallint": ("sint64", "plain"),
    "integer": ("sint64", "plain"),
    "bigint": ("sint64", "plain"),
    "utinyint": ("sint64", "plain"),
    "usmallint": ("sint64", "plain"),
    "uinteger": ("sint64", "plain"),
    "ubigint": ("uint64", "plain"),  # beyond sint64
    "hugeint": ("string", "integer"),
    "uhugeint": ("string", "integer"),
    "float": ("float", "plain"),
    "double": ("double", "plain"),
    "varchar": ("string", "plain"),
    "uuid": ("string", "plain"),
    "blob": ("bytes", "plain"),
    "date": ("sint32", "date"),  # days since 1970-01-01
    "timestamptz": ("sfixed64", "timestamp"),  # microseconds since 1970-01-01T00:00:00Z
}

#: The message that wraps a list, by the proto type of its elements. The wrapper tells NULL (absent) from [] (empty).
LIST_MESSAGES: dict[Proto, str] = {
    "double": "DoubleList",
    "float": "FloatList",
    "sint64": "Int64List",
    "uint64": "UInt64List",
}

#: Smallest and largest value of each integer type.
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    name: (-(1 << bits - 1), (1 << bits - 1) - 1)
    for name, bits in {"tinyint": 8, "smallint": 16, "integer": 32, "bigint": 64, "hugeint": 128}.items()
} | {
    name: (0, (1 << bits) - 1)
    for name, bits in {"utinyint": 8, "usmallint": 16, "uinteger": 32, "ubigint": 64, "uhugeint": 128}.items()
}

_KEY_TYPES = frozenset(INTEGER_RANGES) | {"boolean", "varchar", "date", "timestamptz", "uuid"}

#: DuckDB's aliases (`select alias_of from duckdb_types()`), and what other databases call the same thing.
_ALIASES = {
    alias: name
    for name, aliases in {
        "boolean": "bool logical",
        "tinyint": "int1",
        "smallint": "int2 int16 short",
        "integer": "int int4 int32 signed integral",
        "bigint": "int8 int64 long oid",
        "hugeint": "int128",
        "utinyint": "uint8",
        "usmallint": "uint16",
        "uinteger": "uint32",
        "ubigint": "uint64",
        "uhugeint": "uint128",
        "float": "float4 real",
        "double": "float8",
        "decimal": "numeric dec",
        "varchar": "text string char bpchar nvarchar",
        "blob": "bytea binary varbinary",
        "uuid": "guid",
        "timestamp": "datetime timestamp_us",
        "timestamptz": "timestamp_tz",
    }.items()
    for alias in aliases.split()
} | {
    "double precision": "double",
    "character varying": "varchar",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}

_LIST = re.compile(r"(.+?)(?: ?array)?(\[\d*\])|(.+) array|(?:list|array)[(<](.+)[)>]")
_ARGUMENTS = re.compile(r"([^()]*)(?:\((\d+)(?:,(\d+))?\))?([^()]*)")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")

#: Types whose arguments say nothing about the stored value: varchar(10), timestamp(6).
_ARGUMENTS_IGNORED = frozenset({"varchar", "float", "timestamp", "timestamptz"})


def canonical(data_type: str) -> str:
    """The one lower-case name of a type: 'INT8' -> 'bigint', 'numeric(9, 2)' -> 'decimal(9,2)', 'real[]' -> 'float[]'.

    A text that is no known type comes back in lower case with single blanks, so that the caller can name it.
    """
    text = " ".join(data_type.lower().split())
    text = re.sub(r" ?([(\[<,]) ?| ([)\]>])", r"\1\2", text)
    if found := _LIST.fullmatch(text):
        element, size, plain, wrapped = found.groups()
        return canonical(element or plain or wrapped) + (size or "[]")
    found = _ARGUMENTS.fullmatch(text)
    if found is None:
        return text
    before, first, second, after = found.groups()
    base = (before + after).strip()
    name = _ALIASES.get(base, base)
    if name == "decimal":
        return f"decimal({first or 18},{second or (0 if first else 3)})"
    return name if first is None or name in _ARGUMENTS_IGNORED else text


def feature_type(data_type: str) -> FeatureType:
    """How a column of this type is served. Raises UnsupportedTypeError, naming the type, when it cannot be."""
    name = canonical(data_type)
    if name in _SCALARS:
        return FeatureType(name, *_SCALARS[name])
    if found := _DECIMAL.fullmatch(name):
        if 1 <= int(found[1]) <= 38 and int(found[2]) <= int(found[1]):
            return FeatureType(name, "string", "decimal")
        raise _unsupported(name, "write decimal(precision,scale) with precision 1 to 38 and scale 0 to precision")
    if found := _LIST.fullmatch(name):
        proto, kind = _SCALARS.get(found[1], (None, None))
        if proto in LIST_MESSAGES and kind == "plain" and found[2] != "[0]":
            return FeatureType(name, proto, "plain", is_list=True)
        raise _unsupported(
            name, "lists hold integers up to 64 bits, float or double: cast the list, or give each element a column"
        )
    raise _unsupported(name, _hint(name))


def key_type(data_type: str) -> str:
    """The canonical name of a join key's type. Raises UnsupportedTypeError, naming the type, when it cannot be one."""
    name = canonical(data_type)
    if name in _KEY_TYPES:
        return name
    if name in ("float", "double") or _DECIMAL.fullmatch(name):
        hint = "one number has several texts (1, 1.0, 1e0): cast it to bigint or varchar in the model"
    elif name.startswith("timestamp"):
        hint = _hint(name)
    else:
        hint = "a join key is an integer, varchar, date, timestamptz, boolean or uuid"
    raise UnsupportedTypeError(f"type '{name}' cannot be a join key", hint)


def _hint(name: str) -> str:
    if name.startswith("timestamptz"):
        return "cast it to timestamptz (microseconds) in the model"
    if name.startswith("timestamp"):
        return (
            "a naive time is no instant: convert it to timestamptz in the model with `<column> at time zone 'UTC'`, "
            "or the zone that it was written in"
        )
    return "cast it in the model to a type that can be served, for instance varchar, or serve its parts as columns"


def _unsupported(name: str, hint: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(f"type '{name}' cannot be served", hint)
