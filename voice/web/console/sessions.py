"""Who has logged in: a signed cookie that every worker accepts, because the key comes from API_TOKEN."""

import hmac
import secrets
import time
from collections import deque
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

LIFETIME_S = 12 * 3600
TRIES_A_MINUTE = 10
_MOST_PEERS = 1000


@dataclass(frozen=True)
class Session:
    id: str
    """Hexadecimal, of no meaning."""
    until: float
    """Seconds since the epoch."""


class Sessions:
    def __init__(self, token: str | None) -> None:
        """Without a `token` the console is off."""
        self._token = token
        # Without a token a key that nobody has.
        self._key = hmac.digest((token or secrets.token_hex(32)).encode(), b"voice console", "sha256")
        self._serializer = URLSafeTimedSerializer(self._key, salt="console-session")

    @property
    def is_on(self) -> bool:
        return self._token is not None

    @property
    def secret(self) -> str:
        """For what else is signed for those who have logged in."""
        return self._key.hex()

    def log_in(self, given: str) -> str | None:
        """The cookie's value for who knows the token."""
        if self._token is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        return str(self._serializer.dumps(secrets.token_hex(16)))

    def of(self, cookie: str) -> Session | None:
        try:
            session_id, made = self._serializer.loads(cookie, max_age=LIFETIME_S, return_timestamp=True)
        except BadSignature:
            return None
        return Session(str(session_id), made.timestamp() + LIFETIME_S)

    def csrf(self, session: Session) -> str:
        """What a form of this session has to bring along."""
        return hmac.digest(self._key, b"csrf " + session.id.encode(), "sha256").hex()


class Tries:
    """Of logging in, by address: a proxy in front of us counts as one."""

    def __init__(self) -> None:
        self._failed: dict[str, deque[float]] = {}

    def are_left(self, peer: str) -> bool:
        failed, now = self._failed.get(peer, deque()), time.monotonic()
        while failed and failed[0] <= now - 60:
            failed.popleft()
        return len(failed) < TRIES_A_MINUTE

    def failed(self, peer: str) -> None:
        if len(self._failed) >= _MOST_PEERS and peer not in self._failed:
            del self._failed[next(iter(self._failed))]
        self._failed.setdefault(peer, deque(maxlen=TRIES_A_MINUTE)).append(time.monotonic())
