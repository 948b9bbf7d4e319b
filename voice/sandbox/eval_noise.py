"""Sounds of a caller's surroundings that are no words, as mu-law audio; the same in every run."""

import math
from array import array
from collections.abc import Callable
from random import Random

from voice.core.audio import FRAME_BYTES, SAMPLE_RATE, SILENCE, encode

NOISES = ("cough", "door", "keyboard", "hum", "babble")


def noise(name: str, seconds: float) -> bytes:
    """Whole frames of mu-law. Raises KeyError for a name that is not in NOISES."""
    sample = _SAMPLES[name](Random(name))
    samples = array("h")
    for place in range(int(seconds * SAMPLE_RATE)):
        value = sample(place / SAMPLE_RATE, seconds)
        samples.append(max(-32767, min(32767, int(value))))
    audio = encode(samples.tobytes())
    return audio + SILENCE * (-len(audio) % FRAME_BYTES)


_Sample = Callable[[float, float], float]
"""A sample, -32767..32767, of the moment and of the whole length, both in seconds."""


def _cough(random: Random) -> _Sample:
    """Two puffs of rough air, the second weaker."""

    def sample(t: float, seconds: float) -> float:
        half = seconds * 0.55
        since, strength = (t, 1.0) if t < half else (t - half, 0.5)
        rise, fall = min(1.0, since / 0.015), math.exp(-since / (seconds * 0.2))
        rough = 0.7 + 0.3 * math.sin(2 * math.pi * 90 * t)
        return random.gauss(0, 6000) * strength * rise * fall * rough

    return sample


def _door(random: Random) -> _Sample:
    """A bang, and the room behind it."""

    def sample(t: float, seconds: float) -> float:
        bang = 16000 * math.exp(-t / 0.05) * (math.sin(2 * math.pi * 95 * t) + random.gauss(0, 0.5))
        return bang + random.gauss(0, 1500) * math.exp(-t / (seconds * 0.2))

    return sample


def _keyboard(random: Random) -> _Sample:
    """Eight keys a second, a click of a few milliseconds each."""

    def sample(t: float, _: float) -> float:
        return random.gauss(0, 5000) * math.exp(-(t % 0.125) / 0.004) + random.gauss(0, 20)

    return sample


def _hum(random: Random) -> _Sample:
    """A fan or the mains: steady, -33 dB below full scale."""

    def sample(t: float, _: float) -> float:
        return 900 * math.sin(2 * math.pi * 100 * t) + 400 * math.sin(2 * math.pi * 200 * t) + random.gauss(0, 60)

    return sample


def _babble(random: Random) -> _Sample:
    """Five people talking at the other end of the room: voices, and no word to be made out, -40 dB below full scale."""
    voices = [(random.uniform(90, 230), random.uniform(2.5, 5.0), random.uniform(0, 6.3)) for _ in range(5)]

    def sample(t: float, _: float) -> float:
        total = 0.0
        for pitch, syllables, phase in voices:
            swell = max(0.0, math.sin(2 * math.pi * syllables * t + phase))
            total += swell * sum(math.sin(2 * math.pi * pitch * k * t) / k for k in (1, 2, 3, 5, 8))
        return 130 * total

    return sample


_SAMPLES: dict[str, Callable[[Random], _Sample]] = {
    "cough": _cough,
    "door": _door,
    "keyboard": _keyboard,
    "hum": _hum,
    "babble": _babble,
}
