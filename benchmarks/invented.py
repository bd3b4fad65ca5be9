"""Tables for the sources of models that are not ours: columns and types as the SQL reads them, and random rows.

What is invented need not make sense, it must only run: few values, so that keys match, ties abound and the literals
that filters compare with occur.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.errors import SqlglotError

from feature_warehouse.sql.facts import Walk
from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import Warehouse

TYPES = ("varchar", "bigint", "double", "timestamp", "date", "boolean")

#: Of a column that no use of it tells, by the words in its name.
_NAMED = [
    (r"(^|_)(at|time|timestamp|ts|on)$|_datetime", "timestamp"),
    (r"date|(^|_)(day|dt|month|week)$", "date"),
    (r"^(is|has|was|can)_|_flag$|enabled|deleted", "boolean"),
    (r"(^|_)(amount|price|value|rate|pct|percent|total|sum|cost|score|points|fee|balance|avg)", "double"),
    (r"(^|_)(count|number|num|n|year|age|id|rank|seconds|days|position|rating|season|week_number)$", "bigint"),
]

_TEXT = (exp.Like, exp.ILike, exp.Lower, exp.Upper, exp.Trim, exp.DPipe, exp.RegexpLike, exp.RegexpExtract, exp.Concat)
_NUMBER = (exp.Sum, exp.Avg, exp.Sub, exp.Mul, exp.Div, exp.Round, exp.Neg, exp.Abs, exp.Stddev, exp.Floor, exp.Ceil)
_TIME = (exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.DateDiff, exp.TimestampDiff, exp.TsOrDsToDate)
_CONDITION = (exp.And, exp.Or, exp.Not, exp.Where, exp.If)
_BY_NAME = {
    "text": "lower upper trim ltrim rtrim substring substr split_part replace regexp_replace regexp_matches length",
    "number": "sum avg round floor ceil abs stddev median sqrt power greatest least",
    "time": "date_trunc date_part date_diff datediff year month day hour strftime extract epoch dayofweek last_day",
}


def columns_read(trees: Iterable[exp.Expr]) -> Counter[str]:
    return Counter(column.name.lower() for tree in trees for column in tree.find_all(exp.Column))


def trees(nodes: Mapping[str, Node]) -> list[exp.Expr]:
    found = []
    for node in nodes.values():
        try:
            found += [tree for tree in Warehouse().parse(node.sql or "") if tree is not None] if node.sql else []
        except (SqlglotError, RecursionError):
            continue
    return found


class Types:
    """The type of each column's name: columns that are renamed, or compared, have the same one."""

    def __init__(self, read: Iterable[exp.Expr]) -> None:
        self._above: dict[str, str] = {}
        self._votes: dict[str, Counter[str]] = {}
        self._fixed: dict[str, str] = {}
        for tree in read:
            for column in tree.find_all(exp.Column):
                self._vote(column)
            for alias in tree.find_all(exp.Alias):
                if isinstance(alias.this, exp.Column):
                    self._same(alias.this.name.lower(), alias.alias.lower())

    def _root(self, name: str) -> str:
        while name in self._above:
            name = self._above[name]
        return name

    def _same(self, one: str, two: str) -> None:
        one, two = self._root(one), self._root(two)
        if one != two:
            self._above[one] = two
            self._votes.setdefault(two, Counter()).update(self._votes.pop(one, Counter()))

    def _vote(self, column: exp.Column) -> None:
        name, parent = column.name.lower(), column.parent
        kind = None
        if isinstance(parent, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Coalesce, exp.In, exp.Between)):
            others = [one for one in parent.iter_expressions() if one is not column]
            for one in others:
                if isinstance(one, exp.Column) and not isinstance(parent, exp.Coalesce):
                    self._same(name, one.name.lower())
            literal = next((one for one in others if isinstance(one, exp.Literal)), None)
            if literal is not None:
                kind = "varchar" if literal.is_string else "bigint"
                if literal.is_string and re.fullmatch(r"\d{4}-\d\d-\d\d.*", literal.name):
                    kind = "timestamp"
            elif any(isinstance(one, (exp.Boolean,)) for one in others):
                kind = "boolean"
            elif any(isinstance(one, exp.Cast) for one in others):
                kind = _castable(next(one for one in others if isinstance(one, exp.Cast)))
        elif isinstance(parent, exp.Cast):
            kind = _castable(parent)
        elif isinstance(parent, _CONDITION) and not (isinstance(parent, exp.If) and parent.this is not column):
            kind = "boolean"
        elif isinstance(parent, _TEXT):
            kind = "varchar"
        elif isinstance(parent, _TIME):
            kind = "timestamp"
        elif isinstance(parent, _NUMBER):
            kind = "double"
        elif isinstance(parent, exp.Anonymous):
            called = parent.name.lower()
            for of, names in _BY_NAME.items():
                if called in names.split():
                    kind = {"text": "varchar", "number": "double", "time": "timestamp"}[of]
        if kind:
            self._votes.setdefault(self._root(name), Counter())[kind] += 1

    def of(self, name: str) -> str:
        root = self._root(name)
        if root in self._fixed:
            return self._fixed[root]
        if votes := self._votes.get(root):
            return votes.most_common(1)[0][0]
        return next((kind for pattern, kind in _NAMED if re.search(pattern, name)), "varchar")

    def roll(self, names: Iterable[str], dice: random.Random) -> None:
        """Another type for one of these columns."""
        some = sorted({self._root(name) for name in names})
        if some:
            self._fixed[dice.choice(some)] = dice.choice(TYPES)


