"""What the caller says: audio waiting to be sent, one 20 ms frame at a time. The pacer's greenlet takes the frames."""

from collections import deque
from dataclasses import dataclass, field

from gevent.event import Event

from voice.core.audio import FRAME_BYTES, SILENCE
from voice.sandbox.journal import Journal

SILENT_FRAME = SILENCE * FRAME_BYTES


@dataclass(eq=False, repr=False)
class Utterance:
    audio: bytes
    words: str
    """What it says, for the journal; empty for other sound."""
    over: Event = field(default_factory=Event)
    """Set when the last frame was sent, or when the call ended before that."""
    place: int = 0
    """Bytes sent."""


@dataclass(eq=False, repr=False)
class Mouth:
    journal: Journal
    _queue: deque[Utterance] = field(default_factory=deque)
    _shut: bool = False

    def say(self, audio: bytes, words: str) -> Utterance:
        """Queue it; the last frame is filled up with silence. Nothing is said once the call is over."""
        utterance = Utterance(audio, words)
        if self._shut or not audio:
            utterance.over.set()
        else:
            self._queue.append(utterance)
        return utterance

    def frame(self) -> bytes:
        """The next 160 bytes. What is queued waits while the call has no stream, as a caller does who hears nothing."""
        if not self._queue:
            return SILENT_FRAME
        utterance = self._queue[0]
        if utterance.place == 0:
            self.journal.add("sent", "utterance-began", utterance.words)
        frame = utterance.audio[utterance.place : utterance.place + FRAME_BYTES]
        utterance.place += len(frame)
        if utterance.place == len(utterance.audio):
            self._queue.popleft()
            self.journal.add("sent", "utterance-ended", utterance.words)
            utterance.over.set()
        return frame if len(frame) == FRAME_BYTES else frame.ljust(FRAME_BYTES, SILENCE)

    def hush(self) -> None:
        """Break off, and forget what is queued."""
        while self._queue:
            self._queue.popleft().over.set()

    def shut(self) -> None:
        self._shut = True
        self.hush()
