"""What a change of SQL means for each feature: refactor, additive, value change or schema break.

Compares two ``Definitions``: what was accepted, and what the project says now. Fingerprints are made here, on both
sides, by the same code, and are never stored.

Begin to read this wing here. `text` makes a tree that keeps every word; `nodes`, `queries`, `joins`, `calls`,
`expressions` and `rewritings` make it an `algebra`; `digest` gives each meaning one name, `facts` and `lookback` say
what else there is to tell, `clauses` and `wording` put a difference into words.
No files, no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from feature_warehouse.sql.algebra import CHOICE, Term, Terms, uses
from feature_warehouse.sql.clauses import NamesRead, names_read
from feature_warehouse.sql.digest import Digests, Unnamed
from feature_warehouse.sql.facts import Facts, FactsOfRows, Walk
from feature_warehouse.sql.lookback import Stated, shape, stated
from feature_warehouse.sql.nodes import Node, Reader
from feature_warehouse.sql.queries import Builder, is_bare
from feature_warehouse.sql.reach import Lookback, everywhere, leaves, total
from feature_warehouse.sql.rolling import Rolled, told_apart
from feature_warehouse.sql.rolling import diff as rolled_diff
from feature_warehouse.sql.scope import Names, Relation, Scope
from feature_warehouse.sql.text import Unclear, canonical_type, lower, parse, words_of
from feature_warehouse.sql.types import type_of
from feature_warehouse.sql.wording import Said, compared, unified
from feature_warehouse.sql.wording import diff as sql_diff

Kind = Literal["refactor", "additive", "value change", "schema break"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One version of a feature view, as far as the gate looks at it. Types as declared; '' where none is."""

    node: str
    join_keys: Mapping[str, str]
    event_timestamp: str
    available_at: str | None = None
    deleted: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    rolled: Mapping[str, Rolled] = field(default_factory=dict)  # the features that are aggregates of the node's rows


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one feature.

    reasons: what changed and where, one sentence each; empty for a refactor. as_text: nodes that were compared as text,
    because their SQL is not understood, and why. renamed: of a feature that is gone, the new one with its values.
    """

    feature: str
    kind: Kind
    reasons: tuple[str, ...] = ()
    as_text: tuple[str, ...] = ()
    renamed: str = ""


class Definitions:
    """Nodes by name, and what their SQL means. Each node is read once, whatever number of views asks."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = {lower(name): node for name, node in nodes.items()}
        self.terms = Terms()
        self.reader = Reader(self.nodes, self.terms)
        self._digests = Digests(self.terms)
        self._complete: dict[str, tuple[View, Relation]] = {}  # by the view's node
        self._stated: dict[str, tuple[Relation, dict[object, Stated]]] = {}
        self._facts: dict[tuple[object, ...], FactsOfRows] = {}

    def add(self, name: str, node: Node) -> None:
        """One node more, which reads those that there are."""
        self.nodes[lower(name)] = node

    def relation(self, view: View) -> Relation:
        """The view's rows, with all its columns."""
        name = lower(view.node)
        relation = self.reader.relation(name)
        known = self._complete.get(name)
        if known is None or known[0] is not view or known[1] is not relation:
            relation = self._whole(view, relation)
            self._complete[name] = view, relation
        return relation

    def _whole(self, view: View, relation: Relation) -> Relation:
        name = lower(view.node)
        names = (*view.join_keys, view.event_timestamp, view.available_at, view.deleted, *view.features)
        for column in filter(None, names):
            if not relation.has(column):
                return self.reader.text(name, f"no column {column} is found in it")
        return relation

    def closure(self, view: View) -> list[str]:
        """The view's node and those above it, nearest first, without sources."""
        self.relation(view)
        found = [lower(view.node)]
        for name in found:
            found += [
                other
                for other in self.reader.reads.get(name, ())
                if other not in found and self.nodes[other].sql is not None
            ]
        return list(dict.fromkeys(found))

    def seeds(self, view: View) -> set[str]:
        """The seeds that a view and the models above it read."""
        read = {other for name in self.closure(view) for other in self.reader.reads.get(name, ())}
        return {name for name in read if self.nodes[name].sql is None and self.nodes[name].closed}

    def as_text(self, view: View) -> tuple[str, ...]:
        """The nodes of a view that are compared as text, and why."""
        return tuple(
            f"`{name}` is compared as text: {self.reader.as_text[name]}"
            for name in self.closure(view)
            if name in self.reader.as_text
        )

    def columns(self, view: View, feature: str) -> tuple[Term, ...]:
        """The terms that decide what is read as the feature: keys, times and the value itself."""
        relation = self.relation(view)
        names = [*view.join_keys, view.event_timestamp, view.available_at, view.deleted, feature]
        return tuple(relation.column(name, self.terms) if name else self.terms.make("null") for name in names)

    def fingerprint(self, view: View, feature: str) -> str:
        """Equal for SQL that is known to mean the same; of the meaning alone, so that names do not enter."""
        rows = self.rows(view, feature)
        return f"{rows} {view.rolled[feature]}" if feature in view.rolled else rows

    def rows(self, view: View, feature: str) -> str:
        """The fingerprint of a feature's column, whatever is then made of it."""
        try:
            return self._rows(view, feature)
        except RecursionError:
            self.reader.text(lower(view.node), "it is nested too deeply")
        except Unnamed as exc:
            self.reader.text(lower(view.node), str(exc))
        return self._rows(view, feature)

    def _rows(self, view: View, feature: str) -> str:
        block, columns = self.relation(view).block, self.columns(view, feature)
        fingerprint = self._digests.rows(block, columns)
        kept = self._digests.kept(block, columns)
        if CHOICE in kept.uses.union(*map(uses, columns)):  # which rows, hangs on all that is written
            nodes = [self.nodes[name] for name in sorted(self.closure(view))]
            fingerprint += " ".join(words_of(text, node.dialect) for node in nodes for text in _texts(node))
        return fingerprint

    def facts(self, view: View, feature: str) -> Facts:
        columns = self.columns(view, feature)
        kept = self._digests.kept(self.relation(view).block, columns)
        rows = (lower(view.node), kept.factors, kept.attachments, kept.conditions, columns[:-1])
        if rows not in self._facts:
            self._facts[rows] = FactsOfRows(kept, columns[:-1], columns[len(view.join_keys)], self._told(view))
        found = self._facts[rows].of(columns[-1])
        if feature not in view.rolled:
            return found
        taken = {source for instance in kept.instances() for source in leaves(instance.content)}
        window = everywhere(Lookback(span=view.rolled[feature].span), taken)
        return replace(found, reach=total(window, found.reach))

    def _told(self, view: View) -> dict[object, Stated]:
        """The look-backs that the view and the models above it state."""
        told: dict[object, Stated] = {}
        for name in self.closure(view):
            relation = self.reader.relation(name)
            if name not in self._stated or self._stated[name][0] is not relation:
                spans = stated(self.nodes[name].sql or "").items()
                shapes = {
                    shape(relation.column(column, self.terms)): Stated(name, span)
                    for column, span in spans
                    if relation.has(column)
                }
                self._stated[name] = relation, shapes
            told |= self._stated[name][1]
        return told


