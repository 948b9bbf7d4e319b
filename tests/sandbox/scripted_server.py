"""A little voice server for tests of the phone: fixed TwiML, and a function that plays one side of the stream."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, abort, request
from flask_sock import Sock
from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from simple_websocket import ConnectionClosed
from twilio.request_validator import RequestValidator

PUBLIC = "https://voice.example.com"
ACCOUNT = "AC" + "a" * 32
TOKEN = "the auth token"
STREAM = (
    '<Connect><Stream url="wss://voice.example.com/stream"><Parameter name="token" value="abc"/></Stream></Connect>'
)


@dataclass
class Talk:
    """One stream, as the server has it."""

    ws: Any
    messages: list[dict[str, Any]] = field(default_factory=list)
    # Set when the script is over.
    over: Event = field(default_factory=Event)

    @property
    def stream_sid(self) -> str:
        return str(self.messages[1]["streamSid"])

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(m["media"]["payload"]) for m in self.all("media"))

    def all(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == event]

    def next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.ws.receive(timeout=10))
        self.messages.append(message)
        return message

    def read_until(self, done: Callable[[dict[str, Any]], bool]) -> None:
        while not done(self.next()):
            pass

    def send(self, event: str, **fields: object) -> None:
        self.ws.send(json.dumps({"event": event, "streamSid": self.stream_sid, **fields}))

    def play(self, audio: bytes, mark: str | None = None) -> None:
        self.send("media", media={"payload": base64.b64encode(audio).decode()})
        if mark is not None:
            self.send("mark", mark={"name": mark})


@dataclass
class ScriptedServer:
    """Answers each path with its TwiML (or status), refuses what is not signed, runs `script` for each stream."""

    documents: dict[str, str | int] = field(default_factory=dict)
    script: Callable[[Talk], None] = lambda talk: None
    # Forms of the requests in order, with their path as "path".
    forms: list[dict[str, str]] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    refuse_stream: int | None = None

    def __enter__(self) -> "ScriptedServer":
        self._server = WSGIServer(("127.0.0.1", 0), self._app(), spawn=Pool(), log=None)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(timeout=0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def paths(self) -> list[str]:
        return [form["path"] for form in self.forms]

    def _app(self) -> Flask:
        app = Flask(__name__)
        app.before_request(self._check)
        app.add_url_rule("/<path:path>", view_func=self._answer, methods=["GET", "POST"])
        Sock(app).route("/stream")(self._stream)
        return app

    def _check(self) -> None:
        ws = request.path == "/stream"
        address = (PUBLIC.replace("https", "wss") if ws else PUBLIC) + request.full_path.rstrip("?")
        if not RequestValidator(TOKEN).validate(address, request.form, request.headers["X-Twilio-Signature"]):
            abort(403)
        if ws and self.refuse_stream is not None:
            abort(self.refuse_stream)

    def _answer(self, path: str) -> Response:
        self.forms.append({"path": "/" + path, "method": request.method, **request.values.to_dict()})
        document = self.documents.get("/" + path, 204)
        if isinstance(document, int):
            return Response(status=document)
        return Response(f"<Response>{document}</Response>", content_type="text/xml")

    def _stream(self, ws: Any) -> None:
        talk = Talk(ws)
        self.talks.append(talk)
        try:
            talk.read_until(lambda message: message["event"] == "start")
            self.script(talk)
        except ConnectionClosed:
            pass  # tests look at what had come by then
        finally:
            talk.over.set()
