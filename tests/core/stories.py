"""A conversation told step by step: short words for what happens, at times that the story names. Values only."""

from dataclasses import replace
from typing import Any

from voice.core import events as ev
from voice.core.audio import Audio
from voice.core.conversation import Conversation
from voice.core.rules import Rules

MS_PER_LETTER = 50
RULES = Rules(greeting="Hello there.", apology="Sorry, bye.", max_duration_s=600)


class Story:
    """A call whose greeting has been heard, at 2 s. `after` gives the actions of the last step."""

    def __init__(self, **rules: Any) -> None:
        self.conversation = Conversation(replace(RULES, **rules))
        self.now = 0.0
        self.after: list[ev.Action] = []
        self.at(0.0, ev.StreamStarted())
        self.sounds(0.1, 1, "Hello there. ")
        self.at(0.2, ev.SpeechFinished(1))
        self.at(2.0, ev.MarkReturned(1, 13 * MS_PER_LETTER))
        assert self.conversation.floor == "nobody"

    def at(self, now: float, event: ev.Event) -> list[ev.Action]:
        self.now = now
        self.after = self.conversation.handle(event, now)
        return self.after

    # The caller

    def starts(self, now: float) -> list[ev.Action]:
        return self.at(now, ev.CallerStartedSpeaking())

    def stops(self, now: float) -> list[ev.Action]:
        return self.at(now, ev.CallerStoppedSpeaking(600))

    def understood(self, now: float, text: str, item: str = "item-1") -> list[ev.Action]:
        """A delta."""
        return self.at(now, ev.TranscriptExtended(item, text))

    def final(self, now: float, text: str, item: str = "item-1") -> list[ev.Action]:
        return self.at(now, ev.TranscriptFinished(item, text))

    def asks(self, now: float, text: str, item: str = "item-1") -> list[ev.Action]:
        """Speaks from `now` for a second; the final transcript comes a second later, no delta before."""
        self.starts(now)
        self.stops(now + 1)
        self.at(now + 1, ev.UtteranceCommitted(item))
        return self.final(now + 2, text, item)

    # The agent

    def writes(self, now: float, turn: int, *sentences: str) -> list[ev.Action]:
        """The model's answer, whole."""
        actions = self.at(now, ev.ReplyStarted(turn))
        for sentence in sentences:
            actions = actions + self.at(now, ev.SentenceReady(turn, sentence))
        return actions + self.at(now, ev.ReplyFinished(turn))

    def sounds(self, now: float, turn: int, text: str) -> list[ev.Action]:
        """The synthesizer's audio for these characters, 50 ms each."""
        starts = tuple(range(0, len(text) * MS_PER_LETTER, MS_PER_LETTER))
        alignment = ev.Alignment(text, starts, (MS_PER_LETTER,) * len(text))
        return self.at(now, ev.SpeechArrived(turn, Audio(len(text) * MS_PER_LETTER * 8), alignment))

    def heard(self, now: float, turn: int, letters: int) -> list[ev.Action]:
        return self.at(now, ev.MarkReturned(turn, letters * MS_PER_LETTER))

    # Time

    def passes(self) -> list[ev.Action]:
        """The next deadline passes."""
        assert self.conversation.deadline is not None
        return self.at(self.conversation.deadline, ev.DeadlinePassed())

    def passes_until(self, kind: type[ev.Action]) -> list[ev.Action]:
        """Deadlines pass, one by one, until one leads to an action of this kind."""
        for _ in range(50):
            if any(isinstance(action, kind) for action in self.passes()):
                return self.after
        raise AssertionError(f"no {kind.__name__} ever")


def kinds(actions: list[ev.Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def played_ms(actions: list[ev.Action]) -> float:
    return sum(action.audio.ms for action in actions if isinstance(action, ev.PlayAudio))