def judge(old: Definitions, accepted: View, new: Definitions, proposed: View) -> tuple[Change, ...]:
    """The change of each feature of one view version, accepted ones first, in their order."""
    changes = []
    keys = _keys(accepted, proposed)
    as_text = tuple(dict.fromkeys((*old.as_text(accepted), *new.as_text(proposed))))
    reasons = _Reasons(old, accepted, new, proposed)
    added = [feature for feature in proposed.features if feature not in accepted.features]
    renamed: dict[str, str] = {}
    for feature, type_ in accepted.features.items():
        before = old.fingerprint(accepted, feature)
        if feature not in proposed.features:
            names = [name for name in added if name not in renamed and new.fingerprint(proposed, name) == before]
            if names:
                renamed[names[0]] = feature
            said = f"renamed to {names[0]}" if names else "removed"
            changes.append(Change(feature, "schema break", (said,), renamed=names[0] if names else ""))
            continue
        declared = canonical_type(type_), canonical_type(proposed.features[feature])
        breaks = list(keys)
        if declared[0] != declared[1] and all(declared):
            breaks.append(f"type {declared[0]} -> {declared[1]}")
        if breaks:
            changes.append(Change(feature, "schema break", tuple(breaks)))
        elif before == new.fingerprint(proposed, feature):
            changes.append(Change(feature, "refactor", (), as_text))
        else:
            changes.append(Change(feature, "value change", reasons.of(feature), as_text))
    for feature in added:
        was = (f"was called {renamed[feature]}",) if feature in renamed else ()
        changes.append(Change(feature, "additive", was))
    return tuple(changes)


