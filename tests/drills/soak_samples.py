"""What a soak measures of the server's workers, and how fast it grows."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, quantiles

import gevent

from tests.drills.processes import workers
from tests.running import Running, wait_until
from voice.sandbox.bench_machine import pss_mb

_DESCRIPTION = re.compile(rb"^(\d+) connections, (\d+) calls, (\d+) streams, (\d+) greenlets$", re.MULTILINE)
# From here on: what is loaded and built only once is there.
_SETTLED = 0.2


@dataclass(frozen=True)
class Sample:
    """All workers together."""

    at_s: float
    rss_mb: float
    pss_mb: float
    descriptors: int
    calls: int | None = None
    greenlets: int | None = None


def take(running: Running, at_s: float, *, describe: bool) -> Sample:
    """`describe`: calls and greenlets too, by SIGUSR2, for which a worker looks at everything it has in memory."""
    pids = workers(running)
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    described = _describe(running, pids) if describe else None
    return Sample(
        at_s,
        sum(int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) for text in status) / 1024,
        sum(map(pss_mb, pids)),
        sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        described[1] if described else None,
        described[3] if described else None,
    )


def describes_itself(pid: int) -> bool:
    """Whether SIGUSR2 would not end the process, as it does while a worker starts."""
    (caught,) = re.findall(r"SigCgt:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGUSR2 - 1) & 1)


def _describe(running: Running, pids: Sequence[int]) -> list[int]:
    """Connections, calls, streams, greenlets."""
    place = running.log_path.stat().st_size

    def told() -> list[tuple[bytes, ...]]:
        with running.log_path.open("rb") as log:
            log.seek(place)
            return _DESCRIPTION.findall(log.read())

    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: len(told()) >= len(pids), 10, "the workers describe themselves")
    return [sum(map(int, column)) for column in zip(*told(), strict=True)]


def slope_per_hour(samples: Sequence[Sample], name: str) -> float | None:
    """Of one of the sample's figures, by least squares; None when there is too little of it."""
    settled = [(sample.at_s / 3600, getattr(sample, name)) for sample in samples[int(len(samples) * _SETTLED) :]]
    known = [(at, value) for at, value in settled if value is not None]
    if len(known) < 3:
        return None
    return linear_regression([at for at, _ in known], [value for _, value in known]).slope


@dataclass
class Probe:
    """`probe.py` beside the server, for as long as the context lasts."""

    url: str
    answered_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)

    def __enter__(self) -> "Probe":
        command = [sys.executable, str(Path(__file__).with_name("probe.py")), self.url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reading = gevent.spawn(self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reading.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answered, late = map(float, line.split())
            self.answered_ms.append(answered)
            self.late_ms.append(late)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the most; empty when there is too little."""
    if len(values) < 2:
        return {}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(values), 1)}
