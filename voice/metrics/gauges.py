"""What a worker measures of itself by the clock: its calls, and whether its greenlets get their turn."""

import itertools
import os
import stat
import time
from pathlib import Path

import gevent

from voice import limits, registry, supervision
from voice.metrics import series
from voice.pressure import Pressure

_LOOK_S = 1.0
_LOOKS_A_COUNT = 2


class Gauges:
    """One for each worker, which takes `max_calls` at most."""

    def __init__(self, max_calls: int, pressure: Pressure) -> None:
        self._max_calls = max_calls
        self._pressure = pressure

    def start(self) -> gevent.Greenlet:
        series.worker_starts.inc()
        series.workers.set(1)
        return supervision.supervise("gauges", self._run)

    def _run(self) -> None:
        for look in itertools.count():
            self._look()
            if look % _LOOKS_A_COUNT == 0:
                self._count()
            time.sleep(_LOOK_S)

    def _look(self) -> None:
        draining = registry.draining.is_set()
        series.calls_live.set(len(registry.active_sessions))
        series.workers_draining.set(draining)
        series.calls_allowed.set(0 if draining else self._max_calls)
        series.greenlets.set(_greenlets())
        series.hub_lag.set(self._pressure.longest_lag_s)

    def _count(self) -> None:
        """What takes longer: a microsecond for each descriptor."""
        series.open_sockets.set(_open_sockets())
        series.memory_bytes.set((limits.used_mb() or 0.0) * 2**20)


def _greenlets() -> int:
    """A look at all objects would tell of every greenlet, and would stop all calls meanwhile."""
    of_calls = [greenlet for connection in registry.connections() for greenlet in connection.greenlets()]
    return sum(not greenlet.dead for greenlet in (*of_calls, *registry.left_over))


def _open_sockets() -> int:
    try:
        descriptors = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    except OSError:
        return 0
    return sum(map(_is_socket, descriptors))


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        # The one that listed them is closed by now.
        return False
