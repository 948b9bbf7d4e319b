"""The server that the load test measures: ours, or a peer in an environment of its own. One process, or one worker."""

import mmap
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO

from voice.sandbox.bench_plan import TRANSCRIBERS, Plan
from voice.sandbox.bench_script import GREETING, INSTRUCTIONS, agent_file
from voice.sandbox.serving import ROOT, ServerProcess
from voice.sandbox.stand_ins import Sandbox

_HERE = Path(__file__).parent
_PEERS = {"floor": "relay.py", "pipecat": "bot.py"}
_ROOM = 50
"""Calls beyond the plan's that the server shall take."""
_DOUBLE = struct.Struct("d")


class Hub:
    """The longest that the server's hub was busy with itself; see bench_inside."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(_DOUBLE.pack(0.0))
        with path.open("r+b") as file:
            self._cell = mmap.mmap(file.fileno(), _DOUBLE.size)

    def forget(self) -> None:
        _DOUBLE.pack_into(self._cell, 0, 0.0)

    @property
    def longest_ms(self) -> float:
        return float(_DOUBLE.unpack_from(self._cell)[0]) * 1000


def process(plan: Plan, sandbox: Sandbox, folder: Path, log: IO[bytes], core: int | None) -> tuple[ServerProcess, Hub]:
    """Not started yet; writes nothing outside `folder` but a peer's environment, once. Raises RuntimeError."""
    hub = Hub(folder / "hub")
    if plan.peer:
        environment = sandbox.environment() | {"GREETING": GREETING, "INSTRUCTIONS": INSTRUCTIONS}
        return ServerProcess(environment, log, command=_peer(plan.peer), cpu=core), hub
    return ServerProcess(_environment(plan, sandbox, folder), log, workers=1, cpu=core), hub


def agent_environment(folder: Path, preemptive: bool) -> dict[str, str]:
    """The agent that the callers expect, written into `folder`, and what makes a server take it."""
    agents = folder / "agents"
    agents.mkdir(parents=True, exist_ok=True)
    (agents / "bench.toml").write_text(agent_file(preemptive))
    return {"AGENTS_DIR": str(agents.resolve()), "DEFAULT_AGENT": "bench"}


def _environment(plan: Plan, sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """All that changes what is measured is set."""
    environment = {
        **sandbox.environment(),
        **agent_environment(folder, plan.preemptive),
        "CALL_LOG_DIR": str(folder / "calls"),
        "CLIPS_DIR": str(folder / "clips"),
        "DATABASE_URL": f"sqlite:///{folder / 'voice.db'}",
        "OPENAI_TRANSCRIPTION_MODEL": TRANSCRIBERS[plan.transcriber],
        "OPENAI_AUDIO_FORMAT": plan.audio_format,
        "MAX_CALLS": str(plan.calls + _ROOM),
        "CALLS_PER_SECOND": "1000",
        "GUNICORN_CMD_ARGS": f"--config {_HERE / 'bench_inside.py'}",
        "BENCH_HUB": str(folder / "hub"),
    }
    if sandbox.certificate:
        # The synthesizer's HTTP client asks OpenSSL, the others certifi.
        environment |= dict.fromkeys(("BENCH_CA", "SSL_CERT_FILE"), str(sandbox.certificate[0]))
    return environment


def _peer(name: str) -> tuple[str, ...]:
    """The command that runs it. Its environment is made when its requirements are new. Raises RuntimeError."""
    home, source = ROOT / ".venv-peers" / name, ROOT / "tests" / "bench" / name
    wanted, made = (source / "requirements.txt").read_text(), home / "made.txt"
    if not made.is_file() or made.read_text() != wanted:
        print(f"Setting up {home}: a minute or two, once.", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            install = "pip install --quiet --disable-pip-version-check --no-deps -r".split()
            subprocess.run([home / "bin" / "python", "-m", *install, source / "requirements.txt"], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise RuntimeError(f"the peer {name} cannot be installed: {error}") from error
        made.write_text(wanted)
    return str(home / "bin" / "python"), str(source / _PEERS[name])
