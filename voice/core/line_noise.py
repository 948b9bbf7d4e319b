"""How loud the line is when nobody speaks: the quietest moment of the last three seconds."""

import math
from collections import deque

_SMOOTHING = 0.1
"""A frame's weight: one quiet frame, or a lost packet, is not yet the line."""
_RISE_DB = 0.008
"""A frame, while a voice is heard: music that never pauses is the line in the end, a minute of speech is not."""
_BLOCK_FRAMES = 25
_BLOCKS = 6
"""The quietest moments of so many blocks of half a second are kept; speech pauses, or takes breath, within them."""
_HIGHEST_START_DB = 50.0
"""The first frame may be speech already: it is not taken for noise louder than this."""
_STEADY_FRAMES = 50
_STEADY_DB = 4.0
"""What stays within so little for a second is the line, a fan or a tone, and no voice."""


class LineNoise:
    """One per call; levels are in dB above one step of a 16-bit sample, so that full scale is 90."""

    def __init__(self) -> None:
        # Unknown before the first frame.
        self._smooth: float | None = None
        self._quietest = math.inf
        self._blocks: deque[float] = deque(maxlen=_BLOCKS)
        self._quietest_block = math.inf
        self._frames = 0
        # The quietest and the loudest frame of the second that is going on.
        self._low, self._high, self._second = math.inf, 0.0, 0

    @property
    def level(self) -> float:
        """Infinite before the first frame."""
        return self._quietest if self._quietest < self._quietest_block else self._quietest_block

    def follow(self, level: float, voiced: bool) -> None:
        """One frame. A voice's own loudness tells nothing of the line, however long it speaks without a pause."""
        if self._smooth is None:
            self._smooth = min(level, _HIGHEST_START_DB)
        elif voiced:
            self._smooth = min(level, self._smooth + _RISE_DB)
        else:
            self._smooth += _SMOOTHING * (level - self._smooth)
        if self._smooth < self._quietest:
            self._quietest = self._smooth
        self._frames += 1
        if self._frames == _BLOCK_FRAMES:
            self._blocks.append(self._quietest)
            self._quietest_block = min(self._blocks)
            self._quietest, self._frames = self._smooth, 0
        self._notice_steadiness(level)

    def _notice_steadiness(self, level: float) -> None:
        if level < self._low:
            self._low = level
        if level > self._high:
            self._high = level
        self._second += 1
        if self._second < _STEADY_FRAMES:
            return
        if self._high - self._low < _STEADY_DB:
            self._smooth = self._quietest = self._low
            self._blocks.clear()
            self._quietest_block = math.inf
        self._low, self._high, self._second = math.inf, 0.0, 0
