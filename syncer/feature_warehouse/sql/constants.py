"""Queries that read nothing: their answer is the same on every machine, whatever a warehouse holds."""

from __future__ import annotations

from feature_warehouse.sql.algebra import Terms
from feature_warehouse.sql.facts import Walk
from feature_warehouse.sql.nodes import Node, Reader

_NAME = "query"


def is_constant(sql: str) -> bool:
    """Whether a query reads no relation, and neither clock, chance, session nor a function that is not known."""
    reader = Reader({_NAME: Node(sql=sql, reads=())}, Terms())
    relation = reader.relation(_NAME)
    if reader.as_text:  # a relation is read, for one: there is no node but the query itself
        return False
    walk = Walk()
    walk.block(relation.block)
    for term in relation.columns.values():
        walk.term(term)
    return not any(
        (
            relation.rest,
            walk.sources,
            walk.chance,
            walk.ties,
            walk.current_time,
            walk.current_instant,
            walk.session,
            walk.session_zone,
            walk.open_zone,
            walk.unknown,
        )
    )
