"""What keys and fields are called in Redis, one entity at a time, from plain Python values.

    <namespace>:<entity>:<key text>     a hash: one entity with all its feature views
    <namespace>:#registry               what is served
    <namespace>:#markers                what was last synced
    <namespace>:#lease:<field>          who is writing it now
    <namespace>:#markers:{<place>}, <namespace>:#lease:<field>:{<place>}    the same in each part of a Cluster
    <namespace>:#served:<service>       a sample of what was served
    <namespace>:#trail:<stream>         who did what

Knows the canonical text of a join key's value and the escaping that keeps composite keys apart (docs/wire-format.md,
"Keys"). ``encode`` has the columnar form; one table of examples drives both. Knows no Redis, numpy or Arrow.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any
from uuid import UUID

from feature_warehouse.errors import RequestError, shown
from feature_warehouse.registry.feature import NAME, Entity
from feature_warehouse.registry.shape import ShapeError
from feature_warehouse.registry.types import INTEGER_RANGES

#: Joins the parts of a composite key.
SEPARATOR = "|"

_ESCAPED = re.compile(r"([|:\\])")
#: What a string may hold that is not itself in a key: characters to escape, and surrogates, which are no UTF-8.
_UNUSUAL = re.compile(r"[|:\\\ud800-\udfff]")
#: Types of which no value stands for NULL; those of pandas that do nothing else; and those of numpy that have one such.
_PLAIN = {int, str, bool, date, datetime, UUID}
_MISSING = frozenset({"NAType", "NaTType"})
_MAY_BE_MISSING = frozenset({"datetime64", "float16", "float32", "longdouble"})
#: A field of a hash: which feature view, in which version.
_FIELD = re.compile(rf"({NAME.pattern}):([0-9]{{1,10}})")
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: ISO 8601 with an offset; Python's own parser takes no 'Z' before 3.11.
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
    r"(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)"
)


def check_namespace(namespace: str) -> str:
    """``namespace`` itself, when it needs no escaping in a key. Raises RequestError."""
    if not isinstance(namespace, str) or not NAME.fullmatch(namespace):
        raise RequestError(
            f"{shown(namespace)} cannot be a namespace",
            "give one of lower-case letters, digits and _, beginning with a letter: --namespace shop_prod",
        )
    return namespace


def key_prefix(namespace: str, entity: str) -> str:
    """'demo_dev:carrier:', what stands before the key text."""
    return f"{namespace}:{entity}:"


def entity_key(namespace: str, entity: Entity, values: Mapping[str, object]) -> str:
    """The Redis key of one entity: 'demo_dev:route:EWR|IAH'. ``values``: by join key name; other names are ignored.

    Raises RequestError when a join key is missing or its value is not of the key's type (see ``canonical_text``).
    """
    return key_prefix(namespace, entity.name) + SEPARATOR.join(
        escape(_key_part(entity, key.name, key.type, values)) for key in entity.join_keys
    )


def entity_keys(
    namespace: str, entity: Entity, names: Sequence[str], rows: Sequence[Mapping[str, object]]
) -> list[bytes | None]:
    """The Redis key of each row, as ``entity_key`` makes it; None where a value is missing: a NULL key matches nothing.

    ``names``: what the rows call the join keys, in their order. Raises RequestError as ``canonical_text`` does, and
    KeyError or TypeError for rows that do not have the names, or are no mappings.
    """
    values = [[row[name] for row in rows] for name in names]
    texts: list[str | None]
    if len(names) == 1:
        texts = _key_column(values[0], entity.join_keys[0].type)
    elif any(any(map(is_missing, column)) for column in values if {*map(type, column)} - _PLAIN):
        # What stands beside a NULL names nothing, so nothing is wrong with it.
        types = [key.type for key in entity.join_keys]
        texts = [None if any(map(is_missing, row)) else key_text(row, types) for row in zip(*values, strict=True)]
    else:
        columns = [_key_column(each, key.type) for each, key in zip(values, entity.join_keys, strict=True)]
        texts = [SEPARATOR.join(parts) for parts in zip(*columns, strict=True)]
    prefix = key_prefix(namespace, entity.name)
    if None not in texts:
        # Cheaper together; where a key holds what they are joined with, there are too many parts.
        together = (prefix + ("\n" + prefix).join(texts)).encode().split(b"\n")  # type: ignore[arg-type]
        if len(together) == len(texts):
            return together  # type: ignore[return-value]
    return [None if text is None else (prefix + text).encode() for text in texts]


def is_missing(value: object) -> bool:
    """Whether a value is one that stands for NULL: None, or as pandas writes it: NaN, NaT, NA."""
    if value is None:
        return True
    name = type(value).__name__
    if name in _MISSING:
        return True
    return (isinstance(value, float) or name in _MAY_BE_MISSING) and value != value


def _key_column(values: list[Any], type_: str) -> list[str | None]:
    """The escaped canonical text of each value. The usual ones, of Python's own types, are looked at all at once."""
    types = set(map(type, values))
    if types == {int} and type_ in INTEGER_RANGES:
        smallest, largest = INTEGER_RANGES[type_]
        if smallest <= min(values) and max(values) <= largest:
            return list(map(str, values))
    elif types == {str} and type_ == "varchar" and not _UNUSUAL.search("".join(values)):
        return values
    return [None if is_missing(value) else escape(canonical_text(value, type_)) for value in values]


