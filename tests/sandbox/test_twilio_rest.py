"""Twilio's REST stand-in, judged by Twilio's own SDK."""

import datetime
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from tests.sandbox.scripted_server import ACCOUNT, PUBLIC, STREAM, TOKEN, ScriptedServer, Talk
from voice.sandbox.call_plan import created
from voice.sandbox.phone import Phone
from voice.sandbox.twilio_rest import CreatedCall, Fault, TwilioRestStandIn

VOICE = "/twilio/voice"
GOODBYE = "<Response><Say>Goodbye</Say></Response>"


class RebasedHttpClient(TwilioHttpClient):  # type: ignore[misc]  # the SDK has no types
    """Twilio's client with another address; it has no setting for that."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=5)
        self._base = urlsplit(base)

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Response:
        asked = urlsplit(url)
        here = urlunsplit((self._base.scheme, self._base.netloc, asked.path, asked.query, ""))
        return super().request(method, here, *args, **options)


def listen(talk: Talk) -> None:
    talk.read_until(lambda message: message["event"] == "stop")


@pytest.fixture
def rest() -> TwilioRestStandIn:
    return TwilioRestStandIn(ACCOUNT, TOKEN)


@pytest.fixture
def base(rest: TwilioRestStandIn) -> Iterator[str]:
    server = WSGIServer(("127.0.0.1", 0), rest.app, spawn=Pool(), log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop(timeout=0)


@pytest.fixture
def client(base: str) -> Client:
    return Client(ACCOUNT, TOKEN, http_client=RebasedHttpClient(base))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer({VOICE: STREAM + "<Redirect>/resume</Redirect>", "/next": "<Say>Next</Say>"}, listen) as server:
        yield server


@pytest.fixture
def phone(rest: TwilioRestStandIn, server: ScriptedServer) -> Phone:
    """On a stream."""
    phone = Phone(server=server.url, account_sid=ACCOUNT, auth_token=TOKEN, public_url=PUBLIC, twilio=rest)
    phone.dial()
    phone.wait_until_stream()
    return phone


def refused(caught: pytest.ExceptionInfo[TwilioRestException]) -> tuple[int, int | None]:
    return caught.value.status, caught.value.code


# A live call


def test_a_live_call_is_found(client: Client, phone: Phone) -> None:
    call = client.calls(phone.call_sid).fetch()
    assert (call.sid, call.status, call.direction) == (phone.call_sid, "in-progress", "inbound")
    assert (call._from, call.to) == ("+15550001111", "+15559990000")
    assert isinstance(call.start_time, datetime.datetime) and call.end_time is None
    assert [c.sid for c in client.calls.list(status="in-progress")] == [phone.call_sid]
    assert client.calls.list(status="ringing") == []
    phone.hang_up()
    phone.wait_until_over()
    call = client.calls(phone.call_sid).fetch()
    assert call.status == "completed" and call.duration in ("0", "1")


def test_completed_ends_the_call_with_stop(client: Client, phone: Phone, server: ScriptedServer) -> None:
    client.calls(phone.call_sid).update(status="completed")
    phone.wait_until_over()
    assert server.talks[0].messages[-1]["event"] == "stop"
    assert (phone.state, phone.over_reason) == ("completed", "ended by the REST API")
    assert server.paths() == [VOICE, "/twilio/status"]


def test_twiml_replaces_what_runs(client: Client, phone: Phone, server: ScriptedServer) -> None:
    assert client.calls(phone.call_sid).update(twiml=GOODBYE).status == "in-progress"
    phone.wait_until_over()
    assert phone.said == ["Goodbye"]
    assert server.talks[0].messages[-1]["event"] == "stop"
    assert server.paths() == [VOICE, "/twilio/status"]


def test_a_url_replaces_what_runs(client: Client, phone: Phone, server: ScriptedServer) -> None:
    client.calls(phone.call_sid).update(url=PUBLIC + "/next", method="GET")
    phone.wait_until_over()
    assert phone.said == ["Next"]
    assert [(f["path"], f["method"]) for f in server.forms][:2] == [(VOICE, "POST"), ("/next", "GET")]


def test_the_time_limit_ends_the_call(client: Client, phone: Phone) -> None:
    client.calls(phone.call_sid).update(time_limit=600)
    client.calls(phone.call_sid).update(time_limit=1)
    phone.wait_until_over()
    assert phone.over_reason == "time limit"


def test_a_time_limit_can_be_raised(client: Client, phone: Phone) -> None:
    client.calls(phone.call_sid).update(time_limit=1)
    client.calls(phone.call_sid).update(time_limit=600)
    assert phone.say("Longer than one second, at sixty milliseconds a letter")
    with pytest.raises(TwilioRestException) as caught:
        client.calls(phone.call_sid).update(time_limit=1)
    assert refused(caught) == (400, 13216)
    phone.hang_up()
    phone.wait_until_over()


def test_canceled_leaves_a_live_call_alone(client: Client, phone: Phone) -> None:
    client.calls(phone.call_sid).update(status="canceled")
    assert phone.state == "in-progress" and phone.line is not None
    phone.hang_up()
    phone.wait_until_over()


def test_an_ended_call_cannot_be_changed(client: Client, phone: Phone) -> None:
    phone.hang_up()
    phone.wait_until_over()
    for change in ({"status": "completed"}, {"twiml": GOODBYE}):
        with pytest.raises(TwilioRestException) as caught:
            client.calls(phone.call_sid).update(**change)
        assert refused(caught) == (400, 21220)


def test_an_unknown_call(client: Client, rest: TwilioRestStandIn, phone: Phone) -> None:
    rest.detach(phone.call_sid)
    for act in (client.calls(phone.call_sid).fetch, client.calls("CA" + "0" * 32).update):
        with pytest.raises(TwilioRestException) as caught:
            act()
        assert refused(caught) == (404, 20404)
    phone.hang_up()
    phone.wait_until_over()


# A call that the server places


def place(client: Client, **options: Any) -> Any:
    return client.calls.create(to="+15551112222", from_="+15559990000", **options)


def test_a_created_call_rings_and_reports(rest: TwilioRestStandIn, client: Client, server: ScriptedServer) -> None:
    phones: list[Phone] = []

    def ring(call: CreatedCall) -> None:
        setup = created(call.form)
        to_number, from_number = call.to_number, call.from_number
        phone = Phone(
            server=server.url,
            account_sid=ACCOUNT,
            auth_token=TOKEN,
            public_url=PUBLIC,
            call_sid=call.sid,
            from_number=from_number,
            to_number=to_number,
            setup=setup,
            twilio=rest,
        )
        phones.append(phone)
        phone.dial()

    rest.on_create = ring
    call = place(
        client,
        url=PUBLIC + VOICE,
        status_callback=PUBLIC + "/twilio/status",
        status_callback_event=["initiated", "ringing", "answered", "completed"],
        machine_detection="Enable",
        async_amd="true",
        async_amd_status_callback=PUBLIC + "/twilio/amd",
    )
    assert (call.status, call.direction, call.to) == ("queued", "outbound-api", "+15551112222")
    (phone,) = phones
    phone.wait_until_stream()
    assert client.calls(call.sid).fetch().status == "in-progress"
    phone.hang_up()
    phone.wait_until_over()
    told = [form for form in server.forms if form["path"] == "/twilio/status"]
    assert [(f["CallStatus"], f["SequenceNumber"]) for f in sorted(told, key=lambda f: f["SequenceNumber"])] == [
        ("initiated", "0"),
        ("ringing", "1"),
        ("in-progress", "2"),
        ("completed", "3"),
    ]
    (voice,) = [form for form in server.forms if form["path"] == VOICE]
    assert (voice["CallSid"], voice["Direction"], voice["To"]) == (call.sid, "outbound-api", "+15551112222")
    (amd,) = [form for form in server.forms if form["path"] == "/twilio/amd"]
    assert amd["AnsweredBy"] == "human"


def test_a_queued_call_can_be_canceled_once(client: Client) -> None:
    call = place(client, twiml=GOODBYE)
    with pytest.raises(TwilioRestException) as caught:
        client.calls(call.sid).update(twiml=GOODBYE)
    assert refused(caught) == (400, 21220)
    assert client.calls(call.sid).update(status="canceled").status == "canceled"
    with pytest.raises(TwilioRestException) as caught:
        client.calls(call.sid).update(status="canceled")
    assert refused(caught) == (400, 21220)


def test_long_lists_come_in_pages(client: Client) -> None:
    sids = [place(client, twiml=GOODBYE).sid for _ in range(7)]
    assert [call.sid for call in client.calls.list(page_size=3)] == sids
    assert len(client.calls.list(page_size=3, limit=4)) == 4


@pytest.mark.parametrize(
    ("path", "form", "code"),
    [
        ("Calls", {"From": "+1", "Url": "https://x"}, 21201),
        ("Calls", {"To": "+1", "Url": "https://x"}, 21213),
        ("Calls", {"To": "+1", "From": "+2"}, 21205),
        ("Calls", {"To": "+1", "From": "+2", "Twiml": "x" * 4001}, 20001),
        ("Messages", {"From": "+1", "Body": "Hi"}, 21604),
        ("Messages", {"To": "+1", "From": "+2"}, 21602),
        ("Messages", {"To": "+1", "Body": "Hi"}, 21603),
        ("Messages", {"To": "+1", "From": "+2", "Body": "x" * 1601}, 21617),
    ],
)
def test_what_is_missing_is_named(base: str, path: str, form: dict[str, str], code: int) -> None:
    address = f"{base}/2010-04-01/Accounts/{ACCOUNT}/{path}.json"
    answer = requests.post(address, data=form, auth=(ACCOUNT, TOKEN), timeout=5)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (400, code, 400)
    assert answer.json()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


def test_a_body_must_be_a_form(base: str) -> None:
    address = f"{base}/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
    answer = requests.post(address, json={"To": "+1"}, auth=(ACCOUNT, TOKEN), timeout=5)
    assert answer.status_code == 400


# Messages, keys, faults


def test_a_message_is_kept(rest: TwilioRestStandIn, client: Client) -> None:
    message = client.messages.create(to="+15551112222", from_="+15559990000", body="Your booking: 9 & 10")
    assert (message.status, message.body) == ("queued", "Your booking: 9 & 10")
    assert rest.messages == [
        {"To": "+15551112222", "From": "+15559990000", "Body": "Your booking: 9 & 10", "Sid": message.sid}
    ]


@pytest.mark.parametrize(
    ("account", "token", "expected"), [(ACCOUNT, "wrong", (401, 20003)), ("AC1", TOKEN, (401, 20003))]
)
def test_a_wrong_key_is_refused(base: str, account: str, token: str, expected: tuple[int, int]) -> None:
    with pytest.raises(TwilioRestException) as caught:
        Client(account, token, http_client=RebasedHttpClient(base)).calls("CA" + "0" * 32).fetch()
    assert refused(caught) == expected


def test_requests_are_recorded_in_order(rest: TwilioRestStandIn, client: Client) -> None:
    call = place(client, twiml=GOODBYE, status_callback_event=["initiated", "completed"])
    client.calls(call.sid).fetch()
    (method, path, form), fetched = rest.requests
    assert (method, path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json")
    assert form["StatusCallbackEvent"] == ["initiated", "completed"]
    assert fetched == ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{call.sid}.json", {})


def test_a_fault_replaces_one_answer(rest: TwilioRestStandIn, client: Client) -> None:
    rest.faults.append(Fault(status=429, code=20429))
    rest.faults.append(Fault())
    with pytest.raises(TwilioRestException) as caught:
        place(client, twiml=GOODBYE)
    assert refused(caught) == (429, 20429)
    with pytest.raises(requests.ConnectionError):
        place(client, twiml=GOODBYE)
    assert place(client, twiml=GOODBYE).status == "queued"


def test_a_fault_may_be_silence(rest: TwilioRestStandIn, base: str) -> None:
    rest.faults.append(Fault(hang_s=30))
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{base}/2010-04-01/Accounts/{ACCOUNT}/Calls.json", auth=(ACCOUNT, TOKEN), timeout=0.2)
