"""The agent's turn that is under way: its number, its words, its sound, and when each stage was reached."""

from dataclasses import dataclass, field, replace

from voice.core.events import ReplyEvent, ToolCalled, TurnTimes
from voice.core.own_tools import Ending
from voice.core.playout import Playout


@dataclass
class Turn:
    number: int
    caller: str = ""
    """The words that it answers; empty when it answers none."""
    confirmed: bool = True
    """The words it answers are final. Until then no tool runs."""
    held: bool = False
    """Nothing more of it is handed over for the time being."""
    firm: bool = False
    """The caller's speech does not stop it."""
    said: str = ""
    """The text given to the synthesizer so far."""
    firm_spans: list[tuple[int, int]] = field(default_factory=list)
    """Beginning and end, as places in `said`, of the sentences that the caller's speech does not stop."""
    playout: Playout = field(default_factory=Playout)
    times: TurnTimes = field(default_factory=TurnTimes)
    attempt: int = 1
    """How often the language model was asked for the same answer."""
    waited: bool = False
    """The present attempt has been waited for longer than is polite."""
    answered: bool = False
    """The present answer of the model has words."""
    reply_done: bool = False
    """The language model has nothing to add."""
    closed: bool = False
    """The synthesizer was told to let go of it."""
    speech_done: bool = False
    """The synthesizer has nothing to add."""
    broken_off: bool = False
    """Part of its text will never sound."""
    in_parts: bool = False
    """The model has kept the caller waiting for the end of a sentence."""
    ending: Ending | None = None
    """The call ends so when the turn has been heard."""
    calls: list[ToolCalled] = field(default_factory=list)
    """Called in the present answer of the model, not run yet."""
    running: set[str] = field(default_factory=set)
    """Ids of the tools at work."""
    owes: bool = False
    """Tools have run, or are running, for an answer that is still to come."""
    rounds: int = 0
    """How often the model has called tools."""
    waits_for_token: bool = False
    """When it was stopped, the model had not begun to answer."""
    kept: list[ReplyEvent] = field(default_factory=list)
    """What the model wrote while the caller's voice had stopped it: used if it goes on."""

    def say(self, text: str, firm: bool = False) -> None:
        self.said = f"{self.said} {text}" if self.said else text
        if firm:
            self.firm_spans.append((len(self.said) - len(text), len(self.said)))

    def is_firm(self, now: float) -> bool:
        """The caller's speech does not stop it now: all of it is firm, or the sentence that is heard or about to be."""
        # One that is held has not begun: whether it will is still to be decided.
        if self.firm or self.held or not self.confirmed or not self.firm_spans:
            return self.firm
        heard = self.playout.heard_letters(now, self.said)
        return any(start <= heard + 1 and heard < end for start, end in self.firm_spans)

    def reached(self, stage: str, now: float) -> None:
        """Note the first time that a stage of `TurnTimes` was reached."""
        if getattr(self.times, stage) is None:
            self.times = replace(self.times, **{stage: now})

    @property
    def spoken(self) -> bool:
        """Audio has come for every character of the text: nothing can be cut off by letting go."""
        return len(self.said) <= self.playout.letters_spoken()

    @property
    def unspoken(self) -> str:
        """The text for which no audio has come, from the beginning of a word on."""
        start = min(self.playout.letters_spoken(), len(self.said))
        if 0 < start < len(self.said) and not self.said[start].isspace():
            start = self.said.rfind(" ", 0, start) + 1
        return self.said[start:].strip()

    @property
    def over(self) -> bool:
        complete = self.confirmed and not self.held and self.reply_done and not self.calls and not self.running
        return complete and self.playout.over and (self.speech_done or self.spoken)
