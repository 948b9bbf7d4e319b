"""The load test: many calls at once to one worker of the real server or to a peer, stand-ins for the vendors.

Callers and stand-ins live in the calling process, on one core; the server has another one for itself.
Needs `gevent.monkey.patch_all()` and Linux.
"""

import itertools
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent

from voice.sandbox import bench_machine, bench_ramp, bench_report, bench_server
from voice.sandbox.bench_caller import Caller, Crowd, Visitor
from voice.sandbox.bench_figures import Figures, Load, Memory, figures, medians
from voice.sandbox.bench_observed import observe
from voice.sandbox.bench_plan import Plan
from voice.sandbox.bench_script import answer, parts
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.delays import Delays
from voice.sandbox.phone import Phone
from voice.sandbox.stand_ins import Sandbox

_ARRIVALS_PER_S = 10
_SETTLE_S = 10.0
PUBLIC_URL = "https://voice.example.com"
_PEER_TWIML = '<Response><Connect><Stream url="wss://voice.example.com/twilio/stream"/></Connect></Response>'


@dataclass(frozen=True)
class Served:
    """Where the calls go."""

    url: str
    public_url: str = PUBLIC_URL
    pid: int | None = None
    """Of the server's first process; None: it runs elsewhere, and nothing is known of its machine."""
    hub: bench_server.Hub | None = None
    """None: it has none that could be looked at."""


def run(plan: Plan, json_path: Path, repeat: int = 1) -> int:
    """Returns the exit code: 0 when every turn took place, nothing crossed and nothing was lost. Never speed."""
    if not _prepared():
        return 2
    cores = bench_machine.cores()
    about = _about(plan, cores) | ({"medians of": f"{repeat} runs"} if repeat > 1 else {})
    try:
        found = _repeated(plan, cores, repeat)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(bench_report.table(about, found))
    bench_report.write(json_path, about, found)
    print(f"\n  {json_path}")
    return 0 if found.sound else 1


def ramp(plans: Iterator[Plan], json_path: Path, repeat: int = 1) -> int:
    """Run plans, each with more calls than the last, until one breaks the service level. 0 when one held."""
    if not _prepared():
        return 2
    cores = bench_machine.cores()
    steps: list[Figures] = []
    for plan in plans:
        about = _about(plan, cores)
        try:
            steps.append(_repeated(plan, cores, repeat))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        print(bench_report.step(steps[-1]), flush=True)
        if bench_ramp.broken(steps[-1]):
            break
    print(bench_report.ramp(about, steps))
    bench_report.write_ramp(json_path, about, steps)
    print(f"\n  {json_path}")
    return 0 if bench_ramp.calls_per_core(steps) else 1


def _prepared() -> bool:
    if sys.platform != "linux":
        print("The load test reads processor time and memory from Linux's /proc: it needs Linux.", file=sys.stderr)
        return False
    gevent.signal_handler(signal.SIGTERM, lambda: sys.exit(143))
    return True


def _repeated(plan: Plan, cores: bench_machine.Cores, repeat: int) -> Figures:
    """Raises RuntimeError."""
    print(f"{plan.calls} calls are placed, {_ARRIVALS_PER_S} a second ...", flush=True)
    return medians([measure(plan, cores) for _ in range(repeat)])


def measure(plan: Plan, cores: bench_machine.Cores) -> Figures:
    """Raises RuntimeError with the server's log when it does not start."""
    with tempfile.TemporaryDirectory() as name, only_on(cores.driver):
        folder = Path(name)
        certificate = _certificate(folder) if plan.tls else None
        with Sandbox(delays=pace(plan), certificate=certificate) as sandbox, (folder / "server.log").open("wb") as log:
            server, hub = bench_server.process(plan, sandbox, folder, log, cores.server)
            try:
                server.start()
                return load(plan, Served(server.url, pid=server.pid, hub=None if plan.peer else hub), sandbox)
            except RuntimeError as error:
                raise RuntimeError(f"{error}:\n{(folder / 'server.log').read_text()[-2000:]}") from error
            finally:
                server.stop()


def pace(plan: Plan) -> Delays:
    return Delays() if plan.fast else Delays.like_the_vendors()


