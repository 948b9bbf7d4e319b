"""One context of a synthesizer's socket: the socket's reader feeds it, its own greenlet speaks."""

import base64
import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gevent
from gevent.queue import Queue

from voice.core.audio import BYTES_PER_MS, decode
from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.served_socket import ServedSocket
from voice.sandbox.voices import Speech, Voice

SCHEDULE = (120, 160, 250, 290)
# Deliberately no whole number of 20 ms frames: the vendor's pieces are not either.
_PIECE_MS = 371


@dataclass(frozen=True)
class Manner:
    """What a socket's query decides for all its contexts."""

    auto_mode: bool
    sync_alignment: bool
    inactivity_s: float
    pcm: bool = False
    """Audio as 16-bit samples, not as mu-law."""


class Context:
    """What was asked and what was said, for tests to read."""

    def __init__(
        self,
        id_: str,
        first: dict[str, Any],
        manner: Manner,
        socket: ServedSocket,
        voice: Voice,
        delays: Delays,
        waiting_faults: MutableSequence[object],
        done: Callable[["Context"], None],
    ) -> None:
        self.id = id_
        self.first = first
        """The message that opened it."""
        self.texts: list[str] = []
        """Every text received, as it came."""
        self.flushes = 0
        self.closed = False
        """close_context came, or the time ran out."""
        self.final_sent = False
        self.audio_ms = 0.0
        """Milliseconds of audio sent."""
        self.spoken: list[str] = []
        """The texts that were synthesized, as they were cut."""
        self.last_input = self.opened_at = time.monotonic()
        self.first_text_at: float | None = None
        self.first_audio_at: float | None = None
        """When its first audio went out; like all times here by `time.monotonic()`."""
        self._manner, self._socket, self._voice, self._delays = manner, socket, voice, delays
        self._faults, self._done = waiting_faults, done
        self._schedule = list((first.get("generation_config") or {}).get("chunk_length_schedule") or SCHEDULE)
        # Text that waits for more of it, or for a flush.
        self._held = ""
        self._work: Queue[tuple[float, str] | None] = Queue()
        self._mute = False
        self.speaker = gevent.spawn(self._speak_all)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def take(self, text: str, flush: bool) -> None:
        """The reader's: text to be spoken. Nothing is taken after close."""
        if self.closed:
            return
        self.last_input = time.monotonic()
        if text:
            self.first_text_at = self.first_text_at or self.last_input
            self.texts.append(text)
            self._held += text
        if flush:
            self.flushes += 1
        self._release(flush)

    def close(self) -> None:
        """What was flushed is still spoken; then the final message. What was not flushed is lost."""
        if not self.closed:
            self.closed, self._held = True, ""
            self._work.put(None)

    def _release(self, flush: bool) -> None:
        """Hand the speaker as much of the held text as the mode allows; words are never cut."""
        ready = ""
        if flush:
            ready, self._held = self._held, ""
        elif self._manner.auto_mode or len(self._held) >= self._schedule[0]:
            end = self._held.rfind(" ") + 1
            ready, self._held = self._held[:end], self._held[end:]
        if flush and faults.take(self._faults, faults.FinalWithoutAudio) is not None:
            return self.close()
        if any(character.isalnum() for character in ready):
            if len(self._schedule) > 1:
                self._schedule.pop(0)
            self._work.put((time.monotonic(), ready))

    def _speak_all(self) -> None:
        while (work := self._work.get()) is not None:
            asked_at, text = work
            if self.first_audio_at is None and not self._first_time():
                return
            if not self._mute and not self._speak(asked_at, text):
                return
        self.final_sent = True
        self._socket.send({"isFinal": True, "contextId": self.id})
        self._done(self)

    def _first_time(self) -> bool:
        """Suffer the faults that wait for a context's first audio; False if the socket did not survive them."""
        self._mute = faults.take(self._faults, faults.NoAudio) is not None
        if self._mute:
            return True
        if stall := faults.take(self._faults, faults.StallFirstAudio):
            gevent.sleep(stall.seconds)
        if raw := faults.take(self._faults, faults.BeforeAudio):
            self._socket.send_raw(raw.raw.encode())
        if dead := faults.take(self._faults, faults.AudioForDeadContext):
            audio = base64.b64encode(b"\x7f" * 1600).decode()
            self._socket.send({"audio": audio, "contextId": dead.context_id, "alignment": None})
        if faults.take(self._faults, faults.GarbageAudio):
            self._socket.send({"audio": "%%% not base64 %%%", "contextId": self.id, "alignment": None})
        return self._socket.open

    def _speak(self, asked_at: float, text: str) -> bool:
        self.spoken.append(text)
        gevent.sleep(max(0, asked_at + self._delays.first_audio_ms / 1000 - time.monotonic()))
        for piece in pieces(self._voice, text, self._manner.pcm):
            alignment = piece.alignment if self._manner.sync_alignment else None
            said = {"audio": piece.audio, "contextId": self.id}
            sent_at = time.monotonic()
            if not self._socket.send({**said, "alignment": alignment, "normalizedAlignment": alignment}):
                return False
            self.audio_ms += piece.ms
            if self.first_audio_at is None:
                self.first_audio_at = sent_at
                if self._break_off():
                    return False
            if self._delays.audio_speed:
                gevent.sleep(piece.ms / 1000 / self._delays.audio_speed)
        return True

    def _break_off(self) -> bool:
        if close := faults.take(self._faults, faults.CloseMidContext):
            self._socket.send({"message": close.message, "error": close.error, "code": close.code})
            self._socket.close(close.code, close.message)
            return True
        if faults.take(self._faults, faults.DropMidContext):
            self._socket.drop()
            return True
        return False


@dataclass(frozen=True)
class Piece:
    audio: str
    """Base64."""
    ms: float
    alignment: dict[str, list[Any]]
    """Times restart at 0 in each piece."""


@lru_cache(512)
def pieces(voice: Voice, text: str, pcm: bool = False) -> tuple[Piece, ...]:
    """The speech of `text` as the vendor's messages carry it, 200 to 500 ms each (the last may be shorter)."""
    speech = voice.synthesize(text)
    return tuple(_piece(speech, start, pcm) for start in range(0, max(1, speech.ms), _PIECE_MS))


def _piece(speech: Speech, start_ms: int, pcm: bool) -> Piece:
    audio = speech.mulaw[start_ms * BYTES_PER_MS : (start_ms + _PIECE_MS) * BYTES_PER_MS]
    inside = [
        (char, start - start_ms, duration)
        for char, start, duration in zip(speech.chars, speech.starts_ms, speech.durations_ms, strict=True)
        if start_ms <= start < start_ms + _PIECE_MS
    ]
    chars, starts, durations = (list(column) for column in zip(*inside, strict=True)) if inside else ([], [], [])
    alignment = {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": durations}
    return Piece(base64.b64encode(decode(audio) if pcm else audio).decode(), len(audio) / BYTES_PER_MS, alignment)
