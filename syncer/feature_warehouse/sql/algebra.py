"""What a query means: terms over rows, blocks of joined rows, and one digest for all spellings of the same meaning.

The module knows no SQL text (``sql`` translates into it). Four nouns:

    Term       an expression; equal terms are one object. It reaches a column through an instance: ref(instance, what)
    Instance   one occurrence of a content in a FROM clause; a self-join has two instances
    Content    what produces rows: a source, a grouping, windows, a union, a limit ... over blocks of its own
    Block      SELECT without its list: inner-joined factors, left-joined attachments, conditions that rows must meet

A column of a content is named by what it computes, not by its alias: ref(grouping, sum(x)). Names, formatting, the
split into CTEs and columns that nobody reads are gone once a query is a block. What is left is compared by
``digest.Digests``: equal digests mean equal rows, as a bag. The reverse does not hold, and need not: what is not
recognised is called a change.

Each rewriting here must hold in three-valued logic, for NULLs, duplicates, NaN and empty inputs; errors are not values
(an expression may fail earlier or later than before). ``docs/reference/change-classes.md`` lists the rewritings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Union

Arg = Union["Term", "Instance", "Content", str, int, bool, None, tuple["Arg", ...]]

#: Marks among the uses of a term or content, beside instances: it may depend on the order in which its rows arrive,
#: which an ORDER BY below it decides (ORDER), or nothing does (PHYSICAL).
ORDER = "order"
PHYSICAL = "physical order"

#: Among the uses too: rows are kept or dropped by nothing but the order in which they happen to be stored, which any
#: change of a model above may change, also one that computes nothing that is read here.
CHOICE = "choice of rows"

#: Two operands in either order: the same value, also of floats.
COMMUTATIVE = {"=", "<>", "same", "*", "+ of scalars"}

#: What is computed over rows, each at its own stage of a SELECT.
LEVELS = {"aggregate", "window", "unnest"}

#: Contents with the rows of their input: where what they add is not read, the input stands in their place.
DISSOLVING = {"window", "ordered"}

#: Joined for each row on the left, at most one match each.
ASOF = {"asof", "asof left"}


class Term:
    """An expression: ``op`` and its arguments. Made by ``Terms`` alone, so that identity is equality."""

    __slots__ = ("_children", "_refs", "_type", "_uses", "args", "computes", "op", "parts", "pure", "queries")
    pure: bool
    queries: bool
    computes: frozenset[str]

    def __init__(self, op: str, args: tuple[Arg, ...], pure: bool) -> None:
        self.op = op
        self.args = args
        self.parts = tuple(flat(args))
        self._children = children = tuple(part for part in self.parts if isinstance(part, Term))
        #: the same value whenever and however often it is computed from the same row
        self.pure = pure and all(child.pure for child in children)
        #: whether it holds a subquery
        self.queries = any(isinstance(part, Content) for part in self.parts) or any(child.queries for child in children)
        #: what it computes over rows at its own level, not within a column or a subquery
        self.computes = (
            frozenset({op} & LEVELS)
            if op == "ref"
            else frozenset({op} & LEVELS).union(*(child.computes for child in children))
        )
        self._uses: frozenset[object] | None = None
        self._refs: frozenset[Term] | None = None
        self._type: str | None = ""  # kept for ``types``

    def __repr__(self) -> str:
        return f"<{self.op}>"

    def children(self) -> tuple[Term, ...]:
        return self._children

    @property
    def refs(self) -> frozenset[Term]:
        """The columns of its own scope that it reads."""
        if self._refs is None:
            own = (child.refs for child in self.children())
            self._refs = frozenset({self}) if self.op == "ref" else frozenset[Term]().union(*own)
        return self._refs


class Instance:
    """One occurrence of a content. ``windowed`` marks the use of a window function of it."""

    __slots__ = ("content", "windowed")

    def __init__(self, content: Content) -> None:
        self.content = content
        self.windowed = ("window", id(self), self)

    def __repr__(self) -> str:
        return f"<{self.content.kind} {' '.join(self.content.texts)[:40]}>"


@dataclass(frozen=True)
class Pick:
    """Among the uses of a term: a column of a union."""

    content: Content
    column: Term


@dataclass(frozen=True)
class Over:
    """Among the uses of a term: a window function of an instance."""

    instance: Instance
    window: Term


@dataclass(frozen=True, eq=False)
class Attachment:
    """``right`` joined to the rows so far by ``on``; kind: 'left', 'asof left' or 'asof'."""

    kind: str
    right: Instance
    on: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Block:
    """The cross product of ``factors``, then ``attachments``, then only rows for which all ``conditions`` are true.

    An attachment looks at each row so far alone, so the order of attachments means nothing unless one's ``on`` names
    another's columns.
    """

    factors: tuple[Instance, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    conditions: tuple[Term, ...] = ()

    def instances(self) -> tuple[Instance, ...]:
        return self.factors + tuple(attachment.right for attachment in self.attachments)

    @cached_property
    def uses(self) -> frozenset[object]:
        found: set[object] = set().union(*map(uses, self.conditions))
        for attachment in self.attachments:
            found = found.union(*map(uses, attachment.on))
        return frozenset(found.union(*(instance.content.uses for instance in self.instances())))

    def where(self, conditions: Iterable[Term]) -> Block:
        return Block(self.factors, self.attachments, self.conditions + tuple(conditions))


@dataclass(frozen=True, eq=False)
class Content:
    """A producer of rows.

    kind       blocks            terms                            columns are named by
    leaf       -                 -                                name (str)
    group      its input         key, key, ...                    key or aggregate, over the input
    sets       its input         the keys, the sets of them       key or aggregate, over the input
    window     its input         -                                any term or window over the input; as many rows
    sub        its input         -                                any term over the input
    rows       of a subquery     -                                any term over the input
    ordered    its input         order                            any term over the input
    limit      its input         order, limit, offset             any term over the input
    distinct on    its input     order, keys                      any term over the input
    full       both sides, joined: one instance each, on          any term over both sides
    union      both branches     -                                pick(term of one, term of the other)
    incremental    first run, later runs    unique keys of each   pick(term of one, term of the other)
    except ... both branches     all columns of each              position
    function   -                 the call, its laterals           position or name
    values     -                 rows                             position
    text       inputs            their columns, by name           name
    """

    kind: str
    blocks: tuple[Block, ...] = ()
    terms: tuple[Arg, ...] = ()
    texts: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)  # of a leaf: declared column types
    place: str = ""  # where it was written, for messages; no part of its meaning
    loaded: bool = False  # of a leaf: its columns are made of these types, which are then part of their values
    written: Content | None = None  # of a copy for one use: the content that was written

    @cached_property
    def uses(self) -> frozenset[object]:
        """What decides its rows: columns of other instances, when it is lateral or correlated, and of its own."""
        found: set[object] = set()
        for block in self.blocks:
            found |= block.uses
        for arg in flat(self.terms):
            if isinstance(arg, Term):
                found |= uses(arg)
        if self.kind in ("limit", "distinct on"):
            found.add(ORDER)
            if not self.terms[0]:
                found |= {PHYSICAL, CHOICE}
        return frozenset(found)


def flat(args: Iterable[Arg]) -> list[Arg]:
    found: list[Arg] = []
    for arg in args:
        if isinstance(arg, tuple):
            found += flat(arg)
        else:
            found.append(arg)
    return found


class Terms:
    """Makes terms, each once. One for a whole comparison is enough; memory goes with it."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, tuple[Arg, ...]], Term] = {}  # no argument is 1 here and True there
        self._serial = 0

    def make(self, op: str, *args: Arg, pure: bool = True) -> Term:
        key = (op, args)
        term = self._made.get(key)
        if term is None:
            term = self._made[key] = Term(op, args, pure)
        return term

    def impure(self, op: str, *args: Arg) -> Term:
        """A term that equals no other occurrence of itself: random() is not random()."""
        self._serial += 1
        return self.make(op, *args, ("occurrence", self._serial), pure=False)

    def rebuild(self, term: Term, change: Callable[[Term], Term]) -> Term:
        def walk(arg: Arg) -> Arg:
            if isinstance(arg, Term):
                return change(arg)
            return tuple(map(walk, arg)) if isinstance(arg, tuple) else arg

        return self.make(term.op, *map(walk, term.args), pure=term.pure)

    # -- columns --------------------------------------------------------------

    def ref(self, instance: Instance, what: Term | str) -> Term:
        return self.make("ref", instance, what)

    def lift(self, term: Term, instance: Instance, strict: Callable[[Term], bool] | None = None) -> Term:
        """A term over an instance's input, seen from outside: computed from the columns that come out.

        strict: where the instance may be missing (an outer join's other side), which terms are NULL as soon as one
        operand is; only these may be computed outside.
        """
        done: dict[Term, Term] = {}

        def change(inner: Term) -> Term:
            if inner not in done:
                done[inner] = make(inner)
            return done[inner]

        def make(inner: Term) -> Term:
            if inner.op == "ref" or inner.op == "window" or not inner.pure or inner.queries:
                return self.ref(instance, inner)
            if strict is None:
                return self.rebuild(inner, change)
            if strict(inner) and not constant(inner):
                return self.rebuild(inner, lambda arg: arg if constant(arg) else change(arg))
            return self.ref(instance, inner)

        return change(term)

    def unlift(self, term: Term, instance: Instance) -> Term:
        """The term over ``instance``'s input; the reverse of ``lift``."""
        done: dict[Term, Term] = {}

        def change(outer: Term) -> Term:
            if outer not in done:
                if outer.op == "ref" and outer.args[0] is instance:
                    assert isinstance(outer.args[1], Term)
                    done[outer] = outer.args[1]
                else:
                    done[outer] = self.rebuild(outer, change)
            return done[outer]

        return change(term)

    def bare(self, term: Term, instance: Instance) -> Term:
        """The term as it is where ``instance`` is not missing: in the ON that looks for it."""
        done: dict[Term, Term] = {}

        def change(outer: Term) -> Term:
            if outer not in done:
                if outer.op == "ref" and outer.args[0] is instance:
                    assert isinstance(outer.args[1], Term)
                    done[outer] = self.lift(outer.args[1], instance)
                else:
                    done[outer] = self.rebuild(outer, change)
            return done[outer]

        return change(term)

    # -- copies ---------------------------------------------------------------

    def copy(self, block: Block, terms: tuple[Term, ...]) -> tuple[Block, tuple[Term, ...]]:
        """The same rows once more, for one use of a CTE: new instances of the same contents.

        Contents that look at these rows, laterally or from a subquery, are made anew as well.
        """
        own = frozenset(_standing(block))
        fresh = {old: Instance(old.content) for old in own}
        contents: dict[Content, Content] = {}
        done: dict[Term, Term] = {}

        def walk(arg: Arg) -> Arg:
            if isinstance(arg, Term):
                return change(arg)
            if isinstance(arg, Instance):
                return fresh.get(arg, arg)
            if isinstance(arg, Content):
                return renamed(arg)
            return tuple(map(walk, arg)) if isinstance(arg, tuple) else arg

        def change(term: Term) -> Term:
            if uses(term).isdisjoint(fresh):
                return term
            if term not in done:
                args = term.args
                if term.op == "ref":  # the content first: it may give new instances to what is read of it
                    assert isinstance(args[0], Instance)
                    renamed(args[0].content)
                done[term] = self.make(term.op, *map(walk, args), pure=term.pure)
            return done[term]

        def renamed(content: Content) -> Content:
            if content.kind not in DISSOLVING and content.uses.isdisjoint(own):
                return content
            if content not in contents:
                for inner in content.blocks:
                    for instance in inner.instances():
                        if not instance.content.uses.isdisjoint(own):
                            fresh[instance] = Instance(instance.content)
                            fresh[instance].content = renamed(instance.content)
                contents[content] = Content(
                    content.kind,
                    tuple(map(rebuilt, content.blocks)),
                    tuple(map(walk, content.terms)),
                    content.texts,
                    content.types,
                    content.place,
                    written=content.written or content,
                )
            return contents[content]

        def rebuilt(inner: Block) -> Block:
            return Block(
                tuple(fresh.get(factor, factor) for factor in inner.factors),
                tuple(
                    Attachment(a.kind, fresh.get(a.right, a.right), tuple(map(change, a.on))) for a in inner.attachments
                ),
                tuple(map(change, inner.conditions)),
            )

        for old in own:
            fresh[old].content = renamed(old.content)
        return rebuilt(block), tuple(map(change, terms))


def _standing(block: Block) -> Iterator[Instance]:
    """The instances of a block, and those that come to stand in it when contents dissolve. No two uses share one."""
    for instance in block.instances():
        yield instance
        if instance.content.kind in DISSOLVING:
            yield from _standing(instance.content.blocks[0])


def constant(term: Term) -> bool:
    return term.pure and not uses(term) and not term.queries


def uses(term: Term) -> frozenset[object]:
    """The instances whose columns a term reads, at any depth, and marks: ORDER, PHYSICAL, an instance's windowed."""
    if term._uses is None:
        found: set[object] = set()
        for arg in term.parts:
            if isinstance(arg, Term):
                found |= uses(arg)
            elif isinstance(arg, Content):
                found |= arg.uses
        if term.op == "ref":
            instance, what = term.args
            assert isinstance(instance, Instance)
            found.add(instance)
            if isinstance(what, Term) and what.op == "window":
                found |= {instance.windowed, Over(instance, what)}
            elif isinstance(what, Term) and what.op == "pick":
                found.add(Pick(instance.content, what))
        elif term.op in (ORDER, PHYSICAL):
            found.add(term.op)
        term._uses = frozenset(found)
    return term._uses
