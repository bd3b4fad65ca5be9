"""What a training set gets wrong when its join does not ask when a value was known: on the flights of the demo.

    dbt build && python -m benchmarks.leakage      in the project's folder

Two joins that are easily written by hand, beside the training set that dbt has built (`departure_delay_training`):

- on event time: the newest event before the label, in its last revision, whoever knew it; the view's ttl is kept;
- of latest values: each entity's row of the latest-value view, as one would read it from Redis today.

Then a logistic regression is trained on each, on the flights before January 24 in New York, and judged on those after
it. "Promised" is its AUC on the features of its own join, which is what a notebook shows. "Served" is its AUC on what
would have been known at scheduled departure, which is what it gets in production.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np
from numpy.typing import NDArray

from feature_warehouse.project.declarations import Declarations, DeclaredView
from feature_warehouse.project.reading import read_project
from feature_warehouse.registry.feature import FeatureService, ServiceView

Floats = NDArray[np.float64]
Table = tuple[list[str], list[list[str]]]  # header, rows

SERVICE = "departure_delay@2"
TRAINING, SPINE, ASKED_AT, LABEL = "departure_delay_training", "departures", "scheduled_departure_at", "is_late"
JUDGED_FROM = "timestamptz '2013-01-24 05:00:00+00'"
REQUEST = f"distance_miles, extract(hour from {ASKED_AT} at time zone 'America/New_York') as departure_hour"
NUMBERS = ("bigint", "double", "boolean")


def main() -> None:
    read = read_project()
    with duckdb.connect(read.project.output.path, read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for header, rows in tables(connection, read.declarations):
            print("\n|", " | ".join(header), "|\n|" + "---|" * len(header))
            for row in rows:
                print("|", " | ".join(row), "|")


def tables(connection: duckdb.DuckDBPyConnection, declarations: Declarations) -> tuple[Table, Table]:
    """The labels that each join gets wrong, and the models trained on it."""
    service = declarations.services[SERVICE]
    by_hand = {join: _by_hand(service, declarations, join) for join in ("event time", "latest values")}
    joins = {"as known": f"select * from {TRAINING}"} | by_hand
    numbers = {join: _numeric_features(connection, sql, service, declarations) for join, sql in joins.items()}
    return _wrong_labels(connection, service, by_hand), _models(connection, numbers)


def _wrong_labels(connection: duckdb.DuckDBPyConnection, service: FeatureService, by_hand: Mapping[str, str]) -> Table:
    ((labels,),) = connection.execute(f"select count(*) from {TRAINING}").fetchall()
    rows = []
    for number, read in enumerate(service.views):
        differs = " or ".join(
            f"known.{read.prefix}{name} is distinct from by_hand.{read.prefix}{name}" for name in read.features
        )
        counts: list[int] = []
        for sql in by_hand.values():
            counts += connection.execute(
                f"select count(*) filter (where too_early_{number}), count(*) filter (where {differs})"
                f" from {TRAINING} as known join ({sql}) as by_hand using (flight_id)"
            ).fetchall()[0]
        too_early, wrong, _, stale = counts
        view = read.view + (f" as `{read.prefix}`" if read.prefix else "")
        rows.append([view, *(f"{count:,} ({count / labels:.1%})" for count in (too_early, wrong, stale))])
    return ["feature view", "event time: not known yet", "event time: wrong", "latest values: wrong"], rows


def _models(connection: duckdb.DuckDBPyConnection, features: Mapping[str, Floats]) -> Table:
    label, is_judged = _columns(connection, f"{LABEL}, {ASKED_AT} >= {JUDGED_FROM}", SPINE)
    judged = is_judged == 1
    rows = []
    for join, given in features.items():
        model = LogisticRegression(given[~judged], label[~judged])
        promised, served = (
            _auc(label[judged], model.scores(values[judged])) for values in (given, features["as known"])
        )
        rows.append([join, f"{promised:.3f}", f"{served:.3f}"])
    return ["trained on", "AUC promised", "AUC served"], rows


# --- the joins --------------------------------------------------------------------------------------------------------


def _by_hand(service: FeatureService, declarations: Declarations, join: str) -> str:
    """SQL with the columns of the training set, and `too_early_<n>`: the row of the n-th view was not known yet."""
    columns, joins = [], []
    for number, read in enumerate(service.views):
        declared, alias = declarations.views[read.view], f"view_{number}"
        value = _within_ttl(declared, alias) if join == "event time" else "{}"
        columns += [value.format(f"{alias}.{name}") + f" as {read.prefix}{name}" for name in read.features]
        columns.append(f"coalesce({alias}.{declared.view.available_at} > {ASKED_AT}, false) as too_early_{number}")
        joins.append(_on_event_time(declared, read, alias) if join == "event time" else _latest(declared, read, alias))
    return f"select spine.*, {', '.join(columns)} from {SPINE} as spine {' '.join(joins)}"


def _on_event_time(declared: DeclaredView, read: ServiceView, alias: str) -> str:
    view = declared.view
    keys = ", ".join(key.name for key in view.entity.join_keys)
    last_revisions = (
        f"select * from {declared.relation} qualify row_number() over"
        f" (partition by {keys}, {view.event_timestamp} order by {view.available_at} desc) = 1"
    )
    return (
        f"asof left join ({last_revisions}) as {alias}"
        f" on {_same_keys(declared, read, alias)} and spine.{ASKED_AT} >= {alias}.{view.event_timestamp}"
    )


def _latest(declared: DeclaredView, read: ServiceView, alias: str) -> str:
    return f"left join {declared.latest_relation} as {alias} on {_same_keys(declared, read, alias)}"


def _same_keys(declared: DeclaredView, read: ServiceView, alias: str) -> str:
    keys = (key.name for key in declared.view.entity.join_keys)
    return " and ".join(f"spine.{read.keys.get(key, key)} = {alias}.{key}" for key in keys)


def _within_ttl(declared: DeclaredView, alias: str) -> str:
    ttl = declared.view.ttl
    if ttl is None:
        return "{}"
    return (
        f"case when {alias}.{declared.view.event_timestamp}"
        f" >= {ASKED_AT} - interval '{ttl.total_seconds():.0f} seconds' then {{}} end"
    )


# --- the models -------------------------------------------------------------------------------------------------------


def _numeric_features(
    connection: duckdb.DuckDBPyConnection, sql: str, service: FeatureService, declarations: Declarations
) -> Floats:
    """Labels x numeric features, what the request brings before them; NULL is NaN."""
    numeric = {
        (id_, feature.name)
        for id_, declared in declarations.views.items()
        for feature in declared.view.features
        if feature.type in NUMBERS
    }
    names = [read.prefix + name for read in service.views for name in read.features if (read.view, name) in numeric]
    return np.column_stack(_columns(connection, f"{REQUEST}, {', '.join(names)}", f"({sql})"))


def _columns(connection: duckdb.DuckDBPyConnection, expressions: str, relation: str) -> list[Floats]:
    """One array an expression, all in the order of the flights."""
    columns = connection.execute(f"select {expressions} from {relation} order by flight_id").fetchnumpy().values()
    return [np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan) for column in columns]


class LogisticRegression:
    """With a ridge penalty, by Newton's method; a missing value is the mean, and a feature of its own."""

    def __init__(self, features: Floats, label: Floats) -> None:
        self.mean, spread = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.sometimes_missing = np.isnan(features).any(axis=0)
        given = self._prepared(features)
        self.weights = np.zeros(given.shape[1])
        for _ in range(25):
            share = 1 / (1 + np.exp(-given @ self.weights))
            slope = given.T @ (share - label) + self.weights
            curve = (given.T * (share * (1 - share))) @ given + np.eye(len(self.weights))
            self.weights -= np.linalg.solve(curve, slope)

    def scores(self, features: Floats) -> Floats:
        return self._prepared(features) @ self.weights

    def _prepared(self, features: Floats) -> Floats:
        scaled, missing = (features - self.mean) / self.spread, np.isnan(features)
        scaled = np.clip(np.where(missing, 0.0, scaled), -5, 5)
        return np.column_stack([np.ones(len(features)), scaled, missing[:, self.sometimes_missing]])


def _auc(label: Floats, score: Floats) -> float:
    """The share of pairs of a late and a punctual flight in which the late one scores higher; ties count half."""
    _, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    late, punctual = label.sum(), len(label) - label.sum()
    return float((ranks[label == 1].sum() - late * (late + 1) / 2) / (late * punctual))


if __name__ == "__main__":
    main()
