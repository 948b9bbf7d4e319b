"""The load test's figures as a table for the terminal and as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import orjson

from voice.sandbox.bench_figures import Figures, Spread

_ROWS = {
    "silence_to_commit": "last frame of silence -> commit",
    "final_to_request": "final transcript -> request",
    "sentence_to_text": "first sentence -> text to speak",
    "audio_to_caller": "first audio -> caller",
    "sum": "sum: what the server adds",
}
_SHOWN = 10


def table(run: Mapping[str, object], figures: Figures) -> str:
    """`run` says what was run and on what, in the order to be shown."""
    lines = [f"  {name:14}{value}" for name, value in run.items()]
    return "\n".join([*lines, "", *_outcome(figures), "", *_latencies(figures), "", *_machine(figures)])


def write(path: Path, run: Mapping[str, object], figures: Figures) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"run": dict(run), "sound": figures.sound, **asdict(figures)}
    path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")


def _outcome(figures: Figures) -> Iterator[str]:
    yield f"  calls         {figures.calls}, {len(figures.failures)} failed"
    for failure in figures.failures[:_SHOWN]:
        yield f"                {failure.splitlines()[0]}"
    yield (
        f"  turns         {figures.turns_completed} of {figures.turns_expected} completed, "
        f"{figures.turns_interrupted} interrupted by the caller"
    )
    yield (
        f"  caller audio  {figures.audio_bytes} bytes sent: {figures.audio_lost} lost, {figures.audio_added} added, "
        f"{figures.audio_moved} moved"
    )
    yield f"  integrity     {f'{len(figures.faults)} faults' if figures.faults else 'nothing crossed, nothing lost'}"
    for fault in figures.faults[:_SHOWN]:
        yield f"                {fault}"


def _latencies(figures: Figures) -> Iterator[str]:
    turns = figures.answer
    count = turns.count if turns else 0
    yield f"  ms, {count} turns in the {figures.window_s:.1f} s with all calls live        p50     p95     p99     max"
    for name, shown in _ROWS.items():
        yield f"    {shown:45}{_spread(figures.latency[name])}"
    yield f"    {'silence is long enough -> first audio':45}{_spread(figures.answer)}"
    yield f"    {'barge-in: decisive frame -> clear':45}{_spread(figures.barge_in)}"
    yield f"    {'the driver itself: frame after its moment':45}{_spread(figures.driver_late)}"


def _machine(figures: Figures) -> Iterator[str]:
    memory = figures.memory
    yield (
        f"  server        {figures.server_cpu_s_per_call_minute:.2f} s of processor time per call-minute, "
        f"{figures.server_core_share:.0%} of its core"
    )
    yield (
        f"  driver        {figures.driver_core_share:.0%} of its core; the latest frame of the whole run went out "
        f"{figures.driver_latest_ms:.1f} ms after its moment"
    )
    yield (
        f"  others        {figures.others_core_share:.0%} of a core by all else on this machine, "
        f"{figures.stolen_core_share:.1%} by its host if it is a virtual one"
    )
    yield (
        f"  memory        PSS of the worker {memory.before:.1f} MB before, {memory.full:.1f} MB with all calls live, "
        f"{memory.after:.1f} MB after: {figures.memory_mb_per_call:.2f} MB a call"
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "      -" * 4
    return "".join(f"{value:8.1f}" for value in (spread.p50, spread.p95, spread.p99, spread.max))
