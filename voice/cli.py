"""`python -m voice ...`: what an operator runs by hand."""

import sys
import time
from pathlib import Path
from typing import Any

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
@click.option("--wait", "wait_s", default=10.0, show_default=True, help="Seconds until the database has to answer.")
def migrate(wait_s: float) -> None:
    """Bring the database at DATABASE_URL up to date. The server does so too when it starts."""
    from config.faults import ConfigError
    from config.settings import Settings
    from config.start import environment
    from voice.errors import RecordsUnavailable
    from voice.records.migrate import migrate

    try:
        migrate(Settings.database_of(environment()), wait_s)
    except (ConfigError, RecordsUnavailable) as error:
        raise click.ClickException(str(error)) from error
    click.echo("The database is up to date.")


@main.group()
def agents() -> None:
    """The agents' files."""


@agents.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
def check(directory: Path | None) -> None:
    """Read every agent's file and say what is wrong with it; exit 1 if anything is. [default: AGENTS_DIR]"""
    from config.agents import load_agents
    from config.faults import ConfigError
    from config.settings import AGENTS_DIR
    from config.start import environment

    environ = environment()
    try:
        found = load_agents(directory or Path(environ.get("AGENTS_DIR", "").strip() or AGENTS_DIR), environ)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    for agent in found.values():
        tools = ", ".join((*agent.tools, *agent.webhooks)) or "no tools"
        click.echo(f"{agent.name}: ok ({', '.join(agent.numbers) or 'no number of its own'}; {tools})")


@main.command()
@click.argument("to")
@click.option("--agent", help="[default: the server's DEFAULT_AGENT]")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="For the agent's texts.")
@click.option("--server", help="[default: http://127.0.0.1:$PORT]")
def call(to: str, agent: str | None, parameters: tuple[str, ...], server: str | None) -> None:
    """Have the running server call the number TO, such as +15551234567; needs API_TOKEN."""
    from config.start import environment

    environ = environment()
    token = environ.get("API_TOKEN", "").strip()
    if not token:
        raise click.ClickException("API_TOKEN is not set: the server lets nobody place calls without it")
    wrong = next((parameter for parameter in parameters if "=" not in parameter), None)
    if wrong:
        raise click.BadParameter(f"{wrong!r} is not NAME=VALUE", param_hint="--parameter")
    body: dict[str, object] = {"to": to, "parameters": dict(parameter.split("=", 1) for parameter in parameters)}
    if agent:
        body["agent"] = agent
    base = server or f"http://127.0.0.1:{environ.get('PORT', '').strip() or 8000}"
    click.echo(_post(f"{base.rstrip('/')}/api/calls", token, body)["call_sid"])


def _post(url: str, token: str, body: dict[str, object]) -> dict[str, Any]:
    """The server's answer; its error, or its silence, is the command's."""
    import requests

    try:
        response = requests.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=15)
        told = response.json()
    except requests.ConnectionError as error:
        raise click.ClickException(f"no server answers at {url}: start it, or name it with --server") from error
    except requests.RequestException as error:
        raise click.ClickException(f"{url} does not answer as the server would: {error}") from error
    if not response.ok:
        raise click.ClickException(f"{told.get('error')}: {told.get('message')}")
    return dict(told)


@main.command()
@click.option("--wav", type=click.Path(path_type=Path), default=Path("demo/call.wav"), show_default=True)
@click.option("--port", default=8000, show_default=True, help="Where the server listens.")
def demo(wav: Path, port: int) -> None:
    """Place one whole call on this machine: real server, stand-ins for the vendors whose keys are not set."""
    from voice.sandbox.demo import run

    sys.exit(run(wav, port, keep_serving=sys.stdin.isatty() and sys.stdout.isatty()))


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
@click.option("--transcriber", type=click.Choice(["commit", "server-vad"]), default="commit", show_default=True)
@click.option("--audio", type=click.Choice(["pcmu", "pcm24k"]), default="pcmu", show_default=True)
@click.option("--tls", is_flag=True, help="The vendors are met over TLS.")
@click.option("--visitors", default=0.0, help="Calls a second that come while all are live, for the greeting only.")
@click.option("--peer", type=click.Choice(["floor", "pipecat"]), help="Measure it in the server's place.")
@click.option("--target", metavar="URL", help="Call a server that runs elsewhere, such as http://10.0.0.5:8000.")
@click.option("--listen", default="127.0.0.1:9100", show_default=True, help="For --target: the stand-ins' address.")
@click.option("--account-sid", default="AC" + "5a" * 16, envvar="TWILIO_ACCOUNT_SID", help="The --target's.")
@click.option("--auth-token", default="sandbox-twilio-token", envvar="TWILIO_AUTH_TOKEN", help="The --target's.")
@click.option("--public-url", default="https://voice.example.com", envvar="PUBLIC_URL", help="The --target's.")
@click.option("--ramp", is_flag=True, help="More and more calls, until the service level is broken.")
@click.option("--most", default=500, show_default=True, help="Where the ramp ends.")
@click.option("--repeat", type=click.IntRange(1, 99), default=1, show_default=True, help="Medians of so many runs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="[default: bench/<date>.json]")
def bench(
    calls: int, turns: int, seed: int, delays: str, preemptive: bool, ramp: bool, most: int, repeat: int, **more: Any
) -> None:
    """Place many calls at once to one worker on one core; exit 1 if any turn, word or byte was lost."""
    from dataclasses import replace

    from voice.sandbox import bench, bench_ramp
    from voice.sandbox.bench_plan import Plan

    path = more["json_path"] or Path("bench") / time.strftime("%Y-%m-%dT%H-%M-%S.json")
    plan = Plan(
        calls,
        turns,
        seed,
        preemptive,
        delays == "fast",
        transcriber=more["transcriber"],
        audio_format=more["audio"],
        tls=more["tls"],
        peer=more["peer"] or "",
        visitors_per_s=more["visitors"],
    )
    if more["target"]:
        sys.exit(_bench_elsewhere(plan, path, more))
    if ramp:
        sys.exit(bench.ramp((replace(plan, calls=number) for number in bench_ramp.numbers(calls, most)), path, repeat))
    sys.exit(bench.run(plan, path, repeat))


def _bench_elsewhere(plan: Any, path: Path, given: dict[str, str]) -> int:
    from voice.sandbox.bench_target import Target, run

    host, _, port = given["listen"].rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{given['listen']!r} is not HOST:PORT", param_hint="--listen")
    target = Target(
        given["target"].rstrip("/"), (host, int(port)), given["account_sid"], given["auth_token"], given["public_url"]
    )
    return run(plan, target, path)


@main.command()
@click.argument("scripts", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--agent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge this agent with the scripts that are for any.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="[default: evals/<date>.json]")
def evals(scripts: tuple[Path, ...], agent: Path | None, json_path: Path | None) -> None:
    """Let simulated callers hold whole conversations, all of tests/evals or SCRIPTS; exit 1 if a judgement fails."""
    from voice.sandbox.evals import run

    sys.exit(run(scripts, agent, json_path or Path("evals") / time.strftime("%Y-%m-%dT%H-%M-%S.json")))
