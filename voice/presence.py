"""What each worker tells the others of its live calls: one row of the database, up to twice a second while it has any
and anybody watches; else only which calls they are.

The console shows all workers' rows. A row that is not renewed is a dead worker's, and is not shown.
"""

import time
from collections.abc import Callable
from typing import Any

import gevent
import orjson

from voice import registry, supervision
from voice.core.transcript import AgentSaid, CallerSaid
from voice.records.masking import clean, masked
from voice.records.records import Records

BEAT_S = 0.5
"""So often is looked whether there is something new to tell."""
RENEWED_S = 2.0
"""A row that says nothing new is written again after so long, while there are calls that are watched."""
IDLE_S = 30.0
"""The same, unwatched or without calls: the others are to know that there is a worker."""
_WORDS = 300
"""Characters of what was last said."""


class Presence:
    def __init__(self, records: Records, owner: str, max_calls: int, is_watched: Callable[[], bool]) -> None:
        """`owner` is this worker's name, unlike any other's."""
        self.owner = owner
        self._records = records
        self._max_calls = max_calls
        self._is_watched = is_watched
        # Whether it was going, and its calls.
        self._told: tuple[bool, frozenset[str]] | None = None
        self._written = ""
        self._written_at = float("-inf")

    def start(self) -> None:
        supervision.supervise("presence", self._run)

    def stop(self) -> None:
        """This worker is going: nobody need wait until its row is old."""
        self._records.absent(self.owner)

    def state(self) -> dict[str, Any]:
        """`{"max_calls": 200, "draining": false, "calls": [{"call_sid": …, …}]}`; times are seconds since the epoch."""
        calls = [_call(session) for session in registry.sessions()]
        return {"max_calls": self._max_calls, "draining": registry.draining.is_set(), "calls": calls}

    def _run(self) -> None:
        while True:
            self.beat(time.monotonic())
            gevent.sleep(BEAT_S)

    def beat(self, now: float) -> None:
        """Write the row if that is due; `now` is monotonic. Returns at once."""
        # What cannot be written would pile up.
        if self._records.is_in_trouble:
            return
        known = registry.draining.is_set(), frozenset(session.call_sid for session in registry.sessions())
        has_viewers = bool(known[1]) and self._is_watched()
        age = now - self._written_at
        if known == self._told and not has_viewers and age < IDLE_S:
            return
        text = orjson.dumps(self.state()).decode()
        if text == self._written and age < (RENEWED_S if has_viewers else IDLE_S):
            return
        self._records.present(self.owner, text)
        self._told, self._written, self._written_at = known, text, now


def _call(session: registry.CallSession) -> dict[str, Any]:
    conversation, pulse = session.conversation, session.pulse
    caller, agent = conversation.words, conversation.saying
    for entry in reversed(conversation.transcript.entries):
        if isinstance(entry, CallerSaid) and not caller:
            caller = entry.text
        elif isinstance(entry, AgentSaid) and not agent:
            agent = entry.text
        if caller and agent:
            break
    return {
        "call_sid": session.call_sid,
        "agent": session.agent.name,
        "caller": _fit(session.caller_number),
        "called": _fit(session.called_number),
        "direction": session.direction,
        "since": session.started_at,
        "floor": conversation.floor,
        "turn": conversation.turn,
        "said": {"caller": _fit(caller), "agent": _fit(agent)},
        "took": pulse.took,
        "health": dict(pulse.health),
        "transfers": list(session.agent.transfer.to),
    }


def _fit(text: str) -> str:
    """As the records keep it, and no longer than a line: its end, which is the newest."""
    kept = masked(clean(text))
    return kept if len(kept) <= _WORDS else "…" + kept[-_WORDS:]
