"""`python -m voice ...`: what an operator runs by hand."""

import sys
import time
from pathlib import Path

import click

from voice.core import call_log


@click.group()
def main() -> None:
    """The phone voice server's tools. The server itself is started with: gunicorn server:app"""


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def replay(file: Path) -> None:
    """Feed a call's log to the conversation again and compare the actions; exit 1 if any differs."""
    try:
        with file.open(encoding="utf-8") as lines:
            replayed = call_log.replay(lines)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    for difference in replayed.differences:
        click.echo(f"{file}:{difference.line}: {difference.event}")
        click.echo(f"  logged:   {difference.logged}")
        click.echo(f"  replayed: {difference.replayed}")
    same = replayed.events - len(replayed.differences)
    click.echo(f"{same} of {replayed.events} events led to the same actions ({replayed.actions} actions)")
    sys.exit(1 if replayed.differences or not replayed.events else 0)


@main.command()
@click.option("--wav", type=click.Path(path_type=Path), default=Path("demo/call.wav"), show_default=True)
@click.option("--port", default=8000, show_default=True, help="Where the server listens.")
def demo(wav: Path, port: int) -> None:
    """Place one whole call on this machine: real server, stand-ins for the vendors whose keys are not set."""
    from voice.sandbox.demo import run

    sys.exit(run(wav, port, keep_serving=sys.stdout.isatty()))


@main.command()
@click.option("--calls", type=click.IntRange(1, 9999), default=50, show_default=True, help="Live at the same time.")
@click.option("--turns", type=click.IntRange(1, 100), default=4, show_default=True, help="Of each call.")
@click.option("--seed", default=1, show_default=True, help="Decides who interrupts, and when.")
@click.option(
    "--delays",
    type=click.Choice(["vendors", "fast"]),
    default="vendors",
    show_default=True,
    help="The pace of the stand-ins.",
)
@click.option("--preemptive", is_flag=True, help="The agent thinks before the final transcript.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="[default: bench/<date>.json]")
def bench(calls: int, turns: int, seed: int, delays: str, preemptive: bool, json_path: Path | None) -> None:
    """Place many calls at once to one worker on one core; exit 1 if any turn, word or byte was lost."""
    from voice.sandbox.bench import Plan, run

    path = json_path or Path("bench") / time.strftime("%Y-%m-%dT%H-%M-%S.json")
    sys.exit(run(Plan(calls, turns, seed, preemptive, delays == "fast"), path))
