"""The transcriber: one OpenAI Realtime transcription session per call (GA shape, after the types of openai 3.54.0).

Written by the caller-reader (audio, commits), read by the transcript-reader. Models without turn detection of
their own wait for our commit; the others detect speech themselves. The model's name decides which.
"""

import binascii
import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import orjson

from voice.core import events as ev
from voice.core.audio import FRAME_BYTES, To24k
from voice.errors import VendorRefused, VendorUnavailable
from voice.wires.vendor_socket import VendorSocket

# https://developers.openai.com/api/docs/guides/realtime-vad: these take no turn_detection and wait for a commit.
# gpt-transcribe accepts server_vad but was seen not to finish a transcript without a commit.
_COMMIT_MODELS = ("gpt-live-transcribe", "gpt-realtime-whisper", "gpt-transcribe")
_KEYWORD_MODELS = ("gpt-live-transcribe", "gpt-transcribe")
_READY_TIMEOUT_S = 5.0
_KEPT_BYTES = 10_000 * 8
"""Caller audio kept while the session is not ready: 10 s."""
_FRAMES_AT_ONCE = 3
"""A backlog goes out at three times real time: from four times on the service drops audio without a word."""
_PREFIX_MS = 300
_FATAL = frozenset(
    "invalid_api_key insufficient_quota missing_model model_not_found invalid_model beta_api_shape_disabled".split()
)
_LOST = frozenset(("session_expired", "server_error", "rate_limit_exceeded"))

_log = logging.getLogger("voice.transcriber")


