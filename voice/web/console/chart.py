"""How long callers waited, as two lines: the median and the 95th percentile of each stretch of the last 24 hours."""

from collections.abc import Sequence
from typing import Any

from voice.records.statistics import Waits

STRETCH_S = 1800
_STRETCHES = 48
WIDTH, HEIGHT = 480, 100
"""Of the drawing, in units of its own."""
_LEAST_S = 3.0


def first_stretch(now: float) -> float:
    """The beginning of the oldest stretch that is shown, in seconds since the epoch."""
    return now // STRETCH_S * STRETCH_S - (_STRETCHES - 1) * STRETCH_S


def drawn(waits: Sequence[Waits], first: float) -> dict[str, Any]:
    """`{"p50": points, "p95": points, "top": "3.0 s", "latest": "1.2 s, 2.0 s"}`; points are those of an SVG
    polyline, two for each stretch, so that a single one is seen too."""
    top = max([_LEAST_S, *(each.p95 for each in waits)])
    turns = sum(each.count for each in waits)
    last = waits[-1] if waits else None
    return {
        "p50": _points([(each.at, each.p50) for each in waits], first, top),
        "p95": _points([(each.at, each.p95) for each in waits], first, top),
        "top": f"{top:.1f} s",
        "latest": f"{last.p50:.1f} s, {last.p95:.1f} s" if last else "no answers yet",
        "turns": turns,
    }


def _points(values: Sequence[tuple[float, float]], first: float, top: float) -> str:
    width = WIDTH / _STRETCHES
    points = []
    for at, value in values:
        x, y = (at - first) / STRETCH_S * width, HEIGHT - value / top * (HEIGHT - 4)
        points += [f"{x:.1f},{y:.1f}", f"{x + width:.1f},{y:.1f}"]
    return " ".join(points)
