"""The load test's figures as a table for the terminal and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from voice.sandbox import bench_ramp
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
    _write(path, {"run": dict(run), "sound": figures.sound, **asdict(figures)})


def _write(path: Path, body: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")


_COLUMNS = "  calls  s/call-min  MB/call    added p50    p95    p99   clear p95  driver  its p99   hub ms"


def step(figures: Figures) -> str:
    """One line of `ramp`."""
    added, clear, late = figures.latency["sum"], figures.barge_in, figures.driver_late
    cells = [
        f"{figures.calls:7}",
        _cell(figures.server_cpu_s_per_call_minute, 12, 3),
        _cell(figures.memory_mb_per_call, 9, 2),
        _cell(added.p50 if added else None, 13, 1),
        _cell(added.p95 if added else None, 7, 1),
        _cell(added.p99 if added else None, 7, 1),
        _cell(clear.p95 if clear else None, 12, 1),
        f"{figures.driver_core_share:8.0%}",
        _cell(late.p99 if late else None, 9, 1),
        _cell(figures.hub_busy_ms, 9, 1),
    ]
    return f"{''.join(cells)}   {bench_ramp.broken(figures)}".rstrip()


def ramp(run: Mapping[str, object], steps: Sequence[Figures]) -> str:
    lines = [f"  {name:14}{value}" for name, value in run.items() if name != "run"]
    last = bench_ramp.calls_per_core(steps)
    held = f"  calls per core with p95 added <= {bench_ramp.ADDED_P95_MS:.0f} ms, p95 clear <= "
    held += f"{bench_ramp.BARGE_IN_P95_MS:.0f} ms and nothing lost: {last}"
    if steps and not bench_ramp.broken(steps[-1]):
        held += " at least: no more were tried"
    return "\n".join(["", *lines, "", _COLUMNS, *map(step, steps), "", held])


def write_ramp(path: Path, run: Mapping[str, object], steps: Sequence[Figures]) -> None:
    """Raises OSError."""
    told = [{"broken": bench_ramp.broken(one), "sound": one.sound, **asdict(one)} for one in steps]
    _write(path, {"run": dict(run), "calls_per_core": bench_ramp.calls_per_core(steps), "steps": told})


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _outcome(figures: Figures) -> Iterator[str]:
    refused = f", {figures.calls_refused} more refused" if figures.calls_refused else ""
    yield f"  calls         {figures.calls}, {len(figures.failures)} failed{refused}"
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
    yield f"    {'barge-in: decided -> clear':45}{_spread(figures.barge_in)}"
    yield f"    {'webhook -> its answer':45}{_spread(figures.webhook)}"
    yield f"    {'stream handshake -> first greeting audio':45}{_spread(figures.greeting)}"
    yield f"    {'the driver itself: frame after its moment':45}{_spread(figures.driver_late)}"


def _machine(figures: Figures) -> Iterator[str]:
    memory, server_s = figures.memory, figures.server_cpu_s_per_call_minute
    if server_s is None:
        yield "  server        runs elsewhere: its processor time and memory are not known here"
    else:
        share = f"{figures.server_core_share:.0%} of its core"
        yield f"  server        {server_s:.3f} s of processor time per call-minute, {share}"
    if figures.hub_busy_ms is not None:
        yield f"  hub           {figures.hub_busy_ms:.1f} ms at most without a look at its sockets"
    yield (
        f"  driver        {figures.driver_core_share:.0%} of its core; the latest frame of the whole run went out "
        f"{figures.driver_latest_ms:.1f} ms after its moment"
    )
    yield (
        f"  others        {figures.others_core_share:.0%} of a core by all else on this machine, "
        f"{figures.stolen_core_share:.1%} by its host if it is a virtual one"
    )
    if memory.full is not None:
        yield (
            f"  memory        PSS of the server {memory.before:.1f} MB before, {memory.full:.1f} MB with all calls "
            f"live, {memory.after:.1f} MB after: {figures.memory_mb_per_call:.2f} MB a call"
        )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "      -" * 4
    return "".join(f"{value:8.1f}" for value in (spread.p50, spread.p95, spread.p99, spread.max))
