"""From a raw column to a model, through the demo's SQL and through what a shop's services add."""

from __future__ import annotations

import json

import pytest

from feature_warehouse.cli.lineage import _drawn, _flowchart, _tree
from feature_warehouse.errors import RequestError
from feature_warehouse.gate.lineage import Lineage, Step, read_lineage
from feature_warehouse.project.compiling import compile_feature_views
from feature_warehouse.project.declarations import read_declarations
from feature_warehouse.project.definition import read_definitions
from feature_warehouse.project.project import load_project
from feature_warehouse.registry.document import load_registry
from tests.support.clone import Clone
from tests.support.pages import Page
from tests.support.shop import Shop, inside

GUIDE = Page("guides/lineage.md")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("lineage") / "clone")


@pytest.fixture(scope="module")
def demo(clone: Clone) -> Lineage:
    with inside(clone.folder):
        project = load_project()
        compiled = compile_feature_views(project)
    declarations = read_declarations(compiled.manifest)
    definitions = read_definitions(compiled, declarations.views)
    registry = load_registry(project.registry_path, declarations.project)
    return read_lineage(declarations, definitions, compiled.manifest, registry, project.default_namespace)


def drawn(whole: Lineage, root: str, *, plain: bool = False) -> str:
    part = whole.around([root])
    return "".join(f"{line}\n" for line in _drawn(_tree(part, part.steps[root]), plain=plain))


def test_the_guide_shows_the_demos_lineage(demo: Lineage) -> None:
    for block, root in (("feature", "carrier_delays.v2.delay_rate_7d"), ("column", "raw_planes.seats")):
        command, _, shown = GUIDE.block(block).partition("\n")
        assert root in command
        assert drawn(demo, root) == shown
    assert "\n".join(_flowchart(demo.around([demo.column("raw_planes.seats")]))) + "\n" == GUIDE.block("mermaid")


def test_a_column_leads_to_all_that_reads_it_and_to_nothing_else(demo: Lineage) -> None:
    part = demo.around([demo.column("raw_weather.wind_gust")])
    assert [step.id for step in part.steps.values() if step.kind != "field"] == [
        "raw_weather.wind_gust",
        "origin_weather.v1.wind_gust_mph",
        "departure_delay@2",
        "departure_delay@3",
        "departure_delay_v2",
        "departure_delay_v3",
    ]
    late = demo.around([demo.column("raw_flights.arr_delay")])
    views = {step.id.rpartition(".")[0] for step in late.steps.values() if step.kind == "feature"}
    assert views == {"carrier_delays.v1", "carrier_delays.v2", "plane_arrivals.v1", "route_history.v1"}


def test_a_service_shows_each_of_its_features_with_its_origin(demo: Lineage) -> None:
    lines = drawn(demo, "departure_delay@1", plain=True).splitlines()
    features = [line.split(":")[0].strip() for line in lines if line.startswith("  ") and line[2] != " "]
    assert features[:-1] == [
        "carrier_delays.v1.delay_rate_7d", "carrier_delays.v1.flights_7d", "plane_profile.v1.age_years",
        "plane_profile.v1.seats", "origin_weather.v1.temperature_f", "origin_weather.v1.wind_speed_mph",
        "origin_weather.v1.visibility_miles", "origin_weather.v1.precipitation_inches", "route_history.v1.flights_28d",
        "route_history.v1.mean_arrival_delay_minutes_28d",
    ]  # fmt: skip
    assert lines[-1] == "  departure_delay_v1 (Flight operations, ops@example.com)"
    assert "    from raw_weather: temp" in lines


def test_look_backs_without_end_are_named(demo: Lineage) -> None:
    assert drawn(demo, "route_history.v1.last_flown_on").startswith(
        "route_history.v1.last_flown_on: date, looks back without end "
        "(max() in `final` of `route_history_v1` reads all rows of its group)\n"
    )


