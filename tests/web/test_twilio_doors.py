"""The doors under a real gunicorn: what Twilio may do, what nobody else may, and a log without an error in it."""

import http.client
import re
import socket
import time
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import gevent
import pytest
import requests
import websocket

from tests.running import wait_until
from tests.web.served import MAX_CALLS, PUBLIC, Served, new_call_sid
from voice.services import Admission
from voice.web.tokens import Tokens
from voice.web.twilio import BUSY

WEBHOOKS = (
    "/twilio/voice",
    "/twilio/resume",
    "/twilio/transfer",
    "/twilio/transfer/whisper",
    "/twilio/amd",
    "/twilio/status",
    "/twilio/stream-status",
)
WSS = PUBLIC.replace("https", "wss") + "/twilio/stream"
# Characters that compress badly, four bytes each.
RARE = "".join(chr(0x10000 + n * 7919 % 0x8000) for n in range(100))
HANG_UP = '<?xml version="1.0" encoding="UTF-8"?><Response><Hangup /></Response>'


def form_of(call_sid: str, **more: str) -> dict[str, str]:
    form = {"CallSid": call_sid, "From": "+15550001111", "To": "+15559990000", "CallStatus": "ringing"}
    return form | more


def statuses(headers: dict[str, str], served: Served) -> int:
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        served.upgrade(headers)
    return int(caught.value.status_code)


# Who may knock


@pytest.mark.threat(1)
@pytest.mark.parametrize("path", WEBHOOKS)
def test_a_webhook_without_twilios_signature_is_forbidden(served: Served, path: str) -> None:
    form = form_of(new_call_sid())
    others = [
        {},
        {"X-Twilio-Signature": ""},
        {"X-Twilio-Signature": "nonsense"},
        {"X-Twilio-Signature": "\xe9" * 28},
        served.sign(PUBLIC + path, form | {"From": "+1666"}),
        served.sign(PUBLIC + path + "?agent=x", form),
        served.sign(served.url + path, form),
        served.sign(PUBLIC + path, form) | {"X-Twilio-Webhooks-Signature-Settings": "key=1,algorithm=HMAC_SHA256"},
        served.sign(PUBLIC + path, form) | {"X-Twilio-Webhooks-Signature-Settings": "algorithm=none"},
    ]
    answers = [requests.post(served.url + path, data=form, headers=h, timeout=5) for h in others]
    assert [answer.status_code for answer in answers] == [403] * len(others)
    assert not any("Stream" in answer.text or "Say" in answer.text for answer in answers)


@pytest.mark.parametrize("path", WEBHOOKS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_a_webhook_is_a_post_and_nothing_else(served: Served, path: str, method: str) -> None:
    for headers in ({}, served.sign(PUBLIC + path)):
        assert requests.request(method, served.url + path, headers=headers, timeout=5).status_code == 405


@pytest.mark.threat(1)
def test_the_query_is_part_of_what_is_signed(served: Served) -> None:
    path = "/twilio/voice?a=%20b&c="
    assert served.post(path, form_of(new_call_sid())).status_code == 200


@pytest.mark.threat(15)
@pytest.mark.parametrize("origin", ["https://voice.example.com", "null", ""])
def test_a_browser_is_forbidden_even_with_a_signature(served: Served, origin: str) -> None:
    before = served.vendors_connected()
    assert statuses(served.sign(WSS) | {"Origin": origin}, served) == 403
    assert served.vendors_connected() == before


@pytest.mark.threat(2)
def test_a_stream_that_is_not_signed_is_forbidden_before_the_upgrade_and_no_vendor_is_connected(
    served: Served,
) -> None:
    before = served.vendors_connected()
    https = PUBLIC + "/twilio/stream"
    others = [{}, {"X-Twilio-Signature": "x"}, served.sign(https), served.sign(WSS + "/"), served.sign(WSS, {"a": "b"})]
    assert [statuses(headers, served) for headers in others] == [403] * len(others)
    assert served.vendors_connected() == before
    assert "stream accepted" not in served.log()


@pytest.mark.threat(2)
def test_a_signed_stream_is_accepted_and_the_vendors_are_connected_at_once(served: Served) -> None:
    before = served.vendors_connected()
    stream = served.upgrade()
    wait_until(lambda: served.vendors_connected() == before + 2, 5, "both vendors")
    stream.leave()
    wait_until(lambda: all(s.closed for s in served.sandbox.openai.sessions), 5, "the end of the transcriber's session")
    wait_until(lambda: all(s.closed for s in served.sandbox.elevenlabs.sockets), 5, "the end of the synthesizer's")


@pytest.mark.threat(18)
def test_compression_is_not_agreed_to_though_the_client_offers_it(served: Served) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    stream = served.upgrade(served.sign(WSS) | offer)
    assert "sec-websocket-extensions" not in stream.socket.handshake_response.headers
    stream.leave()


@pytest.mark.parametrize(
    "request_line",
    ["GET /twilio/stream HTTP/1.1", "POST /twilio/stream HTTP/1.1", "GET /twilio/stream/ HTTP/1.1"],
)
def test_a_stream_that_is_no_upgrade_is_a_bad_request(served: Served, request_line: str) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in served.sign(WSS).items())
    assert raw(served, f"{request_line}\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode()) in (400, 404, 405)


@pytest.mark.parametrize(
    "lines",
    [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 8\r\n",
    ],
)
def test_a_signed_upgrade_that_is_incomplete_is_a_bad_request(served: Served, lines: str) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in served.sign(WSS).items())
    status = raw(served, f"GET /twilio/stream HTTP/1.1\r\nHost: x\r\n{head}{lines}\r\n".encode())
    assert status in (400, 426)


