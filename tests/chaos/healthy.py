"""The calls beside the victim's: each asks and is answered, again and again, and notes whatever it should not hear."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from voice.sandbox.bench_script import question, sentences
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone

GREETING = "Hello there."
_TURN_S = 30.0
_QUESTION_MS = 1500.0
"""The caller's question takes longer: what is shorter is a silence in the middle of an answer."""


@dataclass(eq=False)
class Healthy:
    number: int
    phone: Phone
    gate: Event
    """Nobody asks anything new while it is not set."""
    asking: bool = False
    """From the beginning of a question to that of its answer."""
    turns: int = 0
    failures: list[str] = field(default_factory=list)
    over: bool = False
    # So many utterances had been heard before the last question.
    _heard: int = 0

    def run(self) -> None:
        self.phone.dial()
        self._try(lambda: self._hear(GREETING))
        while not self.over and not self.phone.journal.closed:
            self.gate.wait()
            self._try(self._ask)
        if not self.over:
            self.failures.append(f"the call is over: {self.phone.over_reason}")

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PhoneTimeout as timeout:
            # The end of the session breaks off what is being waited for.
            self.failures += [] if self.over else [f"{timeout}\nheard at last: {self.phone.heard[-3:]}"]

    def _ask(self) -> None:
        self.turns, self.asking = self.turns + 1, True
        try:
            self.phone.say(question(self.number, self.turns))
            self.phone.wait_for(lambda: not self.phone.is_silent(20), _TURN_S)
        finally:
            self.asking = False
        self._hear(" ".join(sentences(self.number, self.turns)))

    def _hear(self, words: str) -> None:
        """All of it, each word once and each sound whole; a sentence may come in parts when its end was late."""
        before = self._heard
        self.phone.journal.wait_for(
            lambda: self.phone.is_silent(100) and self._text(before).endswith(words[-10:]),
            _TURN_S,
            f"hearing {words!r}",
        )
        self._heard = len(self.phone.heard)
        broken = [utterance for utterance in self.phone.heard[before:] if not utterance.complete]
        if self._text(before) != words or broken:
            self.failures.append(f"heard {self._text(before)!r} in the place of {words!r}; broken: {broken}")

    def _text(self, before: int) -> str:
        return " ".join(utterance.text.strip() for utterance in self.phone.heard[before:])

    def gaps_ms(self, since: float) -> list[float]:
        """Before each 20 ms of speech since then (monotonic): how long there was nothing to be heard."""
        after = (since - self.phone.began) * 1000
        spans = [span for span in self.phone.agent_spans_ms if span[1] > after]
        found = [0.0] * int(sum(end - max(start, after) for start, end in spans) / 20)
        silences = [later[0] - earlier[1] for earlier, later in zip(spans, spans[1:], strict=False)]
        return found + [silence for silence in silences if silence < _QUESTION_MS]

    def leave(self) -> None:
        self.over = True
        self.gate.set()
        self.phone.hang_up()


class Crowd:
    def __init__(self, phones: list[Phone]) -> None:
        self.gate = Event()
        self.gate.set()
        self.calls = [Healthy(number, phone, self.gate) for number, phone in enumerate(phones, 1)]

    def arrive(self) -> None:
        """All are on the line and have asked their first question."""
        running = [gevent.spawn_later(n * 0.1, call.run) for n, call in enumerate(self.calls)]
        deadline = time.monotonic() + 60
        while any(call.turns == 0 and not call.failures for call in self.calls):
            if time.monotonic() > deadline or any(greenlet.exception for greenlet in running):
                break
            gevent.sleep(0.05)
        failures = self.take_failures()
        assert not failures, "\n".join(failures)

    def take_failures(self) -> list[str]:
        """What went wrong since the last time that this was asked."""
        found = [
            f"caller {call.number}, {call.phone.call_sid}: {failure}"
            for call in self.calls
            for failure in call.failures
        ]
        for call in self.calls:
            call.failures.clear()
        return found

    @property
    def listens(self) -> bool:
        return not any(call.asking for call in self.calls)

    def gaps_ms(self, since: float) -> list[float]:
        return [gap for call in self.calls for gap in call.gaps_ms(since)]

    def leave(self) -> None:
        for call in self.calls:
            call.leave()
