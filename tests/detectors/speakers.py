"""Speakers: espeak-ng at a wanted level, and where in it the speech truly is, by the clean signal's own energy."""

import ctypes
import random
import time
from dataclasses import dataclass
from functools import cache

import espeakng_loader

from tests.detectors.sounds import PER_MS, gain, high, laid, level_of, mixed
from voice.core.audio import decode
from voice.sandbox.voices import Espeak

VOICES = ("en-us", "en-us+f3", "en-gb-x-rp", "en-us+klatt2", "de", "es+f2", "en-us+m7", "en-us+linda")
SPEEDS = (130, 165, 210)
SENTENCES = (
    "Yes.",
    "No, thank you.",
    "Hello, can you hear me?",
    "I would like to make an appointment.",
    "Wait.",
    "Stop, that is wrong.",
    "What are your opening hours?",
    "Four, five, nine.",
    "My name is Miller.",
    "Excuse me.",
    "Sure, that is fine.",
    "How much would that be?",
)
VOICELESS_FIRST = ("Hello", "Stop", "Four", "Sure", "How")
"""They begin with a hiss or a breath; the other sentences with a voiced sound, by English phonetics."""
_STEP_MS = 10
_BELOW_LOUDEST_DB = 25.0
"""Softer than this against its own loudest 10 ms, a sound is not yet, or no longer, speech that could be heard."""


@dataclass(frozen=True)
class Utterance:
    pcm: bytes
    """From the first moment of speech to the last, PCM16 at 8 kHz."""
    begins_voiced: bool

    @property
    def ms(self) -> int:
        return len(self.pcm) // (2 * PER_MS)


def utterance(sentence: int, voice: int, dbfs: float, speed: int = 165) -> Utterance:
    """`dbfs` is the average over those 10 ms that hold speech; every other voice comes through a narrow handset."""
    pcm, level = _said(sentence % len(SENTENCES), voice % len(VOICES), speed)
    return Utterance(gain(pcm, dbfs - level), not SENTENCES[sentence % len(SENTENCES)].startswith(VOICELESS_FIRST))


@cache
def _said(sentence: int, voice: int, speed: int) -> tuple[bytes, float]:
    # It seeds the breath in its voices with the time of day, and is left as it was found.
    _seed_espeak(sentence)
    pcm = decode(Espeak(VOICES[voice], speed).synthesize(SENTENCES[sentence]).mulaw)
    _seed_espeak(int(time.time()))
    if voice % 2:
        pcm = high(high(pcm, 4), 4)
    step = 2 * PER_MS * _STEP_MS
    levels = [level_of(pcm[i : i + step]) for i in range(0, len(pcm), step)]
    speech = [i for i, level in enumerate(levels) if level > max(levels) - _BELOW_LOUDEST_DB]
    active = b"".join(pcm[i * step : (i + 1) * step] for i in speech)
    return pcm[speech[0] * step : (speech[-1] + 1) * step], level_of(active)


def _seed_espeak(seed: int) -> None:
    # Starting it, which the first synthesis does, would seed it again.
    Espeak().synthesize("")
    ctypes.CDLL(espeakng_loader.get_library_path()).espeak_ng_SetRandSeed(ctypes.c_long(seed))


def talk(ms: int, dbfs: float, seed: int, pause_ms: tuple[int, int] = (1200, 2500)) -> bytes:
    """One voice that speaks and pauses."""
    source = random.Random(seed)
    voice, pieces, at = source.randrange(len(VOICES)), [], source.randrange(*pause_ms)
    while at < ms:
        said = utterance(source.randrange(len(SENTENCES)), voice, dbfs, source.choice(SPEEDS))
        pieces.append((at, said.pcm))
        at += said.ms + source.randrange(*pause_ms)
    return laid(ms, pieces)


def babble(ms: int, dbfs: float, seed: int) -> bytes:
    """A full room: eight voices at once, none of them louder than the others; `dbfs` is all of them."""
    voices = [talk(ms, -30, seed * 100 + i, (50, 300)) for i in range(8)]
    together = mixed(*voices)
    return gain(together, dbfs - level_of(together))
