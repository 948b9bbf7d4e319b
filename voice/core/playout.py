"""One turn's audio: what waits, what was handed over to the caller's side, and what of it has been heard.

Handed over is not heard: Twilio keeps what it is sent and plays it in real time. A mark sent behind each piece
comes back when the piece has been played; between two marks the clock says how far playing has come.
Positions are milliseconds from the turn's first sound; times are seconds since the call's start.
"""

from collections import deque

from voice.core.audio import Audio, cut, split
from voice.core.events import Alignment

AHEAD_MS = 2000
"""Handed over and not yet heard, at the most: a barge-in then finds little to clear, a slow line little to pile up."""
_REFILL_MS = 1000
MARK_GRACE_S = 2.0
"""A mark that is later than this is not waited for: time alone says what was heard."""


class Playout:
    def __init__(self) -> None:
        self._waiting: deque[Audio] = deque()
        self._waiting_ms = 0.0
        # Pieces handed over that may not have been heard to their end, each with that end.
        self._sent: deque[tuple[Audio, float]] = deque()
        # End of each piece handed over whose mark has not come back.
        self._marks: deque[int] = deque()
        self._sent_ms = 0.0
        # Up to _anchor_ms was heard at the time _anchor; playing goes on from there.
        self._anchor_ms = 0.0
        self._anchor = 0.0
        self._marks_come = True
        # Every character with the position at which its sound ends.
        self._letters: list[tuple[str, float]] = []

    # Filling

    def add(self, audio: Audio, alignment: Alignment) -> None:
        start = self.total_ms
        for char, begin, lasting in zip(alignment.chars, alignment.starts_ms, alignment.durations_ms, strict=False):
            self._letters.append((char, start + begin + lasting))
        self._waiting.extend(split(audio))
        self._waiting_ms += audio.ms

    def take(self, now: float) -> list[tuple[Audio, int]]:
        """The pieces to hand over now, each with its end as the position of its mark."""
        taken = []
        if not self._marks_come:
            # Whatever the clock has played is over, or what is handed over now would count as heard at once.
            self.assume_heard(now)
        while self._waiting and self._ahead_ms(now) < AHEAD_MS:
            if not self._marks:
                self._anchor, self._anchor_ms = now, self._sent_ms
            piece = self._waiting.popleft()
            self._waiting_ms -= piece.ms
            self._sent_ms += piece.ms
            self._sent.append((piece, self._sent_ms))
            self._marks.append(int(self._sent_ms))
            taken.append((piece, int(self._sent_ms)))
        return taken

    # Hearing

    def mark_returned(self, position_ms: int, now: float) -> None:
        if position_ms not in self._marks:
            return
        # A mark that was no longer waited for may be behind the clock: what was heard stays heard.
        self._anchor, self._anchor_ms = now, max(self.heard_ms(now), float(position_ms))
        while self._marks and self._marks[0] <= position_ms:
            self._marks.popleft()
        while self._sent and self._sent[0][1] < position_ms + 1:
            self._sent.popleft()

    def assume_heard(self, now: float) -> None:
        """The marks do not come: believe the clock from now on."""
        self._marks_come = False
        heard = self.heard_ms(now)
        self._anchor, self._anchor_ms = now, heard
        # A hair's breadth early: a mark that is due now must not be due for ever by rounding.
        while self._marks and self._marks[0] <= heard + 1:
            self._marks.popleft()

    def heard_ms(self, now: float) -> float:
        played = self._anchor_ms + max(0.0, now - self._anchor) * 1000
        end = self._marks[0] if self._marks and self._marks_come else self._sent_ms
        return min(played, end)

    def heard_text(self, now: float, said: str) -> str:
        """The whole words heard so far. `said` is the turn's text, for a synthesizer that gave no alignment."""
        text = "".join(char for char, _ in self._letters) if self._letters else said
        return _whole_words(text, self.heard_letters(now, said))

    def heard_letters(self, now: float, said: str) -> int:
        """How many characters of the text have been heard."""
        # Positions are rounded down, audio is cut at multiples of 3 bytes.
        heard = self.heard_ms(now) + 0.5
        if not self._letters:
            return int(len(said) * heard / self.total_ms) if self.total_ms else 0
        return sum(1 for _, end in self._letters if end <= heard)

    def rewind(self, now: float) -> None:
        """What was handed over has been cleared: all that was not heard waits again, from the very place on."""
        heard = self.heard_ms(now)
        unheard = []
        for piece, end in self._sent:
            if end > heard + 1:
                unheard.append(cut(piece, max(0.0, heard - (end - piece.ms))))
        self._sent.clear()
        self._marks.clear()
        self._waiting.extendleft(reversed(unheard))
        self._waiting_ms += sum(piece.ms for piece in unheard)
        self._sent_ms -= sum(piece.ms for piece in unheard)
        self._anchor, self._anchor_ms = now, self._sent_ms

    # What to wait for

    @property
    def total_ms(self) -> float:
        return self._sent_ms + self._waiting_ms

    @property
    def started(self) -> bool:
        """Something was handed over."""
        return self._sent_ms > 0

    def left_ms(self, now: float) -> float:
        """How much of what has come in is still to be heard."""
        return self.total_ms - self.heard_ms(now)

    @property
    def over(self) -> bool:
        """All that came in has been heard."""
        return not self._waiting and not self._marks

    @property
    def refill_at(self) -> float | None:
        """When to take more; None when nothing waits."""
        if not self._waiting:
            return None
        ahead = self._sent_ms - self._anchor_ms
        return self._anchor + max(0.0, ahead - _REFILL_MS) / 1000

    @property
    def overdue_at(self) -> float | None:
        """When the next mark is not to be waited for any longer; None when none is out."""
        if not self._marks:
            return None
        grace = MARK_GRACE_S if self._marks_come else 0.0
        return self._anchor + (self._marks[0] - self._anchor_ms) / 1000 + grace

    def letters_spoken(self) -> int:
        """Characters for which audio has arrived."""
        return len(self._letters)

    def _ahead_ms(self, now: float) -> float:
        return self._sent_ms - self.heard_ms(now)


def _whole_words(text: str, letters: int) -> str:
    """The first `letters` characters of `text`, without a word that was cut in two."""
    heard, rest = text[:letters], text[letters:]
    if rest and not rest[0].isspace() and heard and not heard[-1].isspace():
        heard = heard[: -len(heard.split()[-1])]
    return " ".join(heard.split())
