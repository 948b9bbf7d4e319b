"""The server under test as Twilio sees it: signed webhooks, and streams that say what a test wants."""

import secrets
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import orjson
import requests
import websocket
from twilio.request_validator import RequestValidator

from tests.running import Running, wait_until
from voice.sandbox.stand_ins import Sandbox

MAX_CALLS = 3
PUBLIC = "https://voice.example.com"
_PATIENCE_S = 5.0


def new_call_sid() -> str:
    return "CA" + secrets.token_hex(16)


@dataclass
class Served:
    running: Running
    _log_from: int = 0

    @property
    def sandbox(self) -> Sandbox:
        return self.running.sandbox

    @property
    def url(self) -> str:
        return self.running.server.url

    # Webhooks

    def sign(self, url: str, form: dict[str, str] | None = None) -> dict[str, str]:
        signature = RequestValidator(self.sandbox.twilio.auth_token).compute_signature(url, form or {})
        return {"X-Twilio-Signature": signature, "X-Forwarded-Proto": "https"}

    def post(self, path: str, form: dict[str, str]) -> requests.Response:
        """A webhook as Twilio sends it."""
        return requests.post(self.url + path, data=form, headers=self.sign(PUBLIC + path, form), timeout=10)

    def parameters(self, call_sid: str, **more: str) -> dict[str, str]:
        """What the voice webhook gives the stream of this call."""
        form = {"CallSid": call_sid, "From": "+15550001111", "To": "+15559990000", "CallStatus": "ringing"} | more
        document = ElementTree.fromstring(self.post("/twilio/voice", form).text)
        return {p.get("name", ""): p.get("value", "") for p in document.iter("Parameter")}

    def ready(self) -> int:
        return requests.get(f"{self.url}/readyz", timeout=5).status_code

    # Streams

    def upgrade(self, headers: dict[str, str] | None = None, path: str = "/twilio/stream") -> "Stream":
        """Open the stream's socket; signed, unless other headers are given. Raises WebSocketBadStatusException."""
        given = self.sign(PUBLIC.replace("https", "wss") + path) if headers is None else headers
        url = self.url.replace("http", "ws", 1) + path
        socket = websocket.create_connection(url, timeout=_PATIENCE_S, header=given, suppress_origin=True)
        return Stream(socket)

    # What it leaves behind

    def vendors_connected(self) -> int:
        return len(self.sandbox.openai.sessions) + len(self.sandbox.elevenlabs.sockets)

    def forget_log(self) -> None:
        self._log_from = self.running.log_path.stat().st_size

    def log(self) -> str:
        """What was logged since `forget_log`."""
        return self.running.log_path.read_bytes()[self._log_from :].decode()

    def wait_for_log(self, words: str) -> str:
        wait_until(lambda: words in self.log(), _PATIENCE_S, f"{words!r} in the log")
        return self.log()


@dataclass
class Stream:
    """Twilio's end of one stream, byte for byte what a test says."""

    socket: Any

    def send(self, message: object) -> None:
        self.socket.send(message if isinstance(message, str) else orjson.dumps(message).decode())

    def start(self, call_sid: str, parameters: dict[str, str], **changes: object) -> str:
        """`connected` and `start`; gives the stream's id."""
        stream_sid = "MZ" + secrets.token_hex(16)
        start = {
            "accountSid": "AC" + "0" * 32,
            "streamSid": stream_sid,
            "callSid": call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": parameters,
            **changes,
        }
        self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self.send({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_sid})
        return stream_sid

    def closed(self) -> tuple[int, str]:
        """Code and reason of the server's close frame, whatever comes before it. Raises what the socket raises."""
        while True:
            opcode, data = self.socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode()

    def next(self) -> Any:
        """The server's next message."""
        return orjson.loads(self.socket.recv())

    def leave(self) -> None:
        self.socket.shutdown()
