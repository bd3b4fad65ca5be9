"""The demo, broken by one edit at a time: what `syncer check` says of it, word by word.

What is said of a declaration alone needs no compile, so each of these edits is made and undone. The edits of SQL are
made together, each in a feature of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.support.clone import Clone


@dataclass(frozen=True)
class Edit:
    path: str
    old: str
    new: str
    says: str  # a problem, or a warning
    hint: str = ""


def feature(view: str, name: str) -> str:
    return f"models/features/{view}.yml: {view}.v1, feature '{name}'"


DECLARATIONS = {
    "no contract": Edit(
        "models/features/plane_profile.yml",
        "contract: {enforced: true}",
        "contract: {enforced: false}",
        "models/features/plane_profile.yml: plane_profile.v1: the contract is not enforced, so its types could change "
        "unseen",
        "add `contract: {enforced: true}` to the model's config",
    ),
    "neither availability nor a waiver": Edit(
        "models/features/airport_profile.yml",
        "          available_at: known_at\n",
        "",
        "models/features/airport_profile.yml: airport_profile.v1: config.meta.feature_view has no 'available_at'",
        "name the column that says when a value could first be read, or waive it: `available_at: none`",
    ),
    "keys of other types": Edit(
        "models/features/origin_congestion.yml",
        "      - name: airport\n        data_type: varchar",
        "      - name: airport\n        data_type: uuid",
        "models/features/origin_congestion.yml: origin_congestion.v1 gives the entity 'airport' the keys (airport "
        "uuid), but airport_departure_hours.v1 (models/features/airport_departure_hours.yml) gives it (airport "
        "varchar)",
        "all views of one entity have the same join keys: names, order and types",
    ),
    "keys in another order": Edit(
        "models/features/carrier_delays.yml",
        "          entity: carrier\n          join_keys: [carrier]",
        "          entity: route\n          join_keys: [carrier]",
        "models/features/route_history.yml: route_history.v1 gives the entity 'route' the keys (origin varchar, dest "
        "varchar), but carrier_delays.v1 (models/features/carrier_delays.yml) gives it (carrier varchar)",
        "all views of one entity have the same join keys: names, order and types",
    ),
    "a naive time": Edit(
        "models/features/plane_arrivals.yml",
        "      - name: last_arrived_at\n        data_type: timestamptz",
        "      - name: last_arrived_at\n        data_type: timestamp",
        "models/features/plane_arrivals.yml: plane_arrivals.v1, column 'last_arrived_at': type timestamp has no "
        "zone, so it names no instant",
        "declare timestamptz and convert in the model: last_arrived_at at time zone 'UTC', or the zone of its clock",
    ),
    "one name in protobuf": Edit(
        "models/features/route_history.yml",
        "      - name: last_flown_on",
        "      - name: flights28d",
        "models/features/route_history.yml: route_history.v1: the names flights_28d and flights28d are the same in "
        "protobuf",
        "rename one of them",
    ),
    "depends_on and features": Edit(
        "models/services.yml",
        "      - \"ref('carrier_delays', v=1)\"\n",
        "",
        "models/services.yml: departure_delay_v1: depends_on and features disagree; depends_on lacks carrier_delays.v1",
        "list one ref('<view>', v=<version>) in depends_on for each view under features",
    ),
    "two versions of one view": Edit(
        "models/services.yml",
        "            - {view: carrier_delays.v1, features: [delay_rate_7d, flights_7d]}\n",
        "            - {view: carrier_delays.v1, features: [delay_rate_7d, flights_7d]}\n"
        "            - {view: carrier_delays.v2, features: [flights_7d], prefix: new_}\n",
        "models/services.yml: departure_delay_v1: it reads carrier_delays.v1 and carrier_delays.v2, two versions of "
        "one feature view",
        "read all features of one version; a newer version can take in what the older one has",
    ),
}

ONLINE = "which is kept for 90 days online"
BOTH = "which is kept for 3 years offline and 90 days online"
SQL = {
    "a three-year average over what is kept for 90 days": Edit(
        "models/features/origin_weather_v1.sql",
        "            humidity_percent,",
        "            avg(humidity_percent) over (\n"
        "                partition by airport order by hour_started_at range between interval 3 years preceding and "
        "current row\n            ) as humidity_percent,",
        f"{feature('origin_weather', 'humidity_percent')}: it looks back 3 years into raw_weather, {ONLINE}",
        "shorten the window, keep raw_weather longer, or read an incremental model that keeps its rows and declares a "
        "`retention` of its own",
    ),
    "without end": Edit(
        "models/features/origin_weather_v1.sql",
        "            wind_gust_mph,",
        "            max(wind_gust_mph) over (partition by airport order by hour_started_at) as wind_gust_mph,",
        f"{feature('origin_weather', 'wind_gust_mph')}: it looks back without end (max() in `final` of "
        f"`origin_weather_v1` reads all rows before) into raw_weather, {BOTH}",
    ),
    "not known": Edit(
        "models/features/origin_weather_v1.sql",
        "            wind_speed_mph,",
        "            avg(wind_speed_mph) over (\n"
        "                partition by airport order by hour_started_at rows 24 preceding\n"
        "            ) as wind_speed_mph,",
        f"{feature('origin_weather', 'wind_speed_mph')}: its SQL does not tell how far it looks back into raw_weather, "
        f"{BOTH} (avg() in `final` of `origin_weather_v1` reads a number of rows, of any age)",
        "declare it in config.meta.feature_view: `lookback: {wind_speed_mph: 7 days}`",
    ),
    "less declared than done": Edit(
        "models/features/airport_departure_hours.yml",
        "          available_at: known_at\n",
        "          available_at: known_at\n          lookback: 1 day\n",
        f"{feature('airport_departure_hours', 'departures_by_hour')}: it looks back 28 days, and its declared lookback "
        "is 1 day",
        "declare what the SQL does, or change the SQL; `lookback: unbounded` for one without end",
    ),
    "the clock": Edit(
        "models/features/origin_weather_v1.sql",
        "temperature_f <= 32 as is_freezing",
        "temperature_f <= 32 and hour_ended_at < now() as is_freezing",
        f"{feature('origin_weather', 'is_freezing')}: its value hangs on when it is computed: now()",
        "compute it from the row's own times, or on demand; to leave out rows that lie ahead, filter with "
        "`{{ feature_warehouse.current_instant() }}`",
    ),
    "the clock in a value": Edit(
        "models/features/plane_arrivals_v1.sql",
        "            legs_flown_today,\n            actual_arrival_at as event_at,",
        "            date_diff('minute', actual_arrival_at, {{ feature_warehouse.current_instant() }}) as "
        "legs_flown_today,\n            actual_arrival_at as event_at,",
        f"{feature('plane_arrivals', 'legs_flown_today')}: its value hangs on when it is computed: current_instant()",
    ),
    "chance": Edit(
        "models/features/origin_weather_v1.sql",
        "            temperature_f,",
        "            first(temperature_f) over (partition by airport, hour_started_at) as temperature_f,",
        f"{feature('origin_weather', 'temperature_f')}: the same data may give it another value: first() without an "
        "order",
        "say which row is meant, with an `order by` that leaves no ties",
    ),
    "the session's zone": Edit(
        "models/features/origin_congestion_v1.sql",
        "                    flight_id\n                from flights",
        "                    actual_departure_at::date as flight_id\n                from flights",
        f"{feature('origin_congestion', 'departures_last_hour')}: its value hangs on the session's time zone, which is "
        "America/New_York: a timestamptz is cast to date",
        "name the zone in the SQL, `<time> at time zone 'UTC'`, or set `settings: {TimeZone: UTC}` in the profile; the "
        "syncer reads in UTC",
    ),
    "a function that is not known": Edit(
        "models/features/origin_weather_v1.sql",
        "            visibility_miles,",
        "            readable(visibility_miles) as visibility_miles,",
        f"{feature('origin_weather', 'visibility_miles')}: whether the same data always gives it the same value is not "
        "known: readable()",
        "see that this function is neither random nor reads a clock or a table",
    ),
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("skew") / "clone")


def test_the_demo_is_free_of_skew(clone: Clone) -> None:
    checked = clone.try_syncer("check", "--json")
    assert checked.exit_code == 0
    found = json.loads(checked.stdout)
    assert found["problems"] == []
    assert [warning["message"].split()[0] for warning in found["warnings"]] == ["carrier_delays.v1"]  # deprecated


@pytest.mark.parametrize("edit", DECLARATIONS.values(), ids=DECLARATIONS)
def test_declarations_that_make_skew(clone: Clone, edit: Edit) -> None:
    path = clone.folder / edit.path
    before = path.read_text()
    clone.replace(edit.path, edit.old, edit.new)
    checked = clone.try_syncer("check", "--json")
    path.write_text(before)
    assert checked.exit_code == 1
    assert {"message": edit.says, "hint": edit.hint} in json.loads(checked.stdout)["problems"]


@pytest.fixture(scope="module")
def found(clone: Clone) -> dict[str, str]:
    """Hints by message, of the demo with all edits of SQL."""
    for edit in SQL.values():
        clone.replace(edit.path, edit.old, edit.new)
    clone.replace(
        "seeds/seeds.yml",
        "      column_types:\n        origin: varchar\n        time_hour: timestamptz\n",
        "      meta: {retention: {offline: 3 years, online: 90 days}}\n"
        "      column_types:\n        origin: varchar\n        time_hour: timestamptz\n",
    )
    clone.replace("profiles/profiles.yml", "TimeZone: UTC", "TimeZone: America/New_York")
    said = json.loads(clone.try_syncer("check", "--json").stdout)
    refused = clone.try_syncer("register")
    first = SQL["a three-year average over what is kept for 90 days"]
    assert refused.exit_code == 1
    assert f"Error: {first.says}\nHint: {first.hint}\n" in refused.stderr
    return {one["message"]: one["hint"] for one in (*said["problems"], *said["warnings"])}


@pytest.mark.parametrize("edit", SQL.values(), ids=SQL)
def test_sql_that_makes_skew(found: dict[str, str], edit: Edit) -> None:
    assert edit.says in found
    assert edit.hint in ("", found[edit.says])


def test_nothing_else_is_called_skew(found: dict[str, str]) -> None:
    features = [message for message in found if ", feature '" in message]
    assert sorted(features) == sorted(edit.says for edit in SQL.values())
