"""Both sides of one call: what the caller sent, what was played to the caller, and the words in it."""

from dataclasses import dataclass, field
from pathlib import Path

from voice.sandbox import wav
from voice.sandbox.heard import Heard, Hearing
from voice.sandbox.playback import Playback


@dataclass(eq=False, repr=False)
class Recording:
    playback: Playback
    # Without it neither side is kept; the words heard are known all the same.
    keep_audio: bool
    sent: bytearray = field(default_factory=bytearray)
    _hearing: Hearing = field(default_factory=Hearing)
    _agent_audio: list[tuple[int, bytes]] = field(default_factory=list)

    def heard(self, now: float) -> list[Heard]:
        """Words are read out of the sound only here, when somebody asks."""
        for position, audio in self.playback.take_played(now):
            self._hearing.feed(position, audio)
            if self.keep_audio:
                self._agent_audio.append((position, audio))
        return self._hearing.utterances

    def save(self, path: Path | str, starts: list[tuple[int, int]], now: float) -> None:
        """`starts`: where in the call each stream began, and how many bytes had been sent by then. Raises OSError."""
        self.heard(now)
        ends = [offset for _, offset in starts[1:]] + [len(self.sent)]
        caller = [(at, bytes(self.sent[offset:end])) for (at, offset), end in zip(starts, ends, strict=True)]
        wav.write_call(path, caller, self._agent_audio)
