"""What the load test's two sides take of the machine: cores, processor time, memory. Read from Linux's /proc."""

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """None: there is only one core, and whatever runs shares it."""

    server: int | None
    driver: int | None


@dataclass(frozen=True)
class Moment:
    """Processor time so far, in seconds."""

    at: float
    """`time.monotonic()`"""
    server_cpu_s: float | None
    """Of the server's whole process tree; None where it runs elsewhere."""
    driver_cpu_s: float
    machine_cpu_s: float
    """Of everything that runs on the machine."""
    stolen_s: float
    """What a virtual machine's host gave to others, of all cores together."""


def cores() -> Cores:
    """One core for each side, of those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def moment(server_pid: int | None) -> Moment:
    # man 5 proc: user, nice, system, idle, iowait, irq, softirq, steal; all cores together.
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(None, 9)[1:9])
    machine_s, stolen_s = (user + nice + system + irq + softirq) / _TICKS_PER_S, steal / _TICKS_PER_S
    server_s = None if server_pid is None else sum(map(_cpu_s, _tree(server_pid)))
    return Moment(time.monotonic(), server_s, time.process_time(), machine_s, stolen_s)


def workers(server_pid: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()]


def pss_mb(pid: int) -> float:
    """Proportional set size: a page that several processes share counts in part. In MB of 1024 * 1024 bytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0]) / 1024


def tree_pss_mb(pid: int | None) -> float | None:
    """Of a process and all below it; None where it runs elsewhere."""
    return None if pid is None else sum(map(pss_mb, _tree(pid)))


def processor() -> str:
    """The processor's name, as far as the machine tells it."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def _tree(pid: int) -> list[int]:
    return [pid, *(below for child in workers(pid) for below in _tree(child))]


def _cpu_s(pid: int) -> float:
    # The name in brackets may hold spaces: user and system time are the 12th and 13th fields behind it (man 5 proc).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
