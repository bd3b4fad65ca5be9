"""The labelled pairs of tests/corpus/sql: read, judged, and run in DuckDB."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml  # type: ignore[import-untyped]

from feature_warehouse.sql.changes import Definitions, View, judge
from feature_warehouse.sql.nodes import Node

FOLDER = Path(__file__).parents[1] / "corpus" / "sql"
TABLES: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "tables.yml").read_text())
#: How well the sources are known: all their columns, some of them by their types, nothing.
KNOWN: dict[str, dict[str, Node]] = {
    "closed": {name: Node(columns=columns, closed=True) for name, columns in TABLES.items()},
    "open": {name: Node(columns=columns) for name, columns in TABLES.items()},
    "undeclared": {name: Node() for name in TABLES},
}
SOURCES = KNOWN["closed"]
TIMES = ("event_at", "known_at")


@dataclass(frozen=True)
class Side:
    """One side of a pair: its models, the last of them the view, and what is declared about the view."""

    models: dict[str, Node]
    keys: tuple[str, ...]
    types: dict[str, str]
    available_at: str | None
    columns: tuple[str, ...]

    @property
    def node(self) -> str:
        return list(self.models)[-1]

    @property
    def view(self) -> View:
        features = [c for c in self.columns if c not in self.keys and c != "event_at" and c != self.available_at]
        return View(
            node=self.node,
            join_keys=dict.fromkeys(self.keys, ""),
            event_timestamp="event_at",
            available_at=self.available_at,
            features={feature: self.types.get(feature, "") for feature in features},
        )

    def definitions(self, sources: str = "closed") -> Definitions:
        return Definitions(KNOWN[sources] | self.models)


@dataclass(frozen=True)
class Pair:
    name: str
    file: str
    old: Side
    new: Side
    label: str
    labels: dict[str, str]  # by feature, where they differ
    data: str  # '', or why equal data proves nothing: 'same', 'cannot run'

    def expected(self, feature: str) -> str:
        return self.labels.get(feature, self.label)

    def judged(self, sources: str = "closed") -> dict[str, str]:
        old, new = self.old.definitions(sources), self.new.definitions(sources)
        changes = judge(old, self.old.view, new, self.new.view)
        return {change.feature: change.kind for change in changes}


def _models(written: Any) -> dict[str, Node]:
    if isinstance(written, str):
        return {"view": Node(sql=written)}
    return {
        name: Node(sql=one)
        if isinstance(one, str)
        else Node(one["sql"], one["incremental"], one["strategy"], tuple(one.get("unique_key", ())))
        for name, one in written.items()
    }


def pairs(file: str | None = None) -> list[Pair]:
    found = []
    columns_of = _Columns()
    for path in sorted(FOLDER.glob("*.yml")):
        if path.stem == "tables" or (file is not None and path.stem != file):
            continue
        for entry in yaml.safe_load(path.read_text()):
            sides = []
            for which in ("old", "new"):
                models = _models(entry[which])
                sides.append(
                    Side(
                        models=models,
                        keys=tuple(entry.get("keys", {}).get(which, ["user_id"])),
                        types=entry.get("types", {}).get(which, {}),
                        available_at=entry.get("available_at"),
                        columns=tuple(entry["columns"]) if "columns" in entry else columns_of(models),
                    )
                )
            found.append(
                Pair(
                    name=entry["name"],
                    file=path.stem,
                    old=sides[0],
                    new=sides[1],
                    label=entry["label"],
                    labels=entry.get("features", {}),
                    data=entry.get("data", ""),
                )
            )
    return found


def connect(rows: int = 0, seed: int = 0, *, backwards: bool = False) -> duckdb.DuckDBPyConnection:
    """A warehouse with the corpus's tables, of random rows: few values, so that ties and duplicates abound."""
    con = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": "false"})
    con.execute("set timezone = 'UTC'")
    dice = random.Random(seed)
    for name, columns in TABLES.items():
        con.execute(f"create table {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})")
        if rows:
            values = [[_value(column, kind, dice) for column, kind in columns.items()] for _ in range(rows)]
            values = values[::-1] if backwards else values
            listed = ", ".join(f"({', '.join('?' * len(columns))})" for _ in values)
            con.execute(f"insert into {name} values {listed}", [value for row in values for value in row])
    return con


