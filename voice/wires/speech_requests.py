"""The synthesizer's last resort: no connection that stays, each sentence by an HTTP request of its own.

Takes the place of a `Synthesizer` and is used in the same way. Written by the call greenlet, read by the speech-reader.
"""

import time
from collections.abc import Iterator
from queue import Queue

from voice.core import events as ev
from voice.errors import VendorUnavailable
from voice.wires.clips import Clip, Clips, Voice, spread

_SECOND_TRY_S = 0.3


class SpeechRequests:
    def __init__(self, clips: Clips, voice: Voice) -> None:
        self._clips = clips
        self._voice = voice
        # Turn, the try of it that asks, and its text; empty when the turn is let go of. None ends it all.
        self._wanted: Queue[tuple[int, int, str] | None] = Queue()
        # How often each turn was let go of: what it wanted before that is wanted no more.
        self._tries: dict[int, int] = {}

    def connect(self) -> None:
        pass

    def release(self) -> None:
        pass

    def keep_alive(self) -> None:
        pass

    def speak(self, turn: int, text: str) -> None:
        """A whole sentence."""
        self._wanted.put((turn, self._tries.get(turn, 0), text))

    def finish(self, turn: int) -> None:
        pass

    def close(self, turn: int) -> None:
        """Let go of the turn; also how it is given up."""
        self._tries[turn] = self._tries.get(turn, 0) + 1
        self._wanted.put((turn, self._tries[turn], ""))

    def events(self) -> Iterator[ev.Event]:
        """The sound of one sentence after the other. Raises VendorUnavailable or VendorRefused."""
        yield ev.SynthesizerReady()
        while wanted := self._wanted.get():
            turn, tries, text = wanted
            if not text:
                yield ev.SpeechFinished(turn)
            elif tries == self._tries.get(turn, 0):
                clip = self._clip(text)
                # It was let go of while the request ran.
                if tries == self._tries.get(turn, 0):
                    yield ev.SpeechArrived(turn, clip.audio, spread(text + " ", clip.audio.ms))

    def _clip(self, text: str) -> Clip:
        try:
            return self._clips.synthesize(self._voice, text)
        except VendorUnavailable:
            time.sleep(_SECOND_TRY_S)
            return self._clips.synthesize(self._voice, text)

    def shutdown(self) -> None:
        self._wanted.put(None)
