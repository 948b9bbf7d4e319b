"""One wake for many: greenlets that may wait a little go on together, 50 times a second.

Half the cost of a call's 50 messages a second is waking up for each: the look at the sockets, the way into a greenlet
whose memory has gone cold, and out again. Calls that are read one after the other have that once for all of them.
"""

import socket
from typing import Any

import gevent
from gevent.hub import Waiter

BEAT_S = 0.02
"""As long as a frame: whoever waits for n beats finds about n frames of a caller."""
MOST_BEATS = 7
_READ = 1
_PARTS = 4
"""Of a beat: the waiting are spread over them, so that others who are ready need not wait behind all of them."""


class Pause:
    """Begins at once, and lasts so many beats, MOST_BEATS at most; the first is up to 20 ms away."""

    def __init__(self, beats: int) -> None:
        global _beat
        self._hub = gevent.get_hub()
        self._waiter = Waiter(self._hub)
        if _beat is None or _beat.hub is not self._hub:
            _beat = _Beat(self._hub)
        _beat.add(self._waiter, beats)

    def wait(self) -> None:
        """Until it is over; for the greenlet that began it."""
        self._waiter.get()

    def wait_for(self, watcher: Any) -> None:
        """As `wait`, until the loop's `watcher` is ready at the latest: a time limit at a tenth of a timer's price."""
        watcher.start(self._waiter.switch, None)
        try:
            self._waiter.get()
        finally:
            watcher.stop()

    def end(self) -> None:
        """At once, from any greenlet, also if it is over."""
        # Who does not wait any more leaves a waiter that nobody listens to: here, and to the beat.
        self._hub.loop.run_callback(self._waiter.switch, None)


def readable(sock: socket.socket) -> Any:
    """For `Pause.wait_for`."""
    return gevent.get_hub().loop.io(sock.fileno(), _READ)


class _Beat:
    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self._timer = hub.loop.timer(BEAT_S / _PARTS, BEAT_S / _PARTS)
        # Those who wait, by the part of a beat that they wait for.
        self._waiting: list[list[Waiter]] = [[] for _ in range(MOST_BEATS * _PARTS + 1)]
        self._now = 0

    def add(self, waiter: Waiter, beats: int) -> None:
        self._waiting[(self._now + beats * _PARTS) % len(self._waiting)].append(waiter)
        if not self._timer.active:
            self._timer.start(self._passes)

    def _passes(self) -> None:
        """In the hub."""
        self._now = now = (self._now + 1) % len(self._waiting)
        waiting, self._waiting[now] = self._waiting[now], []
        for waiter in waiting:
            # Not at once: of what is to be run, the hub does 5 ms at a time, and looks at its sockets in between.
            self.hub.loop.run_callback(waiter.switch, None)
        if not any(self._waiting):
            self._timer.stop()


_beat: _Beat | None = None
