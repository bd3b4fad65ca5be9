"""Which relations a query reads that no node of the project is: tables by their names, files by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import Unclear, Warehouse, lower, tokens_of


def read_by_name(nodes: Mapping[str, Node]) -> Iterator[tuple[str, str]]:
    """(node, relation) of each relation that the SQL of a node reads and that is none of ``nodes``.

    Looks at every table of a text, also where the rest of it is not understood. A text that cannot be parsed at all
    tells nothing; what it reads is compared with it as a text.
    """
    known = {lower(name) for name in nodes}
    for name, node in nodes.items():
        texts = [text for text in (node.sql, node.incremental) if text]
        foreign = (table for text in texts for table in _tables(text) if table.removeprefix("ref.") not in known)
        yield from dict.fromkeys((name, table) for table in foreign)


@lru_cache(maxsize=4096)
def _tables(text: str) -> tuple[str, ...]:
    """The tables of a text that no CTE is, each once; models that many views read are parsed once."""
    try:
        trees = Warehouse().parser().parse(tokens_of(text), text)
    except (Unclear, SqlglotError, RecursionError):
        return ()
    found = []
    for tree in trees:
        for table in tree.find_all(exp.Table) if tree is not None else ():
            parts = [lower(part.name) for part in table.parts]
            if not isinstance(table.this, exp.Identifier):
                continue  # a table function; read_parquet and its like are judged by their words
            if len(parts) > 1 or parts[0] not in _visible(table):
                found.append(".".join(parts))
    return tuple(dict.fromkeys(found))


def _visible(table: exp.Expr) -> set[str]:
    """The names of CTEs of all queries that a table stands in."""
    found: set[str] = set()
    above: exp.Expr | None = table
    while above is not None:
        for with_ in (above.args.get("with_"), above.args.get("with")):
            if isinstance(with_, exp.With):
                found |= {lower(cte.alias) for cte in with_.expressions}
        above = above.parent
    return found
