"""The caller's end of a call: Twilio's Media Stream, read by the caller-reader, written by the call greenlet.

Message shapes: Twilio docs, "Media Streams - WebSocket Messages". Twilio's numbers are strings, its audio is
base64 of headerless mu-law; what we send must have exactly these keys (warning 31951 otherwise).
"""

import binascii
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from voice.core.audio import Audio
from voice.errors import CallerStreamError
from voice.wires.stream_socket import Patience, StreamClosed, StreamSocket

START_TIMEOUT_S = 5.0
MEDIA_TIMEOUT_S = 9.0
"""Twilio sends 50 frames a second, of silence too: nothing for so long is a line that is dead."""
_UNSENT_BYTES = 16384
"""A second and a half of sound: what a slow line may be behind before a write waits for it."""
_BURST_BYTES = 2000 * 8
"""So much audio may arrive ahead of real time (a network's hiccup); what is beyond is no caller's."""
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
_STREAM_SID = re.compile(r"MZ[0-9a-f]{32}")
_FRAMES_TOGETHER = 5
_DIGITS_AT_ONCE = 32
_DIGITS_PER_S = 10
"""Nobody presses keys faster, for long."""
_DIGIT = re.compile(r"[0-9*#A-D]")
_MEDIA_FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
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
        stream.keep_unsent(_UNSENT_BYTES)
        self._stream = stream
        self._name = name
        self.call_sid = self.stream_sid = ""
        # Messages that made no sense, by kind: each kind is logged once, the rest is counted.
        self.skipped: dict[str, int] = {}
        # Messages whose number is not the next one.
        self.out_of_order = 0
        # The latest message as it came, for the log: what was parsed may be nested too deeply to be written out.
        self._text = b""
        self._sequence = 0
        self._started_at = 0.0
        self._received = 0
        self._digits = 0
        self._media_head = self._media_tail = b""

    # Reading

    def wait_for_start(self, timeout: float = START_TIMEOUT_S) -> Started:
        """Read up to `start`. Raises CallerStreamError when it does not come within `timeout` seconds or is malformed,
        StreamClosed when the stream ends before it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._read(max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                raise CallerStreamError(f"no start within {timeout:g} s") from error
            if message is None:
                continue
            match message:
                case {"event": "start"}:
                    self._count(message.get("sequenceNumber"))
                    return self._start(message)
                case {"event": "stop"}:
                    raise CallerStreamError("stop before start")
                case {"event": "connected"}:
                    pass
                case _:
                    self._skip("before start")

    def messages(self, patience: Callable[[], Patience], timeout: float = MEDIA_TIMEOUT_S) -> Iterator[Message]:
        """What comes after `start`, to the stream's end; what makes no sense is skipped and counted. `patience`
        tells how long more may be waited for; of what comes together, the audio is one Media of 100 ms at most.

        Ends after Stopped. Raises StreamClosed when the socket ends without it, CallerStreamError for another start
        and for a line on which nothing comes for `timeout` seconds.
        """
        while True:
            try:
                texts = self._stream.receive_all(timeout, patience())
            except TimeoutError as error:
                raise CallerStreamError(f"no audio for {timeout:g} s") from error
            audio: list[bytes] = []
            for text in texts:
                meant = self._understand(text)
                if meant is None:
                    continue
                if isinstance(meant, bytes):
                    audio.append(meant)
                    if len(audio) < _FRAMES_TOGETHER:
                        continue
                if audio:
                    yield Media(b"".join(audio))
                    audio = []
                if not isinstance(meant, bytes):
                    yield meant
                if isinstance(meant, Stopped):
                    return
            if audio:
                yield Media(b"".join(audio))

    def _understand(self, text: bytes) -> Message | bytes | None:
        """Audio as its bytes."""
        message = self._parse(text)
        if message is None:
            return None
        self._count(message.get("sequenceNumber"))
        return self._meaning(message)

    def _read(self, timeout: float) -> dict[str, Any] | None:
        return self._parse(self._stream.receive(timeout))

    def _parse(self, text: bytes) -> dict[str, Any] | None:
        self._text = text
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            self._skip("not JSON")
            return None
        if not isinstance(message, dict):
            self._skip("not an object")
            return None
        return message

    def _count(self, sequence: object) -> None:
        """The numbers of the messages are only watched: audio is used in the order in which it comes."""
        expected = self._sequence + 1
        if isinstance(sequence, str) and sequence.isdecimal() and len(sequence) < 19:
            self._sequence = int(sequence)
            if self._sequence == expected:
                return
        else:
            self._sequence = expected
        self.out_of_order += 1
        if self.out_of_order == 1:
            _log.info("%s: message %d of the caller's stream has the number %.40a", self._name, expected, sequence)

    def _meaning(self, message: dict[str, Any]) -> Message | bytes | None:
        media = message.get("media")
        if message.get("event") == "media" and isinstance(media, dict):  # nearly all there is
            return self._media(media)
        match message:
            case {"event": "mark", "mark": {"name": str(name)}}:
                return Mark(name)
            case {"event": "dtmf", "dtmf": {"digit": str(digit)}} if _DIGIT.fullmatch(digit):
                return self._digit(digit)
            case {"event": "stop"}:
                return Stopped()
            case {"event": "start", "start": {"callSid": self.call_sid, "streamSid": self.stream_sid}}:
                self._skip("a second start")
            case {"event": "start"}:
                raise CallerStreamError(f"the start of another stream: {_shown(self._text)}")
            case {"event": "media" | "mark" | "dtmf" as kind}:
                self._skip(f"malformed {kind}")
            case _:
                self._skip("unknown event")
        return None

    def _media(self, media: dict[str, Any]) -> bytes | None:
        payload = media.get("payload")
        if not isinstance(payload, str):
            self._skip("malformed media")
            return None
        if media.get("track", "inbound") != "inbound":
            # What the agent says must not come back as the caller's words.
            self._skip("another track")
            return None
        try:
            mulaw = binascii.a2b_base64(payload, strict_mode=True)
        except (ValueError, UnicodeEncodeError):
            self._skip("bad base64")
            return None
        if not mulaw:
            self._skip("no audio")
            return None
        if self._received + len(mulaw) > (time.monotonic() - self._started_at) * 8000 + _BURST_BYTES:
            self._skip("audio faster than time")
            return None
        self._received += len(mulaw)
        return mulaw

    def _digit(self, digit: str) -> Digit | None:
        if self._digits >= (time.monotonic() - self._started_at) * _DIGITS_PER_S + _DIGITS_AT_ONCE:
            self._skip("digits faster than fingers")
            return None
        self._digits += 1
        return Digit(digit)

    def _start(self, message: dict[str, Any]) -> Started:
        match message:
            case {
                "start": {
                    "callSid": str(call_sid),
                    "streamSid": str(stream_sid),
                    "mediaFormat": dict(media_format),
                    **rest,
                }
            } if _CALL_SID.fullmatch(call_sid) and _STREAM_SID.fullmatch(stream_sid):
                parameters = rest.get("customParameters", {})
            case _:
                raise CallerStreamError(f"malformed start: {_shown(self._text)}")
        if {key: media_format.get(key) for key in _MEDIA_FORMAT} != _MEDIA_FORMAT:
            raise CallerStreamError("the stream's mediaFormat is not mu-law at 8000 Hz, one channel")
        if not isinstance(parameters, dict) or not all(isinstance(v, str) for v in parameters.values()):
            raise CallerStreamError("malformed customParameters")
        self._started_at = time.monotonic()
        self.call_sid, self.stream_sid = call_sid, stream_sid
        self._media_head = b'{"event":"media","streamSid":"%s","media":{"payload":"' % stream_sid.encode()
        self._media_tail = b'"}}'
        return Started(call_sid, stream_sid, parameters)

    def _skip(self, kind: str) -> None:
        self.skipped[kind] = self.skipped.get(kind, 0) + 1
        if self.skipped[kind] == 1:
            _log.warning("%s: skipped a message of the caller's stream: %s: %s", self._name, kind, _shown(self._text))

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


def _shown(text: bytes) -> str:
    return ascii(text[:_SHOWN].decode("utf-8", "replace"))


__all__ = ["Caller", "Digit", "Mark", "Media", "Message", "Started", "Stopped", "StreamClosed"]
