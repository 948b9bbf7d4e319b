"""What a browser's microphone hears: sentences with silence before each, as a file of 48,000 samples a second."""

import audioop
import wave
from collections.abc import Sequence
from pathlib import Path

from voice.core.audio import SAMPLE_RATE, decode
from voice.sandbox.voices import Espeak

_RATE = 48_000
_CALLER_VOICE = "en-us+f3"


def write_microphone(path: Path, spoken: Sequence[tuple[str, float]]) -> Path:
    voice = Espeak(_CALLER_VOICE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        for words, seconds in spoken:
            speech, _ = audioop.ratecv(decode(voice.synthesize(words).mulaw), 2, 1, SAMPLE_RATE, _RATE, None)
            file.writeframes(bytes(2 * int(_RATE * seconds)) + speech)
        file.writeframes(bytes(2 * _RATE * 60))
    return path
