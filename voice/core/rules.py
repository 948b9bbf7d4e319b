"""What of an agent the conversation needs to know; the first line of a call's log holds it, for the replay."""

from dataclasses import dataclass
from typing import Literal

BargeIn = Literal["on_speech", "on_words", "off"]
Preemptive = Literal["off", "think", "speak"]


@dataclass(frozen=True)
class Digits:
    """What the agent may ask the caller to type."""

    name: str
    length: int | None = None
    """None: until # or a pause."""
    sensitive: bool = False
    """Neither the model nor any log gets to see them."""


@dataclass(frozen=True)
class Rules:
    greeting: str
    """Empty: the agent waits for the caller."""
    apology: str
    goodbye: str = "Goodbye."
    """Said before the call ends of itself: after silence, at the time limit."""
    filler: str = "One moment, please."
    """Said when the answer takes its time."""
    not_understood: str = "Sorry, I didn't catch that. Could you say it again?"
    idle_prompt: str = "Are you still there?"
    time_warning: str = "We will have to finish in a moment."
    language: str = "en"
    barge_in: BargeIn = "on_speech"
    """What takes the floor from the agent: any speech, real words only, or nothing."""
    backchannels: tuple[str, ...] = ()
    """Words that do not take the floor, besides those of the language."""
    preemptive: Preemptive = "think"
    """Before the final transcript: wait for it, think on what was understood so far, or even speak."""
    silence_ms: int = 600
    max_silence_ms: int = 1500
    idle_prompt_s: float = 15.0
    idle_prompts: int = 2
    """So often an idle caller is asked; then the call ends."""
    max_duration_s: float = 1800
    warning_s: float = 20.0
    """The time limit is announced so long before."""
    tool_rounds: int = 5
    """So often in a turn the model may call tools before it has to answer."""
    transfers: tuple[str, ...] = ()
    """The names that a call may be transferred to."""
    human: str = ""
    """The name that the call is transferred to when a vendor is beyond remedy; empty: it ends."""
    digits: tuple[Digits, ...] = ()
    message_only: bool = False
    """The greeting is a message for a machine: the call ends behind it."""

    def __post_init__(self) -> None:
        # A log holds lists.
        object.__setattr__(self, "backchannels", tuple(self.backchannels))
        object.__setattr__(self, "transfers", tuple(self.transfers))
        digits = tuple(Digits(**one) if isinstance(one, dict) else one for one in self.digits)
        object.__setattr__(self, "digits", digits)
