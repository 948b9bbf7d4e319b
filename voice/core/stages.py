"""The stages of one turn, from the caller's last sound to the first of the answer, each against its deadline. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voice.core.delivery import FIRST_TOKEN_WAIT_S, SENTENCE_WAIT_S, SPEECH_WAIT_S, TOOL_WAIT_S
from voice.core.listening import TRANSCRIPT_WAIT_S
from voice.core.playout import MARK_GRACE_S

SILENCE_S = 1.5
"""The longest silence that ends an utterance, unless the agent's file says otherwise (`max_silence_ms`)."""
_LENIENT_S = 0.15
"""A deadline is noticed a little after it has passed, and what it brings takes its time."""

TITLES = {
    "stopped": "end of speech decided",
    "transcript": "final transcript",
    "first_token": "first token",
    "tool": "tool",
    "first_sentence": "first sentence",
    "first_audio": "first audio",
    "heard": "heard",
}


@dataclass(frozen=True)
class Stage:
    name: str
    """As in `TITLES`."""
    start: float
    end: float
    """Both in seconds since the call's start."""
    limit: float | None
    """Seconds; None: it has none."""

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def is_late(self) -> bool:
        return self.limit is not None and self.seconds > self.limit + _LENIENT_S

    @property
    def late_by(self) -> float:
        return max(0.0, self.seconds - self.limit) if self.limit is not None else 0.0


def stages_of(
    times: Mapping[str, float | None],
    tools: Sequence[tuple[float, float]] = (),
    greeting_from: float | None = None,
    silence_s: float = SILENCE_S,
) -> list[Stage]:
    """The stages that were reached, by their ends. `times` as `TurnTimes` has them, with `asked`; `tools` are beginning
    and end of each; a turn that answers nobody is measured from `greeting_from`, if that is given.

    Stages may overlap: the answer is begun before the final transcript, and held until it is there.
    """
    at = {name: value for name, value in times.items() if value is not None}
    found = []

    def stage(name: str, start: float | None, limit: float | None) -> None:
        if start is not None and name in at:
            found.append(Stage(name, min(start, at[name]), at[name], limit))

    stage("stopped", at.get("speech_end"), silence_s)
    stage("transcript", at.get("stopped"), TRANSCRIPT_WAIT_S)
    asked = at.get("asked")
    # Calls that were recorded before `asked` was kept: the model's time cannot be told from the waiting.
    stage(
        "first_token", asked if asked is not None else at.get("stopped"), None if asked is None else FIRST_TOKEN_WAIT_S
    )
    found += [Stage("tool", start, end, TOOL_WAIT_S) for start, end in tools]
    stage(
        "first_sentence",
        _after(at.get("first_token"), [end for _, end in tools], at.get("first_sentence")),
        SENTENCE_WAIT_S,
    )
    written = at.get("first_sentence", greeting_from)
    if written is not None and at.get("first_audio", written) < written:
        # A filler sounded first: when the voice began with the sentence is not kept.
        written = None
    stage("first_audio", written, SPEECH_WAIT_S)
    stage("heard", _ready(at), MARK_GRACE_S)
    return sorted(found, key=lambda s: (s.end, s.start))


def _after(start: float | None, ends: Sequence[float], limit: float | None) -> float | None:
    """The latest of `start` and those `ends` that are not beyond `limit`."""
    if start is None or limit is None:
        return start
    return max([start, *(end for end in ends if end <= limit)])


def _ready(at: Mapping[str, float]) -> float | None:
    """When the first sound could be handed over: it is there, and so are the final words that it answers."""
    if "first_audio" not in at or "heard" not in at:
        return None
    transcript = at.get("transcript", at["first_audio"])
    # An eager agent does not wait for them.
    return max(at["first_audio"], transcript) if transcript <= at["heard"] else at["first_audio"]
