"""Vendors that refuse the account, key or quota: for all calls of a worker at once.

Their next callers hear the apology at once instead of a call that fails; now and then one is let through to see.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from voice.core.events import Vendor

PROBE_EVERY_S = 30.0

_log = logging.getLogger("voice.breaker")


@dataclass
class _Refusal:
    since: float
    probed_at: float


class Breaker:
    """One for each worker. Times are of `time.monotonic()`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals: dict[Vendor, _Refusal] = {}

    def refused(self, vendor: Vendor, detail: str) -> None:
        """One alarm, however many calls it fails."""
        now = self._clock()
        if vendor not in self._refusals:
            self._refusals[vendor] = _Refusal(now, now)
            _log.error(
                "the %s refuses our account: %s; new callers hear the apology, one in %.0f s is let through to see",
                vendor,
                detail,
                PROBE_EVERY_S,
            )

    def works(self, vendor: Vendor, born: float) -> None:
        """It has done what it is for, in a call that began at `born`: a session that is older proves nothing."""
        refusal = self._refusals.get(vendor)
        if refusal and born > refusal.since:
            del self._refusals[vendor]
            _log.warning("the %s takes our account again, after %.0f s", vendor, self._clock() - refusal.since)

    def admits(self) -> bool:
        """Whether a new call may begin: always, unless a vendor refuses; then one in a while."""
        now = self._clock()
        if any(now - refusal.probed_at < PROBE_EVERY_S for refusal in self._refusals.values()):
            return False
        for refusal in self._refusals.values():
            refusal.probed_at = now
        return True

    @property
    def refusing(self) -> list[Vendor]:
        return list(self._refusals)
