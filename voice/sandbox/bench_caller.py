"""One caller of the load test, on a greenlet of its own from dialing to hang-up, and the moment they all share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from voice.sandbox.bench_script import GREETING, Part, question, sentences
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone

_START_S = 30.0
"""Until the greeting has been heard."""
_TURN_S = 30.0
_GOODBYE_S = 15.0
_PAUSE_MS = 300
_LOOK_S = 0.1
# A good second of the answer has been heard when the caller interrupts it.
_HEARD_MS = 1200


@dataclass(eq=False)
class Crowd:
    """All callers of one run."""

    expected: int
    all_here: Event = field(default_factory=Event)
    """Everybody has been greeted, but for those who failed before."""
    first_left: Event = field(default_factory=Event)
    """From here on not all are live."""
    _arrived: int = 0
    _left: int = 0

    def arrive(self) -> None:
        self._arrived += 1
        if self._arrived == self.expected:
            self.all_here.set()

    def leave(self) -> None:
        self._left += 1
        if not self.all_here.is_set():
            # Missing for good: the others are not to wait for it, and it is no sign that they begin to leave.
            self.arrive()
            if self._left < self.expected:
                return
        self.first_left.set()


@dataclass(frozen=True)
class Answered:
    """How one call began, in ms; None where it did not come so far."""

    webhook_ms: float | None
    greeting_ms: float | None
    """From the stream's handshake to the first audio."""


@dataclass(eq=False)
class Visitor:
    """Hears the greeting and hangs up."""

    phone: Phone
    refused: bool = False
    """As a Caller's."""

    def run(self) -> None:
        self.phone.dial()
        try:
            _wait(self.phone, lambda: self.phone.heard_text == GREETING, _START_S, "greeted")
            self.phone.hang_up()
            self.phone.wait_until_over(_GOODBYE_S)
        except PhoneTimeout:
            self.refused = _had_no_room(self.phone)
            self.phone.hang_up()

    @property
    def answered(self) -> Answered:
        return answered(self.phone)


@dataclass(eq=False)
class Caller:
    part: Part
    phone: Phone
    crowd: Crowd
    completed: int = 0
    """Turns."""
    failure: str = ""
    """Why the call did not go to its end."""
    refused: bool = False
    """The server had no room: it did not connect the call, or closed its stream with 1013 (RFC 6455's registry)."""
    # When the latest question had been said.
    _asked_at: float = 0.0

    @property
    def answered(self) -> Answered:
        return answered(self.phone)

    def run(self) -> None:
        try:
            self._call()
        except PhoneTimeout as timeout:
            self.failure = str(timeout)
            self.refused = _had_no_room(self.phone)
        finally:
            self.crowd.leave()
        self._hang_up()

    def _call(self) -> None:
        self.phone.dial()
        self._wait_for(GREETING, _START_S)
        self.crowd.arrive()
        self.crowd.all_here.wait()
        gevent.sleep(self.part.waits_s)
        for turn, interrupted in enumerate(self.part.interrupts, 1):
            self._ask(turn)
            if interrupted:
                what = f"hearing the beginning of answer {turn}"
                _wait(self.phone, self._has_heard_enough, _TURN_S, what)
            else:
                self._wait_for(sentences(self.part.caller, turn)[-1], _TURN_S)
            self.completed += 1

    def _ask(self, turn: int) -> None:
        if not self.phone.say(question(self.part.caller, turn)):
            raise PhoneTimeout(f"the call was over before question {turn} was: {self.phone.over_reason}")
        self._asked_at = time.monotonic()

    def _wait_for(self, sentence: str, timeout: float) -> None:
        """Until the agent has said it and a little pause has passed."""
        # Reading words out of the sound is for the pauses.
        _wait(
            self.phone,
            lambda: self.phone.is_silent(_PAUSE_MS) and self._last_heard() == sentence,
            timeout,
            f"hearing the end of {sentence!r}",
        )

    def _last_heard(self) -> str:
        heard = self.phone.heard
        return heard[-1].text.strip() if heard else ""

    def _has_heard_enough(self) -> bool:
        began_at = self.phone.began + self.phone.agent_spans_ms[-1][0] / 1000
        return began_at > self._asked_at and time.monotonic() - began_at >= _HEARD_MS / 1000

    def _hang_up(self) -> None:
        self.phone.hang_up()
        try:
            self.phone.wait_until_over(_GOODBYE_S)
        except PhoneTimeout as timeout:
            self.failure = self.failure or str(timeout)


def _wait(phone: Phone, happened: Callable[[], bool], timeout: float, what: str) -> None:
    """As the journal does, which looks at each frame: hundreds of callers would be busy with looking."""
    deadline = time.monotonic() + timeout
    while not happened():
        if phone.journal.closed or time.monotonic() > deadline:
            raise PhoneTimeout(phone.journal.story(what, timeout))
        gevent.sleep(_LOOK_S)


def _had_no_room(phone: Phone) -> bool:
    """The server did: of a call that came to nothing."""
    notices = *phone.warnings, *phone.errors
    refused = phone.stream_asked_at is None or any(" 1013 " in notice.text for notice in notices)
    return phone.journal.closed and refused


def answered(phone: Phone) -> Answered:
    media, asked_at = phone.journal.all("media"), phone.stream_asked_at
    greeting_ms = (media[0].at - asked_at) * 1000 if media and asked_at is not None else None
    return Answered(phone.webhooks_ms[0] if phone.webhooks_ms else None, greeting_ms)
