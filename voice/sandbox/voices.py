"""Speech from text: the coded voice that tests read, and espeak-ng for ears of flesh or of pocketsphinx.

Synthesis runs in the caller's greenlet and blocks it: microseconds a word for the coded voice, milliseconds a
sentence for espeak, which is why both remember what they have said.
"""

import audioop
import ctypes
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import espeakng_loader

from voice.core.audio import BYTES_PER_MS, SAMPLE_RATE, encode
from voice.sandbox.coded_speech import MS_PER_CHARACTER, encode_speech

_REMEMBERED_TEXTS = 512


@dataclass(frozen=True)
class Speech:
    mulaw: bytes
    chars: list[str]
    """The characters of the text, in order."""
    starts_ms: list[int]
    """When each begins, from the start of the speech."""
    durations_ms: list[int]

    @property
    def ms(self) -> int:
        return len(self.mulaw) // BYTES_PER_MS


class Voice(Hashable, Protocol):
    """A value: the same voice says the same text in the same way."""

    def synthesize(self, text: str) -> Speech: ...


@dataclass(frozen=True)
class Coded:
    """Audio that carries its own text (coded_speech): 60 ms a character, the alignment exact."""

    tag: int = 1
    """Who speaks, 0..65535; readable in every frame."""

    def synthesize(self, text: str) -> Speech:
        return _coded(text, self.tag)


@lru_cache(_REMEMBERED_TEXTS)
def _coded(text: str, tag: int) -> Speech:
    starts = [place * MS_PER_CHARACTER for place in range(len(text))]
    return Speech(encode_speech(text, tag), list(text), starts, [MS_PER_CHARACTER] * len(text))


@dataclass(frozen=True)
class Espeak:
    """espeak-ng in this process. Raises RuntimeError for a voice it does not have."""

    voice: str = "en-us"
    """espeak's name, with a variant if wanted: `en-us+f3` makes another speaker."""
    words_per_minute: int = 165

    def synthesize(self, text: str) -> Speech:
        return _espeak(text, self.voice, self.words_per_minute)


@lru_cache(_REMEMBERED_TEXTS)
def _espeak(text: str, voice: str, words_per_minute: int) -> Speech:
    pcm, words = _engine().speak(text, voice, words_per_minute)
    mulaw = _telephone(pcm, _engine().sample_rate)
    edges = [*_spread(len(text), words, len(mulaw) // BYTES_PER_MS), len(mulaw) // BYTES_PER_MS]
    durations = [end - start for start, end in pairwise(edges)]
    return Speech(mulaw, list(text), edges[:-1], durations)


def _telephone(pcm: bytes, rate: int) -> bytes:
    """PCM16 to mu-law at 8 kHz, a whole number of 20 ms frames."""
    narrow, _ = audioop.ratecv(pcm, 2, 1, rate, SAMPLE_RATE, None)
    mulaw = encode(narrow)
    return mulaw + b"\xff" * (-len(mulaw) % 160)


def _spread(characters: int, words: list[tuple[int, int]], total_ms: int) -> list[int]:
    """When each character begins: words where espeak said so, characters evenly between the words."""
    anchors = [(0, 0), *words, (characters, total_ms)]
    starts: list[int] = []
    for (place, ms), (next_place, next_ms) in pairwise(anchors):
        width = next_place - place
        starts += [ms + (next_ms - ms) * step // width for step in range(width)]
    return starts


# espeak-ng/speak_lib.h

_AUDIO_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE = 1
_EVENT_END, _EVENT_WORD = 0, 1


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Engine:
    """The library, which is one per process and not made for two threads."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate: int = self._library.espeak_Initialize(_AUDIO_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng did not start")
        self._pcm = bytearray()
        self._words: list[tuple[int, int]] = []
        # The library keeps only the address: the callback must live as long as the engine.
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, words_per_minute: int) -> tuple[bytes, list[tuple[int, int]]]:
        """PCM16, and (place of the first character, ms) of each word."""
        self._pcm, self._words = bytearray(), []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
        # Its breath is noise, seeded by the time of day otherwise: the same words shall sound the same each time.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        raw = text.encode() + b"\0"
        self._library.espeak_Synth(raw, len(raw), 0, 0, 0, _CHARS_UTF8, None, None)
        return bytes(self._pcm), self._words

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._pcm += ctypes.string_at(samples, count * 2)
        place = 0
        while events[place].type != _EVENT_END:
            event = events[place]
            if event.type == _EVENT_WORD:
                self._word(event.text_position - 1, event.audio_position)
            place += 1
        return 0

    def _word(self, character: int, ms: int) -> None:
        # espeak tells each part of a number as the same word; only the first begins it.
        if character > (self._words[-1][0] if self._words else 0):
            self._words.append((character, ms))


@lru_cache(1)
def _engine() -> _Engine:
    return _Engine()
