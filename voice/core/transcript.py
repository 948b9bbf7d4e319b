"""The conversation so far, as both sides heard it: what goes to the language model and into the records."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CallerSaid:
    text: str


@dataclass(frozen=True)
class AgentSaid:
    text: str
    cut: bool = False
    """The caller began to speak before the end; `text` is what was heard of it."""


@dataclass(frozen=True)
class ToolUsed:
    call_id: str
    name: str
    arguments: str
    result: str | None = None
    """None while the tool is at work."""


@dataclass(frozen=True)
class ToolsUsed:
    """What the model called in one answer."""

    turn: int
    uses: tuple[ToolUsed, ...]
    said: str = ""
    """The words before the call, as long as the turn goes on; then they are part of what was heard."""


Entry = CallerSaid | AgentSaid | ToolsUsed


@dataclass(frozen=True)
class Past:
    """What an earlier stream of the same call leaves to the next one; as JSON it is kept between the two."""

    turns: int = 0
    entries: tuple[Entry, ...] = ()
    digits: str = ""
    """The name of those that the caller was asked to type."""

    @property
    def greeted(self) -> bool:
        """Whether the greeting was heard to its end, or the caller has said something since."""
        return self.turns > 1 or any(not (isinstance(entry, AgentSaid) and entry.cut) for entry in self.entries)

    def plain(self) -> dict[str, Any]:
        entries = [{type(entry).__name__: asdict(entry)} for entry in self.entries]
        return {"turns": self.turns, "entries": entries, "digits": self.digits}

    @classmethod
    def read(cls, plain: dict[str, Any]) -> "Past":
        """Raises ValueError for what `plain` did not make."""
        try:
            return cls(int(plain["turns"]), tuple(map(_entry, plain["entries"])), str(plain.get("digits", "")))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no past of a call: {error!r}") from error

    def with_result(self, name: str, result: str) -> "Past":
        """What came of the latest call of that tool, if nothing is known of it yet."""
        transcript = Transcript(self.entries)
        for entry in reversed(self.entries):
            uses = entry.uses if isinstance(entry, ToolsUsed) else ()
            if found := next((use for use in uses if use.name == name), None):
                transcript.tool_finished(entry.turn, found.call_id, result)  # type: ignore[union-attr]
                break
        return replace(self, entries=tuple(transcript.entries))


class Transcript:
    """Append-only, but for what is not settled yet: unanswered words of the caller grow, tools get their results."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries: list[Entry] = list(entries)

    def caller_said(self, text: str) -> None:
        if self.entries and isinstance(last := self.entries[-1], CallerSaid):
            self.entries[-1] = CallerSaid(f"{last.text} {text}")
        else:
            self.entries.append(CallerSaid(text))

    def agent_said(self, text: str, cut: bool = False) -> None:
        """Nothing heard is nothing said: an empty text leaves no entry."""
        self.entries = [replace(e, said="") if isinstance(e, ToolsUsed) and e.said else e for e in self.entries]
        if text:
            self.entries.append(AgentSaid(text, cut))

    def tools_called(self, turn: int, uses: Sequence[ToolUsed], said: str) -> None:
        self.entries.append(ToolsUsed(turn, tuple(uses), said))

    def tool_finished(self, turn: int, call_id: str, result: str) -> None:
        """The first use of that name in that turn that has no result yet."""
        for index, entry in enumerate(self.entries):
            if isinstance(entry, ToolsUsed) and entry.turn == turn:
                for place, use in enumerate(entry.uses):
                    if use.call_id == call_id and use.result is None:
                        uses = (*entry.uses[:place], replace(use, result=result), *entry.uses[place + 1 :])
                        self.entries[index] = replace(entry, uses=uses)
                        return

    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def messages(self, and_then: str = "") -> list[dict[str, Any]]:
        """The messages of a chat completion, the oldest first, no system message. `and_then` are words of the caller
        that are not in the transcript yet."""
        entries = self.entries
        if and_then:
            heard = Transcript(entries)
            heard.caller_said(and_then)
            entries = heard.entries
        return [message for entry in entries for message in _messages(entry)]


def _entry(plain: dict[str, Any]) -> Entry:
    (name, fields), *more = plain.items()
    if name == "ToolsUsed" and not more:
        return ToolsUsed(**fields | {"uses": tuple(ToolUsed(**use) for use in fields["uses"])})
    kinds: dict[str, type[CallerSaid | AgentSaid]] = {"CallerSaid": CallerSaid, "AgentSaid": AgentSaid}
    return kinds[name](**fields)


def _messages(entry: Entry) -> list[dict[str, Any]]:
    match entry:
        case CallerSaid():
            return [{"role": "user", "content": entry.text}]
        case AgentSaid():
            return [{"role": "assistant", "content": entry.text}]
        case ToolsUsed():
            return [_call(entry), *map(_result, entry.uses)]


def _call(entry: ToolsUsed) -> dict[str, Any]:
    calls = [
        {"id": use.call_id, "type": "function", "function": {"name": use.name, "arguments": use.arguments}}
        for use in entry.uses
    ]
    return {"role": "assistant", "content": entry.said or None, "tool_calls": calls}


def _result(use: ToolUsed) -> dict[str, Any]:
    result = '{"status": "not finished yet"}' if use.result is None else use.result
    return {"role": "tool", "tool_call_id": use.call_id, "content": result or "{}"}
