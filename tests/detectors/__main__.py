"""`python -m tests.detectors`: every detector that is installed on the whole labelled set, as tables for the README."""

import platform
import sys
from collections.abc import Iterable

from tests.detectors.candidates import CANDIDATES
from tests.detectors.scenes import LINES, Scene, quiet_scenes, spoken_scenes
from tests.detectors.scores import Score, percentile, score

_GROUPS = ("clean", "20 dB", "10 dB", "5 dB")


def main() -> None:
    scenes = [*quiet_scenes(), *spoken_scenes()]
    spoken = sum(len(scene.said) for scene in scenes)
    minutes = sum(len(scene.mulaw) for scene in scenes) / 480_000
    print(f"{minutes:.0f} minutes, {spoken} utterances; Python {platform.python_version()}, {platform.machine()}\n")
    scores: dict[str, Score] = {}
    for candidate in CANDIDATES:
        if not candidate.installed:
            print(f"left out: {candidate.name}, {candidate.needs} is not installed (tests/detectors/requirements.txt)")
            continue
        print(f"{candidate.name} ...", file=sys.stderr)
        scores[candidate.name] = score(candidate.make, scenes)
    _print_speech(scores)
    _print_false_starts(scores, scenes)


def _print_speech(scores: dict[str, Score]) -> None:
    _row("detector", "missed %: clean, 20, 10, 5 dB", "onset ms, p50 / p95: clean", "20 dB", "10 dB", "5 dB",
         "voiced first, clean + 20 dB", "end ms", "us a frame", "% of a core")  # fmt: skip
    _row(*["---"] * 10)
    for name, found in scores.items():
        groups = [[scene for scene in found.utterances if _in(scene, group)] for group in _GROUPS]
        missed = [100 * _sum(found.missed, group) / _sum(found.utterances, group) for group in groups]
        _row(
            name,
            ", ".join(f"{share:.1f}" for share in missed),
            *(_spread(found.onsets, group) for group in groups),
            _spread(found.voiced_onsets, groups[0] + groups[1]),
            _spread(found.ends, found.utterances),
            f"{found.us_per_frame:.1f}",
            f"{100 * found.core_share:.2f}",
        )
    print()


def _print_false_starts(scores: dict[str, Score], scenes: list[Scene]) -> None:
    _row("false starts a minute", *scores)
    _row(*["---"] * (len(scores) + 1))
    classes = dict.fromkeys(scene.name for scene in scenes if not scene.said)
    for name in classes:
        _row(name, *(_rate(found, [name]) for found in scores.values()))
    _row("**line noise, all**", *(_rate(found, LINES) for found in scores.values()))
    _row("**everything, all**", *(_rate(found, classes) for found in scores.values()))


def _in(scene: str, group: str) -> bool:
    """Scenes are called `clean, -25 dBFS` or `fan, 5 dB`."""
    return scene.startswith("clean,") if group == "clean" else scene.endswith(f", {group}")


def _sum(counts: dict[str, int], names: Iterable[str]) -> int:
    return sum(counts[name] for name in names)


def _spread(delays: dict[str, list[int]], names: Iterable[str]) -> str:
    values = [ms for name in names for ms in delays.get(name, [])]
    return f"{percentile(values, 0.5)} / {percentile(values, 0.95)}" if values else "-"


def _rate(found: Score, names: Iterable[str]) -> str:
    names = list(names)
    return f"{sum(found.false_starts[name] for name in names) / sum(found.minutes[name] for name in names):.2f}"


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
