"""The periodic greenlet: ends calls in which nothing happens any more, or that cannot end, by force if need be.

Every limit of a call is kept by its own greenlet. This is for when that one hangs, or has gone.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from weakref import WeakSet

import gevent

from voice import registry, supervision

CONNECTING_S = 30.0
"""A stream has said who it is within 5 s, or was refused."""
CLOSING_S = 30.0
"""Twilio is told within 15 s, and its end of the stream waited for 5 s."""
GOODBYE_S = 30.0
"""A call that is at its limit says goodbye within 15 s, and is over after closing."""

_log = logging.getLogger("voice.monitor")


class Monitor:
    """One per worker. `sweep` is one step of it; a test calls it with a time of its own choice."""

    def __init__(
        self,
        idle_timeout_s: float,
        interval_s: float,
        chores: Sequence[Callable[[], None]] = (),
        hang_up: Callable[[str], None] = lambda call_sid: None,
    ) -> None:
        """`chores` are done once in each interval; they may wait for something else than calls. `hang_up` has Twilio
        end the call of that sid, and returns at once."""
        self._hang_up = hang_up
        self._chores = chores
        self._idle_timeout_s = idle_timeout_s
        self._interval_s = interval_s
        # Clients that were asked to end and have not gone: the next sweep kills them.
        self._asked: set[str] = set()
        # Those that were closing, by when that was seen first.
        self._closing: dict[str, float] = {}
        # Greenlets that had outlived their call: the next sweep ends them.
        self._left_over: "WeakSet[gevent.Greenlet]" = WeakSet()

    def start(self) -> gevent.Greenlet:
        return supervision.supervise("monitor", self._run)

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
        for fault in registry.reconcile():
            _log.error("%s", fault)
        self._reap()
        connections = registry.connections()
        closing = {c.client_id for c in connections if c.state is registry.State.CLOSING}
        self._closing = {client_id: self._closing.get(client_id, now) for client_id in closing}
        asked, self._asked = self._asked, set()
        for connection in connections:
            try:
                self._look_at(connection, now, connection.client_id in asked)
            except Exception:
                # One call that cannot be ended must not keep the others from it.
                _log.exception("%s: cannot be ended", connection.call_sid or connection.client_id)

    def _look_at(self, connection: registry.Connection, now: float, asked: bool) -> None:
        name = connection.call_sid or connection.client_id
        if any(greenlet.dead for greenlet in connection.greenlets()[:1]):
            _log.error("%s: a call whose greenlet has gone, cleared away", name)
            _clear_away(connection)
        elif self._is_over_time(connection, now):
            _log.error("%s: beyond its time limit and reacts to nothing, hung up and killed", name)
            self._hang_up(connection.call_sid)
            connection.kill()
        elif state := self._stuck_in(connection, now):
            _log.error("%s: %s for too long, killed", name, state.value)
            connection.kill()
        elif now - connection.last_activity >= self._idle_timeout_s:
            self._end(connection, now, asked)

    def _is_over_time(self, connection: registry.Connection, now: float) -> bool:
        session = registry.session_of(connection.call_sid)
        if session is None or connection.state is not registry.State.LIVE:
            return False
        return now - connection.began >= session.conversation.rules.max_duration_s + GOODBYE_S

    def _stuck_in(self, connection: registry.Connection, now: float) -> registry.State | None:
        """A state that has to be over by now."""
        if connection.state is registry.State.CONNECTING:
            stuck = now - connection.began >= CONNECTING_S
        else:
            stuck = now - self._closing.get(connection.client_id, now) >= CLOSING_S
        return connection.state if stuck else None

    def _reap(self) -> None:
        """End the greenlets of calls that are over, if they were there at the last sweep too."""
        living = {greenlet for greenlet in registry.left_over if not greenlet.dead}
        registry.left_over.intersection_update(living)
        for greenlet in living.intersection(self._left_over):
            _log.error("%s: has outlived its call, killed", greenlet.name)
            greenlet.kill(block=False)
        self._left_over = WeakSet(living)

    def _end(self, connection: registry.Connection, now: float, asked: bool) -> None:
        name = connection.call_sid or connection.client_id
        if asked:
            _log.warning("%s: did not end when asked, killed", name)
            connection.kill()
        else:
            _log.info("%s: idle for %.0f s, ending it", name, now - connection.last_activity)
            self._asked.add(connection.client_id)
            connection.request_end("idle")


def _clear_away(connection: registry.Connection) -> None:
    """What the call's own greenlet would have done; each step is tried even if the one before it failed."""
    with ExitStack() as steps:
        # Twilio comes back with the call, if it goes on.
        steps.callback(registry.disconnect, connection, over=False)
        for greenlet in connection.greenlets()[1:]:
            steps.callback(greenlet.kill, block=False)
        if connection.caller:
            steps.callback(connection.caller.close)
        for wire in (connection.transcriber, connection.synthesizer):
            if wire:
                steps.callback(wire.shutdown)
