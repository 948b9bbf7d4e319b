"""What is known of a call before it begins, and the forms that Twilio posts about it. Pure.

Fields: Twilio's docs, Voice webhooks and Call resource - StatusCallback; Media Streams - statusCallback.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from voice.sandbox.stream_messages import StreamNames

_PLACE = {"City": "PORTLAND", "State": "OR", "Zip": "", "Country": "US"}


@dataclass(frozen=True)
class CallSetup:
    """What is set up for a call before it begins: on the number, or by whoever created it. URLs may be relative."""

    direction: str = "inbound"
    voice_url: str = "/twilio/voice"
    voice_method: str = "POST"
    twiml: str | None = None
    """Runs instead of what `voice_url` answers."""
    fallback_url: str | None = None
    fallback_twiml: str | None = None
    """Runs in the place of what `fallback_url` answers: a TwiML Bin, which is there when the server is not."""
    status_callback: str | None = "/twilio/status"
    status_callback_events: tuple[str, ...] = ("completed",)
    """Of initiated, ringing, answered, completed; the last one comes however the call ends."""
    amd_callback: str | None = None
    answered_by: str | None = None
    """What answering machine detection finds: human, machine_start, ..."""
    time_limit_s: int | None = None
    outcome: str = "answered"
    """What comes of ringing: answered, or busy, no-answer, failed (each at once)."""
    falls_through: bool = True
    """The document goes on behind a stream that broke, or never opened; else the caller waits in silence."""
    failing_handshakes: int = 0
    """So many streams are refused before they open, whatever the server says."""
    returns_marks: bool = True
    """Else no mark ever comes back."""
    dial_outcome: str = "completed"
    """How a `<Dial>` ends: completed, busy, no-answer, failed (each at once), or bridged: only with the call."""


def created(form: Mapping[str, Sequence[str]], answered_by: str = "human", outcome: str = "answered") -> CallSetup:
    """The setup of an outbound call, from the fields it was created with."""
    first = {name: values[0] for name, values in form.items()}
    return CallSetup(
        direction="outbound-api",
        voice_url=first.get("Url", ""),
        voice_method=first.get("Method", "POST"),
        # Twilio's description: Twiml is ignored when there is a Url too.
        twiml=None if "Url" in first else first.get("Twiml"),
        fallback_url=first.get("FallbackUrl"),
        status_callback=first.get("StatusCallback"),
        status_callback_events=tuple(form.get("StatusCallbackEvent", ("completed",))),
        amd_callback=first.get("AsyncAmdStatusCallback") if first.get("AsyncAmd") == "true" else None,
        answered_by=answered_by,
        outcome=outcome,
        time_limit_s=int(first["TimeLimit"]) if "TimeLimit" in first else None,
    )


@dataclass(frozen=True)
class CallPlan:
    account_sid: str
    call_sid: str
    from_number: str
    to_number: str
    setup: CallSetup


@dataclass(frozen=True)
class Document:
    """TwiML to fetch, or (with `twiml`) to run as it is."""

    url: str
    method: str = "POST"
    twiml: str | None = None


def standard_form(plan: CallPlan, state: str) -> dict[str, str]:
    """What comes with every request about a call."""
    form = {
        "CallSid": plan.call_sid,
        "AccountSid": plan.account_sid,
        "From": plan.from_number,
        "To": plan.to_number,
        "Caller": plan.from_number,
        "Called": plan.to_number,
        "CallStatus": state,
        "ApiVersion": "2010-04-01",
        "Direction": plan.setup.direction,
    }
    places = {f"{end}{name}": value for end in ("From", "To", "Caller", "Called") for name, value in _PLACE.items()}
    return form | places | ({"StirVerstat": "TN-Validation-Passed-A"} if plan.setup.direction == "inbound" else {})


def status_form(plan: CallPlan, state: str, number: int, lasted_s: float | None) -> dict[str, str]:
    """A status callback, the `number`th of its call from 0; `lasted_s` is for the last one, when the call is over."""
    form = standard_form(plan, state) | {
        "Timestamp": format_datetime(datetime.now(UTC)),
        "CallbackSource": "call-progress-events",
        "SequenceNumber": str(number),
    }
    if lasted_s is None:
        return form
    seconds = round(lasted_s)
    return form | {"CallDuration": str(seconds), "Duration": str(-(-seconds // 60)), "SipResponseCode": "200"}


def stream_form(names: StreamNames, name: str | None, event: str, error: str | None) -> dict[str, str]:
    form = {
        "AccountSid": names.account_sid,
        "CallSid": names.call_sid,
        "StreamSid": names.stream_sid,
        "StreamName": name or names.stream_sid,
        "StreamEvent": event,
        "Timestamp": datetime.now(UTC).isoformat(),
    }
    return form if error is None else form | {"StreamError": error}
