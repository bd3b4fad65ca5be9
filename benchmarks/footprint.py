"""What an entity costs in Redis: our layout, the same as JSON, and Feast's; for one feature view and for three.

    python -m benchmarks.footprint [ENTITIES]      default: 100,000

Ten features a view (see `users.py`). Bytes are the growth of Redis's `used_memory`, divided by the entities: keys, hash
tables and the allocator's rounding are in it. JSON stands in our layout, a text in the place of each message. Feast
writes its own layout (a hash field per feature, under a hashed name) with its own `materialize`; `benchmarks.sync`
compares what it then serves. Each once with the embedded server's limit for compact hashes, which is raised, and once
with the 64 bytes that Redis comes with.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import redis

from benchmarks.users import FEATURES, NAMESPACE, PATIENCE, build, free_port, materialize, sync
from feature_warehouse.store.embedded import EmbeddedServer

VIEWS = ("users", "payments", "devices")

#: Of Redis; the name from before 7.0, which later ones still know.
LIMIT = "hash-max-ziplist-value"
STOCK = 64


def main() -> None:
    entities = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 100_000
    with (
        EmbeddedServer(port=free_port()) as server,
        redis.Redis.from_url(server.url, socket_timeout=PATIENCE) as client,
    ):
        limits = (int(client.config_get(LIMIT)[LIMIT]), STOCK)
        one, three = (_bytes(client, server.url, entities, views, limits) for views in (VIEWS[:1], VIEWS))
    print(f"bytes an entity in Redis, {entities:,} entities, {len(FEATURES)} features a view")
    print(f"  {'':<6} {'values compact up to':>22}  {'1 view':>8}  {f'{len(VIEWS)} views':>8}")
    for name, limit in one:
        print(f"  {name:<6} {limit:>16} bytes  {one[name, limit]:>8,.0f}  {three[name, limit]:>8,.0f}")


def _bytes(
    client: redis.Redis, url: str, entities: int, views: tuple[str, ...], limits: tuple[int, ...]
) -> dict[tuple[str, int], float]:
    """Bytes an entity by layout and limit."""
    with tempfile.TemporaryDirectory() as folder:
        project = build(Path(folder), entities, views)
        writers: dict[str, Callable[[], object]] = {
            "ours": lambda: sync(url, project.folder),
            "JSON": lambda: _write_json(client, project.database, views),
            "Feast": lambda: materialize(project, url, entities, views),
        }
        found = {}
        for limit in limits:
            client.config_set(LIMIT, limit)
            for name, write in writers.items():
                found[name, limit] = _growth(client, write) / entities
        return found


def _growth(client: redis.Redis, write: Callable[[], object]) -> int:
    """Bytes by which Redis has grown once it has been filled."""
    client.flushall()
    before = int(client.info("memory")["used_memory"])
    write()
    return int(client.info("memory")["used_memory"]) - before


def _write_json(client: redis.Redis, database: Path, views: tuple[str, ...]) -> None:
    """Our keys and fields; in the place of each message, the same event time and values as compact JSON."""
    with duckdb.connect(str(database), read_only=True) as connection:
        for view in views:
            result = connection.execute(f"select user_id, epoch_us(event_at), {', '.join(FEATURES)} from {view}_v1")
            while rows := result.fetchmany(10_000):
                pipe = client.pipeline(transaction=False)
                for key, *values in rows:
                    document = dict(zip(["event_time", *FEATURES], values, strict=True))
                    pipe.hset(f"{NAMESPACE}:user:{key}", f"{view}:1", json.dumps(document, separators=(",", ":")))
                pipe.execute()


if __name__ == "__main__":
    main()
