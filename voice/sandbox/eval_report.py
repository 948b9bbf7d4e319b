"""The judgements as a table for the terminal and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from voice.sandbox.eval_judge import Verdict

_HEADS = ("turns", "dead air", "clipped", "not heard", "not in history", "false stops")


def table(run: Mapping[str, object], verdicts: Sequence[Verdict], folder: Path) -> str:
    """`run` says what was run, in the order to be shown; `folder` holds what was kept of the calls."""
    width = max(len(verdict.script) for verdict in verdicts) + 2
    agents = max(len(verdict.agent) for verdict in verdicts) + 2
    columns = [len(head) + 3 for head in _HEADS]
    head = "".join(head.rjust(column) for head, column in zip(_HEADS, columns, strict=True))
    lines = [f"  {name:14}{value}" for name, value in run.items()]
    lines += ["", f"  {'':{width + agents}}{head}"]
    for verdict in verdicts:
        lines.append(
            _row(verdict.script, verdict.agent, _cells(figures(verdict)), verdict.passed, width, agents, columns)
        )
    passed = sum(verdict.passed for verdict in verdicts)
    lines.append(_row("all", "", _cells(total(verdicts)), passed == len(verdicts), width, agents, columns))
    lines += _failed(verdicts, folder)
    lines.append(f"\n  {passed} of {len(verdicts)} calls passed.")
    return "\n".join(lines)


def write(path: Path, run: Mapping[str, object], verdicts: Sequence[Verdict], left_out: Sequence[str]) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "run": dict(run),
        "passed": all(verdict.passed for verdict in verdicts),
        "total": total(verdicts),
        "calls": [{"passed": verdict.passed, **asdict(verdict)} for verdict in verdicts],
        "left_out": list(left_out),
    }
    path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")


def figures(verdict: Verdict) -> dict[str, float | None]:
    told = asdict(verdict)
    return {name: told[name] for name in _FIGURES}


def total(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Sums, of the dead air the longest; what no call could judge stays None."""
    rows = [figures(verdict) for verdict in verdicts]
    totals: dict[str, float | None] = {}
    for name in _FIGURES:
        known = [value for row in rows if (value := row[name]) is not None]
        totals[name] = (max(known) if name == "longest_dead_air_s" else sum(known)) if known else None
    return totals


_FIGURES = (
    "turns_asked",
    "turns_answered",
    "longest_dead_air_s",
    "clipped_goodbyes",
    "words_not_heard",
    "words_not_in_history",
    "false_stops",
)


def _cells(shown: Mapping[str, float | None]) -> list[str]:
    asked, answered, dead_air, *counts = (shown[name] for name in _FIGURES)
    turns = f"{answered:.0f}/{asked:.0f}"
    return [
        turns,
        "-" if dead_air is None else f"{dead_air:.2f} s",
        *("-" if n is None else f"{n:.0f}" for n in counts),
    ]


def _row(
    name: str, agent: str, cells: Sequence[str], passed: bool, width: int, agents: int, columns: Sequence[int]
) -> str:
    row = "".join(cell.rjust(column) for cell, column in zip(cells, columns, strict=True))
    return f"  {name:{width}}{agent:{agents}}{row}{'' if passed else '   FAILED'}"


def _failed(verdicts: Sequence[Verdict], folder: Path) -> Iterator[str]:
    for verdict in verdicts:
        if not verdict.passed:
            yield f"\n  {verdict.script}"
            yield from (f"    {fault}" for fault in verdict.faults)
            yield f"    log {folder / 'calls' / f'{verdict.call_sid}.jsonl'}, sound {folder / f'{verdict.script}.wav'}"
