"""Twilio's REST API against the stand-in, and what counts as Twilio's signature."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import requests
from twilio.request_validator import HMAC_SHA256, RequestValidator
from werkzeug.datastructures import MultiDict

from tests.wires.peers import read_request, tcp_server
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.sandbox.stand_ins import Sandbox
from voice.sandbox.twilio_rest import Fault
from voice.wires import telephone as wire
from voice.wires.telephone import OutboundCall, Telephone

SID = "CA" + "0f" * 16
TOKEN = "the-token"
XML = '<?xml version="1.0" encoding="UTF-8"?>'


class OnTheLine:
    """A call that is in progress, as Twilio knows it."""

    def __init__(self) -> None:
        self.state = "in-progress"
        self.from_number, self.to_number, self.direction = "+1", "+2", "inbound"
        self.began_at = datetime.now(UTC)
        self.ended_at: datetime | None = None
        self.twiml: str | None = None
        self.url: str | None = None
        self.method = ""

    def complete(self) -> None:
        self.state = "completed"

    def replace_document(self, *, twiml: str | None, url: str | None, method: str) -> None:
        self.twiml, self.url, self.method = twiml, url, method

    def limit(self, seconds: int) -> bool:
        return True


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_PAUSES_S", (0.01, 0.01))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def call(sandbox: Sandbox) -> OnTheLine:
    call = OnTheLine()
    sandbox.twilio.attach(SID, call)
    return call


def telephone_at(sandbox: Sandbox, token: str | None = None) -> Telephone:
    env = sandbox.environment()
    return Telephone(env["TWILIO_ACCOUNT_SID"], token or env["TWILIO_AUTH_TOKEN"], env["TWILIO_API_BASE_URL"])


# REST


def test_hang_up_completes_the_call(sandbox: Sandbox, call: OnTheLine) -> None:
    telephone_at(sandbox).hang_up(SID)
    assert call.state == "completed"
    path = f"/2010-04-01/Accounts/{sandbox.twilio.account_sid}/Calls/{SID}.json"
    assert sandbox.twilio.requests == [("POST", path, {"Status": ["completed"]})]


def test_apologize_has_the_words_said_and_the_call_ended(sandbox: Sandbox, call: OnTheLine) -> None:
    telephone_at(sandbox).apologize(SID, "Sorry <& goodbye>. Grüße")
    assert call.twiml == f"{XML}<Response><Say>Sorry &lt;&amp; goodbye&gt;. Grüße</Say><Hangup /></Response>"


@pytest.mark.parametrize("act", [lambda t: t.hang_up(SID), lambda t: t.apologize(SID, "Sorry.")])
def test_who_is_gone_need_not_be_hung_up(sandbox: Sandbox, call: OnTheLine, act: Callable[[Telephone], None]) -> None:
    call.state = "completed"
    act(telephone_at(sandbox))  # 21220
    sandbox.twilio.detach(SID)
    act(telephone_at(sandbox))  # 20404
    assert len(sandbox.twilio.requests) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault(500), VendorUnavailable, "500 20500"),
        (Fault(503), VendorUnavailable, "503"),
        (Fault(429, 20429), VendorUnavailable, "429 20429"),
        (Fault(400, 21211), VendorRefused, "400 21211: .*This answer was asked for"),
        (Fault(403), VendorRefused, "403"),
        (Fault(), VendorUnavailable, "ConnectionError"),
    ],
)
def test_every_failure_is_one_of_two_kinds(
    sandbox: Sandbox,
    call: OnTheLine,
    fault: Fault,
    kind: type[VendorError],
    words: str,
) -> None:
    sandbox.twilio.faults += [fault] * 3
    with pytest.raises(kind, match=words) as caught:
        telephone_at(sandbox).hang_up(SID)
    assert type(caught.value) is kind and caught.value.__cause__ is not None
    assert call.state == "in-progress"
    assert len(sandbox.twilio.requests) == (3 if kind is VendorUnavailable else 1), "a refusal is final"


@pytest.mark.matrix(74)
@pytest.mark.parametrize("faults", [[Fault(500)], [Fault(), Fault(429, 20429)]], ids=["once", "twice"])
def test_twilio_is_told_again_what_it_has_not_taken(sandbox: Sandbox, call: OnTheLine, faults: list[Fault]) -> None:
    sandbox.twilio.faults += faults
    telephone_at(sandbox).hang_up(SID)
    assert call.state == "completed" and len(sandbox.twilio.requests) == len(faults) + 1


def test_what_takes_long_is_not_tried_again(sandbox: Sandbox, call: OnTheLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_WITHIN_S", 0.0)
    sandbox.twilio.faults.append(Fault(500))
    with pytest.raises(VendorUnavailable):
        telephone_at(sandbox).hang_up(SID)
    assert len(sandbox.twilio.requests) == 1


def test_a_call_is_told_to_ask_how_it_goes_on(sandbox: Sandbox, call: OnTheLine) -> None:
    assert telephone_at(sandbox).redirect(SID, "https://v.example/twilio/resume?stream=0-0-ab&asked=1")
    assert call.url == "https://v.example/twilio/resume?stream=0-0-ab&asked=1" and call.method == "POST"
    call.state = "completed"
    assert not telephone_at(sandbox).redirect(SID, "https://v.example")


def test_twilio_tells_whether_it_has_a_call(sandbox: Sandbox, call: OnTheLine) -> None:
    telephone = telephone_at(sandbox)
    seen = {}
    for call.state in ("ringing", "in-progress", "completed", "no-answer"):
        seen[call.state] = telephone.is_live(SID)
    assert seen == {"ringing": True, "in-progress": True, "completed": False, "no-answer": False}
    sandbox.twilio.detach(SID)
    assert not telephone.is_live(SID)
    with pytest.raises(VendorRefused, match="is no call"):
        telephone.is_live("CA/../Messages")


def test_a_wrong_token_refuses(sandbox: Sandbox, call: OnTheLine) -> None:
    with pytest.raises(VendorRefused, match="401 20003"):
        telephone_at(sandbox, token="wrong").hang_up(SID)


def answered(status: str, body: bytes) -> None:
    """Hang up, and be answered so."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with tcp_server(serve) as port:
        Telephone("AC1", TOKEN, f"http://127.0.0.1:{port}").hang_up(SID)


