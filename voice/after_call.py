"""When a call is over: a summary and the agent's fields by the language model, and a webhook with all that is known.

Every worker looks after the calls that it has ended; what a dead worker has left behind, the others find.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import gevent

from config.agents import Agent
from config.prices import Prices
from voice.core.summary import request_of
from voice.core.transcript import Past
from voice.errors import RecordsUnavailable, VendorError
from voice.records.entries import CallRecord
from voice.records.outbox import Destination
from voice.records.records import Records
from voice.usage import Meter, cost
from voice.wires.language_model import LanguageModel, Request

SETTLE_S = 5.0
"""A call that has lost its stream comes back within moments."""
LOST_SETTLE_S = 20.0
"""Or is asked back after ten seconds."""
_LONGEST_S = 120.0
"""For one call; after that another worker may try."""
_MAX_TOKENS = 800

_log = logging.getLogger("voice.after_call")


@dataclass(frozen=True)
class Found:
    """What the language model has found in a call."""

    values: dict[str, Any]
    usage: dict[str, Any] | None
    cost: dict[str, float] | None
    """Both with what finding it has used; None: as they were."""


class AfterCall:
    def __init__(
        self,
        agents: Mapping[str, Agent],
        records: Records,
        language_model: LanguageModel,
        default_model: str,
        prices: Prices,
        owner: str,
    ) -> None:
        """`owner` is this worker in the records."""
        self._owner = owner
        self._agents = agents
        self._records = records
        self._language_model = language_model
        self._default_model = default_model
        self._prices = prices
        # Calls that are waited for: a call may be told of more than once, and the last time counts.
        self._waiting: dict[str, gevent.Greenlet] = {}
        self._looked_into: set[str] = set()
        self._sweeping: gevent.Greenlet | None = None

    def soon(self, call_sid: str, settle_s: float = SETTLE_S) -> None:
        """Once it is clear that the call is not carried on. Returns at once."""
        if waiting := self._waiting.pop(call_sid, None):
            waiting.kill(block=False)
        greenlet = self._waiting[call_sid] = gevent.spawn_later(settle_s, self._after_waiting, call_sid)
        greenlet.name = f"{call_sid} after-call"

    def sweep(self) -> None:
        """The calls that nobody has finished, because their worker has died or they were lost. Returns at once."""
        if not self._sweeping:
            self._sweeping = gevent.spawn(self._sweep)
            self._sweeping.name = "after-call sweep"

    def _sweep(self) -> None:
        try:
            left = self._records.unfinished()
        except RecordsUnavailable as error:
            _log.warning("calls that nobody has finished cannot be looked for: %s", error)
            return
        for call_sid in left:
            if call_sid not in self._waiting:
                self._finish(call_sid)

    def destination(self, agent: str) -> Destination | None:
        """Where the agent's webhooks go; None when its file has none any more."""
        after = self._agents[agent].after_call if agent in self._agents else None
        if not after or not after.webhook:
            return None
        return Destination(after.webhook, after.secret, after.allow_private)

    def _after_waiting(self, call_sid: str) -> None:
        del self._waiting[call_sid]
        self._finish(call_sid)

    def _finish(self, call_sid: str) -> None:
        """Unless it is being finished, here or by another worker that was told of its end."""
        if call_sid in self._looked_into:
            return
        self._looked_into.add(call_sid)
        lease = f"finish {call_sid}"
        try:
            if self._records.lease(lease, self._owner, _LONGEST_S):
                try:
                    self._finish_alone(call_sid)
                finally:
                    self._records.release(lease, self._owner)
        except RecordsUnavailable as error:
            _log.warning("%s: cannot be finished yet: %s", call_sid, error)
        except Exception:
            _log.exception("%s: finishing it failed", call_sid)
        finally:
            self._looked_into.discard(call_sid)

    def _finish_alone(self, call_sid: str) -> None:
        call = self._records.to_finish(call_sid)
        if call is None:
            return
        agent = self._agents.get(call.agent)
        if agent is None:
            # Its file is gone, and with it everything that was wanted.
            self._records.finish(call_sid, call.agent, {}, None)
            return
        found = self._look_into(call, agent)
        changes = {"summary": found.values.pop("summary", None), "fields": found.values or None}
        if found.usage and found.cost:
            changes |= {"usage": found.usage, "cost": found.cost, "cost_usd": found.cost["total"]}
        # Finished and posted at once: who dies before leaves it to the others, who comes second does nothing.
        body = record_of(replace(call, **changes)) if agent.after_call.webhook else None
        self._records.finish(call_sid, agent.name, changes, body)

    def _look_into(self, call: CallRecord, agent: Agent) -> Found:
        """The summary, if the agent wants one, beside its fields; nothing where there is nothing to find."""
        after = agent.after_call
        entries = Past.read(call.checkpoint["past"]).entries if call.checkpoint else ()
        if not entries or not (after.summary or after.fields):
            return Found({}, None, None)
        messages, schema = request_of(entries, after.fields, after.summary)
        model = agent.model or self._default_model
        request = Request(call.call_sid, model, messages, temperature=0.0, max_tokens=_MAX_TOKENS)
        try:
            extracted = self._language_model.extract(request, "call_record", schema)
        except VendorError as error:
            _log.warning("%s: no summary: %s", call.call_sid, error)
            return Found({}, None, None)
        values = dict(extracted.values)
        used = extracted.usage
        if used is None or not call.usage:
            return Found(values, None, None)
        meter = Meter(**{name: value for name, value in call.usage.items() if name != "unpriced"})
        meter.add_tokens(model, used.prompt_tokens, used.cached_tokens, used.completion_tokens + used.reasoning_tokens)
        costs = cost(meter, self._prices)
        return Found(values, meter.as_dict() | {"unpriced": list(costs.unpriced)}, costs.usd)


def record_of(call: CallRecord) -> dict[str, Any]:
    """A call as the webhook and the API tell it. Times are seconds since the epoch, UTC; costs are US dollars."""
    told = asdict(call)
    for ours in ("fence", "owner", "stream_name", "checkpoint", "finished_at"):
        told.pop(ours)
    told["turns"] = [asdict(turn) for turn in call.turns]
    told["events"] = [asdict(event) for event in call.events]
    return told
