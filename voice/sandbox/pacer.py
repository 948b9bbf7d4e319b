"""One greenlet that gives every stream of the process its 20 ms beat, by an absolute clock: late beats are made up for.

Streams are spread over four moments 5 ms apart, as calls that have nothing to do with each other would be.
"""

import time
from dataclasses import dataclass, field
from typing import Protocol

import gevent

_SLOTS = 4
_BEAT_S = 0.005


class Paced(Protocol):
    def tick(self, moment: float) -> None:
        """Called once for each 20 ms; `moment` is when that should have been. Must not block; an exception ends it."""

    def broke(self, error: Exception) -> None: ...


@dataclass(eq=False, repr=False)
class Pacer:
    # The longest that a beat came late, in seconds, since the process began: above 0.02 the process has too much to do.
    latest_s: float = 0.0
    _slots: list[list[Paced]] = field(default_factory=lambda: [[] for _ in range(_SLOTS)])
    _running: bool = False

    def join(self, stream: Paced) -> None:
        min(self._slots, key=len).append(stream)
        if not self._running:
            self._running = True
            gevent.spawn(self._run).name = "pacer"

    def leave(self, stream: Paced) -> None:
        for slot in self._slots:
            if stream in slot:
                slot.remove(stream)

    def _run(self) -> None:
        began, beat = time.monotonic(), 0
        while any(self._slots):
            beat += 1
            moment = began + beat * _BEAT_S
            wait = moment - time.monotonic()
            # Behind, too, the others must run between two beats.
            gevent.sleep(max(0.0, wait))
            self.latest_s = max(self.latest_s, -wait)
            self._beat(self._slots[beat % _SLOTS], moment)
        self._running = False

    def _beat(self, slot: list[Paced], moment: float) -> None:
        for stream in tuple(slot):
            try:
                stream.tick(moment)
            except Exception as error:
                self.leave(stream)
                stream.broke(error)


PACER = Pacer()
