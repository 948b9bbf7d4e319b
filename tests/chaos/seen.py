"""What rows look at over and over: how fast a backlog is sent, and whether words were said once, twice or never."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import pairwise

import gevent

from voice.core.audio import FRAME_MS
from voice.sandbox.openai_session import Session
from voice.sandbox.phone import Phone

_WINDOW_S = 0.4
_LOOK_S = 0.02


@dataclass
class Pace:
    """The caller's audio as it arrives at the transcriber, in all sessions together, and as the phone sends it."""

    sessions: list[Session]
    phone: Phone
    # When, how much had arrived, how much had been sent; the latter two in seconds of audio.
    _samples: list[tuple[float, float, float]] = field(default_factory=list)

    def watch(self) -> None:
        while True:
            arrived_s = sum(session.audio_ms for session in self.sessions) / 1000
            self._samples.append((time.monotonic(), arrived_s, self.phone.sent_frames * FRAME_MS / 1000))
            gevent.sleep(_LOOK_S)

    @property
    def fastest(self) -> float:
        """Times real time, over 0.4 s. A phone that was held up makes up for it: then its own time is what counts.
        And what is read after one look may have come since the look before it, when nobody had time to read."""
        found = [0.0]
        for (before, _, _), (at, arrived, sent) in pairwise(self._samples):
            later = next((sample for sample in self._samples if sample[0] >= at + _WINDOW_S), None)
            if later and arrived:
                found.append((later[1] - arrived) / max(later[0] - before - _LOOK_S, later[2] - sent))
        return max(found)


@contextmanager
def pace(sessions: list[Session], phone: Phone) -> Iterator[Pace]:
    watched = Pace(sessions, phone)
    watcher = gevent.spawn(watched.watch)
    yield watched
    watcher.kill()


@dataclass(frozen=True)
class Words:
    missing: int
    twice: int


def compared(heard: str, meant: str) -> Words:
    """Words that were meant and not heard, and those that were heard beyond what was meant."""
    was, should = heard.casefold().split(), meant.casefold().split()
    same = sum(block.size for block in SequenceMatcher(None, was, should, autojunk=False).get_matching_blocks())
    return Words(len(should) - same, len(was) - same)
