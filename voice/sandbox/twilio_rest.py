"""Twilio's REST API for calls, messages and numbers, as far as a voice server uses it: a WSGI application on loopback.

Runs on the greenlets of the server that serves it. Updating a live call acts on its simulated phone at once.
Shapes are Twilio's OpenAPI document `twilio_api_v2010.json`; error codes are those of Twilio's error dictionary.
"""

import base64
import hmac
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

import gevent
import orjson

from voice.sandbox.twilio_numbers import Numbers, account
from voice.sandbox.twilio_wire import (
    REASONS,
    Fault,
    Form,
    Refusal,
    check_twiml,
    cut,
    error_body,
    not_found,
    read_form,
    require,
)

__all__ = ["CreatedCall", "Fault", "OnTheLine", "TwilioRestStandIn"]

OVER = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_PATH = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/]+)/(?P<resource>Calls|Messages|IncomingPhoneNumbers)(/(?P<sid>[^/]+))?\.json"
)
_ACCOUNT = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/.]+)\.json")


class OnTheLine(Protocol):
    """What the API needs of a call's phone."""

    @property
    def state(self) -> str: ...
    @property
    def from_number(self) -> str: ...
    @property
    def to_number(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def began_at(self) -> datetime: ...
    @property
    def ended_at(self) -> datetime | None: ...
    def complete(self) -> None: ...
    def replace_document(self, *, twiml: str | None, url: str | None, method: str) -> None: ...
    def limit(self, seconds: int) -> bool: ...


@dataclass(frozen=True)
class CreatedCall:
    """A call that the server asked for. `state` is what the API says as long as no phone is attached to it."""

    sid: str
    form: Form
    began_at: datetime
    state: str = "queued"
    direction: str = "outbound-api"
    ended_at: datetime | None = None

    def first(self, name: str) -> str | None:
        return self.form[name][0] if name in self.form else None

    @property
    def from_number(self) -> str:
        return self.form["From"][0]

    @property
    def to_number(self) -> str:
        return self.form["To"][0]


@dataclass(eq=False, repr=False)
class TwilioRestStandIn:
    """`app` is the WSGI callable for every path below `/2010-04-01/`."""

    account_sid: str
    auth_token: str
    # Told of every created call on a greenlet of its own, after Twilio has answered; usually it lets a phone ring.
    on_create: Callable[[CreatedCall], None] | None = None
    calls: dict[str, OnTheLine] = field(default_factory=dict)
    created: dict[str, CreatedCall] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    # Every request in order, also the refused ones: method, path, form (the query's fields for a GET).
    requests: list[tuple[str, str, Form]] = field(default_factory=list)
    # Each is used up by one request.
    faults: deque[Fault] = field(default_factory=deque)
    status: str = "active"
    kind: str = "Full"
    """Of the account; `Trial` is the other one."""
    clock_ahead_s: float = 0.0

    def __post_init__(self) -> None:
        self.numbers = Numbers(self.account_sid)

    def attach(self, call_sid: str, phone: OnTheLine) -> None:
        """From now on `call_sid` is this phone's call; it stays known when the call is over."""
        self.calls[call_sid] = phone

    def detach(self, call_sid: str) -> None:
        """Forget the call: it is not found from now on."""
        self.calls.pop(call_sid, None)
        self.created.pop(call_sid, None)

    def app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        try:
            form = read_form(environ)
            self.requests.append((method, path, form))
            if self.faults:
                cut(self.faults.popleft(), environ)
            status, body = self._answer(method, path, form, environ.get("HTTP_AUTHORIZATION", ""))
        except Refusal as refusal:
            status, body = refusal.status, error_body(refusal)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.clock_ahead_s), usegmt=True)
        head = [("Content-Type", "application/json"), ("Date", date)]
        start_response(f"{status} {REASONS.get(status, 'Status')}", head)
        return [orjson.dumps(body)]

    def _answer(self, method: str, path: str, form: Form, authorization: str) -> tuple[int, dict[str, Any]]:
        match = _PATH.fullmatch(path) or _ACCOUNT.fullmatch(path)
        self._check_key(authorization)
        if match is None or match["account"] != self.account_sid:
            raise not_found(path)
        if match.re is _ACCOUNT:
            return 200, account(self.account_sid, self.status, self.kind)
        match method, match["resource"], match["sid"]:
            case "GET", "IncomingPhoneNumbers", None:
                return 200, self.numbers.listed(path, form)
            case "GET", "IncomingPhoneNumbers", sid:
                return 200, self.numbers.get(sid, path)
            case "POST", "IncomingPhoneNumbers", str(sid):
                return 200, self.numbers.update(sid, path, form)
            case "POST", "Calls", None:
                return 201, self._create_call(form)
            case "GET", "Calls", None:
                return 200, self._list_calls(path, form)
            case "POST", "Calls", sid:
                return 200, self._update_call(sid, path, form)
            case "GET", "Calls", sid:
                return 200, self._resource(sid, self._call(sid, path))
            case "POST", "Messages", None:
                return 201, self._create_message(form)
        raise not_found(path)

    def _check_key(self, authorization: str) -> None:
        key = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        if not hmac.compare_digest(authorization.encode(), f"Basic {key}".encode()):
            raise Refusal(401, 20003, "Authenticate")

    def _call(self, sid: str, path: str) -> OnTheLine | CreatedCall:
        call = self.calls.get(sid) or self.created.get(sid)
        if call is None:
            raise not_found(path)
        return call

    def _create_call(self, form: Form) -> dict[str, Any]:
        require(form, "To", 21201)
        require(form, "From", 21213)
        if "Twiml" not in form:
            require(form, "Url", 21205)
        check_twiml(form)
        call = CreatedCall("CA" + secrets.token_hex(16), form, datetime.now(UTC))
        self.created[call.sid] = call
        if self.on_create is not None:
            gevent.spawn(self.on_create, call)
        return self._resource(call.sid, call)

    def _list_calls(self, path: str, query: Form) -> dict[str, Any]:
        wanted = query.get("Status", [None])[0]
        everybody: dict[str, OnTheLine | CreatedCall] = {**self.created, **self.calls}
        found = [self._resource(sid, call) for sid, call in everybody.items() if wanted in (None, call.state)]
        size, page = int(query.get("PageSize", ["50"])[0]), int(query.get("Page", ["0"])[0])
        status = f"&Status={wanted}" if wanted else ""
        more = f"{path}?PageSize={size}&Page={page + 1}{status}" if len(found) > (page + 1) * size else None
        calls = found[page * size : (page + 1) * size]
        return {"calls": calls, "page": page, "page_size": size, "next_page_uri": more, "uri": path}

    def _update_call(self, sid: str, path: str, form: Form) -> dict[str, Any]:
        call = self._call(sid, path)
        if call.state in OVER:
            raise Refusal(400, 21220, f"Unable to update call {sid}: Call is not in-progress.")
        check_twiml(form)
        if "Twiml" in form and "Url" in form:
            raise Refusal(400, 20001, "Twiml and Url are mutually exclusive")
        if isinstance(call, CreatedCall):
            self._end_unanswered(call, form)
        else:
            _act(call, form)
        return self._resource(sid, self._call(sid, path))

    def _end_unanswered(self, call: CreatedCall, form: Form) -> None:
        if "Status" not in form:
            raise Refusal(400, 21220, f"Unable to update call {call.sid}: Call is not in-progress.")
        self.created[call.sid] = replace(call, state="canceled", ended_at=datetime.now(UTC))

    def _create_message(self, form: Form) -> dict[str, Any]:
        require(form, "To", 21604)
        require(form, "Body", 21602)
        if "MessagingServiceSid" not in form:
            require(form, "From", 21603)
        if len(form["Body"][0]) > 1600:
            raise Refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit")
        message = {name: values[0] for name, values in form.items()} | {"Sid": "SM" + secrets.token_hex(16)}
        self.messages.append(message)
        now = format_datetime(datetime.now(UTC))
        return {
            "sid": message["Sid"],
            "account_sid": self.account_sid,
            "to": message["To"],
            "from": message.get("From"),
            "body": message["Body"],
            "status": "queued",
            "direction": "outbound-api",
            "messaging_service_sid": message.get("MessagingServiceSid"),
            "date_created": now,
            "date_updated": now,
            "uri": f"/2010-04-01/Accounts/{self.account_sid}/Messages/{message['Sid']}.json",
        }

    def _resource(self, sid: str, call: OnTheLine | CreatedCall) -> dict[str, Any]:
        seconds = int((call.ended_at - call.began_at).total_seconds()) if call.ended_at else None
        return {
            "sid": sid,
            "account_sid": self.account_sid,
            "from": call.from_number,
            "to": call.to_number,
            "status": call.state,
            "direction": call.direction,
            "api_version": "2010-04-01",
            "date_created": format_datetime(call.began_at),
            "start_time": format_datetime(call.began_at),
            "end_time": format_datetime(call.ended_at) if call.ended_at else None,
            "duration": str(seconds) if seconds is not None else None,
            "uri": f"/2010-04-01/Accounts/{self.account_sid}/Calls/{sid}.json",
        }


def _act(phone: OnTheLine, form: Form) -> None:
    if "TimeLimit" in form and not phone.limit(int(form["TimeLimit"][0])):
        raise Refusal(400, 13216, "TimeLimit is below the time that the call has lasted")
    status = form.get("Status", [""])[0]
    # `canceled` leaves a call that is in progress alone.
    if status == "completed" or (status == "canceled" and phone.state == "ringing"):
        phone.complete()
    elif "Twiml" in form or "Url" in form:
        twiml, url = form.get("Twiml", [None])[0], form.get("Url", [None])[0]
        phone.replace_document(twiml=twiml, url=url, method=form.get("Method", ["POST"])[0])