PROBLEM = b'{"type":"https://x","title":"Not found","status":%d,"code":%d,"detail":"Gone."}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("200 OK", b"<html>", VendorUnavailable),
        ("200 OK", b"", VendorUnavailable),
        ("502 Bad Gateway", b"<html>", VendorUnavailable),
        ("404 Not Found", b"<html>", VendorRefused),
        ("307 Elsewhere", b"", VendorRefused),
        ("400 No", PROBLEM % (400, 21211), VendorRefused),
        ("503 No", PROBLEM % (503, 20503), VendorUnavailable),
    ],
)
def test_an_answer_of_another_shape_is_one_of_two_kinds_too(status: str, body: bytes, kind: type[VendorError]) -> None:
    with pytest.raises(kind) as caught:
        answered(status, body)
    assert type(caught.value) is kind


def test_gone_is_no_error_in_the_other_shape_either() -> None:
    answered("404 Not Found", PROBLEM % (404, 20404))


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(VendorUnavailable):
            Telephone("AC1", TOKEN, f"http://127.0.0.1:{unused.getsockname()[1]}").hang_up(SID)


def test_silence_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REST_TIMEOUT_S", 0.05)
    with tcp_server(lambda connection: (read_request(connection), connection.recv(1))) as port:
        with pytest.raises(VendorUnavailable, match="(?i)timed out"):
            Telephone("AC1", TOKEN, f"http://127.0.0.1:{port}").hang_up(SID)


# Calls and messages of ours

OUTBOUND = OutboundCall("+15551", "+15552", "https://v.example/voice?outbound=1", "https://v.example/status", None)


def test_a_call_is_placed_and_its_progress_asked_for(sandbox: Sandbox) -> None:
    sid = telephone_at(sandbox).place(OUTBOUND)
    assert sandbox.twilio.created[sid].form == {
        "To": ["+15551"],
        "From": ["+15552"],
        "Url": ["https://v.example/voice?outbound=1"],
        "Timeout": ["30"],
        "StatusCallback": ["https://v.example/status"],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
    }


def test_a_machine_is_looked_for_while_the_call_goes_on(sandbox: Sandbox) -> None:
    sid = telephone_at(sandbox).place(replace(OUTBOUND, machine_detection_url="https://v.example/amd"))
    form = sandbox.twilio.created[sid].form
    assert (form["MachineDetection"], form["AsyncAmd"]) == (["DetectMessageEnd"], ["true"])
    assert form["AsyncAmdStatusCallback"] == ["https://v.example/amd"]


