"""What names mean while a query is read: relations, their columns, CTEs."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from feature_warehouse.sql.algebra import Block, Instance, Term, Terms
from feature_warehouse.sql.text import lower


@dataclass(eq=False)
class Relation:
    """Rows with named columns. ``rest``: every other name is a column of it, ref(..., '*'), except those in hidden;
    after: how many of the named columns stand before these."""

    block: Block
    columns: dict[str, Term]
    rest: Term | None = None
    hidden: frozenset[str] = frozenset()
    after: int = 0

    def has(self, name: str) -> bool:
        return lower(name) in self.columns or (self.rest is not None and lower(name) not in self.hidden)

    def column(self, name: str, terms: Terms) -> Term:
        """A column by name. Raises KeyError where there is none."""
        name = lower(name)
        if name in self.columns:
            return self.columns[name]
        if self.rest is None or name in self.hidden:
            raise KeyError(name)
        return column_of(self.rest, name, terms)

    def terms(self) -> tuple[Term, ...]:
        return (*self.columns.values(), *([self.rest] if self.rest else []))


@dataclass
class Source:
    """One relation in a FROM clause, in the terms of the block that is being built."""

    alias: str
    columns: dict[str, Term]
    rest: Term | None = None
    hidden: frozenset[str] = frozenset()
    after: int = 0
    merged: set[str] = field(default_factory=set)  # columns that USING shows once, on the other side


@dataclass
class Scope:
    """What names mean while one SELECT is read."""

    names: Names
    outer: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    shared: dict[str, Term] = field(default_factory=dict)  # columns of USING
    aliases: dict[str, Term] = field(default_factory=dict)
    windows: dict[str, exp.Window] = field(default_factory=dict)
    variables: tuple[str, ...] = ()  # of lambdas


@dataclass
class Names:
    """CTEs in scope; ``once``: names that the whole query reads but once."""

    outer: Names | None = None
    queries: dict[str, tuple[exp.Query, Names, tuple[str, ...]]] = field(default_factory=dict)
    built: dict[str, Relation] = field(default_factory=dict)
    once: frozenset[str] = frozenset()

    def find(self, name: str) -> Names | None:
        scope: Names | None = self
        while scope is not None and name not in scope.queries:
            scope = scope.outer
        return scope


def column_of(rest: Term, name: str, terms: Terms) -> Term:
    """The column of that name among those that a star stands for."""
    instance, what = rest.args
    assert isinstance(instance, Instance)
    return terms.ref(instance, column_of(what, name, terms) if isinstance(what, Term) else name)
