"""All workers' calls in one picture, and the stream of events that brings it to every page that is looking.

One thread of the worker looks, while anybody does; the pages wait for what it has found.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from voice import registry
from voice.errors import RecordsUnavailable
from voice.presence import IDLE_S, Presence
from voice.records.records import Records
from voice.records.statistics import Summary, Waits
from voice.web.console import chart

MOST_VIEWERS = 100
"""Of one worker: connections are for calls."""
LOOK_S = 0.5
BEAT_S = 15.0
"""Below the 55 s after which platforms take a silent connection for dead, and any proxy's minute."""
GONE_S = 5.0
"""A worker with calls whose row has not been renewed for so long, while they are watched, is dead; one without has less
to tell."""
WATCHED_S = 10.0
"""So long do the others tell of their calls twice a second, after we have said that somebody looks."""
_SAID_S = 3.0
"""So often is it said."""
_DAY_S = 86400.0
_STATISTICS_S = 10.0

_log = logging.getLogger("voice.web")


class TooManyViewers(Exception):
    pass


class Viewer:
    """The events for one page. Whoever serves them closes it, even if nobody has read any."""

    def __init__(self, events: Iterator[bytes], leave: Callable[[], None]) -> None:
        self._events = events
        self._leave: Callable[[], None] | None = leave

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        leave, self._leave = self._leave, None
        if leave:
            leave()


class Live:
    def __init__(self, presence: Presence, records: Records, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._presence = presence
        self._records = records
        self._viewers = 0
        self._looking = threading.Lock()
        self._changed = threading.Condition()
        self._version = 0
        self._in_trouble = False
        self._text = b""
        self._thread: threading.Thread | None = None
        self._picture: dict[str, Any] = {}
        # By worker: the time that its row names, and ours when that was new.
        self._seen: dict[str, tuple[float, float]] = {}
        self._seen_at = self._said_at = float("-inf")
        self._day = _day(Summary(0, 0, 0.0, 0.0, ()), chart.drawn((), 0.0))
        self._day_at = float("-inf")
        self._waits: list[Waits] = []

    def picture(self) -> dict[str, Any]:
        """Now: `{"here", "workers", "capacity", "draining", "calls", "day", "in_trouble"}`."""
        with self._looking:
            return self._look_around()

    def _look_around(self) -> dict[str, Any]:
        calls: dict[str, dict[str, Any]] = {}
        capacity, draining, workers, in_trouble = 0, 0, 0, False
        now = self._monotonic()
        try:
            self._say_so(now)
            rows = self._rows(now)
            self._count(now)
        except RecordsUnavailable as error:
            if not self._in_trouble:
                _log.warning("the console sees this worker's calls only: %s", error)
            rows, in_trouble = [], True
        self._in_trouble = in_trouble
        for owner, state in [(self._presence.owner, self._presence.state()), *rows]:
            workers += 1
            capacity += 0 if state["draining"] else state["max_calls"]
            draining += bool(state["draining"])
            for call in state["calls"]:
                # One that was carried on stands in a dead worker's row too.
                other = calls.get(call["call_sid"])
                if other is None or other["since"] < call["since"]:
                    calls[call["call_sid"]] = call | {"worker": owner}
        ordered = sorted(calls.values(), key=lambda call: (call["since"], call["call_sid"]))
        of_day = {"day": self._day, "in_trouble": in_trouble}
        return {
            "here": self._presence.owner,
            "workers": workers,
            "capacity": capacity,
            "draining": draining,
            "calls": ordered,
            **of_day,
        }

    def _rows(self, now: float) -> list[tuple[str, dict[str, Any]]]:
        """Of the other workers that are alive."""
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
            if owner != self._presence.owner and now - since <= limit:
                alive.append((owner, state))
        self._seen = seen
        return alive

    def _say_so(self, now: float) -> None:
        """Have the other workers tell of their calls, while anybody looks."""
        if self._viewers and now - self._said_at >= _SAID_S:
            self._records.watch(self._presence.owner, WATCHED_S)
            self._said_at = now

    def _count(self, now: float) -> None:
        """What is counted over the last 24 hours; of the waits only what is new."""
        if now - self._day_at < _STATISTICS_S:
            return
        clock = self._records.clock()
        summary = self._records.summary(clock - _DAY_S)
        first = chart.first_stretch(clock)
        self._waits = [waits for waits in self._waits if waits.at >= first]
        since = self._waits.pop().at if self._waits else first
        self._waits += self._records.waits(since, chart.STRETCH_S)
        self._day_at = now
        self._day = _day(summary, chart.drawn(self._waits, first))

    # Those who look

    def follow(self, until: float) -> Viewer:
        """Server-sent events: `state` with the picture whenever it has changed, `bye` at the end, which comes when this
        worker goes, or `until` (seconds since the epoch). Raises TooManyViewers at once."""
        with self._changed:
            if self._viewers >= MOST_VIEWERS:
                raise TooManyViewers
            self._viewers += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="console", daemon=True)
                self._thread.start()
        return Viewer(self._events(until), self._leave)

    def _leave(self) -> None:
        with self._changed:
            self._viewers -= 1

    def _events(self, until: float) -> Iterator[bytes]:
        seen = 0
        yield b"retry: 1000\n\n"
        while not registry.draining.is_set() and time.time() < until:
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen or registry.draining.is_set(), BEAT_S)
                new, seen = self._version != seen, self._version
                text = self._text
            yield b'event: state\ndata: {"now":%.3f,%b\n\n' % (time.time(), text[1:]) if new else b": beat\n\n"
        yield b"event: bye\ndata: {}\n\n"

    def _look(self) -> None:
        while True:
            try:
                text = orjson.dumps(self.picture())
            except Exception:
                _log.exception("the console's picture failed")
                text = self._text
            with self._changed:
                if text and text != self._text:
                    self._text = text
                    self._version += 1
                    self._changed.notify_all()
                elif registry.draining.is_set():
                    self._changed.notify_all()
                if not self._viewers:
                    self._thread = None
                    return
            time.sleep(LOOK_S)


def _day(summary: Summary, drawn: dict[str, Any]) -> dict[str, Any]:
    return {
        "calls": summary.calls,
        "failed": summary.failed,
        "cost_usd": f"{summary.cost_usd:.2f}" if summary.cost_usd >= 1 else f"{summary.cost_usd:.4f}",
        "failures": [f"{often} × {result}, {reason}" for result, reason, often in summary.failures[:8]],
        "chart": drawn,
    }