def _castable(cast: exp.Cast) -> str | None:
    kind = cast.args["to"].sql("duckdb").lower() if isinstance(cast.args.get("to"), exp.DataType) else ""
    kind = re.sub(r"\(.*", "", kind)
    found = {"text": "varchar", "varchar": "varchar", "date": "date", "timestamp": "timestamp", "double": "double"}
    found |= {
        "timestamptz": "timestamp",
        "int": "bigint",
        "bigint": "bigint",
        "decimal": "double",
        "boolean": "boolean",
    }
    return found.get(kind)


def value(kind: str, literals: list[str], dice: random.Random) -> Any:
    if dice.random() < 0.1:
        return None
    if kind == "varchar":
        return dice.choice(literals) if literals and dice.random() < 0.6 else dice.choice(["1", "2", "3", "a"])
    if kind == "date":
        return date(2024, 1, 1) + timedelta(days=dice.randint(0, 9))
    if kind == "timestamp":
        return datetime(2024, 1, 1) + timedelta(hours=dice.choice([0, 6, 24, 30, 48, 100, 200]))
    return {
        "bigint": lambda: dice.randint(0, 4),
        "double": lambda: dice.choice([-1.5, 0.0, 0.5, 1.0, 2.0, 3.0]),
        "boolean": lambda: dice.random() < 0.6,
    }[kind]()


#: So often, and for so many seconds of one core, columns and types are changed until a pair of definitions can be made.
_TRIES, _PATIENCE = 120, 2

#: A pair of definitions may run as long on one set of tables.
_SECONDS = 4

_MISSING = re.compile(
    r'(?:Referenced column|[Cc]olumn) "([^"]+)" (?:not found|referenced)|'
    r'"([^"]+)" does not have a column named "([^"]+)"'
)


