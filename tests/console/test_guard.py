"""Who gets into the console, and on whose behalf something is done there."""

import time

import pytest
import websocket
from itsdangerous import URLSafeTimedSerializer

from tests.console.conftest import Site
from tests.console.visitor import TOKEN, Visitor
from voice.web.console.sessions import LIFETIME_S, TRIES_A_MINUTE, Sessions

SID = "CA" + "0" * 32
PAGES = [
    "/console",
    "/console/events",
    "/console/calls",
    "/console/calls.csv",
    "/console/phone",
    f"/console/calls/{SID}",
    f"/console/calls/{SID}/call.json",
    f"/console/calls/{SID}/log.jsonl",
    f"/console/calls/{SID}/case.jsonl",
    f"/console/calls/{SID}/recording.wav",
]
ACTS = [
    "/console/logout",
    "/console/phone/calls",
    f"/console/calls/{SID}/hangup",
    f"/console/calls/{SID}/transfer",
]


@pytest.mark.threat(12)
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("cookie", ["", "nonsense", "ImFkbWluIg.aaaaaa.bbbbbb"])
def test_nobody_sees_anything_without_having_logged_in(site: Site, path: str, cookie: str) -> None:
    visitor = Visitor(site.url)
    visitor.http.cookies.set("voice_console", cookie)
    answered = visitor.get(path, headers={"Origin": site.url})
    assert answered.status_code == 401
    assert "csrf" not in answered.text and "Set-Cookie" not in answered.headers


@pytest.mark.threat(12)
@pytest.mark.parametrize("path", ACTS)
def test_nobody_does_anything_without_having_logged_in(site: Site, path: str) -> None:
    assert Visitor(site.url).post(path, json={}).status_code == 401


@pytest.mark.threat(12)
def test_the_session_is_a_cookie_that_no_script_and_no_other_site_gets(site: Site) -> None:
    answered = Visitor(site.url).log_in()
    cookie = answered.headers["Set-Cookie"]
    assert (answered.status_code, answered.headers["Location"]) == (303, "/console/calls")
    for part in ("HttpOnly", "SameSite=Lax", "Path=/console", f"Max-Age={LIFETIME_S}"):
        assert part in cookie
    assert "Secure" not in cookie, "on a loopback address there is no HTTPS"
    behind_proxy = {"Host": "voice.example.com", "Origin": "https://voice.example.com"}
    assert "Secure" in Visitor(site.url).log_in(headers=behind_proxy).headers["Set-Cookie"]


@pytest.mark.threat(12)
def test_a_session_ends_with_log_out_with_time_and_with_the_token(site: Site) -> None:
    visitor = site.visitor()
    assert visitor.get("/console/calls").status_code == 200
    assert visitor.post("/console/logout", data={"csrf": visitor.csrf()}).status_code == 303
    assert visitor.get("/console/calls").status_code == 401

    sessions = Sessions(TOKEN)
    session = sessions.of(sessions.log_in(TOKEN) or "")
    assert session and abs(session.until - time.time() - LIFETIME_S) < 5
    old = URLSafeTimedSerializer(sessions._key, salt="console-session")
    old_signer = old.make_signer
    old.make_signer = lambda salt=None: _Earlier(old_signer(salt))  # type: ignore[assignment,method-assign]
    assert sessions.of(str(old.dumps("0" * 32))) is None
    assert Sessions(TOKEN + "x").of(sessions.log_in(TOKEN) or "") is None, "another token, other sessions"


class _Earlier:
    """Signs as it did thirteen hours ago."""

    def __init__(self, signer: object) -> None:
        self._signer = signer

    def sign(self, value: bytes) -> bytes:
        self._signer.get_timestamp = lambda: int(time.time()) - LIFETIME_S - 3600  # type: ignore[attr-defined]
        signed: bytes = self._signer.sign(value)  # type: ignore[attr-defined]
        return signed


@pytest.mark.threat(12)
def test_nobody_goes_on_in_a_session_that_was_put_under_him(site: Site, visitor: Visitor) -> None:
    put, csrf = visitor.cookie(), visitor.csrf()
    assert visitor.log_in().status_code == 303
    assert visitor.cookie() != put and visitor.csrf() != csrf


@pytest.mark.threat(12)
def test_ten_tries_a_minute(site: Site) -> None:
    visitor = Visitor(site.url)
    # Either of the two workers may be asked; each counts for itself.
    tries = [visitor.log_in(f"wrong-{n}").status_code for n in range(2 * TRIES_A_MINUTE + 1)]
    assert set(tries[:TRIES_A_MINUTE]) == {401} and tries[-1] == 429
    statuses = {visitor.log_in().status_code for _ in range(20)}
    assert 429 in statuses, "not even with the right token"


@pytest.mark.threat(14)
@pytest.mark.parametrize("path", ACTS)
@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1.evil.example"]
)
def test_nothing_is_done_for_another_site(visitor: Visitor, path: str, origin: str | None) -> None:
    answered = visitor.post(path, origin, json={}, headers={"X-CSRF-Token": visitor.csrf()})
    assert answered.status_code == 403


@pytest.mark.threat(14)
@pytest.mark.parametrize("path", ACTS)
def test_nothing_is_done_without_the_forms_token(visitor: Visitor, path: str) -> None:
    assert visitor.post(path, json={}).status_code == 403
    assert visitor.post(path, json={}, headers={"X-CSRF-Token": "0" * 64}).status_code == 403
    assert visitor.post(path, data={"csrf": "ü"}).status_code == 403


@pytest.mark.threat(14, 15)
@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_no_other_sites_page_opens_the_phones_stream(site: Site, visitor: Visitor, origin: str | None) -> None:
    assert _refused_stream(site, visitor.cookie(), origin) == 403


@pytest.mark.threat(12)
def test_nobody_opens_the_phones_stream_without_having_logged_in(site: Site) -> None:
    assert _refused_stream(site, "voice_console=nonsense", site.url) == 401


def _refused_stream(site: Site, cookie: str, origin: str | None) -> int:
    url = site.url.replace("http", "ws") + "/console/phone/stream"
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(url, timeout=5, cookie=cookie, origin=origin, suppress_origin=origin is None)
    return int(refused.value.status_code)


@pytest.mark.threat(13)
@pytest.mark.parametrize("path", ["/console", "/console/calls", "/console/phone", "/console/static/live.js"])
def test_a_page_runs_no_script_but_ours(visitor: Visitor, path: str) -> None:
    answered = visitor.get(path)
    policy = answered.headers["Content-Security-Policy"]
    assert answered.status_code == 200
    assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answered.headers["X-Content-Type-Options"] == "nosniff"
    if path.endswith(".js"):
        assert "innerHTML" not in answered.text and "eval(" not in answered.text
    else:
        assert answered.headers["Cache-Control"] == "no-store"
        assert "style=" not in answered.text and "onclick=" not in answered.text and "<script>" not in answered.text


@pytest.mark.threat(12)
@pytest.mark.parametrize(
    "then", ["https://evil.example", "//evil.example", "/console//evil", "/consol", "/console\\evil", "\r\nX: y"]
)
def test_the_log_in_leads_nowhere_else(then: str) -> None:
    from voice.web.console import guard

    assert guard.then(then) == "/console"
    assert guard.then("/console/calls?words=a") == "/console/calls?words=a"


def test_every_worker_accepts_the_session(visitor: Visitor) -> None:
    assert {visitor.get("/console/calls").status_code for _ in range(12)} == {200}
