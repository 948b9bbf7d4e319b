"""A call's log as the record that the story is told of: the same names, times in seconds since the epoch. Pure."""

import json
from calendar import timegm
from collections.abc import Iterable
from dataclasses import asdict
from time import strptime
from typing import Any

from voice.core import call_log
from voice.core import events as ev
from voice.core.notes import Notes
from voice.core.transcript import Entry, Past, ToolUsed, Transcript


class LogReader:
    """Takes the lines one by one, as many streams as the call has had."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}
        self._transcript = Transcript()
        self._notes = Notes()
        self._began = 0.0
        self._step: tuple[ev.Event, float] | None = None
        self._actions: list[ev.Action] = []

    def line(self, line: dict[str, Any]) -> None:
        """Raises ValueError, KeyError or TypeError for a line that is none of a call's log."""
        if "rules" in line:
            self._finish_step()
            self._begin(line)
        elif "action" in line:
            self._actions.append(call_log.read(line))  # type: ignore[arg-type]
        else:
            self._finish_step()
            self._step = call_log.read(line), float(line["t"])  # type: ignore[assignment]

    def end(self) -> None:
        self._finish_step()

    @property
    def past(self) -> list[Entry]:
        """Only the tools that were used: what was said stands in the turns."""
        return self._transcript.entries

    def _begin(self, line: dict[str, Any]) -> None:
        call = line["call"]
        # The log has whole seconds; the first event happens within the second that follows.
        self._began = float(timegm(strptime(call["started"], "%Y-%m-%dT%H:%M:%SZ")))
        self._notes = Notes()
        record = self.record
        if not record:
            told = {name: call.get(name, "") for name in ("call_sid", "agent", "caller", "called", "direction")}
            record |= told | {"started_at": self._began, "resumes": 0, "turns": [], "events": []}
        else:
            if record["reason"]:
                self._note("stream-ended", {"turn": self._latest(), "reason": record["reason"]}, record["ended_at"])
            self._note("resumed", {"turn": Past.read(line["past"]).turns}, self._began)
            record["resumes"] += 1
        record |= {"ended_at": None, "result": None, "reason": None, "max_silence_ms": line["rules"]["max_silence_ms"]}

    def _finish_step(self) -> None:
        step, actions = self._step, self._actions
        self._step, self._actions = None, []
        if step is None:
            return
        if not self.record:
            raise ValueError("an event before the call's first line")
        event, now = step
        for note in self._notes.of(event, actions, now):
            self._note(note.kind, note.detail, self._began + now)
        if isinstance(event, ev.ToolFinished):
            self._transcript.tool_finished(event.turn, event.call_id, event.result)
        for action in actions:
            self._act(action, now)

    def _act(self, action: ev.Action, now: float) -> None:
        match action:
            case ev.RunTool():
                self._use(action)
            case ev.RecordTurn():
                times = {**asdict(action.times), "asked": self._notes.asked(action.turn)}
                kept = {name: None if at is None else self._began + at for name, at in times.items()}
                turn = {"number": action.turn, "caller": action.caller, "agent": action.agent, "cut": action.cut}
                self.record["turns"].append(turn | {"times": kept, "at": self._began + now})
            case ev.EndCall():
                self.record |= {"ended_at": self._began + now, "result": action.result, "reason": action.reason}

    def _use(self, action: ev.RunTool) -> None:
        self._transcript.tools_called(action.turn, [ToolUsed(action.call_id, action.name, action.arguments)], "")

    def _latest(self) -> int:
        return int(self.record["turns"][-1]["number"]) if self.record["turns"] else 0

    def _note(self, kind: str, detail: dict[str, Any], at: float) -> None:
        self.record["events"].append({"at": at, "kind": kind, "detail": detail})


def read(lines: Iterable[str]) -> LogReader:
    """The record and the past of a call's log. Raises ValueError, naming the line, for a broken one."""
    reader = LogReader()
    number = 0
    for number, text in enumerate(lines, 1):
        try:
            reader.line(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
    if not reader.record:
        raise ValueError(f"line {number}: no call in it")
    reader.end()
    return reader
