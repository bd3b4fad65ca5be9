"""A view as its rows stand in a warehouse: nodes of the accepted definition, and others beside them.

Each relation is looked at by all the texts that its rows were made by, of what stood above it then. Where such a text
says the same as the accepted one, it is that one; of another a node of another name is made, and a feature is compared
over those nodes. A column that a text does not have is NULL in its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import product
from typing import Protocol

from feature_warehouse.sql.changes import Definitions, View
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import Unclear, lower, parse, plain_name, reference, relations_of, words_of

#: Ways in which what stands above a relation may be put together; what the others would make is not known.
_MOST = 64


#: A moment in the order of builds: after the row of that number; later than all of them is what stands now.
Moment = float
NOW: Moment = float("inf")


@dataclass(frozen=True, slots=True)
class Made:
    """What some rows of a relation were made by. sql: None where nobody knows; alike: kept as they would be today;
    at: what stood above them then is what they were made from."""

    sql: str | None
    later: bool
    alike: bool
    at: Moment


class History(Protocol):
    def made(self, name: str, at: Moment) -> Sequence[Made] | None:
        """What the rows that a relation had at a moment were made by; None: by what is accepted, from what stood above
        it at that moment."""


class Standing:
    """One view version as it stands: nodes of the accepted definition, and beside them those that other rows are of."""

    def __init__(self, view: View, nodes: Mapping[str, Node], history: History) -> None:
        self._view = view
        self._accepted = {name: _timeless(node) for name, node in nodes.items()}
        self._history = history
        self._sql = Definitions(self._accepted)
        self._written = {lower(reference(name).replace('"', "")): name for name in self._accepted}
        self._order = list(
            TopologicalSorter({name: node.reads or () for name, node in self._accepted.items()}).static_order()
        )
        self._memo: dict[tuple[str, Moment], list[str]] = {}
        self._made: dict[tuple[str, str | None, str | None, str], str] = {}
        self._unknown: set[str] = set()  # nodes with rows of nobody knows what, themselves or above

    # -- what is behind ------------------------------------------------------------------------------------------------

    def behind(self, features: Iterable[str]) -> dict[bool, list[str]]:
        """The features that do not stand as accepted: by whether that is certain."""
        for name in self._order:  # each after what it reads, so that a chain is no recursion
            self.names(name, NOW)
        features = list(features)
        roots = [name for name in self.names(self._view.node, NOW) if name != self._view.node]
        certain = [f for f in features if any(self._differs(f, name) for name in roots if name not in self._unknown)]
        maybe = [
            f
            for f in features
            if f not in certain and any(self._differs(f, name) for name in roots if name in self._unknown)
        ]
        return {known: names for known, names in ((True, certain), (False, maybe)) if names}

    def causes(self, feature: str, certain: bool) -> tuple[str, ...]:
        """The uppermost nodes that are behind, and that the feature gets other rows from."""
        nodes = [name for name in self._accepted if self._others(name, certain)]
        uppermost = [name for name in nodes if not any(other in nodes for other in self._above(name))]
        own = [name for name in uppermost if any(self._differs(feature, one) for one in self._with(name, certain))]
        return tuple(sorted(own or uppermost))

    def _others(self, name: str, certain: bool) -> list[str]:
        found = (one for one in self.names(name, NOW) if one != name)
        return [one for one in found if (one not in self._unknown) == certain]

    def _above(self, name: str) -> list[str]:
        found = list(self._accepted[name].reads or ())
        for each in found:
            found += [one for one in self._accepted[each].reads or () if one not in found]
        return [each for each in found if each != name]

    def _with(self, name: str, certain: bool) -> Iterator[str]:
        """The view as accepted, but for what stands in one node."""
        for other in self._others(name, certain):
            replaced = {name: other}
            for each in self._order:
                node = self._accepted[each]
                told = {above: replaced[above] for above in node.reads or () if above in replaced}
                if told and each not in replaced:
                    replaced[each] = self._named(each, replace(_reading_others(node, told), reads=_read(node, told)))
            yield replaced.get(self._view.node, self._view.node)

    def _differs(self, feature: str, root: str) -> bool:
        """Whether a feature that is read from ``root`` is another one than the accepted."""
        view = replace(self._view, features={feature: self._view.features.get(feature, "")})
        names = [*view.join_keys, view.event_timestamp, view.available_at, view.deleted, feature]
        relation = self._sql.reader.relation(lower(root))
        if not all(relation.has(name) for name in filter(None, names)):
            return True
        return self._sql.fingerprint(view, feature) != self._sql.fingerprint(replace(view, node=root), feature)

    # -- what stands there ---------------------------------------------------------------------------------------------

    def names(self, name: str, at: Moment) -> list[str]:
        """The nodes that the rows which a relation had at a moment were made as: [name] where that is as accepted."""
        if (name, at) not in self._memo:
            self._memo[name, at] = [name]  # of a model that reads itself
            self._memo[name, at] = list(dict.fromkeys(self._names(name, at)))
        return self._memo[name, at]

    def _names(self, name: str, at: Moment) -> Iterator[str]:
        node = self._accepted[name]
        if node.sql is None:
            yield name
            return
        found = self._history.made(name, at)
        if found is None:
            texts = [(node.sql, False), *([(node.incremental, True)] if node.incremental is not None else [])]
            found = [Made(text, later, True, at) for text, later in texts]
        for made in found:
            yield from self._one(name, node, made)

    def _one(self, name: str, node: Node, made: Made) -> Iterator[str]:
        """What the rows that were made in one way are: of each way in which what stood above them was made."""
        if made.sql is None:
            yield self._nobody_knows(name)
            return
        text, accepted = _CLOCK.sub("current_timestamp", made.sql), node.incremental if made.later else node.sql
        if not self._foreign(text) <= self._foreign(accepted or ""):  # of another project's target, or since renamed
            yield self._nobody_knows(name)
            return
        above = [each for each in self._read_by(text) if each != name]
        ways = [self.names(each, made.at) for each in above]
        same = made.alike and words_of(text) == words_of(accepted or "")
        for number, way in enumerate(product(*ways)):
            if number == _MOST:
                yield self._nobody_knows(name)
                return
            told = {each: other for each, other in zip(above, way, strict=True) if each != other}
            yield name if same and not told else self._other(name, node, replace(made, sql=text), told)

    def _other(self, name: str, node: Node, made: Made, told: Mapping[str, str]) -> str:
        text = self._wide(name, _reading(made.sql or "", told))
        other = replace(
            node,
            sql=node.sql if made.later else text,
            incremental=text if made.later else node.incremental,
            strategy=node.strategy if made.alike else f"{node.strategy} once otherwise",
            reads=_read(node, told, also=self._read_by(made.sql or "")),
        )
        known = self._named(name, other)
        if self._unknown.intersection(told.values()):
            self._unknown.add(known)
        return name if self._same(name, known) else known

    def _nobody_knows(self, name: str) -> str:
        known = self._named(name, Node(sql=f"select * from source.nobody.{plain_name(name)}", reads=()))
        self._unknown.add(known)
        return known

    def _named(self, name: str, node: Node) -> str:
        """The name of a node that stands beside the accepted one; a text that reads itself reads that."""
        key = name, node.sql, node.incremental, node.strategy
        if key not in self._made:
            other = self._made[key] = f"{name} as built {len(self._made) + 1}"
            told = {name: other}
            self._sql.add(other, _reading_others(node, told))
        return self._made[key]

    def _same(self, name: str, other: str) -> bool:
        """Whether all columns of two nodes mean the same."""
        one, two = (self._sql.reader.relation(lower(each)) for each in (name, other))
        if one.rest or two.rest or one.columns.keys() != two.columns.keys():
            return False
        first = next(iter(one.columns))
        view = View(node=name, join_keys={}, event_timestamp=first, features=dict.fromkeys(one.columns, ""))
        made = replace(view, node=other)
        return all(self._sql.fingerprint(view, each) == self._sql.fingerprint(made, each) for each in one.columns)

    def _wide(self, name: str, text: str) -> str:
        """A text with the columns that the accepted node has beside its own: in its rows these are NULL."""
        accepted = self._sql.reader.relation(lower(name))
        trial = self._named(name, Node(sql=text, reads=tuple(self._read_by(text))))
        made = self._sql.reader.relation(lower(trial))
        missing = [column for column in accepted.columns if column not in made.columns]
        if accepted.rest or made.rest or not missing:
            return text
        columns = ", ".join(f"null as {plain_name(column)}" for column in missing)
        return f"select made.*, {columns} from ({text.rstrip().rstrip(';')}) as made"

    def _foreign(self, text: str) -> set[str]:
        """The relations of a text that are none of the project's."""
        try:
            return {table for table in relations_of(parse(text)) if "." in table and table not in self._written}
        except Unclear:
            return set()

    def _read_by(self, text: str) -> list[str]:
        try:
            tables = relations_of(parse(text))
        except Unclear:
            return [name for name in self._accepted if lower(reference(name)) in lower(text)]
        return list(dict.fromkeys(self._written[table] for table in tables if table in self._written))


def _read(node: Node, told: Mapping[str, str], also: Iterable[str] = ()) -> tuple[str, ...]:
    return tuple(sorted({*(node.reads or ()), *also, *told.values()}))


def _reading_others(node: Node, told: Mapping[str, str]) -> Node:
    first, later = (None if text is None else _reading(text, told) for text in (node.sql, node.incremental))
    return replace(node, sql=first, incremental=later)


def _reading(text: str, told: Mapping[str, str]) -> str:
    """The text with other names of nodes in place of those that it reads."""
    for name, other in told.items():
        text = re.sub(rf'(?<![\w."]){re.escape(reference(name))}(?![\w"])', reference(other).replace("\\", r"\\"), text)
    return text


#: What `current_instant` compiles to: the clock of the run, which no value of a row hangs on.
_CLOCK = re.compile(
    r"coalesce\(cast\(getvariable\('feature_warehouse_now'\) as timestamptz\), "
    r"(?:current_timestamp|cast\('[^']*' as timestamp with time zone\))\)"
)


def _timeless(node: Node) -> Node:
    first, later = (text and _CLOCK.sub("current_timestamp", text) for text in (node.sql, node.incremental))
    return replace(node, sql=first, incremental=later)
