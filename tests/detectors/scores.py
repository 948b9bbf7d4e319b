"""How well a detector did: what it missed, what it heard that nobody said, how late it was and what it cost."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.detectors.candidates import SILENCE_MS, Detector
from tests.detectors.scenes import Said, Scene
from voice.core.audio import BYTES_PER_MS, FRAME_BYTES, FRAME_MS
from voice.core.endpointing import Speech

_GRACE_MS = 40
"""A start so long after the last sound of an utterance is still its."""


@dataclass
class Score:
    """Of one detector; the keys are the names of the scenes."""

    minutes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    utterances: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false_starts: Counter[str] = field(default_factory=Counter)
    onsets: dict[str, list[int]] = field(default_factory=dict)
    """Milliseconds from the first sound of an utterance to the start."""
    voiced_onsets: dict[str, list[int]] = field(default_factory=dict)
    """Of those utterances that begin with a voiced sound."""
    ends: dict[str, list[int]] = field(default_factory=dict)
    """Milliseconds from the last sound to the stop, beyond the silence that was asked for."""
    frames: int = 0
    seconds: float = 0.0
    """Of processor time, for all frames."""

    @property
    def us_per_frame(self) -> float:
        return self.seconds / self.frames * 1e6

    @property
    def core_share(self) -> float:
        """Of one core, for one call."""
        return self.seconds / (self.frames * FRAME_MS / 1000)


def score(make: Callable[[], Detector], scenes: Iterable[Scene]) -> Score:
    total = Score()
    for scene in scenes:
        starts, stops = _changes(make(), scene, total)
        total.minutes[scene.name] += len(scene.mulaw) / BYTES_PER_MS / 60_000
        total.utterances[scene.name] += len(scene.said)
        his: set[int] = set()
        for said in scene.said:
            # A detector that speaks already when an utterance begins has not heard it begin: that is a miss.
            mine = [at for at in starts if said.start_ms <= at <= said.end_ms + _GRACE_MS]
            his.update(mine)
            _note(total, scene.name, said, mine, stops)
        total.false_starts[scene.name] += len(set(starts) - his)
    return total


def _note(total: Score, name: str, said: Said, starts: list[int], stops: list[int]) -> None:
    if not starts:
        total.missed[name] += 1
        return
    delay = starts[0] - said.start_ms
    total.onsets.setdefault(name, []).append(delay)
    if said.begins_voiced:
        total.voiced_onsets.setdefault(name, []).append(delay)
    end = next((at for at in stops if at > starts[-1]), None)
    if end is not None:
        total.ends.setdefault(name, []).append(end - said.end_ms - SILENCE_MS)


def _changes(detector: Detector, scene: Scene, total: Score) -> tuple[list[int], list[int]]:
    """When it started and stopped, in milliseconds of audio that it had been fed."""
    starts: list[int] = []
    stops: list[int] = []
    audio, began = scene.mulaw, time.process_time()
    for place in range(0, len(audio), FRAME_BYTES):
        for change in detector.feed(audio[place : place + FRAME_BYTES]):
            (starts if change is Speech.STARTED else stops).append((place + FRAME_BYTES) // BYTES_PER_MS)
    total.seconds += time.process_time() - began
    total.frames += len(audio) // FRAME_BYTES
    return starts, stops


def percentile(values: Iterable[int], share: float) -> int | None:
    """The smallest value that so many are not above; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