def raw(served: Served, request: bytes) -> int:
    """The status that answers these bytes."""
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
        connection.sendall(request)
        answer = connection.recv(65536)
    return int(answer.split(b" ", 2)[1])


@pytest.mark.threat(17)
@pytest.mark.parametrize(("signed", "status"), [(True, 413), (False, 403)])
def test_a_body_over_64_kb_is_too_large_and_without_a_signature_not_even_read(
    served: Served, signed: bool, status: int
) -> None:
    form = form_of(new_call_sid(), Padding="x" * 70_000)
    headers = served.sign(PUBLIC + "/twilio/voice", form) if signed else {}
    assert requests.post(served.url + "/twilio/voice", data=form, headers=headers, timeout=5).status_code == status


@pytest.mark.parametrize(("padding", "status"), [(100, 200), (70_000, 403)])
def test_a_body_of_no_stated_length_is_read_up_to_the_same_limit(served: Served, padding: int, status: int) -> None:
    form = form_of(new_call_sid(), Padding="x" * padding)
    headers = served.sign(PUBLIC + "/twilio/voice", form) | {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form).encode()
    pieces = iter([body[:50], body[50:]])
    # What is beyond the limit is cut off, and then the signature is wrong.
    answer = requests.post(served.url + "/twilio/voice", data=pieces, headers=headers, timeout=5)
    assert answer.status_code == status


def test_a_body_of_64_kb_is_taken(served: Served) -> None:
    form = form_of(new_call_sid(), Padding="x" * 65_000)
    assert served.post("/twilio/voice", form).status_code == 200


def test_a_path_that_is_none_is_not_found(served: Served) -> None:
    for path in ("/", "/twilio", "/twilio/voice/", "/console/../twilio/voicex", "/%00", "/\xff"):
        assert requests.get(served.url + path, timeout=5).status_code == 404


# What the webhooks answer


def test_a_call_is_connected_to_our_stream(served: Served) -> None:
    call_sid = new_call_sid()
    answer = served.post("/twilio/voice", form_of(call_sid))
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
    document = ElementTree.fromstring(answer.text)
    assert [verb.tag for verb in document] == ["Connect", "Redirect"]
    (stream,) = document.iter("Stream")
    assert stream.get("url") == WSS
    assert {p.get("name") for p in stream} == {"token", "agent"}


@pytest.mark.parametrize("caller", ["anonymous", "", "sip:" + '"\\' * 60, "\U0001f600", RARE])
def test_a_parameter_stays_below_twilios_500_characters_whatever_the_number(served: Served, caller: str) -> None:
    answer = served.post("/twilio/voice", form_of(new_call_sid(), From=caller, To=caller[::-1]))
    for parameter in ElementTree.fromstring(answer.text).iter("Parameter"):
        assert len(parameter.get("name", "")) + len(parameter.get("value", "")) < 500


