"""One digest for all blocks of one meaning.

Two equal blocks may list their factors in another order and give them other names. Here each instance gets its name
from what it is and how it is used, so that the order in which SQL was written does not enter. Digests are compared, and
never stored: they may change with any release.
"""

from __future__ import annotations

import hashlib

from feature_warehouse.sql.algebra import (
    COMMUTATIVE,
    ORDER,
    PHYSICAL,
    Arg,
    Attachment,
    Block,
    Content,
    Instance,
    Pick,
    Term,
    Terms,
    constant,
    flat,
    uses,
)
from feature_warehouse.sql.matches import demand_none, once, told_once
from feature_warehouse.sql.rewritings import Rewritings
from feature_warehouse.sql.types import type_of


class Unnamed(Exception):
    """A term reads what its block does not have. Nothing that was read should lead here; ``changes`` takes the text."""


class Labels:
    """Names that two equal blocks give to their instances; with them, the digest of each term in scope."""

    __slots__ = ("memo", "names", "parent", "ranks")

    def __init__(self, parent: Labels | None = None) -> None:
        self.parent = parent
        #: name and inner scope; no name: the instance has dissolved, its columns are those of the scope itself
        self.names: dict[Instance, tuple[bytes | None, Labels]] = {}
        self.ranks: tuple[int, ...] = ()  # of a union: its branches in canonical order
        self.memo: dict[Term, bytes] = {}

    def find(self, instance: Instance) -> tuple[bytes | None, Labels]:
        """The instance's name, told apart from the same name of a scope around this one, and its inner scope."""
        scope, depth = self, 0
        while instance not in scope.names:
            if scope.parent is None:
                raise Unnamed(f"a column of {instance!r} that is not in scope")
            scope, depth = scope.parent, depth + 1
        name, inner = scope.names[instance]
        return name if name is None or not depth else b"%d up %b" % (depth, name), inner


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join([b"%d:%b" % (len(part), part) for part in parts]), digest_size=16).digest()


Key = tuple[object, frozenset[object]]


