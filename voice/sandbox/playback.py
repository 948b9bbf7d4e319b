"""What Twilio plays to the caller: received audio in real time, marks, clear. No clock of its own, no sockets.

Time is a position: samples since the call began, 8 a millisecond, so that pieces that follow each other join exactly.
"""

from collections import deque
from dataclasses import dataclass, field

from voice.core.audio import BYTES_PER_MS, SAMPLE_RATE


@dataclass(eq=False, repr=False)
class _Piece:
    start: int
    audio: bytes


@dataclass(eq=False, repr=False)
class Playback:
    began: float
    """`time.monotonic()` of position 0."""
    # Stretches of agent audio without a pause in them, as played or going to be: [start, end].
    spans: list[list[int]] = field(default_factory=list)
    # The position at which everything received so far will have been played.
    end: int = 0
    _played: list[tuple[int, bytes]] = field(default_factory=list)
    _pieces: deque[_Piece] = field(default_factory=deque)
    _marks: deque[tuple[int, str]] = field(default_factory=deque)

    def position(self, now: float) -> int:
        return int((now - self.began) * SAMPLE_RATE)

    def add(self, audio: bytes, now: float) -> None:
        start = max(self.end, self.position(now))
        if self.spans and start == self.spans[-1][1]:
            self.spans[-1][1] += len(audio)
        else:
            self.spans.append([start, start + len(audio)])
        self._pieces.append(_Piece(start, audio))
        self.end = start + len(audio)

    def mark(self, name: str) -> None:
        """Due when all audio before it has been played: at once when nothing is buffered."""
        self._marks.append((self.end, name))

    def due_marks(self, now: float) -> list[str]:
        """Take the marks that are to be echoed now, in the order they came."""
        if not self._marks:
            return []
        due, position = [], self.position(now)
        while self._marks and self._marks[0][0] <= position:
            due.append(self._marks.popleft()[1])
        return due

    def clear(self, now: float) -> list[str]:
        """Drop what has not been played. Returns the names of all marks, which are due now."""
        self._play_to(position := self.position(now))
        self._pieces.clear()
        if self.end > position:
            self.end = position
            self._trim_spans(position)
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def take_played(self, now: float) -> list[tuple[int, bytes]]:
        """What was played since the last time it was asked: (position, audio), in order."""
        self._play_to(self.position(now))
        played, self._played = self._played, []
        return played

    def silent_ms(self, now: float) -> float:
        """For how long nothing has been playing; 0 while something is."""
        return max(0, self.position(now) - self.end) / BYTES_PER_MS

    def _play_to(self, position: int) -> None:
        while self._pieces and self._pieces[0].start < position:
            piece = self._pieces.popleft()
            heard = piece.audio[: position - piece.start]
            self._played.append((piece.start, heard))
            if len(heard) < len(piece.audio):
                self._pieces.appendleft(_Piece(position, piece.audio[len(heard) :]))

    def _trim_spans(self, position: int) -> None:
        while self.spans and self.spans[-1][0] >= position:
            self.spans.pop()
        if self.spans:
            self.spans[-1][1] = min(self.spans[-1][1], position)
