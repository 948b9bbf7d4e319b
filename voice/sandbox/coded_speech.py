"""Speech that a test can read exactly: a voice-like sound whose mu-law bytes carry the words in their lowest bits.

Each 20 ms frame (160 bytes) holds 20 bytes of data, one bit a sample; the ear and a speech detector meet
something voice-like, the stand-ins read the words, the order and the moment of each character. Nothing but the
sound travels, so what a decoder finds proves which audio arrived, whole, in order and on the right call.
"""

import audioop
import binascii
import math
import struct
from array import array
from dataclasses import dataclass
from functools import cache

from voice.core.audio import FRAME_BYTES, FRAME_MS, encode

# A frame's 20 bytes: magic, tag, index, flags, text length, text (10 at most), crc of what stands before it.
_LAYOUT = struct.Struct(">2sHHBB10s")
_MAGIC = b"\xc5\x3a"
_LAST = 1
_LOWEST_BIT = bytes(48 + (byte & 1) for byte in range(256))
_BIT_OF_DIGIT = bytes(max(0, byte - 48) & 1 for byte in range(256))
_CLEAR_LOWEST = bytes(byte & 0xFE for byte in range(256))
_MAGIC_BITS = bin(int.from_bytes(_MAGIC, "big"))[2:].zfill(16).encode()
MS_PER_CHARACTER = 60
OVERLAP = 16
"""Bytes at the end of a frame in which the next may begin already, when the first was cut short."""


@dataclass(slots=True)
class CodedFrame:
    tag: int
    """Who or what speaks: chosen by the encoder, 0..65535."""
    index: int
    """Place in the utterance, from 0."""
    text: str
    """The characters that begin within this frame; often none."""
    last: bool
    offset: int
    """Byte offset in the audio given to `frames`."""


def encode_speech(text: str, tag: int = 0, ms_per_character: float = MS_PER_CHARACTER) -> bytes:
    """Mu-law audio that says `text`, in whole frames, at least one. Raises ValueError above 10 bytes a frame."""
    count = max(1, math.ceil(len(text) * ms_per_character / FRAME_MS))
    slices = [""] * count
    for place, character in enumerate(text):
        slices[min(count - 1, int(place * ms_per_character / FRAME_MS))] += character
    return b"".join(_frame(tag, index, part, index == count - 1) for index, part in enumerate(slices))


def frames(audio: bytes) -> list[CodedFrame]:
    """Every coded frame in `audio`, wherever it begins; silence and other sound between them is passed over."""
    bits = audio.translate(_LOWEST_BIT)
    found: list[CodedFrame] = []
    place = bits.find(_MAGIC_BITS)
    while place >= 0 and place + FRAME_BYTES <= len(bits):
        frame = _read(bits, place)
        if frame is not None:
            found.append(frame)
        # A frame that was cut short by some bytes may be completed, by chance, by the first bits of the next one.
        place = bits.find(_MAGIC_BITS, place + (FRAME_BYTES - OVERLAP if frame else 1))
    return found


def text_of(audio: bytes) -> str:
    """The words in `audio`; utterances are joined by a space."""
    words = ""
    for frame in frames(audio):
        if frame.index == 0 and words and not words.endswith(" "):
            words += " "
        words += frame.text
    return words.strip()


def _frame(tag: int, index: int, text: str, last: bool) -> bytes:
    raw = text.encode()
    if len(raw) > 10:
        raise ValueError(f"{text!r} needs more than the 10 bytes that a 20 ms frame carries")
    head = _LAYOUT.pack(_MAGIC, tag & 0xFFFF, index & 0xFFFF, _LAST if last else 0, len(raw), raw)
    data = head + binascii.crc_hqx(head, 0).to_bytes(2, "big")
    sound = int.from_bytes(_carrier()[index % len(_carrier())], "big")
    return (sound | _spread(data)).to_bytes(FRAME_BYTES, "big")


def _spread(data: bytes) -> int:
    """20 bytes to 160, one bit each."""
    bits = bin(int.from_bytes(data, "big"))[2:].zfill(FRAME_BYTES)
    return int.from_bytes(bits.encode().translate(_BIT_OF_DIGIT), "big")


def _read(bits: bytes, place: int) -> CodedFrame | None:
    data = int(bits[place : place + FRAME_BYTES], 2).to_bytes(20, "big")
    if binascii.crc_hqx(data[:18], 0) != int.from_bytes(data[18:], "big"):
        return None
    _, tag, index, flags, length, raw = _LAYOUT.unpack(data[:18])
    return CodedFrame(tag, index, raw[:length].decode("utf-8", "replace"), bool(flags & _LAST), place)


@cache
def _carrier() -> tuple[bytes, ...]:
    """A second of voiced sound (120 Hz and its harmonics, vowel-like, swelling four times), as 50 frames."""
    samples = array("h")
    for n in range(8000):
        t = n / 8000
        wave = sum(
            math.sin(2 * math.pi * 120 * k * t) / (1 + abs(120 * k - 600) / 300 + abs(120 * k - 1100) / 900)
            for k in range(1, 26)
        )
        samples.append(int(2200 * wave * (0.8 + 0.2 * math.sin(2 * math.pi * 4 * t))))
    mulaw = encode(samples.tobytes()).translate(_CLEAR_LOWEST)
    return tuple(mulaw[i : i + FRAME_BYTES] for i in range(0, 8000, FRAME_BYTES))


def at_24k_to_8k(pcm16: bytes) -> bytes:
    """PCM16 at 24 kHz, made from mu-law by tripling the rate, back to the same mu-law bytes."""
    samples = array("h", pcm16)
    return max((audioop.lin2ulaw(samples[phase::3].tobytes(), 2) for phase in range(3)), key=lambda a: len(frames(a)))
