"""The way back: a bad publish of a million entities is rolled back by one command.

    python -m benchmarks.rollback [ENTITIES]      default: 1,000,000

Ten features an entity (see `users.py`). A tenth of the users, then all of them, get a newer row with other values, that
is synced; then `syncer rollback` goes back to before. CPU seconds of the whole process, start-up included, beside those
of a sync that finds nothing to send: what a rollback takes more is the sending.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.users import FEATURES, build, free_port, run, sync
from feature_warehouse.store.embedded import EmbeddedServer

#: All rows are of this instant, and the bad ones of a day later.
THEN, LATER = "2026-01-01T12:00:00Z", "2026-01-02 00:00:00+00"


def main() -> None:
    entities = int(sys.argv[1].replace(",", "")) if sys.argv[1:] else 1_000_000
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(port=free_port()) as server:
        project = build(Path(folder), entities)
        sync(server.url, project.folder)
        others = ", ".join(name for name in FEATURES if name != "count_0")
        print(f"{entities:,} entities x {len(FEATURES)} features, CPU seconds")
        for share in (10, 1):
            with duckdb.connect(str(project.database)) as connection:
                connection.execute(f"delete from users_v1 where event_at = timestamptz '{LATER}'")
                connection.execute(
                    "insert into users_v1 by name select user_id, count_0 + 1 as count_0, "
                    f"timestamptz '{LATER}' as event_at, {others} from users_v1 where hash(user_id) % {share} = 0"
                )
            run(["-m", "feature_warehouse", "sync", "--url", server.url], project.folder)
            bad = sync(server.url, project.folder)
            assert bad.result["views"][0]["written"] == 0
            command = ["rollback", "users", "--as-of", THEN, "--url", server.url, "--json"]
            back = run(["-m", "feature_warehouse", *command], project.folder)
            changed = back.result["view"]["written"]
            print(
                f"  {changed:>9,} wrong   rollback {back.cpu:6.2f}   a sync that finds nothing {bad.cpu:6.2f}",
                flush=True,
            )
            verified = run(["-m", "feature_warehouse", "verify", "--url", server.url, "--json"], project.folder)
            assert verified.result["differences"] == 0
            run(["-m", "feature_warehouse", "release", "users", "--url", server.url], project.folder)


if __name__ == "__main__":
    main()
