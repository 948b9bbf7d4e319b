"""What the longest `make soak` here has told, of equals the newest, for docs/reliability.md."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tests.reliability.rows import TESTS

_FOLDER = TESTS.parent / "soak"
_NAMES = {"rss_mb": "RSS of the server, MB", "pss_mb": "PSS of the server, MB"}


def section() -> Iterator[str]:
    """Nothing without a run."""
    runs = [orjson.loads(path.read_bytes()) for path in sorted(_FOLDER.glob("*.json"))]
    if not runs:
        return
    run = max(reversed(runs), key=lambda one: one["minutes"])
    yield from (
        "## Soak",
        "",
        f"`make soak MINUTES={run['minutes']:g}`: {run['calls_at_once']} calls at once by two workers, each of three "
        "minutes, 30 % of the answers interrupted, a fault a minute.",
        "",
        "| what | seen |",
        "|---|---|",
    )
    yield f"| calls, turns, interrupted turns | {run['calls']}, {run['turns']}, {run['interrupted']} |"
    yield f"| faults | {', '.join(f'{count} x {name}' for name, count in run['faults'].items())} |"
    yield f"| turns not answered within 20 s | {run['unanswered']} |"
    yield f"| streams that broke and went on | {run['resumed']} |"
    yield f"| calls without a record, with a wrong end, or that Twilio would warn of | {len(run['wrong'])} |"
    for name in ("rss_mb", "pss_mb", "descriptors", "greenlets"):
        yield f"| {_NAMES.get(name, name)}: first, last, most, slope per hour | {_growth(run, name)} |"
    left = run["left"]
    for name in ("calls", "greenlets", "descriptors"):
        yield f"| {name} before the first call and after the last | {left[f'{name} before']}, {left[f'{name} after']} |"
    yield f"| `/healthz` answered within | {_spread(run['healthz_ms'])} |"
    yield f"| the one who asked woke up late by | {_spread(run['probe_late_ms'])} |"


def _growth(run: Mapping[str, Any], name: str) -> str:
    values = [sample[name] for sample in run["samples"] if sample[name] is not None]
    slope = run["slopes_per_hour"][name]
    told = "too short to tell" if slope is None else f"{slope:+.1f}"
    return f"{values[0]:.1f}, {values[-1]:.1f}, {max(values):.1f}, {told}"


def _spread(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value} ms" for name, value in values.items())
