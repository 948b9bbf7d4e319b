"""The agent's side of a recording: what the caller's end has played, by what was sent, marked and cleared. Pure.

Sent is not heard: a piece begins when the one before it has ended, the first mark that comes back says how much later
than it was sent, and what is cleared is never played.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from voice.core import events as ev
from voice.core.audio import SAMPLE_RATE, SILENCE
from voice.core.playout import MARK_GRACE_S

_CLEARED = (0, 0)
_GRACE = int(MARK_GRACE_S * SAMPLE_RATE)


@dataclass
class _Piece:
    start: int
    """In samples since the stream's start, as all numbers here."""
    mulaw: bytes
    mark: tuple[int, int] | None = None
    """Turn and position, once it is marked."""

    @property
    def end(self) -> int:
        return self.start + len(self.mulaw)


class AgentTrack:
    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._taken = 0
        # Where playing is known to stand still until something is sent.
        self._free_from = 0
        # Since there was silence: where playing began, whether a mark has come back, and those that have not.
        self._run_from = 0
        self._new_run = True
        self._awaited: set[tuple[int, int]] = set()

    def happened(self, event: ev.Event, actions: Sequence[ev.Action], now: float) -> None:
        """`now` is in seconds since the stream's start."""
        at = int(now * SAMPLE_RATE)
        if isinstance(event, ev.MarkReturned):
            self._returned((event.turn, event.position_ms), at)
        for action in actions:
            match action:
                case ev.PlayAudio() if action.audio.payload:
                    self._play(binascii.a2b_base64(action.audio.payload), at)
                case ev.SendMark() if self._pieces and self._pieces[-1].mark is None:
                    mark = self._pieces[-1].mark = action.turn, action.position_ms
                    self._awaited.add(mark)
                case ev.ClearPlayout():
                    self._clear(at)

    def take(self, until: int) -> bytes:
        """The sound from where the last one ended, silence where there was none; empty when that is no later."""
        if until <= self._taken:
            return b""
        sound = bytearray(SILENCE * (until - self._taken))
        for piece in self._pieces:
            first, last = max(piece.start, self._taken), min(piece.end, until)
            if first < last:
                sound[first - self._taken : last - self._taken] = piece.mulaw[first - piece.start : last - piece.start]
        self._taken = until
        self._pieces = [piece for piece in self._pieces if piece.end > until]
        return bytes(sound)

    def _play(self, mulaw: bytes, at: int) -> None:
        # While marks are awaited it still plays, if later than was thought.
        if at > self._free_from + (_GRACE if self._awaited else 0):
            self._free_from = self._run_from = at
            self._new_run = True
            self._awaited.clear()
        self._pieces.append(_Piece(self._free_from, mulaw))
        self._free_from += len(mulaw)

    def _returned(self, mark: tuple[int, int], at: int) -> None:
        self._awaited.discard(mark)
        piece = next((piece for piece in self._pieces if piece.mark == mark), None)
        if piece is None:
            return
        later = at - piece.end
        if self._new_run and later > 0:
            # The whole run began so much later; what is written already stays.
            for other in self._pieces:
                if other.start >= max(self._taken, self._run_from):
                    other.start += later
            self._free_from += later
            self._run_from += later
        self._new_run = False

    def _clear(self, at: int) -> None:
        for piece in self._pieces:
            piece.mulaw = piece.mulaw[: max(0, at - piece.start)]
            # A mark that comes back because of it says nothing.
            piece.mark = _CLEARED
        self._awaited.clear()
        self._free_from = min(self._free_from, at)
