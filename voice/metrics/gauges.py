"""What a worker measures of itself by the clock: its calls, and whether its greenlets get their turn."""

import os
import stat
import time
from pathlib import Path

import gevent

from voice import limits, registry, supervision
from voice.metrics import series

_BEAT_S = 0.25
_LOOK_S = 1.0
_COUNT_S = 2.0
_WINDOW_S = 15.0


class Gauges:
    """One for each worker, which takes `max_calls` at most."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        # The longest of this window, and of the one before it: a reader that comes twice a minute misses none.
        self._lags = [0.0, 0.0]

    def start(self) -> gevent.Greenlet:
        series.worker_starts.inc()
        series.workers.set(1)
        return supervision.supervise("gauges", self._run)

    def _run(self) -> None:
        next_look = next_count = 0.0
        next_window = time.monotonic() + _WINDOW_S
        while True:
            began = time.monotonic()
            if began >= next_look:
                self._look()
                next_look = began + _LOOK_S
            if began >= next_count:
                self._count()
                next_count = began + _COUNT_S
            if began >= next_window:
                self._lags = [0.0, self._lags[0]]
                next_window = began + _WINDOW_S
            before = time.monotonic()
            time.sleep(_BEAT_S)
            self._lags[0] = max(self._lags[0], time.monotonic() - before - _BEAT_S)

    def _look(self) -> None:
        draining = registry.draining.is_set()
        series.calls_live.set(len(registry.active_sessions))
        series.workers_draining.set(draining)
        series.calls_allowed.set(0 if draining else self._max_calls)
        series.greenlets.set(_greenlets())
        series.hub_lag.set(max(self._lags))

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
