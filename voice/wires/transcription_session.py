"""One session of the transcriber: an OpenAI Realtime socket from its settings to its end (GA shape, after the types of
openai 3.54.0).

Written by the caller-reader, read by the transcript-reader.
"""

import binascii
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from voice.core import events as ev
from voice.errors import VendorRefused, VendorUnavailable
from voice.wires.vendor_socket import VendorSocket

# https://developers.openai.com/api/docs/guides/realtime-vad: these take no turn_detection and wait for a commit.
# gpt-transcribe accepts server_vad but was seen not to finish a transcript without a commit.
COMMIT_MODELS = ("gpt-live-transcribe", "gpt-realtime-whisper", "gpt-transcribe")
READY_TIMEOUT_S = 5.0
_KEYWORD_MODELS = ("gpt-live-transcribe", "gpt-transcribe")
_PREFIX_MS = 300
_ACCOUNT = frozenset(("invalid_api_key", "insufficient_quota"))
_FATAL = _ACCOUNT | frozenset("missing_model model_not_found invalid_model beta_api_shape_disabled".split())
_LOST = frozenset(("session_expired", "server_error", "rate_limit_exceeded"))
_DROPPABLE = frozenset(("keywords", "languages", "language"))
"""Settings that help; a session without them still hears."""
_LIFE_S = 3600.0
"""The longest that a session lives, unless the service says otherwise."""
_RENEW_AFTER = 0.9
_REMEMBERED = 64
"""Ids of events."""
_LONGEST_TEXT = 4000
"""Characters of an utterance: five minutes of speech."""

_log = logging.getLogger("voice.transcriber")


@dataclass(frozen=True)
class Hearing:
    """What a session is told to listen for."""

    language: str
    keywords: tuple[str, ...]
    silence_ms: int


class TranscriptionSession:
    def __init__(self, url: str, key: str, model: str, pcm24k: bool, name: object) -> None:
        """Connect. `url` is without query; `name` stands in the log. Raises VendorUnavailable or VendorRefused."""
        self._model = model
        self._pcm24k = pcm24k
        self._name = name
        self._detects_speech = model not in COMMIT_MODELS
        self._silence_ms = 0
        self._ready = False
        self._latest: deque[str] = deque(maxlen=_REMEMBERED)
        self.renew_at = time.monotonic() + _RENEW_AFTER * _LIFE_S
        """When another session should take its place, of `time.monotonic()`."""
        self._socket = VendorSocket("transcriber", f"{url}?intent=transcription", [f"Authorization: Bearer {key}"])

    def configure(self, hearing: Hearing) -> None:
        """Make it hear; what came before is not heard. Raises VendorUnavailable or VendorRefused."""
        self._silence_ms = hearing.silence_ms
        ready_by = time.monotonic() + READY_TIMEOUT_S
        dropped: set[str] = set()
        while True:
            message = self._socket.receive()
            if time.monotonic() > ready_by:
                raise VendorUnavailable("transcriber", f"the session was not ready within {READY_TIMEOUT_S:.0f} s")
            if message is None:
                continue
            match message:
                case {"type": "session.created"}:
                    self._lives(message.get("session"))
                    self._configure(hearing, dropped)
                case {"type": "session.updated"}:
                    self._ready = True
                    return
                case {"type": "error"}:
                    setting = _refused_setting(message.get("error"))
                    if setting is None or setting in dropped:
                        self._error(message.get("error"))
                        continue
                    _log.warning("%s: the transcriber refuses %s; without it", self._name, setting)
                    dropped.add(setting)
                    self._configure(hearing, dropped)

    def _lives(self, session: Any) -> None:
        expires_at = session.get("expires_at") if isinstance(session, dict) else None
        left = expires_at - time.time() if isinstance(expires_at, int | float) else 0.0
        # A clock that is wrong, here or there, must not make sessions follow each other without end.
        self.renew_at = time.monotonic() + _RENEW_AFTER * (left if 60 <= left <= 24 * _LIFE_S else _LIFE_S)

    def _configure(self, hearing: Hearing, dropped: set[str]) -> None:
        transcription: dict[str, object] = {"model": self._model}
        if self._model in _KEYWORD_MODELS:
            transcription["languages"] = [hearing.language]
            if hearing.keywords:
                transcription["keywords"] = list(hearing.keywords)
        else:
            transcription["language"] = hearing.language
        turn_detection = {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": _PREFIX_MS,
            "silence_duration_ms": hearing.silence_ms,
        }
        audio_input = {
            "format": {"type": "audio/pcm", "rate": 24000} if self._pcm24k else {"type": "audio/pcmu"},
            "transcription": {name: value for name, value in transcription.items() if name not in dropped},
            # Always sent: a model that can detect speech does so by default.
            "turn_detection": turn_detection if self._detects_speech else None,
        }
        update = {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio_input}}}
        self._socket.send(orjson.dumps(update))

    # Writing: raises VendorUnavailable

    def append(self, audio: bytes) -> None:
        """Audio in the session's format."""
        payload = binascii.b2a_base64(audio, newline=False)
        self._socket.send(b'{"type":"input_audio_buffer.append","audio":"%s"}' % payload)

    def commit(self) -> None:
        self._socket.send(b'{"type":"input_audio_buffer.commit"}')

    # Reading

    def next(self) -> ev.Event | None:
        """The next that the session says; None when it says nothing for a while, or nothing of interest.

        Raises VendorUnavailable or VendorRefused when it is over.
        """
        message = self._socket.receive()
        return self._event(message) if message and not self._seen(message.get("event_id")) else None

    def _seen(self, event_id: Any) -> bool:
        """Whether it is one of the latest events once more."""
        if not isinstance(event_id, str):
            return False
        seen = event_id in self._latest
        self._latest.append(event_id)
        return seen

    def _event(self, message: dict[str, Any]) -> ev.Event | None:
        match message:
            case {
                "type": "conversation.item.input_audio_transcription.delta",
                "item_id": str(item),
                "delta": str(text),
            }:
                return ev.TranscriptExtended(item, text[:_LONGEST_TEXT])
            case {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": str(item),
                "transcript": str(text),
            }:
                return ev.TranscriptFinished(item, text[:_LONGEST_TEXT])
            case {"type": "conversation.item.input_audio_transcription.failed", "item_id": str(item)}:
                return ev.TranscriptFailed(item, _detail(message.get("error")))
            case {"type": "input_audio_buffer.committed", "item_id": str(item)}:
                return ev.UtteranceCommitted(item)
            case {"type": "input_audio_buffer.speech_started"} if self._detects_speech:
                return ev.CallerStartedSpeaking()
            case {"type": "input_audio_buffer.speech_stopped"} if self._detects_speech:
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
            raise VendorRefused("transcriber", _detail(error), account=bool(codes & _ACCOUNT))
        if "input_audio_buffer_commit_empty" in codes:
            return ev.TranscriptFailed("", _detail(error))
        _log.warning("%s: the transcriber reports %s", self._name, _detail(error))
        return None

    def shutdown(self) -> None:
        """From any greenlet, at once; the reader wakes with VendorUnavailable."""
        self._socket.shutdown()


def _refused_setting(error: Any) -> str | None:
    """Which of the settings that may be left out an error is about."""
    param = str(error.get("param") or "") if isinstance(error, dict) else ""
    setting = param.split("[")[0].rpartition(".")[2]
    return setting if ".transcription." in param and setting in _DROPPABLE else None


def _detail(error: Any) -> str:
    if isinstance(error, dict):
        return ascii(f"{error.get('code') or error.get('type')}: {error.get('message')}"[:300])
    return ascii(str(error)[:300])
