"""`python -m voice ...`: what an operator runs by hand. Here stand the options; voice/commands has what they do.

Each command imports what it needs: `--help` waits for nothing.
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from config.start import environment

_as_json: Callable[..., Callable[..., None]] = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
@click.option("--like", type=int, metavar="PID", help="With the environment and folder of that process, the server's.")
def main(like: int | None) -> None:
    """The phone voice server's tools. The server itself is started with: gunicorn server:app"""
    if like is not None:
        from voice.commands.likeness import take

        take(like)


def _call_sid(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is None or re.fullmatch(r"CA[0-9a-f]{32}", given):
        return given
    raise click.BadParameter("a call is CA and 32 hexadecimal digits")


def _day(context: click.Context, parameter: click.Parameter, given: str | None) -> float | None:
    from voice.records.search import day

    # The last day is meant with all its hours.
    found = day(given, 1 if parameter.name == "until" else 0) if given else None
    if given and found is None:
        raise click.BadParameter("a day is such as 2026-11-22")
    return found


def _number(context: click.Context, parameter: click.Parameter, given: str) -> str:
    if re.fullmatch(r"\+[1-9][0-9]{6,14}", given):
        return given
    raise click.BadParameter("a number is in E.164 form such as +15551234567")


def _url(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is None or re.fullmatch(r"https://[!-~]+", given):
        return given
    raise click.BadParameter("an https:// address")


# Calls


@main.command()
@click.option("--number", default="", help="Part of the one number or the other.")
@click.option("--agent", default="")
@click.option("--since", callback=_day, metavar="DAY", help="The first day, such as 2026-11-22; UTC.")
@click.option("--until", callback=_day, metavar="DAY", help="The last day.")
@click.option("--reason", default="", help="Why they ended, or with what result.")
@click.option("--words", default="", help="Part of what was said.")
@click.option("--live/--ended", default=None, help="Only those that go on, or that do not.")
@click.option("--limit", type=click.IntRange(1, 10000), default=20, show_default=True)
@_as_json
def calls(
    number: str,
    agent: str,
    since: float | None,
    until: float | None,
    reason: str,
    words: str,
    live: bool | None,
    limit: int,
    as_json: bool,
) -> None:
    """Calls that are kept, the latest first. --json: one document, as GET /api/calls answers."""
    from voice.commands.calls import run
    from voice.records.search import Search

    run(environment(), Search(number, agent, since, until, reason, words, live), limit, as_json)


@main.command()
@click.argument("call_sid", callback=_call_sid)
@_as_json
def explain(call_sid: str, as_json: bool) -> None:
    """What became of the call CALL_SID: the console's page as text. --json: one document."""
    from voice.commands.explain import run

    run(environment(), call_sid, as_json)


@main.command()
@click.argument("call_sid", callback=_call_sid, required=False)
@_as_json
def tail(call_sid: str | None, as_json: bool) -> None:
    """What happens in the call CALL_SID until it is over, or in all live calls, of all workers, until Ctrl-C (exit
    130). --json: one line each."""
    from voice.commands.tail import run

    sys.exit(run(environment(), call_sid, as_json))


@main.command()
@click.argument("to")
@click.option("--agent", help="[default: the server's DEFAULT_AGENT]")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="For the agent's texts.")
@click.option("--server", help="[default: http://127.0.0.1:$PORT]")
@_as_json
def call(to: str, agent: str | None, parameters: tuple[str, ...], server: str | None, as_json: bool) -> None:
    """Have the running server call the number TO, such as +15551234567; needs API_TOKEN."""
    from voice.commands.call import run

    run(environment(), to, agent, parameters, server, as_json)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_as_json
def replay(file: Path, as_json: bool) -> None:
    """Feed a call's log to the conversation again and compare the actions; exit 1 if any differs."""
    from voice.commands.replay import run

    sys.exit(run(file, as_json))


# The server


@main.group()
def agents() -> None:
    """The agents' files."""


@agents.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@_as_json
def check(directory: Path | None, as_json: bool) -> None:
    """Read every agent's file and say what is wrong with it; exit 1 if anything is. [default: AGENTS_DIR]"""
    from voice.commands.agents import run

    sys.exit(run(environment(), directory, as_json))


@main.command()
@click.option("--wait", "wait_s", default=10.0, show_default=True, help="Seconds until the database has to answer.")
@_as_json
def migrate(wait_s: float, as_json: bool) -> None:
    """Bring the database at DATABASE_URL up to date. The server does so too when it starts."""
    from voice.commands.migrate import run

    run(environment(), wait_s, as_json)


@main.command()
@click.argument("checks", nargs=-1, metavar="[CHECK]...")
@click.option("--fix", is_flag=True, help="Mend what is safe: make folders, migrate; point numbers here, after asking.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@click.option("--via", metavar="URL", help="Send what is for PUBLIC_URL there, such as http://127.0.0.1:8000.")
@_as_json
def doctor(checks: tuple[str, ...], fix: bool, yes: bool, via: str | None, as_json: bool) -> None:
    """Look at all that a call needs, from settings to the way through the proxy; exit 1 if anything has failed. Asks
    the vendors for next to nothing. Some only: gunicorn, open-files, folders, database, transcriber, language-model,
    synthesizer, telephone, outside, numbers. --json: one document."""
    from voice.commands.doctor import run

    sys.exit(run(environment(), checks, via.rstrip("/") if via else None, fix, yes, as_json))


@main.group()
def number() -> None:
    """Phone numbers at Twilio."""


@number.command()
@click.argument("number", callback=_number)
@click.option("--fallback", metavar="URL", callback=_url, help="[default: the number's own, or this server's]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_as_json
def use(number: str, fallback: str | None, yes: bool, as_json: bool) -> None:
    """Point NUMBER, such as +15551234567, at PUBLIC_URL: its calls, their fallback, their status. Shows what would
    change and asks. --json: one document; without --yes nothing is changed."""
    from voice.commands.number import run

    run(environment(), number, fallback, yes, as_json)


# Without vendors


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
@click.option("--refusals", is_flag=True, help="Calls that the server refuses are counted, and no failures.")
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
        refusals=more["refusals"],
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
