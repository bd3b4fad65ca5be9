"""docs/reference/cli.md, made from the commands' own help.

    python tests/support/cli_reference.py            # writes the page anew

The commands, options, defaults and environment variables come from click; the text around them stands here.
`tests/unit/test_docs.py` compares the page with what this makes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from feature_warehouse.cli.main import main
from feature_warehouse.mirror.sync import ViewSynced
from feature_warehouse.mirror.verify import ViewVerified
from feature_warehouse.monitoring.audit import FeatureAudit
from feature_warehouse.monitoring.drift import FeatureDrift


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


#: Each command by its words: 'sync', 'add view'.
COMMANDS = dict(_commands(main))

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

_START = """\
# Command line

<!-- Made by `python tests/support/cli_reference.py`; do not edit. -->

`syncer` comes with the extras `dbt` and `sync` of the package ([install](../guides/feature-view.md#install)). Run it in
the folder of a dbt project, or name that folder with `--project-dir`. `syncer --version` says which one is installed,
`-h` or `--help` after any command what it takes.

Three words mean the same in all commands:

- `--as-of`, an instant with its zone: what is served, judged or computed is what was known then.
- `--allow-x` lets one run do what is refused by default; the next run refuses it again.
- `--accept-x "reason"` takes a change for good: it is recorded with its reason, for review.

A shell completes commands and options once its start-up file has one line more:

| shell | file | line |
|---|---|---|
| bash, from 4.4 | `~/.bashrc` | `eval "$(_SYNCER_COMPLETE=bash_source syncer)"` |
| zsh | `~/.zshrc` | `eval "$(_SYNCER_COMPLETE=zsh_source syncer)"` |
| fish | `~/.config/fish/completions/syncer.fish` | `_SYNCER_COMPLETE=fish_source syncer \\| source` |

"""

_END = """\
## Results and exit codes

Results go to stdout; talk, errors and hints go to stderr. An error is `Error: ...`, what happened, and mostly a second
line, `Hint: ...`, what to do next.

| exit code | meaning |
|---|---|
| 0 | done, and nothing is wrong; for `training-set --rebuild`: the same content |
| 1 | it failed; or it found what it looks for: `check` problems, `verify` differences, `training-set --rebuild` other \
content, `audit` skew, `status --check` and `drift --check` what has to be looked after |
| 2 | the command line itself is wrong; for `audit`: it could not be made; for `drift`: the webhook failed |

With `--json` a result is one JSON object on one line:

| command | members |
|---|---|
| `audit` | `passed`, `drained`, `skipped`; `features`, each with {audited} |
| `batch` | `rows`, `path`, `as_of` |
| `check` | `problems` and `warnings`, each with `message`, `hint`, and for other values `retrain` and `diff`; \
`rebuild`, as of `register`; `notes`; `judged`, how many served features; \
`not_judged`, each with `features`, `what`, `reason`; with `--data`: \
`data` |
| `drift` | `as_of`; `stale` and `empty`, names of profiles; `features`, each with {drifted} |
| `drop` | `namespace`, `dropped`; `removed`, entities by view |
| `explain` | `service`, `as_of`, `now`, `served_at`, `notes`; `items`, one for each view in each role, with \
`features`, `chosen`, the row of the history, and `online`; `computed`, the on-demand features |
| `get` | `service`; `features` and `statuses`, both by feature; `not_computed`, on-demand features for want of DuckDB |
| `lineage` | `steps`, each with `id`, `kind` and what is known of it; `edges`, each with `from`, `to` |
| `log` | `namespace`; `entries`, each with `id` and the members of an [entry](../wire-format.md#audit-trail); \
`skipped`, sentences |
| `plan` | `namespace`, `as_of`, `compact_limit`; `views`, what the table shows of each, with `held`, why it would be, \
and `guards`; `cost`, as for `status` |
| `redis` | `url`, `directory`; once it answers |
| `register` | `changes`, in words; `retrain`, services; `rebuild`, what must be built anew: `view`, `features`, \
`nodes`, `command`; `alike`, new features that are there already; `views` and `services`, the ids that are served |
| `release` | `namespace`, `view`; `released`, the hold that it was: `since`, `why`, `by`, `as_of` |
| `report` | `path`, `bytes`; `views` and `features`, their numbers |
| `rollback` | `namespace`, `as_of`, `was_as_of`; `unproven`, what may not come back whole; `view`, as one of `sync` |
| `status` | `namespace`, `as_of`, `clock_stands`, `healthy`, `offline_unknown`, `online_unknown`, `retired`; \
`rebuild`, as of `register`; \
`views`, each with `state`, `reasons` and what they rest on; `cost`: bytes and USD in all, by view and by feature |
| `sync` | `namespace`, `as_of`, `seconds`; `held`, ids; `views`, each with {synced}; with `--every` one a cycle, and \
of one that fails `at`, `error`, `hint` |
| `training-set` | `rows`, `path`, `manifest`; with `--rebuild`: `same`, `differences`, `changes`, `manifest` |
| `verify` | `namespace`, `differences`; `views`, each with {verified}; `repaired`, as `views` of `sync` |

Instants are ISO 8601 in it; decimals, dates, NaN and infinities are texts, and bytes are hexadecimal.

## Environment variables

An option on the command line goes before its variable.

| variable | for |
|---|---|
{variables}
| `DBT_PROFILES_DIR`, `DBT_ENGINE_PROFILES_DIR` | `--profiles-dir`, as for dbt; without them the current folder if it \
has a `profiles.yml`, else the project's, else `~/.dbt` |

What a profile reads with `env_var()` is read as dbt does. The manifest is the one in the `target-path` of
`dbt_project.yml`; `DBT_TARGET_PATH` goes before it. A password is part of the URL, `redis://:password@host:6379/0`:
give it in `SYNCER_REDIS_URL`, since every user of a machine can read a command line.
"""


def page() -> str:
    """The whole page."""
    anchors = {name: f"syncer-{name}".replace(" ", "-") for name in COMMANDS}
    table = "".join(f"| [`syncer {name}`](#{anchors[name]}) | {_words(COMMANDS[name])[0]} |\n" for name in COMMANDS)
    commands = "".join(_command(name, command) for name, command in COMMANDS.items())
    return f"{_START}| command | |\n|---|---|\n{table}\n{commands}{_end()}"


def _end() -> str:
    kinds = {"audited": FeatureAudit, "drifted": FeatureDrift, "synced": ViewSynced, "verified": ViewVerified}
    members = {name: ", ".join(f"`{field.name}`" for field in fields(kind)) for name, kind in kinds.items()}
    return _END.format(variables=_variables(), **members)


def _words(command: click.Command) -> tuple[str, str]:
    """(what it does, its example) from the help text, where `\\b` begins the example."""
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\n")
    return " ".join(text.split()), example.partition("\n")[2].strip()


def _command(name: str, command: click.Command) -> str:
    text, example = _words(command)
    arguments = "".join(f" {parameter.make_metavar(_context(command))}" for parameter in _arguments(command))
    return (
        f"## syncer {name}\n\n{text}\n\n    syncer {name} [OPTIONS]{arguments}\n\nExample:\n\n    {example}\n\n"
        f"| option | meaning | default | environment |\n|---|---|---|---|\n{''.join(_options(command))}\n"
    )


def _options(command: click.Command) -> Iterator[str]:
    for option in options(command):
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" {option.make_metavar(_context(command)).replace('|', '/')}"
        default = f"`{option.default}`" if option.show_default else ""
        meaning = re.sub(r"<\S+>", r"`\g<0>`", option.help or "") + (" May be repeated." if option.multiple else "")
        variable = f"`{option.envvar}`" if option.envvar else ""
        yield f"| {names}{value} | {meaning} | {default} | {variable} |\n"


def options(command: click.Command) -> list[click.Option]:
    """The command's own options; `--help` is the same everywhere."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def _arguments(command: click.Command) -> list[click.Argument]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Argument)]


def _context(command: click.Command) -> click.Context:
    return click.Context(command)


def _variables() -> str:
    found: dict[str, str] = {}
    for command in COMMANDS.values():
        for option in options(command):
            if isinstance(option.envvar, str):
                found.setdefault(option.envvar, option.opts[-1])
    return "\n".join(f"| `{variable}` | `{option}` |" for variable, option in sorted(found.items()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
