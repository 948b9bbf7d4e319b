"""What is worth keeping of a call that is no turn, read off its events and actions: for the records and for its story.

Kinds: `late`, `vendor-failed`, `tool-called`, `tool-finished`, `thrown-away`, `unheard`; each with its turn's number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from voice.core import events as ev


@dataclass(frozen=True)
class Note:
    kind: str
    detail: dict[str, Any]


class Notes:
    """Of one stream of a call; `of` is told every event, in order."""

    def __init__(self) -> None:
        # By turn: all that was given to the synthesizer, and when the model was asked first.
        self._said: dict[int, str] = {}
        self._asked: dict[int, float] = {}
        # By turn and id: the tool's name, and when it began.
        self._running: dict[tuple[int, str], tuple[str, float]] = {}

    def asked(self, turn: int) -> float | None:
        """When the language model was first asked for that turn, in seconds since the stream's start."""
        return self._asked.get(turn)

    def of(self, event: ev.Event, actions: Sequence[ev.Action], now: float) -> list[Note]:
        return [*self._of_event(event, now), *(note for action in actions for note in self._of(action, event, now))]

    def _of_event(self, event: ev.Event, now: float) -> Iterator[Note]:
        match event:
            case ev.VendorFailed():
                yield Note("vendor-failed", {"vendor": event.vendor, "detail": event.detail, "turn": event.turn})
            case ev.ToolFinished() if known := self._running.pop((event.turn, event.call_id), None):
                tool, began = known
                # Without the words of it, as of its arguments.
                outcome = "failed" if '"error": ' in event.result else "done"
                seconds = round(now - began, 3)
                yield Note("tool-finished", {"turn": event.turn, "tool": tool, "outcome": outcome, "seconds": seconds})

    def _of(self, action: ev.Action, event: ev.Event, now: float) -> Iterator[Note]:
        match action:
            case ev.StartReply():
                self._asked.setdefault(action.turn, now)
            # What is spoken again was said before.
            case ev.SpeakKnown() | ev.Speak() if isinstance(action, ev.SpeakKnown) or isinstance(
                event, ev.SentenceReady
            ):
                self._said[action.turn] = f"{self._said.get(action.turn, '')} {action.text}".strip()
            case ev.RunTool():
                self._running[action.turn, action.call_id] = action.name, now
                # Without the arguments: they hold what the caller said, and the checkpoint has them.
                yield Note("tool-called", {"turn": action.turn, "tool": action.name})
            case ev.RecordDelay():
                yield Note("late", {"turn": action.turn, "stage": action.stage, "remedy": action.remedy})
            case ev.RecordWaste():
                yield Note("thrown-away", {"turn": action.turn, "characters": action.characters})
            case ev.RecordTurn():
                if rest := unheard(self._said.pop(action.turn, ""), action.agent):
                    yield Note("unheard", {"turn": action.turn, "text": rest})


def unheard(said: str, heard: str) -> str:
    """What of the words of `said` follows those that were `heard`, the beginning of it."""
    return " ".join(said.split()[len(heard.split()) :])