def test_a_call_is_not_placed_twice_when_twilio_is_in_trouble(sandbox: Sandbox) -> None:
    sandbox.twilio.faults.append(Fault(500))
    with pytest.raises(VendorUnavailable, match="500"):
        telephone_at(sandbox).place(OUTBOUND)
    assert len(sandbox.twilio.requests) == 1


def test_a_message_is_sent(sandbox: Sandbox) -> None:
    telephone_at(sandbox).send_sms("+15552", "+15551", "Twelve <Mill> Lane & Grüße")
    (message,) = sandbox.twilio.messages
    assert (message["From"], message["To"], message["Body"]) == ("+15552", "+15551", "Twelve <Mill> Lane & Grüße")


def test_a_message_that_is_refused_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(VendorRefused, match="21617"):
        telephone_at(sandbox).send_sms("+15552", "+15551", "x" * 1601)


def test_a_live_call_follows_another_document(sandbox: Sandbox, call: OnTheLine) -> None:
    telephone_at(sandbox).follow(SID, "<Response/>")
    assert call.twiml == "<Response/>"


# Signatures

URL = "https://voice.example.com/twilio/voice"
WSS = "wss://voice.example.com/twilio/stream"
FORM = {"CallSid": SID, "From": "+1555", "To": "", "Körper": "ä b"}
TELEPHONE = Telephone("AC1", TOKEN, "https://api.twilio.com")


def signature(url: str, form: object, token: str = TOKEN, algorithm: str | None = None) -> str:
    return str(RequestValidator(token).compute_signature(url, form, algorithm))


def signed(url: str, form: object, value: str | None, settings: str | None = None) -> bool:
    headers = {} if value is None else {"X-Twilio-Signature": value}
    if settings is not None:
        headers["X-Twilio-Webhooks-Signature-Settings"] = settings
    return TELEPHONE.signed(url, form, headers)  # type: ignore[arg-type]


def test_twilios_signature_is_taken_for_webhooks_and_for_streams() -> None:
    assert signed(URL, FORM, signature(URL, FORM))
    assert signed(URL + "?a=1&b=%20", FORM, signature(URL + "?a=1&b=%20", FORM))
    assert signed(WSS, {}, signature(WSS, {}))


def test_every_value_of_a_field_that_comes_twice_counts() -> None:
    twice = MultiDict([("Digits", "1"), ("Digits", "2")])
    assert signed(URL, twice, signature(URL, twice))
    assert not signed(URL, twice, signature(URL, MultiDict([("Digits", "1")])))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "x",
        "é" * 28,
        "\x00" * 28,
        "=" * 28,
        signature(URL, FORM)[:-1],
        signature(URL, FORM) + "=",
        signature(URL, FORM).swapcase(),
        signature(URL, FORM, token="another"),
        signature(URL, {}),
        signature(URL, {**FORM, "From": "+1556"}),
        signature(URL, {**FORM, "More": "1"}),
        signature(URL + "/", FORM),
        signature(URL.replace("https", "http"), FORM),
        signature(URL.replace("https", "wss"), FORM),
        signature(URL + "?a=1", FORM),
        signature(URL, FORM, algorithm=HMAC_SHA256),
    ],
)
def test_no_other_signature_is_taken(value: str | None) -> None:
    assert not signed(URL, FORM, value)


def test_a_stream_needs_the_signature_of_its_wss_address() -> None:
    assert not signed(WSS, {}, signature(WSS.replace("wss", "https"), {}))
    assert not signed(WSS, {}, signature(WSS + "?token=1", {}))


def test_the_header_of_a_shared_key_names_the_algorithm() -> None:
    sha256 = signature(URL, FORM, algorithm=HMAC_SHA256)
    assert signed(URL, FORM, sha256, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256")
    assert signed(URL, FORM, signature(URL, FORM), "key=webhooks_sharedkey_1")
    assert signed(URL, FORM, signature(URL, FORM), "")
    for settings in ("algorithm=HMAC_SHA1", "algorithm=none", "algorithm=é", "key=1,algorithm=MD5"):
        assert not signed(URL, FORM, sha256, settings)


@pytest.mark.parametrize("url", ["https://[/twilio/voice", "https://h:x/twilio/voice", "https://h:99999/", "\udcff"])
def test_an_address_that_is_none_is_not_signed(url: str) -> None:
    assert not signed(url, {}, "x" * 28)


def test_no_request_is_made_to_check_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.Session, "send", lambda *args, **kwargs: pytest.fail("a request was made"))
    assert signed(URL, FORM, signature(URL, FORM))
