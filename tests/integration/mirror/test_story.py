"""A night with thirty views, in real processes: one is poisoned and holds itself, another one is rolled back.

At each step the client, `verify`, `status` and a reader of the wire format that shares no code with ours agree.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from feature_warehouse import FeatureClient
from tests.support.projects import Project

VIEWS = [f"facts_{number:02}" for number in range(30)]
POISONED, WRONG = "facts_07", "facts_11"
CUSTOMERS = range(1, 21)

VIEW = """
  - name: {name}
    config:
      contract: {{enforced: true}}
      meta:
        feature_view:
          {{entity: customer, join_keys: [customer_id], event_timestamp: event_at, available_at: known_at}}
    columns:
      - {{name: customer_id, data_type: bigint}}
      - {{name: event_at, data_type: timestamptz}}
      - {{name: known_at, data_type: timestamptz}}
      - name: spent
        data_type: double
        config: {{meta: {{guards: {{max_null_jump: 0.2, range: [0, 1e6]}}}}}}
      - {{name: visits, data_type: double}}
    versions: [{{v: 1}}]
"""

FACTS = """
select customer_id, event_at, known_at, spent, visits from {{{{ source('raw', 'facts') }}}} where view = '{name}'
"""

SERVICE = """
exposures:
  - name: night_v1
    type: ml
    owner: {{name: Night, email: night@example.com}}
    depends_on: [{refs}]
    config:
      meta:
        feature_service: {{name: night, version: 1, features: [{reads}]}}
