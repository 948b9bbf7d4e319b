"""When the caller starts and stops speaking, from the loudness of each frame against the line's own noise."""

import math
from enum import Enum, auto

from voice.core.audio import FRAME_BYTES, FRAME_MS, loudness

_ONSET_FRAMES = 4
"""So many loud frames of the last five are speech: 80 ms, long enough to let a click pass."""
_ABOVE_NOISE_DB = 12.0
_QUIETEST_SPEECH_DB = 38.0
"""Level of an rms of 80, -52 dB below full scale: quieter than any telephone speech."""
_LOWEST_FLOOR_DB = _QUIETEST_SPEECH_DB - _ABOVE_NOISE_DB
"""A floor below this changes no decision; it would only have further to rise when the line becomes noisy."""
_HIGHEST_START_DB = 50.0
"""The floor begins at the level of the first frame, but no higher: a caller may be speaking already."""
_RISE_DB = 0.04
"""A frame; the noise floor follows a louder line by 2 dB a second and a quieter one at once."""
_RISE_IN_SPEECH_DB = 0.008
"""The same during speech: a minute of it without a pause must not pass for noise."""
_STEADY_FRAMES = 50
_STEADY_DB = 4.0
"""What stays within so little for a second is the line, a fan or a tone, and no voice."""


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
        # Set by the first frame.
        self._floor_db: float | None = None
        # The quietest and the loudest frame of the last second's sound, and how many frames of it there were.
        self._low_db, self._high_db, self._second = math.inf, 0.0, 0
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
        loud = level > self._follow(level) + _ABOVE_NOISE_DB
        self._recent = (self._recent << 1 | loud) & 0b11111
        if self._speaking:
            return self._still_speaking(loud)
        if self._recent.bit_count() >= _ONSET_FRAMES:
            self._speaking, self._quiet_ms = True, 0
            return Speech.STARTED
        return None

    def _follow(self, level: float) -> float:
        """The noise floor before this frame; it moves with the frame."""
        floor = min(level, _HIGHEST_START_DB) if self._floor_db is None else self._floor_db
        floor = max(floor, _LOWEST_FLOOR_DB)
        risen = floor + (_RISE_IN_SPEECH_DB if self._speaking else _RISE_DB)
        self._floor_db = min(level, risen)
        self._low_db, self._high_db = min(self._low_db, level), max(self._high_db, level)
        self._second += 1
        if self._second == _STEADY_FRAMES:
            if self._high_db - self._low_db < _STEADY_DB:
                self._floor_db = self._low_db
            self._low_db, self._high_db, self._second = math.inf, 0.0, 0
        return floor

    def _still_speaking(self, loud: bool) -> Speech | None:
        self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
        if self._quiet_ms < self.silence_ms:
            return None
        self._speaking, self._recent = False, 0
        return Speech.STOPPED
