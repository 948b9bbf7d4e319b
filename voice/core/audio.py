"""Telephone audio: G.711 mu-law, 8000 samples a second, one byte a sample (what Twilio's Media Streams carry)."""

import audioop  # the standard library's until 3.12, PyPI audioop-lts from 3.13 on
from collections.abc import Iterator
from dataclasses import dataclass, field

SAMPLE_RATE = 8000
BYTES_PER_MS = 8
FRAME_MS = 20
FRAME_BYTES = FRAME_MS * BYTES_PER_MS
SILENCE = b"\xff"
"""The mu-law byte of a zero sample (ITU-T G.711)."""


@dataclass(frozen=True)
class Audio:
    """A stretch of mu-law audio on its way to the caller.

    Two stretches are equal when they have the same size: the sound itself never enters a log, and a
    replayed call has only the sizes.
    """

    size: int
    """Bytes of mu-law, 8 a millisecond."""
    payload: str = field(default="", compare=False, repr=False)
    """The same bytes in base64, as both ElevenLabs and Twilio want them."""

    @property
    def ms(self) -> float:
        return self.size / BYTES_PER_MS


# 3 bytes are 4 characters of base64: 4800 bytes (600 ms) split it without decoding it.
PIECE_BYTES = 4800
_PIECE_CHARS = PIECE_BYTES // 3 * 4


def split(audio: Audio) -> Iterator[Audio]:
    """Cut `audio` into pieces of at most 600 ms, in order; no audio is no piece."""
    for index in range(-(-audio.size // PIECE_BYTES)):
        size = min(PIECE_BYTES, audio.size - index * PIECE_BYTES)
        yield Audio(size, audio.payload[index * _PIECE_CHARS : (index + 1) * _PIECE_CHARS])


def cut(audio: Audio, from_ms: float) -> Audio:
    """`audio` without its beginning, to within 0.4 ms."""
    start = int(from_ms * BYTES_PER_MS) // 3 * 3
    return Audio(audio.size - start, audio.payload[start // 3 * 4 :])


def decode(mulaw: bytes) -> bytes:
    """Mu-law to signed 16-bit little-endian samples."""
    return audioop.ulaw2lin(mulaw, 2)


def encode(pcm16: bytes) -> bytes:
    """Signed 16-bit little-endian samples to mu-law."""
    return audioop.lin2ulaw(pcm16, 2)


def loudness(mulaw: bytes) -> int:
    """Root mean square of the samples, 0..32767."""
    return audioop.rms(audioop.ulaw2lin(mulaw, 2), 2) if mulaw else 0


def is_text(mulaw: bytes) -> bool:
    """A message in the place of sound: sound has bytes above 7F, and hardly ever as UTF-8 has them."""
    try:
        mulaw.decode()
    except UnicodeDecodeError:
        return False
    # One of the two kinds of silence.
    return bool(mulaw.strip(b"\x7f"))


class To24k:
    """Mu-law 8 kHz to PCM16 24 kHz, piece by piece; keeps the resampler's state, so pieces join without a click."""

    def __init__(self) -> None:
        self._state: object = None

    def convert(self, mulaw: bytes) -> bytes:
        pcm, self._state = audioop.ratecv(audioop.ulaw2lin(mulaw, 2), 2, 1, SAMPLE_RATE, 24000, self._state)  # type: ignore[arg-type]
        return pcm