def key_text(values: Sequence[object], types: Sequence[str]) -> str:
    """The key text of values in join key order: ['EWR', 7], ['varchar', 'integer'] -> 'EWR|7'.

    Raises RequestError as ``canonical_text`` does.
    """
    pairs = zip(values, types, strict=True)
    return SEPARATOR.join(escape(canonical_text(value, type_)) for value, type_ in pairs)


def split_key(text: str) -> list[str]:
    r"""The canonical texts that a key text was joined from, unescaped: r'a\|b|c' -> ['a|b', 'c']."""
    parts = re.findall(r"(?:^|\|)((?:[^|\\]|\\.)*)", text, re.DOTALL)
    return [re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts]


def escape(text: str) -> str:
    r"""``text`` with a backslash before each '|', ':' and '\'."""
    return _ESCAPED.sub(r"\\\1", text)


def field_name(view: str, version: int) -> str:
    """The hash field of one feature view version: 'carrier_delays:2'."""
    return f"{view}:{version}"


def split_field(field: str) -> tuple[str, int]:
    """The inverse of ``field_name``: 'carrier_delays:2' -> ('carrier_delays', 2). Raises ShapeError for others."""
    found = _FIELD.fullmatch(field)
    if found is None:
        raise ShapeError(f"'{field:.60}' is no <feature view>:<version>")
    return found[1], int(found[2])


def registry_key(namespace: str) -> str:
    return f"{namespace}:#registry"


def markers_key(namespace: str) -> str:
    return f"{namespace}:#markers"


def lease_key(namespace: str, field: str) -> str:
    """'demo_dev:#lease:carrier_delays:2': which run may write that field, for as long as it lives."""
    return f"{namespace}:#lease:{field}"


def cluster_lease_keys(namespace: str, field: str, places: Iterable[str]) -> list[str]:
    """The lease in a Cluster: first the one that decides, in the slot of the markers, then one for each place."""
    return [f"{lease_key(namespace, field)}:{{{tag}}}" for tag in (markers_key(namespace), *places)]


def witness_key(namespace: str, place: str) -> str:
    """'demo_dev:#markers:{14}': what says, in one part of a Cluster, which runs were there."""
    return f"{markers_key(namespace)}:{{{place}}}"


def served_key(namespace: str, service: str) -> str:
    """'demo_dev:#served:departure_delay@2': the log of what was served of that service version."""
    return f"{namespace}:#served:{service}"


def trail_key(namespace: str, stream: str) -> str:
    """'demo_dev:#trail:changes': the audit trail, one of its two streams (see ``trail``)."""
    return f"{namespace}:#trail:{stream}"


