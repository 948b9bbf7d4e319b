"""`make soak`: fifty calls for half an hour, 30 % of the answers interrupted, one fault a minute. Needs Linux.

Says whether anything was lost, and how memory, descriptors and greenlets of the server grow.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import gevent
import orjson

from tests.drills import soak_faults, soak_samples
from tests.drills.processes import workers
from tests.drills.soak_caller import CALL_S, Ended, SoakCaller
from tests.drills.soak_samples import Probe, Sample, percentiles, slope_per_hour
from tests.running import Running, wait_until
from voice.records.records import Records
from voice.sandbox.bench_script import GREETING, agent_file, answer
from voice.sandbox.delays import Delays
from voice.sandbox.pacer import PACER

_SAMPLE_S = 10.0
_DESCRIBE_EVERY = 6
_FAULT_S = 60.0
_SETTLE_S = 10.0
_ARRIVALS_PER_S = 10
_CALLER = "the caller hung up"
_SHOWN = 10


@dataclass
class Soak:
    minutes: float
    calls: int
    ended: list[Ended] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)
    """Seconds from the beginning, and what went wrong."""
    left: dict[str, int] = field(default_factory=dict)
    """What the server held before the first call and after the last one."""
    wrong: list[str] = field(default_factory=list)
    """One line for each thing that must not be."""
    answered: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)


def run(minutes: float, calls: int, folder: Path) -> int:
    """The exit code: 1 when a call was lost, has no record, or has left something behind. Never for a slope."""
    soak = Soak(minutes, calls)
    print(f"{calls} calls of {CALL_S / 60:.0f} minutes, again and again for {minutes:g} minutes ...", flush=True)
    with tempfile.TemporaryDirectory() as name:
        agents = Path(name) / "agents"
        agents.mkdir()
        (agents / "bench.toml").write_text(agent_file(preemptive=True))
        with Running(Path(name), workers=2, AGENTS_DIR=str(agents), DEFAULT_AGENT="bench") as running:
            _soak(soak, running)
            _check(soak, running)
    for line in _table(soak):
        print(line)
    path = folder / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.json"
    _write(soak, path)
    print(f"\n  {path}")
    return 1 if soak.wrong else 0


def _soak(soak: Soak, running: Running) -> None:
    random = Random(1)
    running.forget()
    running.sandbox.xai.answer = answer
    running.sandbox.openai.keep_audio = False
    for stand_in in (running.sandbox.openai, running.sandbox.xai, running.sandbox.elevenlabs):
        stand_in.delays = Delays.like_the_vendors()
    _first_call(running)
    before = soak_samples.take(running, 0, describe=True)
    callers = [
        SoakCaller(n, lambda n=n: running.phone(from_number=f"+1555000{n:04}", keep_audio=False), Random(n), soak.ended)
        for n in range(1, soak.calls + 1)
    ]
    calling = [gevent.spawn_later(n / _ARRIVALS_PER_S, caller.run) for n, caller in enumerate(callers)]
    with Probe(running.server.url) as probe:
        _watch(soak, running, callers, random)
        soak.answered, soak.late = percentiles(probe.answered_ms), percentiles(probe.late_ms)
    for caller in callers:
        caller.is_to_stop = True
    gevent.joinall(calling, raise_error=True)
    wait_until(lambda: _all_closed(running), 15, "the vendors are left")
    # Last words to the records, webhooks: the matrix gives them ten seconds.
    gevent.sleep(_SETTLE_S)
    after = soak_samples.take(running, soak.minutes * 60, describe=True)
    for name in ("calls", "greenlets", "descriptors"):
        soak.left |= {f"{name} before": getattr(before, name), f"{name} after": getattr(after, name)}
    if after.calls:
        soak.wrong.append(f"{after.calls} calls are left")


def _first_call(running: Running) -> None:
    """It pays for what is loaded and built only once; and by then all workers are up."""
    with running.phone(keep_audio=False) as phone:
        phone.wait_for(lambda: phone.is_silent(300) and GREETING in phone.heard_text, 20)
    wait_until(lambda: _all_closed(running), 15, "the vendors are left")
    wait_until(lambda: all(map(soak_samples.describes_itself, workers(running))), 30, "all workers are up")


def _watch(soak: Soak, running: Running, callers: list[SoakCaller], random: Random) -> None:
    began = time.monotonic()
    faults, next_fault = soak_faults.in_turn(running.sandbox, callers, random), _FAULT_S / 2
    while (at_s := time.monotonic() - began) < soak.minutes * 60:
        describe = len(soak.samples) % _DESCRIBE_EVERY == _DESCRIBE_EVERY - 1
        soak.samples.append(soak_samples.take(running, at_s, describe=describe))
        if at_s >= next_fault:
            name, happen = faults[len(soak.faults) % len(faults)]
            happen()
            soak.faults.append((round(at_s, 1), name))
            next_fault += _FAULT_S
        _forget_the_past(running)
        gevent.sleep(max(0.0, began + len(soak.samples) * _SAMPLE_S - time.monotonic()))


def _forget_the_past(running: Running) -> None:
    """The stand-ins keep all that ever was, for tests to read; here it would be the driver's own leak."""
    sandbox = running.sandbox
    sandbox.openai.sessions[:] = [session for session in sandbox.openai.sessions if not session.closed]
    sandbox.elevenlabs.sockets[:] = [socket for socket in sandbox.elevenlabs.sockets if not socket.closed]
    sandbox.xai.requests.clear()
    sandbox.twilio.requests.clear()
    for sid in [sid for sid, call in sandbox.twilio.calls.items() if call.ended_at is not None]:
        sandbox.twilio.detach(sid)


