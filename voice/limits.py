"""What the machine gives a process: descriptors for so many calls, memory for each worker."""

import resource
from pathlib import Path

# Twilio's stream, transcriber, language model, call log, two synthesizers while one takes the other's place, and one or
# two requests: a tool's, and Twilio's REST. Measured: 5, and 6 while the agent thinks.
_DESCRIPTORS_OF_A_CALL = 8
OTHER_CONNECTIONS = 100
"""Webhooks, health checks and the API: sockets of a worker besides its calls."""
# Listener, database, log, hub, webhooks that are delivered, and what the libraries keep.
_DESCRIPTORS_OF_A_WORKER = 64

_MB = 2**20
# The rest is for the master, for other processes, and for a worker that starts while another one ends.
_SHARE_OF_WORKERS = 0.8
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def raise_descriptors() -> int:
    """As many open files as the machine allows this process and its children; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # macOS says "unlimited" and refuses it.
            return soft
    return hard if hard != resource.RLIM_INFINITY else _DESCRIPTORS_OF_A_CALL * 10**6


def calls_within(descriptors: int) -> int:
    """So many calls leave a descriptor for whatever else has to be opened; 1 at least."""
    return max(1, (descriptors - OTHER_CONNECTIONS - _DESCRIPTORS_OF_A_WORKER) // _DESCRIPTORS_OF_A_CALL)


def memory_mb(workers: int) -> int | None:
    """What each worker may use: its share of the machine's memory, or of its container's. None where nobody tells."""
    told = [_machine_mb(), *(_cgroup_mb(Path(path)) for path in _CGROUP_LIMITS)]
    known = [mb for mb in told if mb is not None]
    return int(min(known) * _SHARE_OF_WORKERS / workers) if known else None


def used_mb() -> float | None:
    """The memory of this process that is in use; None where nobody tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize() / _MB


def _machine_mb() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemTotal:")), None)


def _cgroup_mb(path: Path) -> int | None:
    """None also for "max", which is no limit."""
    try:
        told = path.read_text().strip()
    except OSError:
        return None
    return int(told) // _MB if told.isdecimal() else None