@pytest.mark.parametrize("path", ["/twilio/status", "/twilio/stream-status"])
def test_a_callback_is_answered_with_nothing(served: Served, path: str) -> None:
    for form in ({}, form_of(new_call_sid(), CallStatus="completed"), {"StreamEvent": "stream-error"}):
        answer = served.post(path, form)
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.threat(19)
def test_no_text_of_a_webhook_makes_a_second_line_in_the_log(served: Served) -> None:
    evil = "\r\n2026-01-01T00:00:00.000 ERROR forged\x1b[2J\u2028x"
    served.post("/twilio/voice", form_of("CA" + evil, From=evil, To=evil))
    served.post("/twilio/resume", form_of("CA" + evil, From=evil))
    served.post("/twilio/stream-status", {"CallSid": evil, "StreamEvent": "stream-error", "StreamError": evil})
    requests.post(served.url + "/twilio/voice?" + "%0d%0aforged", data={}, timeout=5)
    log = served.wait_for_log("without Twilio's signature")
    lines = [line for line in log.splitlines() if "forged" in line]
    assert len(lines) == 4, log
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+ (INFO|WARNING) voice\.web ", line) for line in log.splitlines()), log
    assert "\x1b" not in log


# The token


def refused(served: Served, call_sid: str, parameters: dict[str, str]) -> str:
    """The reason with which a stream of this call is closed for a policy violation."""
    stream = served.upgrade()
    stream.start(call_sid, parameters)
    code, reason = stream.closed()
    stream.leave()
    assert code == 1008
    return reason


@pytest.mark.threat(2)
def test_a_stream_without_its_token_is_refused(served: Served) -> None:
    call_sid = new_call_sid()
    good = served.parameters(call_sid)
    stale = Tokens("another secret").parameters(call_sid, Admission(good["agent"], "+1", "+2"))
    for parameters in ({}, {"token": ""}, {"token": "x.y.z"}, {"token": "é"}, {"token": good["token"][:-1]}, stale):
        assert "token is missing, wrong or too old" in refused(served, call_sid, parameters)


@pytest.mark.threat(2, 3)
def test_a_token_is_good_for_its_own_call_only(served: Served) -> None:
    parameters = served.parameters(new_call_sid())
    assert "belongs to another call" in refused(served, new_call_sid(), parameters)


@pytest.mark.threat(3)
def test_a_token_is_good_once(served: Served) -> None:
    call_sid = new_call_sid()
    parameters = served.parameters(call_sid)
    stream = served.upgrade()
    stream.start(call_sid, parameters)
    assert stream.next()["event"] == "media", "the greeting"
    stream.leave()
    served.wait_for_log(f"{call_sid}: over,")
    assert "token is spent" in refused(served, call_sid, parameters)


def test_the_agent_is_the_one_that_the_webhook_chose(served: Served) -> None:
    call_sid = new_call_sid()
    parameters = served.parameters(call_sid) | {"agent": "somebody-else"}
    assert "asks for agent" in refused(served, call_sid, parameters)


def test_an_agent_that_is_none_is_refused(served: Served) -> None:
    call_sid = new_call_sid()
    tokens = Tokens(served.sandbox.twilio.auth_token)
    assert "no agent 'ghost'" in refused(served, call_sid, tokens.parameters(call_sid, Admission("ghost", "+1", "+2")))


@pytest.mark.parametrize(
    "changes",
    [
        {"callSid": "CA1"},
        {"callSid": None},
        {"streamSid": "MZ" + "g" * 32},
        {"mediaFormat": {"encoding": "audio/l16", "sampleRate": 8000, "channels": 1}},
        {"customParameters": None},
        {"customParameters": {"token": 1}},
        {"customParameters": []},
    ],
)
def test_a_malformed_start_is_refused(served: Served, changes: dict[str, object]) -> None:
    call_sid = new_call_sid()
    stream = served.upgrade()
    stream.start(call_sid, served.parameters(call_sid), **changes)
    assert stream.closed()[0] == 1008
    stream.leave()