class Invented:
    """A warehouse in memory in which two definitions run. ``ran``: whether they do."""

    def __init__(self, old: Mapping[str, Node], new: Mapping[str, Node], walked: Walk, seed: int) -> None:
        self._sides = (old, new)
        self._dice = random.Random(seed)
        both = trees(old) + trees(new)
        self._types = Types(both)
        self._literals = sorted(
            {
                one.name
                for tree in both
                for one in tree.find_all(exp.Literal)
                if one.is_string and 0 < len(one.name) < 30
            }
        )
        sources = {name for side in self._sides for name, node in side.items() if node.sql is None}
        self.columns: dict[str, set[str]] = {name: set() for name in sources}
        for name, column in walked.sources:
            if name in self.columns and column != "*":
                self.columns[name].add(column)
        self.con = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": "false"})
        self.con.execute("set timezone = 'UTC'; set enable_progress_bar = false; create schema ref")
        self.why = ""
        self.ran = self._settled()

    def _settled(self) -> bool:
        """Changes columns and types until all models of both sides can be made from empty tables."""
        models = [(name, side[name]) for side in self._sides for name in ordered(side)]
        self._tables(self.columns, 0)
        done, tries, until = 0, 0, time.process_time() + _PATIENCE
        while done < len(models):
            name, node = models[done]
            try:
                self.con.execute(f"create or replace table ref.{name} as {node.sql}")
                done += 1
            except duckdb.Error as error:
                self.why = str(error).splitlines()[0][:150]
                tries += 1
                touched = self._mended(error, node.reads or (), _aliases(node))
                if tries > _TRIES or time.process_time() > until or not touched:
                    return False
                self._tables(touched, 0)
                read = {n for n, one in models for touch in touched if touch in (one.reads or ())}
                done = min((i for i, (n, _) in enumerate(models) if n in read), default=done)
        return True

    def _mended(self, error: duckdb.Error, reads: Iterable[str], aliases: Mapping[str, set[str]]) -> set[str]:
        """The sources that have other columns now, so that perhaps the model runs."""
        missing = _MISSING.search(str(error))
        near = sorted(name for name in reads if name in self.columns)
        if isinstance(error, duckdb.BinderException) and missing and near:
            column, alias = (missing[1] or missing[3]).lower(), (missing[2] or "").lower()
            named = [name for name in near if alias and name in aliases.get(alias, ())]
            name = self._dice.choice(named or near)
            if column not in self.columns[name]:
                self.columns[name].add(column)
                return {name}
        if isinstance(error, (duckdb.BinderException, duckdb.ConversionException)):
            words = {word.lower() for word in re.findall(r"\w+", str(error))}
            known = {column for columns in self.columns.values() for column in columns}
            self._types.roll(words & known or known, self._dice)
            return set(self.columns)
        return set()

    def _tables(self, names: Iterable[str], rows: int) -> None:
        for name in names:
            listed = sorted(self.columns[name]) or ["nothing"]
            kinds = [self._types.of(column) for column in listed]
            described = ", ".join(f'"{column}" {kind}' for column, kind in zip(listed, kinds, strict=True))
            self.con.execute(f"create or replace table ref.{name} ({described})")
            if rows:
                values = [[value(kind, self._literals, self._dice) for kind in kinds] for _ in range(rows)]
                marks = ", ".join(f"({', '.join('?' * len(kinds))})" for _ in values)
                self.con.execute(f"insert into ref.{name} values {marks}", [one for row in values for one in row])

    def declared(self) -> dict[str, Node]:
        """The sources as nodes of which all columns are known."""
        return {
            name: Node(columns={column: self._types.of(column) for column in sorted(columns)}, closed=True)
            for name, columns in self.columns.items()
        }

    def described(self, view: str) -> list[str]:
        return [row[0].lower() for row in self.con.execute(f"describe ref.{view}").fetchall()]

    def differ(self, view: str, columns: list[list[str]], tables: int = 3) -> set[int] | None:
        """Which of these lists of columns differ in some of the tables, by their numbers; None where nothing ran."""
        ran, found = False, set()
        for rows in (6, 14, 30)[:tables]:
            self._tables(self.columns, rows)
            timer = threading.Timer(_SECONDS, self.con.interrupt)  # some models multiply their rows without end
            timer.start()
            try:
                one, two = (self._results(side, view, columns) for side in self._sides)
            except duckdb.Error as error:
                self.why = str(error).splitlines()[0][:150]
                continue
            finally:
                timer.cancel()
            ran = ran or any(any(bag for bag in side) for side in (one, two))
            found |= {i for i in range(len(columns)) if one[i] != two[i]}
        return found if ran else None

    def _results(self, side: Mapping[str, Node], view: str, columns: list[list[str]]) -> list[Counter[str]]:
        for name in ordered(side):
            self.con.execute(f"create or replace table ref.{name} as {side[name].sql}")
        found = []
        for listed in columns:
            names = ", ".join(f'"{one}"' for one in listed)
            rows = self.con.execute(f"select {names} from ref.{view}").fetchall()
            found.append(Counter(repr(tuple(_plain(one) for one in row)) for row in rows))
        return found


def _aliases(node: Node) -> dict[str, set[str]]:
    """What each name in a FROM clause may stand for; a CTE's, for all relations that it reads."""
    found: dict[str, set[str]] = {}
    for tree in trees({"": node}):
        ctes = {cte.alias.lower(): {t.name.lower() for t in cte.find_all(exp.Table)} for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            meant = found.setdefault((table.alias or table.name).lower(), set())
            waiting = [table.name.lower()]
            for name in waiting:
                waiting += [one for one in ctes.get(name, ()) if one not in waiting]
            meant |= set(waiting)
    return found


def _plain(one: Any) -> Any:
    return float(f"{one:.12g}") + 0.0 if isinstance(one, float) else one


def ordered(nodes: Mapping[str, Node]) -> list[str]:
    """The models, those that others read first."""
    found: list[str] = []

    def walk(name: str, waiting: tuple[str, ...]) -> None:
        if name in found or name in waiting or nodes[name].sql is None:
            return
        for read in nodes[name].reads or ():
            if read in nodes:
                walk(read, (*waiting, name))
        found.append(name)

    for name in nodes:
        walk(name, ())
    return found
