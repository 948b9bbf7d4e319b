"""When the caller starts and stops speaking, from the loudness of each frame against the line's own noise."""

import math
from enum import Enum, auto

from voice.core.audio import FRAME_BYTES, FRAME_MS, loudness

_ONSET_FRAMES = 4
"""So many loud frames of the last five are speech: 80 ms, long enough to let a click pass."""
_ABOVE_NOISE_DB = 12.0
_QUIETEST_SPEECH_DB = 38.0
"""Level of an rms of 80, -52 dB below full scale: quieter than any telephone speech."""
_FLOOR_RISE_DB = 0.04
"""A frame; the noise floor follows a louder line by 2 dB a second and a quieter one at once."""


class Speech(Enum):
    STARTED = auto()
    STOPPED = auto()


class Endpointing:
    """One per call, fed by the greenlet that reads the caller. Time is counted in audio, never taken from a clock."""

    def __init__(self, silence_ms: int) -> None:
        self.silence_ms = silence_ms
        self._speaking = False
        self._quiet_ms = 0
        # The last five frames, one bit each: loud or not.
        self._recent = 0
        self._floor_db = 30.0
        self._rest = b""

    def feed(self, mulaw: bytes) -> Speech | None:
        """The next stretch of audio of any length; the last change in it, if there was one."""
        if self._rest or len(mulaw) != FRAME_BYTES:
            mulaw = self._rest + mulaw
            whole = len(mulaw) - len(mulaw) % FRAME_BYTES
            self._rest = mulaw[whole:]
            changes = [self._frame(mulaw[i : i + FRAME_BYTES]) for i in range(0, whole, FRAME_BYTES)]
            return next((change for change in reversed(changes) if change), None)
        return self._frame(mulaw)

    def _frame(self, frame: bytes) -> Speech | None:
        level = 20 * math.log10(loudness(frame) + 1)
        loud = level > max(_QUIETEST_SPEECH_DB, self._floor_db + _ABOVE_NOISE_DB)
        self._floor_db = min(level, self._floor_db + _FLOOR_RISE_DB) if level > 1 else self._floor_db
        self._recent = (self._recent << 1 | loud) & 0b11111
        if self._speaking:
            return self._still_speaking(loud)
        if self._recent.bit_count() >= _ONSET_FRAMES:
            self._speaking, self._quiet_ms = True, 0
            return Speech.STARTED
        return None

    def _still_speaking(self, loud: bool) -> Speech | None:
        self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
        if self._quiet_ms < self.silence_ms:
            return None
        self._speaking, self._recent = False, 0
        return Speech.STOPPED
