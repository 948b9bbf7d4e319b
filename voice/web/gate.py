"""Who of those that call is let in: as many as there is time for, not too many a second, not too often from one number,
nobody beyond the budget."""

import logging
import re
import time
from collections import deque

from voice.errors import RecordsUnavailable
from voice.metrics import counting
from voice.pressure import Pressure
from voice.records.records import Records
from voice.spending import Spending
from voice.web.shown import shown

LONGEST_WAIT_S = 5.0
"""The caller hears it ring meanwhile; Twilio waits for 15 s."""
# A worker has a hundred connections besides those of its calls, those of health checks and the API among them.
_LONGEST_LINE = 50
MOST_STRANGERS = 20
"""Within a minute; a real stream that breaks off before its start is one in thousands."""
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_WITHHELD = "+266696687"
"""ANONYMOUS on a keypad: Twilio's number for everybody who hides theirs."""

_log = logging.getLogger("voice.web")


class Pace:
    """At most `per_second` in any second; whoever comes too early is told how long to wait."""

    def __init__(self, per_second: int) -> None:
        self._longest_s = min(LONGEST_WAIT_S, _LONGEST_LINE / per_second)
        # The turns that were given last, those that are still to come among them.
        self._turns: deque[float] = deque(maxlen=per_second)

    def wait(self, now: float) -> float | None:
        """Seconds until it is this one's turn; None: the line is too long, and this one does not stand in it."""
        full = len(self._turns) == self._turns.maxlen
        turn = max(now, self._turns[0] + 1.0) if full else now
        if turn - now > self._longest_s:
            return None
        self._turns.append(turn)
        return turn - now


class Strangers:
    """Streams that Twilio has signed and that never told which call they are for.

    The signature of a stream's handshake is the same for every call, so whoever has got hold of one can open more. Each
    has the vendors connected for nothing: beyond a few in a minute, that waits until a stream has shown its token.
    """

    def __init__(self) -> None:
        self._came: deque[float] = deque(maxlen=MOST_STRANGERS)

    def came(self, now: float) -> None:
        self._came.append(now)

    def are_few(self, now: float) -> bool:
        return len(self._came) < MOST_STRANGERS or now - self._came[0] > _MINUTE_S


def refused(call_sid: str, reason: str, words: str) -> None:
    """Told and counted; `reason` as in `counting.call_refused`."""
    counting.call_refused(reason)
    _log.warning("%s: refused, %s", shown(call_sid), words)


class Gate:
    """One for each worker."""

    def __init__(
        self, records: Records, spending: Spending, pressure: Pressure, per_second: int, per_number: int | None
    ) -> None:
        """So many new calls a second for this worker, and from one number in an hour for all; None: no limit."""
        self._records = records
        self._spending = spending
        self._pressure = pressure
        self._pace = Pace(per_second)
        self._per_number = per_number

    def let_in(self, call_sid: str, caller: str, outbound: bool) -> bool:
        """Whether a call may begin; blocks until it is its turn. Those that we have placed were counted when they
        were, and are refused only beyond the budget."""
        if self._spending.exhausted:
            refused(call_sid, "budget", "the day's budget is used up")
            return False
        if outbound:
            return True
        if often := self._too_often(caller):
            refused(call_sid, "number", often)
            return False
        if self._pressure.is_high:
            refused(call_sid, "no-time", "this worker has no time for another call")
            return False
        wait = self._pace.wait(time.monotonic())
        if wait is None:
            refused(call_sid, "at-once", "too many calls at once")
            return False
        if wait:
            time.sleep(wait)
        return True

    def _too_often(self, caller: str) -> str:
        if self._per_number is None or caller == _WITHHELD or not _NUMBER.fullmatch(caller):
            return ""
        try:
            called = self._records.calls_of(caller, self._records.clock() - _HOUR_S)
        except RecordsUnavailable as error:
            _log.warning("how often a number has called is not known: %s", error)
            return ""
        return f"{called} calls from {caller} in an hour" if called >= self._per_number else ""
