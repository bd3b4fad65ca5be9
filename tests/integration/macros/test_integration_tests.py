"""The project in integration_tests: as published on each engine, and one hash of both for rows by the thousand."""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse import content_hash, rows_hash
from tests.support.engines import NAMES, Engine, asked, database_of
from tests.support.projects import ROOT, Project, messages

FOLDER = ROOT / "integration_tests"
_MADE = {"dbt_packages", "target", "logs"}

TRAINING = ("training_of_service", "training_before", "training_as_known", "changes")
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def script(folder: Path) -> Any:
    """The module hashes.py of a copy."""
    spec = importlib.util.spec_from_file_location("hashes", folder / "hashes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Project]:
    files = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in sorted(FOLDER.rglob("*"))
        if path.is_file() and not _MADE & set(path.relative_to(FOLDER).parts)
    }
    del files["profiles.yml"], files["packages.yml"]
    made = {}
    for engine in NAMES:
        server = database_of(request, engine)
        made[engine] = Project(tmp_path_factory.mktemp(engine), files, name="integration_tests", server=server)
    return made


@pytest.mark.parametrize("engine", NAMES)
def test_it_passes_and_its_hashes_are_those_published(built: dict[str, Project], engine: str) -> None:
    project = built[engine]
    result = project.try_dbt("build")
    said = {run.node.name: str(run.status) for run in result.result.results}
    assert result.success, messages(result)
    assert {name for name, status in said.items() if status not in ("success", "pass", "no-op")} == {
        "feature_warehouse_feature_freshness_accounts_v1_",
    }
    ours = script(project.folder)
    found = ours.hashes(["--project-dir", str(project.folder), "--profiles-dir", str(project.folder)])
    assert found == ours.published()
    assert len(found) == 10


def test_every_public_macro_and_generic_test_is_in_it() -> None:
    """But what only unit tests and other macros call."""
    written = "\n".join(path.read_text() for path in FOLDER.rglob("models/**/*.*"))
    macros = ["point_in_time_join", "latest_values", "rolling_features", "feature_changes", "history_fingerprints"]
    macros += ["drift_reference", "drift_profile"]
    tests = {path.stem for path in (ROOT / "macros" / "generic_tests").glob("*.sql")}
    assert {name for name in (*macros, *tests) if f"feature_warehouse.{name}" not in written} == set()


