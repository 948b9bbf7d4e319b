"""What all calls cost, held against the operator's limits: by the clock, and without a word from any peer."""

import logging
from collections.abc import Collection

from config.prices import Prices
from voice import registry
from voice.errors import RecordsUnavailable
from voice.records.records import Records
from voice.usage import Meter, cost

_DAY_S = 86400.0
_WARN_FROM = 0.8

_log = logging.getLogger("voice.spending")


class Spending:
    """One for each worker. All dollars are US dollars; a limit of None is none."""

    def __init__(self, records: Records, per_call: float | None, per_day: float | None) -> None:
        self._records = records
        self._per_call = per_call
        self._per_day = per_day
        self._looked = self._warned = self._exhausted = False

    @property
    def exhausted(self) -> bool:
        """Whether the calls of the last 24 hours have used up the day's limit: no new ones then."""
        if not self._looked:
            self.look()
        return self._exhausted

    def look(self) -> None:
        """Once in each interval of the monitor: how much the live calls have cost, and all of the last day."""
        self._looked = True
        for connection in registry.connections():
            if connection.state is registry.State.LIVE:
                self._look_at(connection)
        if self._per_day is None:
            return
        try:
            spent = self._records.cost_since(self._records.clock() - _DAY_S)
        except RecordsUnavailable as error:
            _log.error("what the calls of the last day have cost is not known: %s", error)
            return
        self._judge(spent, self._per_day)

    def _look_at(self, connection: registry.Connection) -> None:
        dollars = connection.cost()
        if self._per_day is not None:
            # For the other workers, and for whoever looks at the call; its end will have the last word.
            self._records.call_updated(connection.call_sid, cost_usd=dollars)
        if self._per_call is not None and dollars >= self._per_call:
            _log.warning("%s: has cost %.2f dollars, ending it", connection.call_sid, dollars)
            connection.request_end("cost-limit")

    def _judge(self, spent: float, limit: float) -> None:
        was, self._exhausted = self._exhausted, spent >= limit
        if self._exhausted and not was:
            _log.error("calls have cost %.2f of %.2f dollars in 24 hours: no new ones", spent, limit)
        elif was and not self._exhausted:
            _log.warning("calls have cost %.2f of %.2f dollars in 24 hours: new ones again", spent, limit)
        warn = spent >= _WARN_FROM * limit
        if warn and not self._warned and not self._exhausted:
            _log.warning("calls have cost %.2f of %.2f dollars in 24 hours", spent, limit)
        self._warned = warn


def unpriced(prices: Prices, language_models: Collection[str], transcriber: str, synthesizer: str) -> list[str]:
    """What calls use and no limit counts, because it has no price."""
    missing: list[str] = []
    for outbound in (False, True):
        meter = Meter(outbound=outbound, call_seconds=60, sms=1, amd=int(outbound))
        meter.add_caller_audio(transcriber, 60)
        meter.add_characters(synthesizer, 1000)
        for model in sorted(language_models):
            meter.add_tokens(model, 1, 0, 1)
        missing += [each for each in cost(meter, prices).unpriced if each not in missing]
    return missing
