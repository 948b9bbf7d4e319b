"""What a transcription session hears: audio in its format to mu-law, the words in it, and when somebody speaks."""

from array import array
from dataclasses import dataclass

from voice.core.audio import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SILENCE, encode, loudness
from voice.sandbox.coded_speech import frames
from voice.sandbox.openai_config import Config


class Words:
    """The words of coded speech, read as the audio comes, in pieces of any size."""

    def __init__(self) -> None:
        self.text = ""
        self._told = 0
        # How far the text surely consists of whole words.
        self._whole = 0
        # Audio that may hold the beginning of a coded frame; never as long as one.
        self._tail = b""

    def hear(self, mulaw: bytes) -> None:
        if mulaw.count(SILENCE) == len(mulaw) >= FRAME_BYTES and self._tail.count(SILENCE) == len(self._tail):
            # Most of a call, and nothing can begin in it.
            self._tail = mulaw[-FRAME_BYTES + 1 :]
            return
        audio = self._tail + mulaw
        end = 0
        for frame in frames(audio):
            if frame.index == 0 and self.text and not self.text.endswith(" "):
                self.text += " "
            self.text += frame.text if self.text else frame.text.lstrip()
            self._whole = len(self.text.rstrip()) if frame.last else max(self._whole, self.text.rfind(" "))
            end = frame.offset + FRAME_BYTES
        self._tail = audio[max(end, len(audio) - FRAME_BYTES + 1) :]

    def news(self, whole_words: bool) -> str:
        """The text since the last call; with `whole_words` only as far as a space or the speaker's end proves."""
        end = self._whole if whole_words else len(self.text.rstrip())
        news, self._told = self.text[self._told : end], max(self._told, end)
        return news

    def forget(self) -> None:
        self.text, self._told, self._whole = "", 0, 0


class From24k:
    """PCM16 at 24 kHz, tripled from 8 kHz by straight lines, back to the very same mu-law bytes."""

    def __init__(self) -> None:
        # Which of three samples is an original: the line bends there and nowhere else. None until a sound tells.
        self._phase: int | None = None
        self._carry = b""

    def convert(self, pcm16: bytes) -> bytes:
        pcm = self._carry + pcm16
        whole = len(pcm) - len(pcm) % 6
        self._carry = pcm[whole:]
        samples = array("h", pcm[:whole])
        if self._phase is None:
            self._phase = _bend(samples)
        return encode(samples[self._phase or 0 :: 3].tobytes())


def _bend(samples: "array[int]") -> int | None:
    bends = [0, 0, 0]
    for place in range(1, len(samples) - 1):
        bends[place % 3] += abs(samples[place - 1] - 2 * samples[place] + samples[place + 1])
    # Rounding bends every sample by 2 at most; a bend of that size proves nothing.
    return bends.index(max(bends)) if max(bends) > 2 * len(samples) else None


@dataclass(frozen=True)
class Started:
    audio_ms: int


@dataclass(frozen=True)
class Stopped:
    audio_ms: int


_LOUD_FRAMES = 3
# A resampler on its way here holds back a sample or two, and nothing is decided by those.
_ALMOST_A_FRAME = FRAME_BYTES - 2


class VoiceActivity:
    """Server VAD by loudness: a threshold of 0.5 is a root mean square of 400, which telephony users take."""

    def __init__(self, server_vad: Config, now_ms: int) -> None:
        """`server_vad` is the session's turn detection; `now_ms` the audio received so far."""
        self._limit = 800 * server_vad["threshold"]
        self._prefix_ms: int = server_vad["prefix_padding_ms"]
        self._silence_ms: int = server_vad["silence_duration_ms"]
        self._now_ms = self._earliest_ms = now_ms
        self._loud = 0
        self._quiet_ms = 0
        self._speaking = False
        self._tail = b""

    def hear(self, mulaw: bytes) -> list[Started | Stopped]:
        audio = self._tail + mulaw
        rest = len(audio) % FRAME_BYTES
        whole = len(audio) if rest >= _ALMOST_A_FRAME else len(audio) - rest
        self._tail = audio[whole:]
        heard = [self._frame(audio[at : at + FRAME_BYTES]) for at in range(0, whole, FRAME_BYTES)]
        return [turn for turn in heard if turn is not None]

    def _frame(self, frame: bytes) -> Started | Stopped | None:
        self._now_ms += FRAME_MS
        if loudness(frame) > self._limit:
            self._loud, self._quiet_ms = self._loud + 1, 0
            # One loud frame is a click.
            return self._start() if self._loud == _LOUD_FRAMES and not self._speaking else None
        self._loud, self._quiet_ms = 0, self._quiet_ms + FRAME_MS
        return self._stop() if self._speaking and self._quiet_ms >= self._silence_ms else None

    def _start(self) -> Started:
        self._speaking = True
        return Started(max(self._earliest_ms, self._now_ms - _LOUD_FRAMES * FRAME_MS - self._prefix_ms))

    def _stop(self) -> Stopped:
        self._speaking = False
        self._earliest_ms = self._now_ms
        return Stopped(self._now_ms)


class Hearing:
    """The audio of one session. `buffered_ms` and `words` start again at each commit."""

    def __init__(self, keep_audio: bool, keep_buffer: bool) -> None:
        # Everything that was ever appended, for tests to look at.
        self.audio = bytearray()
        self.received_bytes = 0
        self.buffered_bytes = 0
        # The audio since the last commit, for ears; empty when nobody will listen to it.
        self.buffer = bytearray()
        self.words = Words()
        self._keep_audio, self._keep_buffer = keep_audio, keep_buffer
        self._from_24k: From24k | None = From24k()

    @property
    def now_ms(self) -> int:
        return self.received_bytes // BYTES_PER_MS

    @property
    def buffered_ms(self) -> int:
        return self.buffered_bytes // BYTES_PER_MS

    def set_format(self, kind: str) -> None:
        if kind == "audio/pcmu":
            self._from_24k = None
        elif self._from_24k is None:
            self._from_24k = From24k()

    def hear(self, audio: bytes) -> bytes:
        """Take audio in the session's format; returns it as mu-law."""
        mulaw = self._from_24k.convert(audio) if self._from_24k else audio
        self.received_bytes += len(mulaw)
        self.buffered_bytes += len(mulaw)
        if self._keep_audio:
            self.audio += mulaw
        if self._keep_buffer:
            self.buffer += mulaw
        self.words.hear(mulaw)
        return mulaw

    def empty(self) -> None:
        self.buffered_bytes = 0
        self.buffer.clear()
        self.words.forget()
