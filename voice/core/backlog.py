"""The caller's audio that the transcriber has not understood yet, cut into utterances: what a new session has to hear.

heard, transcript came │ ended, transcript awaited │ ended … │ the one that is spoken now, or silence
       (forgotten)     │◀──────────────── kept, 15 s at most ───────────────▶│
"""

from collections import deque
from dataclasses import dataclass, field

from voice.core.audio import BYTES_PER_MS

PACE = 2.5
"""A new session hears it so many times faster than real time: with what comes in bursts that is never more than three
times. From four times on the service drops audio without a word."""
_KEPT_BYTES = 15_000 * BYTES_PER_MS
_LEAD_BYTES = 1_000 * BYTES_PER_MS
"""Of silence so much is kept: speech is noticed a moment after it has begun."""


@dataclass
class _Stretch:
    frames: deque[bytes] = field(default_factory=deque)
    bytes: int = 0
    speech: bool = False
    ended: bool = False
    item: str | None = None
    """The transcriber's name for it, once known."""


class Backlog:
    def __init__(self, knows_speech: bool) -> None:
        """`knows_speech`: `speech` and `end` are told as it happens; otherwise only the transcriber tells silence from
        speech, later."""
        self._knows_speech = knows_speech
        self._ended: deque[_Stretch] = deque()
        self._last = _Stretch()
        self._bytes = 0
        self.lost_bytes = 0
        """Of speech, or of what may be speech, that was let go because there was too much."""

    def add(self, frame: bytes, sent: bool) -> None:
        """The caller's next audio; whether a session hears it at once."""
        last = self._last
        last.frames.append(frame)
        last.bytes += len(frame)
        self._bytes += len(frame)
        if not last.speech and last.bytes > _LEAD_BYTES and (self._knows_speech or sent):
            self._forget_first(last)
        while self._bytes > _KEPT_BYTES:
            # Two names in a row leave an utterance without a frame.
            while self._ended and not self._ended[0].frames:
                self._ended.popleft()
            lost = self._forget_first(self._ended[0] if self._ended else last)
            self.lost_bytes += 0 if sent else lost
            if self._ended and not self._ended[0].frames:
                self._ended.popleft()

    def _forget_first(self, stretch: _Stretch) -> int:
        size = len(stretch.frames.popleft())
        stretch.bytes -= size
        self._bytes -= size
        return size

    def speech(self) -> None:
        """What comes now is speech."""
        self._last.speech = True

    def end(self) -> None:
        """What has come so far is one utterance; the transcriber is told."""
        self._last.ended = True
        self._ended.append(self._last)
        self._last = _Stretch()

    def named(self, item: str) -> None:
        """The transcriber calls the oldest utterance that has no name so; one that it has ended itself ends here."""
        if all(stretch.item is not None for stretch in self._ended) and not self._knows_speech:
            self.end()
        stretch = next((stretch for stretch in self._ended if stretch.item is None), None)
        if stretch:
            stretch.item = item

    def understood(self, item: str) -> None:
        """There is a transcript, or there will be none. Without a name: of the oldest that has none."""
        wanted = item or None
        stretch = next((stretch for stretch in self._ended if stretch.item == wanted), None)
        if stretch:
            self._ended.remove(stretch)
            self._bytes -= stretch.bytes

    @property
    def quiet(self) -> bool:
        """Nobody speaks, and no transcript is awaited."""
        return not self._ended and not self._last.speech

    def again(self) -> list[bytes | None]:
        """All of it for a session that has heard nothing: frames, and None where an utterance ends."""
        pieces: list[bytes | None] = []
        for stretch in self._ended:
            stretch.item = None
            pieces += stretch.frames
            if self._knows_speech:
                pieces.append(None)
        return pieces + list(self._last.frames)

    def utterances(self) -> int:
        """How many utterances have ended and are not understood; of a transcriber that finds them itself none."""
        return len(self._ended) if self._knows_speech else 0

    @property
    def seconds(self) -> float:
        return self._bytes / BYTES_PER_MS / 1000