@pytest.fixture(scope="module")
def both(built: dict[str, Project]) -> Iterator[list[Engine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(asked(project)) for project in built.values()]


def drawn(seed: int) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """{table: its columns, its rows}: some hundred accounts on few moments, so that every tie and edge occurs."""
    draw = random.Random(seed)

    def moment() -> datetime:
        step, jitter = draw.randrange(60), draw.choice([0, 0, 0, -1, 1])
        return START + timedelta(hours=6 * step, microseconds=jitter)

    def key() -> list[Any]:
        return [draw.choice([f"c{draw.randrange(120)}", f"c{draw.randrange(120)}", None]), draw.choice([1, 2, 2, None])]

    accounts: dict[Any, list[Any]] = {}
    for _ in range(4000):
        customer, region = key()
        event, known = moment(), moment()
        accounts[customer, region, event, known] = [
            customer, region,
            draw.choice([None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
            draw.choice([None, "0.0001", "-7.2500", "99999999999999.9999"]),
            draw.choice([None, -0.0, 0.0, math.nan, math.inf, -math.inf, 0.1, 1e-300, draw.random()]),
            draw.choice([None, [], [1], [2**53 + 1, None, -1]]),
            draw.choice([None, "1969-12-31", "2026-02-28"]),
            draw.choice([None, True, False]),
            event, known,
            draw.choice([None, False, False, False, True]),
        ]  # fmt: skip
    regions = {(draw.choice([1, 2, 3]), moment()): [draw.choice([None, "0.01", "19.00"]), "ä\t'"] for _ in range(90)}
    orders = [
        [
            *key(), moment(), moment(), draw.choice([None, 0, 5, 2**53 + 1]), draw.choice([None, "0.1000", "-3.7500"]),
            draw.choice([None, 0.125, -2.5, 1024.0]), draw.choice([None, "web", "shop", ""]),
        ]
        for _ in range(2500)
    ]  # fmt: skip
    labels = [[number, *key(), draw.choice([1, 2, 9, None]), draw.choice([moment(), None])] for number in range(3000)]
    return {
        "accounts_v1": (
            "customer region balance credit score recent opened_on is_member event_at known_at is_deleted".split(),
            list(accounts.values()),
        ),
        "regions_v1": (["region", "event_at", "tax", "label"], [[*k, *v] for k, v in regions.items()]),
        "orders": ("customer region ordered_at loaded_at amount price weight channel".split(), orders),
        "labels": ("label_id customer region ship_region asked_at".split(), labels),
    }


def test_two_engines_give_one_hash_for_thousands_of_rows(both: list[Engine]) -> None:
    """After the build, on other rows in the same tables, by the same compiled SQL."""
    found: list[dict[str, Any]] = []
    rows = drawn(7)
    for engine in both:
        for table, (columns, content) in rows.items():
            engine.fill(table, columns, content)
        names, _ = engine.query("select * from spending_v1 where false")
        listed = ", ".join(names)
        engine.execute("delete from spending_v1")
        windows = engine.project.compiled("spending_v1")
        engine.execute(f"insert into spending_v1 ({listed}) select {listed} from ({windows}) as windows")
        ours = script(engine.project.folder)
        hashes: dict[str, Any] = {}
        for model, types in declared(engine.project).items():
            listed = ", ".join(types)
            query = f"select {listed} from ({engine.project.compiled(model)}) as made"
            table = ours.as_table(engine.rows(query), types)
            hashes[model] = (table.num_rows, rows_hash(table))
            if model.startswith("training"):
                in_order = ours.as_table(engine.rows(f"{query} order by label_id"), types)
                hashes[f"{model}, in order"] = content_hash(in_order)
        found.append(hashes)
    assert found[0] == found[1]
    assert found[0]["training_of_service"][0] == 3000
    assert found[0]["spending_v1"][0] > 2000
    assert found[0]["changes"][0] > 1000
    assert found[0]["latest_accounts_v1"][0] > 50


def test_two_engines_measure_one_drift(both: list[Engine]) -> None:
    """On the same rows; the id of the bins is each engine's own."""
    columns, rows = drawn(8)["accounts_v1"]
    found = []
    for engine in both:
        engine.fill("accounts_v1", columns, rows)
        engine.execute("delete from drift_reference_accounts")
        reference = engine.project.compiled("drift_reference_accounts")
        engine.execute(f"insert into drift_reference_accounts select * from ({reference}) as bins")
        names, made = engine.query(engine.project.compiled("drift_accounts"))
        profile = {}
        for values in made:
            row = dict(zip(names, values, strict=True))
            del row["reference_id"]
            profile[row["feature"], row["period_start"]] = {name: plain(value) for name, value in row.items()}
        kept = "select feature, bin, bin_type, lower, upper, row_count from drift_reference_accounts"
        found.append((engine.rows(kept), profile))
    (bins, profile), (other_bins, other_profile) = found
    assert sorted(bins, key=repr) == sorted(other_bins, key=repr)
    assert {feature for feature, *_ in bins} == {"balance", "credit", "score", "recent", "opened_on", "is_member"}
    assert profile.keys() == other_profile.keys()
    assert len(profile) > 60
    for key, row in profile.items():
        for name, value in row.items():
            other = other_profile[key][name]
            assert value == (pytest.approx(other, rel=1e-9, abs=1e-12) if isinstance(other, float) else other), key


def plain(value: Any) -> Any:
    """What compares well across engines: a float for a decimal, and for the text of a number."""
    if isinstance(value, Decimal | str):
        with suppress(ValueError):
            return float(value)
    return value


def declared(project: Project) -> dict[str, dict[str, str]]:
    """{model: {column: type}} of what is compared."""
    parsed = project.dbt("parse").result
    nodes = {node.alias: node for node in parsed.nodes.values() if node.resource_type == "model"}
    compared = ["spending_v1", "latest_accounts_v1", "latest_spending_v1", *TRAINING]
    return {name: {column.name: column.data_type for column in nodes[name].columns.values()} for name in compared}
