"""The nodes of a project to relations: models are read, sources and seeds are where reading ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from feature_warehouse.sql.algebra import Arg, Block, Content, Instance, Terms
from feature_warehouse.sql.queries import Builder
from feature_warehouse.sql.scope import Names, Relation, Scope
from feature_warehouse.sql.text import Unclear, canonical_type, lower, parse, relations_of, words_of


@dataclass(frozen=True, slots=True)
class Node:
    """One relation of the project.

    sql: its compiled query with node names in place of relations; None for a source or seed, where lineage ends.
    incremental: the query of a later run, of an incremental model; what then becomes of the rows that stand there is
    said by ``strategy`` and ``unique_key``. columns: declared types by name; closed: there are no
    others, and its rows are made of these types, as a seed's are.
    reads: the names of the nodes that the SQL reads, where somebody knows. opaque: why it is compared as text, whatever
    its SQL; hooks: SQL that is run before or after it, which that text takes in. dialect: the dbt adapter whose SQL it
    is, where that is not DuckDB's; what it means is not known then, so it is compared by its words alone.
    """

    sql: str | None = None
    incremental: str | None = None
    strategy: str = ""
    unique_key: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    reads: tuple[str, ...] | None = None
    opaque: str = ""
    hooks: tuple[str, ...] = ()
    dialect: str = ""


class Reader:
    """Reads nodes into relations, each node once. ``nodes`` by the names that their SQL uses."""

    def __init__(self, nodes: Mapping[str, Node], terms: Terms) -> None:
        self.nodes = nodes
        self.terms = terms
        self.as_text: dict[str, str] = {}  # nodes that are compared as text, and why
        self.reads: dict[str, list[str]] = {}  # the nodes that each node reads
        self._relations: dict[str, Relation] = {}
        self._reading: list[str] = []

    def relation(self, name: str) -> Relation:
        """The rows of a node. Raises KeyError for a name that no node has."""
        if name in self._relations:  # it is asked for again with each feature
            return self._relations[name]
        for other, waiting in self._unread(name):
            already = len(self._reading)
            self._reading += waiting
            try:
                self._relation(other)
            finally:
                del self._reading[already:]
        return self._relation(name)

    def _unread(self, name: str) -> Iterator[tuple[str, list[str]]]:
        """The models above one that were not read yet, the uppermost first, so that a chain is no recursion; with those
        that wait for it."""
        waiting, seen = [(name, False)], {name}
        while waiting:
            one, done = waiting.pop()
            if done:
                if one != name:
                    yield one, [other for other, opened in waiting if opened]
                continue
            waiting.append((one, True))
            node = self.nodes[one]
            above = map(lower, node.reads or ()) if node.reads is not None else self._named_in(node)
            for other in above:
                known = self.nodes.get(other)
                if known is not None and known.sql is not None and other not in seen and other not in self._relations:
                    seen.add(other)
                    waiting.append((other, False))

    def _named_in(self, node: Node) -> list[str]:
        try:
            tables = [table for text in (node.sql, node.incremental) if text for table in relations_of(parse(text))]
        except Unclear:
            return []
        return [table.removeprefix("ref.") for table in tables]

    def _relation(self, name: str) -> Relation:
        if name not in self._relations:
            node = self.nodes[name]
            if name in self._reading:  # a model that reads itself reads what stands there
                return self._leaf("itself", Node())
            if node.sql is None:
                return self._leaf(name, node)
            self._reading.append(name)
            try:
                self._relations[name] = self._model(name, node)
            finally:
                self._reading.pop()
        return self._relations[name]

    def named(self, names: Iterable[str], reader: str) -> Relation | None:
        for name in names:
            if name in self.nodes:
                self.reads.setdefault(reader, []).append(name)
                return self.use(self.relation(name))
        return None

    def _leaf(self, name: str, node: Node) -> Relation:
        names = [lower(column) for column in node.columns]
        types = {lower(column): canonical_type(kind) for column, kind in node.columns.items() if kind}
        leaf = Instance(Content("leaf", texts=(name,), types=types, loaded=node.closed))
        rest = None if node.closed else self.terms.ref(leaf, "*")
        return Relation(
            Block((leaf,)), {c: self.terms.ref(leaf, c) for c in names}, rest, frozenset(names) if rest else frozenset()
        )

    def _model(self, name: str, node: Node) -> Relation:
        assert node.sql is not None
        if node.opaque:
            return self.text(name, node.opaque)
        if node.dialect:
            return self.text(name, f"it is SQL of {node.dialect}")
        queries = [node.sql] if node.incremental is None else [node.sql, node.incremental]
        try:
            self.reads.pop(name, None)
            built = [Builder(self, name).query(parse(query), Scope(Names())) for query in queries]
        except Unclear as exc:
            return self.text(name, str(exc))
        except RecursionError:
            return self.text(name, "it is nested too deeply")
        if len(built) == 1:
            return built[0]
        first, later = built
        if first.rest or later.rest or first.columns.keys() != later.columns.keys():
            return self.text(name, "the columns of its first and its later runs cannot be compared")
        # what a run adds, and what it does to the rows that stand there, decides together
        missing = [key for key in node.unique_key if lower(key) not in first.columns]
        if missing:
            return self.text(name, f"its unique key {missing[0]} is no column of it")
        unique = sorted(set(map(lower, node.unique_key)))
        keys = tuple(tuple(one.columns[key] for key in unique) for one in (first, later))
        run = Instance(Content("incremental", (first.block, later.block), keys, (node.strategy,)))
        return Relation(
            Block((run,)),
            {
                c: self.terms.ref(run, self.terms.make("pick", first.columns[c], later.columns[c]))
                for c in first.columns
            },
        )

    def text(self, name: str, why: str) -> Relation:
        """A node that is not understood: its words, and all that it reads."""
        self.as_text[name] = why
        node = self.nodes[name]
        assert node.sql is not None
        texts = [words_of(text, node.dialect) for text in (node.sql, node.incremental, *node.hooks) if text]
        how = (node.strategy, *node.unique_key, *([node.dialect] if node.dialect else []))
        named = self.nodes if node.reads is None else map(lower, node.reads)
        inputs = [
            other
            for other in sorted(named)
            if other not in self._reading and (node.reads is not None or any(other in lower(text) for text in texts))
        ]
        self.reads[name] = inputs
        blocks: list[Block] = []
        columns: list[Arg] = []
        for other in inputs:
            relation = self.use(self.relation(other))
            blocks.append(relation.block)
            # a star may stand for them: by their order, too
            rest: tuple[Arg, ...] = ()
            if relation.rest:
                rest = (f"after {relation.after}", *sorted(relation.hidden), relation.rest)
            columns.append((other, *relation.columns, *relation.columns.values(), *rest))
        whole = Instance(Content("text", tuple(blocks), tuple(columns), (name, *texts, *how)))
        self._relations[name] = Relation(Block((whole,)), {}, self.terms.ref(whole, "*"))
        return self._relations[name]

    def use(self, relation: Relation) -> Relation:
        block, terms = self.terms.copy(relation.block, relation.terms())
        columns = dict(zip(relation.columns, terms, strict=False))
        return Relation(block, columns, terms[-1] if relation.rest else None, relation.hidden, relation.after)
