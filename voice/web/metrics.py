"""The figures, for Prometheus: at the machine itself, or with the bearer token."""

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, request

from voice.metrics.exposure import exposed

# A proxy on this machine asks from it, too, for whomever it serves.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_door(token: str | None) -> Blueprint:
    """Without a `token` the machine itself is the only reader."""
    doors = Blueprint("metrics", __name__)

    @doors.get("/metrics")
    def metrics() -> Response:
        if not (_is_local() or _has(token)):
            abort(Response(status=401, headers={"WWW-Authenticate": "Bearer"}))
        return Response(exposed(), content_type=_CONTENT_TYPE)

    return doors


def _has(token: str | None) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    known = token is not None and hmac.compare_digest(given.strip().encode(), token.encode())
    return known and scheme.lower() == "bearer"


def _is_local() -> bool:
    """Whoever asks sits on this machine and asks for it by its name or address, through no proxy."""
    if not _is_loopback(request.remote_addr or "") or any(name in request.headers for name in _FORWARDED):
        return False
    # Also of a page whose host's name was made to lead here.
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
