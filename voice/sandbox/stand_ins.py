"""All four vendors behind one socket, served by the greenlets of the calling process."""

from pathlib import Path
from typing import Literal

from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import CALLER_SENTENCES
from voice.sandbox.doors import Body, Environ, Handler, StartResponse, respond
from voice.sandbox.elevenlabs import ElevenLabsStandIn
from voice.sandbox.openai import OpenAIStandIn
from voice.sandbox.twilio_rest import TwilioRestStandIn
from voice.sandbox.voices import Coded, Espeak
from voice.sandbox.xai import XaiStandIn

# Hundreds of calls connect in the same second under load.
_BACKLOG = 2048


class Sandbox:
    """Use as a context manager, or `start` and `stop`; started again after a stop it keeps its port."""

    def __init__(
        self,
        *,
        delays: Delays = Delays(),
        speech: Literal["coded", "espeak"] = "coded",
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """All is TLS with a `certificate` and its key, two files. `host` is listened on, and named in addresses."""
        # pocketsphinx and espeak are loaded only where somebody really listens and speaks.
        ears = None
        if speech == "espeak":
            from voice.sandbox.ears import Ears

            ears = Ears(CALLER_SENTENCES)
        self.openai = OpenAIStandIn(delays, ears)
        self.xai = XaiStandIn(delays)
        self.elevenlabs = ElevenLabsStandIn(delays, Espeak() if speech == "espeak" else Coded())
        self.twilio = TwilioRestStandIn("AC" + "5a" * 16, "sandbox-twilio-token")
        self.host = host
        self.port = port
        self.certificate = certificate
        self._server: WSGIServer | None = None

    def start(self) -> None:
        """Listen and return. Raises OSError if a given port is taken."""
        files = map(str, self.certificate or ())
        tls = dict(zip(("certfile", "keyfile"), files, strict=False))
        self._server = WSGIServer(
            (self.host, self.port), self.app, handler_class=Handler, spawn=Pool(), log=None, backlog=_BACKLOG, **tls
        )
        self._server.start()
        self.port = self._server.server_port

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.stop(timeout=0)
            self._server = None

    def __enter__(self) -> "Sandbox":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to meet these vendors. Ask after `start`."""
        here, s = f"{self.host}:{self.port}", "s" if self.certificate else ""
        return {
            "OPENAI_REALTIME_URL": f"ws{s}://{here}/v1/realtime",
            "OPENAI_API_KEY": self.openai.api_key,
            "XAI_BASE_URL": f"http{s}://{here}/v1",
            "XAI_API_KEY": self.xai.api_key,
            "ELEVENLABS_BASE_URL": f"http{s}://{here}",
            "ELEVENLABS_API_KEY": self.elevenlabs.api_key,
            "TWILIO_API_BASE_URL": f"http{s}://{here}",
            "TWILIO_ACCOUNT_SID": self.twilio.account_sid,
            "TWILIO_AUTH_TOKEN": self.twilio.auth_token,
            "PUBLIC_URL": "https://voice.example.com",
        }

    def app(self, environ: Environ, start_response: StartResponse) -> Body:
        path = environ["PATH_INFO"]
        if path.startswith("/v1/realtime"):
            return self.openai.app(environ, start_response)
        if path.startswith(("/v1/chat/", "/v1/models")):
            return self.xai.app(environ, start_response)
        if path.startswith(("/v1/text-to-speech/", "/v1/user", "/v2/voices")):
            return self.elevenlabs.app(environ, start_response)
        if path.startswith("/2010-04-01/"):
            return self.twilio.app(environ, start_response)
        return respond(start_response, 404, {"error": f"nobody answers {path}"})
