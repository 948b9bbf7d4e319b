"""Tells the other workers that this one lives, and learns from the records what became of its calls with them."""

import logging
import time

import gevent

from voice import registry, supervision
from voice.errors import RecordsUnavailable
from voice.records.entries import Standing
from voice.records.queries import LEFT
from voice.records.records import Records

BEAT_S = 10.0
LIVES_S = 30.0
"""Who was not heard of for so long is dead."""
LOOK_S = 1.0
"""Status callbacks and resumed streams come to any worker: the one that holds the call knows this much later."""

_log = logging.getLogger("voice.heartbeat")


class Heartbeat:
    """One for each worker, `owner` in the records."""

    def __init__(self, records: Records, owner: str) -> None:
        self._records = records
        self._owner = owner
        self._next_beat = 0.0
        self.is_watched = False
        """Whether anybody looked at the live calls, at whichever worker, when this one had any last."""
        # Call and stream of those that were there at the last look: what the records say of them has been written.
        self._seen: set[tuple[str, str]] = set()

    def start(self) -> gevent.Greenlet:
        return supervision.supervise("heartbeat", self._run)

    def _run(self) -> None:
        while True:
            try:
                self.beat(time.monotonic())
                self.look()
            except RecordsUnavailable:
                # The records themselves tell of it.
                pass
            gevent.sleep(LOOK_S)

    def beat(self, now: float) -> None:
        """When it is time to; `now` is monotonic. Raises RecordsUnavailable."""
        if now >= self._next_beat:
            self._records.lives(self._owner, LIVES_S)
            self._next_beat = now + BEAT_S

    def look(self) -> None:
        """End the calls that are over for the records, or on another stream; learn whether the live ones are watched.

        Raises RecordsUnavailable.
        """
        live = {(session.call_sid, session.connection.stream_name): session for session in registry.sessions()}
        known = self._seen & live.keys()
        self._seen = set(live)
        if not live:
            return
        standings, self.is_watched = self._records.glance([call_sid for call_sid, _ in known])
        of_call = {standing.call_sid: standing for standing in standings}
        for call_sid, stream_name in known:
            if standing := of_call.get(call_sid):
                _compare(live[call_sid, stream_name], standing)


def _compare(session: registry.CallSession, standing: Standing) -> None:
    connection = session.connection
    if connection.state is not registry.State.LIVE:
        return
    if standing.stream_name != connection.stream_name:
        _log.warning("%s: goes on at another worker, %s", session.call_sid, standing.owner)
        connection.request_end("superseded")
    # An end of an earlier stream may have been written late; it tells of no hang-up.
    elif standing.ended_at is not None and standing.result not in LEFT:
        _log.info("%s: another worker was told that it is over", session.call_sid)
        connection.request_end("caller-hung-up")
