"""The queue of what is to be written: put from any greenlet without waiting, written in order by the writer's greenlet.

It is memory: a kill -9 loses what has not been written yet, milliseconds' worth while the database answers. What
was written is never lost by it.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import gevent
from gevent.event import Event
from sqlalchemy import Connection

from voice import supervision
from voice.errors import RecordsUnavailable
from voice.records.database import Database

_log = logging.getLogger("voice.records")

MOST_ITEMS = 10_000
MOST_BYTES = 64 * 2**20
# So long at most does a question wait for what is being written.
_BATCH = 200
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
# Longer than a database that lives takes to refuse a statement.
_SILENT_S = 6.0
_MOST_SAID = 1000
_MOST_NAMED = 20


@dataclass(frozen=True)
class Item:
    """Something to be written, whole or not at all."""

    call_sid: str
    what: str
    write: Callable[[Connection], str | None]
    """Why it was ignored; None: it was written. May be called again after a failure."""
    size: int
    """Bytes of text in it, roughly."""
    is_kept: bool
    """Thrown away only when there is nothing else to throw away."""


class Writer:
    """Bounded; what has waited longest goes first, and beyond the bounds is thrown away first."""

    def __init__(self, database: Database, most_items: int = MOST_ITEMS, most_bytes: int = MOST_BYTES) -> None:
        self._database = database
        self._most_items, self._most_bytes = most_items, most_bytes
        # Each with its number.
        self._waiting: deque[tuple[int, Item]] = deque()
        self._bytes = 0
        # So many of the first are being written and stay where they are.
        self._in_hand = 0
        self._put = 0
        self._wanted = Event()
        # Set when a batch is done, and replaced by a new one.
        self._progress = Event()
        self._greenlet: gevent.Greenlet | None = None
        self.trouble = ""
        """Why nothing can be written at the moment; empty: it can."""
        # Calls of which was told that something of them is ignored.
        self._said: set[str] = set()
        self.dropped = 0
        """Items thrown away for lack of room."""
        self.skipped = 0
        """Items that the database refused for what they are."""

    def start(self) -> None:
        self._greenlet = supervision.supervise("records-writer", self._run)

    def stop(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end the greenlet."""
        if not self.flush(timeout_s):
            _log.error("records: stopped with %d not written, of %s", self.backlog, self._whose())
        if self._greenlet is not None:
            self._greenlet.kill()

    def put(self, item: Item) -> None:
        self._put += 1
        self._waiting.append((self._put, item))
        self._bytes += item.size
        while len(self._waiting) > self._most_items or self._bytes > self._most_bytes:
            if not self._drop():
                break
        self._wanted.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put before is written, or thrown away; False when that takes longer."""
        target = self._put
        deadline = time.monotonic() + timeout_s
        while self._waiting and self._waiting[0][0] <= target:
            if not self._progress.wait(max(0.0, deadline - time.monotonic())):
                return False
        return True

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def _whose(self) -> str:
        calls = sorted({item.call_sid for _, item in self._waiting if item.call_sid})
        return ", ".join(calls[:_MOST_NAMED]) + (f" and {len(calls) - _MOST_NAMED} more" * (len(calls) > _MOST_NAMED))

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            self._wanted.wait()
            try:
                self._write_or_tell()
                pause = _FIRST_PAUSE_S
            except RecordsUnavailable as error:
                self._alarm(str(error))
                gevent.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _write_or_tell(self) -> None:
        # A database that is frozen neither answers nor refuses; what was begun goes on when it does.
        silent = gevent.spawn_later(_SILENT_S, self._alarm, f"no answer for {_SILENT_S:.0f} s")
        try:
            self._write_batch()
        finally:
            silent.kill(block=False)

    def _write_batch(self) -> None:
        batch = [item for _, item in islice(self._waiting, _BATCH)]
        self._in_hand = len(batch)
        try:
            results = self._database.write(lambda connection: [item.write(connection) for item in batch], None)
        except RecordsUnavailable:
            self._in_hand = 0
            raise
        except Exception:
            self._write_singly(batch)
        else:
            self._written(batch, results)

    def _write_singly(self, batch: list[Item]) -> None:
        """One of them is impossible, and only that one shall be missing."""
        for item in batch:
            try:
                result = self._database.write(item.write, None)
            except RecordsUnavailable:
                self._in_hand = 0
                raise
            except Exception as error:
                result = None
                self.skipped += 1
                _log.error("%s: %s cannot be written, skipped: %r", item.call_sid, item.what, error)
            self._written([item], [result])

    def _written(self, batch: list[Item], results: list[str | None]) -> None:
        for item, ignored in zip(batch, results, strict=True):
            self._forget(0)
            if ignored:
                self._tell_ignored(item, ignored)
        self._in_hand -= len(batch)
        if not self._waiting:
            self._wanted.clear()
        if self.trouble:
            self.trouble = ""
            _log.warning("records: written again, %d waiting, %d lost so far", self.backlog, self.dropped)
        progress, self._progress = self._progress, Event()
        progress.set()

    def _drop(self) -> bool:
        """Throw away the oldest of what matters less, or else the oldest."""
        if len(self._waiting) <= self._in_hand:
            return False
        younger = islice(enumerate(self._waiting), self._in_hand, None)
        self._forget(next((place for place, (_, item) in younger if not item.is_kept), self._in_hand))
        if not self.dropped:
            _log.error("records: no room for more, the oldest are thrown away")
        self.dropped += 1
        return True

    def _forget(self, place: int) -> None:
        self._bytes -= self._waiting[place][1].size
        del self._waiting[place]

    def _alarm(self, reason: str) -> None:
        if not self.trouble:
            _log.error("records: cannot be written, %d waiting: %s", self.backlog, reason)
        self.trouble = reason

    def _tell_ignored(self, item: Item, why: str) -> None:
        if item.call_sid in self._said:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said.add(item.call_sid)
        _log.warning("%s: %s not written: %s", item.call_sid, item.what, why)
