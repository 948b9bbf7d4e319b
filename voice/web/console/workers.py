"""The rows in which living workers tell of their calls: for the live page, and for `python -m voice tail`."""

from collections.abc import Iterable
from typing import Any

import orjson

from voice.presence import IDLE_S
from voice.records.records import Records

GONE_S = 5.0
"""A worker with calls whose row has not been renewed for so long, while they are watched, is dead; one without has less
to tell."""
WATCHED_S = 10.0
"""So long do the others tell of their calls twice a second, after we have said that somebody looks."""
_SAID_S = 3.0
"""So often is it said."""

Row = tuple[str, dict[str, Any]]
"""A worker's name, and its state as `voice.presence` has it."""


class Workers:
    """As somebody sees them who is called `owner`."""

    def __init__(self, records: Records, owner: str) -> None:
        self._records = records
        self._owner = owner
        # By worker: the time that its row names, and ours when that was new.
        self._seen: dict[str, tuple[float, float]] = {}
        self._seen_at = self._said_at = float("-inf")

    def watch(self, now: float) -> None:
        """Have them tell of their calls twice a second for a while; `now` is monotonic. Raises RecordsUnavailable."""
        if now - self._said_at >= _SAID_S:
            self._records.watch(self._owner, WATCHED_S)
            self._said_at = now

    def others(self, now: float) -> list[Row]:
        """Those that are alive, without `owner`; `now` is monotonic. Raises RecordsUnavailable."""
        alive, seen = [], {}
        if now - self._seen_at > GONE_S / 2:
            # Nobody has looked meanwhile, and so nobody had to renew his row.
            self._seen = {}
        self._seen_at = now
        for owner, at, text in self._records.presences():
            before = self._seen.get(owner)
            # Clocks of two machines differ: what counts is that the row changes.
            since = before[1] if before and before[0] == at else now
            if before is None and at < self._records.clock() - 2 * IDLE_S:
                since = float("-inf")
            seen[owner] = at, since
            state = orjson.loads(text)
            limit = GONE_S if state["calls"] else 2 * IDLE_S + GONE_S
            if owner != self._owner and now - since <= limit:
                alive.append((owner, state))
        self._seen = seen
        return alive


def calls_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """All their calls, each once and with its `worker`, the oldest first."""
    calls: dict[str, dict[str, Any]] = {}
    for owner, state in rows:
        for call in state["calls"]:
            # One that was carried on stands in a dead worker's row too.
            other = calls.get(call["call_sid"])
            if other is None or other["since"] < call["since"]:
                calls[call["call_sid"]] = call | {"worker": owner}
    return sorted(calls.values(), key=lambda call: (call["since"], call["call_sid"]))
