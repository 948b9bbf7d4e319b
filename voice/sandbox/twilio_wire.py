"""Twilio's REST API at the level of HTTP: form bodies, error bodies, and the faults that a test may ask for."""

import errno
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import gevent

Form = dict[str, list[str]]
"""A form body: every name with its values, in order."""

REASONS = {200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
_LONGEST_TWIML = 4000


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of an answer: an HTTP status, or silence, or (neither given) a reset."""

    status: int | None = None
    code: int = 20500
    hang_s: float | None = None
    """Seconds without an answer; then the connection is reset."""


@dataclass(eq=False)
class Refusal(Exception):
    """An answer that is one of Twilio's errors."""

    status: int
    code: int
    message: str


def read_form(environ: Mapping[str, Any]) -> Form:
    """The body's fields, or the query's of a GET. Raises Refusal (20001) for a body that is not a form."""
    if environ["REQUEST_METHOD"] == "GET":
        return parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    body: bytes = environ["wsgi.input"].read()
    if body and not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        raise Refusal(400, 20001, "The body must be application/x-www-form-urlencoded")
    return parse_qs(body.decode(), keep_blank_values=True)


def require(form: Form, name: str, code: int) -> None:
    if not form.get(name, [""])[0]:
        raise Refusal(400, code, f"A '{name}' is required.")


def check_twiml(form: Form) -> None:
    if len(form.get("Twiml", [""])[0]) > _LONGEST_TWIML:
        raise Refusal(400, 20001, f"Twiml must be at most {_LONGEST_TWIML} characters")


def not_found(path: str) -> Refusal:
    return Refusal(404, 20404, f"The requested resource {path} was not found")


def error_body(refusal: Refusal) -> dict[str, Any]:
    more = f"https://www.twilio.com/docs/errors/{refusal.code}"
    return {"code": refusal.code, "message": refusal.message, "more_info": more, "status": refusal.status}


def cut(fault: Fault, environ: Mapping[str, Any]) -> None:
    """Answer nothing proper. Raises Refusal, or ConnectionResetError, upon which gevent's pywsgi just closes."""
    if fault.status is not None:
        raise Refusal(fault.status, fault.code, "This answer was asked for")
    if fault.hang_s is not None:
        gevent.sleep(fault.hang_s)
    # A close that lingers for zero seconds is a reset. The socket is where gevent's pywsgi keeps it.
    connection: socket.socket = environ["wsgi.input"].rfile.raw._sock
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError(errno.ECONNRESET, "This reset was asked for")
