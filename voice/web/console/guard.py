"""Nobody gets past it without having logged in, nothing is done for another site, and pages run no script but ours."""

import hmac
from urllib.parse import urlsplit

from flask import Response, g, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue

from voice.web.console.sessions import LIFETIME_S, Session, Sessions
from voice.web.shown import shown
from voice.web.signed import check_upgrade

COOKIE = "voice_console"
STREAM = "/console/phone/stream"
_SAFE = ("GET", "HEAD", "OPTIONS")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With none at all a browser would tell no Origin either.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    def __init__(self, sessions: Sessions, public_url: str) -> None:
        self._sessions = sessions
        self._public_host = urlsplit(public_url).netloc

    def check(self) -> ResponseReturnValue | None:
        """Before every request of the console; `g.session` and `g.csrf` are there afterwards, but for the log-in."""
        endpoint = (request.endpoint or "").rpartition(".")[2]
        if endpoint == "static":
            return None
        if not self._sessions.is_on:
            return make_response(render_template("console/off.html"), 401)
        is_stream = request.path == STREAM
        if (request.method not in _SAFE or is_stream) and not self._is_own_page():
            return _refused(403, "this comes from another site")
        if endpoint == "log_in":
            return None
        session = self._sessions.of(request.cookies.get(COOKIE, ""))
        if session is None:
            return self._unknown()
        g.session, g.csrf = session, self._sessions.csrf(session)
        if request.method not in _SAFE and not self._has_csrf():
            return _refused(403, "the form is too old: load the page again")
        if is_stream:
            check_upgrade()
        return None

    def _is_own_page(self) -> bool:
        """A browser tells which page a POST or a socket comes from; whoever tells nothing is none."""
        origin = urlsplit(request.headers.get("Origin", ""))
        return origin.scheme in ("http", "https") and origin.netloc in (request.host, self._public_host)

    def _has_csrf(self) -> bool:
        given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
        return hmac.compare_digest(given.encode(), g.csrf.encode())

    def _unknown(self) -> ResponseReturnValue:
        wants_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
        if wants_page and request.path != STREAM:
            return make_response(render_template("console/login.html", then=request.full_path.rstrip("?")), 401)
        return _refused(401, "log in first")


def headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if not response.headers.get("Cache-Control"):
        response.headers["Cache-Control"] = "no-store"
    return response


def keep(response: Response, cookie: str) -> None:
    """Have the browser keep the session."""
    # A browser takes a Secure cookie over HTTPS only, and Safari on no loopback address without it.
    on_loopback = request.host.rpartition(":")[0] in _LOOPBACK or request.host in _LOOPBACK
    response.set_cookie(
        COOKIE, cookie, LIFETIME_S, path="/console", secure=not on_loopback, httponly=True, samesite="Lax"
    )


def forget(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/console")


def session() -> Session:
    """Of this request."""
    found = g.session
    assert isinstance(found, Session)
    return found


def then(path: str) -> str:
    """Where to go after the log-in: a page of the console, and nowhere else."""
    fits = path.startswith("/console") and path == shown(path) and "\\" not in path and "//" not in path
    return path if fits else "/console"


def _refused(status: int, message: str) -> Response:
    code = {401: "unauthorized", 403: "forbidden"}[status]
    return make_response(jsonify(error=code, message=message), status)