"""


class Night:
    """The project, its Redis, and what upstream sends."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url, self.sent = url, 0
        reads = ", ".join(f"{{view: {view}.v1, features: [spent, visits], prefix: {view}_}}" for view in VIEWS)
        refs = ", ".join(f"\"ref('{view}', v=1)\"" for view in VIEWS)
        files = {
            "models/facts.yml": "models:" + "".join(VIEW.format(name=view) for view in VIEWS),
            "models/night.yml": SERVICE.format(refs=refs, reads=reads),
            "models/sources.yml": "sources: [{name: raw, schema: main, tables: [{name: facts}]}]",
            ".gitignore": "target/\nlogs/\ndbt_packages\n*.duckdb*\n.syncer/\n",
        }
        for view in VIEWS:
            files[f"models/{view}_v1.sql"] = FACTS.format(name=view)
            files[f"models/latest_{view}_v1.sql"] = f"{{{{ feature_warehouse.latest_values(ref('{view}', v=1)) }}}}\n"
        self.project = Project(folder, files, name="night")
        self.folder = folder
        self.sql(
            "create table facts (view varchar, customer_id bigint, event_at timestamptz, known_at timestamptz, "
            "spent double, visits double)"
        )

    def sql(self, statement: str) -> None:
        with duckdb.connect(str(self.project.database)) as connection:
            connection.execute(statement)

    def send(self, spent: str = "100 + customer_id") -> datetime:
        """A newer row of each customer in each view, known from now on; returns since when."""
        known, names = datetime.now(timezone.utc), ", ".join(f"('{view}')" for view in VIEWS)
        self.sent += 1
        self.sql(
            f"insert into facts select view, customer_id, timestamptz '{known}', timestamptz '{known}', {spent}, "
            f"{self.sent} from (values {names}) as v(view), range(1, 21) as c(customer_id)"
        )
        return known

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def syncer(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """One command, as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "feature_warehouse", *arguments],
            cwd=self.folder,
            env=os.environ | {"SYNCER_REDIS_URL": self.url, "DBT_PROFILES_DIR": "."},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture
def night(tmp_path: Path, redis_url: str) -> Night:
    made = Night(tmp_path / "night", redis_url)
    made.send()
    made.project.dbt("build")
    made.git("init", "-q")
    made.syncer("register")
    made.git("add", "-A")
    made.git("commit", "-qm", "the night")
    return made


def spent_by_hand(server: Any, view: str) -> dict[int, float | None]:
    """What lies there, by docs/wire-format.md alone: field 1 an sfixed64, the doubles 2 and 3 where they are."""
    found = {}
    for customer in CUSTOMERS:
        message = server.hget(f"night_dev:customer:{customer}", f"{view}:1")
        fields = {}
        while message:
            fields[message[0] >> 3] = struct.unpack("<d", message[1:9])[0]
            assert message[0] & 7 == 1
            message = message[9:]
        found[customer] = fields.get(2)
    return found


def test_a_night(night: Night) -> None:
    with redis.Redis.from_url(night.url) as server, closing(FeatureClient(night.url, "night_dev")) as client:

        def agree(spent: Callable[[str, int], float], held: dict[str, str], differences: int = 0) -> None:
            """``held``: the views that are held, each with what its hold says."""
            rows = client.get_online_features("night", [{"customer_id": id_} for id_ in CUSTOMERS]).rows()
            for view in VIEWS:
                wanted = {id_: spent(view, id_) for id_ in CUSTOMERS}
                assert spent_by_hand(server, view) == wanted, view
                assert {id_: row[f"{view}_spent"] for id_, row in zip(CUSTOMERS, rows, strict=True)} == wanted, view
                marker = json.loads(server.hget("night_dev:#markers", f"{view}:1"))
                assert (marker["state"], bool(marker["held"])) == ("done", view in held)
            verified = json.loads(night.syncer("verify", "--json").stdout)
            assert verified["differences"] == differences
            status = json.loads(night.syncer("status", "--json").stdout)
            assert {view["view"]: view["held"]["why"] for view in status["views"] if view["held"]} == {
                f"{view}.v1": why for view, why in held.items()
            }

        def usual(view: str, customer: int) -> float:
            return 100 + customer

        night.syncer("sync")
        agree(usual, {})

        # Upstream sends NULL for every second customer of one view, and news of all others.
        night.send("if(view = 'facts_07' and customer_id % 2 = 0, null, 200 + customer_id)")
        night.project.dbt("run")
        synced = night.syncer("sync", "--json", code=1)
        done = json.loads(synced.stdout)
        assert done["held"] == [f"{POISONED}.v1"]
        assert sum(view["written"] == 20 for view in done["views"]) == 29
        commit = night.git("rev-parse", "--short=12", "HEAD")
        (said,) = (view["reasons"][0]["message"] for view in done["views"] if view["reasons"])
        assert said == (
            f"{POISONED}.v1: spent would be NULL in 50.0% of its rows, and is in 0.0% of those online, and its guard "
            f"is max_null_jump 0.2 (models at commit {commit})"
        )
        agree(lambda view, id_: (100 if view == POISONED else 200) + id_, {POISONED: said})

        # Upstream mends it: the hold ends by itself.
        night.send("300 + customer_id")
        night.project.dbt("run")
        night.syncer("sync")
        agree(lambda view, id_: 300 + id_, {})

        # Wrong values that no guard sees; one command goes back.
        wrong = night.send("if(view = 'facts_11', 999, 400 + customer_id)")
        night.project.dbt("run")
        night.syncer("sync")
        agree(lambda view, id_: 999 if view == WRONG else 400 + id_, {})
        before = (wrong - timedelta(milliseconds=1)).isoformat()
        night.syncer("rollback", WRONG, "--as-of", before, "--reason", "999 is no amount")
        held = {WRONG: "999 is no amount"}
        agree(lambda view, id_: (300 if view == WRONG else 400) + id_, held)

        for number in range(3):
            night.send(f"{500 + number} + customer_id")
            night.project.dbt("run")
            synced = night.syncer("sync")
            assert f"{WRONG}.v1: rolled back to " in synced.stderr
        agree(lambda view, id_: (300 if view == WRONG else 502) + id_, held)

        night.syncer("release", WRONG)
        night.syncer("sync")
        agree(lambda view, id_: 502 + id_, {})
        kinds = [
            entry["kind"] for entry in json.loads(night.syncer("log", "--limit", "100", "--json").stdout)["entries"]
        ]
        assert [kind for kind in reversed(kinds) if kind in ("hold", "release", "rollback")] == [
            "hold",
            "release",
            "rollback",
            "release",
        ]
