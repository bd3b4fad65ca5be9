"""Request values: what the caller of a read knows, checked and brought into the types that a service declares.

They are what its on-demand features are computed from, beside stored features. No value is rounded, cut or guessed at:
what does not fit its type would be another value than the one in training.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, timezone
from decimal import Context, Decimal, InvalidOperation
from numbers import Real

from feature_warehouse.errors import RequestError, shown
from feature_warehouse.registry.feature import FeatureService
from feature_warehouse.registry.types import INTEGER_RANGES, FeatureType, feature_type
from feature_warehouse.wire.keyspace import canonical_text, is_missing

_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_WIDE = Context(prec=80)  # the default one rounds to 28 digits
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|nan|[+-]?inf", re.IGNORECASE)


def request_columns(
    service: FeatureService, entity_rows: Sequence[Mapping[str, object]], request: Mapping[str, object]
) -> dict[str, list[object]]:
    """{request value: one per row}. A row's own value goes before that of ``request``, which is for all rows.

    Raises RequestError, naming service and row, for a value that is missing or not of its type, and for a name in
    ``request`` that the service does not request. None is a value: NULL; so is what pandas writes for it.
    """
    if not isinstance(request, Mapping):
        raise RequestError(
            f"{service.id}: {shown(request)} ({type(request).__name__}) is no mapping",
            "give request={'name': value, ...}",
        )
    for name in request:
        if name not in service.request:
            raise RequestError(
                f"{service.id} requests no value '{name}'", f"it requests {_listed(service.request) or 'none'}"
            )
    return {name: _column(service, name, entity_rows, request) for name in service.request}


def request_value(value: object, type_: FeatureType) -> object:
    """``value`` as the client gives a stored feature of that type. Raises RequestError for what is not of the type.

    Takes the type's Python values, and their texts as on a command line: '300', '2013-01-31', '2013-01-31T12:00Z'.
    """
    name = type_.name
    if is_missing(value) and not (name in ("double", "float") and isinstance(value, Real)):
        return None
    if type_.is_list:
        return _list(value, type_)
    if name in INTEGER_RANGES:
        return int(canonical_text(value, name))
    if name in ("double", "float"):
        return _float(value, name)
    if name == "blob":
        if not isinstance(value, bytes):
            raise _refused(value, "bytes", "encode a text first")
        return value
    if found := _DECIMAL.fullmatch(name):
        return _decimal(value, int(found[1]), int(found[2]))
    text = canonical_text(value, name)
    if name == "boolean":
        return text == "true"
    if name == "date":
        return date.fromisoformat(text)
    if name == "timestamptz":
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=timezone.utc)
    return text  # varchar, uuid


def _column(
    service: FeatureService, name: str, entity_rows: Sequence[Mapping[str, object]], request: Mapping[str, object]
) -> list[object]:
    type_ = feature_type(service.request[name])
    values = []
    for position, row in enumerate(entity_rows):
        given = row if name in row else request
        if name not in given:
            raise RequestError(
                f"{service.id}, row {position}: the request value '{name}' is missing",
                f"give {_listed(service.request)}, in the row or, for all rows, as request=",
            )
        try:
            values.append(request_value(given[name], type_))
        except RequestError as error:
            raise RequestError(f"{service.id}, row {position}: '{name}': {error.message}", error.hint) from None
        except (TypeError, ValueError, ArithmeticError):  # numbers of other libraries, arrays
            raise RequestError(
                f"{service.id}, row {position}: '{name}': {shown(given[name])} ({type(given[name]).__name__}) is no "
                f"{type_.name}",
                "give a value of Python's own types",
            ) from None
    return values


def _listed(request: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({type_})" for name, type_ in request.items())


def _refused(value: object, wanted: str, hint: str) -> RequestError:
    return RequestError(f"{shown(value)} ({type(value).__name__}) is not {wanted}", hint)


def _float(value: object, name: str) -> float:
    texts = isinstance(value, str) and _NUMBER.fullmatch(value)
    if isinstance(value, bool) or not (texts or isinstance(value, Real)):
        raise _refused(value, "a number", "give a float: 300.0")
    try:
        number = float(value)  # type: ignore[arg-type]  # numpy's numbers too
        if not texts and number != value and not math.isnan(number):
            raise _refused(value, f"exactly a {name}", "give a float: the rounding is then the caller's")
        if name == "float":
            struct.pack("<f", number)
    except OverflowError:
        raise _refused(value, f"within the range of a {name}", "") from None
    return number


def _decimal(value: object, precision: int, scale: int) -> Decimal:
    texts = isinstance(value, str) and _NUMBER.fullmatch(value)
    if not texts and (isinstance(value, bool) or not isinstance(value, (int, Decimal))):
        raise _refused(value, "a decimal", "give a Decimal: Decimal('12.30')")
    number = Decimal(value)  # type: ignore[arg-type]
    try:
        exact = number.quantize(Decimal((0, (1,), -scale)), context=_WIDE)
    except InvalidOperation:  # infinite, or of more digits than any column has
        exact = Decimal("nan")
    if exact != number or exact.adjusted() >= precision - scale:
        raise _refused(value, f"a decimal({precision},{scale})", "round it as the warehouse does")
    return exact


def _list(value: object, type_: FeatureType) -> list[object]:
    found = re.fullmatch(r"(.+)\[(\d*)\]", type_.name)
    assert found is not None  # a list's name
    if isinstance(value, (str, bytes, Mapping, Set)) or not hasattr(value, "__iter__"):  # a set has no order
        raise _refused(value, "a list", "give a list of numbers")
    values = list(value)
    if found[2] and len(values) != int(found[2]):
        raise RequestError(f"a list of {len(values)} is not a {type_.name}", f"give {found[2]} numbers")
    if any(item is None for item in values):
        raise RequestError("None is no element of a list", "give numbers")
    return [request_value(item, feature_type(found[1])) for item in values]
