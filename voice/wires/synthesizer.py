"""The synthesizer: one ElevenLabs multi-stream-input socket per call, one context per turn, or per try of a turn.

Written by the call greenlet alone, read by the speech-reader. Text waits in order until the socket is open.
Source: ElevenLabs' asyncapi.yml and the types of elevenlabs 2.78.0.
"""

import binascii
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from voice.core import events as ev
from voice.core.audio import Audio, is_text
from voice.errors import VendorRefused, VendorUnavailable
from voice.wires.vendor_socket import VendorSocket

KEEP_ALIVE_S = 15.0
_INACTIVITY_TIMEOUT_S = 180
"""The longest that the service allows, per context; 20 by default."""
_ACCOUNT = ("quota_exceeded", "invalid_api_key", "detected_unusual_activity")
_CONTEXT_OF_OURS = re.compile(r"turn-([0-9]{1,9})(?:\.([0-9]{1,9}))?")


class Synthesizer:
    def __init__(
        self, url: str, key: str, model: str, voice: str, language: str, voice_settings: Mapping[str, float]
    ) -> None:
        """`url` is scheme and host. Voice, model and language are fixed for the life of the socket."""
        query = {
            "model_id": model,
            "output_format": "ulaw_8000",
            "auto_mode": "true",
            "sync_alignment": "true",
            "inactivity_timeout": _INACTIVITY_TIMEOUT_S,
        }
        if model != "eleven_multilingual_v2":  # takes no language_code
            query["language_code"] = language
        self._url = f"{url}/v1/text-to-speech/{voice}/multi-stream-input?{urlencode(query)}"
        self._key = key
        self._voice_settings = dict(voice_settings)
        self._socket: VendorSocket | None = None
        self._open = False
        self._unsent: list[dict[str, object]] = []
        # Turns whose context the service knows: voice settings may stand in a context's first message only.
        self._contexts: set[int] = set()
        # How many contexts each turn has had. A name is never used again: the service drops what it is told of a
        # context that is still ending, and the sound of one that was given up must not be taken for the next one's.
        self._tries: dict[int, int] = {}
        self._written_at = 0.0

    def connect(self) -> None:
        """Raises VendorUnavailable or VendorRefused."""
        self._socket = VendorSocket("synthesizer", self._url, [f"xi-api-key: {self._key}"])

    # Writing: raises VendorUnavailable

    def release(self) -> None:
        """The socket is open: send what has waited for it."""
        self._open = True
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._send(message)

    def speak(self, turn: int, text: str) -> None:
        """A whole sentence; with auto_mode and a flush each is spoken at once."""
        if turn not in self._contexts:
            self._contexts.add(turn)
            self._tries[turn] = self._tries.get(turn, 0) + 1
            first: dict[str, object] = {"text": " ", "context_id": self._name(turn)}
            if self._voice_settings:
                first["voice_settings"] = self._voice_settings
            self._send(first)
        # The space at the end keeps the last word from being held back or glued to the next.
        self._send({"text": text + " ", "context_id": self._name(turn), "flush": True})

    def finish(self, turn: int) -> None:
        # A context that is closed, or never was, would be opened by being named.
        if turn in self._contexts:
            self._send({"context_id": self._name(turn), "flush": True})

    def close(self, turn: int) -> None:
        """Let go of the turn's context; also how it is given up. A turn may be closed twice."""
        if turn in self._contexts:
            self._contexts.discard(turn)
            self._send({"context_id": self._name(turn), "close_context": True})

    def _name(self, turn: int) -> str:
        tries = self._tries.get(turn, 1)
        return f"turn-{turn}" if tries == 1 else f"turn-{turn}.{tries}"

    def keep_alive(self) -> None:
        """Call every KEEP_ALIVE_S: names no context, because naming one that is not open would open it."""
        if self._open and time.monotonic() - self._written_at >= KEEP_ALIVE_S:
            self._send({"text": ""})

    def _send(self, message: dict[str, object]) -> None:
        if self._open and self._socket:
            self._written_at = time.monotonic()
            self._socket.send(orjson.dumps(message))
        else:
            self._unsent.append(message)

    # Reading

    def events(self) -> Iterator[ev.Event]:
        """What the synthesizer says, until it ends by raising VendorUnavailable. Call after `connect`."""
        assert self._socket is not None
        yield ev.SynthesizerReady()
        while True:
            message = self._socket.receive()
            if message is None:
                continue
            if message.get("error"):
                if message["error"] in _ACCOUNT:
                    raise VendorRefused("synthesizer", _error(message), account=True)
                raise VendorUnavailable("synthesizer", _error(message))
            turn = self._turn(message.get("contextId") or message.get("context_id"))
            if turn is None:
                continue
            if speech := _speech(turn, message):
                yield speech
            if message.get("isFinal") or message.get("is_final"):
                yield ev.SpeechFinished(turn)

    def _turn(self, context: Any) -> int | None:
        """The turn of a context, unless it is none of ours or was given up for another one."""
        found = _CONTEXT_OF_OURS.fullmatch(context) if isinstance(context, str) else None
        if not found:
            return None
        turn, tries = int(found[1]), int(found[2] or 1)
        return turn if self._tries.get(turn, tries) == tries else None

    def shutdown(self) -> None:
        """From any greenlet, at once; the reader wakes with VendorUnavailable."""
        if self._socket:
            self._socket.shutdown()


def _speech(turn: int, message: dict[str, Any]) -> ev.SpeechArrived | None:
    payload = message.get("audio")
    if not isinstance(payload, str) or not payload:
        return None
    try:
        # Whatever is not base64 to the letter is an error text or garbage: it must never reach a caller's ear.
        mulaw = binascii.a2b_base64(payload, strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        return None
    if is_text(mulaw):
        return None
    size = len(mulaw)
    return ev.SpeechArrived(turn, Audio(size, payload), _alignment(message.get("alignment"))) if size else None


def _alignment(alignment: Any) -> ev.Alignment:
    """The service spells two of its keys in two ways; anything malformed is no alignment."""
    if not isinstance(alignment, dict):
        return ev.Alignment()
    chars: Any = alignment.get("chars")
    starts: Any = alignment.get("charStartTimesMs") or alignment.get("charsStartTimesMs")
    durations: Any = alignment.get("charDurationsMs") or alignment.get("charsDurationsMs")
    try:
        found = ev.Alignment("".join(c[0] for c in chars), tuple(map(int, starts)), tuple(map(int, durations)))
    except (TypeError, ValueError, LookupError):
        return ev.Alignment()
    return found if len(found.chars) == len(found.starts_ms) == len(found.durations_ms) else ev.Alignment()


def _error(message: dict[str, Any]) -> str:
    return ascii(f"{message.get('error')}: {message.get('message')}"[:300])