def canonical_text(value: object, type_: str) -> str:
    """The one text of a join key's value, before escaping. ``type_``: a canonical key type (``types.key_type``).

    Takes the type's Python value, or its text as typed on a command line: '42' for integers, 'true' for booleans, ISO
    dates, ISO timestamps with an offset or Z. Raises RequestError for anything else: None, 1.0 where an integer is
    needed, an integer that the type cannot hold, a naive datetime, a text that is not UTF-8.
    """
    if value is None:
        raise RequestError("None is no key", "give a value: a NULL key names no entity")
    if type_ in INTEGER_RANGES:
        return _integer(value, *INTEGER_RANGES[type_])
    return _TEXTS[type_](value)


def _key_part(entity: Entity, name: str, type_: str, values: Mapping[str, object]) -> str:
    if name not in values:
        wanted = ", ".join(f"{key.name} ({key.type})" for key in entity.join_keys)
        raise RequestError(f"join key '{name}' of entity '{entity.name}' is missing", f"give {wanted}")
    try:
        return canonical_text(values[name], type_)
    except RequestError as error:
        raise RequestError(f"join key '{name}' of entity '{entity.name}': {error.message}", error.hint) from None


def _refuse(value: object, wanted: str, hint: str) -> RequestError:
    return RequestError(f"{shown(value)} ({type(value).__name__}) is not {wanted}", hint)


def _integer(value: object, smallest: int, largest: int) -> str:
    if isinstance(value, bool):
        raise _refuse(value, "an integer", "give 0 or 1 if that is meant")
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    else:
        try:
            number = operator.index(value)  # type: ignore[arg-type]  # any integer, numpy's too; no float
        except TypeError:
            raise _refuse(value, "an integer", "give a whole number: 1, not 1.0") from None
    if not smallest <= number <= largest:
        raise _refuse(value, f"between {smallest} and {largest}", "no other number fits the type")
    return str(number)


def _varchar(value: object) -> str:
    if not isinstance(value, str):
        raise _refuse(value, "a string", "convert it as the warehouse does: '7' and '007' are different texts")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refuse(value, "valid UTF-8", "give a text that can be encoded: no lone surrogates") from None
    return value


def _boolean(value: object) -> str:
    if isinstance(value, bool) or (getattr(value, "dtype", None), getattr(value, "shape", None)) == (
        bool,
        (),
    ):  # numpy's
        return "true" if value else "false"
    if isinstance(value, str) and value in ("true", "false"):
        return value
    raise _refuse(value, "a boolean", "give True or False")


def _uuid(value: object) -> str:
    try:
        return str(value if isinstance(value, UUID) else UUID(value))  # type: ignore[arg-type]
    except (ValueError, AttributeError, TypeError):
        raise _refuse(value, "a UUID", "give 32 hexadecimal digits with hyphens") from None


def _date(value: object) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass  # 2013-02-30
    raise _refuse(value, "a date", "give a date, not a time: 2013-01-31")


def _timestamp(value: object) -> str:
    instant = _parse_timestamp(value) if isinstance(value, str) else value
    if not isinstance(instant, datetime):
        raise _refuse(value, "a timestamp", "give a datetime with a time zone: 2013-01-31T12:00:00Z")
    if instant.tzinfo is None or instant.utcoffset() is None:  # NaT of pandas has no offset to ask for
        raise _refuse(value, "an instant", "give the datetime a time zone: 2013-01-31T12:00:00Z")
    try:
        utc = instant.astimezone(timezone.utc)
    except OverflowError:
        raise _refuse(value, "within the years 1 to 9999 in UTC", "") from None
    if getattr(utc, "nanosecond", 0):
        raise _refuse(value, "in whole microseconds", "round it as the warehouse does: time.round('us')")
    return utc.replace(tzinfo=None).isoformat() + "Z"


def _parse_timestamp(text: str) -> datetime | None:
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return None
    day, minute, second, fraction, hours, minutes = found.groups()
    offset = f"{hours or '+00'}:{minutes or '00'}"
    try:
        return datetime.fromisoformat(f"{day}T{minute}:{second or '00'}.{fraction or '':0<6}{offset}")
    except ValueError:
        return None


_TEXTS: dict[str, Callable[[object], str]] = {
    "boolean": _boolean,
    "varchar": _varchar,
    "date": _date,
    "timestamptz": _timestamp,
    "uuid": _uuid,
}
