"""`syncer redis`."""

from __future__ import annotations

from pathlib import Path

import click

from feature_warehouse.cli.options import FOLDER, json_option
from feature_warehouse.cli.output import print_json
from feature_warehouse.store.embedded import DEFAULT_PORT, EmbeddedServer, serve
from feature_warehouse.wire.cost import COMPACT_VALUE_BYTES


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Of 127.0.0.1.")
@click.option("--dir", "directory", type=FOLDER, help="Keep the data here. Default: it is gone when the server stops.")
@click.option("--password", envvar="SYNCER_REDIS_PASSWORD", show_envvar=True, help="What clients must send.")
@json_option
def redis(port: int, directory: Path | None, password: str | None, as_json: bool) -> None:
    """Run a Redis server here until Ctrl-C. For trying out, and for machines without one.

    \b
    Example:
      syncer redis --port 6390 --dir redis-data
    """

    def ready(server: EmbeddedServer) -> None:
        if as_json:
            print_json({"url": server.address, "directory": server.directory, "server": server.version})
            return
        kept = f"data stays in {server.directory}" if server.directory else "data is gone when it stops"
        click.echo(f"{server.version} is ready at {server.address} ({kept}).")
        click.echo("Stop it with Ctrl-C.")
        click.echo(
            f"Messages of up to {COMPACT_VALUE_BYTES} bytes stay compact here (hash-max-listpack-value). A Redis as it "
            "is shipped, with 64, takes some 70 to 190 bytes more for an entity."
        )

    serve(port, directory, password, ready=ready)
    if not as_json:
        click.echo("It has stopped.")
