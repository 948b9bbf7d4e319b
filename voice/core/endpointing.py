"""When the caller starts and stops speaking: what is louder than the line and repeats itself as a voice does.

Loudness alone takes a slammed door for speech, and pitch alone every hum; tests/README.md compares with others.
"""

import math
from collections import deque
from enum import Enum, auto

from voice.core.audio import FRAME_BYTES, FRAME_MS, SILENCE, loudness
from voice.core.line_noise import LineNoise
from voice.core.voicing import WINDOW_BYTES, voicing

_ABOVE_NOISE_DB = 8.0
_QUIETEST_SPEECH_DB = 42.0
"""Level of an rms of 126, -48 dB below full scale: quieter than telephone speech, louder than a good line's echo."""
_VOICED = 0.45
_CLEARLY_VOICED = 0.65
_ONSET_FRAMES = 5
_ONSET_POINTS = 4
"""Speech is so many points within so many frames: a voiced frame is one, a clear one two. 40 ms of a clear voice do."""
_MOST_POINTS = 2
_FALL_DB = 6.0
_FALL_FRAMES = 4
"""Fallen so far within so many frames, it is a slam that rings out; a voice begins by growing louder."""
_UNVOICED_MS = 200
"""Loud sound this long after a voice is the end of a word: the s of `yes`. After that it is noise."""
_TRUSTED_MS = 40
"""A voice that was heard is taken to go on for so long while it is as loud: to look is most of the cost."""
_BEFORE_BYTES = WINDOW_BYTES - FRAME_BYTES


class Speech(Enum):
    STARTED = auto()
    STOPPED = auto()


class Endpointing:
    """One per call, fed by the greenlet that reads the caller. Time is counted in audio, never taken from a clock."""

    def __init__(self, silence_ms: int) -> None:
        self.silence_ms = silence_ms
        self._noise = LineNoise()
        self.speaking = False
        self._quiet_ms = 0
        self._unvoiced_ms = _UNVOICED_MS
        self._points: deque[int] = deque(maxlen=_ONSET_FRAMES)
        self._levels: deque[float] = deque([0.0], maxlen=_FALL_FRAMES)
        # As much of the past as a look for a voice wants, and behind it what is not a whole frame yet.
        self._audio = SILENCE * _BEFORE_BYTES

    @property
    def undecided_frames(self) -> int:
        """Nothing changes before so many more frames: they may be fed together."""
        if self.speaking:
            return max(1, -(-(self.silence_ms - self._quiet_ms) // FRAME_MS))
        return max(1, -(-(_ONSET_POINTS - sum(self._points)) // _MOST_POINTS))

    def feed(self, mulaw: bytes) -> list[Speech]:
        """The next stretch of audio of any length; what changes in it, in order."""
        audio = self._audio + mulaw
        last = (len(audio) - _BEFORE_BYTES) // FRAME_BYTES * FRAME_BYTES
        found = [self._frame(audio[at : at + WINDOW_BYTES]) for at in range(0, last, FRAME_BYTES)]
        self._audio = audio[last:]
        return [change for change in found if change]

    def _frame(self, window: bytes) -> Speech | None:
        """The last frame of `window`."""
        level = 20 * math.log10(loudness(window[_BEFORE_BYTES:]) + 1)
        loud = level > _QUIETEST_SPEECH_DB and level > self._noise.level + _ABOVE_NOISE_DB
        self._unvoiced_ms += FRAME_MS
        trusted = loud and self.speaking and self._unvoiced_ms <= _TRUSTED_MS
        voice = voicing(window) if loud and not trusted else 0.0
        if voice > _VOICED:
            self._unvoiced_ms = 0
        self._noise.follow(level, trusted or voice > _VOICED)
        falling = loud and level < max(self._levels) - _FALL_DB
        self._levels.append(level)
        if self.speaking:
            return self._still_speaking(loud)
        return self._perhaps_speaking(0.0 if falling else voice)

    def _perhaps_speaking(self, voice: float) -> Speech | None:
        self._points.append((voice > _VOICED) + (voice > _CLEARLY_VOICED))
        if voice <= _VOICED or sum(self._points) < _ONSET_POINTS:
            return None
        self.speaking, self._quiet_ms = True, 0
        return Speech.STARTED

    def _still_speaking(self, loud: bool) -> Speech | None:
        self._quiet_ms = 0 if loud and self._unvoiced_ms <= _UNVOICED_MS else self._quiet_ms + FRAME_MS
        if self._quiet_ms < self.silence_ms:
            return None
        self.speaking = False
        self._points.clear()
        return Speech.STOPPED
