"""Twilio's account and its phone numbers: what `python -m voice number` and `doctor` ask; no call needs it.

Sources: Twilio docs "Account resource", "IncomingPhoneNumber resource"; twilio 9.13.0.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from twilio.rest import Client

from voice.errors import VendorRefused, VendorUnavailable
from voice.wires.telephone import REST_TIMEOUT_S, Rebased, persistently, translated

_MOST = 100
_SHOWN = 300


@dataclass(frozen=True)
class Standing:
    """Of the account."""

    status: str
    """`active`, `suspended` or `closed`."""
    type: str
    """`Trial` or `Full`."""
    clock_ahead_s: float | None
    """Twilio's clock against ours, to the second; None: it does not tell the time."""


@dataclass(frozen=True)
class Number:
    """A phone number, and whom Twilio asks about its calls; an empty text: nobody."""

    sid: str
    number: str
    voice: str
    """Method and URL, such as `POST https://voice.example.com/twilio/voice`."""
    fallback: str
    status: str
    application_sid: str
    """Or this, in the place of all three."""
    trunk_sid: str
    """Or this, in the place of everything."""
    takes_calls: bool


class Account:
    def __init__(self, account_sid: str, auth_token: str, base_url: str) -> None:
        """As `Telephone`."""
        self._key = account_sid, auth_token
        self._base_url = base_url
        self._client = Client(account_sid, auth_token, http_client=Rebased(base_url))

    def standing(self) -> Standing:
        """Raises VendorUnavailable or VendorRefused, as everything here."""
        url = f"{self._base_url}/2010-04-01/Accounts/{self._key[0]}.json"
        try:
            response = requests.get(url, auth=self._key, timeout=REST_TIMEOUT_S, allow_redirects=False)
            now, body = time.time(), response.json()
        except (requests.RequestException, ValueError) as error:
            raise VendorUnavailable("telephone", f"{type(error).__name__}: {error}") from error
        if response.status_code != 200:
            kind = VendorUnavailable if response.status_code >= 500 or response.status_code == 429 else VendorRefused
            raise kind("telephone", f"{response.status_code}: {ascii(str(_of(body, 'message'))[:_SHOWN])}")
        return Standing(str(_of(body, "status")), str(_of(body, "type")), ahead(response.headers, now))

    def number(self, number: str) -> Number | None:
        """None: the account has no such number."""
        found = persistently(lambda: self._client.incoming_phone_numbers.list(phone_number=number, limit=_MOST))
        return next((_number(each) for each in found if each.phone_number == number), None)

    def numbers(self) -> list[Number]:
        """At most a hundred."""
        return [_number(each) for each in persistently(lambda: self._client.incoming_phone_numbers.list(limit=_MOST))]

    def point(self, sid: str, voice: str, fallback: str, status: str) -> None:
        """Each as in `Number`. An application that the number had is taken from it."""
        fields: dict[str, str] = {}
        for name, target in (("voice_{}", voice), ("voice_fallback_{}", fallback), ("status_callback{}", status)):
            method, _, url = target.partition(" ")
            is_status = name == "status_callback{}"
            fields[name.format("" if is_status else "url")] = url
            fields[name.format("_method" if is_status else "method")] = method
        with translated():
            self._client.incoming_phone_numbers(sid).update(voice_application_sid="", **fields)


def ahead(headers: Mapping[str, str], now: float) -> float | None:
    """How far the clock of whoever has answered is ahead of ours, in seconds; None without a Date."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp() - now
    except (KeyError, ValueError, TypeError):
        return None


def _of(body: Any, name: str) -> object:
    return body.get(name, "") if isinstance(body, dict) else ""


def _number(each: Any) -> Number:
    capabilities = each.capabilities if isinstance(each.capabilities, dict) else {}
    return Number(
        sid=each.sid,
        number=each.phone_number,
        voice=_target(each.voice_method, each.voice_url),
        fallback=_target(each.voice_fallback_method, each.voice_fallback_url),
        status=_target(each.status_callback_method, each.status_callback),
        application_sid=each.voice_application_sid or "",
        trunk_sid=each.trunk_sid or "",
        takes_calls=bool(capabilities.get("voice", True)),
    )


def _target(method: str | None, url: str | None) -> str:
    return f"{method or 'POST'} {url}" if url else ""
