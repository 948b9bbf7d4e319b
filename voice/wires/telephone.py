"""The telephone: Twilio's REST API, and the proof that a request comes from Twilio. Shared by all calls.

Sources: Twilio docs "Call resource", "Message resource", "Answering Machine Detection", "Webhooks security";
twilio 9.13.0.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator, get_signature_algorithm
from twilio.rest import Client

from voice.errors import VendorRefused, VendorUnavailable
from voice.wires import twiml

REST_TIMEOUT_S = 10
_PAUSES_S = (0.25, 1.0)
"""Before what failed is tried again: three times in all."""
_WITHIN_S = 5.0
"""Not after that: the caller waits, and there are other ways."""
_OVER = ("completed", "busy", "failed", "no-answer", "canceled")
T = TypeVar("T")
# 20404: no such call; 21220: not in progress. Somebody who has gone need not be hung up.
_GONE = (20404, 21220)
_SHOWN = 300
_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}")


class Telephone:
    def __init__(self, account_sid: str, auth_token: str, base_url: str) -> None:
        """`base_url` is https://api.twilio.com or what stands in for it."""
        self.account_sid = account_sid
        self._client = Client(account_sid, auth_token, http_client=Rebased(base_url))
        self._validator = RequestValidator(auth_token)

    def load(self) -> None:
        """What the client loads by itself only with its first request, 60 ms; for another thread."""
        _ = self._client.calls

    def signed(self, url: str, form: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Whether Twilio signed this request. `url` is what Twilio was told to call, query and all; `form` the POST
        parameters (empty for a WebSocket handshake, whose URL begins with wss://)."""
        algorithm = get_signature_algorithm(headers.get("X-Twilio-Webhooks-Signature-Settings"))
        signature = headers.get("X-Twilio-Signature") or ""
        try:
            return bool(self._validator.validate(url, form, signature, algorithm=algorithm))
        except (TypeError, ValueError):  # a signature that is not even ASCII
            return False

    def hang_up(self, call_sid: str) -> None:
        """End the call; a call that is over is no error. Raises VendorUnavailable or VendorRefused.

        As everything that can be done twice without harm, tried three times unless that takes too long.
        """
        self._update(call_sid, status="completed")

    def apologize(self, call_sid: str, text: str) -> None:
        """Have Twilio's own voice say `text` and hang up: for when ours cannot. Raises as `hang_up`."""
        self._update(call_sid, twiml=twiml.apology(text))

    def follow(self, call_sid: str, document: str) -> bool:
        """Have the call go on with this TwiML instead of its stream, at most 4000 characters. False when the call is
        over already. Raises as `hang_up`."""
        return self._update(call_sid, twiml=document)

    def redirect(self, call_sid: str, url: str) -> bool:
        """Have Twilio ask `url` how the call goes on. False when it is over already. Raises as `hang_up`."""
        return self._update(call_sid, url=url, method="POST")

    def is_live(self, call_sid: str) -> bool:
        """Whether Twilio has the call, in whatever state. Raises as `hang_up`."""
        try:
            status = persistently(lambda: self._client.calls(_checked(call_sid)).fetch().status)
        except _Gone:
            return False
        return status not in _OVER

    def place(self, call: "OutboundCall") -> str:
        """Have Twilio dial; the call's sid. More than one a second wait at Twilio. Raises as `hang_up`."""
        detection = {}
        if call.machine_detection_url:
            detection = {
                "machine_detection": "DetectMessageEnd",
                # The SDK sends a bool as True, which is not what the documentation names.
                "async_amd": "true",
                "async_amd_status_callback": call.machine_detection_url,
            }
        with translated():
            placed = self._client.calls.create(
                to=call.to,
                from_=call.from_,
                url=call.url,
                timeout=call.ring_s,
                status_callback=call.status_url,
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                **detection,
            )
        return str(placed.sid)

    def send_sms(self, from_: str, to: str, text: str) -> None:
        """At most 1600 characters; Twilio splits it. Raises as `hang_up`."""
        with translated():
            self._client.messages.create(to=to, from_=from_, body=text)

    def _update(self, call_sid: str, **what: str) -> bool:
        try:
            persistently(lambda: self._client.calls(_checked(call_sid)).update(**what))
        except _Gone:
            return False
        return True


class _Gone(VendorRefused):
    """The call is over already."""


@dataclass(frozen=True)
class OutboundCall:
    """URLs are absolute; numbers are E.164."""

    to: str
    from_: str
    url: str
    """Fetched when somebody answers."""
    status_url: str
    machine_detection_url: str | None
    """Told who answered, while the call goes on; None: nobody is asked."""
    ring_s: int = 30


def _checked(call_sid: str) -> str:
    if not _CALL_SID.fullmatch(call_sid):
        # It becomes a part of an address.
        raise VendorRefused("telephone", f"{ascii(call_sid[:40])} is no call")
    return call_sid


def persistently(request: Callable[[], T]) -> T:
    """For what can be done twice without harm. Raises VendorUnavailable or VendorRefused."""
    began = time.monotonic()
    for pause in _PAUSES_S:
        try:
            with translated():
                return request()
        except VendorUnavailable:
            if time.monotonic() - began + pause >= _WITHIN_S:
                raise
        time.sleep(pause)
    with translated():
        return request()


@contextmanager
def translated() -> Iterator[None]:
    """The SDK's errors as ours."""
    try:
        yield
    except (TwilioRestException, TwilioServiceException) as error:
        detail = f"{error.status} {error.code}: {ascii(_words(error))}"
        if error.code in _GONE:
            raise _Gone("telephone", detail) from error
        kind = VendorUnavailable if error.status >= 500 or error.status == 429 else VendorRefused
        raise kind("telephone", detail) from error
    # ValueError: an answer that is no JSON, as from a proxy in between.
    except (TwilioException, requests.RequestException, ValueError) as error:
        raise VendorUnavailable("telephone", f"{type(error).__name__}: {error}") from error


def _words(error: TwilioRestException | TwilioServiceException) -> str:
    said = error.detail or error.title if isinstance(error, TwilioServiceException) else error.msg
    return str(said)[:_SHOWN]


class Rebased(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's client, talking to another host: the SDK has no setting for that."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=REST_TIMEOUT_S)
        self._base = urlsplit(base_url)

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(url)
        rebased = urlunsplit((self._base.scheme, self._base.netloc, parts.path, parts.query, ""))
        return super().request(method, rebased, *args, **kwargs)
