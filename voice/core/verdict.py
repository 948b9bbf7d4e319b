"""What became of a call, in one plain sentence: "turn 4 took 6.1 s: final transcript 3.4 s late, …". Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from voice.core.turn_story import Happening, TurnStory

SLOW_S = 3.0
"""An answer that takes longer is worth a word, even if no stage of it was late."""

# The stages of `RecordDelay`, by the stage of the turn in which each shows, and whose work that is.
_SHOWS_IN = {
    "transcript": ("transcript", "transcriber"),
    "first token": ("first_token", "language model"),
    "language model": ("first_token", "language model"),
    "sentence": ("first_sentence", "language model"),
    "speech": ("first_audio", "synthesizer"),
    "synthesizer": ("first_audio", "synthesizer"),
    "tool": ("tool", "tool"),
}
_PLAINLY = {
    "went by what was understood so far": "forced from deltas",
    "filler": "covered by a filler",
    "spoke the part": "spoken in parts",
}


def verdict(record: Mapping[str, Any], turns: Sequence[TurnStory], happenings: Sequence[Happening]) -> tuple[str, bool]:
    """The sentence, and whether anything went wrong."""
    live = record["ended_at"] is None
    failure = None if live else _failure(record, turns, happenings)
    causes = {turn.number: cause for turn in turns if (cause := _cause(turn))}
    slow = _slow(turns, causes)
    if failure:
        return failure + (f"; before that, {slow}" if slow and record["result"] != "failed" else ""), True
    if slow:
        return slow, True
    return _fine(record, turns, live), False


def _failure(record: Mapping[str, Any], turns: Sequence[TurnStory], happenings: Sequence[Happening]) -> str | None:
    result, reason = record["result"], record["reason"] or ""
    last = f"after turn {turns[-1].number}" if turns else "before a word was said"
    match result:
        case "failed" if reason.endswith("-failed"):
            vendor = reason.removesuffix("-failed").replace("-", " ")
            errors = [h for h in happenings if h.kind == "vendor-failed" and h.detail.get("vendor") == vendor]
            number = errors[-1].detail.get("turn") if errors else 0
            where = f"in turn {number}" if number else last
            return f"the {vendor} failed {where}: " + (
                errors[-1].detail["detail"] if errors else "it was silent too long"
            )
        case "lost":
            return f"the call was lost {last} ({reason.replace('-', ' ')}), and nobody carried it on"
        case "busy" | "no-answer" | "failed" | "canceled":
            return f"nobody was reached: {result.replace('-', ' ')}"
        case "handed-over":
            return f"the call was handed over {last}, and no worker took it"
    return None


def _cause(turn: TurnStory) -> str:
    """What made the turn late; empty when nothing did."""
    remedies: dict[str, list[str]] = {}
    whose: dict[str, str] = {}
    for delay in turn.delays:
        shows = _SHOWS_IN.get(delay.detail["stage"])
        if shows:
            remedies.setdefault(shows[0], []).append(_PLAINLY.get(delay.detail["remedy"], delay.detail["remedy"]))
            whose[shows[0]] = shows[1]
    parts = []
    for stage in turn.stages:
        if stage.is_late:
            done = remedies.pop(stage.name, [])
            parts.append(", ".join([f"{stage.title} {stage.late_by:.1f} s late", *dict.fromkeys(done)]))
    failed = {error.detail["vendor"] for error in turn.errors}
    for name, done in remedies.items():
        what = f"the {whose[name]} {'failed' if whose[name] in failed else 'was late'}"
        parts.append(", ".join([what, *dict.fromkeys(done)]))
    return "; ".join(parts)


def _slow(turns: Sequence[TurnStory], causes: Mapping[int, str]) -> str:
    """The worst turn that was late or slow; empty when there is none."""
    late = [turn for turn in turns if turn.number in causes or (turn.took or 0.0) > SLOW_S]
    if not late:
        return ""
    worst = max(late, key=lambda turn: (turn.took or 0.0, sum(stage.late_by for stage in turn.stages)))
    cause = causes.get(worst.number) or _longest(worst)
    more = f" ({len(late) - 1} more {'was' if len(late) == 2 else 'were'} late)" if len(late) > 1 else ""
    if worst.took is not None:
        return f"turn {worst.number} took {worst.took:.1f} s: {cause}{more}"
    fate = " and was thrown away" if worst.fate == "thrown away" else ""
    return f"turn {worst.number} was late{fate}: {cause}{more}"


def _longest(turn: TurnStory) -> str:
    if not turn.stages:
        return "no stage of it is known"
    stage = max(turn.stages, key=lambda stage: stage.seconds)
    return f"no stage missed its deadline, the longest was {stage.title}, {stage.seconds:.1f} s"


def _fine(record: Mapping[str, Any], turns: Sequence[TurnStory], live: bool) -> str:
    took = [turn.took for turn in turns if turn.took is not None]
    slowest = f"; slowest turn {max(took):.1f} s" if took else "; the agent was asked nothing"
    resumes = record.get("resumes") or 0
    again = f"; carried on {'once' if resumes == 1 else f'{resumes} times'} on another stream" if resumes else ""
    return f"the call {'goes' if live else 'went'} as it should{slowest}{again}"
