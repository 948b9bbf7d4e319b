"""Bad requests to a live server: Twilio's webhooks and the REST API."""

import json
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import gevent
import pytest
import requests
from gevent.server import StreamServer

from tests.conformance.conftest import API_TOKEN, MOST_A_MINUTE
from tests.conformance.inputs import each
from tests.conformance.live import LiveStream, over
from tests.running import wait_until
from tests.web.served import PUBLIC, Served, new_call_sid

pytestmark = pytest.mark.usefixtures("healthy")
Check = Callable[[Served, Any], None]
VOICE, STATUS = "/twilio/voice", "/twilio/status"


def _filled_in(payload: dict[str, Any]) -> dict[str, str]:
    """The form of a payload, its call one that nobody has seen."""
    form: dict[str, str] = payload.get("_form", {})
    return {name: value.replace("CA" + "b" * 32, new_call_sid()) for name, value in form.items()}


def _post(served: Served, path: str, payload: dict[str, Any]) -> requests.Response:
    """Signed as Twilio signs, unless the payload has a signature of its own."""
    form = _filled_in(payload)
    body = payload.get("_body")
    headers = served.sign(PUBLIC + path, form) | payload.get("_headers", {})
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    return requests.post(served.url + path, data=form if body is None else body, headers=encoded, timeout=10)


# Twilio's webhooks


def _forbidden(served: Served, payload: dict[str, Any]) -> None:
    answer = _post(served, VOICE, payload)
    assert answer.status_code == 403 and "Stream" not in answer.text


def _connected(served: Served, payload: dict[str, Any]) -> requests.Response:
    answer = _post(served, VOICE, payload)
    assert answer.status_code == 200
    assert re.findall(r'<Stream [^>]*?url="([^"]*)"', answer.text) == ["wss://voice.example.com/twilio/stream"]
    return answer


def _connects(served: Served, payload: dict[str, Any]) -> None:
    _connected(served, payload)


def _says_nothing_of_it(served: Served, payload: dict[str, Any]) -> None:
    """A name that nobody asked for stands neither in the answer nor in the log."""
    name = payload["_form"]["CallerName"]
    assert name[:50] not in _connected(served, payload).text + served.log()


def _one_line(served: Served, payload: dict[str, Any]) -> None:
    _connects(served, payload)
    served.wait_for_log("fake log line")
    assert len([line for line in served.log().splitlines() if "fake log line" in line]) == 1
    assert not any(line.startswith("INFO fake") for line in served.log().splitlines())


def _status(expected: int, path: str = VOICE) -> Check:
    def check(served: Served, payload: dict[str, Any]) -> None:
        answer = _post(served, path, payload)
        assert answer.status_code == expected
        assert "<Stream" not in answer.text

    return check


def _smuggled(served: Served, payload: dict[str, Any]) -> None:
    """Two lengths of one body, which two servers in a row could take in two ways."""
    form = urlencode({"CallSid": new_call_sid()})
    lines = f"POST {VOICE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(form)}\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection(("127.0.0.1", served.running.server.port), timeout=5) as connection:
        connection.sendall(f"{lines}\r\n{len(form):x}\r\n{form}\r\n0\r\n\r\n".encode())
        assert connection.recv(65536).split()[1] == b"400"


WEBHOOKS: dict[str, Check] = {
    "empty signature": _forbidden,
    "signature of another URL": _forbidden,
    "signature non-ASCII": _forbidden,
    "JSON body with bodySHA256 missing": _forbidden,
    "Host header spoofed": _connects,
    "From missing (withheld)": _connects,
    "From is a SIP URI": _connects,
    "From with CRLF": _one_line,
    "CallerName 10,000 characters": _says_nothing_of_it,
    "CallSid missing": _status(400),
    "CallStatus unknown": _connects,
    "body 1 MB": _status(413),
    "Content-Length and chunked together": _smuggled,
    "multipart body": _forbidden,
}


@pytest.mark.threat(1, 19, 21)
@each("webhook_voice", WEBHOOKS, elsewhere=("body one byte per 0.5 s",))
def test_a_bad_webhook(served: Served, payload: Any, expect: Check) -> None:
    expect(served, payload)


# The status callback


