"""The load test: many calls at once to one worker of the real server, stand-ins for the vendors.

Callers and stand-ins live in the calling process, on one core; the server has another one for itself.
Needs `gevent.monkey.patch_all()` and Linux.
"""

import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent

from voice.sandbox import bench_machine, bench_report
from voice.sandbox.bench_caller import Caller, Crowd
from voice.sandbox.bench_figures import Figures, Load, Memory, figures
from voice.sandbox.bench_observed import Observed, observe
from voice.sandbox.bench_script import INTERRUPTED_SHARE, Part, agent_file, answer, parts
from voice.sandbox.delays import Delays
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.stand_ins import Sandbox

_ARRIVALS_PER_S = 10
_SETTLE_S = 10.0


@dataclass(frozen=True)
class Plan:
    calls: int = 50
    turns: int = 4
    """Of each call."""
    seed: int = 1
    """Decides who interrupts, and when each begins."""
    preemptive: bool = False
    """The agent thinks before the final transcript; what the server adds is then hidden behind the vendors' time."""
    fast: bool = False
    """The stand-ins answer at once instead of at the vendors' pace."""
    spread_s: float = 8.0
    """Callers begin their first question within so many seconds; about the length of a turn."""


def run(plan: Plan, json_path: Path) -> int:
    """Returns the exit code: 0 when every turn took place, nothing crossed and nothing was lost. Never speed."""
    if sys.platform != "linux":
        print("The load test reads processor time and memory from Linux's /proc: it needs Linux.", file=sys.stderr)
        return 2
    gevent.signal_handler(signal.SIGTERM, lambda: sys.exit(143))
    cores = bench_machine.cores()
    about = _about(plan, cores)
    print(f"{plan.calls} calls are placed, {_ARRIVALS_PER_S} a second ...", flush=True)
    try:
        found = measure(plan, cores)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(bench_report.table(about, found))
    bench_report.write(json_path, about, found)
    print(f"\n  {json_path}")
    return 0 if found.sound else 1


def measure(plan: Plan, cores: bench_machine.Cores) -> Figures:
    """Raises RuntimeError with the server's log when it does not start."""
    delays = Delays() if plan.fast else Delays.like_the_vendors()
    with tempfile.TemporaryDirectory() as name, _only_on(cores.driver), Sandbox(delays=delays) as sandbox:
        folder = Path(name)
        log_path = folder / "server.log"
        with log_path.open("wb") as log:
            server = ServerProcess(_environment(plan, sandbox, folder), log, workers=1, cpu=cores.server)
            try:
                server.start()
                return figures(*_load(plan, server, sandbox), plan.preemptive)
            except RuntimeError as error:
                raise RuntimeError(f"{error}:\n{log_path.read_text()[-2000:]}") from error
            finally:
                server.stop()


def _environment(plan: Plan, sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """All that changes what is measured is set; nothing is written outside the folder."""
    agents = folder / "agents"
    agents.mkdir()
    (agents / "bench.toml").write_text(agent_file(plan.preemptive))
    return sandbox.environment() | {
        "AGENTS_DIR": str(agents),
        "DEFAULT_AGENT": "bench",
        "CALL_LOG_DIR": str(folder / "calls"),
        "CLIPS_DIR": str(folder / "clips"),
        "DATABASE_URL": f"sqlite:///{folder / 'voice.db'}",
        "OPENAI_TRANSCRIPTION_MODEL": "gpt-live-transcribe",
        "MAX_CALLS": str(plan.calls + 10),
    }


def _load(plan: Plan, server: ServerProcess, sandbox: Sandbox) -> tuple[list[Observed], Load]:
    sandbox.xai.answer = answer
    (worker,) = bench_machine.workers(server.pid)
    # The first call pays for what is loaded and built only once.
    first_call = _callers(Plan(1, 1, spread_s=0), server, sandbox)
    _finish(_dial(first_call), sandbox)
    _forget(sandbox)
    before_mb = bench_machine.pss_mb(worker)
    callers = _callers(plan, server, sandbox)
    calling = _dial(callers)
    callers[0].crowd.all_here.wait()
    first = bench_machine.moment(server.pid)
    callers[0].crowd.first_left.wait()
    last, full_mb = bench_machine.moment(server.pid), bench_machine.pss_mb(worker)
    _finish(calling, sandbox)
    memory = Memory(before_mb, full_mb, bench_machine.pss_mb(worker))
    return observe(callers, sandbox), Load(first, last, memory)


def _callers(plan: Plan, server: ServerProcess, sandbox: Sandbox) -> list[Caller]:
    crowd = Crowd(plan.calls)
    cast = parts(plan.calls, plan.turns, plan.seed, plan.spread_s)
    return [Caller(part, _phone(part, server, sandbox), crowd) for part in cast]


def _dial(callers: list[Caller]) -> list[gevent.Greenlet]:
    return [gevent.spawn_later(n / _ARRIVALS_PER_S, caller.run) for n, caller in enumerate(callers)]


def _finish(calling: list[gevent.Greenlet], sandbox: Sandbox) -> None:
    """Until the last call is over and has left nothing behind at the vendors."""
    gevent.joinall(calling, raise_error=True)
    deadline = time.monotonic() + _SETTLE_S
    # What the server never closes is seen in its memory, and does not hold us.
    while time.monotonic() < deadline and not _left(sandbox):
        gevent.sleep(0.02)  # the server is another process: nothing wakes us


def _left(sandbox: Sandbox) -> bool:
    return all(s.closed for s in sandbox.openai.sessions) and all(s.closed for s in sandbox.elevenlabs.sockets)


def _phone(part: Part, server: ServerProcess, sandbox: Sandbox) -> Phone:
    return Phone(
        server=server.url,
        account_sid=sandbox.twilio.account_sid,
        auth_token=sandbox.twilio.auth_token,
        twilio=sandbox.twilio,
        from_number=f"+1555000{part.caller:04d}",
    )


def _forget(sandbox: Sandbox) -> None:
    sandbox.openai.sessions.clear()
    sandbox.xai.requests.clear()
    sandbox.elevenlabs.sockets.clear()


@contextmanager
def _only_on(core: int | None) -> Iterator[None]:
    """This process on one core; afterwards where it was."""
    allowed = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _about(plan: Plan, cores: bench_machine.Cores) -> dict[str, object]:
    pinned = f"server on core {cores.server}, callers and stand-ins on core {cores.driver}"
    calls = f"{plan.calls} calls of {plan.turns} turns"
    return {
        "run": f"{calls}, {INTERRUPTED_SHARE:.0%} of them interrupted, seed {plan.seed}",
        "stand-ins": "fast" if plan.fast else "at the vendors' pace",
        "machine": f"{bench_machine.processor()}, {os.cpu_count()} cores",
        "cores": pinned if cores.server is not None else "only one: server and callers share it",
        "versions": f"Python {platform.python_version()}, gevent {gevent.__version__}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
