"""Single-use tokens that let one call open one stream: made for the signed webhook, spent by the stream's `start`."""

import hmac
import secrets
import time

from itsdangerous import BadSignature, URLSafeTimedSerializer

from voice.errors import CallRefused
from voice.services import Admission
from voice.wires.caller import Started

LIFETIME_S = 60
# Twilio takes 500 characters for a parameter. Numbers and SIP addresses are ASCII; whatever is not would be escaped
# to up to twelve characters each.
_LONGEST_NUMBER = 64


class Tokens:
    """Any worker can check a token, because all share the secret. That it is spent is known to the worker that spent
    it, and the call it was made for can be live only once."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt="twilio-stream")
        # Spent tokens with the monotonic time of it, oldest first.
        self._spent: dict[str, float] = {}

    def parameters(self, call_sid: str, admission: Admission) -> dict[str, str]:
        """The `<Parameter>`s of a stream that admits the call so."""
        # A token's age is counted in whole seconds: without the nonce, two of one call made within a second would be
        # the same token, and the second stream of that call (after a resume) be refused.
        token = self._serializer.dumps(
            [
                secrets.token_hex(8),
                call_sid,
                admission.agent,
                _kept(admission.caller_number),
                _kept(admission.called_number),
                admission.outbound,
                admission.opening,
            ]
        )
        return {"token": str(token), "agent": admission.agent}

    def admit(self, started: Started) -> Admission:
        """Spend the token of a `start`. Raises CallRefused."""
        token = started.parameters.get("token", "")
        try:
            _, call_sid, *known = self._serializer.loads(token, max_age=LIFETIME_S)
            admission = Admission(*known)
        except (BadSignature, ValueError, TypeError) as error:
            raise CallRefused("the stream's token is missing, wrong or too old") from error
        if not hmac.compare_digest(call_sid, started.call_sid):
            raise CallRefused("the stream's token belongs to another call")
        asked = started.parameters.get("agent", admission.agent)
        if asked != admission.agent:
            raise CallRefused(f"the stream asks for agent {ascii(asked)}, its call for {admission.agent}")
        self._spend(token)
        return admission

    def _spend(self, token: str) -> None:
        now = time.monotonic()
        for old, spent in list(self._spent.items()):
            # A token's age is counted in whole seconds: it is good for almost a second more than its lifetime.
            if now - spent <= LIFETIME_S + 1:
                break
            del self._spent[old]
        if token in self._spent:
            raise CallRefused("the stream's token is spent")
        self._spent[token] = now


def _kept(number: str) -> str:
    return number.encode("ascii", "ignore").decode()[:_LONGEST_NUMBER]
