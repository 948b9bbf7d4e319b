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
from voice.presence import Presence
from voice.records.records import Records
from voice.records.statistics import Summary, Waits
from voice.web.console import chart
from voice.web.console.workers import Workers, calls_of

MOST_VIEWERS = 100
"""Of one worker: connections are for calls."""
LOOK_S = 0.5
BEAT_S = 15.0
"""Below the 55 s after which platforms take a silent connection for dead, and any proxy's minute."""
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
        self._workers = Workers(records, presence.owner)
        self._viewers = 0
        self._looking = threading.Lock()
        self._changed = threading.Condition()
        self._version = 0
        self._in_trouble = False
        self._text = b""
        self._thread: threading.Thread | None = None
        self._picture: dict[str, Any] = {}
        self._day = _day(Summary(0, 0, 0.0, 0.0, ()), chart.drawn((), 0.0))
        self._day_at = float("-inf")
        self._waits: list[Waits] = []

    def picture(self) -> dict[str, Any]:
        """Now: `{"here", "workers", "capacity", "draining", "calls", "day", "in_trouble"}`."""
        with self._looking:
            return self._look_around()

    def _look_around(self) -> dict[str, Any]:
        in_trouble = False
        now = self._monotonic()
        try:
            if self._viewers:
                self._workers.watch(now)
            others = self._workers.others(now)
            self._count(now)
        except RecordsUnavailable as error:
            if not self._in_trouble:
                _log.warning("the console sees this worker's calls only: %s", error)
            others, in_trouble = [], True
        self._in_trouble = in_trouble
        rows = [(self._presence.owner, self._presence.state()), *others]
        of_day = {"day": self._day, "in_trouble": in_trouble}
        return {
            "here": self._presence.owner,
            "workers": len(rows),
            "capacity": sum(0 if state["draining"] else state["max_calls"] for _, state in rows),
            "draining": sum(bool(state["draining"]) for _, state in rows),
            "calls": calls_of(rows),
            **of_day,
        }

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
