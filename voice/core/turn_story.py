"""The story of one turn: what was said and heard of it, its stages, and what went wrong in it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from voice.core.stages import Stage, stages_of
from voice.core.transcript import Entry, ToolsUsed

Fate = Literal["heard", "cut", "thrown away"]


@dataclass(frozen=True)
class Happening:
    """Something that is no stage: a delay with its remedy, a vendor's error, a resume."""

    at: float
    """Seconds since the call's start."""
    kind: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Tool:
    name: str
    arguments: str
    """JSON, as the model wrote it; empty when it was not kept."""
    result: str
    seconds: float | None


@dataclass(frozen=True)
class TurnStory:
    number: int
    start: float
    """Of its first stage, in seconds since the call's start."""
    caller: str
    heard: str
    unheard: str
    """What of the answer was cut off or thrown away."""
    fate: Fate
    stages: tuple[Stage, ...]
    took: float | None
    """Seconds from the caller's last sound to the first of the answer; None when one of the two is missing."""
    delays: tuple[Happening, ...]
    """Of kind `late`."""
    errors: tuple[Happening, ...]
    """Of kind `vendor-failed`."""
    tools: tuple[Tool, ...]


def turn_story(
    turn: Mapping[str, Any], began: float, own: Sequence[Happening], past: Sequence[Entry], silence_s: float
) -> TurnStory:
    """`turn` is one of a call's record; `own` is what happened in it, `began` the call's start in its times."""
    times = {name: None if at is None else at - began for name, at in turn["times"].items()}
    tools = [(h.at, float(h.detail["seconds"])) for h in own if h.kind == "tool-finished"]
    stages = stages_of(
        times, [(at - seconds, at) for at, seconds in tools], 0.0 if turn["number"] == 1 else None, silence_s
    )
    end, heard = times.get("speech_end"), times.get("heard")
    unheard = " ".join(h.detail["text"] for h in own if h.kind == "unheard")
    return TurnStory(
        number=turn["number"],
        start=stages[0].start if stages else turn["at"] - began,
        caller=turn["caller"],
        heard=turn["agent"],
        unheard=unheard,
        fate="heard" if not turn["cut"] else "cut" if turn["agent"] else "thrown away",
        stages=tuple(stages),
        took=None if end is None or heard is None else max(0.0, heard - end),
        delays=tuple(h for h in own if h.kind == "late"),
        errors=tuple(h for h in own if h.kind == "vendor-failed"),
        tools=tuple(_tools(turn["number"], own, past)),
    )


def _tools(number: int, own: Sequence[Happening], past: Sequence[Entry]) -> list[Tool]:
    """Those that the history has, with the time that each took; else what was noted of them."""
    took = [(h.detail["tool"], float(h.detail["seconds"])) for h in own if h.kind == "tool-finished"]

    def seconds(name: str) -> float | None:
        found = next((pair for pair in took if pair[0] == name), None)
        if found:
            took.remove(found)
        return found[1] if found else None

    uses = [use for entry in past if isinstance(entry, ToolsUsed) and entry.turn == number for use in entry.uses]
    if uses:
        return [Tool(use.name, use.arguments, use.result or "", seconds(use.name)) for use in uses]
    return [Tool(name, "", "", seconds(name)) for name in (h.detail["tool"] for h in own if h.kind == "tool-called")]
