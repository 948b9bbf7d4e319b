"""What is kept of a call while it goes on: its log, its turns in the records, a checkpoint after each, what it used."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from config.prices import Prices
from voice import tracing
from voice.call_log import CallLog
from voice.core import events as ev
from voice.core.conversation import Conversation
from voice.core.notes import Note, Notes
from voice.core.transcript import Past
from voice.metrics import counting
from voice.records.entries import CallEnded, CallStarted, Turn
from voice.records.records import Records
from voice.recovery import Earlier
from voice.registry import CallSession
from voice.usage import Meter, cost


@dataclass(frozen=True)
class Models:
    """Whose work is counted."""

    transcriber: str
    synthesizer: str


class Bookkeeping:
    def __init__(self, session: CallSession, records: Records, log: CallLog, earlier: Earlier, models: Models) -> None:
        self._session = session
        self._records = records
        self._log = log
        self._earlier = earlier
        self._models = models
        self._notes = Notes()
        self.meter = earlier.meter
        # What the streams before this one have used is in their figures.
        self._used_before = Meter(**earlier.meter.as_dict())
        # The model that was asked for each turn, and the tokens of a turn that may yet be thrown away.
        self._asked: dict[int, str] = {}
        self._tokens: dict[int, int] = {}
        records.call_started(
            CallStarted(
                session.call_sid,
                session.direction,
                session.agent.name,
                session.caller_number,
                session.called_number,
                session.started_at,
                earlier.parameters,
                session.connection.stream_name,
                earlier.owner,
            ),
            earlier.fence,
        )
        if earlier.fence:
            self._note("resumed", {"turn": earlier.past.turns})
        counting.call_started(session.direction, carried_on=earlier.fence > 0)
        self._trace = tracing.begin(session.call_sid, agent=session.agent.name, direction=session.direction)

    def happened(self, event: ev.Event, actions: Sequence[ev.Action], now: float) -> None:
        """One event and what followed from it, `now` seconds after the stream's start."""
        self._log.write(event, actions, now)
        self._session.pulse.happened(event, actions)
        counting.happened(event, actions)
        if isinstance(event, ev.TokensUsed):
            self._count(event)
        for note in self._notes.of(event, actions, now):
            self._note(note.kind, note.detail)
            self._tell(note)
        for action in actions:
            self._keep(action, now)

    def asked(self, turn: int, model: str) -> None:
        """The language model that answers this turn."""
        self._asked[turn] = model

    def synthesized(self, characters: int) -> None:
        self.meter.add_characters(self._models.synthesizer, characters)

    def broken_off(self, tokens: int) -> None:
        """So much had come of an answer that was cancelled."""
        self.meter.add_waste(tokens=tokens)

    def cost_by_now(self, seconds: float, prices: Prices) -> float:
        """US dollars, `seconds` after the stream's start."""
        return cost(self._used(seconds), prices).usd["total"]

    def ended(self, end: ev.EndCall, seconds: float, prices: Prices) -> None:
        """The stream is over, and with it the call unless somebody carries it on."""
        self._log.close()
        if end.transfer_to:
            self._note("transferred", {"to": end.transfer_to, "reason": end.reason})
            transfer = {"to": end.transfer_to, "summary": end.summary}
            self._records.checkpoint(
                self._session.call_sid, self._checkpoint(seconds) | {"transfer": transfer}, self._earlier.fence
            )
        used = self._used(seconds)
        costs = cost(used, prices)
        before = cost(self._used_before, prices).usd
        counting.call_ended(end, seconds, {v: usd - before[v] for v, usd in costs.usd.items() if v != "total"})
        if self._trace:
            self._trace.ended(end)
        usage = used.as_dict() | {"unpriced": list(costs.unpriced)}
        if end.result in ("lost", "handed-over", "transferred"):
            self._note("stream-ended", {"turn": self._session.conversation.turn, "reason": end.reason})
        # A clock that was set back meanwhile must not have a call end before it began.
        ended_at = max(time.time(), self._session.started_at + seconds)
        # How a call ends that another stream has taken over, that one tells.
        if end.reason != "superseded":
            kept = CallEnded(end.result, end.reason, ended_at, usage, costs.usd)
            self._records.call_ended(self._session.call_sid, kept, self._earlier.fence)

    def _keep(self, action: ev.Action, now: float) -> None:
        match action:
            case ev.RecordTurn():
                self._keep_turn(action, now)
            case ev.RecordWaste():
                self.meter.add_waste(self._tokens.pop(action.turn, 0), action.characters)

    def _tell(self, note: Note) -> None:
        """Those who watch from outside."""
        detail = note.detail
        if note.kind == "tool-finished":
            counting.tool_finished(detail["outcome"], detail["seconds"])
        elif self._trace and note.kind == "vendor-failed":
            self._trace.note(note.kind, vendor=detail["vendor"], turn=detail["turn"])
        elif self._trace and note.kind == "late":
            self._trace.note(note.kind, **detail)

    def _keep_turn(self, action: ev.RecordTurn, now: float) -> None:
        began = time.time() - now
        reached = {**asdict(action.times), "asked": self._notes.asked(action.turn)}
        times = {stage: None if at is None else round(began + at, 3) for stage, at in reached.items()}
        turn = Turn(action.turn, action.caller, action.agent, action.cut, times, time.time())
        self._records.turn_finished(self._session.call_sid, turn, self._checkpoint(now), self._earlier.fence)
        self._tokens.pop(action.turn, None)
        if self._trace:
            self._trace.turn(action, began, now)

    def _checkpoint(self, now: float) -> dict[str, Any]:
        """What the call would go on from on another stream."""
        conversation: Conversation = self._session.conversation
        return {
            "past": Past(conversation.turn, tuple(conversation.transcript.entries), conversation.digits).plain(),
            "seconds": self._earlier.seconds + now,
            "meter": self._used(now).as_dict(),
            "parameters": dict(self._earlier.parameters),
        }

    def _used(self, now: float) -> Meter:
        """All that was used by now; the transcriber gets every frame of the stream, silence too."""
        used = Meter(**self.meter.as_dict())
        used.add_call(now)
        used.add_caller_audio(self._models.transcriber, now)
        return used

    def _note(self, kind: str, detail: Mapping[str, Any]) -> None:
        self._records.noted(self._session.call_sid, kind, detail)

    def _count(self, used: ev.TokensUsed) -> None:
        model = self._asked.get(used.turn, "unknown")
        self.meter.add_tokens(model, used.prompt, used.cached, used.completion)
        self._tokens[used.turn] = self._tokens.get(used.turn, 0) + used.prompt + used.completion
