"""The synthesizer's stand-in: ElevenLabs' `multi-stream-input` and what its SDK asks over HTTP (November 2026)."""

import base64
import re
from collections.abc import Iterator

import gevent
import orjson

from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.doors import (
    Body,
    Environ,
    StartResponse,
    query,
    request_body,
    request_headers,
    respond,
    wait_for_departure,
)
from voice.sandbox.elevenlabs_context import pieces
from voice.sandbox.elevenlabs_socket import SpeechSocket, Violation
from voice.sandbox.served_socket import upgrade, wants_upgrade
from voice.sandbox.voices import Voice

_SPEECH = re.compile(r"/v1/text-to-speech/([^/]+)/(multi-stream-input|stream)")
# The v3 and v4 models exist and speak another protocol (text-to-dialogue), which is not played here.
MODELS = frozenset(
    {"eleven_flash_v2_5", "eleven_flash_v2", "eleven_turbo_v2_5", "eleven_turbo_v2", "eleven_multilingual_v2"}
)


class Refused(Exception):
    def __init__(self, status: int, slug: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"detail": {"status": slug, "message": message}}


class ElevenLabsStandIn:
    def __init__(self, delays: Delays, voice: Voice, api_key: str = "sandbox-elevenlabs-key") -> None:
        self.delays = delays
        self.voice = voice
        self.api_key = api_key
        self.faults: list[object] = []
        """RefuseUpgrade, NeverAnswer, and those of a context's first audio."""
        self.sockets: list[SpeechSocket] = []
        """All that ever connected, oldest first."""
        # Where the vendor tells of a bad key is not known: a 401 to the handshake, or 1008 after it when this is set.
        self.bad_key_is_1008 = False

    def app(self, environ: Environ, start_response: StartResponse) -> Body:
        try:
            if speech := _SPEECH.fullmatch(environ["PATH_INFO"]):
                serve = self._serve_socket if speech[2] == "multi-stream-input" else self._stream
                return serve(environ, start_response, speech[1])
            self._check_key(environ)
            return respond(start_response, 200, _look_up(environ["PATH_INFO"]))
        except Refused as refused:
            return respond(start_response, refused.status, refused.body)

    def _serve_socket(self, environ: Environ, start_response: StartResponse, voice_id: str) -> Body:
        if refusal := faults.take(self.faults, faults.RefuseUpgrade):
            return respond(start_response, refusal.status, refusal.body)
        if faults.take(self.faults, faults.NeverAnswer):
            wait_for_departure(environ)
            return []
        asked, headers = query(environ), request_headers(environ)
        if not wants_upgrade(environ):
            raise Refused(400, "invalid_request", "This is a WebSocket.")
        good_key = headers.get("xi-api-key") == self.api_key
        if not self.bad_key_is_1008:
            self._check_key(environ)
        _check_query(asked, ("ulaw_8000", "pcm_8000"))
        served = upgrade(environ)
        socket = SpeechSocket(served, voice_id, asked, headers, self.voice, self.delays, self.faults)
        self.sockets.append(socket)
        if not good_key:
            socket.violate(Violation("invalid_api_key", "Invalid API key"))
        socket.run()
        return []

    def _stream(self, environ: Environ, start_response: StartResponse, voice_id: str) -> Body:
        self._check_key(environ)
        if fault := faults.take(self.faults, faults.AnswerStatus):
            raise Refused(fault.status, "system_busy", "The system is busy.")
        try:
            body = orjson.loads(request_body(environ))
            text = body["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(422, "invalid_request", "The body is not JSON with a text.") from error
        _check_query({**query(environ), "model_id": body.get("model_id", "eleven_multilingual_v2")})
        start_response("200 OK", [("Content-Type", "audio/basic"), ("current-concurrent-requests", "1")])
        return self._audio(text)

    def _audio(self, text: str) -> Iterator[bytes]:
        gevent.sleep(self.delays.first_audio_ms / 1000)
        for piece in pieces(self.voice, text):
            yield base64.b64decode(piece.audio)
            if self.delays.audio_speed:
                gevent.sleep(piece.ms / 1000 / self.delays.audio_speed)

    def _check_key(self, environ: Environ) -> None:
        if environ.get("HTTP_XI_API_KEY") != self.api_key:
            raise Refused(401, "invalid_api_key", "Invalid API key")


def _check_query(asked: dict[str, str], formats: tuple[str, ...] = ("ulaw_8000",)) -> None:
    model = asked.get("model_id", "eleven_multilingual_v2")
    if model not in MODELS:
        raise Refused(400, "unsupported_model", f"Model {model} cannot be used with this endpoint.")
    if asked.get("output_format") not in formats:
        raise Refused(400, "invalid_output_format", f"Only {' and '.join(formats)} are spoken here.")
    if model == "eleven_multilingual_v2" and "language_code" in asked:
        raise Refused(400, "unsupported_language", f"Model {model} does not support language_code.")
    timeout = asked.get("inactivity_timeout", "20")
    if not timeout.isdecimal() or not 1 <= int(timeout) <= 180:
        raise Refused(400, "invalid_request", "inactivity_timeout must be between 1 and 180 seconds.")


def _look_up(path: str) -> object:
    match path:
        case "/v1/user/subscription":
            counts = {"character_count": 0, "character_limit": 1_000_000, "next_character_count_reset_unix": 1798761600}
            may = {"can_extend_character_limit": False, "allowed_to_extend_character_limit": False}
            return {"tier": "creator", "status": "active", **counts, **may}
        case "/v2/voices":
            names = ("Ada", "Ben")
            voices = [{"voice_id": f"sandbox-{name.lower()}", "name": name, "category": "premade"} for name in names]
            return {"voices": voices, "has_more": False, "total_count": len(voices), "next_page_token": None}
        case _:
            raise Refused(404, "not_found", f"No route for {path}")
