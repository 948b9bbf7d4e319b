"""The conversation so far, as both sides heard it: what goes to the language model and into the records."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CallerSaid:
    text: str


@dataclass(frozen=True)
class AgentSaid:
    text: str
    cut: bool = False
    """The caller began to speak before the end; `text` is what was heard of it."""


class Transcript:
    """Append-only but for one thing: words of the caller that got no answer grow into one entry."""

    def __init__(self) -> None:
        self.entries: list[CallerSaid | AgentSaid] = []

    def caller_said(self, text: str) -> None:
        if self.entries and isinstance(last := self.entries[-1], CallerSaid):
            self.entries[-1] = CallerSaid(f"{last.text} {text}")
        else:
            self.entries.append(CallerSaid(text))

    def agent_said(self, text: str, cut: bool = False) -> None:
        """Nothing heard is nothing said: an empty text leaves no entry."""
        if text:
            self.entries.append(AgentSaid(text, cut))

    def last(self) -> CallerSaid | AgentSaid | None:
        return self.entries[-1] if self.entries else None

    def messages(self) -> list[dict[str, str]]:
        """Role and content, the oldest first, as a chat completion takes them (no system message)."""
        return [
            {"role": "user" if isinstance(entry, CallerSaid) else "assistant", "content": entry.text}
            for entry in self.entries
        ]
