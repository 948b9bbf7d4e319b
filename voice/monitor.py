"""The periodic greenlet: ends calls in which nothing happens any more, and frees those that do not let themselves be ended."""

import logging
import time

import gevent

from voice import registry

_log = logging.getLogger("voice.monitor")


class Monitor:
    """One per worker. `sweep` is one step of it; a test calls it with a time of its own choice."""

    def __init__(self, idle_timeout_s: float, interval_s: float) -> None:
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
            try:
                self.sweep(time.monotonic())
            except Exception:
                _log.exception("a sweep of the monitor failed")

    def sweep(self, now: float) -> None:
        """Look once at every connection; `now` is monotonic."""
        idle = [c for c in registry.connections() if now - c.last_activity >= self._idle_timeout_s]
        asked = set()
        for connection in idle:
            name = connection.call_sid or connection.client_id
            if connection.client_id in self._asked:
                _log.warning("%s: did not end when asked, killed", name)
                connection.kill()
            else:
                _log.info("%s: idle for %.0f s, ending it", name, now - connection.last_activity)
                connection.request_end("idle")
                asked.add(connection.client_id)
        self._asked = asked