def _value(column: str, kind: str, dice: random.Random) -> Any:
    if dice.random() < 0.12:
        return None
    if column == "status":
        return dice.choice(["paid", "open", "sent", "Paid", "p"])
    if column in ("country", "kind"):
        return dice.choice(["de", "fr", "a", "b"])
    if column == "time_zone":
        return dice.choice(["UTC", "Asia/Tokyo", "America/New_York"])
    if column == "age":
        return dice.choice([10, 20, 21, 30])
    return {
        "bigint": lambda: dice.randint(1, 6),
        "integer": lambda: dice.randint(0, 5),
        "double": lambda: dice.choice([0.0, -1.5, 0.1, 1.0, 2.0, 2.5, 3.0, 3.7]),
        "varchar": lambda: dice.choice(["a", "b", "c"]),
        "boolean": lambda: dice.random() < 0.5,
        "decimal(10,2)": lambda: dice.choice(["0.00", "0.10", "1.25"]),
        "timestamptz": lambda: f"2013-01-0{dice.randint(1, 9)} {dice.choice(['00:00', '06:30', '23:15'])}:00+00",
        "timestamp": lambda: f"2013-01-0{dice.randint(1, 9)} {dice.choice(['00:00', '06:30', '23:15'])}:00",
        "date": lambda: f"2013-01-0{dice.randint(1, 9)}",
        "interval": lambda: dice.choice(["1 day", "24 hours", "1 month", "30 days"]),
        "struct(city varchar, zip varchar)": lambda: {"city": dice.choice(["a", "b", None]), "zip": dice.choice("ab")},
        "map(varchar, integer)": lambda: dice.choice(["{a=1}", "{a=1, A=2}", "{}"]),
        "varchar[]": lambda: [dice.choice(["a", "b", "c", None]) for _ in range(dice.randint(0, 3))],
    }[kind]()


class _Columns:
    """The columns of a view, from DuckDB; the corpus need not repeat them."""

    def __init__(self) -> None:
        self._con = connect()

    def __call__(self, models: dict[str, Node]) -> tuple[str, ...]:
        self._con.execute("begin")
        try:
            create(self._con, models)
            return tuple(row[0].lower() for row in self._con.execute(f"describe {list(models)[-1]}").fetchall())
        except duckdb.Error:
            return ("user_id", "event_at", "f")
        finally:
            self._con.execute("rollback")


def create(con: duckdb.DuckDBPyConnection, models: dict[str, Node]) -> None:
    for name, node in models.items():
        con.execute(f"create or replace temp table {name} as {node.sql}")


def results(
    con: duckdb.DuckDBPyConnection, side: Side, digits: int = 17, *, since: str = "", nested: bool = False
) -> dict[str, Counter[str]]:
    """Each feature's rows, with keys and times, as a bag. digits: of floats, 17 is exact; sums of floats may differ in
    their last bits when rows arrive in another order. since: of the event time. nested: in a transaction."""
    if not nested:
        con.execute("begin")
    try:
        create(con, side.models)
        found = {}
        for feature in side.view.features:
            times = ["event_at", *([side.available_at] if side.available_at else [])]
            listed = ", ".join(f'"{column}"' for column in (*side.keys, *times, feature))
            where = f" where event_at >= '{since}'" if since else ""
            rows = con.execute(f"select {listed} from {side.node}{where}").fetchall()
            found[feature] = Counter(repr(tuple(_plain(value, digits) for value in row)) for row in rows)
        return found
    finally:
        if not nested:
            con.execute("rollback")


def _plain(value: Any, digits: int) -> Any:
    return float(f"{value:.{digits}g}") + 0.0 if isinstance(value, float) else value


def features(pair: Pair) -> Iterator[str]:
    yield from dict.fromkeys((*pair.old.view.features, *pair.new.view.features))
