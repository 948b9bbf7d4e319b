"""The story of one call: turn by turn what was said and heard, how long each stage took, and one plain verdict.

Pure. `tell` takes a call as the API and the records tell it; `voice.core.story_log` makes the same of a call's log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from voice.core.stages import SILENCE_S
from voice.core.transcript import Entry
from voice.core.turn_story import Happening, TurnStory, turn_story
from voice.core.verdict import verdict


@dataclass(frozen=True)
class Story:
    verdict: str
    in_trouble: bool
    """Something went wrong, or was late."""
    seconds: float | None
    """How long the call was; None while it is live."""
    turns: tuple[TurnStory, ...]
    happenings: tuple[Happening, ...]
    """All of them, in order."""

    @property
    def waits(self) -> list[float]:
        """Of the answered turns, in order."""
        return [turn.took for turn in self.turns if turn.took is not None]


def tell(record: Mapping[str, Any], past: Sequence[Entry] = (), silence_s: float = SILENCE_S) -> Story:
    """`record` is a call as `GET /api/calls/<sid>` shows it; `past`, from its checkpoint, has the tools' arguments and
    results. `silence_s` is the agent's longest silence before the caller's turn is over."""
    began = float(record["started_at"])
    happenings = tuple(Happening(e["at"] - began, e["kind"], e["detail"]) for e in record["events"])
    turns = sorted(record["turns"], key=lambda turn: (turn["at"], turn["number"]))
    ends = [turn["at"] - began for turn in turns]
    told = []
    for turn, (since, until) in zip(turns, pairwise([float("-inf"), *ends]), strict=True):
        own = [h for h in happenings if _belongs(h, turn["number"], since, until)]
        told.append(turn_story(turn, began, own, past, silence_s))
    ended = record["ended_at"]
    words, in_trouble = verdict(record, told, happenings)
    return Story(words, in_trouble, None if ended is None else ended - began, tuple(told), happenings)


def _belongs(happening: Happening, number: int, since: float, until: float) -> bool:
    """A delay of the transcript carries the number of the turn before when the answer was not begun yet."""
    if happening.kind == "late" and happening.detail.get("stage") == "transcript":
        return since < happening.at <= until
    return bool(happening.detail.get("turn") == number)
