"""What the gate says of real edits: the history of dbt projects, commit by commit, as if models were served.

    python -m benchmarks.replay FOLDER[=DIALECT] ... [--commits N] [--seed N]

FOLDER is a git repository with a dbt project; DIALECT (snowflake, bigquery, trino ...) says from which SQL the models
are translated. Of each commit that edits models, some that were edited, or that read one, are declared served: the gate
judges them over sources of which nothing is declared and over sources of which all is. Both definitions then run in
DuckDB on invented tables. A refactor whose data differ is a dangerous error; a value change whose data never differ may
be a refactor that was not recognised. Prints counts, and what of it wants to be read.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.dbt_commits import Commit, Git, NeedsMore
from benchmarks.invented import Invented
from feature_warehouse.gate.judging import in_words
from feature_warehouse.sql.changes import Change, Definitions, View, judge
from feature_warehouse.sql.facts import Walk
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import words_of

Nodes = Mapping[str, Node]


class Replay:
    """Counts over all commits. ``shown``: what a person must look at."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.shown: list[str] = []
        self.seed = seed
        self._dice = random.Random(seed)

    def commit(self, commit: Commit) -> bool:
        """Whether anything of it was judged."""
        chosen = list(commit.changed)
        self._dice.shuffle(chosen)
        judged = False
        for name in chosen[:1]:
            below = [one for one in commit.after.below(name) if one in commit.before.paths]
            served = self._dice.choice(below) if below and self._dice.random() < 0.5 else name
            try:
                old, new = self._both(commit, served)
            except NeedsMore as why:
                self.counts["models not rendered"] += 1
                self.counts[f"  {why}"] += 1
                continue
            except RecursionError:
                continue
            self.counts["served models"] += 1
            self.counts["  of which stand below what was edited"] += served != name
            judged = True
            try:
                self._served(f"{commit.sha[:10]} {served}", served, old, new)
            except Exception as error:
                self.counts["crashes"] += 1
                self.shown.append(f"crash {type(error).__name__} {error}: {commit.sha} {served}")
        return judged

    def _both(self, commit: Commit, served: str) -> tuple[Nodes, Nodes]:
        """The nodes of both sides; what is a source on one and a model on the other is a source."""
        old, new = commit.before.nodes(served), commit.after.nodes(served)
        if cut := commit.before.cut(old) | commit.after.cut(new):
            old, new = commit.before.nodes(served, cut), commit.after.nodes(served, cut)
        return old, new

    def _served(self, where: str, name: str, old: Nodes, new: Nodes) -> None:
        sides = Definitions(old), Definitions(new)
        relations = [side.reader.relation(name) for side in sides]
        columns = [list(relation.columns) for relation in relations]
        shared = [column for column in columns[0] if column in columns[1] and not column.startswith("?")]
        if len(shared) < 3:
            self.counts["models whose columns are not known"] += 1
            return
        views = [self._view(name, shared, one) for one in columns]
        words = [
            {n: words_of(f"{node.sql} {node.incremental}") for n, node in side.items() if node.sql}
            for side in (old, new)
        ]
        changes = judge(sides[0], views[0], sides[1], views[1])
        self._told(f"{where} (undeclared)", "undeclared", changes, words[0] == words[1])
        if words[0] == words[1]:
            return
        walked = Walk()
        for relation in relations:
            walked.block(relation.block)
            for term in relation.terms():
                walked.term(term)
        data = Invented(old, new, walked, self.seed)
        self.counts["runs in DuckDB" if data.ran else "does not run in DuckDB"] += 1
        if not data.ran:
            return
        self._proven(f"{where} (undeclared)", "undeclared", data, views, changes, sides[1])
        declared = [Definitions({**side, **data.declared()}) for side in (old, new)]
        changes = judge(declared[0], views[0], declared[1], views[1])
        self._told(f"{where} (declared)", "declared", changes, False)
        self._proven(f"{where} (declared)", "declared", data, views, changes, declared[1])

    def _view(self, name: str, shared: list[str], columns: list[str]) -> View:
        event = next((one for one in shared[1:] if one.endswith(("_at", "date", "time", "day"))), shared[1])
        features = [one for one in columns if one not in (shared[0], event) and not one.startswith("?")]
        return View(node=name, join_keys={shared[0]: ""}, event_timestamp=event, features=dict.fromkeys(features, ""))

    def _told(self, where: str, how: str, changes: tuple[Change, ...], same_words: bool) -> None:
        for change in changes:
            self.counts[f"{how}: {change.kind}"] += 1
        kinds = {change.kind for change in changes}
        if same_words:
            self.counts[f"{how}: models changed in layout alone"] += 1
            if kinds != {"refactor"}:
                self.shown.append(f"layout alone is a change: {where}")
        refused = [change for change in changes if change.kind == "value change"]
        if refused:
            self.counts[f"{how}: models refused"] += 1
            if any(change.as_text for change in refused):
                self.counts[f"{how}: models refused, read as text"] += 1
            for change in refused:
                causes = len(change.reasons)
                self.counts[f"{how}: causes {causes if causes < 4 else '4-10' if causes <= 10 else 'more'}"] += 1
                if any("not told apart" in reason for reason in change.reasons):
                    self.counts[f"{how}: cause not in words"] += 1
            longest = max(len(line) for line in in_words(refused).split("; "))
            self.counts[f"{how}: message of over ten lines"] += longest > 1000

    def _proven(
        self,
        where: str,
        how: str,
        data: Invented,
        views: list[View],
        changes: tuple[Change, ...],
        definitions: Definitions,
    ) -> None:
        view = views[1]
        [key] = view.join_keys
        compared = [change for change in changes if change.kind in ("refactor", "value change")]
        differ = data.differ(view.node, [[key, view.event_timestamp, change.feature] for change in compared])
        if differ is None:
            self.counts[f"{how}: ran and gave no rows"] += 1
            return
        same = []
        for number, change in enumerate(compared):
            facts = definitions.facts(view, change.feature)
            if facts.nondeterministic or facts.unknown or facts.current_time or facts.open_ties:
                self.counts[f"{how}: not comparable, by chance or clock"] += 1
            elif change.kind == "refactor":
                self.counts[f"{how}: refactors proven"] += 1
                if number in differ:
                    self.counts[f"{how}: DANGEROUS"] += 1
                    self.shown.append(f"dangerous: {where}.{change.feature}")
            else:
                self.counts[f"{how}: value changes {'that differ' if number in differ else 'that never differ'}"] += 1
                if number not in differ:
                    same.append(change)
        if same:
            self.shown.append(f"never differs: {where}: {in_words(same[:2])[:600]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER[=DIALECT]")
    parser.add_argument("--commits", type=int, default=60, help="of each repository, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    replay = Replay(options.seed)
    for one in options.folders:
        folder, _, dialect = one.partition("=")
        before = replay.counts["commits"]
        with suppress(KeyboardInterrupt), Git(Path(folder)) as git:  # what was seen until then is printed
            for commit in git.commits(dialect):
                replay.counts["commits"] += replay.commit(commit)
                if replay.counts["commits"] - before >= options.commits:
                    break
        print(f"{folder}: {replay.counts['commits'] - before} commits", file=sys.stderr)
    for what, number in sorted(replay.counts.items()):
        print(f"{number:7,} {what}")
    print(*replay.shown, sep="\n")


if __name__ == "__main__":
    main()
