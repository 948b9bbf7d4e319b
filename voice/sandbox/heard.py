"""The words a caller heard, read out of the audio that was really played. Pure; fed by whoever asks for the words."""

from dataclasses import dataclass, field, replace

from voice.core.audio import BYTES_PER_MS, FRAME_BYTES, FRAME_MS
from voice.sandbox.coded_speech import OVERLAP, CodedFrame, frames


@dataclass(frozen=True)
class Heard:
    """One utterance of the agent, as far as it was heard."""

    text: str
    tag: int
    start_ms: float
    """Since the call began, like `end_ms`."""
    end_ms: float
    complete: bool
    """Every frame from the first to the last, in order."""


@dataclass
class Hearing:
    utterances: list[Heard] = field(default_factory=list)
    # Played bytes that may be the beginning of a frame whose rest comes later, and where they were played.
    _rest: bytes = b""
    _rest_at: int = 0
    _next_index: int = 0
    _whole: bool = True

    def feed(self, position: int, audio: bytes) -> None:
        """Hear `audio`, played at `position` (samples since the call began). A pause within a frame breaks nothing."""
        rest, both = self._rest, self._rest + audio
        read_to = 0
        for frame in frames(both):
            at = frame.offset - len(rest)
            self._hear(frame, self._rest_at + frame.offset if at < 0 else position + at)
            read_to = frame.offset + FRAME_BYTES - OVERLAP
        keep = max(read_to, len(both) - FRAME_BYTES + 1)
        self._rest_at = self._rest_at + keep if keep < len(rest) else position + keep - len(rest)
        self._rest = both[keep:]

    def _hear(self, frame: CodedFrame, position: int) -> None:
        start_ms = position / BYTES_PER_MS
        current = self.utterances[-1] if self.utterances else None
        goes_on = current and not current.complete and current.tag == frame.tag and frame.index >= self._next_index > 0
        if current is None or not goes_on:
            current = Heard("", frame.tag, start_ms, start_ms, False)
            self.utterances.append(current)
            self._whole = frame.index == 0
        elif frame.index != self._next_index:
            self._whole = False
        self.utterances[-1] = replace(
            current,
            text=current.text + frame.text,
            end_ms=start_ms + FRAME_MS,
            complete=frame.last and self._whole,
        )
        self._next_index = 0 if frame.last else frame.index + 1
