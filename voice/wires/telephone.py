"""The telephone: Twilio's REST API and TwiML, and the proof that a request comes from Twilio. Shared by all calls.

Sources: Twilio docs "Call resource", "<Connect>", "<Stream>", "Webhooks security"; twilio 9.13.0.
"""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator, get_signature_algorithm
from twilio.rest import Client
from twilio.twiml.voice_response import Connect, VoiceResponse

from voice.errors import VendorRefused, VendorUnavailable

REST_TIMEOUT_S = 10
# 20404: no such call; 21220: not in progress. Somebody who has gone need not be hung up.
_GONE = (20404, 21220)
_SHOWN = 300

_log = logging.getLogger("voice.telephone")


class Telephone:
    def __init__(self, account_sid: str, auth_token: str, base_url: str) -> None:
        """`base_url` is https://api.twilio.com or what stands in for it."""
        self._client = Client(account_sid, auth_token, http_client=_Rebased(base_url))
        self._validator = RequestValidator(auth_token)

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
        """End the call; a call that is over is no error. Raises VendorUnavailable or VendorRefused."""
        self._update(call_sid, status="completed")

    def apologize(self, call_sid: str, text: str) -> None:
        """Have Twilio's own voice say `text` and hang up: for when ours cannot. Raises as `hang_up`."""
        self._update(call_sid, twiml=apology(text))

    def _update(self, call_sid: str, **what: str) -> None:
        try:
            self._client.calls(call_sid).update(**what)
        except (TwilioRestException, TwilioServiceException) as error:
            if error.code in _GONE:
                return
            kind = VendorUnavailable if error.status >= 500 or error.status == 429 else VendorRefused
            raise kind("telephone", f"{error.status} {error.code}: {ascii(_words(error))}") from error
        # ValueError: an answer that is no JSON, as from a proxy in between.
        except (TwilioException, requests.RequestException, ValueError) as error:
            raise VendorUnavailable("telephone", f"{type(error).__name__}: {error}") from error


def _words(error: TwilioRestException | TwilioServiceException) -> str:
    said = error.detail or error.title if isinstance(error, TwilioServiceException) else error.msg
    return str(said)[:_SHOWN]


class _Rebased(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's client, talking to another host: the SDK has no setting for that."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=REST_TIMEOUT_S)
        self._base = urlsplit(base_url)

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(url)
        rebased = urlunsplit((self._base.scheme, self._base.netloc, parts.path, parts.query, ""))
        return super().request(method, rebased, *args, **kwargs)


# TwiML


def stream(public_url: str, parameters: Mapping[str, str]) -> str:
    """Connect the call to our stream door. When the stream ends and the call has not, Twilio asks /twilio/resume.

    Each parameter's name and value have less than 500 characters together (a limit of Twilio's).
    """
    connect = Connect()
    noun = connect.stream(
        url=public_url.replace("https://", "wss://", 1) + "/twilio/stream",
        status_callback=f"{public_url}/twilio/stream-status",
    )
    for name, value in parameters.items():
        noun.parameter(name=name, value=value)
    response = VoiceResponse()
    response.append(connect)
    response.redirect(f"{public_url}/twilio/resume", method="POST")
    return str(response)


def apology(text: str) -> str:
    response = VoiceResponse()
    response.say(text)
    response.hangup()
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)
