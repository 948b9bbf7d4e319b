"""What happened on one simulated call, in order, and waiting for it. Any greenlet writes; any greenlet waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gevent.event import Event


class Entry(NamedTuple):
    at: float
    """`time.monotonic()` of it."""
    direction: str
    """`received` from the server, `sent` to it, or `call` (neither)."""
    kind: str
    detail: object


class Notice(NamedTuple):
    """One line of Twilio's debugger; codes are those of Twilio's error dictionary."""

    code: int
    text: str


class PhoneTimeout(TimeoutError):
    """What was waited for did not happen; the text tells the last things that did."""


@dataclass(eq=False, repr=False)
class Journal:
    # No audio: a message of audio is its number of bytes. Frames of the caller's audio are not listed.
    entries: list[Entry] = field(default_factory=list)
    # What the server did wrong that Twilio forgives (a malformed message), and what it does not (a refused socket).
    warnings: list[Notice] = field(default_factory=list)
    errors: list[Notice] = field(default_factory=list)
    closed: bool = False
    _waiting: list[Event] = field(default_factory=list)

    def add(self, direction: str, kind: str, detail: object = "") -> None:
        self.entries.append(Entry(time.monotonic(), direction, kind, detail))
        self.nudge()

    def warn(self, code: int, text: str) -> None:
        self.warnings.append(Notice(code, text))
        self.add("call", "warning", f"{code} {text}")

    def fault(self, code: int, text: str) -> None:
        self.errors.append(Notice(code, text))
        self.add("call", "error", f"{code} {text}")

    def close(self) -> None:
        """Nothing happens any more: who waits is told."""
        self.closed = True
        self.nudge()

    def nudge(self) -> None:
        """Something may have changed: let who waits look again."""
        for event in self._waiting:
            event.set()

    def all(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]

    def wait_for(self, happened: Callable[[], bool], timeout: float, what: str) -> None:
        """Return as soon as `happened()`. Raises PhoneTimeout after `timeout` seconds or when the call is over."""
        deadline = time.monotonic() + timeout
        event = Event()
        self._waiting.append(event)
        try:
            while not happened():
                if self.closed or not event.wait(max(0.0, deadline - time.monotonic())):
                    if happened():
                        return
                    raise PhoneTimeout(self.story(what, timeout))
                event.clear()
        finally:
            self._waiting.remove(event)

    def story(self, what: str, timeout: float) -> str:
        """What is told of a wait in vain."""
        why = "and the call is over" if self.closed else f"within {timeout} s"
        first = self.entries[0].at if self.entries else 0.0
        lines = [f"  {e.at - first:8.3f} s  {e.direction:8} {e.kind} {e.detail}" for e in self.entries[-25:]]
        return "\n".join([f"not {what} {why}; the last of what happened:", *lines])
