"""Who may be called, and how often: a leaked token must not become a telephone bill."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from voice.records.entries import Outbound
from voice.records.records import Records

# Satellite and international networks, shared-cost and premium services (country codes of E.164; NANPA; Ofcom 09).
# Twilio's own geographic permissions stand behind this.
NEVER = ("+870", "+878", "+881", "+882", "+883", "+888", "+979", "+1900", "+449")
# Premium exchanges and short codes of the North American plan: 976 behind any area code, 911 and its like.
_NEVER_EITHER = re.compile(r"\+1(\d{3}976\d{4}|[2-9]11\d*)")
_MINUTE_S, _DAY_S = 60.0, 86400.0


@dataclass(frozen=True)
class OutboundLimits:
    prefixes: Sequence[str]
    """The only beginnings of numbers that are allowed; empty: all but NEVER."""
    per_minute: int
    per_day: int
    minutes_per_day: int | None = None
    """Of all calls that are placed, together."""

    def allow(self, number: str) -> bool:
        if _NEVER_EITHER.fullmatch(number):
            return False
        named = max((len(prefix) for prefix in self.prefixes if number.startswith(prefix)), default=0)
        # An operator who names a number that nobody should call means it.
        never = max((len(prefix) for prefix in NEVER if number.startswith(prefix)), default=0)
        return named > 0 and named >= never if self.prefixes else never == 0

    def place(self, records: Records, placed: Outbound) -> str:
        """Keep that it is placed; or say which limit is reached. Raises RecordsUnavailable."""
        if self.minutes_per_day is not None:
            seconds = records.outbound_seconds(records.clock() - _DAY_S)
            if seconds >= 60 * self.minutes_per_day:
                return f"{self.minutes_per_day} minutes a day"
        reached = records.outbound_within(placed, ((_MINUTE_S, self.per_minute), (_DAY_S, self.per_day)))
        return "" if reached is None else (f"{self.per_minute} calls a minute", f"{self.per_day} calls a day")[reached]
