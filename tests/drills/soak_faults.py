"""What goes wrong during a soak, one a minute in turn. None of it may end a call.

No worker is killed: another one would begin its memory anew, and the slope is what a soak is for. test_kills.py kills.
"""

from collections.abc import Callable, Sequence
from random import Random

from tests.drills.soak_caller import SoakCaller
from voice.sandbox import faults
from voice.sandbox.stand_ins import Sandbox

Fault = Callable[[], None]


def in_turn(sandbox: Sandbox, callers: Sequence[SoakCaller], random: Random) -> list[tuple[str, Fault]]:
    """By name; each hits the next call that it fits."""

    def reset_a_caller() -> None:
        live = [caller.phone for caller in callers if caller.phone is not None and caller.phone.line is not None]
        if live:
            random.choice(live).drop()

    return [
        ("transcriber: connection reset", lambda: sandbox.openai.faults.append(faults.DropAt("append"))),
        ("language model: 429", lambda: sandbox.xai.faults.append(faults.AnswerStatus(429))),
        ("synthesizer: silent for 3 s", lambda: sandbox.elevenlabs.faults.append(faults.StallFirstAudio(3.0))),
        ("caller: connection reset", reset_a_caller),
        ("language model: connection reset", lambda: sandbox.xai.faults.append(faults.ResetAfter(2))),
        ("synthesizer: connection reset", lambda: sandbox.elevenlabs.faults.append(faults.DropMidContext())),
    ]
