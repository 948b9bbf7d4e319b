"""An agent as one call needs it: its rules, its voice, and its texts with what is known of the call filled in."""

import re
import time
from collections.abc import Mapping

from config.agents import Agent
from voice.core.firm import spoken
from voice.core.rules import Digits, Rules
from voice.core.variables import fill
from voice.services import Opening
from voice.wires.clips import Voice

# E.164, or a short code.
_NUMBER = re.compile(r"\+?[0-9]{2,15}")
_LEAST_S = 10.0
"""So long at least lasts what is carried on of a call whose time is over."""


def variables(agent: Agent, given: Mapping[str, str], caller_number: str, called_number: str) -> dict[str, str]:
    """What stands in braces in an agent's texts; as the call begins, so that the instructions stay the same in it.

    `given` are the parameters of this call; only those that the agent's file has count.
    """
    return {
        **{name: given.get(name, default) for name, default in agent.parameters.items()},
        "caller": _number(caller_number),
        "called": _number(called_number),
        "now": time.strftime("%A %d %B %Y, %H:%M"),
        "today": time.strftime("%A %d %B %Y"),
    }


def _number(number: str) -> str:
    """A caller may withhold the number, and whatever else stands there is not for a prompt."""
    return number if _NUMBER.fullmatch(number) else "unknown"


def rules(agent: Agent, variables: Mapping[str, str], opening: Opening = "greeting", seconds: float = 0.0) -> Rules:
    """`opening` is what the call begins with on this stream; it has lasted `seconds` already."""
    taking, words = agent.turn_taking, agent.phrases
    return Rules(
        greeting=fill(_opening(agent, opening), variables),
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
        max_duration_s=max(_LEAST_S, agent.limits.max_duration_s - seconds),
        transfers=tuple(agent.transfer.to),
        human=agent.transfer.human or "",
        digits=tuple(Digits(name, asked.length, asked.sensitive) for name, asked in agent.digits.items()),
        message_only=opening == "message",
    )


def _opening(agent: Agent, opening: Opening) -> str:
    match opening:
        case "greeting":
            return agent.greeting
        case "resumed":
            return agent.phrases.resumed
        case "continued":
            return ""
        case "transfer_failed":
            return agent.phrases.transfer_failed
        case "message":
            return agent.outbound.voicemail or agent.phrases.goodbye


def same_in_every_call(agent: Agent) -> set[str]:
    """The texts that are worth keeping as sound: what names a caller or an hour is none."""
    texts = (agent.greeting, agent.apology, *vars(agent.phrases).values())
    return {spoken(text) for text in texts}


def voice(agent: Agent, named: str = "") -> Voice:
    """The agent's voice, or the one that is `named`."""
    chosen = ((name, value) for name, value in vars(agent.voice_settings).items() if value is not None)
    return Voice(named or agent.voice, agent.language, tuple(chosen))
