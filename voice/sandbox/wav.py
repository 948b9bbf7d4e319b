"""A call as a sound file: 8 kHz, 16 bits, the caller on the left, the agent as the caller heard it on the right."""

import audioop  # the standard library's until 3.12, PyPI audioop-lts from 3.13 on
import wave
from collections.abc import Iterable
from pathlib import Path

from voice.core.audio import SAMPLE_RATE, SILENCE, decode

Timeline = Iterable[tuple[int, bytes]]
"""Pieces of mu-law audio with the sample at which each begins, in order."""


def write_call(path: Path | str, caller: Timeline, agent: Timeline) -> None:
    """Write both timelines; the shorter one is filled up with silence. Raises OSError."""
    left, right = lay_out(caller), lay_out(agent)
    length = max(len(left), len(right))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(audioop.add(_side(left, length, 1, 0), _side(right, length, 0, 1), 2))


def lay_out(timeline: Timeline) -> bytes:
    """One stretch of mu-law with silence wherever no piece is. A piece that begins within another follows it."""
    sound = bytearray()
    for start, audio in timeline:
        sound += SILENCE * (start - len(sound))
        sound += audio
    return bytes(sound)


def _side(mulaw: bytes, length: int, left: int, right: int) -> bytes:
    return audioop.tostereo(decode(mulaw.ljust(length, SILENCE)), 2, left, right)
