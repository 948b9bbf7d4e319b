"""A server whose agent does all that an agent may do, the web services it works with, and the people it calls."""

import hmac
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from gevent.pywsgi import WSGIServer

from tests.running import Running, wait_until
from voice.sandbox.call_plan import created
from voice.sandbox.demo_script import Answer, ToolCall
from voice.sandbox.phone import Phone
from voice.sandbox.twilio_rest import CreatedCall

API_TOKEN = "a-token-that-nobody-guesses"
OUR_NUMBER = "+15559990000"
SECRET = "the webhook's secret"
_AGENT = """
greeting = "Hello {first_name}, how can I help you?"
instructions = "You answer the phone for {first_name}."
apology = "Sorry, something is wrong. Goodbye."
voice = "plainVoice"
fallback_voice = "otherVoice"
tools = ["hang_up", "transfer_call", "send_sms", "send_digits", "ask_for_digits"]

[parameters]
first_name = "friend"

[turn_taking]
silence_ms = 400

[transfer]
human = "desk"
timeout_s = 15
[transfer.to.desk]
number = "+15550002222"
description = "the front desk"
warm = true
[transfer.to.nurse]
number = "+15550003333"
description = "the nurse"

[phrases]
transfer_failed = "Nobody is there."
resumed = "Sorry, again please."

[digits.pin]
description = "the caller's PIN"
length = 10
sensitive = true

[webhooks.open_account]
description = "Opens the caller's account."
url = "URL/accounts/{number}"
headers = { Authorization = "Bearer ${BANK_TOKEN}" }
[webhooks.open_account.parameters]
type = "object"
required = ["number", "pin"]
properties = { number = { type = "integer" }, pin = { type = "string" } }

[outbound]
voicemail = "Hello {first_name}, please call us back."

[after_call]
webhook = "URL/calls"
secret = "${CALLS_SECRET}"
summary = true
[after_call.fields]
day = { type = "string", description = "The day of the appointment." }
"""


class WebServices:
    """The bank that the agent's webhook asks, and the customer's system that gets the records of calls."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers in lower case, body."""
        self.refused = ""
        """The first request with this in its body is answered with 500."""
        self.answers: dict[str, bytes] = {}
        """By path; else a balance of twelve dollars."""
        self._server = WSGIServer(("127.0.0.1", 0), self._app, log=None)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def of(self, path: str) -> list[tuple[str, dict[str, str], bytes]]:
        return [request for request in self.requests if request[0] == path]

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = {k[5:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")}
        body = environ["wsgi.input"].read()
        self.requests.append((environ["PATH_INFO"], headers, body))
        status = "200 OK"
        if self.refused and self.refused.encode() in body:
            self.refused, status = "", "500 Internal Server Error"
        start_response(status, [("Content-Type", "application/json")])
        return [self.answers.get(environ["PATH_INFO"], b'{"balance": "twelve dollars"}')]


class Working:
    """Use as a context manager."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.web = WebServices()
        self._agents = folder / "agents"
        self._agents.mkdir()
        self.running = Running(
            folder,
            AGENTS_DIR=str(self._agents),
            DEFAULT_AGENT="working",
            API_TOKEN=API_TOKEN,
            TWILIO_PHONE_NUMBER=OUR_NUMBER,
            BANK_TOKEN="the-banks-token",
            CALLS_SECRET=SECRET,
            **environment,
        )

    def __enter__(self) -> "Working":
        self.web.start()
        (self._agents / "working.toml").write_text(_AGENT.replace("URL", self.web.url))
        self.running.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.running.__exit__()
        self.web.stop()

    def forget(self) -> None:
        self.running.forget()
        self.running.sandbox.xai.answer = answer
        self.web.requests.clear()
        self.web.refused = ""
        self.web.answers.clear()
        self.running.sandbox.twilio.messages.clear()
        self.running.sandbox.twilio.on_create = None

    # The API

    def api(self, method: str, path: str, body: object = None, token: str = API_TOKEN) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, self.running.server.url + path, json=body, headers=headers, timeout=10)

    def record(self, call_sid: str) -> dict[str, Any]:
        told: dict[str, Any] = self.api("GET", f"/api/calls/{call_sid}").json()
        return told

    def ended(self, call_sid: str) -> dict[str, Any]:
        """The call's record once it has an end."""
        wait_until(lambda: bool(self.record(call_sid).get("ended_at")), 10, "the call's end is recorded")
        return self.record(call_sid)

    def calls(self, to: str, answered_by: str = "human", outcome: str = "answered", **parameters: str) -> Phone:
        """The server places a call; the phone that it rings."""
        phones: list[Phone] = []

        def ring(call: CreatedCall) -> None:
            setup = created(call.form, answered_by, outcome)
            numbers = {"from_number": call.from_number, "to_number": call.to_number}
            phone = self.running.phone(call_sid=call.sid, setup=setup, **numbers)
            phones.append(phone)
            phone.dial()

        self.running.sandbox.twilio.on_create = ring
        answered = self.api("POST", "/api/calls", {"to": to, "parameters": parameters})
        assert answered.status_code == 201, answered.text
        wait_until(lambda: bool(phones), 5, "the phone rings")
        assert phones[0].call_sid == answered.json()["call_sid"]
        return phones[0]

    def deliveries(self, call_sid: str) -> list[tuple[str, dict[str, Any]]]:
        """What the customer's system has got of a call so far: id and record of each try, the signatures checked."""
        of_call = [(headers, body) for _, headers, body in self.web.of("/calls") if call_sid.encode() in body]
        for headers, body in of_call:
            signed = f"{headers['x-voice-timestamp']}.".encode() + body
            assert headers["x-voice-signature"] == "v1=" + hmac.new(SECRET.encode(), signed, "sha256").hexdigest()
        return [(headers["x-voice-delivery"], json.loads(body)) for headers, body in of_call]


def answer(messages: list[dict[str, Any]]) -> Answer:
    """The model of these tests: the caller's first words say which tool it calls."""
    last = messages[-1]
    said = str(last["content"])
    if last["role"] == "tool":
        return Answer(textwrap.shorten(f"The tool says {''.join(c for c in said if c.isalnum() or c == ' ')}", 120))
    calls = {
        "put me through": ("One moment.", ToolCall("transfer_call", {"to": "desk", "summary": "Wants Ann."})),
        "give me the nurse": ("I will.", ToolCall("transfer_call", {"to": "nurse", "summary": "Is ill."})),
        "give me the boss": ("", ToolCall("transfer_call", {"to": "+15556667777", "summary": "Rude."})),
        "text me": ("", ToolCall("send_sms", {"text": "Twelve Mill Lane"})),
        "press": ("", ToolCall("send_digits", {"digits": "12#"})),
        "my account": ("Please type your code.", ToolCall("ask_for_digits", {"name": "pin"})),
        "[keypad pin]": ("", ToolCall("open_account", {"number": 7, "pin": "{{pin}}"})),
        "make coffee": ("", ToolCall("make_coffee", {}, unasked=True)),
        "break": ("", ToolCall("send_sms", '{"text": ')),
        "goodbye": ("Goodbye then.", ToolCall("hang_up")),
    }
    for words, (text, call) in calls.items():
        if words in said.lower():
            return Answer(text, (call,))
    return Answer(f"You said: {said}")
