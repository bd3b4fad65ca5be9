"""A model that does not parse is called that, with its file; SQL that only we do not read is not."""

from __future__ import annotations

import pytest

from feature_warehouse.gate.syntax import without_syntax_errors
from feature_warehouse.project.definition import Definition, ProjectDefinitions
from feature_warehouse.sql.changes import View
from feature_warehouse.sql.nodes import Node
from tests.support.declared import declared_spending


def problems(staging: str) -> list[str]:
    view = View(node="spending_v1", join_keys={"customer": ""}, event_timestamp="day", features={"f": ""})
    nodes = {
        "spending_v1": Node(sql="select customer, day, f from ref.stg_orders", reads=("stg_orders",)),
        "stg_orders": Node(sql=staging, reads=("source.shop.orders",)),
        "source.shop.orders": Node(columns={"customer": ""}),
    }
    project = ProjectDefinitions(definitions={"spending.v1": Definition(view=view, nodes=nodes)}, problems={})
    files = {"stg_orders": "models/stg_orders.sql"}
    found = without_syntax_errors(project, {"spending.v1": declared_spending()}, files)
    assert found.definitions.keys() | found.problems.keys() == {"spending.v1"}
    return [problem.message for problem in found.problems.values()]


def test_a_model_that_does_not_parse_is_called_that_with_its_file_and_line() -> None:
    [problem] = problems("select customer, day,\n  f form source.shop.orders where x")
    assert problem.startswith("models/spending.yml: spending.v1: models/stg_orders.sql does not parse: syntax error at")
    assert "`f form source.shop.orders where x`" in problem


@pytest.mark.parametrize(
    "sql",
    [
        "select customer, day, f from source.shop.orders",
        "pivot source.shop.orders on customer using sum(f)",
        "select customer, day, f from source.shop.orders using sample 10%",
        "select columns('c.*') from source.shop.orders",
    ],
)
def test_sql_that_only_we_do_not_read_parses(sql) -> None:
    assert problems(sql) == []
