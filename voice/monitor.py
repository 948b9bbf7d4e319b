"""The periodic greenlet: ends calls in which nothing happens any more, by force if asking does not help."""

import logging
import time
from collections.abc import Callable, Sequence

import gevent

from voice import registry

_log = logging.getLogger("voice.monitor")


class Monitor:
    """One per worker. `sweep` is one step of it; a test calls it with a time of its own choice."""

    def __init__(self, idle_timeout_s: float, interval_s: float, chores: Sequence[Callable[[], None]] = ()) -> None:
        """`chores` are done once in each interval; they may wait for something else than calls."""
        self._chores = chores
        self._idle_timeout_s = idle_timeout_s
        self._interval_s = interval_s
        # Clients that were asked to end and have not gone: the next sweep kills them.
        self._asked: set[str] = set()

    def start(self) -> gevent.Greenlet:
        greenlet = gevent.spawn(self._run)
        greenlet.name = "monitor"
        return greenlet

    def _run(self) -> None:
        while True:
            gevent.sleep(self._interval_s)
            self.sweep(time.monotonic())
            for chore in self._chores:
                try:
                    chore()
                except Exception:
                    _log.exception("%s failed", chore)

    def sweep(self, now: float) -> None:
        """Look once at every connection; `now` is monotonic."""
        idle = [c for c in registry.connections() if now - c.last_activity >= self._idle_timeout_s]
        asked, self._asked = self._asked, set()
        for connection in idle:
            try:
                self._end(connection, now, connection.client_id in asked)
            except Exception:
                # One call that cannot be ended must not keep the others from it.
                _log.exception("%s: cannot be ended", connection.call_sid or connection.client_id)

    def _end(self, connection: registry.Connection, now: float, asked: bool) -> None:
        name = connection.call_sid or connection.client_id
        if asked:
            _log.warning("%s: did not end when asked, killed", name)
            connection.kill()
        else:
            _log.info("%s: idle for %.0f s, ending it", name, now - connection.last_activity)
            self._asked.add(connection.client_id)
            connection.request_end("idle")
