"""`syncer drift`: what it says, its exit codes, and its webhook, against a server of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse.errors import WebhookError
from feature_warehouse.monitoring.webhook import post
from tests.support import drifting
from tests.support.shop import Shop

ON_TIME = ("--as-of", "2026-03-04T06:00:00Z")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = drifting.shop(tmp_path_factory.mktemp("drifting"))
    made.dbt("run")
    return made


class Hook(BaseHTTPRequestHandler):
    """Keeps what it is sent; the path says how it answers."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers["Content-Type"], json.loads(body)))  # type: ignore[attr-defined]
        if "slow" in self.path:
            self.server.released.wait()  # type: ignore[attr-defined]
            return  # who asked has gone
        status = 500 if "broken" in self.path else 302 if "moved" in self.path else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/ok")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Any]:
    """A server on 127.0.0.1: `.url`, what it `got`, and `released` for its slow answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.got, server.released = [], threading.Event()  # type: ignore[attr-defined]
        server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def test_it_prints_what_has_drifted_and_who_reads_it(shop: Shop) -> None:
    lines = shop.syncer("drift", *ON_TIME).splitlines()
    cells = [line.split() for line in lines[1:-1]]
    assert [(row[0], row[1], row[-1]) for row in cells] == [
        ("churn.v1.last_minutes", "act", "churn@1"),
        ("visits.v1.minutes", "act", "churn@1"),
        ("visits.v1.plan", "look", "-"),
        ("churn.v1.is_night", "look", "churn@1"),
    ]
    assert lines[-1] == "As of 2026-03-04T06:00:00Z, 6 features: 2 act, 2 look, 2 stable."


def test_json_has_every_feature_with_its_consumers(shop: Shop) -> None:
    found = json.loads(shop.syncer("drift", "--json", "--select", "visits_drift", *ON_TIME))
    assert (found["as_of"], found["stale"], found["empty"]) == ("2026-03-04T06:00:00+00:00", [], [])
    assert [each["feature"] for each in found["features"]] == ["minutes", "pages", "plan"]
    minutes = found["features"][0]
    ((psi, rows),) = shop.sql(
        "select psi, row_count from visits_drift where feature = 'minutes' and period_start = '2026-03-03'"
    )
    assert minutes["psi"] == psi
    assert minutes["row_count"] == rows == 1000
    assert (minutes["period_start"], minutes["verdict"]) == ("2026-03-03T00:00:00+00:00", "act")
    reader = {"service": "churn@1", "model": "churn_v1", "owner": "Growth", "email": "growth@example.com"}
    assert [each["consumers"] for each in found["features"]] == [[reader], [reader], []]


def test_a_selection_names_profiles_or_what_they_profile(shop: Shop) -> None:
    by_view = json.loads(shop.syncer("drift", "--json", "--select", "served_log", *ON_TIME))
    assert {each["profile"] for each in by_view["features"]} == {"churn_drift"}
    refused = shop.try_syncer("drift", "--select", "training")
    assert refused.exit_code == 1
    assert "selects no drift profile" in refused.stderr
    assert "there are churn_drift, visits_drift" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (ON_TIME, 0),
        (("--check", *ON_TIME), 1),
        (("--check", "--select", "visits_drift", "--as-of", "2026-03-05T12:00:00Z"), 1),
    ],
)
def test_exit_codes(shop: Shop, arguments: tuple[str, ...], code: int) -> None:
    assert shop.try_syncer("drift", *arguments).exit_code == code


def test_check_fails_for_act_alone_and_for_profiles_that_are_no_longer_made(shop: Shop, tmp_path: Path) -> None:
    calm = shop.copied(tmp_path / "calm", shop.redis_url)
    calm.sql("update visits_drift set verdict = 'look' where verdict = 'act'", "drop table churn_drift")
    calm.sql("create table churn_drift as from visits_drift where false")
    of_visits = ("drift", "--check", "--select", "visits_drift")
    assert calm.try_syncer(*of_visits, *ON_TIME).exit_code == 0
    assert calm.try_syncer(*of_visits, "--as-of", "2026-03-05T12:00:00Z").exit_code == 0  # 1.5 days on
    late = calm.try_syncer(*of_visits, "--as-of", "2026-03-05T12:00:01Z")
    assert late.exit_code == 1
    assert "stale: the newest period of visits_drift ended at 2026-03-04T00:00:00Z." in late.stdout
    empty = calm.try_syncer("drift", "--check", "--select", "churn_drift", *ON_TIME)
    assert (empty.exit_code, empty.stdout.splitlines()[0]) == (1, "empty: churn_drift has no period yet.")


def test_a_project_without_profiles_says_how_to_make_one(shop: Shop, tmp_path: Path) -> None:
    bare = shop.copied(tmp_path / "bare", shop.redis_url)
    bare.remove("models/visits_drift.sql", "models/churn_drift.sql", "models/shop.yml")
    bare.remove("models/training.sql", "models/served_log.sql", "models/visits_reference.sql")
    bare.remove("models/churn_reference.sql", "models/log_reference.sql", "models/visits_v1.sql")
    bare.dbt("parse")
    refused = bare.try_syncer("drift")
    assert refused.exit_code == 1
    assert "the project has no drift profile" in refused.stderr


# --- the webhook ------------------------------------------------------------------------------------------------------


def test_the_webhook_gets_what_concerns_whom_as_slack_takes_it(shop: Shop, hook: Any) -> None:
    printed = shop.syncer("drift", *ON_TIME, SYNCER_WEBHOOK_URL=f"{hook.url}/ok/s3cret")
    ((kind, document),) = hook.got
    assert kind == "application/json; charset=utf-8"
    assert document.keys() == {"text"}
    first, *lines = document["text"].splitlines()
    assert first == "Feature drift in shop_dev, as of 2026-03-04T06:00:00Z:"
    assert len(lines) == 4
    assert lines[1].startswith("act: visits.v1.minutes, PSI ")
    assert lines[1].endswith(
        "in the day from 2026-03-03T00:00:00Z; services: churn@1; models: churn_v1; "
        "owners: Growth &lt;growth@example.com&gt;"
    )
    assert "s3cret" not in printed


def test_nothing_is_posted_where_nothing_has_drifted(shop: Shop, hook: Any, tmp_path: Path) -> None:
    calm = shop.copied(tmp_path / "calm", shop.redis_url)
    calm.sql("update visits_drift set verdict = 'stable'")
    calm.syncer("drift", "--select", "visits_drift", "--webhook", f"{hook.url}/ok", *ON_TIME)
    assert hook.got == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/broken/s3cret", "the webhook answered with status 500"),
        ("/moved/s3cret", "the webhook answered with status 302"),
    ],
)
def test_a_webhook_that_refuses_is_exit_code_2_after_the_result(shop: Shop, hook: Any, path: str, words: str) -> None:
    result = shop.try_syncer("drift", "--check", "--json", "--webhook", hook.url + path, *ON_TIME)
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["features"]) == 6
    assert words in result.stderr
    assert "s3cret" not in result.output


def test_no_failure_names_the_webhook(hook: Any, free_port: Any) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/s3cret"
    cases = {
        nobody: "the webhook cannot be reached: Connection refused",
        "file:///s3cret": "the webhook's address is no URL",
        "s3cret": "the webhook's address is no URL",
        "https://[s3cret": "the webhook's address is no URL",
        "http://127.0.0.1:port/s3cret": "the webhook cannot be reached: ",
        f"{hook.url}/slow/s3cret": "the webhook cannot be reached: no answer within 0.2 s",
        "http://127.0.0.1/a b/s3cret": "the webhook cannot be reached: ",
    }
    for url, words in cases.items():
        with pytest.raises(WebhookError) as caught:
            post(url, {"text": "x"}, timeout=0.2)
        assert caught.value.message.startswith(words), (url, caught.value.message)
        assert "s3cret" not in caught.value.message + caught.value.hint
        shown = caught.value.__context__ is not None and not caught.value.__suppress_context__
        assert not shown, "a traceback would show the URL"
