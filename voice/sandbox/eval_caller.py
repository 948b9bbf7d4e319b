"""One simulated caller: plays a script on a phone, step by step, and says what was seen of the call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gevent

from voice.sandbox.call_tail import CallTail, Line
from voice.sandbox.eval_noise import noise
from voice.sandbox.eval_script import Script, Step
from voice.sandbox.eval_seen import Done, Seen, Words, sounds
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone

_START_S = 20.0
ANSWER_S = 10.0
"""A caller waits no longer for an answer."""
_TURN_S = 40.0
_END_S = 30.0
_LOG_S = 5.0
_PAUSE_MS = 300
"""What is quiet for so long has finished, if the server says so too."""


class Unplayable(Exception):
    """The script cannot go on."""


@dataclass(eq=False)
class Caller:
    script: Script
    agent: str
    phone: Phone
    log_path: Path
    done: list[Done] = field(default_factory=list)
    failure: str = ""
    # Turns of which audio was sent, and turns that are over, by the server's log.
    _begun: set[int] = field(default_factory=set)
    _over: set[int] = field(default_factory=set)
    _ended: bool = False

    def __post_init__(self) -> None:
        self._tail = CallTail(self.log_path, self._read_line)

    def run(self) -> None:
        """The whole call; whatever hinders it stands in `failure`."""
        self.phone.dial()
        try:
            if not self._until(lambda: bool(self._begun), _START_S):
                raise Unplayable("the agent never greeted")
            for number, step in enumerate(self.script.steps, 1):
                self._take(step, f"step {number} ({step})")
            if self.script.steps[-1].kind not in ("hang_up", "wait_for_hang_up"):
                self._wait_for_agent("the end")
        except Unplayable as error:
            self.failure = str(error)
        self.phone.hang_up()
        self._finish()

    def seen(self, remembered: Sequence[Sequence[str]] | None, readable: bool) -> Seen:
        """`readable`: the agent's voice is coded speech. `remembered`: see Seen."""
        phone = self.phone
        heard = [Words(one.text.strip("\n"), one.start_ms / 1000, one.complete) for one in phone.heard]
        return Seen(
            script=self.script,
            agent=self.agent,
            call_sid=phone.call_sid,
            done=self.done,
            sounds=sounds(phone.events, phone.began),
            words=heard if readable else None,
            log=self._tail.lines,
            remembered=remembered,
            hung_up_by="caller" if phone.over_reason == "the caller hung up" else "server",
            failure=self.failure,
            warnings=[f"{notice.code} {notice.text}" for notice in phone.warnings],
        )

    # The steps

    def _take(self, step: Step, name: str) -> None:
        if step.while_agent_speaks:
            self._wait_for_speech(step, name)
        elif step.kind != "wait_for_hang_up":
            self._wait_for_agent(name)
        if self._call_is_over and step.kind != "wait_for_hang_up":
            raise Unplayable(f"the call was over before {name}: {self.phone.over_reason}")
        began = self._now
        self._act(step)
        self.done.append(Done(step, began, self._now))
        self._tail.read()
        before = set(self._begun)
        if step.asks:
            self._until(lambda: self._speaks_up(before), ANSWER_S)

    def _act(self, step: Step) -> None:
        match step.kind:
            case "say":
                self.phone.say(step.what)
            case "noise":
                self.phone.play(noise(step.what, step.seconds))
            case "press":
                self.phone.press(step.what)
            case "hang_up":
                self.phone.hang_up()
            case "wait_for_hang_up":
                self._until(lambda: self._call_is_over, _END_S)
            case "silence_s":
                before = set(self._begun)
                # An agent that is to speak up ends the silence.
                ends = step.expect == "answer"
                self._until(lambda: ends and self._speaks_up(before), step.seconds)

    # Waiting

    def _wait_for_agent(self, name: str) -> None:
        def finished() -> bool:
            return self._begun <= self._over and self.phone.is_silent(_PAUSE_MS)

        if not self._until(finished, _TURN_S):
            raise Unplayable(f"before {name}: the agent did not finish within {_TURN_S:.0f} s")

    def _wait_for_speech(self, step: Step, name: str) -> None:
        earliest = self.done[-1].ended if self.done else 0.0

        def speaks() -> bool:
            spans = self.phone.agent_spans_ms
            if not spans or self.phone.is_silent(1):
                return False
            return self._now - max(earliest, spans[-1][0] / 1000) >= step.after_ms / 1000

        if not self._until(speaks, _TURN_S):
            raise Unplayable(f"before {name}: the agent did not speak for {step.after_ms} ms")

    def _speaks_up(self, before: set[int]) -> bool:
        """A turn that was not there before is to be heard: the log knows of it a moment earlier than the phone."""
        return bool(self._begun - before) and not self.phone.is_silent(1)

    def _until(self, true: Callable[[], bool], timeout: float) -> bool:
        """False when it was not so in time, or when the call was over without it."""
        deadline = time.monotonic() + timeout
        while True:
            # Before the log is read: what was written until the end is still to be seen.
            last = self._call_is_over or time.monotonic() >= deadline
            self._tail.read()
            if true():
                return True
            if last:
                return False
            gevent.sleep(0.02)  # the log's writer is another process: nothing wakes us

    def _finish(self) -> None:
        try:
            self.phone.wait_until_over(_END_S)
        except PhoneTimeout as error:
            self.failure = self.failure or str(error).splitlines()[0]
        deadline = time.monotonic() + _LOG_S
        while not self._ended and time.monotonic() < deadline:
            self._tail.read()
            gevent.sleep(0.02)  # as above
        self._tail.close()

    @property
    def _call_is_over(self) -> bool:
        return self.phone.journal.closed

    @property
    def _now(self) -> float:
        return time.monotonic() - self.phone.began

    def _read_line(self, line: Line) -> None:
        match line.get("action"):
            case "PlayAudio":
                self._begun.add(line["turn"])
            case "RecordTurn":
                self._over.add(line["turn"])
            case "EndCall":
                self._ended = True