def test_the_command_prints_what_was_asked_for(clone: Clone) -> None:
    """Not to a terminal: without the lines of a tree."""
    assert clone.syncer("lineage", "--to-models", "raw_planes.seats").splitlines()[:2] == [
        "raw_planes.seats",
        "  plane_profile.v1.seats: bigint",
    ]
    assert clone.try_syncer("lineage").exit_code == 2
    assert clone.try_syncer("lineage", "plane_profile.v1", "--json", "--mermaid").exit_code == 2


def test_a_sources_column_needs_no_word_before_it() -> None:
    whole = Lineage({"source.web.visits.visits": Step("source.web.visits.visits", "column", {})}, {})
    assert whole.column("web.visits.Visits") == "source.web.visits.visits"


def test_what_is_not_there_is_answered_with_what_is_near(demo: Lineage) -> None:
    with pytest.raises(RequestError, match=r"feature view or service 'carrier_delays\.v2\.delay_rate'") as one:
        demo.named("carrier_delays.v2.delay_rate")
    assert one.value.hint == "did you mean 'carrier_delays.v2.delay_rate_7d'?"
    with pytest.raises(RequestError, match=r"no feature comes from a column 'raw_planes\.seat'") as two:
        demo.column("raw_planes.seat")
    assert two.value.hint == "did you mean 'raw_planes.seats'?"


@pytest.fixture(scope="module")
def shop(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """With a source, and an exposure that is no service."""
    made = built_shop.copied(tmp_path_factory.mktemp("lineage") / "shop", built_shop.redis_url)
    made.write(
        "models/more.yml",
        "sources: [{name: web, tables: [{name: visits, columns: [{name: visits, data_type: bigint}]}]}]\n"
        "exposures: [{name: board, type: dashboard, owner: {email: board@example.com}, depends_on: [ref('weekly')]}]",
    )
    made.write("models/weekly.sql", "select visits_7d from {{ ref('visits', v=1) }}")
    made.write(
        "models/visits_v1.sql",
        "select customer_id::bigint as customer_id, seen_at::timestamptz as event_at, visits as visits_7d\n"
        "from {{ source('web', 'visits') }}",
    )
    return made


def test_sources_and_other_exposures_are_steps_too(shop: Shop) -> None:
    said = json.loads(shop.syncer("lineage", "visits.v1.visits_7d", "--json"))
    steps = {step["id"]: step for step in said["steps"]}
    assert [id_ for id_, step in steps.items() if step["kind"] == "column"] == [
        "source.web.visits.visits",
        "source.web.visits.customer_id",
        "source.web.visits.seen_at",
    ]
    board = {"id": "board", "kind": "model", "type": "dashboard", "owner": None, "email": "board@example.com"}
    assert steps["board"] == board
    assert {"from": "visits.v1.visits_7d", "to": "board"} in said["edges"]
    field = "shop_dev:customer:<customer_id> visits:1 visits_7d"
    assert {edge["to"] for edge in said["edges"] if edge["from"] == field} == {"churn@1", "churn@2"}


def test_on_demand_features_lie_between_what_they_read_and_their_service(shop: Shop) -> None:
    assert shop.syncer("lineage", "orders.v1.spent", "--namespace", "mine").splitlines()[1:] == [
        "  mine:customer:<customer_id> orders:1, field 3",
        "    churn@2",
        "      churn_v2 (Growth, growth@example.com)",
        "    churn@2.amount_share, on demand: amount / spent",
        "      churn@2",
        "        churn_v2 (Growth, growth@example.com)",
    ]


def test_what_is_declared_wrongly_is_left_out_and_said(shop: Shop) -> None:
    shop.replace("models/visits.yml", "event_timestamp: event_at", "event_timestamp: seen_at")
    result = shop.try_syncer("lineage", "stock.v1.in_stock")
    assert result.exit_code == 1
    assert result.stdout.startswith("stock.v1.in_stock: integer\n")
    assert "models/visits.yml: visits.v1: 'seen_at' is not among the columns" in result.stderr
    assert "what is wrong above is left out of this" in result.stderr
