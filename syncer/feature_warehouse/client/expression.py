"""What an on-demand expression may be, as DuckDB's own parser sees it: a value of one row, from that row's values.

Expressions come from Redis, so what the registration gate let in says nothing of them. Knows the tree that DuckDB's
``json_serialize_sql`` gives, and names of functions; runs nothing, and needs no parser of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feature_warehouse.client.size import arguments, check_size, literal
from feature_warehouse.errors import DefinitionError
from feature_warehouse.registry.shape import ShapeError, parse
from feature_warehouse.sql.functions import ALIASES, PURE, SESSION

#: Kinds of nodes that make one value of others. Not among them: subqueries, windows, stars, parameters, defaults.
_NODES = frozenset(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR TYPE".split()
)

#: What is written between values.
_OPERATORS = frozenset("+ - * / // % ** ^ || ~~ !~~ ~~* !~~* ~~~ ~ ! !~ & | << >> @ ^@ && @> <@ <-> <=> <#>".split())

#: Functions whose value is as long as one of their arguments says: which, counted from 0. That one is written as a
#: number, and this is the greatest: a text or a list of any length costs memory that DuckDB's limit does not count.
_SIZED = {"repeat": 1, "lpad": 1, "rpad": 1, "range": -1, "generate_series": -1, "list_resize": 1, "array_resize": 1}
_LARGEST = 10_000

#: Its value grows with each step, and so does every step.
_GROWING = frozenset(["list_reduce", "reduce", "array_reduce"])

#: A width in a format, as long as the text then is.
_FORMATS = frozenset(["printf", "format"])
_WIDTH = re.compile(r"[0-9]{5}|\*|\{[^}]*\{")

#: What a query has beside what it selects, and from what.
_CLAUSES = ("modifiers", "where_clause", "group_expressions", "having", "sample", "qualify")

_FUNCTIONS = (PURE | {alias for alias, name in ALIASES.items() if name in PURE}) - SESSION - _GROWING


def names_in(tree: str) -> set[str]:
    """Every name that is taken for a column's, in lower case; a lambda's own names too. Raises DefinitionError."""
    return {name.lower() for node in _walk(_content(tree)) for name in node.get("column_names", ())}


def check(tree: str, types: Mapping[str, str]) -> None:
    """Raises DefinitionError unless ``tree``, that of `select (<expression>)`, is one value of columns of these
    ``types`` alone."""
    content = _content(tree)
    try:
        (statement,) = content["statements"]
        query = statement["node"]
        (value,) = query["select_list"]
        rest = [
            query[part] for part in ("modifiers", "where_clause", "group_expressions", "having", "sample", "qualify")
        ]
        bare = query["type"] == "SELECT_NODE" and query["from_table"]["type"] == "EMPTY"
        bare = bare and not any(rest) and not query["cte_map"]["map"]
    except (ValueError, LookupError, TypeError):
        bare = False
    if not bare:
        raise DefinitionError("it is not one expression")
    _check(value, frozenset(types))
    check_size(value, types)


def _content(tree: str) -> Any:
    try:
        content = parse(tree).value
    except ShapeError as error:
        raise DefinitionError(str(error)) from None
    if content.get("error"):
        raise DefinitionError(str(content.get("error_message", "it cannot be parsed")))
    return content


def _walk(part: Any) -> Iterator[dict[str, Any]]:
    """All objects in a tree, whatever its depth."""
    left = [part]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left += part.values()
        elif isinstance(part, list):
            left += part


def _check(value: Any, columns: frozenset[str]) -> None:
    left = [(value, columns)]
    while left:
        part, known = left.pop()
        if isinstance(part, list):
            left += [(each, known) for each in part]
        if not isinstance(part, dict):
            continue
        kind = part.get("class")
        if kind == "LAMBDA":  # on its left stand its own names, and nothing else
            own = {name for node in _walk(part["lhs"]) for name in node.get("column_names", ())}
            known, part = known | {name.lower() for name in own}, {"expr": part["expr"]}
            kind = None
        if kind is not None:
            _check_node(kind, part, known)
        left += [(each, known) for each in part.values()]


def _check_node(kind: str, node: dict[str, Any], known: frozenset[str]) -> None:
    if kind not in _NODES:
        raise DefinitionError(f"it holds a {kind.lower()}, which is not of one row")
    if kind == "COLUMN_REF":
        names = [name.lower() for name in node["column_names"]]
        if len(names) != 1 or names[0] not in known:
            raise DefinitionError(f"it reads {'.'.join(names)}, which is neither a feature of it nor a request value")
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        if node.get("schema") or node.get("catalog") or name not in (_OPERATORS if node["is_operator"] else _FUNCTIONS):
            raise DefinitionError(f"{name} is no function of one row's values that always gives the same")
        given = arguments(node)
        if name in _SIZED:
            size = literal(given[_SIZED[name]]) if len(given) > 1 or _SIZED[name] < 0 else None
            if size is None or not size.lstrip("-").isdecimal() or abs(int(size)) > _LARGEST:
                raise DefinitionError(f"the length that {name} gives is not written as a number up to {_LARGEST:,}")
        if name in _FORMATS:
            text = literal(given[0]) if given else None
            if text is None or _WIDTH.search(text):
                raise DefinitionError(f"the format of {name} is not written out, or makes texts of any length")
