"""`python -m voice replay FILE`: a call's log, fed to the conversation again."""

from dataclasses import asdict
from pathlib import Path

import click

from voice.commands.output import tell_json
from voice.core import call_log


def run(file: Path, as_json: bool) -> int:
    """1 if any action differs, or if there is nothing in it."""
    try:
        with file.open(encoding="utf-8") as lines:
            replayed = call_log.replay(lines)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    if as_json:
        tell_json(asdict(replayed))
    else:
        for difference in replayed.differences:
            click.echo(f"{file}:{difference.line}: {difference.event}")
            click.echo(f"  logged:   {difference.logged}")
            click.echo(f"  replayed: {difference.replayed}")
        same = replayed.events - len(replayed.differences)
        click.echo(f"{same} of {replayed.events} events led to the same actions ({replayed.actions} actions)")
    return 1 if replayed.differences or not replayed.events else 0