def _keys(accepted: View, proposed: View) -> list[str]:
    before, after = list(accepted.join_keys), list(proposed.join_keys)
    if before != after:
        return [f"join keys {', '.join(before)} -> {', '.join(after)}"]
    return [
        f"type of join key {key}: {one} -> {two}"
        for key in before
        if (one := canonical_type(accepted.join_keys[key])) != (two := canonical_type(proposed.join_keys[key]))
        and one
        and two
    ]


class _Reasons:
    """The clauses that differ, in words; of all features of one view."""

    def __init__(self, old: Definitions, accepted: View, new: Definitions, proposed: View) -> None:
        self._accepted, self._view = accepted, proposed
        names = dict.fromkeys((*new.closure(proposed), *old.closure(accepted)))
        self._nodes = [(name, old.nodes.get(name), new.nodes.get(name)) for name in names]
        self._sides = (old, new)
        self._seeds = sorted(old.seeds(accepted) & new.seeds(proposed))
        self._sentences: dict[bool, list[Said]] = {}

    def of(self, feature: str) -> tuple[str, ...]:
        was, now = self._accepted.rolled.get(feature), self._view.rolled.get(feature)
        if was is None or now is None:
            return self._clauses(feature)
        told, (old, new) = tuple(told_apart(was, now, self._view.node)), self._sides
        same_rows = old.rows(self._accepted, feature) == new.rows(self._view, feature)
        return told if same_rows else (*told, *self._clauses(feature))

    def _clauses(self, feature: str) -> tuple[str, ...]:
        for qualified in (False, True):
            if qualified not in self._sentences:
                self._sentences[qualified] = list(self._compared(qualified))
            if self._sentences[qualified]:
                read = self._read(feature)
                found = [one.text for one in self._sentences[qualified] if one.column is None or one.column in read]
                if found:
                    return tuple(dict.fromkeys(found))
        return ("its SQL changed in a way that is not told apart in words; see the diff",)

    def _compared(self, qualified: bool) -> Iterator[Said]:
        for name, old, new in self._nodes:
            dialects = [node.dialect for node in (old, new) if node is not None]
            if any(dialects):
                if _words(old) != _words(new) or len({*dialects}) > 1:
                    yield Said(f"the SQL of `{name}` changed")
            else:
                for before, after in zip(_texts(old), _texts(new), strict=False):
                    yield from compared(name, before, after, qualified)
            if old is not None and new is not None:
                if old.strategy != new.strategy:
                    yield Said(f"strategy {old.strategy or 'none'} -> {new.strategy or 'none'} of `{name}`")
                if tuple(map(words_of, old.hooks)) != tuple(map(words_of, new.hooks)):
                    yield Said(f"hooks of `{name}` changed")
                if old.unique_key != new.unique_key:
                    one, two = (", ".join(node.unique_key) or "none" for node in (old, new))
                    yield Said(f"unique key {one} -> {two} of `{name}`")
        for name in self._seeds:
            was, now = (self._types(side.nodes[name]) for side in self._sides)
            for column in sorted(was.keys() & now.keys()):
                if was[column] != now[column]:
                    yield Said(f"type of {column} {was[column]} -> {now[column]} in the seed `{name}`", column)

    def _types(self, seed: Node) -> dict[str, str]:
        return {lower(name): canonical_type(type_) or "inferred" for name, type_ in seed.columns.items()}

    def _read(self, feature: str) -> frozenset[str]:
        """The names of columns that the feature's, keys' and times' names are computed from, in any of the nodes."""
        view = self._view
        times = (view.event_timestamp, view.available_at, view.deleted)
        waiting = [*map(lower, filter(None, (feature, *view.join_keys, *times))), *self._names.rows]
        read: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in read:
                read.add(name)
                waiting += self._names.columns.get(name, ())
        return frozenset(read)

    @cached_property
    def _names(self) -> NamesRead:
        """What any of the texts computes columns of one name from."""
        columns: dict[str, frozenset[str]] = {}
        rows: frozenset[str] = frozenset()
        for text in {text for _, old, new in self._nodes for node in (old, new) for text in _texts(node)}:
            found = names_read(text)
            rows |= found.rows
            for column, names in found.columns.items():
                columns[column] = columns.get(column, frozenset()) | names
        return NamesRead(columns, rows)


