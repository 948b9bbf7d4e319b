"""What was seen of one simulated call, as plain values for the judge. All times are seconds since the dialing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from voice.core.audio import BYTES_PER_MS
from voice.sandbox.eval_script import Script, Step
from voice.sandbox.journal import Entry

# A shorter gap between two pieces is the network's, and nobody hears a pause.
_JOINED_S = 0.2


@dataclass(frozen=True)
class Done:
    """A step as it was taken."""

    step: Step
    began: float
    ended: float


@dataclass(frozen=True)
class Sound:
    """A stretch of the agent's audio without a pause, all of one turn, as it was played."""

    turn: int
    start: float
    end: float


@dataclass(frozen=True)
class Words:
    """One utterance of the agent, read out of the sound that was played."""

    text: str
    start: float
    complete: bool


@dataclass(frozen=True)
class Record:
    """A turn as the server's log has it."""

    turn: int
    caller: str
    agent: str
    """What the history says was heard."""
    cut: bool


@dataclass(frozen=True)
class Seen:
    script: Script
    agent: str
    call_sid: str
    done: Sequence[Done]
    sounds: Sequence[Sound]
    words: Sequence[Words] | None
    """None: the voice is a real one, and its words cannot be read out of the sound."""
    log: Sequence[dict[str, Any]]
    """The call's log."""
    remembered: Sequence[Sequence[str]] | None
    """The agent's words in each request to the language model; None: it is the real one."""
    hung_up_by: str
    """`caller` or `server`."""
    failure: str = ""
    """Why the script was not played to its end."""
    warnings: Sequence[str] = ()
    """What Twilio would complain of."""
    records: Sequence[Record] = field(init=False)
    texts: dict[int, str] = field(init=False)
    """By turn: what was given to the synthesizer."""

    def __post_init__(self) -> None:
        lines = [line for line in self.log if line.get("action") == "RecordTurn"]
        records = [Record(line["turn"], line["caller"], line["agent"], line["cut"]) for line in lines]
        object.__setattr__(self, "records", records)
        texts: dict[int, str] = {}
        for line in self.log:
            if line.get("action") in ("Speak", "SpeakKnown"):
                texts[line["turn"]] = f"{texts.get(line['turn'], '')} {line['text']}".strip()
        object.__setattr__(self, "texts", texts)

    def record(self, turn: int) -> Record | None:
        return next((record for record in self.records if record.turn == turn), None)

    def next_began(self, place: int) -> float:
        """When the step after that began."""
        return self.done[place + 1].began if place + 1 < len(self.done) else float("inf")

    def turns_begun(self, after: float, before: float) -> list[Sound]:
        """The first sound of each turn that began to sound then."""
        first: dict[int, Sound] = {}
        for sound in self.sounds:
            first.setdefault(sound.turn, sound)
        return [sound for sound in first.values() if after <= sound.start < before]

    def heard(self, turn: int) -> str | None:
        """The words of a turn that the caller heard; None: they cannot be read."""
        if self.words is None:
            return None
        text, whole = "", True
        for words in self.words:
            if self._turn_of(words) == turn:
                # What goes on after a stop goes on in mid-word.
                text = f"{text} {words.text}" if whole else text + words.text
                whole = words.complete
        return text.strip()

    def _turn_of(self, words: Words) -> int:
        begun = [sound for sound in self.sounds if sound.start <= words.start + 0.05]
        return begun[-1].turn if begun else 0


def sounds(entries: Iterable[Entry], began: float) -> list[Sound]:
    """The agent's audio as Twilio played it, from the phone's journal; `began` is the dialing by the same clock.

    Behind each piece of audio the server sends a mark that names its turn: `turn:position`.
    """
    played: list[Sound] = []
    # Pieces whose mark has not come; several only if the server sent them so.
    unmarked: list[Sound] = []
    end = 0.0
    for entry in entries:
        now = entry.at - began
        if entry.kind == "media" and entry.direction == "received":
            start = max(end, now)
            end = start + int(str(entry.detail)) / BYTES_PER_MS / 1000
            unmarked.append(Sound(0, start, end))
        elif entry.kind == "mark" and entry.direction == "received":
            turn = str(entry.detail).partition(":")[0]
            played += [replace(sound, turn=int(turn) if turn.isdigit() else 0) for sound in unmarked]
            unmarked.clear()
        elif entry.kind in ("clear", "stream-ended"):
            end = min(end, now)
            played = _cut([*played, *unmarked], now)
            unmarked.clear()
    return _joined([*played, *unmarked])


def _cut(played: list[Sound], now: float) -> list[Sound]:
    return [replace(sound, end=min(sound.end, now)) for sound in played if sound.start < now]


def _joined(pieces: list[Sound]) -> list[Sound]:
    joined: list[Sound] = []
    for piece in pieces:
        if joined and joined[-1].turn == piece.turn and piece.start - joined[-1].end < _JOINED_S:
            joined[-1] = replace(joined[-1], end=piece.end)
        else:
            joined.append(piece)
    return joined
