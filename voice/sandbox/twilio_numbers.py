"""The phone numbers of the account in Twilio's stand-in, and the account itself, in Twilio's shapes."""

import secrets
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from voice.sandbox.twilio_wire import Form, Refusal, not_found

# By the form's names; error codes as far as Twilio's error dictionary has them.
_FIELDS = {
    "FriendlyName": "friendly_name",
    "VoiceUrl": "voice_url",
    "VoiceMethod": "voice_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceFallbackMethod": "voice_fallback_method",
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "VoiceApplicationSid": "voice_application_sid",
    "TrunkSid": "trunk_sid",
}
_URL_ERRORS = {"VoiceUrl": 21502, "VoiceFallbackUrl": 21502, "StatusCallback": 21609}


class Numbers:
    def __init__(self, account_sid: str) -> None:
        self._account_sid = account_sid
        self._numbers: dict[str, dict[str, Any]] = {}

    def add(self, phone_number: str, **changes: Any) -> dict[str, Any]:
        """A number as it is when bought, but for `changes` by Twilio's names; the resource itself, to look at."""
        sid = "PN" + secrets.token_hex(16)
        now = format_datetime(datetime.now(UTC))
        self._numbers[sid] = {
            "sid": sid,
            "account_sid": self._account_sid,
            "friendly_name": phone_number,
            "phone_number": phone_number,
            "api_version": "2010-04-01",
            "origin": "twilio",
            "beta": False,
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
            "address_requirements": "none",
            "address_sid": None,
            "identity_sid": None,
            "bundle_sid": None,
            "emergency_status": "Active",
            "emergency_address_sid": None,
            "emergency_address_status": "unregistered",
            "status": "in-use",
            "type": None,
            "sms_application_sid": "",
            "sms_url": "",
            "sms_method": "POST",
            "sms_fallback_url": "",
            "sms_fallback_method": "POST",
            "status_callback": "",
            "status_callback_method": "POST",
            "trunk_sid": None,
            "voice_receive_mode": "voice",
            "voice_application_sid": "",
            "voice_caller_id_lookup": False,
            "voice_url": "https://demo.twilio.com/welcome/voice/",
            "voice_method": "POST",
            "voice_fallback_url": "",
            "voice_fallback_method": "POST",
            "date_created": now,
            "date_updated": now,
            "uri": f"/2010-04-01/Accounts/{self._account_sid}/IncomingPhoneNumbers/{sid}.json",
        } | changes
        return self._numbers[sid]

    def clear(self) -> None:
        self._numbers.clear()

    def listed(self, path: str, query: Form) -> dict[str, Any]:
        """One page; `PhoneNumber` is a part of the number."""
        part = query.get("PhoneNumber", [""])[0].replace("*", "")
        found = [number for number in self._numbers.values() if part in number["phone_number"]]
        size, page = int(query.get("PageSize", ["50"])[0]), int(query.get("Page", ["0"])[0])
        shown = found[page * size : (page + 1) * size]
        more = f"{path}?PageSize={size}&Page={page + 1}" if len(found) > (page + 1) * size else None
        first = f"{path}?PageSize={size}&Page=0"
        pages = {"first_page_uri": first, "next_page_uri": more, "previous_page_uri": None, "uri": first}
        places = {"page": page, "page_size": size, "start": page * size, "end": page * size + max(0, len(shown) - 1)}
        return {"incoming_phone_numbers": shown, **places, **pages}

    def get(self, sid: str, path: str) -> dict[str, Any]:
        if sid not in self._numbers:
            raise not_found(path)
        return self._numbers[sid]

    def update(self, sid: str, path: str, form: Form) -> dict[str, Any]:
        number = self.get(sid, path)
        for name, code in _URL_ERRORS.items():
            url = form.get(name, [""])[0]
            if url and not url.startswith(("http://", "https://")):
                raise Refusal(400, code, f"{name} is not valid: {url}")
        for name in ("VoiceMethod", "VoiceFallbackMethod", "StatusCallbackMethod"):
            if form.get(name, ["POST"])[0] not in ("GET", "POST"):
                raise Refusal(400, 21503, f"{name} is not valid")
        for name, (value, *_) in form.items():
            if name in _FIELDS:
                number[_FIELDS[name]] = value
        # Each of the two takes the other's place.
        if form.get("VoiceApplicationSid", [""])[0]:
            number["trunk_sid"] = None
        number["date_updated"] = format_datetime(datetime.now(UTC))
        return number


def account(sid: str, status: str, kind: str) -> dict[str, Any]:
    now = format_datetime(datetime.now(UTC))
    return {
        "sid": sid,
        "owner_account_sid": sid,
        "friendly_name": "sandbox",
        "status": status,
        "type": kind,
        "auth_token": "",
        "date_created": now,
        "date_updated": now,
        "uri": f"/2010-04-01/Accounts/{sid}.json",
        "subresource_uris": {"incoming_phone_numbers": f"/2010-04-01/Accounts/{sid}/IncomingPhoneNumbers.json"},
    }
