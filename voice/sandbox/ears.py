"""Text from speech, for audio that is not coded: pocketsphinx with a grammar of the sentences it may hear.

Blocks for 3 % of the speech's length: run it in a thread pool. A decoder hears one caller at a time, by a lock.
"""

import audioop
import re
import threading
from collections.abc import Sequence
from random import Random

from pocketsphinx import Decoder

from voice.core.audio import FRAME_BYTES, FRAME_MS, SAMPLE_RATE, decode, loudness

_RATE = 16000
_LOUD = 150
_PAUSE_BYTES = 200 // FRAME_MS * FRAME_BYTES
# The model knows rooms, not digital silence: pure zeros break its cepstral mean, so a faint hiss goes under everything.
_HISS = 100
# 100 ms at a time: recognising holds the interpreter lock, and nobody else shall wait for a whole sentence.
_BITE = _RATE * 2 // 10
# A sentence is too short to find its own cepstral mean: this one suits the American espeak voices on the telephone.
_CEPSTRAL_MEAN = "53,-4,0,3,-5,0,-4,-3,-4,0,-2,0,0"
_MARGIN = b"\0" * (_RATE * 2 * 3 // 10)


class Ears:
    """Built in 0.2 s. Raises ValueError if a phrase has a word that is not in pocketsphinx's dictionary."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = {_spelled(phrase): phrase for phrase in phrases}
        self._lock = threading.Lock()
        self._decoder = Decoder(lm=None, samprate=_RATE, loglevel="FATAL")
        choices = " | ".join(f"({words})" for words in self._phrases)
        self._decoder.add_jsgf_string("phrases", f"#JSGF V1.0;\ngrammar phrases;\npublic <phrase> = {choices};\n")
        self._decoder.activate_search("phrases")

    def transcribe(self, mulaw: bytes) -> str:
        """The sentences in 8 kHz mu-law audio, told apart by their pauses; what is not understood is left out."""
        with self._lock:
            heard = [self._sentence(stretch) for stretch in _stretches(mulaw)]
        return " ".join(sentence for sentence in heard if sentence)

    def _sentence(self, mulaw: bytes) -> str:
        wide, _ = audioop.ratecv(decode(mulaw), 2, 1, SAMPLE_RATE, _RATE, None)
        pcm = _MARGIN + wide + _MARGIN
        self._decoder.set_cmn(_CEPSTRAL_MEAN)
        self._decoder.start_utt()
        noisy = audioop.add(pcm, _hiss(len(pcm)), 2)
        for place in range(0, len(noisy), _BITE):
            self._decoder.process_raw(noisy[place : place + _BITE], False, False)
        self._decoder.end_utt()
        best = self._decoder.hyp()
        # Half a phrase is the decoder's way to say that nothing fitted.
        return self._phrases.get(best.hypstr, "") if best else ""


def _spelled(phrase: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", phrase.lower()).split())


def _stretches(mulaw: bytes) -> list[bytes]:
    """The parts between pauses of 200 ms and more."""
    stretches: list[bytes] = []
    begin, end = -1, 0
    for place in range(0, len(mulaw), FRAME_BYTES):
        if loudness(mulaw[place : place + FRAME_BYTES]) > _LOUD:
            if begin >= 0 and place - end >= _PAUSE_BYTES:
                stretches.append(mulaw[begin:end])
                begin = -1
            begin = place if begin < 0 else begin
            end = place + FRAME_BYTES
    return [*stretches, mulaw[begin:end]] if begin >= 0 else stretches


def _hiss(size: int) -> bytes:
    """Noise of a few seconds, over and over; the same in every process, so that a result can be repeated."""
    return (_NOISE * (size // len(_NOISE) + 1))[:size]


def _noise() -> bytes:
    random = Random(8000)
    return b"".join(int(random.gauss(0, _HISS)).to_bytes(2, "little", signed=True) for _ in range(2 * _RATE))


_NOISE = _noise()
