"""The HTTP side of the stand-ins: answers, and the hold on the connection that faults and WebSockets need."""

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import orjson
from gevent.pywsgi import WSGIHandler

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Body = Iterable[bytes]


class Handler(WSGIHandler):  # type: ignore[misc]
    """pywsgi's handler that also shows the application its TCP connection."""

    def get_environ(self) -> Environ:
        environ: Environ = super().get_environ()
        environ["sandbox.connection"] = self.socket
        # Small events on a warm connection wait 40 ms for the peer's delayed ACK otherwise.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return environ


def respond(
    start_response: StartResponse,
    status: int,
    body: object,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> list[bytes]:
    """A whole HTTP answer; `body` is sent as it is when it is bytes, else as JSON."""
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    head = [("Content-Type", content_type), ("Content-Length", str(len(payload))), *(headers or {}).items()]
    start_response(f"{status} {HTTPStatus(status).phrase}", head)
    return [payload]


def query(environ: Environ) -> dict[str, str]:
    """The query string; the last value of a name that comes twice."""
    return {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", ""), True).items()}


def request_body(environ: Environ) -> bytes:
    """All of it. Raises ConnectionResetError if the client leaves before, which the server takes in silence."""
    try:
        body: bytes = environ["wsgi.input"].read()
    except OSError as error:
        raise ConnectionResetError(errno.ECONNRESET, "the client left in the middle of its request") from error
    return body


def request_headers(environ: Environ) -> dict[str, str]:
    """Header names in lower case with dashes."""
    named = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    return {name.lower().replace("_", "-"): value for name, value in named.items()}


def wait_for_departure(environ: Environ) -> None:
    """Return when the client has closed its side; what it still sends is left unread."""
    connection = environ["sandbox.connection"]
    try:
        while connection.recv(65536):
            pass
    except OSError:
        return


def reset(connection: socket.socket) -> None:
    """End a TCP connection with RST, as a dying machine or a firewall does."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server's buffered reader shares the descriptor, so close() alone would leave it open.
        socket.close(connection.detach())
    except OSError:
        return
