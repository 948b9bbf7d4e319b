"""An agent as one call needs it: its rules, its voice, and its texts with what is known of the call filled in."""

import re
import time
from collections.abc import Mapping

from config.agents import Agent
from voice.core.rules import Rules
from voice.core.sentences import split
from voice.core.variables import fill
from voice.wires.clips import Voice

# E.164, or a short code.
_NUMBER = re.compile(r"\+?[0-9]{2,15}")


def variables(caller_number: str, called_number: str) -> dict[str, str]:
    """What stands in braces in an agent's texts; as the call begins, so that the instructions stay the same in it."""
    return {
        "caller": _number(caller_number),
        "called": _number(called_number),
        "now": time.strftime("%A %d %B %Y, %H:%M"),
        "today": time.strftime("%A %d %B %Y"),
    }


def _number(number: str) -> str:
    """A caller may withhold the number, and whatever else stands there is not for a prompt."""
    return number if _NUMBER.fullmatch(number) else "unknown"


def rules(agent: Agent, variables: Mapping[str, str]) -> Rules:
    taking, words = agent.turn_taking, agent.phrases
    return Rules(
        greeting=fill(agent.greeting, variables),
        apology=agent.apology,
        goodbye=words.goodbye,
        filler=words.filler,
        not_understood=words.not_understood,
        idle_prompt=words.idle_prompt,
        time_warning=words.time_warning,
        language=agent.language,
        barge_in=taking.barge_in,
        backchannels=taking.backchannels,
        preemptive=taking.preemptive,
        silence_ms=taking.silence_ms,
        max_silence_ms=max(taking.silence_ms, taking.max_silence_ms),
        idle_prompt_s=agent.limits.idle_prompt_s,
        idle_prompts=agent.limits.idle_prompts,
        max_duration_s=agent.limits.max_duration_s,
    )


def same_in_every_call(agent: Agent) -> set[str]:
    """The texts that are worth keeping as sound: what names a caller or an hour is none."""
    texts = (agent.greeting, agent.apology, *vars(agent.phrases).values())
    return {" ".join(split(text)) for text in texts}


def voice(agent: Agent) -> Voice:
    chosen = ((name, value) for name, value in vars(agent.voice_settings).items() if value is not None)
    return Voice(agent.voice, agent.language, tuple(chosen))