def load(plan: Plan, served: Served, sandbox: Sandbox) -> Figures:
    """One run of the plan against a server that answers."""
    sandbox.xai.answer = answer
    if not plan.fast:
        # The first call pays for what is loaded and built only once.
        first_call = _callers(Plan(1, 1, spread_s=0, peer=plan.peer), served, sandbox)
        _finish(_dial(first_call), sandbox)
        _forget(sandbox)
    before_mb = bench_machine.tree_pss_mb(served.pid)
    if served.hub:
        served.hub.forget()
    callers = _callers(plan, served, sandbox)
    calling = _dial(callers)
    callers[0].crowd.all_here.wait()
    first = bench_machine.moment(served.pid)
    visitors: list[Visitor] = []
    coming = gevent.spawn(_visits, plan, served, sandbox, callers[0].crowd, visitors)
    callers[0].crowd.first_left.wait()
    last, full_mb = bench_machine.moment(served.pid), bench_machine.tree_pss_mb(served.pid)
    stall_ms = served.hub.longest_ms if served.hub else None
    coming.join()
    _finish(calling, sandbox)
    taken = [caller for caller in callers if not (plan.refusals and caller.refused)]
    memory = Memory(before_mb, full_mb, bench_machine.tree_pss_mb(served.pid))
    refused = len(callers) - len(taken) + sum(visitor.refused for visitor in visitors)
    greeted = [visitor.answered for visitor in visitors if not visitor.refused] or [caller.answered for caller in taken]
    seen = observe(taken, sandbox)
    return figures(seen, Load(first, last, memory, stall_ms, greeted, refused), plan)


def _callers(plan: Plan, served: Served, sandbox: Sandbox) -> list[Caller]:
    crowd = Crowd(plan.calls)
    cast = parts(plan.calls, plan.turns, plan.seed, plan.spread_s)
    return [Caller(part, phone(plan, part.caller, served, sandbox), crowd) for part in cast]


def _dial(callers: list[Caller]) -> list[gevent.Greenlet]:
    return [gevent.spawn_later(n / _ARRIVALS_PER_S, caller.run) for n, caller in enumerate(callers)]


def _visits(plan: Plan, served: Served, sandbox: Sandbox, crowd: Crowd, visitors: list[Visitor]) -> None:
    """Calls that come and go, until the first of the others leaves."""
    if not plan.visitors_per_s:
        return
    visits = []
    for number in itertools.count(1):
        if crowd.first_left.wait(1 / plan.visitors_per_s):
            break
        visitors.append(Visitor(phone(plan, 9000 + number % 1000, served, sandbox)))
        visits.append(gevent.spawn(visitors[-1].run))
    gevent.joinall(visits, raise_error=True)


def _finish(calling: list[gevent.Greenlet], sandbox: Sandbox) -> None:
    """Until the last call is over and has left nothing behind at the vendors."""
    gevent.joinall(calling, raise_error=True)
    deadline = time.monotonic() + _SETTLE_S
    # What the server never closes is seen in its memory, and does not hold us.
    while time.monotonic() < deadline and not _left(sandbox):
        gevent.sleep(0.02)  # the server is another process: nothing wakes us


def _left(sandbox: Sandbox) -> bool:
    return all(s.closed for s in sandbox.openai.sessions) and all(s.closed for s in sandbox.elevenlabs.sockets)


def phone(plan: Plan, number: int, served: Served, sandbox: Sandbox) -> Phone:
    return Phone(
        server=served.url,
        public_url=served.public_url,
        account_sid=sandbox.twilio.account_sid,
        auth_token=sandbox.twilio.auth_token,
        twilio=sandbox.twilio,
        from_number=f"+1555000{number:04d}",
        # Peers are streams and nothing else.
        setup=CallSetup(twiml=_PEER_TWIML, status_callback=None) if plan.peer else CallSetup(),
    )


def _forget(sandbox: Sandbox) -> None:
    sandbox.openai.sessions.clear()
    sandbox.xai.requests.clear()
    sandbox.elevenlabs.sockets.clear()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself. Raises RuntimeError."""
    if not shutil.which("openssl"):
        raise RuntimeError("--tls needs openssl, to make a certificate with")
    files = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    named = "-addext", "subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), *named, "-keyout", files[1], "-out", files[0]], check=True, capture_output=True)
    return files


@contextmanager
def only_on(core: int | None) -> Iterator[None]:
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
    return {
        **plan.told(),
        "machine": f"{bench_machine.processor()}, {os.cpu_count()} cores",
        "cores": pinned if cores.server is not None else "only one: server and callers share it",
        "versions": f"Python {platform.python_version()}, gevent {gevent.__version__}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
