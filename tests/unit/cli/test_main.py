"""What the command line says of a command that it does not know."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from feature_warehouse.cli.main import main
from feature_warehouse.project.feast import COMMANDS


@pytest.mark.parametrize("word", [*COMMANDS, "get_online_features"])
def test_a_command_of_feast_is_answered_with_ours(word: str) -> None:
    done = CliRunner().invoke(main, [word, "--anything"])
    assert done.exit_code == 2
    assert f"No such command '{word}', which is Feast's: here, " in done.stderr
    assert word not in main.commands
    assert set(re.findall(r"`syncer ([a-z-]+)`", COMMANDS[word.replace("_", "-")])) <= main.commands.keys()


def test_a_mistyped_command_is_asked_for() -> None:
    assert "No such command 'regster': did you mean 'register'?" in CliRunner().invoke(main, ["regster"]).stderr
    assert "No such command 'x': commands: add, audit, batch, check," in CliRunner().invoke(main, ["x"]).stderr