def _record(served: Served, call_sid: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    told: dict[str, Any] = requests.get(f"{served.url}/api/calls/{call_sid}", headers=headers, timeout=5).json()
    return told


def _stays_completed(served: Served, payload: dict[str, Any]) -> None:
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    for status in payload["_steps"]:
        form = {"CallSid": stream.call_sid, "CallStatus": status}
        assert served.post(STATUS, form).status_code == 204
    assert ": over, completed, " in over(served.running, stream.call_sid)
    wait_until(lambda: _record(served, stream.call_sid).get("result") == "completed", 5, "the end is recorded")
    assert served.post(STATUS, {"CallSid": stream.call_sid, "CallStatus": "ringing"}).status_code == 204
    assert _record(served, stream.call_sid)["result"] == "completed"


def _creates_nothing(served: Served, payload: dict[str, Any]) -> None:
    form = _filled_in(payload)
    assert _post(served, STATUS, {"_form": form}).status_code == 204
    assert _record(served, form["CallSid"])["error"] == "unknown_call"


def _fetches_nothing(served: Served, payload: dict[str, Any]) -> None:
    asked: list[object] = []
    server = StreamServer(("127.0.0.1", 0), lambda connection, address: asked.append(address))
    server.start()
    url = f"http://127.0.0.1:{server.server_port}/latest"
    for given in (payload["_form"]["RecordingUrl"], url):
        assert _post(served, STATUS, {"_form": payload["_form"] | {"RecordingUrl": given}}).status_code == 204
    server.stop()
    assert asked == []


CALLBACKS: dict[str, Check] = {
    "completed before ringing": _stays_completed,
    "status for an unknown call": _creates_nothing,
    "CallDuration negative": _creates_nothing,
    "RecordingUrl on another host": _fetches_nothing,
}


@each("webhook_status", CALLBACKS)
def test_a_bad_status_callback(served: Served, payload: Any, expect: Check) -> None:
    expect(served, payload)


# The REST API


def _answered(status: int, code: str) -> Check:
    """The payload's path and headers, or else a good `POST /api/calls`, with the payload's body."""

    def check(served: Served, payload: dict[str, Any]) -> None:
        answer = _ask(served, payload)
        assert answer.status_code == status, answer.text
        told = answer.json()
        assert told["error"] == code and told["message"]

    return check


def _ask(served: Served, payload: dict[str, Any]) -> requests.Response:
    method, _, path = payload.get("_path", "POST /api/calls").partition(" ")
    headers = {"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"}
    body = payload.get("_body")
    data = body if isinstance(body, str) else json.dumps(body)
    asked = requests.Request(method, served.url + path, headers | payload.get("_headers", {}), data=data).prepare()
    asked.url = served.url + path  # as it stands, not as requests would tidy it
    before = len(served.sandbox.twilio.requests)
    with requests.Session() as session:
        answer = session.send(asked, timeout=5)
    assert len(served.sandbox.twilio.requests) == before, "somebody was called"
    return answer


def _rate(served: Served, payload: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}

    def place(number: int) -> int:
        body = {"to": f"+155500{number:05d}"}
        return requests.post(f"{served.url}/api/calls", json=body, headers=headers, timeout=20).status_code

    asked = [gevent.spawn(place, number) for number in range(100)]
    answers = [greenlet.get(timeout=30) for greenlet in asked]
    assert (answers.count(201), answers.count(429)) == (MOST_A_MINUTE, 100 - MOST_A_MINUTE)


def _transfer_to_markup(served: Served, payload: dict[str, Any]) -> None:
    stream = LiveStream(served)
    stream.start(new_call_sid())
    stream.greeted()
    asked = {"_path": f"POST /api/calls/{stream.call_sid}/transfer", "_body": {"to": "</Dial><Dial>+1900"}}
    _answered(400, "unknown_target")(served, asked)
    assert stream.is_open()
    stream.stop()


# Different from the words of the input: wrong tokens are answered with 401 however many they are, because a limit for
# all who come through the same proxy would let a stranger lock the operator out, and nobody guesses 20 characters; a
# field that is none is named (400), and no request has a field for an address to call; a body beyond 64 kB is 413.
REQUESTS: dict[str, Check] = {
    "wrong key": _answered(401, "unauthorized"),
    "to missing": _answered(400, "invalid_number"),
    "to premium number": _answered(403, "number_not_allowed"),
    "to emergency number": _answered(400, "invalid_number"),
    "to with extension characters": _answered(400, "invalid_number"),
    "to array": _answered(400, "invalid_number"),
    "JSON broken": _answered(400, "invalid_json"),
    "wrong content type": _answered(415, "unsupported_media_type"),
    "greeting 100,000 characters": _answered(413, "too_large"),
    "callback URL to loopback": _answered(400, "unknown_field"),
    "callback URL decimal IP": _answered(400, "unknown_field"),
    "callback URL name that resolves to 10.0.0.1": _answered(400, "unknown_field"),
    "callback URL file scheme": _answered(400, "unknown_field"),
    "100 outbound calls in 1 s": _rate,
    "hang up unknown call": _answered(404, "unknown_call"),
    "call id path traversal": _answered(404, "not_found"),
    "sort by SQL": _answered(400, "unknown_query"),
    "transfer to a TwiML string": _transfer_to_markup,
}


@pytest.mark.threat(5)
@each("rest_api", REQUESTS)
def test_a_bad_request(served: Served, payload: Any, expect: Check) -> None:
    expect(served, payload)