def _all_closed(running: Running) -> bool:
    sandbox = running.sandbox
    return all(s.closed for s in sandbox.openai.sessions) and all(s.closed for s in sandbox.elevenlabs.sockets)


def _check(soak: Soak, running: Running) -> None:
    records = Records(running.environment["DATABASE_URL"])
    records.start()
    for ended in soak.ended:
        kept = records.call(ended.call_sid)
        end = f"{kept.result}, {kept.reason}" if kept and kept.ended_at else "no end"
        if kept is None:
            soak.wrong.append(f"{ended.call_sid}: has no record")
        elif ended.reason != _CALLER or end != "completed, caller-hung-up":
            soak.wrong.append(f"{ended.call_sid}: over by {ended.reason!r}, recorded as {end}")
        soak.wrong += [f"{ended.call_sid}: Twilio would warn: {warning}" for warning in ended.warnings]
    records.stop(1)
    tracebacks = running.log.count("Traceback")
    if tracebacks:
        soak.wrong.append(f"{tracebacks} tracebacks in the log")


def _figures(soak: Soak) -> dict[str, Any]:
    return {
        "minutes": soak.minutes,
        "calls_at_once": soak.calls,
        "calls": len(soak.ended),
        "turns": sum(ended.turns for ended in soak.ended),
        "interrupted": sum(ended.interrupted for ended in soak.ended),
        "unanswered": sum(ended.unanswered for ended in soak.ended),
        "resumed": sum(ended.streams - 1 for ended in soak.ended),
        "faults": dict(Counter(name for _, name in soak.faults)),
        "slopes_per_hour": {
            name: slope_per_hour(soak.samples, name) for name in ("rss_mb", "pss_mb", "descriptors", "greenlets")
        },
        "healthz_ms": soak.answered,
        "probe_late_ms": soak.late,
        "driver_latest_ms": round(PACER.latest_s * 1000, 1),
        "left": soak.left,
        "wrong": soak.wrong,
    }


def _table(soak: Soak) -> Iterator[str]:
    figures = _figures(soak)
    yield (
        f"\n  calls         {figures['calls']}, {figures['turns']} turns, {figures['interrupted']} interrupted, "
        f"{figures['unanswered']} not answered within 20 s"
    )
    yield f"  faults        {len(soak.faults)}: " + ", ".join(f"{n} x {name}" for name, n in figures["faults"].items())
    yield f"  resumed       {figures['resumed']} streams"
    yield "                    first     last     most   slope per hour, without the first 20 %"
    for name, slope in figures["slopes_per_hour"].items():
        values = [getattr(sample, name) for sample in soak.samples if getattr(sample, name) is not None]
        if values:
            told = "too short to tell" if slope is None else f"{slope:+.1f}"
            yield f"  {name:13} {values[0]:9.1f}{values[-1]:9.1f}{max(values):9.1f}   {told}"
    yield f"  /healthz      {_spread(soak.answered)}; the probe itself woke up late by {_spread(soak.late)}"
    yield f"  the driver's latest frame went out {figures['driver_latest_ms']} ms after its moment"
    yield "  left          " + ", ".join(f"{name} {value}" for name, value in soak.left.items())
    yield f"  wrong         {len(soak.wrong) or 'nothing: every call has its record, and ended when its caller wished'}"
    for line in soak.wrong[:_SHOWN]:
        yield f"                {line}"


def _spread(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value} ms" for name, value in values.items()) or "-"


def _write(soak: Soak, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    told = _figures(soak) | {
        "fault_times": soak.faults,
        "samples": [asdict(sample) for sample in soak.samples],
        "ended": [asdict(ended) for ended in soak.ended],
    }
    path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
