"""What the README shows is what one gets: the demo's transcript, and the path to a first feature view."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from feature_warehouse import get_historical_features
from feature_warehouse.cli.main import main
from feature_warehouse.cli.output import value_text
from tests.support.demo import FIRST_PORT, Demo
from tests.support.pages import Page
from tests.support.projects import Project
from tests.support.shop import inside

README = Page("../README.md")

READ = re.compile(r"^\$ syncer get departure_delay (.*)\ndeparture_delay@\d+\n((?:  .*\n)+)", re.MULTILINE)


def pattern(transcript: str) -> str:
    """What a real run matches: seconds and servers differ, and a line `...` stands for lines left out."""
    seconds = re.sub(r"\d+\\\.\d\d\\ s\b", r"\\d+\\.\\d\\d\\ s", re.escape(transcript.strip()))
    servers = re.sub(r"^Valkey\\ [\d.\\]+\\ is", r"(?:Redis|Valkey)\\ [\\d.]+\\ is", seconds, flags=re.MULTILINE)
    return servers.replace(r"\.\.\." + "\\\n", r"(?:.*\n)+?")


def test_the_demo_takes_another_port_where_its_own_is_taken(demo: Demo) -> None:
    assert FIRST_PORT < demo.port < FIRST_PORT + 100


def test_the_demo_prints_the_transcript(demo: Demo) -> None:
    printed = demo.printed.replace(str(demo.port), str(FIRST_PORT)).strip()
    assert re.fullmatch(pattern(README.block("demo")), printed), printed
    assert (demo.folder / "departure_delay.parquet").exists()
    report = demo.folder / printed.rpartition(" ")[2]
    assert report.stat().st_size < 3_000_000
    said = report.read_text()
    assert 'id="feature/plane_profile.v1/manufacturer"' in said
    assert "Computed from raw_flights (arr_delay)." in said
    assert re.search(r"departure_delay@3</a>: \d+ of 32\s+features drift in what it is asked, the most \w+, PSI", said)
    assert 'In what <a href="#service/departure_delay@3">departure_delay@3</a> is asked, as delay_rate_7d' in said


def test_the_training_set_has_what_was_read_online(demo: Demo) -> None:
    """The flight of the transcript as a training row: every value, also those that are computed on demand."""
    [(given, read)] = READ.findall(demo.printed)
    row = dict(word.split("=") for word in given.split())
    asked_at = row.pop("scheduled_departure_at")
    keys = ", ".join(f"'{value}' as {name}" for name, value in row.items())
    spine = f"select {keys}, timestamptz '{asked_at}' as scheduled_departure_at"
    with inside(demo.folder):
        found = get_historical_features(spine, "departure_delay", timestamp="scheduled_departure_at")
        [known] = found.to_arrow().to_pylist()
    online = dict(line.split(maxsplit=1) for line in read.splitlines())
    assert {name: value_text(known[name]) for name in online} == online
    assert (online["turnaround_minutes"], online["departure_hour"]) == ("37", "19")


DRIFT = Page("guides/drift.md")


def test_the_demo_finds_the_storm(demo: Demo) -> None:
    """What the guide on drift says of the flights, from the tables that the demo has made."""
    with duckdb.connect(str(demo.folder / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        header, rows = DRIFT.table("storm")
        for day, *cells in rows:
            found = connection.execute(
                """select feature, format('{:.2f}', psi), mean
                from drift_origin_weather_v1
                where period_start = ?::timestamptz""",
                [day],
            ).fetchall()
            figures = {feature: (psi, mean) for feature, psi, mean in found}
            for place in (0, 2, 4):
                psi, mean = figures[header[place + 1]]
                assert (psi, format(mean, ".2f" if place == 4 else ".1f")) == (cells[place], cells[place + 1]), day

        (windiest,) = connection.execute(
            "select arg_max(period_start, psi)::date::varchar, arg_max(period_start, mean)::date::varchar"
            " from drift_origin_weather_v1 where feature = 'wind_speed_mph'"
        ).fetchall()
        assert windiest == ("2013-01-31", "2013-01-31")
        calm = connection.execute(
            """select max(psi), list(distinct verdict)
            from (from drift_plane_arrivals_v1 union all by name from drift_departure_delay_v3)
            where
                period_start > '2013-01-01' and (source, feature) in
                    (('plane_arrivals.v1', 'legs_flown_today'), ('departure_delay.v3', 'seats'),
                    ('departure_delay.v3', 'engines'))"""
        ).fetchall()
        assert calm[0][0] < 0.03
        assert calm[0][1] == ["stable"]

        shown = DRIFT.text.partition("<!-- test: bins -->")[2].partition("## ")[0]
        expected = [tuple(line[2:-2].split(" | ")) for line in shown.splitlines() if line.startswith("|")][2:]
        found = connection.execute(DRIFT.block("bins")).fetchall()
        assert [(label, f"{reference:.2f}", f"{share:.2f}") for label, reference, share in found] == expected


def test_the_first_feature_view_works_as_written(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = (
        "select 'anna' as customer, timestamptz '2026-01-01 10:00:00+00' as ordered_at, "
        "timestamptz '2026-01-01 11:00:00+00' as loaded_at, 12.5::double as amount"
    )
    labels = "select 'anna' as customer, timestamptz '2026-01-01 12:00:00+00' as asked_at, true as churned"
    more = "vars: {feature_warehouse_now: '2026-01-02T00:00:00Z'}"
    project = Project(
        tmp_path / "shop", {"models/stg_orders.sql": orders, "models/labels.sql": labels, **README.files()}, more=more
    )
    project.dbt("build")
    monkeypatch.chdir(project.folder)
    for command in (["register"], ["check"], ["sync", "--url", redis_url], ["verify", "--url", redis_url]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    names: dict[str, object] = {}
    exec(README.block("read").replace("redis://127.0.0.1:6379/0", redis_url), names)
    assert names["rows"] == [{"amount": 12.5}]
