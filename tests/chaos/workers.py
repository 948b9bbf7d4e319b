"""What the workers of a running server take, read from outside: /proc, the probe, and their own word on SIGUSR2."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

from tests.running import Running, wait_until

_TOLD = re.compile(r"^(\d+) connections, (\d+) calls, (\d+) streams, (\d+) greenlets$", re.MULTILINE)


@dataclass(frozen=True)
class Level:
    """Of one worker."""

    connections: int
    calls: int
    streams: int
    greenlets: int
    sockets: int
    """Without connections that are kept for the next request, as many as there were requests at once."""

    @property
    def registries(self) -> tuple[int, int, int]:
        return self.connections, self.calls, self.streams

    def lower(self, other: "Level") -> "Level":
        """The lower of each."""
        return Level(*map(min, zip(astuple(self), astuple(other), strict=True)))


class Workers:
    def __init__(self, running: Running, kept: Callable[[], set[int]]) -> None:
        """`kept` tells from which ports of theirs connections come that are kept for the next request."""
        self._running = running
        self._kept = kept
        self._telephone = f":{running.sandbox.port:04X}"
        master = running.server.pid
        self.pids = [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def levels(self) -> list[Level]:
        """Asks them to describe themselves, which holds their hubs for a moment: not while something is measured."""
        return [Level(*self._told(pid), self._sockets(pid)) for pid in self.pids]

    def memory_mb(self) -> float:
        """The resident sets of all of them together."""
        return sum(_memory_mb(pid) for pid in self.pids)

    def _told(self, pid: int) -> tuple[int, int, int, int]:
        told = len(_TOLD.findall(self._running.log))
        os.kill(pid, signal.SIGUSR2)
        wait_until(lambda: len(_TOLD.findall(self._running.log)) > told, 5, "the worker describes itself")
        connections, calls, streams, greenlets = map(int, _TOLD.findall(self._running.log)[-1])
        return connections, calls, streams, greenlets

    def _sockets(self, pid: int) -> int:
        # One that was reset is in no table any more; a pool of kept connections holds it until it is looked at again.
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ports = tuple(f":{port:04X}" for port in self._kept())
        # The telephone's REST API is not behind a proxy.
        kept = [row for row in rows if row[2].endswith(self._telephone) or row[1].endswith(ports)]
        counted = {f"socket:[{row[9]}]" for row in rows} - {f"socket:[{row[9]}]" for row in kept}
        links = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
        return sum(link in counted for link in links)


class Probe:
    """The probe in its own process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin and process.stdout
        self._asked: IO[str] = process.stdin
        self._told: IO[str] = process.stdout

    def stalls_ms(self) -> tuple[float, float]:
        """Since this was last asked: the longest that any hub stood still (what is shorter than 20 ms may be missed),
        and the longest that the probe itself was woken late, which is the machine's doing."""
        self._asked.write("\n")
        self._asked.flush()
        late, *stalls = map(float, self._told.readline().split())
        return max(stalls), late


@contextmanager
def probing(port: int, pids: list[int]) -> Iterator[Probe]:
    command = [sys.executable, str(Path(__file__).parent / "probe.py"), str(port), *map(str, pids)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield Probe(process)
        process.kill()


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
