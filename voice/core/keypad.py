"""The keys that the caller presses, collected until #, a length or a pause: then they count as words."""

from voice.core.agenda import Agenda, Deadline
from voice.core.events import CollectDigits
from voice.core.rules import Digits

PAUSE_S = 3.0
"""Digits belong together when less than this is between them; # ends them at once."""
_LONGEST = 64


class Keypad:
    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._pressed = ""
        # What the agent has asked for; it stays asked for, whatever is spoken about meanwhile.
        self._wanted: Digits | None = None

    def want(self, digits: Digits) -> None:
        self._wanted, self._pressed = digits, ""
        self._agenda.drop(Deadline.KEYPAD)
        self._agenda.do(CollectDigits(digits.name, digits.sensitive))

    def press(self, digit: str) -> str:
        """The words of a complete entry, otherwise nothing."""
        if digit == "#":
            return self.complete()
        if len(self._pressed) < _LONGEST:
            self._pressed += digit
        if self._wanted and len(self._pressed) == self._wanted.length:
            return self.complete()
        self._agenda.set(Deadline.KEYPAD, self._agenda.now + PAUSE_S)
        return ""

    def complete(self) -> str:
        """Take what was pressed; empty when nothing was."""
        self._agenda.drop(Deadline.KEYPAD)
        pressed, self._pressed = self._pressed, ""
        if not pressed:
            return ""
        wanted, self._wanted = self._wanted, None
        if not wanted:
            return f"[keypad] {' '.join(pressed)}"
        self._agenda.do(CollectDigits("", False))
        if wanted.sensitive:
            return f"[keypad {wanted.name}] {len(pressed)} digits, kept secret: {{{{{wanted.name}}}}} stands for them"
        return f"[keypad {wanted.name}] {' '.join(pressed)}"

    @property
    def typing(self) -> bool:
        return bool(self._pressed)
