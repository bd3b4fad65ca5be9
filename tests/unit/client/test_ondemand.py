"""The engine of on-demand features at its edges; that it agrees with training, tests/integration/client shows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import duckdb
import pytest

from feature_warehouse.client import ondemand
from feature_warehouse.client.ondemand import OnDemand, expression_type, readable
from feature_warehouse.errors import DefinitionError, RequestError, UnsupportedTypeError
from feature_warehouse.gate.ondemand import changed_expressions, service_problems
from feature_warehouse.registry.feature import (
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    JoinKey,
    OnDemandFeature,
    ServiceView,
)
from feature_warehouse.sql.changes import check_on_demand

NOON = datetime(2013, 1, 31, 12, tzinfo=timezone.utc)

VIEWS = {
    "airports.v1": FeatureView(
        name="airports",
        version=1,
        entity=Entity("airport", (JoinKey("airport", "varchar"),)),
        features=(Feature("altitude_ft", "integer", 2), Feature("latitude", "double", 3), Feature("name", "varchar")),
    )
}


def service(version: int = 1, **expressions: tuple[str, str]) -> FeatureService:
    return FeatureService(
        name="delay",
        version=version,
        views=(
            ServiceView(view="airports.v1", features=("altitude_ft", "latitude"), prefix="origin_"),
            ServiceView(view="airports.v1", features=("altitude_ft",), prefix="dest_"),
        ),
        request={"miles": "double", "leaves_at": "timestamptz"},
        on_demand=tuple(OnDemandFeature(name, *typed) for name, typed in expressions.items()),
    )


def test_an_expression_may_read_what_the_service_reads_and_requests() -> None:
    assert readable(service(), VIEWS) == {
        "origin_altitude_ft": "integer",
        "origin_latitude": "double",
        "dest_altitude_ft": "integer",
        "miles": "double",
        "leaves_at": "timestamptz",
    }


def test_only_what_the_expressions_name_is_asked_for() -> None:
    computed = OnDemand(
        service(
            climb=("integer", "Dest_Altitude_Ft - origin_altitude_ft"),
            squares=("double", "list_sum(list_transform([miles], lambda x: x * miles))"),
        ),
        VIEWS,
    )
    assert computed.names == ("climb", "squares")
    assert computed.inputs == ("origin_altitude_ft", "dest_altitude_ft", "miles")
    columns: dict[str, Any] = {"origin_altitude_ft": [1, None], "dest_altitude_ft": [10, 5], "miles": [3.0, 4.0]}
    assert computed.compute(columns, 2) == [[9, None], [9.0, 16.0]]


def test_an_expression_may_read_nothing() -> None:
    assert OnDemand(service(one=("integer", "1")), VIEWS).compute({}, 3) == [[1, 1, 1]]


def test_no_rows_give_no_values() -> None:
    assert OnDemand(service(one=("double", "miles")), VIEWS).compute({"miles": []}, 0) == [[]]


def test_many_rows_keep_their_order() -> None:
    """More than DuckDB handles at once."""
    miles = [float(i) for i in range(10_000)]
    assert OnDemand(service(same=("double", "miles")), VIEWS).compute({"miles": miles}, len(miles)) == [miles]


def test_threads_share_one() -> None:
    computed = OnDemand(service(same=("double", "miles + 1"), at=("timestamptz", "leaves_at")), VIEWS)

    def ask(number: int) -> bool:
        columns: dict[str, Any] = {"miles": [float(number)] * 5, "leaves_at": [NOON] * 5}
        return computed.compute(columns, 5) == [[number + 1.0] * 5, [NOON] * 5]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_the_first_failing_row_is_named_with_what_failed() -> None:
    computed = OnDemand(service(fine=("double", "miles"), whole=("tinyint", "cast(miles as tinyint)")), VIEWS)
    with pytest.raises(RequestError, match=r"delay@1, row 2: the on-demand feature 'whole' cannot be computed: .*1000"):
        computed.compute({"miles": [1.0, None, 1000.0, 2000.0]}, 4)
    assert computed.compute({"miles": [1.0]}, 1) == [[1.0], [1]]  # an error leaves nothing behind


@pytest.mark.parametrize(
    ("type_", "expression"),
    [
        ("timestamptz", "leaves_at + to_years(9000)"),
        ("timestamptz", "'infinity'::timestamptz"),
        ("date", "cast(leaves_at as date) - 800000"),
        ("date", "'infinity'::date"),
    ],
)
def test_a_time_that_python_cannot_hold_is_an_error(type_: str, expression: str) -> None:
    with pytest.raises(
        RequestError, match="delay@1, row 0: the on-demand feature 'far' is no time of the years 1 to 9999"
    ):
        OnDemand(service(far=(type_, expression)), VIEWS).compute({"leaves_at": [NOON]}, 1)


NOT_OF_ONE_ROW = [
    "(select count(*) from read_text('/etc/hostname'))",
    "(select count(*) from range(2000000000))::double + miles",
    "exists(select 1)",
    "miles = any([1.0])",
    "miles) from range(10) where (true",
    "1); select (2",
    "1) union all select (2",
    "1 as one",
    "sum(miles)",
    "count(*) over ()",
    "unnest([miles])",
    "*",
    "columns('miles')",
    "$1",
    "?",
    "default",
    "random()",
    "now()",
    "current_date",
    "current_setting('threads')",
    "getvariable('x')",
    "getenv('HOME')",
    "nextval('x')",
    "query('select 1')",
    "pg_sleep(1)",
    "error('x')",
    "main.lower('x')",
    "other.miles",
    "airport",
    "list_reduce([miles], lambda x, y: x + y)",
    "repeat('x', 1000000000)",
    "repeat('x', miles::bigint)",
    "lpad('x', 10001, 'y')",
    "list_sum(range(100000000))",
    "list_sum(generate_series(1, miles::bigint))",
    "printf('%1000000000d', 1)",
    "format('{:>{}}', 1, 1000000000)",
    "miles +",
    "/*",
    "'",
]


@pytest.mark.parametrize("expression", NOT_OF_ONE_ROW)
def test_what_is_no_value_of_one_row_is_never_run(expression: str) -> None:
    """The gate refuses it; whoever can write to Redis does not pass the gate."""
    with pytest.raises(DefinitionError, match="its on-demand feature 'spy' cannot be computed: "):
        OnDemand(service(spy=("double", expression)), VIEWS)


def test_what_the_gate_lets_in_a_client_computes() -> None:
    """Of all of DuckDB's functions, called with what a service may have; and the gate asks the client as well."""
    duckdb_ = duckdb.connect()
    names = duckdb_.execute("select distinct function_name from duckdb_functions() where function_type = 'scalar'")
    types = readable(service(), VIEWS)
    arguments = ["", "miles", "leaves_at", "miles, 2", "'a', 'b'", "[miles]", "'day', leaves_at", "'a', 3, 'b'"]
    computed = 0
    for (name,) in names.fetchall():
        for given in arguments:
            expression = f"{name}({given})"
            if not name.isidentifier() or not _is_known(expression) or check_on_demand(expression, types).problems:
                continue
            if name in GROWING:
                continue
            type_ = expression_type(expression, types)
            with contextlib.suppress(UnsupportedTypeError):
                assert OnDemand(service(x=(type_, expression)), VIEWS).names == ("x",)
                computed += 1
    assert computed > 150


