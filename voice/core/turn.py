"""The agent's turn that is under way: its number, its words, its sound, and when each stage was reached."""

from dataclasses import dataclass, field, replace

from voice.core.events import TurnTimes
from voice.core.playout import Playout


@dataclass
class Turn:
    number: int
    caller: str = ""
    """The words that it answers; empty for the greeting and the apology."""
    firm: bool = False
    """The caller's speech does not stop it."""
    said: str = ""
    """The text given to the synthesizer so far."""
    playout: Playout = field(default_factory=Playout)
    times: TurnTimes = field(default_factory=TurnTimes)
    reply_done: bool = False
    """The language model has nothing to add."""
    closed: bool = False
    """The synthesizer was told to let go of it."""
    speech_done: bool = False
    """The synthesizer has nothing to add."""

    def say(self, text: str) -> None:
        self.said = f"{self.said} {text}" if self.said else text

    def reached(self, stage: str, now: float) -> None:
        """Note the first time that a stage of `TurnTimes` was reached."""
        if getattr(self.times, stage) is None:
            self.times = replace(self.times, **{stage: now})

    @property
    def spoken(self) -> bool:
        """Audio has come for every character of the text: nothing can be cut off by letting go."""
        return len(self.said) <= self.playout.letters_spoken()

    @property
    def over(self) -> bool:
        return self.reply_done and self.playout.over and (self.speech_done or self.spoken)