def _texts(node: Node | None) -> tuple[str, ...]:
    return tuple(text for text in (node.sql, node.incremental) if text) if node else ()


def _words(node: Node | None) -> list[str]:
    return [words_of(text, node.dialect) for text in _texts(node)] if node else []


def diff(old: Definitions, accepted: View, new: Definitions, proposed: View) -> str:
    """A unified diff of the formatted SQL of each node, from the view upwards, that differs; '' where none does."""
    names = dict.fromkeys((*new.closure(proposed), *old.closure(accepted)))
    parts = []
    for name in names:
        before, after = (_texts(side.nodes.get(name)) for side in (old, new))
        if name == lower(proposed.node) and proposed.rolled:
            parts.append(rolled_diff(name, (before[0] if before else "", accepted.rolled), (after[0], proposed.rolled)))
            continue
        for number in range(max(len(before), len(after))):
            one, two = (texts[number] if number < len(texts) else "" for texts in (before, after))
            title = name if not number else f"{name} (incremental)"
            if any(side.nodes[name].dialect for side in (old, new) if name in side.nodes):  # nobody formats it
                parts.append(unified(title, one.splitlines(), two.splitlines()))
            else:
                parts.append(sql_diff(title, one, two))
    return "\n".join(part for part in parts if part)


# -- on-demand expressions -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnDemand:
    """What is known of an expression over one row. type: '' where it is not certain; problems: why it cannot serve."""

    type: str
    problems: tuple[str, ...]


def check_on_demand(expression: str, columns: Mapping[str, str]) -> OnDemand:
    """Whether an expression gives the same value in training and at request time: of known columns (name -> type)
    alone, without chance, clock, subquery or other rows."""
    definitions = Definitions({"row": Node(columns=columns, closed=True)})
    try:
        query = parse(f"select {expression}")
        if len(query.expressions) != 1 or not is_bare(query):
            return OnDemand("", ("it is not one expression",))
        relation = Builder(definitions.reader, "row").query(parse(f"select {expression}\nfrom row"), Scope(Names()))
    except Unclear as exc:
        return OnDemand("", (str(exc),))
    [value] = relation.columns.values()
    walk = Walk()
    walk.term(value)
    problems = [f"{name} reads the clock" for name in sorted(walk.current_time | walk.current_instant)]
    chance = walk.chance | {f"{name} (not known here)" for name in walk.unknown}
    problems += [f"{name} may give another value at each call" for name in sorted(chance)]
    kinds = {instance.content.kind for instance in relation.block.instances()}
    problems += [f"{name} is a value of the session" for name in sorted(walk.session)]
    if value.queries:
        problems.append("it holds a subquery")
    if kinds != {"leaf"}:
        problems.append("it looks at more than one row: an aggregate, a window or unnest")
    return OnDemand(type_of(value) or "", tuple(problems))


def same_on_demand(before: str, after: str, columns: Mapping[str, str]) -> bool:
    """Whether two expressions over the same columns are known to give the same value."""

    def fingerprint(expression: str) -> str:
        row, computed = Node(columns=columns, closed=True), Node(sql=f"select (\n{expression}\n) as value from row")
        view = View(node="computed", join_keys={}, event_timestamp="value")
        return Definitions({"row": row, "computed": computed}).fingerprint(view, "value")

    return before == after or fingerprint(before) == fingerprint(after)