class Digests:
    """Digests of blocks and of terms over them. ``terms``: the maker of all terms that it will see."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._constants: dict[Term, bytes] = {}
        self._contents: dict[Key, tuple[bytes, Labels]] = {}
        self._blocks: dict[Key, tuple[bytes, Labels, bool]] = {}
        self._inside: dict[Content, frozenset[object]] = {}
        self._closed_refs: dict[Term, bool] = {}
        self._rewrite = Rewritings(terms)
        self._none: dict[Attachment, Term] = {}  # that it has no match

    def rows(self, block: Block, columns: tuple[Term, ...]) -> str:
        """One text for all ways to write the bag of rows (column, column, ...) of a block."""
        used: set[object] = set()
        for column in columns:
            used |= uses(column)
        marks = used | block.uses
        order = self._order(marks)
        key = (block, frozenset(used & self._within(block)) | order | self._picks(used))
        if key not in self._blocks:
            self._blocks[key] = self._block(block, used, Labels(), order, ())
        rows, labels, tied = self._blocks[key]
        if tied:  # two instances of the same content: what the columns read may tell them apart
            rows, labels, _ = self._block(block, used, Labels(), order, columns)
        return _hash(rows, *(self._term(column, labels, order) for column in columns)).hex()

    def kept(self, block: Block, columns: tuple[Term, ...]) -> Block:
        """The block without what no column's value and no row's existence depends on."""
        used: set[object] = set()
        for column in columns:
            used |= uses(column)
        marks = used | block.uses
        return self._flat(block, used, Labels(), self._order(marks))

    @staticmethod
    def _order(marks: set[object]) -> frozenset[object]:
        return frozenset({PHYSICAL, ORDER} if PHYSICAL in marks else marks & {ORDER})

    def _picks(self, used: set[object]) -> frozenset[object]:
        """The columns of unions that are read: of branches with the same rows, they decide about the order."""
        return frozenset(use for use in used if isinstance(use, Pick))

    def _within(self, block: Block) -> set[object]:
        found: set[object] = set()
        for instance in block.instances():
            found |= {instance, instance.windowed} | self._inner(instance.content)
        return found

    def _inner(self, content: Content) -> frozenset[object]:
        if content not in self._inside:
            found: set[object] = set()
            for block in content.blocks:
                found |= self._within(block)
            self._inside[content] = frozenset(found)
        return self._inside[content]

    # -- terms ----------------------------------------------------------------

    def _term(self, term: Term, labels: Labels, order: frozenset[object]) -> bytes:
        memo = self._constants if constant(term) else labels.memo
        digest = memo.get(term)
        if digest is None:
            digest = memo[term] = self._new_term(term, labels, order)
        return digest

    def _new_term(self, term: Term, labels: Labels, order: frozenset[object]) -> bytes:
        if term.op == "ref":
            instance, what = term.args
            assert isinstance(instance, Instance)
            name, inner = labels.find(instance)
            if isinstance(what, str):
                assert name is not None
                type_ = instance.content.types.get(what, "") if instance.content.loaded else ""
                return _hash(b"column", name, what.encode(), type_.encode())
            assert isinstance(what, Term)
            if name is None:
                return self._term(what, labels, order)
            if not self._closed(term, instance.content, what):  # max(outer column) over the rows of a subquery
                view = Labels(labels)
                view.names, view.ranks = inner.names, inner.ranks
                inner = view
            return _hash(b"ref", name, self._term(what, inner, order))
        if term.op == "pick":
            ranks = labels.ranks
            return _hash(b"pick", *(self._arg(term.args[rank], labels, order) for rank in ranks))
        if term.args and isinstance(
            term.args[0], Content
        ):  # a subquery: what it returns, then what it is compared with
            content, inside, *outside = term.args
            assert isinstance(content, Content)
            used: set[object] = set()
            for arg in flat((inside,)):
                assert isinstance(arg, Term)
                used |= uses(arg)
            within = self._inner(content)
            if any(isinstance(use, Instance) and use not in within for use in used):
                rows, inner = self._new_content(content, used, labels, order)
            else:
                rows, inner = self._content(content, used, labels, order)
            return _hash(
                term.op.encode(), rows, self._arg(inside, inner, order), *(self._arg(a, labels, order) for a in outside)
            )
        parts = [self._arg(arg, labels, order) for arg in term.args]
        if term.op in ("and", "or"):
            parts = sorted(set(parts))
            if len(parts) == 1 and all(type_of(child) == "boolean" for child in term.children()):
                return parts[0]
        elif term.op in COMMUTATIVE:
            parts.sort()
        return _hash(term.op.encode(), *parts)

    def _closed(self, ref: Term, content: Content, what: Term) -> bool:
        """Whether what is read of a content depends on that content's rows alone."""
        if ref not in self._closed_refs:
            inside = self._inner(content)
            self._closed_refs[ref] = all(use in inside for use in uses(what) if isinstance(use, Instance))
        return self._closed_refs[ref]

    def _arg(self, arg: Arg, labels: Labels, order: frozenset[object]) -> bytes:
        if isinstance(arg, Term):
            return self._term(arg, labels, order)
        if isinstance(arg, tuple):
            if arg and arg[0] == "any order":
                return _hash(b"set", *sorted({self._arg(part, labels, order) for part in arg[1:]}))
            return _hash(b"tuple", *(self._arg(part, labels, order) for part in arg))
        assert not isinstance(arg, (Instance, Content))
        return f"{type(arg).__name__} {arg}".encode()

    # -- contents -------------------------------------------------------------

    def _content(
        self, content: Content, used: set[object], outer: Labels, order: frozenset[object]
    ) -> tuple[bytes, Labels]:
        inside = self._inner(content)
        if any(isinstance(use, Instance) and use not in inside for use in content.uses):
            return self._new_content(content, used, outer, order)  # lateral or correlated
        key = (content, frozenset(used & inside) | order | self._picks(used))
        if key not in self._contents:
            self._contents[key] = self._new_content(content, used, Labels(), order)
        return self._contents[key]

    def _new_content(
        self, content: Content, used: set[object], outer: Labels, order: frozenset[object]
    ) -> tuple[bytes, Labels]:
        kind = content.kind.encode()
        texts = [text.encode() for text in content.texts]
        if not content.blocks:
            return _hash(kind, *texts, *(self._arg(arg, outer, order) for arg in content.terms)), outer
        if len(content.blocks) == 1 and content.kind != "text":
            own = set().union(*(uses(arg) for arg in flat(content.terms) if isinstance(arg, Term)))
            hints = tuple(arg for arg in flat(content.terms) if isinstance(arg, Term))
            rows, labels, _ = self._block(content.blocks[0], used | own, outer, order, hints)
            parts = [self._arg(arg, labels, order) for arg in content.terms]
            return _hash(kind, *texts, rows, *(sorted(set(parts)) if content.kind == "group" else parts)), labels
        # several blocks: their scopes side by side
        labels = Labels(outer)
        branches = []
        for number, block in enumerate(content.blocks):
            if content.kind in ("union", "full"):
                columns: tuple[Term, ...] = ()
            else:  # all columns decide: EXCEPT, INTERSECT, text over its inputs
                columns = tuple(arg for arg in flat((content.terms[number],)) if isinstance(arg, Term))
            own = set().union(*map(uses, columns))
            rows, scope, _ = self._block(block, used | own, outer, order, columns)
            names = [arg for arg in flat(content.terms[number : number + 1]) if isinstance(arg, str)]
            rows = _hash(rows, *(self._term(c, scope, order) for c in columns), *(name.encode() for name in names))
            branches.append((rows, number, scope))
        if content.kind in ("union", "full") and PHYSICAL not in order:
            if len({rows for rows, *_ in branches}) < len(branches):
                read = [use.column for use in used if isinstance(use, Pick) and use.content is content]
                branches = [
                    (_hash(rows, *sorted(self._arg(pick.args[number], scope, order) for pick in read)), number, scope)
                    for rows, number, scope in branches
                ]
            branches.sort(key=lambda branch: branch[:2])
        labels.ranks = tuple(number for _, number, _ in branches)
        for rank, (_, _, scope) in enumerate(branches):
            for instance, (name, inner) in scope.names.items():
                labels.names[instance] = (None if name is None else b"%d.%b" % (rank, name), inner)
        parts = [rows for rows, _, _ in branches]
        if content.kind == "full":
            parts += sorted({self._arg(arg, labels, order) for arg in content.terms})
        return _hash(kind, *texts, *parts), labels

    # -- blocks ---------------------------------------------------------------

    def _flat(self, block: Block, used: set[object], labels: Labels, order: frozenset[object]) -> Block:
        """The block without what nobody needs: unread attachments that match once, windows and orders nobody reads."""
        factors, attachments, conditions = list(block.factors), list(block.attachments), list(block.conditions)
        self._without_a_match(factors, attachments, conditions, used)
        while True:
            read = set(used)
            for condition in conditions:
                read |= uses(condition)
            for factor in factors:
                read |= factor.content.uses
            for attachment in reversed(attachments):
                if attachment.kind.endswith("left") and attachment.right not in read and once(attachment, self._terms):
                    attachments.remove(attachment)
                else:
                    read |= attachment.right.content.uses
                    read = read.union(*map(uses, attachment.on))
            for position, factor in enumerate(factors):
                content = factor.content
                if (content.kind == "window" and factor.windowed not in read) or (
                    content.kind == "ordered" and ORDER not in order
                ):
                    inner = content.blocks[0]
                    factors[position : position + 1] = inner.factors
                    attachments[:0] = inner.attachments
                    conditions += inner.conditions
                    labels.names[factor] = (None, labels)
                    break
                if content.kind == "group" and not content.terms and factor not in read and len(factors) > 1:
                    del factors[position]  # exactly one row
                    break
            else:
                return Block(tuple(factors), tuple(attachments), told_once(conditions))

    def _without_a_match(
        self, factors: list[Instance], attachments: list[Attachment], conditions: list[Term], used: set[object]
    ) -> None:
        """A left join of which only the rows without a match are kept is NOT EXISTS."""
        for attachment in list(attachments):
            right = attachment.right
            about = [condition for condition in conditions if right in uses(condition)]
            if attachment.kind != "left" or not about or right in used or not demand_none(attachment, about):
                continue
            others = [other for other in attachments if other is not attachment]
            if any(right in uses(term) for other in others for term in other.on) or any(
                right in instance.content.uses for instance in (*factors, *(other.right for other in others))
            ):
                continue
            attachments.remove(attachment)
            conditions[:] = [condition for condition in conditions if condition not in about]
            if attachment not in self._none:
                wanted = [self._terms.unlift(condition, right) for condition in attachment.on]
                found = self._rewrite.exists(right.content.blocks[0].where(wanted))
                self._none[attachment] = self._rewrite.negation(found)
            conditions.append(self._none[attachment])

    def _block(
        self, block: Block, used: set[object], outer: Labels, order: frozenset[object], hints: tuple[Term, ...]
    ) -> tuple[bytes, Labels, bool]:
        labels = Labels(outer)
        block = self._flat(block, used, labels, order)
        used = used.union(*map(uses, block.conditions), *(uses(t) for a in block.attachments for t in a.on))
        contents = [instance.content for instance in block.instances()]
        used = used.union(*(content.uses - self._inner(content) for content in contents))  # what is theirs they see to
        attached = {attachment.right: attachment for attachment in block.attachments}
        local = set(block.instances())
        needs = {
            instance: (
                instance.content.uses.union(*map(uses, attached[instance].on))
                if instance in attached
                else instance.content.uses
            )
            & local - {instance}
            for instance in block.instances()
        }
        tied = False
        parts: list[bytes] = []
        waiting = list(block.instances())
        while waiting:
            ready = [instance for instance in waiting if needs[instance] <= labels.names.keys()]
            if not ready:
                raise Unnamed("relations that wait for each other")
            found: list[tuple[bytes, int, Instance, Labels]] = []
            for position, instance in enumerate(ready):
                rows, inner = self._content(instance.content, used, labels, order)
                if instance in attached:
                    attachment = attached[instance]
                    alone = Labels(labels)
                    alone.names[instance] = (b"self", inner)
                    on = sorted({self._term(term, alone, order) for term in attachment.on})
                    rows = _hash(attachment.kind.encode(), rows, *on)
                else:
                    rows = _hash(b"factor", rows)
                found.append((rows, position, instance, inner))
            if len({rows for rows, *_ in found}) < len(found):
                tied = True
                found = self._told_apart(
                    found, (*block.conditions, *hints), len(block.conditions), labels, local, order
                )
            for rows, _, instance, inner in sorted(found, key=lambda one: one[:2]):
                labels.names[instance] = (b"%d" % len(parts), inner)
                parts.append(rows)
            waiting = [instance for instance in waiting if instance not in labels.names]
        conditions = {self._term(condition, labels, order) for condition in block.conditions}
        written = [labels.names[instance][0] or b"" for instance in block.instances()] if PHYSICAL in order else []
        return _hash(b"block", _hash(*parts), _hash(*sorted(conditions)), *written), labels, tied

    def _told_apart(
        self,
        found: list[tuple[bytes, int, Instance, Labels]],
        terms: tuple[Term, ...],
        conditions: int,
        labels: Labels,
        local: set[Instance],
        order: frozenset[object],
    ) -> list[tuple[bytes, int, Instance, Labels]]:
        """The instances with digests that also say how conditions and columns use each. What stays equal after that
        keeps the order in which it was written: less is recognised, nothing is taken for equal."""
        known = labels.names.keys() | {instance for _, _, instance, _ in found}
        seen_at = [(i, term) for i, term in enumerate(terms) if uses(term) & local <= known]
        for _ in range(2):
            refined = []
            for rows, position, instance, inner in found:
                view = Labels(labels)
                for other_rows, _, other, other_inner in found:
                    view.names[other] = (b"self" if other is instance else other_rows, other_inner)
                seen = [
                    (b"condition" if at < conditions else b"%d" % (at - conditions)) + self._term(term, view, order)
                    for at, term in seen_at
                    if instance in uses(term)
                ]
                refined.append((_hash(rows, *sorted(seen)), position, instance, inner))
            found = refined
        return found
