"""One caller of the soak: call after call of three minutes, questions and answers, every third answer interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import gevent

from voice.sandbox.bench_script import GREETING, INTERRUPTED_SHARE, question, sentences
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone

CALL_S = 180.0
_ANSWER_S = 20.0
# A good second of an answer is heard before it is interrupted.
_HEARD_MS = 1200
_BETWEEN_CALLS_S = 2.0


@dataclass(frozen=True)
class Ended:
    """A call that is over, as its caller lived it."""

    call_sid: str
    seconds: float
    reason: str
    """Twilio's; what is to be expected is `the caller hung up`."""
    turns: int
    interrupted: int
    unanswered: int
    """Questions whose answer was not heard to its end within 20 s."""
    streams: int
    warnings: tuple[str, ...]
    """Twilio's: what the server did wrong."""


@dataclass(eq=False)
class SoakCaller:
    number: int
    new_phone: Callable[[], Phone]
    random: Random
    ended: list[Ended]
    phone: Phone | None = None
    """Of the call that is under way."""
    is_to_stop: bool = False
    _turns: int = field(default=0, init=False)
    _interrupted: int = field(default=0, init=False)
    _unanswered: int = field(default=0, init=False)

    def run(self) -> None:
        # The first calls are of any length, so that the callers do not ring all at once again.
        lasts_s = self.random.uniform(CALL_S / 6, CALL_S)
        while not self.is_to_stop:
            self._call(lasts_s)
            lasts_s = CALL_S
            gevent.sleep(_BETWEEN_CALLS_S)

    def _call(self, lasts_s: float) -> None:
        self._turns = self._interrupted = self._unanswered = 0
        phone = self.phone = self.new_phone()
        began = time.monotonic()
        phone.dial()
        self._wait(phone, lambda: phone.is_silent(300) and GREETING in phone.heard_text)
        while not (self.is_to_stop or phone.journal.closed) and time.monotonic() - began < lasts_s:
            self._turn(phone)
        phone.hang_up()
        phone.wait_until_over(30)
        self.phone = None
        self.ended.append(
            Ended(
                phone.call_sid,
                time.monotonic() - began,
                phone.over_reason,
                self._turns,
                self._interrupted,
                self._unanswered,
                len(phone.streams),
                tuple(f"{notice.code} {notice.text}" for notice in phone.warnings),
            )
        )

    def _turn(self, phone: Phone) -> None:
        self._turns += 1
        if not phone.say(question(self.number, self._turns)):
            return
        asked_at = time.monotonic()
        if self.random.random() < INTERRUPTED_SHARE:
            self._interrupted += 1
            self._wait(phone, lambda: _has_heard_enough(phone, asked_at))
        else:
            last = sentences(self.number, self._turns)[-1]
            self._wait(phone, lambda: phone.is_silent(300) and last in _latest(phone))
            gevent.sleep(self.random.uniform(0.3, 2.0))

    def _wait(self, phone: Phone, happened: Callable[[], bool]) -> None:
        try:
            phone.journal.wait_for(happened, _ANSWER_S, "answered")
        except PhoneTimeout:
            self._unanswered += 1


def _latest(phone: Phone) -> str:
    return " ".join(heard.text.strip() for heard in phone.heard[-2:])


def _has_heard_enough(phone: Phone, asked_at: float) -> bool:
    spans = phone.agent_spans_ms
    began_at = phone.began + spans[-1][0] / 1000 if spans else 0.0
    return began_at > asked_at and time.monotonic() - began_at >= _HEARD_MS / 1000