#: Their values are as large as somebody says; they are among what is never run, unless it is said in a number.
GROWING = {"list_reduce", "reduce", "array_reduce", "range", "generate_series", "printf", "format", "repeat"}


def _is_known(expression: str) -> bool:
    try:
        duckdb.sql(f"select {expression} from (select 1.0::double as miles, now() as leaves_at) limit 0")
    except duckdb.Error:
        return False
    return True


def test_a_tree_of_any_depth_is_read() -> None:
    for expression in ("(" * 900 + "miles" + ")" * 900, "-" * 5_000 + "miles", " + ".join(["miles"] * 5_000)):
        with contextlib.suppress(DefinitionError):
            OnDemand(service(deep=("double", expression)), VIEWS)


def test_the_type_of_an_expression_is_duckdbs() -> None:
    types = readable(service(), VIEWS)
    assert expression_type("origin_altitude_ft / 2", types) == "double"
    assert expression_type("extract(hour from leaves_at) -- of the day", types) == "bigint"
    assert expression_type("cast(miles as decimal(9, 2)) * 2", types).startswith("decimal(")
    with pytest.raises(DefinitionError, match='"airport" not found'):
        expression_type("length(airport)", types)


@pytest.mark.parametrize(
    ("type_", "expression", "words", "hint"),
    [
        ("double", "origin_latitude / miles", None, None),
        ("bigint", "try(cast(miles as bigint)) -- NULL where it is too large", None, None),
        ("bigint", "origin_altitude_ft", "its type is integer, but its data_type is bigint", "data_type: integer"),
        ("double", "latitude", "there is no column latitude", "it may read origin_altitude_ft, origin_latitude"),
        ("varchar", "origin_name", "there is no column origin_name", "it may read"),
        ("double", "sum(miles)", "it looks at more than one row", ""),
        ("double", "miles / (select 2)", "it holds a subquery", ""),
        ("double", "miles * random()", "random() may give another value at each call", ""),
        ("boolean", "leaves_at < now()", "now() reads the clock", ""),
        ("double", "cast(getvariable('x') as double)", "getvariable() is a value of the session", ""),
        ("double", "cast(current_setting('threads') as double)", "current_setting() (not known here)", ""),
        ("double", "miles as m", "it is not one expression", ""),
        ("double", "log(miles, 2, 3)", "No function matches", ""),
        ("double", "miles + leaves_at", "No function matches", ""),
        ("double", "climb + 1", "there is no column climb", ""),
    ],
)
def test_what_may_be_registered(type_: str, expression: str, words: str | None, hint: str) -> None:
    declared = service(climb=("integer", "dest_altitude_ft - origin_altitude_ft"), made=(type_, expression))
    problems = list(service_problems({declared.id: declared}, VIEWS))
    if words is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.message.startswith(f"delay@1: the on-demand feature 'made', {expression}: ")
        assert words in problem.message
        assert hint in problem.hint


