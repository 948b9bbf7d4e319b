"""What a name was last known as, for when no name server answers: live calls need new connections, too (RFC 8767)."""

import logging
import socket
import time
from typing import Any

import gevent

_PATIENCE_S = 1.0
"""A name that is known is not waited for any longer: a caller waits for the connection."""
_ASKED_AGAIN_S = 10.0
"""So long after a failure nobody waits for a name that is known."""
_KEPT_S = 86400.0
_MOST = 500
_NO_SUCH_NAME = (1, 4, socket.EAI_NONAME, socket.EAI_NODATA)
"""An answer, and no failure: c-ares' ARES_ENODATA and ARES_ENOTFOUND, and the system's words for them."""

_log = logging.getLogger("voice.names")


class Names:
    """In the place of a hub's resolver, which it asks."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        # By what was asked: when it was answered, and how.
        self._known: dict[tuple[object, ...], tuple[float, Any]] = {}
        self._failed_at = -_ASKED_AGAIN_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolver, name)

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, socktype: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """As socket.getaddrinfo. Raises socket.gaierror for a name that does not exist or was never known."""
        asked = (host, port, family, socktype, proto, flags)
        answered_at, known = self._known.get(asked, (0.0, None))
        if known is None or time.monotonic() - answered_at > _KEPT_S:
            return self._ask(asked)
        if time.monotonic() - self._failed_at < _ASKED_AGAIN_S:
            return known
        why = "no answer"
        try:
            with gevent.Timeout(_PATIENCE_S, False):
                return self._ask(asked)
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                raise
            why = str(error)
        self._failed_at = time.monotonic()
        _log.warning("the name server fails, names are taken as they were: %s: %s", ascii(host), why)
        return known

    def _ask(self, asked: tuple[Any, ...]) -> Any:
        found = self._resolver.getaddrinfo(*asked)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[asked] = time.monotonic(), found
        return found