@pytest.mark.matrix(38)
@pytest.mark.threat(4)
def test_a_stream_that_never_starts_is_closed_within_six_seconds(served: Served) -> None:
    began = time.monotonic()
    streams = [served.upgrade(), served.upgrade()]
    streams[1].send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    for stream in streams:
        stream.socket.settimeout(6.5)
        assert stream.closed() == (1008, "no start within 5 s")
        stream.leave()
    assert 4 < time.monotonic() - began < 6


# One call, too many calls, a call that is over


@pytest.mark.threat(3)
def test_a_second_stream_of_a_live_call_is_refused_and_the_first_goes_on(served: Served) -> None:
    with served.running.phone() as phone:
        phone.wait_until_heard("How can I help you")
        second = served.parameters(phone.call_sid)
        assert "its call has begun before" in refused(served, phone.call_sid, second)
        phone.wait_until_silent()
        phone.say("hello")
        phone.wait_until_heard("this is the Riverside Clinic")
        assert phone.errors == [] and len(phone.streams) == 1


def test_the_call_beyond_the_last_is_refused_politely_and_the_server_says_that_it_is_full(served: Served) -> None:
    assert served.ready() == 200
    streams = [served.upgrade() for _ in range(MAX_CALLS)]
    for stream in streams:
        call_sid = new_call_sid()
        parameters = served_parameters_when_full(call_sid, served)
        stream.start(call_sid, parameters)
        assert stream.next()["event"] == "media", "the greeting"
    assert served.ready() == 503
    answer = served.post("/twilio/voice", form_of(new_call_sid()))
    assert answer.status_code == 200
    document = ElementTree.fromstring(answer.text)
    assert [(verb.tag, verb.text) for verb in document] == [("Say", BUSY), ("Hangup", None)]
    one_more = served.upgrade()
    assert one_more.closed()[0] == 1013
    one_more.leave()
    streams.pop().leave()
    wait_until(lambda: served.ready() == 200, 5, "a free line")
    assert "<Stream" in served.post("/twilio/voice", form_of(new_call_sid())).text
    for stream in streams:
        stream.leave()


def served_parameters_when_full(call_sid: str, served: Served) -> dict[str, str]:
    """The webhook gives no more tokens once all lines are taken, so that the last ones are made here."""
    return Tokens(served.sandbox.twilio.auth_token).parameters(call_sid, Admission("receptionist", "+1", "+2"))


def test_a_call_that_is_over_is_hung_up_when_twilio_asks_how_to_go_on(served: Served) -> None:
    with served.running.phone() as phone:
        phone.wait_until_heard("Riverside")
    served.wait_for_log(f"{phone.call_sid}: over,")
    answer = served.post("/twilio/resume", form_of(phone.call_sid, CallStatus="in-progress"))
    assert (answer.status_code, answer.text) == (200, HANG_UP)


def test_the_status_of_a_call_that_is_over_ends_a_stream_that_hangs(served: Served) -> None:
    call_sid = new_call_sid()
    stream = served.upgrade()
    stream.start(call_sid, served.parameters(call_sid))
    assert stream.next()["event"] == "media"
    served.post("/twilio/status", form_of(call_sid, CallStatus="completed"))
    served.wait_for_log(f"{call_sid}: over,")
    assert stream.closed()[0] == 1000
    stream.leave()


def test_clients_that_leave_at_any_moment_cost_nothing(served: Served) -> None:
    address = urlsplit(served.url)
    head = "".join(f"{name}: {value}\r\n" for name, value in served.sign(WSS).items())
    lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    lines += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    request = f"GET /twilio/stream HTTP/1.1\r\nHost: x\r\n{head}{lines}\r\n".encode()
    for cut in (1, len(request) // 2, len(request) - 1, len(request)):
        with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
            connection.sendall(request[:cut])
            gevent.sleep(0)
    wait_until(lambda: served.ready() == 200, 5, "an answer")


def test_keep_alive_is_answered_on_one_connection(served: Served) -> None:
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=5)
    for _ in range(2):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}\n')
    connection.close()
