"""Who may be called, and how often: a leaked token must not become a telephone bill."""

from collections.abc import Sequence
from dataclasses import dataclass

from voice.records.records import Records

# Satellite and international networks, shared-cost and premium services (ITU-T E.164 country codes; NANPA 900 and 976;
# Ofcom 09). Twilio's own geographic permissions stand behind this.
NEVER = ("+870", "+878", "+881", "+882", "+883", "+888", "+979", "+1900", "+1976", "+449")
_MINUTE_S, _DAY_S = 60.0, 86400.0


@dataclass(frozen=True)
class OutboundLimits:
    prefixes: Sequence[str]
    """The only beginnings of numbers that are allowed; empty: all but NEVER."""
    per_minute: int
    per_day: int

    def allow(self, number: str) -> bool:
        named = max((len(prefix) for prefix in self.prefixes if number.startswith(prefix)), default=0)
        # An operator who names a number that nobody should call means it.
        never = max((len(prefix) for prefix in NEVER if number.startswith(prefix)), default=0)
        return named > 0 and named >= never if self.prefixes else never == 0

    def exceeded(self, records: Records) -> str:
        """Which of them, if one more call is one too many. Raises RecordsUnavailable."""
        now = records.clock()
        if records.outbound_count(now - _MINUTE_S) >= self.per_minute:
            return f"{self.per_minute} calls a minute"
        if records.outbound_count(now - _DAY_S) >= self.per_day:
            return f"{self.per_day} calls a day"
        return ""
