"""How many calls a core carries: rising numbers of them until the service level is broken. Pure."""

from collections.abc import Iterator, Sequence

from voice.sandbox.bench_figures import Figures

ADDED_P95_MS = 50.0
"""What the server may add to a turn."""
BARGE_IN_P95_MS = 20.0
DRIVER_P99_MS = 20.0
"""Frames of the callers that go out later than that say nothing of the server."""
_STEPS = (5, 10, 15, 20, 30, 40, 50, 75, 100, 125, 150, 175, 200)
_STRIDE = 50


def numbers(first: int, last: int) -> Iterator[int]:
    """`first`, then round numbers up to `last`."""
    yield first
    yield from (step for step in _STEPS if first < step <= last)
    yield from range(max(_STEPS[-1], first - first % _STRIDE) + _STRIDE, last + 1, _STRIDE)


def broken(figures: Figures) -> str:
    """What of the service level does not hold; empty when all of it does."""
    added, barge_in, late = figures.latency["sum"], figures.barge_in, figures.driver_late
    if not figures.sound:
        return "turns, words or audio were lost"
    if late and late.p99 > DRIVER_P99_MS:
        return f"the driver itself is late: {late.p99:.0f} ms"
    if added and added.p95 > ADDED_P95_MS:
        return f"the server adds {added.p95:.0f} ms"
    if barge_in and barge_in.p95 > BARGE_IN_P95_MS:
        return f"clear comes after {barge_in.p95:.0f} ms"
    return ""


def calls_per_core(steps: Sequence[Figures]) -> int:
    """The most that held before the first that did not; 0 for none."""
    held = 0
    for figures in steps:
        if broken(figures):
            break
        held = figures.calls
    return held
