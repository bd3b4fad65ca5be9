"""The command line: parse, call one function, print. A module for each group of commands.

Results go to stdout (``--json`` for machines), talk and errors to stderr. Exit code 0: done; 1: it failed, or found
differences or problems; 2: the command line itself is wrong.
"""

from __future__ import annotations

import errno
from typing import Any

import click

from feature_warehouse.cli import (
    add,
    audit,
    care,
    diff,
    drift,
    explain,
    get,
    lineage,
    log,
    mirror,
    plan,
    registering,
    report,
    server,
    status,
    sync,
    training,
)
from feature_warehouse.cli.output import file_error, say_error
from feature_warehouse.errors import SyncerError, closest
from feature_warehouse.project import feast


class _Group(click.Group):
    """Turns our errors, and those of files, into two lines on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SyncerError as error:
            say_error(error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # who reads our output went away; click ends quietly
            say_error(file_error(error))
        ctx.exit(1)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Of a command that is not known, says what is meant: of one of Feast's, too."""
        word = args[0].replace("_", "-")
        if word in self.commands or word.startswith("-"):
            return super().resolve_command(ctx, args)
        if word in feast.COMMANDS:
            ctx.fail(f"No such command '{args[0]}', which is Feast's: here, {feast.COMMANDS[word]}.")
        ctx.fail(f"No such command '{args[0]}': {closest(word, self.commands, 'commands')}")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="feature-warehouse", prog_name="syncer")
def main() -> None:
    """Serve dbt features from Redis: register what is served, mirror it, verify it, read it.

    \b
    Example, from a dbt project's folder:
      dbt build && syncer register && syncer sync && syncer verify
    """


for command in (
    add.add,
    registering.register,
    registering.check,
    diff.diff,
    lineage.lineage,
    plan.plan_command,
    sync.sync_command,
    mirror.verify_command,
    status.status_command,
    drift.drift_command,
    report.report_command,
    log.log,
    care.rollback_command,
    care.release_command,
    mirror.drop_command,
    get.get,
    explain.explain,
    training.training_set,
    training.batch,
    audit.audit,
    server.redis,
):
    main.add_command(command)
