"""The load test's play: what each caller asks, what the language model answers, who interrupts. Pure.

Every sentence names its caller, so that a word on the wrong call is seen at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from voice.sandbox.demo_script import Answer, Message, text_of

GREETING = "Hello, how can I help you?"
INTERRUPTED_SHARE = 0.3
_QUESTION = re.compile(r"Caller (\d+) asks question (\d+) now")
# As long as the instructions of a real agent: each request carries them.
INSTRUCTIONS = (
    "You answer the phone. " + "You speak in short sentences, without lists or markup, and never guess. " * 20
)
_AGENT = f"""greeting = "{GREETING}"
instructions = "{INSTRUCTIONS.strip()}"
voice = "benchVoice"
tools = ["hang_up"]

[limits]
idle_prompt_s = 300

[turn_taking]
silence_ms = 600
"""
SILENCE_FRAMES = 30
"""Of 20 ms: the agent's silence_ms. With the last of them the server can know that the caller has finished."""
ONSET_FRAMES = 2
"""With so many frames of speech the server can know that the caller has begun."""


def agent_file(preemptive: bool) -> str:
    """The agent. It is the load test's own, so that figures of two machines can be compared."""
    return f'{_AGENT}preemptive = "{"think" if preemptive else "off"}"\n'


@dataclass(frozen=True)
class Part:
    """One caller's."""

    caller: int
    interrupts: tuple[bool, ...]
    """For each turn: whether the caller speaks before the answer's end."""
    waits_s: float
    """From everybody's being on the line to the first question: callers do not speak in chorus."""


def parts(calls: int, turns: int, seed: int, spread_s: float) -> list[Part]:
    """The same for the same arguments. A last turn is never interrupted: nothing would be said after it."""
    random = Random(seed)
    candidates = [(caller, turn) for caller in range(1, calls + 1) for turn in range(turns - 1)]
    wanted = min(len(candidates), round(calls * turns * INTERRUPTED_SHARE))
    chosen = set(random.sample(candidates, wanted))
    return [
        Part(caller, tuple((caller, turn) in chosen for turn in range(turns)), random.uniform(0, spread_s))
        for caller in range(1, calls + 1)
    ]


def question(caller: int, turn: int) -> str:
    """`turn` counts from 1. A number at its end would pass for one that is being dictated."""
    return f"Caller {caller:04d} asks question {turn} now"


def sentences(caller: int, turn: int) -> tuple[str, str]:
    """The answer to it: six seconds of coded speech."""
    first = f"Caller {caller:04d} asked question {turn}."
    return first, f"Caller {caller:04d} is told that answer {turn} is neither short nor long but just right."


def answer(messages: Sequence[Message]) -> Answer:
    """The language model's. It knows the caller only by the last message."""
    asked = _QUESTION.findall(text_of(messages[-1]))
    return Answer(" ".join(sentences(*map(int, asked[-1]))) if asked else "Nobody asked a question.")


def asker(text: str) -> int | None:
    """Who asks the last question in it."""
    asked = _QUESTION.findall(text)
    return int(asked[-1][0]) if asked else None


def first_sentence_tokens(text: str) -> int:
    """How many tokens, a word each, its first sentence has: the event after them proves that it is complete."""
    words = text.split()
    return next((place for place, word in enumerate(words, 1) if word[-1] in ".!?"), len(words))