def test_a_registered_expression_changes_in_spelling_alone() -> None:
    accepted = {"delay@1": service(a=("double", "miles / 2"), gone=("double", "miles"))}
    refactored = {"delay@1": service(a=("double", "(Miles/2) -- half")), "delay@2": service(2, a=("double", "miles"))}
    assert list(changed_expressions(accepted, refactored, VIEWS)) == []
    other = {"delay@1": service(a=("double", "miles / 3"))}
    (problem,) = changed_expressions(accepted, other, VIEWS)
    assert problem.message.startswith("delay@1: the on-demand feature 'a' was miles / 2 and is miles / 3, so models")


def test_what_it_needs_is_duckdb_alone() -> None:
    """The extra [online] brings no more."""
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "pyarrow", "pandas", "pytz", "sqlglot", "click", "dbt"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from datetime import datetime, timezone
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature
from feature_warehouse.client.ondemand import OnDemand
types = {"t": "timestamptz", "l": "double[]", "d": "date"}
made = tuple(OnDemandFeature(name + "2", type_, name) for name, type_ in types.items())
service = FeatureService(name="s", version=1, views=(), request=types, on_demand=made)
noon = datetime(2013, 1, 31, 12, tzinfo=timezone.utc)
columns = {"t": [noon], "l": [[1.5]], "d": [noon.date()]}
assert OnDemand(service, {}).compute(columns, 1) == list(columns.values())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_forked_process_has_a_database_of_its_own() -> None:
    """That of its parent may be locked for ever, by a thread that is not there."""
    parent = ondemand._database(os.getpid())
    with ondemand._lock:
        child = os.fork()
        if not child:
            signal.alarm(10)
            try:
                os._exit(0 if ondemand._connect() and ondemand._database(os.getpid()) is not parent else 2)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_that_computed_ends_without_a_word() -> None:
    code = """
from feature_warehouse.client.ondemand import OnDemand
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature

twice = OnDemandFeature("twice", "double", "x * 2")
service = FeatureService(name="s", version=1, views=(), request={"x": "double"}, on_demand=(twice,), owner="")
print(OnDemand(service, {}).computation({"x": [1.0]}, 1).future.result(30))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[[2.0]]\n", "")
