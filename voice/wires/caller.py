"""The caller's end of a call: Twilio's Media Stream, read by the caller-reader, written by the call greenlet.

Message shapes: Twilio docs, "Media Streams - WebSocket Messages". Twilio's numbers are strings, its audio is
base64 of headerless mu-law; what we send must have exactly these keys (warning 31951 otherwise).
"""

import binascii
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from voice.core.audio import Audio
from voice.errors import CallerStreamError
from voice.wires.stream_socket import StreamClosed, StreamSocket

START_TIMEOUT_S = 5.0
MEDIA_TIMEOUT_S = 10.0
"""Twilio sends 50 frames a second, of silence too: nothing for so long is a line that is dead."""
_BURST_BYTES = 2000 * 8
"""So much audio may arrive ahead of real time (a network's hiccup); what is beyond is no caller's."""
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
_STREAM_SID = re.compile(r"MZ[0-9a-f]{32}")
_DIGIT = re.compile(r"[0-9*#A-D]")
_SHOWN = 80

_log = logging.getLogger("voice.caller")


@dataclass(frozen=True)
class Started:
    call_sid: str
    stream_sid: str
    parameters: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Media:
    mulaw: bytes


@dataclass(frozen=True)
class Digit:
    digit: str


@dataclass(frozen=True)
class Mark:
    name: str


@dataclass(frozen=True)
class Stopped:
    pass


Message = Media | Digit | Mark | Stopped


class Caller:
    def __init__(self, stream: StreamSocket, name: str) -> None:
        self._stream = stream
        self._name = name
        self.stream_sid = ""
        # Messages that made no sense, by kind: each kind is logged once, the rest is counted.
        self.skipped: dict[str, int] = {}
        self._started_at = 0.0
        self._received = 0
        self._media_head = self._media_tail = b""

    # Reading

    def wait_for_start(self) -> Started:
        """Read up to `start`. Raises CallerStreamError when it does not come within 5 s or is malformed, StreamClosed
        when the stream ends before it."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                message = self._read(max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                raise CallerStreamError(f"no start within {START_TIMEOUT_S:.0f} s") from error
            match message:
                case {"event": "start"}:
                    return self._start(message)
                case {"event": "stop"}:
                    raise CallerStreamError("stop before start")
                case {"event": "connected"} | None:
                    pass
                case _:
                    self._skip("before start", message)

    def messages(self) -> Iterator[Message]:
        """What comes after `start`, to the stream's end; what makes no sense is skipped and counted.

        Ends after Stopped. Raises StreamClosed when the socket ends without it, CallerStreamError when the line is dead.
        """
        while True:
            try:
                message = self._read(MEDIA_TIMEOUT_S)
            except TimeoutError as error:
                raise CallerStreamError(f"no audio for {MEDIA_TIMEOUT_S:.0f} s") from error
            if message is None or (meant := self._meaning(message)) is None:
                continue
            yield meant
            if isinstance(meant, Stopped):
                return

    def _read(self, timeout: float) -> dict[str, Any] | None:
        text = self._stream.receive(timeout)
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._skip("not JSON", text)
        return message if isinstance(message, dict) else self._skip("not an object", text)

    def _meaning(self, message: dict[str, Any]) -> Message | None:
        match message:
            case {"event": "media", "media": {"payload": str(payload)}}:
                return self._media(payload)
            case {"event": "mark", "mark": {"name": str(name)}}:
                return Mark(name)
            case {"event": "dtmf", "dtmf": {"digit": str(digit)}} if _DIGIT.fullmatch(digit):
                return Digit(digit)
            case {"event": "stop"}:
                return Stopped()
            case {"event": "start" | "connected"}:
                return self._skip("a second start", message)
            case {"event": "media" | "mark" | "dtmf" as kind}:
                return self._skip(f"malformed {kind}", message)
            case _:
                return self._skip("unknown event", message)

    def _media(self, payload: str) -> Media | None:
        try:
            mulaw = binascii.a2b_base64(payload, strict_mode=True)
        except (ValueError, UnicodeEncodeError):
            return self._skip("bad base64", payload)
        self._received += len(mulaw)
        if not mulaw or self._received > (time.monotonic() - self._started_at) * 8000 + _BURST_BYTES:
            self._received -= len(mulaw)
            return self._skip("audio faster than time", payload)
        return Media(mulaw)

    def _start(self, message: dict[str, Any]) -> Started:
        match message:
            case {
                "start": {
                    "callSid": str(call_sid),
                    "streamSid": str(stream_sid),
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    **rest,
                }
            } if _CALL_SID.fullmatch(call_sid) and _STREAM_SID.fullmatch(stream_sid):
                parameters = rest.get("customParameters", {})
            case _:
                raise CallerStreamError(f"malformed start {_shown(message)}")
        if not isinstance(parameters, dict) or not all(isinstance(v, str) for v in parameters.values()):
            raise CallerStreamError("malformed customParameters")
        self._started_at = time.monotonic()
        self.stream_sid = stream_sid
        self._media_head = b'{"event":"media","streamSid":"%s","media":{"payload":"' % stream_sid.encode()
        self._media_tail = b'"}}'
        return Started(call_sid, stream_sid, parameters)

    def _skip(self, kind: str, message: object) -> None:
        self.skipped[kind] = self.skipped.get(kind, 0) + 1
        if self.skipped[kind] == 1:
            _log.warning("%s: skipped a message of the caller's stream: %s: %s", self._name, kind, _shown(message))

    # Writing: all raise StreamClosed

    def play(self, audio: Audio) -> None:
        # Written out by hand: the payload is base64, which needs no escaping.
        self._stream.send(self._media_head + audio.payload.encode() + self._media_tail)

    def mark(self, name: str) -> None:
        self._stream.send(orjson.dumps({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}}))

    def clear(self) -> None:
        self._stream.send(orjson.dumps({"event": "clear", "streamSid": self.stream_sid}))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._stream.close(code, reason)


def _shown(message: object) -> str:
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    return ascii(text[:_SHOWN])


__all__ = ["Caller", "Digit", "Mark", "Media", "Message", "Started", "Stopped", "StreamClosed"]
