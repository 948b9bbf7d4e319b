"""The transcriber's stand-in: `WS /v1/realtime?intent=transcription`, as OpenAI answers it in November 2026."""

from typing import Protocol

import gevent

from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.doors import Body, Environ, StartResponse, query, respond, wait_for_departure
from voice.sandbox.openai_config import Refused
from voice.sandbox.openai_hearing import Hearing
from voice.sandbox.openai_session import Session
from voice.sandbox.served_socket import upgrade, wants_upgrade


class Listener(Protocol):
    """Understands speech that is not coded."""

    def transcribe(self, mulaw: bytes) -> str: ...


class OpenAIStandIn:
    def __init__(self, delays: Delays, ears: Listener | None = None, api_key: str = "sandbox-openai-key") -> None:
        self.delays = delays
        self.api_key = api_key
        self.faults: list[object] = []
        """RefuseUpgrade, NeverAnswer, ErrorAfterUpdate, DropAt, CloseAt, and those of the final transcript."""
        self.sessions: list[Session] = []
        """All that ever connected, oldest first."""
        # False for load: an hour of a hundred calls is 3 GB.
        self.keep_audio = True
        self.session_s = 3600.0
        """A session that grows older is expired; seconds."""
        self._ears = ears

    def app(self, environ: Environ, start_response: StartResponse) -> Body:
        if refusal := faults.take(self.faults, faults.RefuseUpgrade):
            return respond(start_response, refusal.status, refusal.body)
        if faults.take(self.faults, faults.NeverAnswer):
            wait_for_departure(environ)
            return []
        if environ["PATH_INFO"] != "/v1/realtime" or not wants_upgrade(environ):
            error = {"message": "Invalid URL", "type": "invalid_request_error", "param": None, "code": None}
            return respond(start_response, 404, {"error": error})
        self._serve(environ)
        return []

    def _serve(self, environ: Environ) -> None:
        hearing = Hearing(self.keep_audio, keep_buffer=self._ears is not None)
        session = Session(upgrade(environ), hearing, self.delays, self.faults, self._listen if self._ears else None)
        self.sessions.append(session)
        if "model" in query(environ):
            session.kind = "realtime"
        if refused := self._refusal(environ):
            code, error = refused
            session.send_error(error)
            session.socket.close(code, error.message)
        session.run(self.session_s)

    def _refusal(self, environ: Environ) -> tuple[int, Refused] | None:
        """Close code and error of a handshake that the vendor accepts and then regrets."""
        if environ.get("HTTP_AUTHORIZATION") != f"Bearer {self.api_key}":
            return 3000, Refused("invalid_api_key", "Incorrect API key provided.")
        if "HTTP_OPENAI_BETA" in environ:
            return 4000, Refused("beta_api_shape_disabled", "The beta API shape is no longer available.")
        asked = query(environ)
        if asked.get("intent") != "transcription" and "model" not in asked:
            return 4000, Refused("missing_model", "You must provide a model parameter.", "model")
        return None

    def _listen(self, mulaw: bytes) -> str:
        # Recognising speech is long work in C; in the hub's own thread every other call would stutter.
        assert self._ears is not None
        text: str = gevent.get_hub().threadpool.apply(self._ears.transcribe, (mulaw,))
        return text
