"""What is certain of a term's values in DuckDB: their type, whether they can be NULL, what equal ones have in common.

These are the side conditions of rewritings. Where a type is needed and not known, the answer is no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from feature_warehouse.sql.algebra import Arg, Instance, Term, flat
from feature_warehouse.sql.functions import RESULT_TYPES, SAME_TYPE, STRICT

INTEGERS = {"tinyint", "smallint", "integer", "bigint"}
FLOATS = {"double", "float"}
INSTANTS = {"timestamp", "timestamptz"}

#: Types whose equal values are the same value. 0.0 and -0.0 are equal and not the same, as are '1 month' and '30 days'.
_OF_ONE_FORM = INTEGERS | INSTANTS | {"date", "boolean", "varchar", "hugeint", "uuid", "blob"}

#: Types of values without parts.
SCALARS = INTEGERS | FLOATS | INSTANTS | {
    "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "date", "time", "interval",
}  # fmt: skip

#: Operators of which a list is no operand.
NUMERIC = {"number", "interval", "interval of", "negative", "*", "/", "//", "%", "-", "+ of scalars"}

_STRICT = {"=", "<>", "<", "<=", "+ of scalars", "-", "*", "/", "//", "%", "negative", "cast", "at time zone"}

_COMPARISONS = {"=", "<>", "<", "<=", "same", "is null", "between", "in"}

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
        return chosen_type(branches(term) if term.op == "case" else term.children())
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


def sort_of(term: Term) -> str | None:
    """The type of a term's values or, where that is not certain, the source's column that has it: what is enough to
    know that two terms are of one type."""
    if type_of(term) is not None:
        return type_of(term)
    while term.op == "ref":
        instance, what = term.args
        assert isinstance(instance, Instance)
        if isinstance(what, Term):
            term = what
        elif instance.content.kind == "leaf" and instance.content.texts[0] != "itself":
            return f"column {what} of {instance.content.texts[0]}"
        else:
            break
    return None


def chosen_type(values: Iterable[Term], of: Callable[[Term], str | None] = type_of) -> str | None:
    """The type of what chooses one of these values. ``of``: ``type_of`` or ``sort_of``."""
    found = [value for value in values if value.op != "null"]
    numbers = {of(value) for value in found if value.op == "number"}
    types = {of(value) for value in found if value.op != "number"}
    if not types:
        return "integer" if numbers <= {"integer"} else None
    if len(types) != 1 or (numbers and not types <= {"integer", "bigint", "double"}):
        return None
    if numbers - {"integer"} and types != {"double"}:
        return None
    return types.pop()


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


# -- literals, NULLs, equality -------------------------------------------------


def literal(term: Term) -> bool:
    """Whether a term has no type of its own, but takes one from what it meets: 1 beside a smallint is a smallint."""
    return term.op in ("number", "text", "null") or (term.op == "negative" and all(map(literal, term.children())))


def chosen_alike(inner: Term, values: Iterable[Term]) -> bool:
    """Whether ``inner``, which chooses a value, may as well leave the choice to what it is chosen by, from all
    ``values``: no value is cast on the way to the type of some, and then to that of all."""
    own = branches(inner) if inner.op == "case" else inner.children()
    sorts = {sort_of(value) for value in own if value.op != "null"}
    if len(sorts) == 1 and None not in sorts and not any(literal(value) for value in own if value.op != "null"):
        return True
    sort = chosen_type(own, sort_of)
    return sort is not None and sort == chosen_type(values, sort_of)


def strict(term: Term) -> bool:
    """Whether a term is NULL as soon as one operand is. ``NULL + ['x']`` and ``NULL || ['x']`` are ['x']."""
    if term.op == "call":
        return term.args[0] in STRICT
    return term.op in _STRICT or (term.op == "||" and _joins_text(term))


def _joins_text(term: Term) -> bool:
    return any(
        (part.op == "text" or type_of(part) in SCALARS | {"varchar", "boolean", "uuid"})
        or (part.op == "||" and _joins_text(part))
        for part in term.children()
    )


_NEVER_NULL = {"number", "text", "true", "false", "interval", "is null", "same", "exists", "struct"}


def never_null(term: Term) -> bool:
    """Whether a term has a value in each row."""
    if term.op in _NEVER_NULL:
        return True
    if term.op in ("and", "or", "not", "=", "<>", "<", "<="):
        return all(map(never_null, term.children()))
    if term.op == "case":
        return all(never_null(value) for value in branches(term))
    if term.op == "coalesce":
        return any(map(never_null, term.children()))
    if term.op == "pick":
        return all(map(never_null, term.children()))
    if term.op in ("cast", "typed", "negative"):  # what cannot be cast is an error
        [value] = term.children()
        return literal(value) and never_null(value)
    if term.op in ("aggregate", "window"):
        return term.args[0] in ("count", "row_number", "rank", "dense_rank")
    if term.op == "call":
        return term.args[0] == "list_value"
    if term.op == "ref":  # but not of what may be missing: what is outer-joined is a "sub", or "full"
        instance, what = term.args
        assert isinstance(instance, Instance)
        inner = instance.content.kind in ("group", "window", "ordered", "limit", "distinct on", "union")
        return inner and isinstance(what, Term) and never_null(what)
    return False


def branches(case: Term) -> list[Term]:
    """The values that CASE chooses from."""
    return [value for value in (*case.args[1::2], case.args[-1]) if isinstance(value, Term)]


def by_equality(term: Term) -> bool:
    """Whether a condition is the same for equal columns, such as a group's: true of one of them, true of all."""
    if all(type_of(ref) in _OF_ONE_FORM or _decimal(type_of(ref)) for ref in term.refs):
        return True
    if term.op in ("and", "or", "not"):
        return all(map(by_equality, term.children()))
    return term.op in _COMPARISONS and all(part.op == "ref" or not part.refs for part in term.children())


def _decimal(type_: str | None) -> bool:
    return type_ is not None and type_.startswith("decimal")
