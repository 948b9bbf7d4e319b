"""The demo's caller: asks, interrupts, keys in a number, wants a human, and says goodbye."""

from contextlib import suppress

from voice.sandbox.call_tail import CallTail, Line
from voice.sandbox.phone import Phone

PATIENT_NUMBER = "4917"

_TURN_S = 30.0
_INTERRUPT_AFTER_MS = 1200
# A real language model may decide otherwise: then the call goes on without.
_WISH_S = 8.0


class DemoCaller:
    def __init__(self, phone: Phone, tail: CallTail) -> None:
        self._phone = phone
        self._tail = tail

    def converse(self) -> None:
        """The whole call up to the agent's hang-up. Raises TimeoutError when an answer stays out."""
        self._phone.dial()
        self._wait_for_answer(0)
        self._ask("What are your opening hours?")
        self._ask_and_interrupt("Where are you located?", "I would like to book an appointment.")
        self._ask("Tuesday please.")
        self._key_in(PATIENT_NUMBER)
        self._ask("Please text me the address.")
        self._ask_for_human("Can I speak to a human being?")
        self._ask("When is my appointment?")
        self._phone.say("Goodbye.")
        self._phone.wait_until_over(_TURN_S)

    def _ask(self, words: str) -> None:
        turns = self._turns()
        self._phone.say(words)
        self._wait_for_answer(turns)

    def _ask_and_interrupt(self, words: str, interruption: str) -> None:
        turns = self._turns()
        self._phone.say(words)
        last = heard_turns(self._tail.lines)[-1]["turn"]
        self._tail.wait_until(lambda: self._plays_after(last), _TURN_S, "a good second of the answer was heard")
        self._phone.say(interruption)
        self._wait_for_answer(turns + 1)

    def _plays_after(self, turn: int) -> bool:
        marks = (line for line in self._tail.lines if line.get("event") == "MarkReturned" and line["turn"] > turn)
        return any(mark["position_ms"] > _INTERRUPT_AFTER_MS for mark in marks)

    def _key_in(self, digits: str) -> None:
        if any(line.get("action") == "CollectDigits" for line in self._tail.lines):
            turns = self._turns()
            self._phone.press(digits)
            self._wait_for_answer(turns)

    def _ask_for_human(self, words: str) -> None:
        turns = self._turns()
        self._ask(words)
        with suppress(TimeoutError):
            self._tail.wait_until(
                lambda: len(streams(self._tail.lines)) > 1, _WISH_S, "the caller was back with the agent"
            )
            self._wait_for_answer(turns + 1)

    def _turns(self) -> int:
        self._tail.read()
        return len(heard_turns(self._tail.lines))

    def _wait_for_answer(self, turns: int) -> None:
        """The agent has said more than so many turns, and leaves a little pause."""
        self._tail.wait_until(lambda: len(heard_turns(self._tail.lines)) > turns, _TURN_S, "the agent had answered")
        self._phone.wait_until_silent()


def streams(lines: list[Line]) -> list[Line]:
    """The first line of each stream that the call had."""
    return [line for line in lines if "call" in line]


def heard_turns(lines: list[Line]) -> list[Line]:
    """The turns of which anything was heard: one that was begun too early is thrown away unheard."""
    return [line for line in lines if line.get("action") == "RecordTurn" and line["agent"]]
