"""An echo served as the server serves its streams: gunicorn, flask-sock's handshake, our StreamSocket on the greenlet.

Its own configuration, too: `gunicorn -c python:tests.conformance.echo tests.conformance.echo:app`. Path `/` has the
server's limit of a message, `/<bytes>` another one.
"""

from gevent import monkey

monkey.patch_all()

from flask import Flask, request  # noqa: E402
from flask_sock import Sock  # noqa: E402
from simple_websocket import Server  # noqa: E402
from websockets.protocol import State  # noqa: E402

from voice.web.twilio import NoReader  # noqa: E402
from voice.wires.stream_socket import MAX_MESSAGE_BYTES, StreamClosed, StreamSocket  # noqa: E402

worker_class = "gevent"
workers = 1
control_socket_disable = True

app = Flask("echo")
app.config["SOCK_SERVER_OPTIONS"] = {"thread_class": NoReader}
_sock = Sock(app)


class Echo(StreamSocket):
    """Binary messages come back too, which the server has no use for."""

    def _whole(self, message: bytes, binary: bool) -> None:
        if not binary:
            super()._whole(message, binary)
            return
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.send_binary(message)
                self._flush()


@_sock.route("/")  # type: ignore[untyped-decorator]
def echo(ws: Server) -> None:
    _echo(ws, MAX_MESSAGE_BYTES)


@_sock.route("/<int:limit>")  # type: ignore[untyped-decorator]
def echo_up_to(ws: Server, limit: int) -> None:
    _echo(ws, limit)


def _echo(ws: Server, limit: int) -> None:
    stream = Echo(ws.sock)
    stream._protocol.max_message_size = limit
    ws.connected = False
    try:
        while True:
            stream.send(stream.receive())
    except StreamClosed:
        stream.close()


@app.before_request
def without_compression() -> None:
    """As the server's doors do it."""
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
