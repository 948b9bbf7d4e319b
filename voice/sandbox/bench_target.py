"""The load test against a server that runs elsewhere: it meets our stand-ins, and we call it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gevent
import requests

from voice.sandbox import bench, bench_report, bench_server
from voice.sandbox.bench_plan import TRANSCRIBERS, Plan
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import TwilioRestStandIn

SANDBOX_TOKEN = "sandbox-twilio-token"
_ROOM = 50
_LOOK_S = 0.5


@dataclass(frozen=True)
class Target:
    url: str
    """`http://host:port`, where the server or its proxy listens."""
    listen: tuple[str, int]
    """The stand-ins' address: one of this machine's that the server reaches."""
    account_sid: str
    auth_token: str
    """The server's TWILIO_AUTH_TOKEN: our requests are signed with it."""
    public_url: str = bench.PUBLIC_URL
    """The server's PUBLIC_URL, over which signatures are made."""
    patience_s: float = 600.0
    """So long we wait for the server to answer."""


def run(plan: Plan, target: Target, json_path: Path) -> int:
    """Returns the exit code: 0 when every turn took place, nothing crossed and nothing was lost."""
    host, port = target.listen
    try:
        with Sandbox(delays=bench.pace(plan), host=host, port=port) as sandbox:
            sandbox.twilio = TwilioRestStandIn(target.account_sid, target.auth_token)
            environment = sandbox.environment() | {"PUBLIC_URL": target.public_url}
            if target.auth_token != SANDBOX_TOKEN:
                # The server has it, and it is nobody else's to read.
                del environment["TWILIO_AUTH_TOKEN"]
            _tell(environment | _settings(plan, json_path.parent))
            if not _answers(target):
                print(f"{target.url}/healthz did not answer in {target.patience_s:.0f} s", file=sys.stderr)
                return 1
            print(f"{plan.calls} calls are placed ...", flush=True)
            found = bench.load(plan, bench.Served(target.url, target.public_url), sandbox)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    about = plan.told() | {"server": target.url, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    print(bench_report.table(about, found))
    bench_report.write(json_path, about, found)
    print(f"\n  {json_path}")
    return 0 if found.sound else 1


def _settings(plan: Plan, folder: Path) -> dict[str, str]:
    return {
        **bench_server.agent_environment(folder, plan.preemptive),
        "OPENAI_TRANSCRIPTION_MODEL": TRANSCRIBERS[plan.transcriber],
        "OPENAI_AUDIO_FORMAT": plan.audio_format,
        "MAX_CALLS": str(plan.calls + _ROOM),
    }


def _tell(environment: dict[str, str]) -> None:
    print("Start the server with these in its environment; a database and folders of its own do it good.\n")
    print("\n".join(f"{name}={value}" for name, value in environment.items()))
    print("\nWaiting for it ...", flush=True)


def _answers(target: Target) -> bool:
    deadline = time.monotonic() + target.patience_s
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{target.url}/healthz", timeout=2).ok:
                return True
        except requests.RequestException:
            pass  # nothing tells us when it has come up
        gevent.sleep(_LOOK_S)
    return False
