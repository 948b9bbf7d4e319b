"""Twilio's signature: whoever comes without it gets 403 before anything else happens."""

import logging
import socket
import threading
from collections.abc import Mapping

from flask import abort, request

from voice.web.shown import peer, shown
from voice.wires.telephone import Telephone

STREAM = "/twilio/stream"
_FORM = "application/x-www-form-urlencoded"
_BODY_TIMEOUT_S = 5.0

_log = logging.getLogger("voice.web")


def only_twilio(telephone: Telephone, public_url: str) -> None:
    """403 before any vendor is connected, for the stream before the upgrade.

    Without a signature not a byte of the body is read.
    """
    stream = request.path == STREAM
    if stream and "Origin" in request.headers:
        abort(403)  # a browser; Twilio sends none
    if "X-Twilio-Signature" not in request.headers:
        asked = shown(request.full_path.rstrip("?"))
        _log.warning("refused a request without Twilio's signature for %s: %s", asked, peer())
        abort(403)
    base = public_url.replace("https://", "wss://", 1) if stream else public_url
    url = base + (request.path if stream else request.full_path.rstrip("?"))
    form: Mapping[str, str] = {} if stream else form_in_time()
    # What is no form is not signed: of another body Twilio signs a hash in the address, and it sends us none.
    known = request.mimetype in ("", _FORM)
    if not known or not telephone.signed(url, form, dict(request.headers)):
        _log.warning("refused a request without Twilio's signature for %s: %s", url, peer())
        abort(403)
    if stream:
        check_upgrade()


def check_upgrade() -> None:
    """400 for a handshake that flask-sock would fail on with an error of its own."""
    if request.headers.get("Sec-WebSocket-Version") != "13" or not request.headers.get("Sec-WebSocket-Key"):
        abort(400)
    # flask-sock agrees to compression whenever it is offered; our frames are read without.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


def form_in_time() -> Mapping[str, str]:
    """The body's fields; a body that takes longer than 5 s is no body (400), and holds no connection."""
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        return request.form
    # A timeout of the socket begins anew with every byte: whoever drips would hold the connection for days.
    cut = threading.Timer(_BODY_TIMEOUT_S, sock.shutdown, [socket.SHUT_RD])
    cut.start()
    try:
        return request.form
    finally:
        cut.cancel()
