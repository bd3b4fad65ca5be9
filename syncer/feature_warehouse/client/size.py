"""How long the value of an expression may be, told from the tree of DuckDB's parser before anything is computed.

DuckDB's memory limit does not count texts, and some functions are not interrupted while they make one. So each function
that repeats, fills or replaces is bounded by what it may make of its arguments, and so is what is made of that again.
The unit is a character or an item of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from feature_warehouse.errors import DefinitionError

#: What a text, a list or bytes are taken for, and any other value; and how much may be added to all that an expression
#: reads: of some thousand rows together, no more than a process can bear.
_LONG, _SHORT, LARGEST = 100, 10, 100_000

#: How many characters these make of one.
_LONGER = {"bin": 8, "to_json": 6, "url_encode": 3, "hex": 2, "base64": 2, "to_base64": 2, "regexp_escape": 2}


def check_size(tree: Any, types: Mapping[str, str]) -> None:
    """Raises DefinitionError where an expression over values of ``types`` may give one beyond ``LARGEST``; ``tree``: a
    node of it."""
    sizes = {name.lower(): _LONG if _is_long(type_) else _SHORT for name, type_ in types.items()}
    size, read = _run(_size(tree, sizes)), _run(_size(tree, sizes, grows=False))
    if size - read > LARGEST:
        raise DefinitionError(
            f"of values of {_LONG} characters or items it may make one of {size:,}, and {LARGEST:,} is the most"
        )


def _is_long(type_: str) -> bool:
    return type_ in ("varchar", "blob") or type_.endswith("]")


def literal(node: Any) -> str | None:
    """The text of a constant; None: it is something else."""
    if node.get("class") != "CONSTANT":
        return None
    text = node["literal"]["text"] if "literal" in node else node["value"].get("value")  # DuckDB 2; 1
    return None if text is None else str(text)


def arguments(node: Mapping[str, Any]) -> list[Any]:
    """Of a function."""
    return [each.get("expression", each) for each in node.get("arguments", node.get("children", ()))]


_Sizing = Generator["_Sizing", int, int]


def _run(first: _Sizing) -> int:
    """What it returns. Each part of a tree is a generator that yields those below it, so that no depth is too deep."""
    stack, value = [first], 0
    begun = False
    while stack:
        try:
            stack.append(stack[-1].send(value) if begun else next(stack[-1]))
            begun = False
        except StopIteration as end:
            stack.pop()
            value, begun = end.value, True
    return value


def _size(part: Any, sizes: Mapping[str, int], *, grows: bool = True) -> _Sizing:
    """``sizes``: of what is read by name. Not ``grows``: the sum of all that is read."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return 0
    kind = part.get("class")
    if kind == "CONSTANT":
        return max(1, len(literal(part) or ""))
    if kind == "COLUMN_REF":
        return sizes.get(part["column_names"][0].lower(), _LONG)
    if kind == "FUNCTION" and grows:
        return (yield _of_function(part["function_name"].lower(), arguments(part), sizes))
    total = 0
    for each in part.values():
        total += yield _size(each, sizes, grows=grows)
    return total


def _of_function(name: str, given: Sequence[Any], sizes: Mapping[str, int]) -> _Sizing:
    over, found = [], []
    for each in given:
        if each.get("class") == "LAMBDA":
            over.append(each)
        else:
            found.append((yield _size(each, sizes)))
    size = max(1, sum(found))
    for each in over:  # once for each item
        body = yield _size(each["expr"], {**sizes, **dict.fromkeys(_names(each["lhs"]), 1)})
        size *= max(1, body)
    if (known := _GROWS.get(name)) is not None and len(found) >= (1 if known is _filled else 2):
        size = max(size, known(given, found))
    return size * _LONGER.get(name, 1)


def _names(part: Any) -> frozenset[str]:
    if isinstance(part, list):
        return frozenset().union(*map(_names, part))
    if not isinstance(part, dict):
        return frozenset()
    own = (name.lower() for name in part.get("column_names", ()))
    return frozenset(own).union(*map(_names, part.values()))


def _times(given: Sequence[Any], sizes: Sequence[int]) -> int:
    """The first as often as the second says; a list's new items are all the third."""
    return max(sizes[0], *sizes[2:], 1) * _number(given[1])


def _filled(given: Sequence[Any], sizes: Sequence[int]) -> int:
    return max(map(_number, given))


def _replaced(given: Sequence[Any], sizes: Sequence[int]) -> int:
    """Each piece that is found gives the new text; one that is written out is at least as long as it is."""
    if len(given) < 3:
        return sizes[0]
    found, new = literal(given[1]), literal(given[2])
    return sizes[0] * max(1, -(-(sizes[2] if new is None else len(new)) // max(1, len(found or ""))))


def _matched(given: Sequence[Any], sizes: Sequence[int]) -> int:
    """An empty match gives the new text too, before each character and at the end."""
    new = literal(given[2]) if len(given) > 2 else ""
    return (sizes[0] + 1) * (1 + (sizes[2] if new is None else len(new)))


def _crossed(given: Sequence[Any], sizes: Sequence[int]) -> int:
    """A table of both texts, while it is computed."""
    return sizes[0] * sizes[1]


def _number(node: Any) -> int:
    text = (literal(node) or "").lstrip("-")
    return int(text) if text.isdecimal() else 0


_GROWS: dict[str, Callable[[Sequence[Any], Sequence[int]], int]] = {
    "repeat": _times,
    "list_resize": _times,
    "array_resize": _times,
    "lpad": _filled,
    "rpad": _filled,
    "range": _filled,
    "generate_series": _filled,
    "replace": _replaced,
    "regexp_replace": _matched,
    "levenshtein": _crossed,
    "damerau_levenshtein": _crossed,
    "concat_ws": lambda given, sizes: sizes[0] * len(sizes) + sum(sizes),
}
