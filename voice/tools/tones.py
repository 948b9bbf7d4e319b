"""Telephone keys as sound (DTMF, ITU-T Q.23 and Q.24), for a machine at the other end."""

import base64
import math
from array import array
from functools import cache

from voice.core.audio import SAMPLE_RATE, SILENCE, Audio, encode

TONE_MS = 100
GAP_MS = 80
PAUSE_MS = 500
PAUSE = "w"

_LOW = (697, 770, 852, 941)
_HIGH = (1209, 1336, 1477, 1633)
_KEYS = ("123A", "456B", "789C", "*0#D")
FREQUENCIES = {key: (_LOW[row], _HIGH[column]) for row, keys in enumerate(_KEYS) for column, key in enumerate(keys)}
"""Hertz of the two tones of each key."""

# -8 and -6 dBm0, the higher one louder because lines weaken it; mu-law is full at +3.17 dBm0.
_LOW_PEAK = 32124 * 10 ** ((-8 - 3.17) / 20)
_HIGH_PEAK = 32124 * 10 ** ((-6 - 3.17) / 20)


def tones(digits: str) -> Audio:
    """The sound of `digits`, each key with the gap behind it. Raises KeyError for what is neither a key nor a pause."""
    mulaw = b"".join(_silence(PAUSE_MS) if digit == PAUSE else _tone(digit) + _silence(GAP_MS) for digit in digits)
    return Audio(len(mulaw), base64.b64encode(mulaw).decode())


@cache
def _tone(key: str) -> bytes:
    low, high = (2 * math.pi * frequency / SAMPLE_RATE for frequency in FREQUENCIES[key])
    count = TONE_MS * SAMPLE_RATE // 1000
    samples = (_LOW_PEAK * math.sin(low * n) + _HIGH_PEAK * math.sin(high * n) for n in range(count))
    return encode(array("h", map(round, samples)).tobytes())


def _silence(ms: int) -> bytes:
    return SILENCE * (ms * SAMPLE_RATE // 1000)
