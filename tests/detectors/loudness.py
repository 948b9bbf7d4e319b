"""Adaptive loudness alone: what is 12 dB above a noise floor that rises slowly. The server's detector until 2026-11."""

import math

from voice.core.audio import FRAME_MS, loudness

_ABOVE_NOISE_DB = 12.0
_QUIETEST_SPEECH_DB = 38.0
_HIGHEST_START_DB = 50.0
_RISE_DB, _RISE_IN_SPEECH_DB = 0.04, 0.008
_STEADY_FRAMES = 1000 // FRAME_MS
_STEADY_DB = 4.0


class Loudness:
    """A judge: is this frame loud against the line?"""

    def __init__(self) -> None:
        self._floor: float | None = None
        self._low, self._high, self._second = math.inf, 0.0, 0
        self._quiet_frames = _STEADY_FRAMES

    def __call__(self, frame: bytes) -> bool:
        level = 20 * math.log10(loudness(frame) + 1)
        floor = min(level, _HIGHEST_START_DB) if self._floor is None else self._floor
        floor = max(floor, _QUIETEST_SPEECH_DB - _ABOVE_NOISE_DB)
        in_speech = self._quiet_frames * FRAME_MS < 500
        self._floor = min(level, floor + (_RISE_IN_SPEECH_DB if in_speech else _RISE_DB))
        self._notice_steadiness(level)
        loud = level > floor + _ABOVE_NOISE_DB
        self._quiet_frames = 0 if loud else self._quiet_frames + 1
        return loud

    def _notice_steadiness(self, level: float) -> None:
        self._low, self._high = min(self._low, level), max(self._high, level)
        self._second += 1
        if self._second == _STEADY_FRAMES:
            if self._high - self._low < _STEADY_DB:
                self._floor = self._low
            self._low, self._high, self._second = math.inf, 0.0, 0
