"""docs/cli.md and the README name every command and every check that there is."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from voice.cli import main
from voice.commands.doctor import NAMES

ROOT = Path(__file__).parents[2]


def _commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} ")
        else:
            yield path + name, command


COMMANDS = dict(_commands(main))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_told_of(name: str) -> None:
    assert f"`{name}" in (ROOT / "docs/cli.md").read_text()
    assert f"python -m voice {name}" in (ROOT / "README.md").read_text() + (ROOT / "Makefile").read_text()


def test_each_option_of_the_commands_that_are_told_at_length_is_told_of() -> None:
    told = (ROOT / "docs/cli.md").read_text()
    for name in ("calls", "explain", "tail", "doctor", "number use"):
        for parameter in COMMANDS[name].params:
            for option in parameter.opts + parameter.secondary_opts:
                assert not option.startswith("--") or f"{option}" in told, f"{name} {option}"


def test_each_check_of_the_doctor_is_told_of() -> None:
    told = (ROOT / "docs/cli.md").read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in told] == []
