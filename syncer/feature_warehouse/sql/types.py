"""The types that DuckDB gives to the values of terms, where they are certain."""

from __future__ import annotations

from feature_warehouse.sql.algebra import Arg, Instance, Term, flat
from feature_warehouse.sql.functions import RESULT_TYPES, SAME_TYPE

INTEGERS = {"tinyint", "smallint", "integer", "bigint"}
FLOATS = {"double", "float"}
INSTANTS = {"timestamp", "timestamptz"}

_WHOLE_PARTS = set("year quarter month week day dow isodow doy hour minute second".split())

_CONDITIONS = {"=", "<>", "<", "<=", "same", "and", "or", "not", "is null", "exists", "like", "ilike", "in query"}


def type_of(term: Term) -> str | None:
    """The type of a term's values in DuckDB, None where that is not certain."""
    if term._type == "":
        term._type = _type(term)
    return term._type


def _type(term: Term) -> str | None:
    if term.op == "ref":
        instance, what = term.args
        assert isinstance(instance, Instance)
        return type_of(what) if isinstance(what, Term) else instance.content.types.get(str(what))
    if term.op in ("cast", "try cast"):
        return str(term.args[0])
    if term.op in _CONDITIONS:
        return "boolean"
    if term.op == "text":
        return "varchar"
    if term.op == "number" and str(term.args[0]).isdigit():
        return "integer" if int(str(term.args[0])) < 2**31 else None
    if term.op == "interval":
        return "interval"
    if term.op in ("call", "aggregate", "window"):
        name = str(term.args[0])
        if name == "date_part":
            [part, *_] = flat(term.args[1:2])
            known = isinstance(part, Term) and part.op == "text" and part.args[0] in _WHOLE_PARTS
            return "bigint" if known else None
        if name in RESULT_TYPES:
            return RESULT_TYPES[name]
        if name in ("date_trunc", "time_bucket"):
            kind = type_of(term.children()[1]) if len(term.children()) > 1 else None
            return kind if kind in INSTANTS else None  # of a date: a timestamp, or a date
        if name in SAME_TYPE:
            values = tuple(flat(term.args[1:2]))
            few = len(values) <= (1 if name in ("max", "min") else 2)  # max(x, 3) is a list; lag's default may widen
            return type_of(values[0]) if values and few and isinstance(values[0], Term) else None
        if name in ("sum", "avg") and _types(term.args[1]) == {"double"}:
            return "double"
        return "double" if name == "avg" and (_types(term.args[1]) or {""}) <= INTEGERS else None
    if term.op in ("case", "coalesce", "pick"):
        values = term.args if term.op != "case" else (*term.args[1::2], *term.args[-1:])
        if all(isinstance(value, Term) and value.op in ("number", "null") for value in values):
            whole = all(isinstance(v, Term) and (v.op == "null" or _type(v) == "integer") for v in values)
            return "integer" if whole else None
        found = {type_of(value) for value in values if isinstance(value, Term) and value.op not in ("null", "number")}
        numbers = [v for v in values if isinstance(v, Term) and v.op == "number"]
        if len(found) != 1 or (numbers and not found <= {"integer", "bigint", "double"}):
            return None
        if any(type_of(number) != "integer" for number in numbers) and found != {"double"}:
            return None
        return found.pop()
    if term.op in ("+", "+ of scalars", "-", "*", "/", "//", "%"):
        return _arithmetic(term)
    if term.op == "||":
        return "varchar" if _types(term.args) == {"varchar"} else None
    if term.op == "negative":
        signed = _types(term.args)
        return signed.pop() if signed and signed <= FLOATS | {"integer", "bigint", "interval"} else None
    if term.op == "at time zone":
        return {"timestamp": "timestamptz", "timestamptz": "timestamp"}.get(type_of(term.args[0]) or "")  # type: ignore[arg-type]
    return None


def _types(args: Arg) -> set[str] | None:
    found = {type_of(arg) for arg in flat((args,)) if isinstance(arg, Term)}
    return None if None in found else found  # type: ignore[return-value]


def _arithmetic(term: Term) -> str | None:
    one, two = (type_of(arg) for arg in term.args if isinstance(arg, Term))
    if one is None or two is None:
        return None
    if "double" in (one, two) and {one, two} <= INTEGERS | {"double"} and term.op != "//":
        return "double"
    if term.op == "/" and {one, two} <= INTEGERS:
        return "double"
    if "bigint" in (one, two) and {one, two} <= INTEGERS and term.op != "/":
        return "bigint"
    if one == two == "integer" and term.op in ("+", "+ of scalars", "-", "*"):
        return None  # of literals, DuckDB may choose a wider type
    if term.op in ("+", "+ of scalars", "-"):
        if one in INSTANTS and two == "interval":
            return one
        if two in INSTANTS and one == "interval" and term.op != "-":
            return two
        if one == "date" and two in INTEGERS:
            return "date"
        if one == two == "date" and term.op == "-":
            return "bigint"
        if one == "date" and two == "interval":
            return "timestamp"
        if one == two and one in INSTANTS and term.op == "-":
            return "interval"
        if one == two == "interval":
            return "interval"
    if term.op == "*" and "interval" in (one, two) and {one, two} <= INTEGERS | {"interval"}:
        return "interval"
    return None
