"""The keys' sound, judged by their frequencies as a machine at the other end hears them."""

import base64
import math
import struct

import pytest

from voice.core.audio import SILENCE, decode
from voice.tools.tones import FREQUENCIES, tones

BOTH = sorted({tone for pair in FREQUENCIES.values() for tone in pair})


def power(samples: tuple[int, ...], frequency: int) -> float:
    """Goertzel's algorithm: how much of `frequency` there is."""
    step, before, last = 2 * math.cos(2 * math.pi * frequency / 8000), 0.0, 0.0
    for sample in samples:
        before, last = last, sample + step * last - before
    return before**2 + last**2 - step * before * last


def samples(digits: str) -> tuple[int, ...]:
    pcm = decode(base64.b64decode(tones(digits).payload))
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


@pytest.mark.parametrize("key", FREQUENCIES)
def test_a_key_is_its_two_frequencies_and_no_other(key: str) -> None:
    tone = samples(key)[:800]
    powers = {frequency: power(tone, frequency) for frequency in BOTH}
    low, high = FREQUENCIES[key]
    others = max(value for frequency, value in powers.items() if frequency not in (low, high))
    # Q.24: the higher one may be 4 dB above the lower, the lower 8 dB above the higher.
    assert 0.15 < powers[low] / powers[high] < 2.5
    assert min(powers[low], powers[high]) > 100 * others


def test_the_sixteen_keys_are_those_of_the_standard() -> None:
    assert (FREQUENCIES["1"], FREQUENCIES["0"], FREQUENCIES["#"]) == ((697, 1209), (941, 1336), (941, 1477))
    assert FREQUENCIES["D"] == (941, 1633) and len(FREQUENCIES) == 16


def test_a_key_lasts_100_ms_with_80_ms_of_silence_behind_it() -> None:
    audio = tones("5")
    mulaw = base64.b64decode(audio.payload)
    assert audio.ms == 180 and len(mulaw) == audio.size
    assert mulaw[800:] == SILENCE * 640 and max(map(abs, samples("5")[700:800])) > 5000


def test_keys_and_pauses_follow_each_other() -> None:
    assert tones("12w#").ms == 180 + 180 + 500 + 180
    assert base64.b64decode(tones("w").payload) == SILENCE * 4000
    assert base64.b64decode(tones("1w2").payload) == b"".join(base64.b64decode(tones(k).payload) for k in "1w2")


def test_nothing_is_clipped() -> None:
    assert all(max(map(abs, samples(key))) < 32000 for key in FREQUENCIES)
