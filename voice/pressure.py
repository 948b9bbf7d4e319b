"""Whether this worker has time for another call: how late its greenlets get their turn, and how busy its processor is.

New callers are refused before those who are there notice anything.
"""

import logging
import time
from collections import deque

import gevent

from voice import supervision

BEAT_S = 0.25
_WINDOW_S = 30.0
_LOOKED_AT = 8
"""Beats, two seconds: one long task, such as a garbage collection, is no reason."""
LATE_S = 0.05
"""A caller hears it from about here on."""
_LATE_BEATS = 3
_IDLE = 0.25
"""Who does so little is kept waiting by others, and refusing calls would not help it."""
_BUSY = 0.85
_CALM = 0.75
"""Shares of one processor, which is all that a worker can use; between the two it stays as it is."""

_log = logging.getLogger("voice.pressure")


class Pressure:
    """One for each worker."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque([0.0], maxlen=int(_WINDOW_S / BEAT_S))
        self._moments: deque[tuple[float, float]] = deque(maxlen=_LOOKED_AT)
        self.is_high = False

    def start(self) -> gevent.Greenlet:
        return supervision.supervise("pressure", self._run)

    @property
    def longest_lag_s(self) -> float:
        """Of the last 30 s."""
        return max(self._lags)

    def _run(self) -> None:
        while True:
            before = time.monotonic()
            time.sleep(BEAT_S)
            # Timers and sockets go first. What a call does waits in line behind all that is ready, and so does this.
            time.sleep(0)
            now = time.monotonic()
            self.felt(now, now - before - BEAT_S, time.process_time())

    def felt(self, now: float, lag_s: float, cpu_s: float) -> None:
        """One beat at `now` that came so late; `cpu_s` is the processor time of this process so far."""
        self._lags.append(lag_s)
        began, spent = self._moments[0] if self._moments else (now, cpu_s)
        self._moments.append((now, cpu_s))
        busy = (cpu_s - spent) / (now - began) if len(self._moments) == _LOOKED_AT else 0.0
        late = sum(lag > LATE_S for lag in list(self._lags)[-_LOOKED_AT:])
        was, limit = self.is_high, _CALM if self.is_high else _BUSY
        self.is_high = busy > limit or (late >= _LATE_BEATS and busy > _IDLE)
        if self.is_high != was:
            what = "has no time for new calls, they are refused" if self.is_high else "takes new calls again"
            _log.warning(
                "this worker %s: %.0f %% of a processor, %d of %d looks late", what, 100 * busy, late, _LOOKED_AT
            )
