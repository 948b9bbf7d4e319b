"""The story of a call as its record has it: the one that the console's page and `python -m voice explain` tell."""

from collections.abc import Mapping

from config.agents import Agent
from voice.after_call import record_of
from voice.core import story
from voice.core.stages import SILENCE_S
from voice.core.story import Story
from voice.core.transcript import Entry, Past
from voice.records.entries import CallRecord


def story_of(call: CallRecord, agents: Mapping[str, Agent]) -> Story:
    return story.tell(record_of(call), _past(call), _silence_s(call, agents))


def _past(call: CallRecord) -> tuple[Entry, ...]:
    try:
        return Past.read(call.checkpoint["past"]).entries if call.checkpoint else ()
    except (ValueError, KeyError):
        return ()


def _silence_s(call: CallRecord, agents: Mapping[str, Agent]) -> float:
    agent = agents.get(call.agent)
    return agent.turn_taking.max_silence_ms / 1000 if agent else SILENCE_S
