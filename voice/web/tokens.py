"""Single-use tokens that let one call open one stream: made for the signed webhook, spent by the stream's `start`."""

import hmac
import logging
import secrets
import time
from collections.abc import Callable

from itsdangerous import BadSignature, URLSafeTimedSerializer

from voice.errors import CallRefused, RecordsUnavailable
from voice.services import Admission
from voice.wires.caller import Started

LIFETIME_S = 60
# One machine makes a token and another one reads it: their clocks agree only so well.
_CLOCKS_APART_S = 2
# Twilio takes 500 characters for a parameter. Numbers and SIP addresses are ASCII; whatever is not would be escaped
# to up to twelve characters each.
_LONGEST_NUMBER = 64

_log = logging.getLogger("voice.web")


class Tokens:
    """Any worker can check a token, because all share the secret. That it is spent all know by the records; while those
    do not answer, the worker that spent it."""

    def __init__(self, secret: str, spend: Callable[..., bool] | None = None) -> None:
        """`spend(*names)` is `Records.spend`; None: this worker is the only one."""
        self._serializer = URLSafeTimedSerializer(secret, salt="twilio-stream")
        self._spend_everywhere = spend
        # Spent names with the monotonic time of it, oldest first.
        self._spent: dict[str, float] = {}

    def parameters(self, call_sid: str, admission: Admission, tries: int = 0) -> dict[str, str]:
        """The `<Parameter>`s of a stream that admits the call so; `tries` is how often it has lost its stream."""
        token = self._serializer.dumps(
            [
                secrets.token_urlsafe(16),
                tries,
                call_sid,
                admission.agent,
                _kept(admission.caller_number),
                _kept(admission.called_number),
                admission.outbound,
                admission.opening,
                admission.stir,
                admission.stream_name,
            ]
        )
        return {"token": str(token), "agent": admission.agent}

    def admit(self, started: Started) -> Admission:
        """Spend the token of a `start`. Raises CallRefused."""
        token = started.parameters.get("token", "")
        try:
            # By the wall clock, which all machines share. When it is set in these moments the call loses its stream,
            # and Twilio comes back for another with a new token.
            (nonce, tries, call_sid, *known), made_at = self._serializer.loads(token, return_timestamp=True)
            if not -_CLOCKS_APART_S <= int(time.time()) - made_at.timestamp() <= LIFETIME_S:
                raise BadSignature("too old")
            admission = Admission(*known)
        except (BadSignature, ValueError, TypeError) as error:
            raise CallRefused("the stream's token is missing, wrong or too old") from error
        if not hmac.compare_digest(call_sid, started.call_sid):
            raise CallRefused("the stream's token belongs to another call")
        asked = started.parameters.get("agent", admission.agent)
        if asked != admission.agent:
            raise CallRefused(f"the stream asks for agent {ascii(asked)}, its call for {admission.agent}")
        # A call begins once: a webhook that was recorded and is sent again makes tokens that open nothing.
        begins = (f"{call_sid} begins {tries}",) if admission.opening == "greeting" else ()
        self._spend((nonce, *begins))
        return admission

    def _spend(self, names: tuple[str, ...]) -> None:
        now = time.monotonic()
        for old, spent in list(self._spent.items()):
            # A token's age is counted in whole seconds: it is good for almost a second more than its lifetime.
            if now - spent <= LIFETIME_S + _CLOCKS_APART_S + 1:
                break
            del self._spent[old]
        here = any(name in self._spent for name in names)
        if not here:
            # Before the others are asked: two streams with the same token may be here at the same time.
            self._spent |= dict.fromkeys(names, now)
        if here or not self._first_anywhere(names):
            raise CallRefused("the stream's token is spent, or its call has begun before")

    def _first_anywhere(self, names: tuple[str, ...]) -> bool:
        if self._spend_everywhere is None:
            return True
        try:
            return self._spend_everywhere(*names)
        except RecordsUnavailable as error:
            # Better a token that might be used twice while the database is away than no calls at all.
            _log.warning("whether another worker has spent a token is not known: %s", error)
            return True


def _kept(number: str) -> str:
    return number.encode("ascii", "ignore").decode()[:_LONGEST_NUMBER]