class Transcriber:
    def __init__(self, url: str, key: str, model: str, audio_format: str, name: str) -> None:
        """`url` without query; `audio_format` is pcmu or pcm24k; `name` stands in the log."""
        self._url = f"{url}?intent=transcription"
        self._key = key
        self._model = model
        self._name = name
        self.detects_speech = model not in _COMMIT_MODELS
        self._convert = To24k().convert if audio_format == "pcm24k" else None
        self._socket: VendorSocket | None = None
        self._ready = False
        # Frames not sent yet, in order; None is a commit.
        self._unsent: deque[bytes | None] = deque()
        self._unsent_bytes = 0
        self.dropped_bytes = 0
        self._silence_ms = 0

    def connect(self) -> None:
        """Raises VendorUnavailable or VendorRefused."""
        self._socket = VendorSocket("transcriber", self._url, [f"Authorization: Bearer {self._key}"])

    # Writing

    def send_audio(self, mulaw: bytes) -> None:
        """The caller's next audio; kept until the session is ready. Raises VendorUnavailable."""
        self._unsent.append(mulaw)
        self._unsent_bytes += len(mulaw)
        while self._unsent_bytes > _KEPT_BYTES:
            oldest = self._unsent.popleft()
            self._unsent_bytes -= len(oldest or b"")
            self.dropped_bytes += len(oldest or b"")
        # Two frames are one message: half the messages for 20 ms that nobody hears.
        if self._unsent_bytes >= 2 * FRAME_BYTES:
            self._pump()

    def commit(self) -> None:
        """What was sent so far is one utterance. Raises VendorUnavailable."""
        self._unsent.append(None)
        self._pump()

    def commit_with_next_audio(self) -> None:
        """The same from another greenlet than that which sends: its next audio takes the commit along."""
        self._unsent.append(None)

    def _pump(self) -> None:
        if not self._ready:
            return
        piece = b""
        frames = 0
        while self._unsent and frames < _FRAMES_AT_ONCE:
            if (frame := self._unsent.popleft()) is None:
                self._append(piece)
                piece = b""
                self._send(b'{"type":"input_audio_buffer.commit"}')
            else:
                piece += frame
                frames += 1
                self._unsent_bytes -= len(frame)
        self._append(piece)

    def _append(self, mulaw: bytes) -> None:
        if mulaw:
            audio = self._convert(mulaw) if self._convert else mulaw
            self._send(b'{"type":"input_audio_buffer.append","audio":"%s"}' % binascii.b2a_base64(audio, newline=False))

    def _send(self, text: bytes) -> None:
        if self._socket:
            self._socket.send_text(text.decode())

    # Reading

    def events(self, language: str, keywords: tuple[str, ...], silence_ms: int) -> Iterator[ev.Event]:
        """Configure the session, then tell what the transcriber says, until it ends by raising VendorUnavailable or
        VendorRefused. Call after `connect`."""
        assert self._socket is not None
        self._silence_ms = silence_ms
        ready_by = time.monotonic() + _READY_TIMEOUT_S
        while True:
            message = self._socket.receive()
            if not self._ready and time.monotonic() > ready_by:
                raise VendorUnavailable("transcriber", f"the session was not ready within {_READY_TIMEOUT_S:.0f} s")
            if message is None:
                continue
            if message.get("type") == "session.created":
                self._socket.send_text(orjson.dumps(self._session(language, keywords)).decode())
            elif message.get("type") == "session.updated" and not self._ready:
                self._ready = True
                yield ev.TranscriberReady()
            elif event := self._event(message):
                yield event

    def _session(self, language: str, keywords: tuple[str, ...]) -> dict[str, object]:
        transcription: dict[str, object] = {"model": self._model}
        if self._model in _KEYWORD_MODELS:
            transcription["languages"] = [language]
            if keywords:
                transcription["keywords"] = list(keywords)
        else:
            transcription["language"] = language
        turn_detection = {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": _PREFIX_MS,
            "silence_duration_ms": self._silence_ms,
        }
        audio_format = {"type": "audio/pcm", "rate": 24000} if self._convert else {"type": "audio/pcmu"}
        audio_input = {
            "format": audio_format,
            "transcription": transcription,
            # Always sent: a model that can detect speech does so by default.
            "turn_detection": turn_detection if self.detects_speech else None,
        }
        return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio_input}}}

    def _event(self, message: dict[str, Any]) -> ev.Event | None:
        match message:
            case {
                "type": "conversation.item.input_audio_transcription.delta",
                "item_id": str(item),
                "delta": str(text),
            }:
                return ev.TranscriptExtended(item, text)
            case {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": str(item),
                "transcript": str(text),
            }:
                return ev.TranscriptFinished(item, text)
            case {"type": "conversation.item.input_audio_transcription.failed", "item_id": str(item)}:
                return ev.TranscriptFailed(item, _detail(message.get("error")))
            case {"type": "input_audio_buffer.committed", "item_id": str(item)}:
                return ev.UtteranceCommitted(item)
            case {"type": "input_audio_buffer.speech_started"} if self.detects_speech:
                return ev.CallerStartedSpeaking()
            case {"type": "input_audio_buffer.speech_stopped"} if self.detects_speech:
                return ev.CallerStoppedSpeaking(self._silence_ms)
            case {"type": "error"}:
                return self._error(message.get("error"))
        return None

    def _error(self, error: Any) -> ev.Event | None:
        # Some errors have no code, and then their type is one.
        codes = {str(error.get("code")), str(error.get("type"))} if isinstance(error, dict) else set()
        if codes & _LOST:
            raise VendorUnavailable("transcriber", _detail(error))
        if codes & _FATAL or not self._ready:
            # A session that did not take its settings is deaf: it stays open and transcribes nothing.
            raise VendorRefused("transcriber", _detail(error))
        if "input_audio_buffer_commit_empty" in codes:
            return ev.TranscriptFailed("", _detail(error))
        _log.warning("%s: the transcriber reports %s", self._name, _detail(error))
        return None

    def shutdown(self) -> None:
        """From any greenlet, at once; the reader wakes with VendorUnavailable."""
        if self._socket:
            self._socket.shutdown()


def _detail(error: Any) -> str:
    if isinstance(error, dict):
        return ascii(f"{error.get('code') or error.get('type')}: {error.get('message')}"[:300])
    return ascii(str(error)[:300])
