"""Twilio's doors: the webhooks and the stream. Everything here is signed by Twilio or answered with 403."""

import logging
from collections.abc import Callable, Mapping

from flask import Blueprint, Response, abort, request
from flask_sock import Sock
from simple_websocket import Server

from config.agents import agent_for
from voice import registry
from voice.call import Call, Services
from voice.web.tokens import Tokens
from voice.wires import telephone
from voice.wires.caller import Caller
from voice.wires.stream_socket import StreamSocket

BUSY = "All our lines are busy at the moment. Please call again in a few minutes."
_STREAM = "/twilio/stream"
_OVER = frozenset(("completed", "busy", "failed", "no-answer", "canceled"))
_SHOWN = 200
_BODY_TIMEOUT_S = 5.0

_log = logging.getLogger("voice.web")


class NoReader:
    """Stands in for the thread that flask-sock would read the socket on: our call reads it itself."""

    name = ""

    def __init__(self, target: Callable[[], None]) -> None:
        pass

    def start(self) -> None:
        pass


class TwilioDoors:
    def __init__(self, services: Services, tokens: Tokens, public_url: str, max_calls: int) -> None:
        self._services = services
        self._tokens = tokens
        self._public_url = public_url
        self._max_calls = max_calls

    def blueprint(self) -> Blueprint:
        doors = Blueprint("twilio", __name__)
        doors.before_request(self._only_twilio)
        for path, view in (
            ("/twilio/voice", self._voice),
            ("/twilio/resume", self._resume),
            ("/twilio/status", self._status),
            ("/twilio/stream-status", self._stream_status),
        ):
            doors.add_url_rule(path, view.__name__, view, methods=["POST"])
        Sock().route(_STREAM, bp=doors)(self._stream)
        return doors

    def _only_twilio(self) -> None:
        """403 before any vendor is connected, for the stream before the upgrade.

        Without a signature not a byte of the body is read.
        """
        stream = request.path == _STREAM
        if stream and "Origin" in request.headers:
            abort(403)  # a browser; Twilio sends none
        if "X-Twilio-Signature" not in request.headers:
            _log.warning(
                "refused a request without Twilio's signature for %s: %s",
                _shown(request.full_path.rstrip("?")),
                _peer(),
            )
            abort(403)
        base = self._public_url.replace("https://", "wss://", 1) if stream else self._public_url
        url = base + (request.path if stream else request.full_path.rstrip("?"))
        form: Mapping[str, str] = {} if stream else _form()
        if not self._services.telephone.signed(url, form, dict(request.headers)):
            _log.warning("refused a request without Twilio's signature for %s: %s", url, _peer())
            abort(403)
        if stream:
            _check_upgrade()

    def _voice(self) -> Response:
        call_sid, caller, called = (request.form.get(key, "") for key in ("CallSid", "From", "To"))
        if registry.live_calls() >= self._max_calls:
            _log.warning("%s: refused, %d calls are live", _shown(call_sid), registry.live_calls())
            return _twiml(telephone.apology(BUSY))
        agent = agent_for(self._services.agents, called, self._services.default_agent)
        _log.info("%s: from %s to %s, agent %s", _shown(call_sid), _shown(caller), _shown(called), agent.name)
        parameters = self._tokens.parameters(call_sid, agent.name, caller, called)
        return _twiml(telephone.stream(self._public_url, parameters))

    def _resume(self) -> Response:
        """Twilio comes here when a stream has ended and its call has not."""
        call_sid = request.form.get("CallSid", "")
        if registry.is_over(call_sid):
            return _twiml(telephone.hang_up())
        _log.warning("%s: its stream was lost, apologizing", _shown(call_sid))
        agent = agent_for(self._services.agents, request.form.get("To", ""), self._services.default_agent)
        return _twiml(telephone.apology(agent.apology))

    def _status(self) -> Response:
        call_sid, status = request.form.get("CallSid", ""), request.form.get("CallStatus", "")
        session = registry.session_of(call_sid)
        if session and status in _OVER:
            session.connection.request_end("caller-hung-up")
        return Response(status=204)

    def _stream_status(self) -> Response:
        if request.form.get("StreamEvent") == "stream-error":
            call_sid, error = request.form.get("CallSid", ""), request.form.get("StreamError", "")
            _log.warning("%s: Twilio reports an error of its stream: %s", _shown(call_sid), _shown(error))
        return Response(status=204)

    def _stream(self, ws: Server) -> None:
        stream = StreamSocket(ws.sock)
        # Ours from here on: flask-sock must not write a close frame of its own behind our last one.
        ws.connected = False
        if registry.live_calls() >= self._max_calls:
            stream.close(1013, "too many calls")
            return
        connection = registry.connect()
        _log.info("%s: stream accepted", connection.client_id)
        Call(Caller(stream, connection.client_id), connection, self._services).run(self._tokens.admit)


def _check_upgrade() -> None:
    """400 for a handshake that flask-sock would fail on with an error of its own."""
    if request.headers.get("Sec-WebSocket-Version") != "13" or not request.headers.get("Sec-WebSocket-Key"):
        abort(400)
    # flask-sock agrees to compression whenever it is offered; our frames are read without.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


def _form() -> Mapping[str, str]:
    """The body's fields; a body that pauses for 5 s is no body (400), and holds no connection."""
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        return request.form
    sock.settimeout(_BODY_TIMEOUT_S)
    try:
        return request.form
    finally:
        sock.settimeout(None)


def _twiml(text: str) -> Response:
    return Response(text, content_type="text/xml; charset=utf-8")


def _shown(text: str) -> str:
    return ascii(text[:_SHOWN])[1:-1]


def _peer() -> str:
    return _shown(str(request.remote_addr))
