"""What the templates are given: calls, turns and their waterfalls, in words and in units of a drawing."""

import json
import time
from dataclasses import dataclass
from typing import Any

from voice.core.stages import Stage
from voice.core.story import Story
from voice.core.turn_story import TurnStory
from voice.records.entries import CallRecord

WIDTH = 1000
"""Of a waterfall's drawing, in units of its own."""
_LEAST_S = 1.0
_ENDS = {None: "live", "completed": "fine", "transferred": "fine", "handed-over": "warn"}


@dataclass(frozen=True)
class Bar:
    """One stage of a turn, drawn."""

    title: str
    words: str
    """`0.85 s`, or `5.20 s, 3.40 s late`."""
    x: float
    width: float
    limit_x: float | None
    """Its deadline, if it is within the drawing."""
    limit: str
    late: bool


def waterfall(turn: TurnStory) -> list[Bar]:
    """The stages of a turn against one scale, from the beginning of the first to the end of the last."""
    if not turn.stages:
        return []
    start = min(stage.start for stage in turn.stages)
    span = max(_LEAST_S, *(stage.end - start for stage in turn.stages)) * 1.02
    return [_bar(stage, start, WIDTH / span) for stage in turn.stages]


def _bar(stage: Stage, start: float, scale: float) -> Bar:
    x = (stage.start - start) * scale
    limit_x = None if stage.limit is None else x + stage.limit * scale
    return Bar(
        title=stage.title,
        words=f"{stage.seconds:.2f} s" + (f", {stage.late_by:.2f} s late" if stage.is_late else ""),
        x=round(x, 1),
        # What took no time is seen all the same.
        width=round(max(4.0, stage.seconds * scale), 1),
        limit_x=round(limit_x, 1) if limit_x is not None and limit_x <= WIDTH else None,
        limit="no deadline" if stage.limit is None else f"deadline {stage.limit:.1f} s",
        late=stage.is_late,
    )


def ending(call: CallRecord) -> dict[str, str]:
    """How it ended, with a kind for its colour: live, fine, warn or bad."""
    kind = _ENDS.get(call.result, "bad")
    if call.ended_at is None:
        return {"kind": "live", "words": "live"}
    return {"kind": kind, "words": f"{call.result}: {call.reason}" if call.reason else str(call.result)}


def lasted(call: CallRecord) -> str:
    return "" if call.ended_at is None else duration(call.ended_at - call.started_at)


def duration(seconds: float) -> str:
    """`1:04`, `1:00:04`."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def iso(at: float) -> str:
    """For a page's script, which tells it in the viewer's own time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def dollars(amount: float | None) -> str:
    return "" if amount is None else f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def happenings(story: Story) -> list[dict[str, str]]:
    """What happened besides the turns, one line each."""
    return [{"at": duration(each.at), "kind": each.kind, "words": words(each.detail)} for each in story.happenings]


def words(detail: Any) -> str:
    """`turn 2, stage speech, remedy spoken again`."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in detail.items()
    )
